//! The pages in a real browser: by mouse, by keyboard alone, without scripts, and from another
//! site. What they look like, `browser::tour` shows.

use doorward_plugins::administration::AccountChange;
use doorward_tests::webdriver::{Chromium, ENTER, TAB};
use doorward_tests::{PASSWORD, PUBLIC_HOST, Setup, TestGate, Upstream};
use http::StatusCode;
use serde_json::json;

/// A console whose page has a script, which says so by changing the title.
const CONSOLE: &str = "<!doctype html><title>Console</title><h1>Console</h1><script>document.title = 'scripted'</script>\
                       <form method=post action=/.doorward/sign-out><button>Leave</button></form>";

fn page(html: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\n\r\n{html}", html.len()).into()
}

struct House {
    // Goes first: the gate waits for its connections to end.
    browser: Chromium,
    gate: TestGate,
    _console: Upstream,
}

impl House {
    async fn open() -> Self {
        let console = Upstream::replying(|_| Some(page(CONSOLE))).await;
        let tables = "[[route]]\npath = \"/public\"\naccess = \"public\"";
        let setup = Setup { tls: true, tables, ..Setup::default() };
        let gate = TestGate::start(&console, setup).await;
        gate.add_alice().await;
        gate.add("alice/dev", AccountChange::default()).await;
        Self { browser: Chromium::start().await, gate, _console: console }
    }

    fn url(&self, target: &str) -> String {
        format!("https://{PUBLIC_HOST}:{}{target}", self.gate.address().port())
    }

    async fn go(&mut self, target: &str) {
        let url = self.url(target);
        self.browser.go(&url).await;
    }

    async fn arrive(&mut self, target: &str) {
        let url = self.url(target);
        self.browser.arrive(&format!("arrival at {target}"), |at| at == url).await;
    }

    /// Signs in on the page that is open.
    async fn sign_in(&mut self, account: &str, password: &str) {
        self.browser.type_into("#account", account).await;
        self.browser.type_into("#password", password).await;
        self.browser.click("button[type=submit]").await;
    }

    async fn change_password(&mut self, current: &str, new: &str) {
        self.browser.type_into("#current_password", current).await;
        self.browser.type_into("#new_password", new).await;
        self.browser.click("form button").await;
    }

    /// Waits until the page says aloud what is wrong.
    async fn is_told(&mut self, words: &str) {
        doorward_tests::eventually(words, async || {
            let told = self.browser.seen("[role=alert]").await;
            told.is_some_and(|told| told.contains(words))
        })
        .await;
    }

    fn sessions(&self) -> usize {
        self.gate.services().sessions.count()
    }
}

#[tokio::test]
async fn a_person_signs_in_looks_around_and_signs_out() {
    let mut house = House::open().await;
    house.go("/orders?tab=all").await;
    assert!(house.browser.url().await.contains("/.doorward/sign-in?return_to="));
    assert_eq!(house.browser.evaluate("document.activeElement.id").await, "account");
    // The style sheet passes the page's own policy.
    assert_eq!(
        house.browser.evaluate("getComputedStyle(document.querySelector('main')).maxWidth").await,
        "416px"
    );
    house.sign_in("alice", PASSWORD).await;
    house.arrive("/orders?tab=all").await;
    assert_eq!(house.browser.text("h1").await, "Console");
    let cookies = house.browser.evaluate("document.cookie").await;
    assert_eq!(cookies, "", "a script can read the cookie");
    house.go("/.doorward/account").await;
    assert_eq!(house.browser.text("dd").await, "alice");
    house.go("/").await;
    house.browser.click("button").await;
    house.arrive("/.doorward/sign-in?notice=signed-out").await;
    assert!(house.browser.has("[role=status]").await);
    house.go("/orders").await;
    assert!(house.browser.url().await.contains("/.doorward/sign-in"), "still signed in");
    assert_eq!(house.sessions(), 0);
}

#[tokio::test]
async fn k12_a_mistake_is_announced_and_the_name_is_kept() {
    let mut house = House::open().await;
    house.go("/.doorward/sign-in").await;
    house.sign_in("alice", "wrong").await;
    doorward_tests::eventually("the announcement", async || {
        house.browser.has("[role=alert]").await
    })
    .await;
    assert!(house.browser.text("[role=alert]").await.contains("wrong"));
    assert_eq!(house.browser.evaluate("document.getElementById('account').value").await, "alice");
    assert_eq!(house.browser.evaluate("document.getElementById('password').value").await, "");
    assert_eq!(house.browser.evaluate("document.activeElement.id").await, "password");
    let described = house
        .browser
        .evaluate("document.getElementById('password').getAttribute('aria-describedby')")
        .await;
    assert_eq!(described, "error");
    house.browser.type_into("#password", PASSWORD).await;
    house.browser.click("button[type=submit]").await;
    house.arrive("/").await;
}

#[tokio::test]
async fn k12_the_keyboard_alone_is_enough() {
    let mut house = House::open().await;
    house.go("/.doorward/sign-in?form=sub-user&return_to=%2F.doorward%2Faccount").await;
    house.browser.press(&format!("alice{TAB}dev{TAB}{PASSWORD}{ENTER}")).await;
    house.arrive("/.doorward/account").await;
    assert_eq!(house.browser.text("dd").await, "alice/dev");
    house.browser.press(TAB).await;
    let focused = house.browser.evaluate("document.activeElement.textContent").await;
    assert_eq!(focused, "Sign out", "the first thing that the keyboard reaches");
    let outline =
        house.browser.evaluate("getComputedStyle(document.activeElement).outlineStyle").await;
    assert_eq!(outline, "solid", "one sees where the focus is");
    house.browser.press(ENTER).await;
    house.arrive("/.doorward/sign-in?notice=signed-out").await;
}

#[tokio::test]
async fn k13_everything_works_without_scripts() {
    let mut house = House::open().await;
    let off = json!({"value": true});
    house.browser.devtools("Emulation.setScriptExecutionDisabled", off).await;
    house.go("/orders").await;
    house.sign_in("alice", PASSWORD).await;
    house.arrive("/orders").await;
    assert_eq!(house.browser.text("h1").await, "Console");
    assert!(!house.browser.has("title:empty").await);
    let title = house.browser.evaluate("document.title").await;
    assert_eq!(title, "Console", "scripts were not off");
    house.go("/.doorward/account").await;
    house.browser.click("form[action='/.doorward/sign-out'] button").await;
    house.arrive("/.doorward/sign-in?notice=signed-out").await;
    assert_eq!(house.sessions(), 0);
}

#[tokio::test]
async fn f17_f21_k12_a_password_is_changed_on_a_page_that_managers_of_passwords_understand() {
    let mut house = House::open().await;
    house.go(PASSWORD_PAGE).await;
    house.sign_in("alice", PASSWORD).await;
    house.arrive(PASSWORD_PAGE).await;
    let complete =
        "[...document.querySelectorAll('input[autocomplete]')].map(i => i.autocomplete).join()";
    let complete = house.browser.evaluate(complete).await;
    assert_eq!(complete, "username,current-password,new-password");
    house.change_password(PASSWORD, "console-alice-console").await;
    house.is_told("little more than").await;
    let described = "document.getElementById('new_password').getAttribute('aria-describedby')";
    assert_eq!(house.browser.evaluate(described).await, "hint error");
    house.change_password("not it", "violet tractor umbrella seven").await;
    house.is_told("current password is wrong").await;
    house.browser.type_into("#current_password", PASSWORD).await;
    house.browser.type_into("#new_password", "violet tractor umbrella seven").await;
    house.browser.press(ENTER).await;
    house.arrive("/.doorward/account?notice=password").await;
    assert!(house.browser.text("[role=status]").await.contains("changed"));
}

#[tokio::test]
async fn k01_e12_a_form_on_another_site_does_nothing() {
    let mut house = House::open().await;
    let mut person = house.gate.browser();
    person.sign_in("alice").await;
    house.go("/.doorward/sign-in").await;
    house.sign_in("alice", PASSWORD).await;
    house.arrive("/").await;
    assert_eq!(house.sessions(), 2);
    let (sign_out, sign_in) = (house.url("/.doorward/sign-out"), house.url("/.doorward/sign-in"));
    let evil = Upstream::replying(move |_| {
        Some(page(&format!(
            "<!doctype html><title>evil</title>\
             <form id=a method=post action='{sign_out}'><button>A</button></form>\
             <form id=b method=post action='{sign_in}'><input name=account value=alice><input name=password value='{PASSWORD}'><button>B</button></form>"
        )))
    })
    .await;
    for form in ["#a button", "#b button"] {
        house.browser.go(&format!("http://evil.example:{}/", evil.address.port())).await;
        house.browser.click(form).await;
        house.browser.arrive("the gate's answer", |at| at.contains(PUBLIC_HOST)).await;
        assert_eq!(house.browser.text("h1").await, "This request came from another site");
    }
    assert_eq!(house.sessions(), 2, "another site ended or began a session");
    house.go("/").await;
    assert_eq!(house.browser.text("h1").await, "Console", "still signed in");
    assert_eq!(person.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn k06_no_other_page_can_frame_ours() {
    let mut house = House::open().await;
    let gate = house.url("");
    let evil = Upstream::replying(move |asked| {
        let target = asked.line().strip_prefix("GET ").unwrap();
        Some(page(&format!(
            "<!doctype html><title>evil</title><iframe src='{gate}{target}'></iframe>"
        )))
    })
    .await;
    let port = evil.address.port();
    house.browser.go(&format!("http://evil.example:{port}/public")).await;
    house.browser.enter_frame().await;
    assert!(house.browser.has("h1").await, "what the console lets be framed, is");
    for target in ["/.doorward/sign-in", "/.doorward/sign-out", "/.doorward/nothing", "/a//b"] {
        house.browser.go(&format!("http://evil.example:{port}{target}")).await;
        house.browser.enter_frame().await;
        assert!(!house.browser.has("main").await, "{target} stands in a frame");
    }
}

const PASSWORD_PAGE: &str = "/.doorward/account/password";
