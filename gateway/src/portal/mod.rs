//! The gate's own pages and API, below [`PREFIX`]. They never reach a backend.
//!
//! A visit runs on the office: hashing a password must not hold up a worker. Pages need no script,
//! but for keys and for the captcha, which offers a wait instead; every form carries a code that binds it to the browser it was given to.
//!
//! - [`sign_in`], `sign_out`, `account`, `password`: pages and their forms.
//! - `api`: the same for programs, described by `openapi.json`.
//! - `webauthn`: signing in by a passkey, and the script that asks for keys.
//! - `captcha`: challenges, the widget, and whether it was solved.
//! - [`return_to`]: where a person goes back to. [`language`]: in which words.
//!
//! Not here: rules about sessions and passwords (`doorward-plugins`).

mod account;
mod addresses;
mod api;
mod appeal;
mod authenticators;
pub(crate) mod captcha;
mod device;
mod form;
mod key_binding;
pub use doorward_plugins::language;
pub(crate) mod pages;
mod password;
mod profile;
mod recover;
pub mod return_to;
mod second_step;
mod sign_in;
mod sign_out;
mod step_up;
mod sub_users;
mod text;
mod text_code;
mod tokens;
mod webauthn;

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use doorward_plugins::audit::{Event, EventKind};
use doorward_plugins::password_check::Guesser;
use doorward_plugins::session::LiveSession;
use doorward_plugins::session::cookie::{CookieNames, GateCookies};
use doorward_plugins::{Problem, Refusal, RequestContext, Services, Timestamp};
use http::header::{ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_TYPE, ORIGIN, SET_COOKIE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method};
use tower::ServiceExt;

use crate::body::{Sent, Source};
use crate::outgoing::HttpsClient;
use crate::refusal::{Audience, tell};
use crate::serve::take_head;
use crate::worker::Worker;
use captcha::Solved;
use form::FormGuard;
use language::Language;

/// What the gate keeps of every host's paths.
pub const PREFIX: &str = "/.doorward/";

/// The largest form or document that is read.
const BODY_BYTES_MAX: u64 = 64 * 1024;

/// Where programs sign in.
const API_SIGN_IN: &str = "/.doorward/api/v1/sign-in";

/// How long a program waits for being told that the gate is busy, or that it asks too often: one that asks again at once, a
/// thousand times over, costs a worker a few answers a second on each connection and no more.
const BUSY_PAUSE: Duration = Duration::from_millis(250);

/// Answers below [`PREFIX`].
pub(crate) struct Portal(axum::Router);

/// What all handlers share.
struct Desk {
    services: Arc<Services>,
    guard: FormGuard,
    cookies: CookieNames,
    outgoing: HttpsClient,
}

impl Desk {
    /// Tells the audit log about a visit.
    fn note(&self, visit: &Visit, kind: EventKind) {
        let event = Event::new(kind).from_request(visit.address, &visit.request_id);
        self.services.audit.record(&event);
    }

    /// The name that authenticator apps show.
    fn issuer(&self) -> String {
        let config = &self.services.config;
        config.second_factor.issuer.clone().unwrap_or_else(|| config.public_url.host.clone())
    }

    /// Tells it that a visitor ended a session.
    fn note_ended(&self, visit: &Visit, ended: &LiveSession) {
        let event = Event::new(EventKind::SessionEnded).session(ended.id);
        let principal = ended.principal();
        let event = event.principal(&principal.id).account(&principal.name);
        self.services.audit.record(&event.from_request(visit.address, &visit.request_id));
    }
}

/// One request to the portal, as the pipeline left it.
struct Visit {
    session: Option<Arc<LiveSession>>,
    cookies: GateCookies,
    /// The host, or the cookie domain, that sessions of this visit belong to.
    scope: Arc<str>,
    /// The host that was asked.
    host: Arc<str>,
    address: IpAddr,
    device: String,
    request_id: String,
    language: Language,
    /// A person's browser that goes to a page.
    navigates: bool,
    site: Site,
    now: Timestamp,
}

/// What a browser says about the page that a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    /// Another site, or another host of this one.
    Other,
    /// A page of this very host, or the person's own doing.
    Same,
    /// It says nothing: not a browser of the last years, or no browser.
    Unsaid,
}

impl Site {
    pub(crate) fn of(headers: &HeaderMap, host: Option<&HeaderValue>) -> Self {
        let fetch_site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        let Some(origin) = headers.get(ORIGIN).map(HeaderValue::as_bytes) else {
            return match fetch_site {
                Some(b"same-origin" | b"none") => Self::Same,
                Some(_) => Self::Other,
                None => Self::Unsaid,
            };
        };
        let authority = origin.split(|byte| *byte == b'/').nth(2).unwrap_or_default();
        let whole = origin.ends_with(authority) && !authority.is_empty();
        let ours =
            whole && host.is_some_and(|host| host.as_bytes().eq_ignore_ascii_case(authority));
        match (fetch_site, ours) {
            (Some(b"same-origin" | b"none") | None, true) => Self::Same,
            // Forms of a page with `Referrer-Policy: no-referrer` do not name their origin, even
            // to their own host (Fetch §3.2). A frame without an origin is told as cross-site.
            (Some(b"same-origin"), false) if origin == b"null" => Self::Same,
            _ => Self::Other,
        }
    }
}

/// Makes the portal of a gate.
pub(crate) fn build(services: Arc<Services>) -> Portal {
    let desk = Arc::new(Desk {
        guard: FormGuard::new(&services.form_key),
        cookies: CookieNames::new(&services.config.session),
        outgoing: HttpsClient::new(
            services.config.captcha.provider().and_then(|provider| provider.ca_file.clone()),
        ),
        services,
    });
    let router = key_routes()
        .merge(factors())
        .merge(centre())
        .merge(recovery())
        .route("/.doorward/sign-in", get(sign_in::page).post(sign_in::submit))
        .route("/.doorward/sign-in/verify", get(second_step::page).post(second_step::submit))
        .route("/.doorward/sign-in/bind", get(second_step::bind_page).post(second_step::bind))
        .route("/.doorward/step-up", get(step_up::page).post(step_up::submit))
        .route("/.doorward/continue", get(step_up::continue_page).post(step_up::discard))
        .route("/.doorward/sign-out", get(sign_out::page).post(sign_out::submit))
        .route("/.doorward/account", get(account::page))
        .route("/.doorward/account/end-session", post(account::end_session))
        .route("/.doorward/account/password", get(password::page).post(password::submit))
        .route("/.doorward/session", get(api::session))
        .route("/.doorward/jwks.json", get(api::jwks))
        .route("/.doorward/style.css", get(pages::style))
        .route("/.doorward/captcha", get(captcha::challenge))
        .route("/.doorward/captcha.js", get(captcha::loader))
        .route("/.doorward/altcha.js", get(captcha::widget))
        .route("/.doorward/altcha.css", get(captcha::style))
        .route("/.doorward/altcha-worker.js", get(captcha::worker))
        .route("/.doorward/api/openapi.json", get(api::openapi))
        .route(API_SIGN_IN, post(api::sign_in))
        .route("/.doorward/api/v1/captcha", get(captcha::challenge))
        .route("/.doorward/api/v1/password", post(api::change_password))
        .route("/.doorward/api/v1/sign-out", post(api::sign_out))
        .route("/.doorward/api/v1/session", get(api::session))
        .route("/.doorward/api/v1/sessions", get(api::sessions))
        .route("/.doorward/api/v1/sessions/end-others", post(api::end_others))
        .route("/.doorward/api/v1/sessions/{id}", delete(api::end_session))
        .fallback(|visit: Extension<Arc<Visit>>| async move {
            visit.refuse(&Refusal::new(Problem::NotFound))
        })
        .method_not_allowed_fallback(|visit: Extension<Arc<Visit>>| async move {
            visit.refuse(&Refusal::new(Problem::MethodNotAllowed))
        })
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&desk), protect))
        .with_state(desk);
    Portal(router)
}

/// Second factors and appeals, and the same for programs.
fn factors() -> axum::Router<Arc<Desk>> {
    axum::Router::new()
        .route("/.doorward/account/authenticators", get(authenticators::page))
        .route(
            "/.doorward/account/authenticators/bind",
            get(authenticators::bind_page).post(authenticators::bind),
        )
        .route("/.doorward/account/authenticators/unbind", post(authenticators::unbind))
        .route("/.doorward/account/authenticators/distrust", post(authenticators::distrust))
        .route("/.doorward/account/authenticators/token", get(tokens::page).post(tokens::submit))
        .route("/.doorward/account/authenticators/stop-appeal", post(appeal::stop))
        .route(
            appeal::PAGE,
            get(appeal::page)
                .post(appeal::submit)
                // What comes in is bounded where it is read.
                .layer(axum::extract::DefaultBodyLimit::disable()),
        )
        .route("/.doorward/appeal/progress", get(appeal::progress))
        .route("/.doorward/account/authenticators/protection", post(authenticators::protect))
        .route(
            "/.doorward/account/authenticators/recovery-codes",
            post(authenticators::recovery_codes),
        )
        .route("/.doorward/api/v1/sign-in/second-factor", post(second_step::api))
        .route("/.doorward/api/v1/step-up/{id}", get(step_up::api_asked).post(step_up::api_approve))
        .route("/.doorward/api/v1/sign-in/second-factor/send", post(second_step::api_send))
        .route("/.doorward/api/v1/step-up/{id}/send", post(step_up::api_send))
        .route("/.doorward/api/v1/authenticators", get(authenticators::api_list))
        .route(
            "/.doorward/api/v1/authenticators/apps",
            post(authenticators::api_begin).put(authenticators::api_bind),
        )
        .route("/.doorward/api/v1/authenticators/{id}", delete(authenticators::api_unbind))
        .route(
            "/.doorward/api/v1/authenticators/recovery-codes",
            post(authenticators::api_recovery_codes),
        )
}

/// Security keys and passkeys, and the scripts that pages and consoles load.
fn key_routes() -> axum::Router<Arc<Desk>> {
    axum::Router::new()
        .route("/.doorward/account/keys/bind", get(key_binding::page).post(key_binding::submit))
        .route("/.doorward/webauthn.js", get(webauthn::script))
        .route("/.doorward/step-up.js", get(webauthn::step_up_script))
        .route("/.doorward/api/v1/webauthn/sign-in/options", post(webauthn::options))
        .route("/.doorward/api/v1/webauthn/sign-in", post(webauthn::submit))
        .route("/.doorward/api/v1/webauthn/keys/options", post(key_binding::api_options))
        .route("/.doorward/api/v1/webauthn/keys", post(key_binding::api_bind))
        .route("/.doorward/api/v1/webauthn/options", post(webauthn::second_factor_options))
}

/// The pages on which people look after their account, and the same for programs.
fn centre() -> axum::Router<Arc<Desk>> {
    axum::Router::new()
        .route("/.doorward/account/addresses", get(addresses::page).post(addresses::remove))
        .route(
            "/.doorward/account/addresses/change",
            get(addresses::change_page).post(addresses::change),
        )
        .route(
            "/.doorward/account/addresses/confirm",
            get(addresses::confirm_page).post(addresses::confirm),
        )
        .route("/.doorward/account/profile", get(profile::page).post(profile::submit))
        .route("/.doorward/account/sign-ins", get(profile::sign_ins))
        .route("/.doorward/account/end-others", post(account::end_others))
        .route("/.doorward/account/sub-users", get(sub_users::page))
        .route("/.doorward/account/sub-users/idle", post(sub_users::set_idle))
        .route("/.doorward/account/sub-users/reset", post(sub_users::reset_factors))
        .route("/.doorward/api/v1/addresses", get(addresses::api_list).post(addresses::api_begin))
        .route("/.doorward/api/v1/addresses/changes/{id}", post(addresses::api_confirm))
        .route("/.doorward/api/v1/addresses/changes/{id}/send", post(addresses::api_send))
        .route(
            "/.doorward/api/v1/profile",
            get(profile::api_profile).post(profile::api_set_profile),
        )
        .route("/.doorward/api/v1/sign-ins", get(profile::api_sign_ins))
}

/// The pages for who has forgotten a password or a name, and the same for programs.
fn recovery() -> axum::Router<Arc<Desk>> {
    use recover::api as program;
    axum::Router::new()
        .route("/.doorward/recover", get(recover::page).post(recover::begin))
        .route("/.doorward/recover/send", post(recover::send))
        .route("/.doorward/recover/verify", post(recover::verify))
        .route("/.doorward/recover/factor", post(recover::factor))
        .route("/.doorward/recover/password", post(recover::password))
        .route("/.doorward/recover/name", get(recover::names::page).post(recover::names::find))
        .route("/.doorward/recover/names", post(recover::names::names))
        .route("/.doorward/api/v1/recover", post(program::begin))
        .route("/.doorward/api/v1/recover/send", post(program::send))
        .route("/.doorward/api/v1/recover/verify", post(program::verify))
        .route("/.doorward/api/v1/recover/second-factor", post(program::factor))
        .route("/.doorward/api/v1/recover/password", post(program::password))
        .route("/.doorward/api/v1/recover/name", post(program::find_names))
        .route("/.doorward/api/v1/recover/names", post(program::names))
}

/// Carries a request to the portal, which answers on the office.
pub(crate) async fn visit(
    worker: &Rc<Worker>,
    cx: &mut RequestContext,
    audience: &Audience,
    body: Sent,
) -> Result<http::Response<Source>, Refusal> {
    cx.decided_by = "portal";
    let gate = &worker.gate;
    let signs_in = cx.path() == API_SIGN_IN && cx.head.method == Method::POST;
    if signs_in && let Err(refusal) = admit_program(&gate.services, cx).await {
        // Nothing of it is read, and the office does not hear of it: a crowd at the door must not
        // take the time of those inside. A person's form gets its page, with what they typed.
        tokio::time::sleep(BUSY_PAUSE).await;
        return Err(refusal);
    }
    let bytes_max = match cx.path() == appeal::PAGE && cx.head.method == Method::POST {
        true => appeal_bytes_max(gate, cx).await,
        false => BODY_BYTES_MAX,
    };
    let body = body.read(bytes_max, worker).await.map_err(Refusal::new)?;
    let head = take_head(cx);
    let domain = gate.services.config.session.cookie_domain.as_deref();
    let visit = Visit {
        session: cx.session.clone(),
        cookies: std::mem::take(&mut cx.cookies),
        scope: domain.map_or_else(|| Arc::clone(&cx.host), Arc::from),
        host: Arc::clone(&cx.host),
        address: cx.client.address,
        device: head
            .headers
            .get(USER_AGENT)
            .map(|agent| String::from_utf8_lossy(agent.as_bytes()).into_owned())
            .unwrap_or_default(),
        request_id: cx.request_id.as_str().to_owned(),
        language: Language::UNSET,
        navigates: audience.navigates,
        site: Site::of(&head.headers, head.headers.get(http::header::HOST)),
        now: cx.received,
    };
    let language = language::asked_for(head.uri.query()).unwrap_or_else(|| {
        Language::choose(visit.cookies.language.as_deref(), head.headers.get(ACCEPT_LANGUAGE))
    });
    let mut request = Request::from_parts(head, Body::from(body));
    request.extensions_mut().insert(Arc::new(Visit { language, ..visit }));
    let portal = gate.portal.0.clone();
    let answered = gate.office.spawn(portal.oneshot(request)).await;
    // A handler that panicked has answered nothing; the person may try again.
    let Ok(Ok(response)) = answered else { return Err(Refusal::new(Problem::Internal)) };
    Ok(response.map(Source::Portal))
}

/// How much of an appeal is read.
async fn appeal_bytes_max(gate: &crate::shared::Shared, cx: &RequestContext) -> u64 {
    let (services, token) = (Arc::clone(&gate.services), cx.cookies.pending.clone());
    let is_signed_in = cx.session.is_some();
    let asked = async move {
        appeal::bytes_max(&services, (is_signed_in, token.as_deref()), BODY_BYTES_MAX).await
    };
    gate.office.spawn(asked).await.unwrap_or(BODY_BYTES_MAX)
}

/// Is there time for a program's sign-in?
async fn admit_program(services: &Services, cx: &RequestContext) -> Result<(), Refusal> {
    services.rate_limits.sign_in(cx.client.address, cx.request_id.as_str()).await?;
    if services.sign_in.is_full() { Err(Refusal::new(Problem::Busy)) } else { Ok(()) }
}

/// What every answer of the portal has, and what no cross-site request may do.
async fn protect(
    State(desk): State<Arc<Desk>>,
    visit: Extension<Arc<Visit>>,
    request: Request,
    next: axum::middleware::Next,
) -> Response {
    let chosen = language::asked_for(request.uri().query());
    let safe = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = if !safe && visit.site == Site::Other {
        desk.note(&visit, EventKind::CsrfRefused);
        visit.refuse(&Refusal::new(Problem::CrossSite))
    } else {
        next.run(request).await
    };
    let policy = response.extensions_mut().remove::<captcha::Policy>();
    let headers = response.headers_mut();
    pages::fence(headers);
    if let Some(policy) = policy {
        policy.apply(headers);
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let url = &desk.services.config.public_url;
    if url.scheme == "https" && url.host != "localhost" {
        headers.insert("strict-transport-security", HeaderValue::from_static("max-age=31536000"));
    }
    // A file that everybody gets is nobody's to set a cookie with.
    let own = headers.get(CACHE_CONTROL).is_some_and(|value| value == "no-store");
    if let Some(language) = chosen.filter(|_| own) {
        add_cookie(headers, &desk.cookies.set_language(language.code()));
    }
    response
}

impl Visit {
    /// Who types a password in this visit.
    fn guesser(&self, captcha: Solved) -> Guesser<'_> {
        Guesser {
            address: self.address,
            device_cookie: self.cookies.device.as_deref(),
            captcha_solved: captcha == Solved::Yes,
            request_id: &self.request_id,
        }
    }

    /// A refusal in the form that suits the visitor.
    fn refuse(&self, refusal: &Refusal) -> Response {
        let page = self.navigates.then_some(self.language);
        tell(refusal, &self.request_id, page).map(Body::from)
    }
}

fn add_cookie(headers: &mut HeaderMap, cookie: &str) {
    if let Ok(value) = HeaderValue::try_from(cookie) {
        headers.append(SET_COOKIE, value);
    }
}

/// A JSON document.
fn json(document: &serde_json::Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], document.to_string()).into_response()
}
