//! Who may go where: groups and roles, hosts with routes of their own, sessions that belong to
//! one host or to several.

use doorward_plugins::administration::AccountChange;
use doorward_tests::{Browser, Setup, TestGate, Upstream};
use http::StatusCode;

fn change(roles: &[&str], groups: &[&str]) -> AccountChange {
    let owned = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    AccountChange { roles: owned(roles), groups: owned(groups), ..AccountChange::default() }
}

fn at(gate: &TestGate, host: &str) -> Browser {
    let mut browser = gate.browser();
    browser.host = host.into();
    browser
}

#[tokio::test]
async fn a_route_demands_one_of_its_groups_and_one_of_its_roles() {
    let upstream = Upstream::start().await;
    let tables = "[[route]]\npath = \"/ops/**\"\ngroups = [\"operators\", \"staff\"]\nroles = [\"owner\", \"auditor\"]\n\
                  [[route]]\npath = \"/bills\"\nmethods = [\"POST\"]\nroles = [\"billing\"]\n\
                  [[route]]\npath = \"/open/**\"\naccess = \"public\"";
    let gate = TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await;
    let people = [
        ("both", change(&["auditor"], &["staff"]), StatusCode::OK),
        ("group", change(&["clerk"], &["operators"]), StatusCode::FORBIDDEN),
        ("role", change(&["owner"], &["guests"]), StatusCode::FORBIDDEN),
        ("none", change(&[], &[]), StatusCode::FORBIDDEN),
        ("case", change(&["Owner"], &["Staff"]), StatusCode::FORBIDDEN),
    ];
    for (name, change, expected) in people {
        gate.add(name, change).await;
        let mut browser = gate.browser();
        browser.sign_in(name).await;
        let seen = upstream.count();
        let answer = browser.get("/ops/restart").await;
        assert_eq!(answer.status, expected, "{name}");
        assert_eq!(upstream.count() - seen, usize::from(expected == StatusCode::OK), "{name}");
        if expected == StatusCode::FORBIDDEN {
            assert_eq!(answer.json()["type"], "urn:doorward:problem:forbidden");
            let page = browser.clone().navigating().get("/ops/restart").await;
            assert_eq!(page.status, StatusCode::FORBIDDEN, "a page, and no way round to sign-in");
            assert!(page.text().contains("role=\"alert\""), "{}", page.text());
        }
        assert_eq!(browser.get("/bills").await.status, StatusCode::OK, "{name}: looking is free");
        let paid = browser.post_json("/bills", &serde_json::json!({})).await;
        assert_eq!(paid.status, StatusCode::FORBIDDEN, "{name}");
    }
    let mut stranger = gate.browser();
    assert_eq!(stranger.get("/ops/restart").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(stranger.get("/open/door").await.status, StatusCode::OK);
    assert_eq!(upstream.last().field("remote-user"), None);
}

const TWO_HOSTS: &str = "[[route]]\nhosts = [\"docs.example.com\"]\npath = \"/guide\"\naccess = \"public\"\n\
                         [[route]]\nhosts = [\"admin.example.com\"]\nroles = [\"owner\"]\n\
                         [[route]]\nhosts = [\"docs.example.com\"]";

#[tokio::test]
async fn a_route_holds_for_its_hosts_only() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tables: TWO_HOSTS, ..Setup::default() }).await;
    gate.add("clerk", change(&["clerk"], &[])).await;
    for (host, path, stranger, clerk) in [
        ("docs.example.com", "/guide", 200, 200),
        ("DOCS.example.com:8443", "/guide", 200, 200),
        ("docs.example.com", "/other", 401, 200),
        ("console.example.com", "/guide", 401, 200),
        ("admin.example.com", "/guide", 401, 403),
        ("other.example.com", "/guide", 421, 421),
    ] {
        assert_eq!(at(&gate, host).get(path).await.status.as_u16(), stranger, "{host}{path}");
        if clerk != 421 {
            let mut browser = at(&gate, host);
            browser.sign_in("clerk").await;
            assert_eq!(browser.get(path).await.status.as_u16(), clerk, "{host}{path} as clerk");
        }
    }
}

#[tokio::test]
async fn a18_a_session_of_one_host_is_worth_nothing_at_another() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tables: TWO_HOSTS, ..Setup::default() }).await;
    let mut console = gate.signed_in().await;
    let mut docs = at(&gate, "docs.example.com");
    docs.jar.clone_from(&console.jar);
    let seen = upstream.count();
    assert_eq!(docs.get("/other").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(docs.get("/.doorward/session").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(upstream.count(), seen, "the upstream saw a session of another host");
    docs.jar.clear();
    docs.sign_in("alice").await;
    assert_ne!(docs.token(), console.token());
    assert_eq!(docs.get("/other").await.status, StatusCode::OK);
    let mut swapped = console.clone();
    swapped.jar.clone_from(&docs.jar);
    assert_eq!(swapped.get("/").await.status, StatusCode::UNAUTHORIZED);
    docs.post_json("/.doorward/api/v1/sign-out", &serde_json::json!({})).await;
    assert_eq!(
        console.get("/").await.status,
        StatusCode::OK,
        "signing out here leaves there alone"
    );
}

#[tokio::test]
async fn e10_hosts_below_a_cookie_domain_share_a_session() {
    let upstream = Upstream::start().await;
    let tables = format!("[session]\ncookie_domain = \"example.com\"\n{TWO_HOSTS}");
    let gate = TestGate::start(&upstream, Setup { tables: &tables, ..Setup::default() }).await;
    gate.add_alice().await;
    let mut console = gate.browser();
    let answer = console.try_sign_in("alice", doorward_tests::PASSWORD).await;
    let cookie = answer.field("set-cookie");
    assert!(cookie.starts_with("__Secure-doorward="), "{cookie}");
    for attribute in ["Domain=example.com", "Secure", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.split("; ").any(|found| found == attribute), "{attribute}: {cookie}");
    }
    let mut docs = at(&gate, "docs.example.com");
    docs.jar.clone_from(&console.jar);
    assert_eq!(docs.get("/other").await.status, StatusCode::OK);
    let done = docs.post_json("/.doorward/api/v1/sign-out", &serde_json::json!({})).await;
    let cookie = done.field("set-cookie");
    assert!(cookie.contains("Max-Age=0") && cookie.contains("Domain=example.com"), "{cookie}");
    assert_eq!(console.get("/").await.status, StatusCode::UNAUTHORIZED, "signed out everywhere");
}
