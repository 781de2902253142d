//! Phone and e-mail: theirs when a code comes back, and never by leaving a step out.

use std::time::Duration;

use super::*;

const API: &str = "/.doorward/api/v1/addresses";
const OTHER: &str = "+8613900000002";

async fn begin(browser: &mut Browser, what: &str, address: Option<&str>) -> doorward_tests::Answer {
    browser.post_json(API, &json!({"what": what, "address": address})).await
}

async fn confirm(browser: &mut Browser, change: &Value, code: &str) -> doorward_tests::Answer {
    let place = format!("{API}/changes/{}", change["change"].as_str().unwrap());
    browser.post_json(&place, &json!({"code": code})).await
}

/// Proves by a code to the phone who it is, and waits until there may be another one.
async fn freshen(gate: &TestGate, browser: &mut Browser, asked: &doorward_tests::Answer) {
    assert_eq!(asked.status, StatusCode::UNAUTHORIZED, "{}", asked.text());
    let api = asked.json()["step_up_api"].as_str().unwrap().to_owned();
    browser.post_json(&format!("{api}/send"), &json!({})).await;
    let code = code(gate, "code_approve", PHONE).await;
    let done = browser.post_json(&api, &json!({"way": "text-message", "code": code})).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text());
    gate.clock.advance(Duration::from_secs(61));
}

#[tokio::test]
async fn j06_a_first_phone_is_bound_by_a_code_and_told_by_mail() {
    let gate = gate("", reached(None)).await;
    let written = Description::of(&gate).await;
    let mut browser = gate.signed_in().await;
    for wrong in ["", "12345", "alice@example.com", "+86 138 x"] {
        let refused = begin(&mut browser, "phone", Some(wrong)).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    let begun = begin(&mut browser, "phone", Some("+86 138-0000 0001")).await;
    written.holds("POST", "/addresses", &begun);
    assert_eq!(begun.json()["code_sent_to"], PHONE, "{}", begun.text());
    let code = code(&gate, "code_bind_phone", PHONE).await;
    let wrong = if code == "000000" { "111111" } else { "000000" };
    let refused = confirm(&mut browser, &begun.json(), wrong).await;
    written.holds("POST", "/addresses/changes/{id}", &refused);
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(alice(&gate).await.phone, None, "no account change before a valid code");
    // It belongs to the session that asked for it.
    let stolen = confirm(&mut gate.signed_in().await, &begun.json(), &code).await;
    assert_eq!(stolen.status, StatusCode::GONE, "{}", stolen.text());
    let done = confirm(&mut browser, &begun.json(), &code).await;
    written.holds("POST", "/addresses/changes/{id}", &done);
    assert_eq!(done.json(), json!({"done": true}));
    assert_eq!(alice(&gate).await.phone.as_deref(), Some(PHONE));
    assert_eq!(messages(&gate, "alert_phone_changed", EMAIL).await.len(), 1);
    assert_eq!(browser.get(API).await.json()["phone"], PHONE);
}

#[tokio::test]
async fn another_phone_needs_a_code_of_the_old_one_first_and_no_step_can_be_left_out() {
    let gate = gate("", reached(Some(PHONE))).await;
    let mut browser = gate.signed_in().await;
    // A phone is a second factor, so the password alone is not enough.
    let asked = begin(&mut browser, "phone", Some(OTHER)).await;
    assert_eq!(asked.json()["type"], "urn:doorward:problem:freshness-required");
    freshen(&gate, &mut browser, &asked).await;
    let first = begin(&mut browser, "phone", Some(OTHER)).await.json();
    assert_eq!((&first["code_sent_to"], &first["is_old_phone"]), (&json!(PHONE), &json!(true)));
    let old = code(&gate, "code_change_phone", PHONE).await;
    assert!(messages(&gate, "code_bind_phone", OTHER).await.is_empty(), "the new one comes second");
    let second = confirm(&mut browser, &first, &old).await.json();
    assert_eq!((&second["code_sent_to"], &second["is_old_phone"]), (&json!(OTHER), &json!(false)));
    assert_eq!(alice(&gate).await.phone.as_deref(), Some(PHONE));
    let again = confirm(&mut browser, &first, &old).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN, "a code is good once");
    let new = code(&gate, "code_bind_phone", OTHER).await;
    assert_eq!(confirm(&mut browser, &second, &new).await.json(), json!({"done": true}));
    assert_eq!(alice(&gate).await.phone.as_deref(), Some(OTHER));
    for to in [PHONE, OTHER, EMAIL] {
        assert_eq!(messages(&gate, "alert_phone_changed", to).await.len(), 1, "J06 {to}");
    }
    assert_eq!(confirm(&mut browser, &second, &new).await.status, StatusCode::GONE);
}

#[tokio::test]
async fn a_person_changes_their_mail_on_pages_and_the_old_address_is_told() {
    let gate = gate("", reached(None)).await;
    let mut person = gate.signed_in().await.navigating();
    let change = "/.doorward/account/addresses/change";
    let form = form_code(&mut person, &format!("{change}?what=email")).await;
    let fields = |address| [("code", &*form), ("what", "email"), ("address", address)];
    let wrong = person.post_form(change, &fields("nobody")).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(wrong.text().contains("not an e-mail address") && wrong.text().contains("nobody"));
    let shown = person.post_form(change, &fields("new@example.com")).await;
    assert!(shown.text().contains("A code is on its way"), "{}", shown.text());
    let id = shown.hidden("change");
    let again = person.post_form(change, &fields("new@example.com")).await;
    assert_eq!(again.status, StatusCode::TOO_MANY_REQUESTS, "once a minute");
    let sent = code(&gate, "code_confirm_email", "new@example.com").await;
    let place = "/.doorward/account/addresses/confirm";
    let reloaded = person.get(&format!("{place}?change={id}")).await;
    assert!(reloaded.text().contains("new@example.com"), "{}", reloaded.text());
    let fields = |answer| [("code", &*form), ("change", &*id), ("answer", answer)];
    let refused = person.post_form(place, &fields("abc")).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.text().contains("role=\"alert\""), "K12");
    let done = person.post_form(place, &fields(&sent)).await;
    assert_eq!(done.location(), "/.doorward/account/addresses?notice=changed");
    for to in [EMAIL, "new@example.com"] {
        assert_eq!(messages(&gate, "alert_email_changed", to).await.len(), 1, "{to}");
    }
    // And removes it.
    let list = "/.doorward/account/addresses";
    let form = form_code(&mut person, list).await;
    let gone = person.post_form(list, &[("code", &form), ("what", "email")]).await;
    assert_eq!(gone.location(), "/.doorward/account/addresses?notice=removed");
    assert_eq!(alice(&gate).await.email, None);
    assert_eq!(messages(&gate, "alert_email_changed", "new@example.com").await.len(), 1);
    assert!(person.get("/.doorward/session").await.json()["email"].is_null(), "at once");
}

#[tokio::test]
async fn a_phone_has_so_many_accounts_which_is_told_to_who_proved_it_alone() {
    let gate = gate("[accounts]\naccounts_per_phone = 2\n", reached(None)).await;
    for name in ["bob", "carol"] {
        gate.add(name, reached(Some(PHONE))).await;
    }
    gate.add("bob/dev", reached(Some(OTHER))).await;
    let mut browser = gate.signed_in().await;
    let full = begin(&mut browser, "phone", Some(PHONE)).await;
    assert_eq!(full.status, StatusCode::OK, "{}", full.text());
    let sent = code(&gate, "code_bind_phone", PHONE).await;
    let refused = confirm(&mut browser, &full.json(), &sent).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(refused.json()["type"], "urn:doorward:problem:forbidden");
    let free = begin(&mut browser, "phone", Some(OTHER)).await;
    let sent = code(&gate, "code_bind_phone", OTHER).await;
    assert_eq!(confirm(&mut browser, &free.json(), &sent).await.json(), json!({"done": true}));
}

#[tokio::test]
async fn nobody_removes_the_last_factor_that_they_need() {
    for (needed, expected) in [("require = \"all\"\n", false), ("", true)] {
        let gate = gate(&format!("[second_factor]\n{needed}"), reached(Some(PHONE))).await;
        let mut browser = gate.browser();
        let half = browser.try_sign_in("alice", doorward_tests::PASSWORD).await;
        if half.status == StatusCode::OK {
            let asked = begin(&mut browser, "phone", None).await;
            freshen(&gate, &mut browser, &asked).await;
        } else {
            let api = "/.doorward/api/v1/sign-in/second-factor";
            browser.post_json(&format!("{api}/send"), &json!({})).await;
            let sent = code(&gate, "code_sign_in", PHONE).await;
            browser.post_json(api, &json!({"way": "text-message", "code": sent})).await;
            gate.clock.advance(Duration::from_secs(61));
        }
        let begun = begin(&mut browser, "phone", None).await;
        assert_eq!(begun.status == StatusCode::OK, expected, "{}", begun.text());
        if expected {
            assert_eq!(begun.json()["is_old_phone"], true, "the phone itself has to say so");
            let sent = code(&gate, "code_change_phone", PHONE).await;
            assert_eq!(confirm(&mut browser, &begun.json(), &sent).await.status, StatusCode::OK);
        }
        assert_eq!(alice(&gate).await.phone.is_none(), expected);
    }
}
