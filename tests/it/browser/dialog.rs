//! The dialog of `/.doorward/step-up.js` in a single-page console, whose policy allows no script
//! and no style but from its own host.

use doorward_tests::webdriver::{ENTER, ESCAPE, TAB};
use doorward_tests::{PUBLIC_HOST, Upstream, eventually};
use serde_json::json;

use super::House;

const DIALOG: &str = "doorward-step-up >>> dialog";
const INPUT: &str = "doorward-step-up >>> #code";
const MAIN: &str = "doorward-step-up >>> button.main";
const ALERT: &str = "doorward-step-up >>> [role=alert]";
const CANCEL: &str = "doorward-step-up >>> dialog > button:last-child";

impl House {
    async fn dialog(&mut self, title: &str) {
        self.is_told("doorward-step-up >>> h2", title).await;
    }

    async fn no_dialog(&mut self) {
        eventually("the end of the dialog", async || !self.browser.has("doorward-step-up").await)
            .await;
    }

    async fn type_code(&mut self, code: &str) {
        eventually("somewhere to type", async || self.browser.has(INPUT).await).await;
        // Over what was typed before, which is marked.
        self.browser.press(&format!("{code}{ENTER}")).await;
    }
}

#[tokio::test]
async fn i09_k12_a_call_by_script_is_approved_in_a_dialog_and_repeated_by_itself() {
    let (mut house, app) = House::at_the_console().await;
    house.browser.click("#transfer button").await;
    house.dialog("Approve this operation").await;
    let shown = house.browser.text("doorward-step-up >>> dl").await;
    let expected = "Operation\nTransfer money\nRequest\nPOST /transfer\nto\nbob\namount\n100";
    assert_eq!(shown, expected);
    let said = house.browser.text(DIALOG).await;
    assert!(said.contains("exactly this request, once"), "{said}");
    // Its style is there, although the console's policy forbids styles in pages.
    let root = "document.querySelector('doorward-step-up').shadowRoot";
    let rounded = format!("getComputedStyle({root}.querySelector('dialog')).borderRadius");
    assert_eq!(house.browser.evaluate(&rounded).await, "12px");
    let name = format!("{root}.querySelector('dialog').getAttribute('aria-labelledby')");
    assert_eq!(house.browser.evaluate(&name).await, "title");

    house.type_code("000000").await;
    house.is_told(ALERT, "not right").await;
    let focused = format!(
        "{root}.activeElement.id + ' ' + {root}.activeElement.getAttribute('aria-invalid') + ' ' + {root}.activeElement.getAttribute('aria-describedby')"
    );
    assert_eq!(house.browser.evaluate(&focused).await, "code true alert");
    assert_eq!(house.posts().len(), 0);
    house.type_code(&app.code()).await;
    house.is_told("#result", "200 the console did POST /transfer").await;
    house.no_dialog().await;
    let posts = house.posts();
    assert_eq!((posts.len(), &*posts[0].body), (1, &br#"{"to":"bob","amount":"100"}"#[..]));
    // Another one is asked for anew.
    app.wait();
    house.browser.click("#transfer button").await;
    house.dialog("Approve this operation").await;
    assert_eq!(house.posts().len(), 1);
}

#[tokio::test]
async fn who_gives_up_leaves_the_answer_to_the_console() {
    let (mut house, _app) = House::at_the_console().await;
    house.browser.click("#transfer button").await;
    house.dialog("Approve this operation").await;
    house.browser.click(CANCEL).await;
    house.no_dialog().await;
    house.is_told("#result", "401 ").await;
    house.is_told("#result", "urn:doorward:problem:step-up-required").await;
    assert_eq!(house.posts().len(), 0);
}

#[tokio::test]
async fn k12_the_dialog_needs_no_mouse_and_gives_the_focus_back() {
    let (mut house, app) = House::at_the_console().await;
    house.browser.evaluate("document.getElementById('key').focus()").await;
    house.browser.press(ENTER).await;
    house.dialog("Approve this operation").await;
    let inside = "document.querySelector('doorward-step-up').shadowRoot.activeElement";
    assert_eq!(house.browser.evaluate(&format!("{inside}.id")).await, "code");
    // Nothing behind the dialog can be reached.
    for _ in 0..6 {
        house.browser.press(TAB).await;
        let behind = "document.activeElement.closest('main') !== null";
        assert_eq!(house.browser.evaluate(behind).await, false);
    }
    house.browser.press(ESCAPE).await;
    house.no_dialog().await;
    assert_eq!(house.browser.evaluate("document.activeElement.id").await, "key");
    house.is_told("#result", "401 ").await;
    house.browser.press(ENTER).await;
    house.dialog("Approve this operation").await;
    let outline = format!("getComputedStyle({inside}).outlineStyle");
    assert_eq!(house.browser.evaluate(&outline).await, "solid", "one sees where the focus is");
    house.browser.press(&format!("{}{ENTER}", app.code())).await;
    house.is_told("#result", "200 the console did POST /keys/new").await;
    house.no_dialog().await;
    assert_eq!(house.browser.evaluate("document.activeElement.id").await, "key");
}

#[tokio::test]
async fn of_two_calls_at_once_each_is_asked_for_in_turn_and_one_approval_may_be_enough() {
    let (mut house, app) = House::at_the_console().await;
    house.browser.click("#keys").await;
    house.dialog("Approve this operation").await;
    let dialogs = "document.querySelectorAll('doorward-step-up').length";
    assert_eq!(house.browser.evaluate(dialogs).await, 1);
    house.type_code(&app.code()).await;
    eventually("both answers", async || house.posts().len() == 2).await;
    house.no_dialog().await;
    // Approvals of single requests: one dialog after the other.
    for amount in ["1", "2"] {
        let script = format!(
            "(document.querySelector('#transfer [name=amount]').value = '{amount}', document.querySelector('#transfer button').click())"
        );
        house.browser.evaluate(&script).await;
    }
    // Two that are under way at once may arrive in either order.
    let mut asked = vec!["1", "2"];
    while !asked.is_empty() {
        app.wait();
        eventually("a dialog", async || {
            let shown = house.browser.seen("doorward-step-up >>> dd:last-child").await;
            let known = asked.iter().position(|amount| shown.as_deref() == Some(amount));
            known.map(|place| asked.remove(place)).is_some()
        })
        .await;
        assert_eq!(house.browser.evaluate(dialogs).await, 1);
        house.type_code(&app.code()).await;
    }
    eventually("all answers", async || house.posts().len() == 4).await;
    house.no_dialog().await;
}

#[tokio::test]
async fn h17_a_key_approves_in_the_dialog() {
    let (mut house, app) = House::at_the_console().await;
    house.browser.plug_in_key().await;
    // Who has an app proves it before a key is bound.
    house.gate.clock.advance(std::time::Duration::from_secs(600));
    house.go("/.doorward/account/keys/bind").await;
    if !house.browser.has("#name").await {
        house.give_code(&app.code()).await;
        house.arrive("/.doorward/account/keys/bind").await;
    }
    house.browser.click("form button[type=submit]").await;
    house.arrive("/.doorward/account/authenticators?notice=bound").await;
    house.go("/app").await;
    house.browser.click("#transfer button").await;
    house.dialog("Approve this operation").await;
    // The strongest way is offered first; the app is one click away.
    assert_eq!(house.browser.text(MAIN).await, "Use a security key or passkey");
    assert!(!house.browser.has(INPUT).await);
    house.browser.click(MAIN).await;
    house.is_told("#result", "200 the console did POST /transfer").await;
    assert_eq!(house.posts().len(), 1);
}

#[tokio::test]
async fn a_code_by_text_message_is_asked_for_in_the_dialog() {
    let (mut house, _app) = House::at_the_console().await;
    house.browser.click("#transfer button").await;
    house.dialog("Approve this operation").await;
    house.browser.click("doorward-step-up >>> form button:last-child").await;
    house.is_told("doorward-step-up >>> label", "text message").await;
    house.browser.click("doorward-step-up >>> form button:nth-of-type(2)").await;
    house.is_told("doorward-step-up >>> [role=status]", "A code is on its way").await;
    house.browser.click("doorward-step-up >>> form button:nth-of-type(2)").await;
    house.is_told(ALERT, "Try again in a minute").await;
    house.gate.deliver().await;
    let codes = crate::factors::recovery::texts(&house.gate, "code_approve");
    assert_eq!(codes.len(), 1);
    house.browser.type_into(INPUT, "").await;
    house.type_code(&codes[0]).await;
    house.is_told("#result", "200 the console did POST /transfer").await;
}

#[tokio::test]
async fn i06_too_many_wrong_codes_end_the_dialog_and_it_says_so() {
    let (mut house, app) = House::at_the_console().await;
    house.browser.click("#transfer button").await;
    for _ in 0..5 {
        house.type_code("000000").await;
        house.is_told(ALERT, "not right").await;
    }
    house.type_code(&app.code()).await;
    house.is_told(ALERT, "too many wrong codes").await;
    assert!(!house.browser.has(INPUT).await, "there is nothing more to type");
    // The focus is where one leaves.
    house.browser.press(ENTER).await;
    house.no_dialog().await;
    house.is_told("#result", "401 ").await;
    assert_eq!(house.posts().len(), 0);
}

#[tokio::test]
async fn a_session_that_has_ended_is_begun_again_in_another_window() {
    let (mut house, app) = House::at_the_console().await;
    house.let_session_expire();
    house.browser.click("#key").await;
    house.dialog("Your session has ended").await;
    let here = house.browser.tabs().await;
    house.browser.click(MAIN).await;
    eventually("another window", async || house.browser.tabs().await.len() == 2).await;
    let there = house.browser.tabs().await.into_iter().find(|tab| *tab != here[0]).unwrap();
    house.browser.look_into(&there).await;
    house.arrive_below("/.doorward/sign-in?return_to=").await;
    house.give_password().await;
    house.arrive("/.doorward/account").await;
    house.browser.look_into(&here[0]).await;
    house.browser.click("doorward-step-up >>> button:nth-of-type(2)").await;
    // The new session has not approved anything yet.
    house.dialog("Approve this operation").await;
    house.type_code(&app.code()).await;
    house.is_told("#result", "200 the console did POST /keys/new").await;
    let posts = house.posts();
    assert_eq!((posts.len(), &*posts[0].body), (1, &br#"{"name":"ci"}"#[..]));
}

#[tokio::test]
async fn another_host_cannot_make_the_dialog_appear() {
    let (mut house, _app) = House::at_the_console().await;
    let evil = Upstream::replying(|asked| {
        let kind = asked.line().rsplit('/').next().unwrap();
        let problem = json!({
            "type": format!("urn:doorward:problem:{kind}"), "challenge": "AAAAAAAAAAAAAAAAAAAAAA",
            "step_up_api": "https://evil.example/collect", "sign_in_url": "javascript:alert(1)",
        })
        .to_string();
        let head = "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/problem+json";
        Some(format!("{head}\r\naccess-control-allow-origin: https://{PUBLIC_HOST}\r\ncontent-length: {}\r\n\r\n{problem}", problem.len()).into())
    })
    .await;
    // Without the console's policy, which would not let it ask at all.
    house.browser.devtools("Page.setBypassCSP", json!({"enabled": true})).await;
    house.go("/app").await;
    let port = evil.address.port();
    for kind in ["step-up-required", "session-required"] {
        let ask = format!(
            "fetch('http://localhost:{port}/{kind}').then((answer) => answer.status, (error) => String(error))"
        );
        assert_eq!(house.browser.evaluate(&ask).await, 401);
        assert!(!house.browser.has("doorward-step-up").await);
    }
}
