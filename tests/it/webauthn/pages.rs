//! In headless Chromium: binding, the second factor, a whole sign-in, and a key that is gone.

use doorward_tests::webdriver::Chromium;
use doorward_tests::{PASSWORD, PUBLIC_HOST, TestGate, Upstream, eventually};
use serde_json::json;

use super::{gate, guard_alice, held};

struct House {
    browser: Chromium,
    gate: TestGate,
    _console: Upstream,
}

impl House {
    async fn open() -> Self {
        let console = Upstream::replying(|_| {
            let html = "<!doctype html><title>Console</title><h1>Console</h1>";
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8";
            Some(format!("{head}\r\ncontent-length: {}\r\n\r\n{html}", html.len()).into())
        })
        .await;
        let gate = gate(&console, true).await;
        let browser = Chromium::start_for(PUBLIC_HOST, gate.address().port()).await;
        Self { browser, gate, _console: console }
    }

    async fn go(&mut self, target: &str) {
        self.browser.go(&format!("https://{PUBLIC_HOST}{target}")).await;
    }

    async fn arrive(&mut self, target: &str) {
        let url = format!("https://{PUBLIC_HOST}{target}");
        self.browser.arrive(&format!("arrival at {target}"), |at| at == url).await;
    }

    async fn give_password(&mut self) {
        self.go("/.doorward/sign-in").await;
        self.browser.type_into("#account", "alice").await;
        self.browser.type_into("#password", PASSWORD).await;
        self.browser.click("form button[type=submit]").await;
    }

    async fn bind(&mut self, name: &str) {
        self.give_password().await;
        self.arrive("/").await;
        self.go("/.doorward/account/keys/bind").await;
        self.browser.type_into("#name", name).await;
        self.browser.click("form button[type=submit]").await;
        self.arrive("/.doorward/account/authenticators?notice=bound").await;
    }

    async fn sign_out(&mut self) {
        self.go("/.doorward/sign-out").await;
        self.browser.click("form button").await;
        self.arrive("/.doorward/sign-in?notice=signed-out").await;
    }

    async fn use_passkey(&mut self) {
        self.go("/.doorward/sign-in?return_to=%2Forders").await;
        eventually("the offer of a passkey", async || {
            self.browser.has("[data-webauthn=sign-in]:not([hidden])").await
        })
        .await;
        self.browser.click("[data-webauthn=sign-in]").await;
    }

    /// How strongly the session is proven, as the page's own host says.
    async fn assurance(&mut self) -> serde_json::Value {
        self.go("/.doorward/session").await;
        let text = self.browser.evaluate("document.body.innerText").await;
        let said: serde_json::Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
        json!([said["acr"], said["amr"]])
    }
}

#[tokio::test]
async fn h17_a_key_is_bound_asked_for_at_sign_in_and_worth_nothing_once_it_is_removed() {
    let mut house = House::open().await;
    house.browser.plug_in_key().await;
    house.bind("My laptop").await;
    let bound = held(&house.gate).await;
    assert_eq!(bound.len(), 1);
    assert_eq!(bound[0].name, "My laptop");
    assert_eq!(house.assurance().await[0], "aal1");

    guard_alice(&house.gate).await;
    house.sign_out().await;
    house.give_password().await;
    house.arrive("/.doorward/sign-in/verify").await;
    assert_eq!(house.gate.services().sessions.count(), 0, "a password alone was enough");
    house.browser.click("form button[type=submit]").await;
    house.arrive("/").await;
    let expected = json!(["aal2", ["pwd", "pop", "mfa"]]);
    assert_eq!(house.assurance().await, expected);

    // A page that was open when the key went: it is told, and nobody gets in.
    house.sign_out().await;
    house.give_password().await;
    house.arrive("/.doorward/sign-in/verify").await;
    let key = bound[0].clone();
    let unbound = house.gate.within(|services| async move {
        services.second.authenticators.unbind(&key.id, &key.principal_id).await
    });
    assert!(unbound.await.unwrap());
    house.browser.click("form button[type=submit]").await;
    house
        .browser
        .arrive("the page that binds the first factor", |at| at.contains("/.doorward/sign-in/bind"))
        .await;
    assert_eq!(house.gate.services().sessions.count(), 0);
}

#[tokio::test]
async fn h21_a_passkey_signs_in_alone_and_another_machine_has_none() {
    let mut house = House::open().await;
    let passkey = house.browser.plug_in_passkey().await;
    // A browser that offers nothing in fields has the button.
    let source = "PublicKeyCredential.isConditionalMediationAvailable = async () => false";
    let (add, remove) =
        ["Page.addScriptToEvaluateOnNewDocument", "Page.removeScriptToEvaluateOnNewDocument"]
            .into();
    let added = house.browser.devtools(add, json!({"source": source})).await;
    house.bind("My phone").await;
    house.sign_out().await;
    house.use_passkey().await;
    house.arrive("/orders").await;
    let expected = json!(["aal2", ["pop", "mfa"]]);
    assert_eq!(house.assurance().await, expected);
    house.sign_out().await;

    // In others the field of the name offers it, and it is chosen.
    house.browser.devtools(remove, added).await;
    house.go("/.doorward/sign-in?return_to=%2Forders").await;
    house.arrive("/orders").await;
    assert_eq!(house.assurance().await, expected);

    // A machine without the passkey is told so, and the password goes on working.
    house.browser.unplug(&passkey).await;
    house.browser.plug_in_passkey().await;
    house.sign_out().await;
    house.use_passkey().await;
    eventually("being told", async || !house.browser.text("#webauthn-status").await.is_empty())
        .await;
    assert_eq!(house.gate.services().sessions.count(), 0);
    house.browser.type_into("#account", "alice").await;
    house.browser.type_into("#password", PASSWORD).await;
    house.browser.click("form button[type=submit]").await;
    house.arrive("/orders").await;
}

#[tokio::test]
async fn h17_a_key_approves_a_sensitive_operation_and_its_own_removal() {
    let mut house = House::open().await;
    house.browser.plug_in_key().await;
    house.bind("My laptop").await;
    house.go("/safe").await;
    house.browser.arrive("the approval", |at| at.contains("/.doorward/step-up?challenge=")).await;
    house.browser.click("form button[type=submit]").await;
    house.arrive("/safe").await;
    assert_eq!(house.browser.text("h1").await, "Console");

    house.go("/.doorward/account/authenticators").await;
    house.browser.click("form[action$=unbind] button").await;
    let gate = &house.gate;
    eventually("the removal", async || held(gate).await.is_empty()).await;
}
