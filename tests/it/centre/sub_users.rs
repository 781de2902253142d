//! What the main principal of an account decides about it and its sub-users.

use std::time::Duration;

use super::*;

const PAGE: &str = "/.doorward/account/sub-users";

#[tokio::test]
async fn e06_an_owner_sets_the_idle_time_within_its_bounds_and_it_holds_at_once() {
    let gate = gate("", reached(None)).await;
    gate.add("alice/dev", AccountChange::default()).await;
    let mut owner = gate.signed_in().await.navigating();
    let mut dev = gate.browser();
    dev.sign_in("alice/dev").await;
    let code = form_code(&mut owner, PAGE).await;
    let set = async |owner: &mut Browser, hours: &str, minutes: &str| {
        let fields = [("code", &*code), ("hours", hours), ("minutes", minutes)];
        owner.post_form("/.doorward/account/sub-users/idle", &fields).await
    };
    for (hours, minutes) in [("0", "14"), ("24", "0"), ("0", "0"), ("", "x"), ("-1", "30")] {
        let refused = set(&mut owner, hours, minutes).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{hours} {minutes}");
        let text = refused.text();
        assert!(text.contains("from 0 h 15 min to 23 h 59 min"), "{text}");
        assert!(text.contains(&format!("name=\"hours\" value=\"{hours}\"")), "{text}");
    }
    assert_eq!(alice(&gate).await.idle_secs, None);
    for (hours, minutes, secs) in [("23", "59", 86_340), ("0", "15", 900)] {
        let done = set(&mut owner, hours, minutes).await;
        assert_eq!(done.location(), "/.doorward/account/sub-users?notice=saved");
        assert_eq!(alice(&gate).await.idle_secs, Some(secs));
    }
    let session = dev.get("/.doorward/session").await.json();
    assert_eq!(session["idle_seconds"], 900, "a session that was there already");
    gate.clock.advance(Duration::from_secs(900));
    assert_eq!(dev.get("/.doorward/session").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_owner_resets_the_factors_of_a_sub_user_who_is_told_and_of_nobody_else() {
    let gate = gate("", reached(None)).await;
    let mail = |to: &str| AccountChange { email: Some(to.into()), ..AccountChange::default() };
    gate.add("alice/dev", mail("dev@example.com")).await;
    gate.add("bob", AccountChange::default()).await;
    gate.add("bob/dev", mail("other@example.com")).await;
    for name in ["alice/dev", "bob/dev"] {
        gate.app_of(name).await;
    }
    let mut dev = gate.browser();
    dev.sign_in("alice/dev").await;
    let mut owner = gate.signed_in().await.navigating();
    let shown = owner.get(PAGE).await;
    assert!(shown.text().contains("alice/dev") && !shown.text().contains("bob"));
    let (code, id) = (shown.hidden("code"), shown.hidden("id"));
    let reset = async |owner: &mut Browser, id: &str| {
        owner.post_form("/.doorward/account/sub-users/reset", &[("code", &code), ("id", id)]).await
    };
    let foreign = match gate.ask(Request::AccountShow { name: "bob/dev".into() }).await.unwrap() {
        Reply::Account(record) => record.id,
        other => panic!("{other:?}"),
    };
    for id in [foreign.as_str(), &alice(&gate).await.id, "x", ""] {
        assert_eq!(reset(&mut owner, id).await.status, StatusCode::NOT_FOUND, "{id}");
    }
    assert_eq!(dev.get("/.doorward/session").await.status, StatusCode::OK);
    let done = reset(&mut owner, &id).await;
    assert_eq!(done.location(), "/.doorward/account/sub-users?notice=reset", "{}", done.text());
    assert_eq!(
        dev.get("/.doorward/session").await.status,
        StatusCode::UNAUTHORIZED,
        "their sessions end"
    );
    assert_eq!(messages(&gate, "alert_factor_removed", "dev@example.com").await.len(), 1, "J06");
    match gate.ask(Request::FactorList { name: "alice/dev".into() }).await.unwrap() {
        Reply::Factors { factors } => assert!(factors.is_empty()),
        other => panic!("{other:?}"),
    }
    match gate.ask(Request::FactorList { name: "bob/dev".into() }).await.unwrap() {
        Reply::Factors { factors } => assert_eq!(factors.len(), 1),
        other => panic!("{other:?}"),
    }
    // A sub-user decides about nobody.
    let mut dev = gate.browser();
    dev.sign_in("alice/dev").await;
    let mut dev = dev.navigating();
    assert_eq!(dev.get(PAGE).await.status, StatusCode::FORBIDDEN);
    let code = form_code_anyhow(&mut dev).await;
    for (path, field) in [("idle", ("hours", "2")), ("reset", ("id", &*id))] {
        let target = format!("/.doorward/account/sub-users/{path}");
        let refused = dev.post_form(&target, &[("code", &code), field]).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}");
    }
}

/// A form code of another page, which is none for this one.
async fn form_code_anyhow(browser: &mut Browser) -> String {
    form_code(browser, "/.doorward/account/profile").await
}
