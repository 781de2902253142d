//! The order of plugins: one promise for each reason that `pipeline()` gives.

use std::time::Duration;

use doorward_certs::development::DevelopmentCertificate;
use doorward_plugins::administration::AccountChange;
use doorward_tests::certificates::{Authority, tls_config};
use doorward_tests::{PUBLIC_HOST, Recorded, Scratch, Setup, TestGate, Upstream};
use http::StatusCode;

const TABLES: &str = "[session]\nidle = \"15m\"\n[[route]]\npath = \"/public\"\naccess = \"public\"\n\
    [[route]]\npath = \"/auditors\"\ngroups = [\"auditors\"]\n";

/// What a client says of itself.
const CLAIMS: [(&str, &str); 4] = [
    ("remote-user", "root"),
    ("remote_groups", "auditors"),
    ("x-forwarded-user", "root"),
    ("x-doorward-assertion", "e30.e30.e30"),
];

async fn gate(upstream: &Upstream) -> TestGate {
    TestGate::start(upstream, Setup { tables: TABLES, ..Setup::default() }).await
}

/// Who the console was told is asking.
fn told(recorded: &Recorded) -> (Option<&str>, bool) {
    assert!(
        !recorded.head.contains("root") && !recorded.head.contains("auditors"),
        "{}",
        recorded.head
    );
    (recorded.field("remote-user"), recorded.field("x-doorward-assertion").is_some())
}

#[tokio::test]
async fn strip_identity_is_first_so_that_no_branch_keeps_a_clients_identity() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    let (mut alice, mut stranger) = (gate.signed_in().await, gate.browser());
    for (path, status) in
        [("/", 401), ("/auditors", 401), ("/.doorward/session", 401), ("/public", 200)]
    {
        assert_eq!(stranger.get_with(path, &CLAIMS).await.status.as_u16(), status, "{path}");
    }
    assert_eq!(told(&upstream.last()), (None, false));
    for (path, status) in [("/", 200), ("/auditors", 403), ("/public", 200)] {
        let before = upstream.count();
        assert_eq!(alice.get_with(path, &CLAIMS).await.status.as_u16(), status, "{path}");
        assert_eq!(upstream.count(), before + usize::from(status == 200), "{path}");
        if status == 200 {
            assert_eq!(told(&upstream.last()), (Some("alice"), true), "{path}");
        }
    }
    let session = alice.get_with("/.doorward/session", &CLAIMS).await.json();
    assert_eq!((&session["account"], &session["groups"][0]), (&"alice".into(), &"staff".into()));
}

#[tokio::test]
async fn session_never_refuses_and_takes_the_cookie_out_whether_or_not_it_is_worth_something() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    let mut alice = gate.signed_in().await;
    let token = alice.token().to_owned();
    alice.get("/public").await;
    assert!(!upstream.last().head.contains(&token));
    gate.clock.advance(Duration::from_secs(15 * 60 + 1));
    for value in [&*token, "", "nonsense", &"A".repeat(43)] {
        let mut browser = gate.browser();
        browser.jar.insert("__Host-doorward".into(), value.into());
        assert_eq!(
            browser.get("/public").await.status,
            StatusCode::OK,
            "{value:?} on a public route"
        );
        let last = upstream.last();
        assert_eq!((told(&last), last.field("cookie")), ((None, false), None), "{value:?}");
        let before = upstream.count();
        assert_eq!(browser.get("/").await.status, StatusCode::UNAUTHORIZED, "{value:?}");
        assert_eq!(upstream.count(), before);
    }
}

#[tokio::test]
async fn certificate_comes_after_session_which_it_never_replaces_and_before_access() {
    let (upstream, folder) = (Upstream::start().await, Scratch::new());
    let made = DevelopmentCertificate::ensure(folder.path(), &[PUBLIC_HOST]).unwrap();
    let authority = Authority::new("clients");
    std::fs::write(folder.path().join("clients.pem"), &authority.pem).unwrap();
    let place = folder.path().display();
    let listener = format!(
        "tls = {{ chain_file = \"{place}/chain.pem\", key_file = \"{place}/key.pem\" }}\nclient_ca_file = \"{place}/clients.pem\"\n"
    );
    let tables = TABLES.replace("groups =", "certificate_sign_in = true\ngroups =");
    let setup = Setup { listener: &listener, tables: &tables, ..Setup::default() };
    let gate = TestGate::start(&upstream, setup).await;
    let auditors =
        AccountChange { groups: Some(vec!["auditors".into()]), ..AccountChange::default() };
    gate.add("bob", auditors).await;
    gate.add_alice().await;
    let versions = [&rustls::version::TLS13];
    let identity = authority.vouch("bob", |_| ());
    let config = tls_config(&made.ca_file, &versions, Some(&identity));
    let mut bob = gate.browser().with_tls(config.clone());
    assert_eq!(bob.get_with("/auditors", &CLAIMS).await.status, StatusCode::OK);
    assert_eq!(upstream.last().field("remote-user"), Some("bob"), "access did not see him");
    let mut alice = gate.browser().with_tls(config);
    alice.sign_in("alice").await;
    assert_eq!(alice.get_with("/auditors", &CLAIMS).await.status, StatusCode::FORBIDDEN);
    assert_eq!(upstream.count(), 1, "the session was replaced");
}

#[tokio::test]
async fn access_compares_what_the_session_found_and_not_what_the_client_says() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    let mut alice = gate.signed_in().await;
    let auditors =
        AccountChange { groups: Some(vec!["auditors".into()]), ..AccountChange::default() };
    gate.add("bob", auditors).await;
    let mut bob = gate.browser();
    bob.sign_in("bob").await;
    assert_eq!(alice.get_with("/auditors", &CLAIMS).await.status, StatusCode::FORBIDDEN);
    assert_eq!(upstream.count(), 0);
    assert_eq!(bob.get("/auditors").await.status, StatusCode::OK);
    assert_eq!(upstream.last().field("remote-user"), Some("bob"));
    let refusal = async || {
        let log = gate.access_log().await;
        log.into_iter().find(|line| line["path"] == "/auditors" && line["status"] == 403)
    };
    doorward_tests::eventually("the line in the log", async || refusal().await.is_some()).await;
    let refused = refusal().await.unwrap();
    assert_eq!((&refused["decided_by"], &refused["account"]), (&"access".into(), &"alice".into()));
}

#[tokio::test]
async fn edits_come_after_what_reads_the_request_and_before_identity_is_told() {
    let upstream = Upstream::start().await;
    // What `session` and `access` read is taken away, and the client's word on it replaced.
    let tables = format!(
        "{TABLES}[[route]]\npath = \"/edited/**\"\nrequest_headers = {{ set = {{ Web-Env = \"1\" }}, remove = [\"Cookie\", \"X-Background\"] }}\n"
    );
    let tables = tables.replace("[session]\n", "[session]\nbackground_header = \"X-Background\"\n");
    let gate = TestGate::start(&upstream, Setup { tables: &tables, ..Setup::default() }).await;
    let (mut alice, mut stranger) = (gate.signed_in().await, gate.browser());
    assert_eq!(stranger.get_with("/edited", &CLAIMS).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(upstream.count(), 0, "a request that was not let through is not edited either");
    let background = [("x-background", "1"), ("web-env", "0"), ("remote-user", "root")];
    for _ in 0..2 {
        gate.clock.advance(Duration::from_secs(8 * 60));
        let answer = alice.get_with("/edited", &background).await;
        if answer.status == StatusCode::UNAUTHORIZED {
            break;
        }
        let last = upstream.last();
        assert_eq!((last.all("web-env"), last.field("x-background")), (vec!["1"], None));
        assert_eq!(told(&last), (Some("alice"), true));
    }
    assert_eq!(upstream.count(), 1, "the session went idle: `session` saw what edits removed");
}

#[tokio::test]
async fn assert_identity_is_last_so_that_only_who_was_let_through_is_named() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    let mut alice = gate.signed_in().await;
    for path in ["/auditors", "/.doorward/session", "/.doorward/none", "//"] {
        let answer = alice.get(path).await;
        assert!(
            answer.headers.keys().all(|name| !CLAIMS.iter().any(|(claim, _)| name == claim)),
            "{path}"
        );
        assert_eq!(upstream.count(), 0, "{path} arrived");
    }
    let answer = alice.get("/").await;
    assert_eq!(told(&upstream.last()), (Some("alice"), true));
    assert!(answer.headers.get("x-doorward-assertion").is_none(), "the client got the assertion");
}

#[tokio::test]
async fn client_limits_come_before_session_which_a_flood_does_not_reach() {
    let upstream = Upstream::start().await;
    let tables = "[rate_limit]\naddress = \"4/1h\"\n[session]\nidle = \"15m\"\n";
    let gate = TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await;
    let mut alice = gate.signed_in().await;
    for _ in 0..3 {
        assert_eq!(alice.get("/").await.status, StatusCode::OK);
    }
    // Refused, so it is not an act that keeps the session awake.
    gate.clock.advance(Duration::from_secs(14 * 60));
    assert_eq!(alice.get("/").await.status, StatusCode::TOO_MANY_REQUESTS);
    gate.clock.advance(Duration::from_secs(2 * 60));
    assert_eq!(alice.get("/.doorward/session").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn route_limits_come_after_access_so_that_strangers_use_up_nobodys_allowance() {
    let upstream = Upstream::start().await;
    let tables = "[[route]]\npath = \"/export\"\ngroups = [\"staff\"]\n\
                  rate_limit = [{ by = [], rate = \"1/1h\" }]\n";
    let gate = TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await;
    let mut alice = gate.signed_in().await;
    gate.add("bob", AccountChange::default()).await;
    let mut bob = gate.browser();
    bob.sign_in("bob").await;
    for _ in 0..3 {
        assert_eq!(bob.get("/export").await.status, StatusCode::FORBIDDEN);
        assert_eq!(gate.browser().get("/export").await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(alice.get("/export").await.status, StatusCode::OK);
    assert_eq!(alice.get("/export").await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn step_up_comes_after_route_limits_so_that_being_asked_has_a_limit() {
    let upstream = Upstream::start().await;
    let tables = "[[route]]\npath = \"/keys\"\nstep_up = {}\n\
                  rate_limit = [{ by = [\"session\"], rate = \"2/1h\" }]\n";
    let gate = TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await;
    let mut alice = gate.signed_in().await;
    gate.app_of("alice").await;
    for expected in [401, 401, 429] {
        assert_eq!(alice.post_json("/keys", &serde_json::json!({})).await.status, expected);
    }
    // And after `access`: who may not is not asked to prove anything.
    assert_eq!(
        gate.browser().get("/keys").await.json()["type"],
        "urn:doorward:problem:session-required"
    );
    assert_eq!(upstream.count(), 0);
}
