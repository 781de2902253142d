//! A recovery is no way around the second factor of an account that needs one.

use super::*;

const REQUIRED: &str = "[captcha]\nmode = \"off\"\n[second_factor]\nrequire = \"all\"\n";

async fn give(browser: &mut Browser, open: &Value, way: &str, code: &str) -> Answer {
    let body = json!({"recovery": open["recovery"], "way": way, "code": code});
    call(browser, "/second-factor", body).await
}

#[tokio::test]
async fn j03_j04_a_code_and_a_bound_factor_lead_to_a_password_that_is_not_enough() {
    let gate = gate(REQUIRED, reached(None)).await;
    let written = Description::of(&gate).await;
    let app = gate.app_of("alice").await;
    app.wait();
    let mut browser = gate.browser();
    let open = prove(&gate, &mut browser, "email", EMAIL).await.json();
    assert_eq!(open["ways"], json!(["totp"]));
    let skipped = set(&mut browser, &open, NEW).await;
    written.holds("POST", "/recover/password", &skipped);
    assert_eq!(skipped.status, StatusCode::UNAUTHORIZED, "the step cannot be left out");
    let wrong = give(&mut browser, &open, "totp", "000000").await;
    written.holds("POST", "/recover/second-factor", &wrong);
    assert_eq!(wrong.status, StatusCode::FORBIDDEN);
    for way in ["password", "text-message"] {
        assert_eq!(give(&mut browser, &open, way, PASSWORD).await.status, StatusCode::FORBIDDEN);
    }
    let given = give(&mut browser, &open, "totp", &app.code()).await;
    written.holds("POST", "/recover/second-factor", &given);
    assert_eq!(given.json()["ways"], json!([]), "{}", given.text());
    assert_eq!(set(&mut browser, &open, NEW).await.status, StatusCode::NO_CONTENT);
    let half = gate.browser().try_sign_in("alice", NEW).await;
    assert_eq!(half.json()["type"], "urn:doorward:problem:second-factor-required", "J03");
}

#[tokio::test]
async fn j04_a_recovery_code_does_too_and_five_wrong_ones_end_it() {
    let gate = gate(REQUIRED, reached(None)).await;
    let app = gate.app_of("alice").await;
    app.wait();
    let (second, id) =
        (std::sync::Arc::clone(&gate.services().second), crate::centre::alice(&gate).await.id);
    let codes = gate
        .in_office(async move { second.authenticators.make_recovery_codes(&id).await.unwrap() })
        .await;
    let mut browser = gate.browser();
    let open = prove(&gate, &mut browser, "email", EMAIL).await.json();
    assert_eq!(open["ways"], json!(["totp", "recovery-code"]));
    for _ in 0..5 {
        let wrong = give(&mut browser, &open, "recovery-code", "AAAA-AAAA-AAAA").await;
        assert_eq!(wrong.status, StatusCode::FORBIDDEN);
    }
    let late = give(&mut browser, &open, "recovery-code", codes[0].as_str()).await;
    assert_eq!(late.status, StatusCode::GONE, "{}", late.text());
    assert_eq!(set(&mut browser, &open, NEW).await.status, StatusCode::UNAUTHORIZED);
    gate.clock.advance(Duration::from_secs(61));
    let open = prove(&gate, &mut browser, "email", EMAIL).await.json();
    let given = give(&mut browser, &open, "recovery-code", codes[0].as_str()).await;
    assert_eq!(given.status, StatusCode::OK, "{}", given.text());
    assert_eq!(messages(&gate, "alert_recovery_code_used", EMAIL).await.len(), 1);
    assert_eq!(set(&mut browser, &open, NEW).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn j04_two_codes_by_one_channel_are_one_proof_and_by_two_kinds_are_two() {
    let gate = gate(REQUIRED, reached(Some(PHONE))).await;
    let mut browser = gate.browser();
    let refused = prove(&gate, &mut browser, "phone", PHONE).await;
    Description::of(&gate).await.holds("POST", "/recover/verify", &refused);
    assert_eq!(refused.json()["type"], "urn:doorward:problem:no-factor", "{}", refused.text());
    gate.clock.advance(Duration::from_secs(61));
    // By the pages, with a code by e-mail and one by text message.
    let mut person = gate.browser().navigating();
    let form = person.get("/.doorward/recover").await.hidden("code");
    let post = async |person: &mut Browser, step: &str, fields: &[(&str, &str)]| {
        let mut fields = fields.to_vec();
        fields.push(("code", &form));
        person.post_form(&format!("/.doorward/recover{step}"), &fields).await
    };
    let ticket = post(&mut person, "", &[("account", "alice")]).await.hidden("ticket");
    let shown = post(&mut person, "/send", &[("ticket", &ticket), ("channel", "email")]).await;
    let sent = code(&gate, "code_reset_password", EMAIL).await;
    let ticket = shown.hidden("ticket");
    let shown = post(&mut person, "/verify", &[("ticket", &ticket), ("answer", &sent)]).await;
    assert!(shown.text().contains("guarded by a second factor"), "{}", shown.text());
    let recovery = shown.hidden("recovery");
    let shown = post(&mut person, "/factor", &[("recovery", &recovery), ("send", "1")]).await;
    assert!(shown.text().contains("A code is on its way"), "{}", shown.text());
    let sent = code(&gate, "code_reset_password", PHONE).await;
    let fields = [("recovery", &*recovery), ("way", "text-message"), ("answer", &*sent)];
    let shown = post(&mut person, "/factor", &fields).await;
    assert!(shown.text().contains("autocomplete=\"new-password\""), "{}", shown.text());
    let fields = [("recovery", &*recovery), ("new_password", NEW)];
    let done = post(&mut person, "/password", &fields).await;
    assert_eq!(done.location(), "/.doorward/sign-in?notice=recovered", "{}", done.text());
}
