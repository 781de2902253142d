//! A gate that starts before the servers that it needs, as a process of its own.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use doorward_tests::process::{self, Served};
use doorward_tests::redis::{RedisServer, free_port};
use doorward_tests::{
    Answer, Browser, DEADLINE, PUBLIC_HOST, PostgresServer, Scratch, Upstream, eventually,
};
use http::StatusCode;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixListener, UnixStream};

/// A gate's configuration, and the servers that it names.
struct House {
    redis: RedisServer,
    postgres: PostgresServer,
    database: String,
    upstream: Upstream,
    scratch: Scratch,
    config: PathBuf,
}

impl House {
    async fn new() -> Self {
        let redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
        let (postgres, upstream, scratch) =
            (PostgresServer::start(), Upstream::start().await, Scratch::new());
        let (redis_url, url) = (redis.url(), postgres.database());
        let store =
            format!("redis = {redis_url:?}\npostgres = {url:?}\nredis_timeout = \"500ms\"\n");
        let database = url.split(['/', '?']).nth(3).unwrap().to_owned();
        let config = process::configure(scratch.path(), &upstream.address, "");
        let house = Self { redis, postgres, database, upstream, scratch, config };
        house.rewrite("[store]\n", &format!("[store]\n{store}"));
        house
    }

    fn rewrite(&self, what: &str, with: &str) {
        let text = std::fs::read_to_string(&self.config).unwrap();
        assert!(text.contains(what), "{text}");
        std::fs::write(&self.config, text.replacen(what, with, 1)).unwrap();
    }

    /// Somebody who is signed in at a gate that has ended since.
    async fn signed_in(&self) -> Browser {
        let mut served = Served::start(&self.config);
        process::add_account(&self.config, "alice");
        let mut alice = Browser::new(served.address, PUBLIC_HOST, None);
        alice.sign_in("alice").await;
        ends(&mut served, "TERM").await;
        alice
    }

    fn take_away(&mut self) {
        self.redis.kill();
        self.postgres.stop();
    }

    /// What `serve` says when it ends with 74.
    async fn refused(&self, words: &[&str]) -> String {
        let file = self.config.to_str().unwrap();
        let words: Vec<_> = [&["serve", "--config", file], words].concat();
        let words: Vec<_> = words.into_iter().map(str::to_owned).collect();
        let command =
            move || process::run(&words.iter().map(|word| &**word).collect::<Vec<_>>(), "");
        let output = tokio::task::spawn_blocking(command).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(74), "{said}");
        assert!(!said.contains("p@ss") && !said.contains("p%40ss"), "{said}");
        said
    }
}

pub(crate) async fn ends(served: &mut Served, signal: &str) {
    served.signal(signal);
    eventually("the end", async || match served.child.try_wait().unwrap() {
        Some(status) => {
            assert_eq!(status.code(), Some(0));
            true
        }
        None => false,
    })
    .await;
}

async fn ask(address: SocketAddr, path: &str) -> Answer {
    Browser::new(address, "localhost", None).get(path).await
}

/// Where a gate that waits answers operators.
fn operations(awaited: &serde_json::Value) -> SocketAddr {
    awaited["operations"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn o19_a_start_waits_for_its_servers_and_goes_on_by_itself() {
    let mut house = House::new().await;
    let port = free_port();
    house.rewrite("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    let alice = house.signed_in().await;
    house.take_away();
    let served = Served::begin(&house.config, &[]);
    let told = [served.event("store_awaited"), served.event("store_awaited")];
    let operations = operations(&told[0]);
    assert!(told[0]["place"].as_str().unwrap().starts_with("store.redis: redis+unix:///"));
    assert!(told[1]["place"].as_str().unwrap().starts_with("postgres:///"));
    assert_eq!(ask(operations, "/livez").await.status, StatusCode::OK);
    for path in ["/startupz", "/readyz"] {
        let answer = ask(operations, path).await;
        let text = answer.text();
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(text.contains("store.redis: ") && text.contains("postgres:///"), "{text}");
        assert!(!text.contains("p@ss") && !text.contains("p%40ss"), "{text}");
    }
    let there = format!("[operations]\naddress = \"{operations}\"");
    house.rewrite("[operations]\naddress = \"127.0.0.1:0\"", &there);
    let health = process::run(&["health", "--config", house.config.to_str().unwrap()], "");
    let said = String::from_utf8(health.stderr).unwrap();
    assert!(said.contains("is not ready: waits for store.redis: "), "{said}");
    let refused = TcpStream::connect(("127.0.0.1", port)).await;
    assert!(refused.is_err(), "no client is to wait at a gate that cannot serve");
    house.redis.restart();
    eventually("one of them", async || {
        let text = ask(operations, "/startupz").await.text();
        !text.contains("store.redis: ") && text.contains("postgres:///")
    })
    .await;
    house.postgres.start_again();
    served.event("store_reached");
    let served = served.listening();
    assert_eq!(served.operations, operations);
    assert_eq!(ask(operations, "/readyz").await.status, StatusCode::OK);
    let mut again = Browser::new(served.address, PUBLIC_HOST, None);
    again.jar = alice.jar;
    assert_eq!(again.get("/").await.status, StatusCode::OK, "who was in is in");
    assert_eq!(house.upstream.count(), 1);
}

#[tokio::test]
async fn o19_a_start_waits_for_servers_that_hang() {
    let house = House::new().await;
    house.redis.signal("STOP");
    house.postgres.signal("STOP");
    let served = Served::begin(&house.config, &[]);
    for _ in 0..2 {
        let told = served.event("store_awaited");
        assert_eq!(told["error"], "the store did not answer in time");
    }
    house.redis.signal("CONT");
    house.postgres.signal("CONT");
    let served = served.listening();
    assert_eq!(ask(served.operations, "/readyz").await.status, StatusCode::OK);
}

/// As a replica does that is to take the place of its primary.
#[tokio::test]
async fn o19_a_start_waits_for_servers_that_only_read() {
    let house = House::new().await;
    let only_reads = |whether: &str| {
        let statement = "SET default_transaction_read_only =";
        let statement = format!("ALTER DATABASE {} {statement} {whether}", house.database);
        house.postgres.sql("postgres", &statement);
    };
    house.redis.ask(&["replicaof", "127.0.0.1", &free_port().to_string()]);
    only_reads("on");
    let served = Served::begin(&house.config, &[]);
    let told = [served.event("store_awaited"), served.event("store_awaited")];
    assert!(told[0]["error"].as_str().unwrap().contains("read only replica"), "{told:?}");
    assert!(told[1]["error"].as_str().unwrap().contains("it cannot be written to"), "{told:?}");
    assert_eq!(house.redis.ask(&["replicaof", "no", "one"]), "OK");
    only_reads("off");
    let served = served.listening();
    assert_eq!(ask(served.operations, "/readyz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn o19_who_waits_for_servers_ends_at_once_when_told_to() {
    let mut house = House::new().await;
    house.take_away();
    for signal in ["TERM", "INT"] {
        let mut served = Served::begin(&house.config, &[]);
        let operations = operations(&served.event("store_awaited"));
        ends(&mut served, signal).await;
        assert!(TcpStream::connect(operations).await.is_err());
    }
}

#[tokio::test]
async fn o19_a_strict_start_waits_for_nobody_and_says_for_whom() {
    let mut house = House::new().await;
    house.redis.kill();
    let said = house.refused(&["--strict-start"]).await;
    assert!(said.starts_with("doorward: store.redis: redis+unix:///"), "{said}");
    assert!(said.contains("the store cannot be reached"), "{said}");
    house.redis.restart();
    house.postgres.stop();
    let said = house.refused(&["--strict-start"]).await;
    assert!(said.starts_with("doorward: postgres:///"), "{said}");
    assert!(said.contains("the store cannot be reached"), "{said}");
}

#[tokio::test]
async fn o19_what_does_not_pass_by_itself_is_not_waited_for() {
    let mut house = House::new().await;
    // A wrong password, and beside it a server that is away.
    house.redis.kill();
    house.rewrite("p%40ss%2Fword", "another");
    let said = house.refused(&[]).await;
    assert!(said.contains("postgres:///") && said.contains("password authentication"), "{said}");
    house.rewrite("another", "p%40ss%2Fword");
    house.postgres.stop();
    house.redis.restart();
    house.redis.ask(&["acl", "setuser", "gate", "on", ">hunter2", "~*", "+@all"]);
    let url = house.redis.url();
    house.rewrite(&url, &format!("{url}?user=gate&pass=hunter3"));
    let said = house.refused(&[]).await;
    assert!(said.contains("store.redis: ") && !said.contains("hunter"), "{said}");
    house.postgres.start_again();
    house.rewrite("hunter3", "hunter2");
    drop(Served::start(&house.config));
}

#[tokio::test]
async fn o08_o19_nobody_is_asked_to_end_for_a_gate_that_cannot_reach_its_servers() {
    let mut house = House::new().await;
    let served = Served::start(&house.config);
    process::add_account(&house.config, "alice");
    let mut alice = Browser::new(served.address, PUBLIC_HOST, None);
    alice.sign_in("alice").await;
    house.redis.kill();
    let said = house.refused(&["--take-over"]).await;
    assert!(said.contains("store.redis: ") && said.contains("cannot be reached"), "{said}");
    house.redis.restart();
    // Nor for one that is older than the tables.
    let newer = "INSERT INTO _sqlx_migrations VALUES (99, $$x$$, now(), true, $$x$$, 1)";
    house.postgres.sql(&house.database, newer);
    let said = house.refused(&["--take-over"]).await;
    assert!(said.contains("newer Doorward (version 99"), "{said}");
    eventually("the gate that was there goes on", async || {
        alice.get("/").await.status == StatusCode::OK
    })
    .await;
    assert!(!house.scratch.path().join("doorward.take-over").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn o19_behind_a_service_managers_socket_clients_wait_with_the_gate() {
    let mut house = House::new().await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    house.rewrite("127.0.0.1:0", &address.to_string());
    let place = house.scratch.path().join("notify");
    let manager = UnixDatagram::bind(&place).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let told = || {
        let mut octets = [0; 1024];
        let length = manager.recv(&mut octets).unwrap();
        String::from_utf8(octets[..length].to_vec()).unwrap()
    };
    house.redis.kill();
    let served = Served::begin_activated(&house.config, &socket, &place);
    for _ in 0..2 {
        let said = told();
        assert!(said.starts_with("STATUS=waits for store.redis: "), "{said}");
        assert!(said.ends_with("\nEXTEND_TIMEOUT_USEC=90000000\n"), "each try: {said}");
    }
    let client = tokio::spawn(async move { ask(address, "/.doorward/sign-in").await.status });
    house.redis.restart();
    let served = served.listening();
    assert_eq!(served.address, address);
    let last = loop {
        let said = told();
        if !said.starts_with("STATUS=waits") {
            break said;
        }
    };
    assert_eq!([last, told()], ["STATUS=\n", "READY=1\n"]);
    // Of another host than this gate's: answered all the same.
    assert_eq!(client.await.unwrap(), StatusCode::MISDIRECTED_REQUEST);
}

/// The server answers whoever asks whether it is there, and not the gate that then begins with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn o19_a_server_that_goes_away_in_the_middle_of_a_start_is_waited_for_again() {
    let house = House::new().await;
    let folder = Scratch::new();
    let (server, place) = (house.redis.socket(), folder.path().join("redis.sock"));
    house.rewrite(server.to_str().unwrap(), place.to_str().unwrap());
    let way = UnixListener::bind(place).unwrap();
    tokio::spawn(async move {
        for number in 1.. {
            let (mut client, _) = way.accept().await.unwrap();
            if number == 2 {
                continue;
            }
            let mut server = UnixStream::connect(&server).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
        }
    });
    let served = Served::begin(&house.config, &[]);
    let awaited = served.event("store_awaited");
    assert!(awaited["place"].as_str().unwrap().starts_with("store.redis: "), "{awaited}");
    served.event("store_reached");
    let served = served.listening();
    assert_eq!(ask(served.operations, "/readyz").await.status, StatusCode::OK);
}
