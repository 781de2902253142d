//! Records in PostgreSQL, and a PostgreSQL that fails: nobody new gets in, nobody is thrown out, and
//! all goes on by itself.

use std::time::Duration;

use doorward_certs::development::DevelopmentCertificate;
use doorward_config::GatewayConfig;
use doorward_plugins::administration::AccountChange;
use doorward_plugins::store::PostgresStore;
use doorward_plugins::{Clock, Services};
use doorward_tests::{
    App, Browser, PASSWORD, PUBLIC_HOST, PostgresServer, START, Scratch, Setup, TestGate, Upstream,
    eventually, process,
};
use http::StatusCode;
use serde_json::json;

use crate::records::postgres;

/// What the answer to a sign-in may take while the server is hung: the deadline of one call, and a
/// machine that has other things to do.
const ANSWERED_WITHIN: Duration = Duration::from_secs(8);

/// A gate whose records are in a database, where everybody who has a second factor needs it.
async fn gate(url: &str, vault: &Scratch, upstream: &Upstream) -> TestGate {
    gate_with(&format!("postgres = \"{url}\""), vault, upstream).await
}

async fn gate_with(store: &str, vault: &Scratch, upstream: &Upstream) -> TestGate {
    let key_file = vault.path().join("vault");
    let tables = format!(
        "[second_factor]\nrequire = \"staff\"\nkey_file = {key_file:?}\n[captcha]\nmode = \"off\"\n"
    );
    TestGate::start(upstream, Setup { store, tables: &tables, ..Setup::default() }).await
}

async fn give(browser: &mut Browser, app: &App) -> StatusCode {
    let answer = json!({"way": "totp", "code": app.code()});
    browser.post_json("/.doorward/api/v1/sign-in/second-factor", &answer).await.status
}

/// A browser in which alice has given the right password and owes a code.
async fn half_signed_in(gate: &TestGate) -> Browser {
    let mut browser = gate.browser();
    let half = browser.try_sign_in("alice", PASSWORD).await;
    assert_eq!(half.status, StatusCode::UNAUTHORIZED, "{}", half.text());
    assert_eq!(half.json()["ways"], "totp");
    browser
}

#[tokio::test]
async fn g01_gates_share_accounts_and_a_code_is_good_once_at_one_of_them() {
    let url = PostgresServer::shared().database();
    let (vault, upstream) = (Scratch::new(), Upstream::start().await);
    let one = gate(&url, &vault, &upstream).await;
    let other = gate(&url, &vault, &upstream).await;
    one.add_alice().await;
    let app = one.app_of("alice").await;
    app.wait();
    let mut here = half_signed_in(&one).await;
    // The clocks of both tell the time of the app.
    other.clock.advance(one.clock.wall().since(other.clock.wall()));
    let mut there = half_signed_in(&other).await;
    assert_eq!(give(&mut here, &app).await, StatusCode::OK);
    assert_eq!(here.get("/").await.status, StatusCode::OK);
    assert_eq!(give(&mut there, &app).await, StatusCode::FORBIDDEN, "it was used");

    let one = one.restart().await;
    assert_eq!(one.browser().try_sign_in("alice", "wrong").await.status, StatusCode::FORBIDDEN);
    app.wait();
    let mut again = half_signed_in(&one).await;
    assert_eq!(give(&mut again, &app).await, StatusCode::OK);
}

/// What a fault of the server must not do, and what it may.
async fn check_fault(begin: impl Fn(&PostgresServer), end: impl Fn(&PostgresServer)) {
    let server = PostgresServer::start();
    let (vault, upstream) = (Scratch::new(), Upstream::start().await);
    let gate = gate(&server.database(), &vault, &upstream).await;
    gate.add("bob", AccountChange::default()).await;
    gate.add_alice().await;
    let app = gate.app_of("alice").await;
    app.wait();
    let mut bob = gate.browser();
    bob.sign_in("bob").await;
    let mut alice = half_signed_in(&gate).await;

    begin(&server);
    let seen = upstream.count();
    // A server takes a moment to become what it was told to be.
    let mut operator = Browser::new(gate.operations(), "localhost", None);
    eventually("the fault", async || {
        operator.get("/readyz").await.status == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    for password in [PASSWORD, "wrong"] {
        let mut stranger = gate.browser();
        let answer = stranger.try_sign_in("bob", password);
        let answer = tokio::time::timeout(ANSWERED_WITHIN, answer).await.expect("within its time");
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text());
        assert_ne!(answer.field("retry-after"), "");
        assert_eq!(stranger.get("/").await.status, StatusCode::UNAUTHORIZED);
    }
    let code = tokio::time::timeout(ANSWERED_WITHIN, give(&mut alice, &app)).await;
    assert_eq!(code.expect("within its time"), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(upstream.count(), seen, "the console saw a request of somebody who is not in");
    assert_eq!(operator.get("/livez").await.status, StatusCode::OK);
    assert_eq!(bob.get("/").await.status, StatusCode::OK, "who is in stays in");

    end(&server);
    eventually("recovery", async || operator.get("/readyz").await.status == StatusCode::OK).await;
    assert_eq!(give(&mut alice, &app).await, StatusCode::OK, "the code was not used up");
    gate.browser().sign_in("bob").await;
    assert_eq!(bob.get("/").await.status, StatusCode::OK, "never a sign-out");
}

#[tokio::test]
async fn o05_a01_while_postgres_refuses_nobody_new_gets_in_and_it_is_found_again() {
    check_fault(PostgresServer::stop, PostgresServer::start_again).await;
}

#[tokio::test]
async fn o05_a01_while_postgres_hangs_answers_keep_their_time_and_it_is_found_again() {
    check_fault(|server| server.signal("STOP"), |server| server.signal("CONT")).await;
}

#[tokio::test]
async fn o05_a01_while_postgres_is_read_only_nobody_new_gets_in_and_it_is_found_again() {
    let set = |server: &PostgresServer, value: &str| {
        server
            .sql("postgres", &format!("ALTER SYSTEM SET default_transaction_read_only = {value}"));
        server.sql("postgres", "SELECT pg_reload_conf()");
    };
    check_fault(|server| set(server, "on"), |server| set(server, "off")).await;
}

#[tokio::test]
async fn o05_a_restart_of_postgres_costs_nothing_but_its_time() {
    let server = PostgresServer::start();
    let (vault, upstream) = (Scratch::new(), Upstream::start().await);
    let gate = gate(&server.database(), &vault, &upstream).await;
    gate.add("bob", AccountChange::default()).await;
    for _ in 0..2 {
        gate.browser().sign_in("bob").await;
        server.stop();
        server.start_again();
        gate.browser().sign_in("bob").await;
    }
}

#[tokio::test]
async fn what_a_file_has_of_records_moves_to_postgres_once_and_whole() {
    let (vault, upstream) = (Scratch::new(), Upstream::start().await);
    let url = PostgresServer::shared().database();
    let mut gate = gate_with("", &vault, &upstream).await;
    gate.add_alice().await;
    gate.add("alice/bob", AccountChange::default()).await;
    let app = gate.app_of("alice").await;
    app.wait();
    let mut before = half_signed_in(&gate).await;
    assert_eq!(give(&mut before, &app).await, StatusCode::OK);

    let folder = gate.scratch.path().to_owned();
    let [config, from] = ["doorward.toml", "doorward.db"].map(|name| folder.join(name));
    let with_server = std::fs::read_to_string(&config).unwrap();
    let with_server = with_server.replace("[store]\n", &format!("[store]\npostgres = \"{url}\"\n"));
    std::fs::write(&config, with_server).unwrap();
    let migrate = || {
        let [config, from] = [&config, &from].map(|path| path.to_str().unwrap());
        process::run(&["store", "migrate", "--config", config, "--from", from], "")
    };
    let refused = migrate();
    assert_eq!(refused.status.code(), Some(74), "the gate runs");
    gate.stop();
    let said = migrate();
    let counts = String::from_utf8(said.stdout).unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    for line in ["account: 1", "principal: 2", "authenticator: 1", "token: 0"] {
        assert!(counts.lines().any(|said| said == line), "{counts}");
    }
    let again = migrate();
    let why = String::from_utf8(again.stderr).unwrap();
    assert!(again.status.code() == Some(74) && why.contains("it has records already"), "{why}");

    let gate = gate.restart().await;
    let (address, host) = (gate.address(), PUBLIC_HOST);
    let mut browser = Browser::new(address, host, None);
    browser.jar = before.jar;
    assert_eq!(browser.get("/").await.status, StatusCode::OK, "who was in is in");
    app.wait();
    let mut alice = half_signed_in(&gate).await;
    assert_eq!(give(&mut alice, &app).await, StatusCode::OK, "with what was bound before");
}

#[tokio::test]
async fn o19_a_start_without_its_server_says_which_and_no_password() {
    let server = PostgresServer::start();
    let url = server.database();
    let scratch = Scratch::new();
    let config = postgres(&url, &scratch);
    let said = async || {
        let text = format!(
            "public_url = \"https://a.example\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
             [upstream.a]\naddress = \"http://127.0.0.1:1\"\n[store]\npath = \"a.db\"\npostgres = \"{url}\""
        );
        let config = GatewayConfig::parse(&text, scratch.path()).unwrap();
        let opened = Services::open(config.into(), Clock::manual(START)).await;
        opened.err().expect("it cannot be opened").to_string()
    };
    let store = PostgresStore::open(&config).await.unwrap();
    drop(store);
    let database = config.database.clone();
    let newer = "INSERT INTO _sqlx_migrations VALUES (99, $$x$$, now(), true, $$x$$, 1)";
    server.sql(&database, newer);
    assert!(said().await.contains("newer Doorward (version 99"), "{}", said().await);
    server.sql("postgres", "ALTER ROLE gate PASSWORD $$another$$");
    server.stop();
    let refused = said().await;
    assert!(refused.contains(&format!("postgres:///{database}?host=")), "{refused}");
    assert!(!refused.contains("p@ss") && !refused.contains("p%40ss"), "{refused}");
}

#[tokio::test]
async fn l04_a_server_that_cannot_prove_who_it_is_gets_no_password() {
    let server = PostgresServer::start();
    let scratch = Scratch::new();
    let issue = |name: &str, names: &[&str]| {
        let folder = scratch.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        DevelopmentCertificate::ensure(&folder, names).unwrap();
        let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
        (read("chain.pem"), read("key.pem"))
    };
    let (chain, key) = issue("right", &["127.0.0.1"]);
    issue("other", &["127.0.0.1"]);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let here = postgres(&server.database(), &scratch);
    server.listen_with_tls(port, (&chain, &key));
    let open = async |host: &str, tls: &str| {
        let database = &here.database;
        let url = format!("postgres://gate:p%40ss%2Fword@{host}:{port}/{database}?{tls}");
        PostgresStore::open(&postgres(&url, &scratch))
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    };
    let verified = "sslmode=verify-full&sslrootcert=right/ca.pem";
    assert_eq!(open("127.0.0.1", verified).await, Ok(()));
    for (host, tls) in [
        ("127.0.0.1", "sslmode=verify-full&sslrootcert=other/ca.pem"),
        ("127.0.0.1", "sslmode=verify-full"),
        ("localhost", verified),
    ] {
        let refused = open(host, tls).await.unwrap_err();
        assert!(refused.contains("certificate"), "{host} {tls}: {refused}");
    }
}
