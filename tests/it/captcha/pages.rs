//! The captcha in a real browser: solved by the widget under the page's own policy, and waited for
//! where no script runs. With `DOORWARD_SCREENSHOTS=FOLDER`, pictures are left there.

use doorward_tests::webdriver::Chromium;
use doorward_tests::{PASSWORD, PUBLIC_HOST, Setup, TestGate, Upstream, eventually};
use serde_json::json;

use super::ALWAYS;

struct House {
    // Goes first: the gate waits for its connections to end.
    browser: Chromium,
    gate: TestGate,
    _console: Upstream,
}

impl House {
    async fn open(difficulty: &str) -> Self {
        let html = "<!doctype html><title>Console</title><h1>Console</h1>";
        let console = Upstream::replying(move |_| {
            Some(format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{html}", html.len()).into())
        })
        .await;
        let tables = &format!("{ALWAYS}{difficulty}");
        let gate = TestGate::start(&console, Setup { tls: true, tables, ..Setup::default() }).await;
        gate.add_alice().await;
        Self { browser: Chromium::start().await, gate, _console: console }
    }

    async fn go(&mut self, target: &str) {
        let url = format!("https://{PUBLIC_HOST}:{}{target}", self.gate.address().port());
        self.browser.go(&url).await;
    }

    async fn sign_in(&mut self, password: &str) {
        self.browser.type_into("#password", password).await;
        self.browser.click("button[type=submit]").await;
    }

    /// Waits until an element of the page has this text in it.
    async fn says(&mut self, selector: &str, text: &str) {
        let expression = format!("document.querySelector('{selector}')?.textContent ?? ''");
        eventually(text, async || {
            let found = self.browser.evaluate(&expression).await;
            found.as_str().is_some_and(|found| found.contains(text))
        })
        .await;
    }
}

#[tokio::test]
async fn f10_the_widget_solves_it_under_the_pages_own_policy() {
    let mut house = House::open("").await;
    house.go("/orders").await;
    eventually("the widget", async || house.browser.has("altcha-widget label").await).await;
    house.browser.type_into("#account", "alice").await;
    house.sign_in("wrong").await;
    house.says("[role=alert]", "Name or password is wrong").await;
    eventually("the widget", async || house.browser.has("altcha-widget label").await).await;
    house.sign_in(PASSWORD).await;
    house.says("h1", "Console").await;
    assert_eq!(house.gate.services().sessions.count(), 1);
}

#[tokio::test]
async fn f10_k13_who_runs_no_scripts_waits_and_signs_in() {
    let mut house = House::open("").await;
    let off = json!({"value": true});
    house.browser.devtools("Emulation.setScriptExecutionDisabled", off).await;
    house.go("/orders").await;
    assert!(house.browser.text("noscript").await.contains("30 seconds"));
    house.browser.type_into("#account", "alice").await;
    house.sign_in(PASSWORD).await;
    house.says("[role=alert]", "wait another 30 seconds").await;
    assert_eq!(house.gate.services().sessions.count(), 0);
    house.gate.clock.advance(std::time::Duration::from_secs(30));
    house.sign_in(PASSWORD).await;
    house.says("h1", "Console").await;
}
