//! The sample console: shows what a backend gets, and what it can verify.

use std::path::Path;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{Html, IntoResponse, Response};
use doorward_certs::signing::verify_assertion;
use doorward_plugins::Services;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use serde_json::{Value, json};

use crate::cli::Failure;
use crate::private_socket::PrivateSocket;

/// Answers at a Unix-domain socket from now on.
pub(super) async fn start(socket: &Path, services: Arc<Services>) -> Result<(), Failure> {
    let (_, listener) = PrivateSocket::bind(socket)
        .await
        .map_err(|error| Failure::Io(format!("{}: {error}", socket.display())))?;
    let app = axum::Router::new().fallback(show).with_state(services);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(())
}

/// What a page of the console may load and do: its own scripts and styles from its own host, none
/// written into pages. A console that lives with such a policy loses nothing by the gate's script.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'";

/// Type and text of a part of the single-page console at `/app`: a page whose script calls the
/// console, and whose forms are sent to it. Its `fetch` is the gate's, which asks for a second
/// factor where the gate does.
#[must_use]
pub fn app(path: &str) -> Option<(&'static str, &'static str)> {
    match path {
        "/app" => Some(("text/html; charset=utf-8", include_str!("app/app.html"))),
        "/app.js" => Some(("text/javascript; charset=utf-8", include_str!("app/app.js"))),
        "/app.css" => Some(("text/css; charset=utf-8", include_str!("app/app.css"))),
        _ => None,
    }
}

async fn show(State(services): State<Arc<Services>>, request: Request) -> Response {
    if let Some((kind, text)) = app(request.uri().path()) {
        return ([(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, POLICY)], text).into_response();
    }
    let seen = json!({
        "method": request.method().as_str(),
        "target": request.uri().to_string(),
        "claims": claims(&services, request.headers()),
        "fields": fields(request.headers()),
    });
    let wants_page = request
        .headers()
        .get(ACCEPT)
        .is_some_and(|accept| String::from_utf8_lossy(accept.as_bytes()).contains("text/html"));
    if wants_page {
        page(&seen).into_response()
    } else {
        ([(CONTENT_TYPE, "application/json")], format!("{seen:#}\n")).into_response()
    }
}

/// The verified claims, or why there are none. A backend of another process asks the gate for the
/// keys once, at `/.doorward/jwks.json`.
fn claims(services: &Services, headers: &HeaderMap) -> Value {
    let Some(token) = headers.get("x-doorward-assertion").and_then(|value| value.to_str().ok())
    else {
        return "nobody is signed in".into();
    };
    let audience = services
        .config
        .upstreams
        .first()
        .map(|upstream| upstream.audience.as_str())
        .unwrap_or_default();
    match verify_assertion(
        &services.assertions.jwks(),
        token,
        &services.config.identity.issuer,
        audience,
    ) {
        Ok(claims) => claims,
        Err(error) => format!("refused: {error}").into(),
    }
}

fn fields(headers: &HeaderMap) -> Vec<Value> {
    headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect()
}

fn page(seen: &Value) -> Html<String> {
    let mut rows = String::new();
    for field in seen["fields"].as_array().into_iter().flatten() {
        let text = |index: usize| escape(field[index].as_str().unwrap_or_default());
        rows.push_str(&format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>", text(0), text(1)));
    }
    Html(format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>Sample console</title><style>body{{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}}\
         td,th{{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;overflow-wrap:anywhere}}th{{white-space:nowrap}}pre{{overflow:auto}}</style></head><body>\
         <h1>Sample console</h1><p>{method} <code>{target}</code></p>\
         <nav><a href=\"/\">Home</a> · <a href=\"/public/hello\">Public page</a> · <a href=\"/admin/users\">Owners only</a> · <a href=\"/app\">Single-page console</a> · <a href=\"/.doorward/account\">Your account</a></nav>\
         <form method=\"post\" action=\"/.doorward/sign-out\"><p><button>Sign out</button></p></form>\
         <h2>Verified claims</h2><pre>{claims}</pre><h2>Fields this console received</h2><table>{rows}</table></body></html>",
        method = escape(seen["method"].as_str().unwrap_or_default()),
        target = escape(seen["target"].as_str().unwrap_or_default()),
        claims = escape(&format!("{:#}", seen["claims"])),
    ))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
