//! The user centre: what people change about themselves, what that needs, and who is told.

mod addresses;
mod freshness;
mod sub_users;

use doorward_plugins::administration::{AccountChange, Reply, Request};
use doorward_tests::{Browser, Setup, TestGate, Upstream};
use http::StatusCode;
use serde_json::{Value, json};

use crate::api::Description;

pub(crate) const PHONE: &str = "+8613800000001";
pub(crate) const EMAIL: &str = "alice@example.com";
const PROFILE: &str = "/.doorward/api/v1/profile";

/// A gate whose messages are files, and alice with these addresses.
pub(crate) async fn gate(tables: &str, change: AccountChange) -> TestGate {
    let upstream = Upstream::start().await;
    let tables = format!("[notify]\noutbox_dir = \"outbox\"\n{tables}");
    let gate = TestGate::start(&upstream, Setup { tables: &tables, ..Setup::default() }).await;
    gate.add("alice", change).await;
    gate
}

/// Alice has an e-mail address, and a phone if need be.
pub(crate) fn reached(phone: Option<&str>) -> AccountChange {
    AccountChange {
        email: Some(EMAIL.into()),
        phone: phone.map(str::to_owned),
        ..AccountChange::default()
    }
}

/// Takes every message of this kind to this place out of the outbox.
pub(crate) async fn messages(gate: &TestGate, kind: &str, to: &str) -> Vec<Value> {
    gate.deliver().await;
    let folder = gate.scratch.path().join("outbox");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let file = entry.unwrap().path();
        let text = std::fs::read_to_string(&file).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        if document["kind"] == kind && document["message"]["to"] == to {
            std::fs::remove_file(&file).unwrap();
            found.push(document);
        }
    }
    found
}

/// Takes the one code of this kind that goes to this place, once it is there.
pub(crate) async fn code(gate: &TestGate, kind: &str, to: &str) -> String {
    let mut found = Vec::new();
    doorward_tests::eventually(&format!("{kind} to {to}"), async || {
        found.extend(messages(gate, kind, to).await);
        !found.is_empty()
    })
    .await;
    assert_eq!(found.len(), 1, "{found:?}");
    let text = found[0]["message"]["text"].as_str().unwrap();
    assert!(!text.contains("://"), "J02: no message has a link: {text}");
    found[0]["message"]["code"].as_str().unwrap().to_owned()
}

/// Alice, as administration sees her.
pub(crate) async fn alice(gate: &TestGate) -> doorward_plugins::account::PrincipalRecord {
    match gate.ask(Request::AccountShow { name: "alice".into() }).await.unwrap() {
        Reply::Account(record) => *record,
        other => panic!("{other:?}"),
    }
}

/// The hidden code of the forms of a page.
pub(crate) async fn form_code(browser: &mut Browser, page: &str) -> String {
    let shown = browser.get(page).await;
    assert_eq!(shown.status, StatusCode::OK, "{page}: {}", shown.text());
    shown.hidden("code")
}

#[tokio::test]
async fn a_person_says_what_they_are_called_and_in_which_language() {
    let gate = gate("", reached(None)).await;
    let written = Description::of(&gate).await;
    let mut browser = gate.signed_in().await;
    let changed = browser.post_json(PROFILE, &json!({"display_name": "Alice L."})).await;
    written.holds("POST", "/profile", &changed);
    assert_eq!(changed.json()["display_name"], "Alice L.");
    assert_eq!(browser.get("/.doorward/session").await.json()["name"], "Alice L.");
    for wrong in [json!({"display_name": "a\u{7}b"}), json!({"language": "xx"}), json!({"id": 1})] {
        let refused = browser.post_json(PROFILE, &wrong).await;
        written.holds("POST", "/profile", &refused);
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    // By the page, which speaks that language from then on, and so do messages.
    let mut person = browser.clone().navigating();
    let page = "/.doorward/account/profile";
    let code = form_code(&mut person, page).await;
    let fields = [("code", &*code), ("display_name", "爱丽丝"), ("language", "zh-CN")];
    let saved = person.post_form(page, &fields).await;
    assert_eq!(saved.location(), "/.doorward/account/profile?notice=saved", "{}", saved.text());
    assert!(person.get(saved.location()).await.text().contains("修改已保存"));
    let record = alice(&gate).await;
    assert_eq!(record.display_name.as_deref(), Some("爱丽丝"));
    assert_eq!(record.language.as_deref(), Some("zh-CN"));
    let codes = "/.doorward/api/v1/authenticators/recovery-codes";
    browser.post_json(codes, &json!({})).await;
    let told = messages(&gate, "alert_recovery_codes_made", EMAIL).await;
    assert!(told[0]["message"]["subject"].as_str().unwrap().contains("恢复码"), "{told:?}");
    assert_eq!(person.post_form(page, &fields[1..]).await.status, StatusCode::FORBIDDEN, "K01");
}

#[tokio::test]
async fn a_person_looks_back_at_their_sign_ins_and_ends_other_sessions() {
    let gate = gate("[second_factor]\nrequire = \"all\"\n", reached(Some(PHONE))).await;
    let mut one = gate.browser();
    one.fields.push(("user-agent".into(), "Mozilla/5.0 (Windows) Firefox/140.0".into()));
    for _ in 0..2 {
        one.try_sign_in("alice", doorward_tests::PASSWORD).await;
        let api = "/.doorward/api/v1/sign-in/second-factor";
        one.post_json(&format!("{api}/send"), &json!({})).await;
        let code = code(&gate, "code_sign_in", PHONE).await;
        let done = one.post_json(api, &json!({"way": "text-message", "code": code})).await;
        assert_eq!(done.status, StatusCode::OK, "{}", done.text());
        gate.clock.advance(std::time::Duration::from_secs(61));
    }
    let listed = one.get("/.doorward/api/v1/sign-ins").await;
    Description::of(&gate).await.holds("GET", "/sign-ins", &listed);
    let listed = listed.json();
    let first = &listed["sign_ins"][0];
    assert_eq!((&first["result"], &first["address"]), (&json!("signed-in"), &json!("127.0.0.1")));
    assert_eq!(first["device"], "Firefox, Windows");
    let mut person = one.clone().navigating();
    let page = person.get("/.doorward/account/sign-ins").await.text();
    assert!(page.contains("Firefox, Windows · 127.0.0.1") && page.contains("signed in"), "{page}");
    let stranger = gate.browser().get("/.doorward/api/v1/sign-ins").await;
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_account_page_leads_everywhere_and_ends_all_other_sessions() {
    let gate = gate("", reached(None)).await;
    gate.add("alice/dev", AccountChange::default()).await;
    let (mut here, mut there) = (gate.signed_in().await.navigating(), gate.signed_in().await);
    let page = here.get("/.doorward/account").await;
    for place in ["profile", "password", "authenticators", "addresses", "sign-ins", "sub-users"] {
        let link = format!("/.doorward/account/{place}");
        assert!(page.text().contains(&format!("href=\"{link}\"")), "{place}");
        let shown = here.get(&link).await;
        assert_eq!(shown.status, StatusCode::OK, "{place}: {}", shown.text());
        assert_eq!(shown.field("content-type"), "text/html; charset=utf-8", "K07 {place}");
        let chinese = here.clone().get(&format!("{link}?lang=zh-CN")).await.text();
        assert!(chinese.contains("lang=\"zh-CN\""), "{place}");
        let stranger = gate.browser().navigating().get(&link).await;
        let back = format!("%2F.doorward%2Faccount%2F{place}");
        assert_eq!(stranger.location(), format!("/.doorward/sign-in?return_to={back}"));
    }
    let code = page.hidden("code");
    let end = "/.doorward/account/end-others";
    assert_eq!(here.get(end).await.status, StatusCode::METHOD_NOT_ALLOWED, "K02");
    assert_eq!(here.post_form(end, &[]).await.status, StatusCode::FORBIDDEN, "K01");
    assert_eq!(there.get("/.doorward/session").await.status, StatusCode::OK);
    let ended = here.post_form(end, &[("code", &code)]).await;
    assert_eq!(ended.location(), "/.doorward/account", "{}", ended.text());
    assert_eq!(there.get("/.doorward/session").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(here.get("/.doorward/session").await.status, StatusCode::OK);
    let mut dev = gate.browser();
    dev.sign_in("alice/dev").await;
    assert!(!dev.navigating().get("/.doorward/account").await.text().contains("sub-users"));
}
