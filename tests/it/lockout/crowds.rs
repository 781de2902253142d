//! Many guesses at once gain nothing, and neither does ending the gate in their middle.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use doorward_plugins::administration::AccountChange;
use doorward_tests::process::{Served, add_account, configure};
use doorward_tests::{
    Browser, PASSWORD, PUBLIC_HOST, Scratch, Setup, TestGate, Upstream, eventually, metric,
};
use http::StatusCode;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{NO_CAPTCHA, gate, guess};

/// Guesses `count` times at once from as many connections as fit; gives how often it was let in.
async fn guess_at_once(browser: &Browser, name: &'static str, count: usize) -> usize {
    let mut left = JoinSet::new();
    for client in 0..64 {
        let mut browser = browser.clone();
        left.spawn(async move {
            let mut entered = 0;
            for number in (client..count).step_by(64) {
                let password = format!("guess {number}");
                let answer = browser.try_sign_in(name, &password).await;
                entered += usize::from(answer.status == StatusCode::OK);
            }
            entered
        });
    }
    left.join_all().await.into_iter().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn f12_a_crowd_of_guesses_is_checked_ten_times() {
    let gate = gate("[accounts]\nhash_queue = 100\n").await;
    gate.add("bob", AccountChange::default()).await;
    let entered = guess_at_once(&gate.browser(), "alice", 150).await;
    assert_eq!(entered, 0);
    assert_eq!(gate.services().sign_in.passwords_checked(), 10);
    assert_eq!(gate.browser().try_sign_in("alice", PASSWORD).await.status, StatusCode::FORBIDDEN);
    gate.browser().sign_in("bob").await;
}

/// Sends ten thousand guesses over 64 connections that are kept, to these gates in turn; gives how many answers came of each
/// status.
pub(crate) async fn ten_thousand_guesses(addresses: &[SocketAddr]) -> BTreeMap<u16, usize> {
    let mut crowd = JoinSet::new();
    for client in 0..64 {
        let address = addresses[client % addresses.len()];
        crowd.spawn(async move {
            let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(stream).await.unwrap();
            let connection = tokio::spawn(connection);
            let mut statuses = BTreeMap::new();
            for number in (client..10_000).step_by(64) {
                let body = format!(r#"{{"account":"alice","password":"guess {number}"}}"#);
                let request = http::Request::post("/.doorward/api/v1/sign-in")
                    .header("host", PUBLIC_HOST)
                    .header("content-type", "application/json")
                    .body(Full::new(Bytes::from(body)))
                    .unwrap();
                let answer = sender.send_request(request).await.unwrap();
                *statuses.entry(answer.status().as_u16()).or_insert(0) += 1;
                answer.into_body().collect().await.unwrap();
            }
            drop(sender);
            let _ = connection.await;
            statuses
        });
    }
    let mut all = BTreeMap::new();
    for (status, count) in crowd.join_all().await.into_iter().flatten() {
        *all.entry(status).or_insert(0) += count;
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn f12_ten_thousand_guesses_at_once_are_checked_three_times_without_a_captcha() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    gate.add_alice().await;
    let statuses = ten_thousand_guesses(&[gate.address()]).await;
    assert_eq!(gate.services().sign_in.passwords_checked(), 3, "{statuses:?}");
    // Some found the queue full; nobody got in.
    assert!(statuses.keys().all(|status| matches!(status, 403 | 503)), "{statuses:?}");
    assert_eq!(statuses.values().sum::<usize>(), 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn f11_f12_a_kill_in_the_middle_of_a_crowd_gives_no_more_guesses() {
    let (upstream, scratch) = (Upstream::start().await, Scratch::new());
    let config = configure(scratch.path(), &upstream.address, NO_CAPTCHA);
    add_account(&config, "alice");
    let body = r#"{"account":"alice","password":"wrong"}"#;
    let request = format!(
        "POST /.doorward/api/v1/sign-in HTTP/1.1\r\nHost: {PUBLIC_HOST}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut checked = 0;
    for round in 1..=4 {
        let mut gate = Served::start(&config);
        let mut crowd = Vec::new();
        for _ in 0..20 {
            let mut client = TcpStream::connect(gate.address).await.unwrap();
            client.write_all(request.as_bytes()).await.unwrap();
            crowd.push(client);
        }
        let some = u64::from(round < 4);
        let checks = async || metric(gate.operations, "doorward_password_checks_total").await;
        eventually("a guess is checked", async || checks().await >= some).await;
        checked += checks().await;
        gate.kill();
    }
    assert!(checked <= 10, "{checked} guesses were checked");
    let gate = Served::start(&config);
    let mut browser = Browser::new(gate.address, PUBLIC_HOST, None);
    guess(&mut browser, "alice", 10).await;
    let more = metric(gate.operations, "doorward_password_checks_total").await;
    assert!(checked + more <= 10, "{checked} guesses were checked, and {more} more");
    assert_eq!(browser.try_sign_in("alice", PASSWORD).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_a_crowd_of_strangers_does_not_keep_the_owner_waiting_at_a_known_browser() {
    let gate = gate("").await;
    let mut owner = gate.signed_in().await;
    guess(&mut gate.browser(), "alice", 10).await;
    let over = Arc::new(AtomicBool::new(false));
    let mut strangers = JoinSet::new();
    for _ in 0..12 {
        let (mut stranger, over) = (gate.browser(), Arc::clone(&over));
        strangers.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                stranger.try_sign_in("alice", "wrong").await;
            }
        });
    }
    for _ in 0..5 {
        owner.sign_in("alice").await;
    }
    over.store(true, Ordering::Relaxed);
    strangers.join_all().await;
}
