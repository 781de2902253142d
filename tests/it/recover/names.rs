//! Forgotten names are told to whoever proves the address, and to nobody else.

use super::*;

#[tokio::test]
async fn j01_names_are_shown_when_a_code_proves_the_address_and_not_before() {
    let gate = gate(OFF, reached(Some(PHONE))).await;
    gate.add("bob", reached(None)).await;
    gate.add(
        "bob/dev",
        AccountChange { email: Some("DEV@example.com".into()), ..AccountChange::default() },
    )
    .await;
    gate.add("gone", reached(None)).await;
    gate.ask(Request::AccountDelete { name: "gone".into() }).await.unwrap();
    let written = Description::of(&gate).await;
    for (address, to, expected) in [
        ("Alice@Example.com", "Alice@Example.com", json!(["alice", "bob"])),
        ("+86 138 0000 0001", PHONE, json!(["alice"])),
        ("dev@example.com", "dev@example.com", json!(["bob/dev"])),
    ] {
        let mut browser = gate.browser();
        let begun = call(&mut browser, "/name", json!({"address": address})).await;
        written.holds("POST", "/recover/name", &begun);
        assert_eq!(begun.status, StatusCode::OK, "{}", begun.text());
        let ticket = begun.json()["ticket"].clone();
        let body = json!({"ticket": ticket, "code": "000000"});
        let wrong = call(&mut browser, "/names", body).await;
        written.holds("POST", "/recover/names", &wrong);
        assert_eq!(wrong.status, StatusCode::FORBIDDEN);
        let code = code(&gate, "code_find_account", to).await;
        let body = json!({"ticket": ticket, "code": code});
        let told = call(&mut browser, "/names", body.clone()).await;
        written.holds("POST", "/recover/names", &told);
        assert_eq!(told.json()["names"], expected);
        assert_eq!(call(&mut browser, "/names", body).await.status, StatusCode::FORBIDDEN);
    }
    // An address that nobody has is answered alike, and gets nothing.
    let mut browser = gate.browser();
    let begun = call(&mut browser, "/name", json!({"address": "nobody@example.com"})).await;
    assert_eq!(begun.status, StatusCode::OK);
    let body = json!({"ticket": begun.json()["ticket"], "code": "000000"});
    assert_eq!(call(&mut browser, "/names", body).await.status, StatusCode::FORBIDDEN);
    for wrong in ["", "nobody", "13800000001"] {
        let refused = call(&mut browser, "/name", json!({"address": wrong})).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    assert!(messages(&gate, "code_find_account", "nobody@example.com").await.is_empty());
}

#[tokio::test]
async fn k13_a_person_finds_their_names_by_pages() {
    let gate = gate(OFF, reached(None)).await;
    let mut person = gate.browser().navigating();
    let form = person.get("/.doorward/recover/name").await.hidden("code");
    let fields = [("code", &*form), ("address", EMAIL)];
    let shown = person.post_form("/.doorward/recover/name", &fields).await;
    assert!(!shown.text().contains("<span class=\"device\">alice"), "{}", shown.text());
    let ticket = shown.hidden("ticket");
    let sent = code(&gate, "code_find_account", EMAIL).await;
    let fields = [("code", &*form), ("ticket", &*ticket), ("answer", &*sent)];
    let shown = person.post_form("/.doorward/recover/names", &fields).await;
    assert_eq!(shown.status, StatusCode::OK);
    assert!(shown.text().contains("<span class=\"device\">alice</span>"), "{}", shown.text());
}
