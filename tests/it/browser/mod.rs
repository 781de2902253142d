//! Every flow of second factors in headless Chromium, in front of the sample console of
//! `doorward demo`: what people see, press and hear told, and what the console gets.

mod dialog;
pub(crate) mod examiner;
mod form;
mod keyboard;
mod scripts_off;
mod sign_out;
mod tabs;
mod tour;

use std::time::Duration;

use doorward_plugins::administration::{AccountChange, Request};
use doorward_tests::webdriver::Chromium;
use doorward_tests::{App, PASSWORD, PUBLIC_HOST, Recorded, Setup, TestGate, Upstream, happens};

/// The console's sensitive routes, as those of the demo; and somewhere for messages.
const TABLES: &str = "[captcha]\nmode = \"off\"\n[notify]\noutbox_dir = \"outbox\"\n\
    [second_factor]\nrequire = [\"guarded\"]\n\
    [[route]]\npath = \"/keys/**\"\nmethods = [\"POST\"]\nstep_up = { max_age = \"5m\", label = \"Manage access keys\" }\n\
    [[route]]\npath = \"/transfer\"\nmethods = [\"POST\"]\nstep_up = { bind = \"request\", label = \"Transfer money\", show = [\"to\", \"amount\"] }\n";

/// A browser, the gate, and the console behind it.
struct House {
    // Goes first: the gate waits for its connections to end.
    browser: Chromium,
    gate: TestGate,
    console: Upstream,
}

impl House {
    /// Everything, with alice, who has a phone and nothing bound.
    async fn open() -> Self {
        let console = Upstream::replying(|asked| Some(answer(asked))).await;
        let setup = Setup { tls: true, tables: TABLES, ..Setup::default() };
        let gate = TestGate::start(&console, setup).await;
        let phone = Some("+8613800000000".into());
        gate.add("alice", AccountChange { phone, ..AccountChange::default() }).await;
        let browser = Chromium::start_for(PUBLIC_HOST, gate.address().port()).await;
        Self { browser, gate, console }
    }

    /// The same, with alice signed in and at the console's page; and her app, with a fresh code.
    async fn at_the_console() -> (Self, App) {
        let mut house = Self::open().await;
        let app = house.gate.app_of("alice").await;
        app.wait();
        house.sign_in("/app").await;
        (house, app)
    }

    fn url(target: &str) -> String {
        format!("https://{PUBLIC_HOST}{target}")
    }

    async fn go(&mut self, target: &str) {
        self.browser.go(&Self::url(target)).await;
    }

    async fn arrive(&mut self, target: &str) {
        let url = Self::url(target);
        self.browser.arrive(&format!("arrival at {target}"), |at| at == url).await;
    }

    async fn arrive_below(&mut self, start: &str) {
        let url = Self::url(start);
        self.browser.arrive(&format!("arrival below {start}"), |at| at.starts_with(&url)).await;
    }

    /// Goes to a page of the console, and gives the password on the way.
    async fn sign_in(&mut self, target: &str) {
        self.go(target).await;
        self.give_password().await;
        self.arrive(target).await;
    }

    async fn give_password(&mut self) {
        self.browser.type_into("#account", "alice").await;
        self.browser.type_into("#password", PASSWORD).await;
        self.browser.click("form button[type=submit]").await;
    }

    /// Answers the page that asks for a code.
    async fn give_code(&mut self, code: &str) {
        self.browser.type_into("#answer", code).await;
        self.browser.click("form button[type=submit]:not([name])").await;
    }

    /// Sends the console's own form, and arrives at the page that asks for an approval.
    async fn send_form(&mut self) {
        self.browser.click("#by-form button").await;
        self.arrive_below("/.doorward/step-up?challenge=").await;
    }

    async fn protect_sign_in(&self) {
        let change = AccountChange { login_protection: Some(true), ..AccountChange::default() };
        let change = Box::new(change);
        self.gate.ask(Request::AccountSet { name: "alice".into(), change }).await.unwrap();
    }

    /// Waits until the page says this somewhere.
    async fn is_told(&mut self, selector: &str, words: &str) {
        let told = happens(async || {
            self.browser.seen(selector).await.is_some_and(|shown| shown.contains(words))
        })
        .await;
        assert!(told, "no {words:?} at {selector}; {}", self.browser.shows().await);
    }

    /// The posts that the console got.
    fn posts(&self) -> Vec<Recorded> {
        let requests = self.console.requests();
        requests.into_iter().filter(|request| request.line().starts_with("POST ")).collect()
    }

    /// Lets the session end.
    fn let_session_expire(&self) {
        self.gate.clock.advance(Duration::from_secs(3600));
    }
}

/// What the console answers: its page, or what it was asked.
pub(crate) fn answer(asked: &Recorded) -> Vec<u8> {
    let path = asked.line().split(' ').nth(1).unwrap();
    let line = asked.line();
    let by_script = asked.field("accept") == Some("application/json");
    let (kind, text) = match doorward::demo::app(path) {
        Some((kind, text)) => (kind, text.to_owned()),
        None if by_script => ("text/plain", format!("the console did {line}")),
        None => (
            "text/html; charset=utf-8",
            format!("<!doctype html><title>Console</title><h1>Console</h1><p id=got>{line}</p>"),
        ),
    };
    let policy = doorward::demo::POLICY;
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-security-policy: {policy}\r\n\
         content-length: {}\r\n\r\n{text}",
        text.len()
    )
    .into()
}
