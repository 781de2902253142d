//! A client with a cookie jar.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, HOST, LOCATION, SET_COOKIE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::{DEADLINE, PASSWORD, raw};

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The fields that followed the body, which HTTP/1.1 tells only who asks for them.
    pub trailers: HeaderMap,
}

impl Answer {
    /// The only value of a field, or "".
    #[must_use]
    pub fn field(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Where it sends the client, or "".
    #[must_use]
    pub fn location(&self) -> &str {
        self.field(LOCATION.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{} is not JSON", self.text()))
    }

    /// The value of a hidden field of a form in the page.
    #[must_use]
    pub fn hidden(&self, name: &str) -> String {
        let text = self.text();
        let mark = format!("name=\"{name}\" value=\"");
        let (_, rest) =
            text.split_once(&mark).unwrap_or_else(|| panic!("no field {name} in {text}"));
        rest.split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&")
    }
}

/// A client that keeps cookies, and does not follow redirects.
#[derive(Clone)]
pub struct Browser {
    address: SocketAddr,
    /// What it asks for in `Host`.
    pub host: String,
    ca_file: Option<PathBuf>,
    tls: Option<ClientConfig>,
    http2: bool,
    /// Name and value of each cookie.
    pub jar: BTreeMap<String, String>,
    /// Fields that go with every request, such as `Accept`.
    pub fields: Vec<(String, String)>,
}

impl Browser {
    /// One that connects to `address`, with TLS if there is a `ca_file`, and asks for `host`.
    #[must_use]
    pub fn new(address: SocketAddr, host: &str, ca_file: Option<PathBuf>) -> Self {
        Self {
            address,
            host: host.into(),
            ca_file,
            tls: None,
            http2: false,
            jar: BTreeMap::new(),
            fields: Vec::new(),
        }
    }

    /// The same with TLS of its own, such as with a client certificate.
    #[must_use]
    pub fn with_tls(mut self, config: ClientConfig) -> Self {
        self.tls = Some(config);
        self
    }

    /// The same over HTTP/2, which needs TLS.
    #[must_use]
    pub fn over_http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// The same, and it says that it navigates, as a browser does when a person follows a link.
    #[must_use]
    pub fn navigating(mut self) -> Self {
        self.fields.push(("accept".into(), "text/html".into()));
        self.fields.push(("sec-fetch-mode".into(), "navigate".into()));
        self.fields.push(("sec-fetch-site".into(), "same-origin".into()));
        self
    }

    /// The value of the session cookie.
    #[must_use]
    pub fn token(&self) -> &str {
        self.jar.get("__Host-doorward").map_or("", String::as_str)
    }

    /// GET.
    pub async fn get(&mut self, target: &str) -> Answer {
        self.send(Method::GET, target, &[], Bytes::new()).await
    }

    /// GET with these fields besides.
    pub async fn get_with(&mut self, target: &str, fields: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, target, fields, Bytes::new()).await
    }

    /// POST of a form.
    pub async fn post_form(&mut self, target: &str, fields: &[(&str, &str)]) -> Answer {
        let encode = doorward::portal::return_to::encode;
        let pairs: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        let kind = [(CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded")];
        self.send(Method::POST, target, &kind, pairs.join("&").into()).await
    }

    /// POST of JSON.
    pub async fn post_json(&mut self, target: &str, body: &serde_json::Value) -> Answer {
        let kind = [(CONTENT_TYPE.as_str(), "application/json")];
        self.send(Method::POST, target, &kind, body.to_string().into()).await
    }

    /// Signs in by the API with the usual password; `ACCOUNT/SUB_USER` for a sub-user.
    pub async fn sign_in(&mut self, name: &str) {
        let answer = self.try_sign_in(name, PASSWORD).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }

    /// Tries to sign in by the API.
    pub async fn try_sign_in(&mut self, name: &str, password: &str) -> Answer {
        let (account, sub_user) = name.split_once('/').unwrap_or((name, ""));
        let body =
            serde_json::json!({"account": account, "sub_user": sub_user, "password": password});
        self.post_json("/.doorward/api/v1/sign-in", &body).await
    }

    /// Any request.
    pub async fn send(
        &mut self,
        method: Method,
        target: &str,
        fields: &[(&str, &str)],
        body: Bytes,
    ) -> Answer {
        let authority = if self.http2 { format!("https://{}", self.host) } else { String::new() };
        let mut request = Request::builder().method(method).uri(format!("{authority}{target}"));
        if !self.http2 {
            request = request.header(HOST, &self.host);
        }
        let own = self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in own.chain(fields.iter().copied()) {
            request = request.header(name, value);
        }
        if !self.jar.is_empty() {
            let cookies: Vec<_> =
                self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header(COOKIE, cookies.join("; "));
        }
        let request = request.body(Full::new(body)).unwrap();
        let answer = tokio::time::timeout(DEADLINE, self.exchange(request))
            .await
            .expect("an answer in time");
        self.keep_cookies(&answer);
        answer
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Answer {
        let default = || Some(raw::tls_config(self.ca_file.as_deref()?, &[]));
        let Some(mut config) = self.tls.clone().or_else(default) else {
            let stream = TcpStream::connect(self.address).await.unwrap();
            return talk(stream, request, self.http2).await;
        };
        config.alpn_protocols =
            vec![if self.http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let stream = raw::tls(self.address, &self.host, config).await.unwrap();
        talk(stream, request, self.http2).await
    }

    fn keep_cookies(&mut self, answer: &Answer) {
        for cookie in answer.headers.get_all(SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
            let (name, value) = pair.split_once('=').unwrap();
            if attributes.contains("Max-Age=0") {
                self.jar.remove(name);
            } else {
                self.jar.insert(name.into(), value.into());
            }
        }
    }
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    http2: bool,
) -> Answer {
    let io = TokioIo::new(stream);
    let tasks = Tasks::default();
    let response = if http2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(tasks.clone(), io).await.unwrap();
        tasks.execute(connection);
        sender.send_request(request).await.unwrap()
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tasks.execute(connection);
        sender.send_request(request).await.unwrap()
    };
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    // A connection left open would hold up the gate's shutdown, which blocks who could close it.
    tasks.finish().await;
    Answer { status: head.status, headers: head.headers, body: body.to_bytes(), trailers }
}

/// The tasks of one connection, which can be waited for.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<Vec<JoinHandle<()>>>>);

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let task = tokio::spawn(async { drop(task.await) });
        self.0.lock().unwrap().push(task);
    }
}

impl Tasks {
    async fn finish(&self) {
        loop {
            let task = self.0.lock().unwrap().pop();
            let Some(task) = task else { return };
            task.await.unwrap();
        }
    }
}
