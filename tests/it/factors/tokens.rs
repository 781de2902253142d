//! Hardware tokens, whose clocks run as they like; and browsers that are trusted.

use std::time::Duration;

use doorward_plugins::administration::{AdminError, Reply, Request};
use doorward_tests::{App, PASSWORD, Setup, TestGate, Upstream};
use http::StatusCode;
use serde_json::json;

use super::{PAGE, bind, bound, prove, start};

const KEY: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const TOKEN: &str = "/.doorward/account/authenticators/token";

async fn import(gate: &TestGate, text: &str) -> Result<Reply, AdminError> {
    gate.ask(Request::TokenImport { text: text.into() }).await
}

#[tokio::test]
async fn a_token_is_imported_bound_by_whoever_holds_it_and_followed_when_its_clock_strays() {
    let (gate, _upstream, mut browser) = start().await;
    import(&gate, &format!("serial,seed\nT-1,{KEY}\n")).await.unwrap();
    assert!(import(&gate, &format!("T-2,{KEY}\nT-1,{KEY}")).await.is_err(), "all or none");
    let sealed = gate.ask(Request::VaultRotate).await.unwrap();
    assert!(matches!(sealed, Reply::Sealed { sealed: 1 }), "with the newest key: {sealed:?}");
    let token = App::new(KEY, &gate.clock);
    let send = async |browser: &mut doorward_tests::Browser, fields: &[(&str, &str)]| {
        let code = browser.get(TOKEN).await.hidden("code");
        let mut all = vec![("code", &*code)];
        all.extend(fields);
        browser.post_form(TOKEN, &all).await
    };
    // Its clock is five minutes fast.
    let (first, second) = (token.code_after(10), token.code_after(11));
    for (serial, first, second) in
        [("T-2", &first, &second), ("T-1", &second, &first), ("T-1", &first, &first)]
    {
        let fields = [("serial", serial), ("first", first), ("second", second)];
        assert_eq!(send(&mut browser, &fields).await.status, StatusCode::FORBIDDEN);
    }
    let fields = [("serial", "T-1"), ("first", &*first), ("second", &*second)];
    let done = send(&mut browser, &fields).await;
    assert_eq!(
        done.location(),
        "/.doorward/account/authenticators?notice=bound",
        "{}",
        done.text()
    );
    assert!(browser.get(PAGE).await.text().contains("T-1"));
    // From now on its clock is known, and nobody else binds it.
    token.wait();
    let asked = browser.get(TOKEN).await;
    let proven = prove(&mut browser, &asked, ("totp", &token.code_after(11))).await;
    assert_eq!(proven.location(), PAGE, "{}", proven.text());
    let again = send(&mut browser, &fields).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN);
    // It strays by ten minutes more: two codes in a row find it, forward only.
    let id = &bound(&gate).await[0];
    let (first, second) = (token.code_after(30), token.code_after(31));
    let fields = [("id", &**id), ("first", &*first), ("second", &*second)];
    let done = send(&mut browser, &fields).await;
    assert_eq!(
        done.location(),
        "/.doorward/account/authenticators?notice=resynced",
        "{}",
        done.text()
    );
    assert_eq!(send(&mut browser, &fields).await.status, StatusCode::FORBIDDEN, "used");
}

#[tokio::test]
async fn a_browser_that_is_trusted_is_not_asked_at_sign_in_and_always_before_operations() {
    let upstream = Upstream::start().await;
    let tables = "[second_factor]\nrequire = \"all\"\ntrust_device_for = \"30d\"\n\
                  [[route]]\npath = \"/keys\"\nstep_up = {}\n";
    let gate = TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await;
    gate.add_alice().await;
    let app = gate.app_of("alice").await;
    app.wait();
    let mut browser = gate.browser();
    let enter = async |browser: &mut doorward_tests::Browser, trust: bool| {
        assert_eq!(browser.try_sign_in("alice", PASSWORD).await.status, StatusCode::UNAUTHORIZED);
        let body = json!({"way": "totp", "code": app.code(), "trust": trust});
        let whole = browser.post_json("/.doorward/api/v1/sign-in/second-factor", &body).await;
        assert_eq!(whole.status, StatusCode::OK, "{}", whole.text());
        app.wait();
    };
    enter(&mut browser, false).await;
    enter(&mut browser, true).await;
    let again = browser.try_sign_in("alice", PASSWORD).await;
    assert_eq!((again.status, &again.json()["acr"]), (StatusCode::OK, &json!("aal1")));
    assert_eq!(browser.get("/keys").await.status, StatusCode::UNAUTHORIZED);
    let mut stranger = gate.browser();
    assert_eq!(stranger.try_sign_in("alice", PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    // Listed, and taken back by one button.
    let mut page = browser.clone().navigating();
    let shown = page.get(PAGE).await;
    assert!(shown.text().contains("not asked at sign-in"), "{}", shown.text());
    let code = shown.hidden("code");
    let done = page.post_form(&format!("{PAGE}/distrust"), &[("code", &*code)]).await;
    assert!(done.location().ends_with("notice=saved"), "{}", done.text());
    assert_eq!(browser.try_sign_in("alice", PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    // And it ends by itself.
    enter(&mut browser, true).await;
    gate.clock.advance(Duration::from_secs(30 * 86_400));
    assert_eq!(browser.try_sign_in("alice", PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    let (_gate, _upstream, mut other) = start().await;
    bind(&_gate, &mut other).await;
    assert!(!other.get(PAGE).await.text().contains("not asked at sign-in"), "off by default");
}
