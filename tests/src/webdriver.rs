//! A real browser: headless Chromium by the WebDriver protocol (W3C), as far as stories need it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;

use http::Method;
use serde_json::{Value, json};

use crate::{Browser, DEADLINE, Scratch, happens};

/// The Tab key.
pub const TAB: &str = "\u{E004}";

/// The Escape key.
pub const ESCAPE: &str = "\u{E00C}";

/// The Enter key.
pub const ENTER: &str = "\u{E007}";

/// The name under which the protocol tells elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with an empty profile; it ends when dropped.
pub struct Chromium {
    driver: Child,
    process: u64,
    address: SocketAddr,
    client: Browser,
    session: String,
    _profile: Scratch,
}

impl Chromium {
    /// Starts one. Every host name is this machine; certificates are not verified.
    ///
    /// # Panics
    /// When `chromium` or `chromedriver` is missing or does not start.
    pub async fn start() -> Self {
        Self::with_hosts("MAP * 127.0.0.1").await
    }

    /// Starts one in which a host without a port is this one here, so that its origin is the one
    /// that `public_url` names.
    ///
    /// # Panics
    /// When `chromium` or `chromedriver` is missing or does not start.
    pub async fn start_for(host: &str, port: u16) -> Self {
        Self::with_hosts(&format!("MAP {host}:443 127.0.0.1:{port}, MAP * 127.0.0.1")).await
    }

    async fn with_hosts(hosts: &str) -> Self {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = command.spawn().expect("chromedriver, which tests/run asks for");
        let output = BufReader::new(driver.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let port = loop {
            let line = lines.recv_timeout(DEADLINE).expect("chromedriver says its port");
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim_end_matches('.').parse::<u16>().unwrap();
            }
        };
        let profile = Scratch::new();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut client = Browser::new(address, "localhost", None);
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--ignore-certificate-errors",
            &format!("--host-resolver-rules={hosts}"),
            "--lang=en",
            "--window-size=1280,900",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "acceptInsecureCerts": true,
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"performance": "ALL"},
        }}});
        let answer = client.post_json("/session", &wanted).await.json();
        let session = answer["value"]["sessionId"].as_str();
        let session = session.unwrap_or_else(|| panic!("{answer}")).to_owned();
        let process = answer["value"]["capabilities"]["goog:processID"].as_u64().unwrap();
        Self { driver, process, address, client, session, _profile: profile }
    }

    /// Sends a command; gives the `value` of the answer, or its error.
    async fn command(&mut self, method: Method, path: &str, body: Value) -> Result<Value, Value> {
        let target = format!("/session/{}{path}", self.session);
        let answer = match method {
            Method::GET => self.client.get(&target).await,
            Method::DELETE => self.client.send(method, &target, &[], "".into()).await,
            _ => self.client.post_json(&target, &body).await,
        };
        let value = answer.json()["value"].take();
        if answer.status.is_success() { Ok(value) } else { Err(value) }
    }

    async fn done(&mut self, path: &str, body: Value) -> Value {
        let done = self.command(Method::POST, path, body).await;
        done.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Goes to a URL and waits until it is loaded.
    pub async fn go(&mut self, url: &str) {
        self.done("/url", json!({"url": url})).await;
    }

    /// Where it is.
    pub async fn url(&mut self) -> String {
        let url = self.command(Method::GET, "/url", Value::Null).await.unwrap();
        url.as_str().unwrap().to_owned()
    }

    /// Waits until it is at a URL of which this is true.
    pub async fn arrive(&mut self, what: &str, mut there: impl FnMut(&str) -> bool) {
        let arrived = happens(async || there(&self.url().await)).await;
        assert!(arrived, "{what} did not happen; {}", self.shows().await);
    }

    /// Where it is and what one sees there, for whoever reads why a test failed.
    pub async fn shows(&mut self) -> String {
        let text = self.text("body").await;
        format!("{} shows\n{text}", self.url().await)
    }

    /// Loads the page again, as a person who presses F5 and says yes.
    pub async fn reload(&mut self) {
        self.done("/refresh", json!({})).await;
    }

    /// Goes back, as by the button.
    pub async fn back(&mut self) {
        self.done("/back", json!({})).await;
    }

    /// Opens another tab and looks into it from now on; gives the one that it looked into before.
    pub async fn open_tab(&mut self) -> String {
        let before = self.command(Method::GET, "/window", Value::Null).await.unwrap();
        let opened = self.done("/window/new", json!({"type": "tab"})).await;
        self.look_into(opened["handle"].as_str().unwrap()).await;
        before.as_str().unwrap().to_owned()
    }

    /// Looks into this tab from now on.
    pub async fn look_into(&mut self, tab: &str) {
        self.done("/window", json!({"handle": tab})).await;
    }

    /// All tabs.
    pub async fn tabs(&mut self) -> Vec<String> {
        let tabs = self.command(Method::GET, "/window/handles", Value::Null).await.unwrap();
        tabs.as_array().unwrap().iter().map(|tab| tab.as_str().unwrap().to_owned()).collect()
    }

    /// Finds an element by its CSS selector; `HOST >>> INNER` looks into the shadow of `HOST`.
    async fn find(&mut self, selector: &str) -> Result<String, Value> {
        if let Some((host, inner)) = selector.split_once(" >>> ") {
            let script = "return document.querySelector(arguments[0])?.shadowRoot.querySelector(arguments[1])";
            let wanted = json!({"script": script, "args": [host, inner]});
            let found = self.command(Method::POST, "/execute/sync", wanted).await?;
            let id = found[ELEMENT].as_str().map(str::to_owned);
            return id.ok_or_else(|| json!(format!("nothing is at {selector}")));
        }
        let wanted = json!({"using": "css selector", "value": selector});
        let found = self.command(Method::POST, "/element", wanted).await?;
        Ok(found[ELEMENT].as_str().unwrap().to_owned())
    }

    /// Is there an element of this CSS selector?
    pub async fn has(&mut self, selector: &str) -> bool {
        self.find(selector).await.is_ok()
    }

    /// The visible text of the first element of a CSS selector, if there is one, and does not go
    /// away meanwhile.
    pub async fn seen(&mut self, selector: &str) -> Option<String> {
        let element = self.find(selector).await.ok()?;
        let path = format!("/element/{element}/text");
        let text = self.command(Method::GET, &path, Value::Null).await.ok()?;
        text.as_str().map(str::to_owned)
    }

    /// The same, which comes soon if it is not there.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn text(&mut self, selector: &str) -> String {
        let mut found = None;
        let looking = async || {
            found = self.seen(selector).await;
            found.is_some()
        };
        happens(looking).await;
        found.unwrap_or_else(|| panic!("nothing is at {selector}"))
    }

    /// Clicks it.
    pub async fn click(&mut self, selector: &str) {
        let element = self.find(selector).await.unwrap_or_else(|error| panic!("{error}"));
        self.done(&format!("/element/{element}/click"), json!({})).await;
    }

    /// Types into it.
    pub async fn type_into(&mut self, selector: &str, text: &str) {
        let element = self.find(selector).await.unwrap_or_else(|error| panic!("{error}"));
        self.done(&format!("/element/{element}/value"), json!({"text": text})).await;
    }

    /// Presses keys, one after another, wherever the focus is.
    pub async fn press(&mut self, keys: &str) {
        let strokes = keys.chars().flat_map(|key| {
            ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key.to_string()}))
        });
        let strokes: Vec<_> = strokes.collect();
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": strokes});
        self.done("/actions", json!({"actions": [keyboard]})).await;
    }

    /// Looks into the first frame of the page from now on.
    pub async fn enter_frame(&mut self) {
        self.done("/frame", json!({"id": 0})).await;
    }

    /// What an expression gives in the page.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        let script = format!("return ({expression})");
        self.done("/execute/sync", json!({"script": script, "args": []})).await
    }

    /// The page that is shown, as it was sent. To be asked once for each page.
    ///
    /// # Panics
    /// When no page was sent since it was asked last.
    pub async fn sent(&mut self) -> String {
        let log = self.done("/se/log", json!({"type": "performance"})).await;
        let entries = log.as_array().unwrap().iter().rev();
        let events = entries.map(|entry| {
            let event: Value = serde_json::from_str(entry["message"].as_str().unwrap()).unwrap();
            event["message"].clone()
        });
        let documents = events.filter(|event| {
            event["method"] == "Network.responseReceived" && event["params"]["type"] == "Document"
        });
        let id = documents.map(|event| event["params"]["requestId"].clone()).next().unwrap();
        let body = self.devtools("Network.getResponseBody", json!({"requestId": id})).await;
        assert_eq!(body["base64Encoded"], false);
        body["body"].as_str().unwrap().to_owned()
    }

    /// Plugs in a virtual authenticator (WebAuthn §11.2), whose owner always agrees and is always
    /// verified: a security key, which does not know its user.
    pub async fn plug_in_key(&mut self) -> String {
        self.plug_in("usb", false).await
    }

    /// The same: a passkey of this machine. Where a page offers passkeys in a field, its owner
    /// chooses it at once.
    pub async fn plug_in_passkey(&mut self) -> String {
        self.plug_in("internal", true).await
    }

    async fn plug_in(&mut self, transport: &str, knows_user: bool) -> String {
        let wanted = json!({
            "protocol": "ctap2", "transport": transport, "hasResidentKey": knows_user,
            "hasUserVerification": true, "isUserVerified": true, "isUserConsenting": true,
        });
        let id = self.done("/webauthn/authenticator", wanted).await;
        id.as_str().unwrap().to_owned()
    }

    /// Unplugs it.
    pub async fn unplug(&mut self, authenticator: &str) {
        let path = format!("/webauthn/authenticator/{authenticator}");
        self.command(Method::DELETE, &path, Value::Null).await.unwrap();
    }

    /// Ends the session. Blocks, as it is called where nothing can be awaited.
    fn quit(&self) -> io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&self.address, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        write!(stream, "DELETE /session/{} HTTP/1.1\r\nHost: localhost\r\n\r\n", self.session)?;
        // It answers when the browser has ended, and keeps the connection.
        stream.read_exact(&mut [0])
    }

    /// A command of the Chrome DevTools Protocol.
    pub async fn devtools(&mut self, command: &str, parameters: Value) -> Value {
        self.done("/goog/cdp/execute", json!({"cmd": command, "params": parameters})).await
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Asked to, the browser cleans up behind itself; the driver, killed, would leave it behind.
        if self.quit().is_err() {
            let _ = Command::new("kill").args(["-KILL", &self.process.to_string()]).status();
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
