//! Messages to services: signed, encrypted or within this machine, and the same however often.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use doorward_certs::development::DevelopmentCertificate;
use doorward_tests::{Recorded, Scratch};

use super::*;

const KEY: &str = "a key of thirty-two bytes, or so";

fn table(name: &str, url: &str, more: &str) -> (Scratch, String) {
    let scratch = Scratch::new();
    let file = scratch.path().join("key");
    std::fs::write(&file, format!("{KEY}\n")).unwrap();
    let table = format!(
        "[notify]\nretry_first = \"5s\"\n[notify.{name}]\nurl = {url:?}\nsecret_file = {file:?}\ntimeout = \"300ms\"\n{more}\n"
    );
    (scratch, table)
}

/// A service that gives these answers, one after the other, the last for ever.
async fn service(answers: &'static [&'static str]) -> Upstream {
    let next = std::sync::atomic::AtomicUsize::new(0);
    Upstream::replying(move |_| {
        let number = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let answer = answers[number.min(answers.len() - 1)];
        (!answer.is_empty()).then(|| answer.into())
    })
    .await
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
const BROKEN: &str = "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n";
const WRONG: &str = "HTTP/1.1 422 No\r\ncontent-length: 0\r\n\r\n";
/// A head that never ends.
const SLOW: &str = "HTTP/1.1 200 OK\r\n";

/// Is the request signed as Standard Webhooks says?
fn is_signed(request: &Recorded) -> bool {
    let field = |name: &str| request.field(name).unwrap().to_owned();
    let signed = format!(
        "{}.{}.{}",
        field("webhook-id"),
        field("webhook-timestamp"),
        String::from_utf8_lossy(&request.body)
    );
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes()), signed.as_bytes());
    field("webhook-signature") == format!("v1,{}", STANDARD.encode(tag))
}

#[tokio::test]
async fn g16_a_service_that_fails_is_asked_again_with_the_same_id_until_it_accepts() {
    for answers in [&[BROKEN, SLOW, "", ACCEPTED, BROKEN][..], &[OK, BROKEN]] {
        let service = service(answers).await;
        let (_key, tables) = table("text_message", &format!("http://{}/sms", service.address), "");
        let gate = gate(&tables).await;
        ask_for_code(&gate, "c1").await;
        for _ in 0..6 {
            gate.deliver().await;
            gate.clock.advance(Duration::from_secs(45));
        }
        let requests = service.requests();
        assert_eq!(requests.len(), answers.len() - 1, "until it was accepted, and not after");
        assert!(requests.iter().all(is_signed));
        let same =
            |request: &Recorded| request.field("webhook-id") == requests[0].field("webhook-id");
        assert!(requests.iter().all(same));
        let body: Value = serde_json::from_slice(&requests[0].body).unwrap();
        assert_eq!(
            (&body["type"], &body["kind"]),
            (&"text_message".into(), &"code_sign_in".into())
        );
        assert_eq!(body["data"]["to"], PHONE);
        assert_eq!(body["data"]["code"].as_str().unwrap().len(), 6);
    }
}

#[tokio::test]
async fn g11_a_code_is_never_sent_late() {
    let service = service(&[BROKEN]).await;
    let (_key, tables) = table("text_message", &format!("http://{}/sms", service.address), "");
    let gate = gate(&tables).await;
    ask_for_code(&gate, "c1").await;
    gate.deliver().await;
    gate.clock.advance(Duration::from_secs(299));
    gate.deliver().await;
    assert_eq!(service.count(), 2);
    gate.clock.advance(Duration::from_secs(1));
    gate.deliver().await;
    gate.clock.advance(Duration::from_secs(3600));
    gate.deliver().await;
    assert_eq!(service.count(), 2, "it is worth nothing any more");
}

#[tokio::test]
async fn what_a_service_refuses_for_good_is_not_sent_again() {
    let service = service(&[WRONG, OK]).await;
    let (_key, tables) = table("webhook", &format!("http://{}/hook", service.address), "");
    let gate = gate(&tables).await;
    let owner = alice(&gate).await;
    tell(&gate, &owner).await;
    for _ in 0..3 {
        gate.deliver().await;
        gate.clock.advance(A_WHILE);
    }
    assert_eq!(service.count(), 1);
}

#[tokio::test]
async fn operators_are_told_what_happened_to_whom() {
    let service = service(&[OK]).await;
    let (_key, tables) = table("webhook", &format!("http://{}/hook", service.address), "");
    let gate = gate(&tables).await;
    let owner = alice(&gate).await;
    tell(&gate, &owner).await;
    gate.deliver().await;
    assert!(is_signed(&service.last()));
    let body: Value = serde_json::from_slice(&service.last().body).unwrap();
    assert_eq!(body["kind"], "alert_locked");
    let facts = &body["data"]["facts"];
    assert_eq!(facts["account"], "alice");
    assert_eq!(facts["principal"], owner.id);
    assert_eq!(facts["address"], "192.0.2.1");
    assert_eq!(facts["time"], "2027-01-15T08:00:00.000Z");
}

#[tokio::test]
async fn l04_a_service_is_verified_by_its_certificate() {
    let scratch = Scratch::new();
    let made = DevelopmentCertificate::ensure(scratch.path(), &["localhost"]).unwrap();
    for (known, asked) in [(true, 1), (false, 0)] {
        let service = Upstream::tls(made.tls.clone()).await;
        let url = format!("https://localhost:{}/hook", service.address.port());
        let ca = if known { format!("ca_file = {:?}", made.ca_file) } else { String::new() };
        let (_key, tables) = table("webhook", &url, &ca);
        let gate = gate(&tables).await;
        let owner = alice(&gate).await;
        tell(&gate, &owner).await;
        gate.deliver().await;
        assert_eq!(service.count(), asked, "known: {known}");
    }
}
