//! What owners are told when it happens: once, and of nothing that belongs to the day.

use doorward_plugins::authenticator::Kind;
use doorward_plugins::authenticator::totp::Seed;
use doorward_tests::process::python;
use doorward_tests::{PASSWORD, Scratch};
use http::StatusCode;
use serde_json::json;

use super::*;

const TABLES: &str = "[captcha]\nmode = \"off\"\n[notify]\noutbox_dir = \"outbox\"\n";

/// The kinds of what alice was told by mail so far.
async fn told(gate: &TestGate) -> Vec<String> {
    gate.deliver().await;
    let documents = documents(gate);
    let mails = documents.iter().filter(|document| document["channel"] == "email");
    let mut kinds: Vec<_> =
        mails.map(|document| document["kind"].as_str().unwrap().to_owned()).collect();
    kinds.sort();
    kinds
}

/// What alice was told, once there is as much of it.
async fn told_at_last(gate: &TestGate, count: usize) -> Vec<String> {
    doorward_tests::eventually("an alert", async || told(gate).await.len() >= count).await;
    told(gate).await
}

#[tokio::test]
async fn f23_a_wrong_password_is_not_told_and_what_it_leads_to_is_once() {
    let gate = gate(TABLES).await;
    alice(&gate).await;
    let mut browser = gate.browser();
    for _ in 0..9 {
        browser.try_sign_in("alice", "wrong").await;
    }
    assert_eq!(told(&gate).await, Vec::<String>::new());
    for _ in 0..5 {
        browser.try_sign_in("alice", "wrong").await;
    }
    assert_eq!(told_at_last(&gate, 1).await, ["alert_locked"]);
}

#[tokio::test]
async fn f23_a_right_password_after_many_wrong_ones_is_told_once() {
    let gate = gate(TABLES).await;
    alice(&gate).await;
    let mut browser = gate.browser();
    for _ in 0..6 {
        browser.try_sign_in("alice", "wrong").await;
    }
    browser.sign_in("alice").await;
    assert_eq!(told_at_last(&gate, 1).await, ["alert_success_after_failures"]);
}

#[tokio::test]
async fn f23_a_right_password_with_a_failed_second_factor_is_told_once() {
    let gate = gate(&format!("{TABLES}[second_factor]\nrequire = \"all\"\n")).await;
    let owner = alice(&gate).await;
    bind_app(&gate, &owner).await;
    let mut browser = gate.browser();
    let half = browser.try_sign_in("alice", PASSWORD).await;
    assert_eq!(half.status, StatusCode::UNAUTHORIZED, "{}", half.text());
    assert_eq!(told(&gate).await, Vec::<String>::new());
    for _ in 0..3 {
        let wrong = json!({"way": "totp", "code": "000000"});
        browser.post_json("/.doorward/api/v1/sign-in/second-factor", &wrong).await;
    }
    assert_eq!(told(&gate).await, ["alert_second_factor_failed"]);
}

#[tokio::test]
async fn f23_a_new_device_is_told_once_and_a_first_sign_in_is_not() {
    let gate = gate(TABLES).await;
    alice(&gate).await;
    let mut home = gate.browser();
    home.sign_in("alice").await;
    home.sign_in("alice").await;
    assert_eq!(told(&gate).await, Vec::<String>::new());
    let mut other = gate.browser();
    other.sign_in("alice").await;
    other.sign_in("alice").await;
    assert_eq!(told(&gate).await, ["alert_new_device"]);
}

/// Writes a MaxMind DB of two countries, by somebody else's writer.
const REGIONS: &str = "
import sys
from mmdb_writer import MMDBWriter
from netaddr import IPSet
writer = MMDBWriter(6, 'GeoLite2-Country', ipv4_compatible=True)
for network, code in [('198.51.100.0/24', 'DE'), ('203.0.113.0/24', 'CN'), ('2001:db8::/32', 'CN')]:
    writer.insert_network(IPSet([network]), {'country': {'iso_code': code}})
writer.to_db_file(sys.argv[1])
";

#[tokio::test]
async fn a_new_region_is_told_once_and_an_unknown_one_is_none() {
    let (upstream, scratch) = (Upstream::start().await, Scratch::new());
    let file = scratch.path().join("regions.mmdb");
    python(REGIONS, &[file.to_str().unwrap()], b"");
    let tables = format!("{TABLES}[risk]\nregions_file = \"{}\"\n", file.display());
    let listener = "trusted_proxies = [\"127.0.0.0/8\"]";
    let setup = Setup { listener, tables: &tables, ..Setup::default() };
    let gate = TestGate::start(&upstream, setup).await;
    alice(&gate).await;
    let mut browser = gate.browser();
    let mut from = async |address: &str| {
        browser.fields = vec![("x-forwarded-for".into(), address.into())];
        browser.sign_in("alice").await;
    };
    for address in ["198.51.100.1", "192.0.2.1", "198.51.100.2"] {
        from(address).await;
        assert_eq!(told(&gate).await, Vec::<String>::new(), "{address}");
    }
    for address in ["203.0.113.1", "2001:db8::1"] {
        from(address).await;
        assert_eq!(told(&gate).await, ["alert_new_region"], "{address}");
    }
    let documents = documents(&gate);
    let told = documents.iter().find(|document| document["channel"] == "email").unwrap();
    assert!(told["message"]["text"].as_str().unwrap().contains("CN"), "{told}");
}

#[tokio::test]
async fn an_unusual_sign_in_asks_who_has_a_second_factor_for_it_and_nobody_to_bind_one() {
    for binds in [true, false] {
        let gate = gate(&format!("{TABLES}[risk]\nsecond_factor = true\n")).await;
        let owner = alice(&gate).await;
        gate.browser().sign_in("alice").await;
        if binds {
            bind_app(&gate, &owner).await;
        }
        let answer = gate.browser().try_sign_in("alice", PASSWORD).await;
        let expected = if binds { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
        assert_eq!(answer.status, expected, "{}", answer.text());
    }
}

/// Binds an app for alice that nobody has.
async fn bind_app(gate: &TestGate, owner: &PrincipalRecord) {
    let (second, id) = (std::sync::Arc::clone(&gate.services().second), owner.id.clone());
    let seed = Seed::fresh().unwrap();
    gate.in_office(async move {
        second.authenticators.bind(&id, Kind::Totp, "phone", &seed, None, 0).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn j06_a_change_of_the_password_is_told() {
    let gate = gate(TABLES).await;
    alice(&gate).await;
    let mut browser = gate.signed_in().await;
    let body =
        json!({"current_password": PASSWORD, "new_password": "violet tractor umbrella seven"});
    let done = browser.post_json("/.doorward/api/v1/password", &body).await;
    assert!(done.status.is_success(), "{}", done.text());
    assert_eq!(told(&gate).await, ["alert_password_changed"]);
}
