//! An older version and this one over one store: at the same time, as in a rolling upgrade, and one
//! after the other. Without `DOORWARD_TEST_OLDER` the older version is this one.

use std::path::{Path, PathBuf};

use doorward_plugins::Clock;
use doorward_tests::process::{self, Served};
use doorward_tests::redis::RedisServer;
use doorward_tests::{
    App, Browser, PASSWORD, PUBLIC_HOST, PostgresServer, Scratch, Upstream, eventually,
};
use http::{Method, StatusCode};
use serde_json::json;

use crate::starting::ends;
use crate::step_up::{self, ROUTES};

/// A configuration in a folder of its own.
fn configure(folder: &Scratch, upstream: &Upstream, store: &str, vault: &Path) -> PathBuf {
    let vault = format!("[second_factor]\nkey_file = {vault:?}\n");
    let extra = format!("[captcha]\nmode = \"off\"\n{vault}{ROUTES}");
    let config = process::configure(folder.path(), &upstream.address, &extra);
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("[store]\n", &format!("[store]\n{store}"))).unwrap();
    config
}

fn older(config: &Path) -> Served {
    Served::begin_other(&process::older(), config, &[]).listening()
}

/// The same browser, sent to another gate.
fn at(gate: &Served, browser: &Browser) -> Browser {
    let mut there = Browser::new(gate.address, PUBLIC_HOST, None);
    there.jar = browser.jar.clone();
    there
}

fn browser(gate: &Served) -> Browser {
    Browser::new(gate.address, PUBLIC_HOST, None)
}

/// An app of whoever is signed in there.
async fn bind_app(browser: &mut Browser) -> App {
    const APPS: &str = "/.doorward/api/v1/authenticators/apps";
    let begun = browser.post_json(APPS, &json!({})).await.json();
    let app = App::new(begun["key"].as_str().unwrap(), &Clock::machine());
    let codes = json!({"name": "phone", "codes": [app.code_after(-1), app.code()]}).to_string();
    let kind = [("content-type", "application/json")];
    let bound = browser.send(Method::PUT, APPS, &kind, codes.into()).await;
    assert_eq!(bound.status, StatusCode::CREATED, "{}", bound.text());
    app
}

/// Signed in at one, at work and asked for more at two, which one is given; signed out at two.
async fn cross(name: &str, one: &Served, two: &Served) {
    let mut here = browser(one);
    here.sign_in(name).await;
    let app = bind_app(&mut here).await;
    let mut there = at(two, &here);
    assert_eq!(there.get("/").await.status, StatusCode::OK, "{name}: at once");
    let challenge = there.get("/keys/1").await;
    assert_eq!(challenge.status, StatusCode::UNAUTHORIZED, "{}", challenge.text());
    let mut here = at(one, &there);
    let approved = step_up::approve(&mut here, &challenge, &app.code_after(1)).await;
    assert_eq!(approved.status, StatusCode::OK, "{name}: {}", approved.text());
    let mut there = at(two, &here);
    for browser in [&mut here, &mut there] {
        assert_eq!(browser.get("/keys/1").await.status, StatusCode::OK, "{name}");
    }
    let out = there.post_json("/.doorward/api/v1/sign-out", &json!({})).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    eventually("refused at the other", async || {
        here.get("/").await.status == StatusCode::UNAUTHORIZED
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn o15_an_older_version_and_this_one_are_one_memory() {
    let (redis, postgres, upstream) =
        (RedisServer::start(), PostgresServer::start(), Upstream::start().await);
    let store = format!("redis = {:?}\npostgres = {:?}\n", redis.url(), postgres.database());
    let folders = [Scratch::new(), Scratch::new()];
    let vault = folders[0].path().join("vault");
    let configs = folders.each_ref().map(|folder| configure(folder, &upstream, &store, &vault));
    let old = older(&configs[0]);
    for name in ["alice", "bob", "carol"] {
        process::add_account(&configs[0], name);
    }
    let new = Served::start(&configs[1]);
    cross("alice", &old, &new).await;
    cross("bob", &new, &old).await;
    // Guesses count in both, and so does the lock.
    for guess in 0..10 {
        let gate = if guess % 2 == 0 { &old } else { &new };
        let answer = browser(gate).try_sign_in("carol", "wrong").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text());
    }
    for gate in [&old, &new] {
        let answer = browser(gate).try_sign_in("carol", PASSWORD).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "locked");
    }
    for config in &configs {
        let config = config.to_str().unwrap();
        let lifted = process::run(&["lock", "lift", "carol", "--config", config], "");
        assert!(lifted.status.success(), "{}", String::from_utf8_lossy(&lifted.stderr));
    }
    // Each shows the keys of both.
    eventually("the keys of both", async || {
        let mut counts = Vec::new();
        for gate in [&old, &new] {
            let keys = browser(gate).get("/.doorward/jwks.json").await.json();
            counts.push(keys["keys"].as_array().unwrap().len());
        }
        counts == [2, 2]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn o15_a_file_goes_to_a_newer_version_and_back() {
    let (folder, upstream) = (Scratch::new(), Upstream::start().await);
    let config = configure(&folder, &upstream, "", &folder.path().join("vault"));
    let mut gate = older(&config);
    process::add_account(&config, "alice");
    let mut alice = browser(&gate);
    alice.sign_in("alice").await;
    let app = bind_app(&mut alice).await;
    ends(&mut gate, "TERM").await;
    let mut gate = Served::start(&config);
    let mut alice = at(&gate, &alice);
    assert_eq!(alice.get("/").await.status, StatusCode::OK, "who was in is in");
    let challenge = alice.get("/keys/1").await;
    let approved = step_up::approve(&mut alice, &challenge, &app.code_after(1)).await;
    assert_eq!(approved.status, StatusCode::OK, "{}", approved.text());
    ends(&mut gate, "TERM").await;
    let gate = older(&config);
    assert_eq!(at(&gate, &alice).get("/keys/1").await.status, StatusCode::OK);
    let mut again = browser(&gate);
    again.sign_in("alice").await;
    let verified = process::run(&["audit", "verify", "--config", config.to_str().unwrap()], "");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}
