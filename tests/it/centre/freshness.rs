//! Whoever changes what guards an account has proven lately who it is.

use std::time::Duration;

use http::Method;

use super::*;

/// A page below the account's, its form code, and what its form sends.
type Form<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

/// A session that is used, and whose proof is an hour old.
async fn an_hour_passes(gate: &TestGate, browser: &mut Browser) {
    for _ in 0..4 {
        gate.clock.advance(Duration::from_secs(900));
        assert_ne!(browser.get("/").await.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn i11_every_change_of_what_guards_an_account_asks_for_a_fresh_proof() {
    let gate = gate("[session]\nidle = \"1h\"\n", reached(None)).await;
    gate.add("alice/dev", AccountChange::default()).await;
    let app = gate.app_of("alice").await;
    app.wait();
    gate.app_of("alice/dev").await;
    let mut browser = gate.signed_in().await;
    an_hour_passes(&gate, &mut browser).await;
    let code = json!({"code": "000000"});
    let calls: [(Method, &str, Value); 10] = [
        (Method::POST, "/addresses", json!({"what": "phone", "address": PHONE})),
        (Method::POST, "/addresses", json!({"what": "email", "address": "b@example.com"})),
        (Method::POST, "/addresses", json!({"what": "security-email", "address": null})),
        (Method::POST, "/addresses/changes/x", code.clone()),
        (Method::POST, "/addresses/changes/x/send", json!({})),
        (Method::POST, "/authenticators/apps", json!({})),
        (Method::PUT, "/authenticators/apps", json!({"codes": ["000000", "000001"]})),
        (Method::DELETE, "/authenticators/x", code),
        (Method::POST, "/authenticators/recovery-codes", json!({})),
        (
            Method::POST,
            "/password",
            json!({"current_password": doorward_tests::PASSWORD, "new_password": "x"}),
        ),
    ];
    let before = alice(&gate).await;
    for (method, path, body) in calls {
        let kind = [("content-type", "application/json")];
        let target = format!("/.doorward/api/v1{path}");
        let asked = browser.send(method.clone(), &target, &kind, body.to_string().into()).await;
        assert_eq!(asked.status, StatusCode::UNAUTHORIZED, "{method} {path}: {}", asked.text());
        assert_eq!(asked.json()["type"], "urn:doorward:problem:freshness-required", "{path}");
        assert!(asked.json()["step_up_api"].is_string(), "{path}");
    }
    // Pages, by the form codes of those that show something without a proof.
    let mut person = browser.clone().navigating();
    let (addresses, factors, sub_users) = (
        form_code(&mut person, "/.doorward/account/addresses").await,
        form_code(&mut person, "/.doorward/account/authenticators").await,
        form_code(&mut person, "/.doorward/account/sub-users").await,
    );
    let forms: [Form<'_>; 8] = [
        ("addresses", &addresses, &[("what", "email")]),
        ("addresses/change", &addresses, &[("what", "phone"), ("address", PHONE)]),
        ("addresses/confirm", &addresses, &[("change", "x"), ("answer", "000000")]),
        ("authenticators/unbind", &factors, &[("id", "x")]),
        ("authenticators/protection", &factors, &[]),
        ("authenticators/recovery-codes", &factors, &[]),
        ("sub-users/idle", &sub_users, &[("hours", "2"), ("minutes", "0")]),
        ("sub-users/reset", &sub_users, &[("id", "x")]),
    ];
    for (path, code, fields) in forms {
        let mut fields = fields.to_vec();
        fields.push(("code", code));
        let asked = person.post_form(&format!("/.doorward/account/{path}"), &fields).await;
        let shown = (asked.status, asked.location());
        assert!(asked.location().starts_with("/.doorward/step-up?challenge="), "{path} {shown:?}");
    }
    for path in ["addresses/change?what=phone", "authenticators/bind", "password"] {
        let asked = person.get(&format!("/.doorward/account/{path}")).await;
        assert!(asked.location().starts_with("/.doorward/step-up?challenge="), "{path}");
    }
    assert_eq!(alice(&gate).await, before, "nothing has changed");
    // And the proof is enough.
    let wanted = json!({"what": "security-email", "address": "safe@example.com"});
    let asked = browser.post_json("/.doorward/api/v1/addresses", &wanted).await;
    let approved = crate::step_up::approve(&mut browser, &asked, &app.code()).await;
    assert_eq!(approved.status, StatusCode::OK, "{}", approved.text());
    let begun = browser.post_json("/.doorward/api/v1/addresses", &wanted).await;
    assert_eq!(begun.json()["code_sent_to"], "safe@example.com", "{}", begun.text());
}
