//! The captcha in a real browser: solved by the widget under the page's own policy, and waited for
//! where no script runs; and before other people's checkers.

use doorward_tests::webdriver::{Chromium, ENTER, TAB};
use doorward_tests::{PASSWORD, PUBLIC_HOST, Setup, TestGate, Upstream, eventually};
use serde_json::json;

use super::ALWAYS;
use crate::browser::examiner::Examiner;

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

    /// Notes from now on what a page's policy forbids it.
    async fn watch(&mut self) {
        let source = "window.forbidden = []; addEventListener('securitypolicyviolation', (event) => \
                      forbidden.push(`${event.effectiveDirective} ${event.blockedURI} ${event.sample}`))";
        let script = json!({"source": source});
        self.browser.devtools("Page.addScriptToEvaluateOnNewDocument", script).await;
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
    house.watch().await;
    house.go("/orders").await;
    eventually("the widget", async || house.browser.has("altcha-widget label").await).await;
    assert_eq!(house.browser.evaluate("forbidden").await, json!([]));
    house.browser.type_into("#account", "alice").await;
    house.sign_in("wrong").await;
    house.says("[role=alert]", "Name or password is wrong").await;
    eventually("the widget", async || house.browser.has("altcha-widget label").await).await;
    // By hand, with the box that is there to be ticked; its progress is told to whoever cannot see.
    house.browser.click("altcha-widget label").await;
    house.says("[role=status]", "Checked").await;
    assert_eq!(house.browser.evaluate("forbidden").await, json!([]));
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

#[tokio::test]
async fn f10_k12_the_keyboard_alone_is_enough_in_chinese_too() {
    let mut house = House::open("").await;
    house.go("/.doorward/sign-in?lang=zh-CN").await;
    house.says("altcha-widget label", "我不是机器人").await;
    // The box is reached after the password, and says what it is.
    house.browser.press(&format!("alice{TAB}{PASSWORD}{TAB}")).await;
    let focused = "document.activeElement.closest('altcha-widget') && document.activeElement.type";
    assert_eq!(house.browser.evaluate(focused).await, "checkbox");
    assert_eq!(
        house.browser.evaluate("document.activeElement.labels[0].textContent.trim()").await,
        "我不是机器人"
    );
    house.browser.press(" ").await;
    house.says("[role=status]", "验证通过").await;
    house.browser.press(&format!("{TAB}{ENTER}")).await;
    house.says("h1", "Console").await;
}

#[tokio::test]
async fn f10_who_has_scripts_that_fail_waits_like_who_has_none() {
    let mut house = House::open("").await;
    let blocked = json!({"urls": ["*altcha*"]});
    house.browser.devtools("Network.enable", json!({})).await;
    house.browser.devtools("Network.setBlockedURLs", blocked).await;
    house.go("/orders").await;
    assert!(!house.browser.has("altcha-widget label").await);
    house.browser.type_into("#account", "alice").await;
    house.sign_in(PASSWORD).await;
    house.says("[role=alert]", "wait another 30 seconds").await;
    house.gate.clock.advance(std::time::Duration::from_secs(30));
    house.sign_in(PASSWORD).await;
    house.says("h1", "Console").await;
}

#[tokio::test]
async fn k12_k14_the_captcha_is_accessible_and_valid_whatever_it_shows() {
    let mut house = House::open("").await;
    house.browser.devtools("Network.enable", json!({})).await;
    for language in ["en", "zh-CN"] {
        let mut examiner = Examiner::new(&mut house.browser, language).await;
        for name in ["captcha", "captcha-solved", "captcha-failed", "captcha-waits"] {
            let waits = name == "captcha-waits";
            let blocked = if waits { json!({"urls": ["*altcha*"]}) } else { json!({"urls": []}) };
            house.browser.devtools("Network.setBlockedURLs", blocked).await;
            house.go(&format!("/.doorward/sign-in?lang={language}")).await;
            if waits {
                house.browser.type_into("#account", "alice").await;
                house.sign_in(PASSWORD).await;
                eventually("the answer", async || house.browser.has("[role=alert]").await).await;
            } else {
                eventually("it", async || house.browser.has("altcha-widget label").await).await;
            }
            if name == "captcha-solved" {
                house.browser.click("altcha-widget label").await;
                eventually("the solution", async || {
                    house.browser.has("altcha-widget [data-state=verified]").await
                })
                .await;
            }
            if name == "captcha-failed" {
                let fail = "document.querySelector('altcha-widget').setState('error', 'x')";
                house.browser.evaluate(fail).await;
            }
            examiner.look(&mut house.browser, name).await;
        }
        examiner.conclude();
    }
}
