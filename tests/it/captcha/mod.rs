//! The captcha: nobody gets further with a solution that is old, used, somebody else's or made up,
//! and everybody gets further who computes, or waits.
//!
//! Challenges are solved by the crate of the people who made the protocol, which the gate itself
//! does not use.

mod pages;
mod provider;
mod solutions;

use altcha::{Challenge, Payload, SolveChallengeOptions};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use doorward_tests::{Answer, Browser, PASSWORD, Setup, TestGate, Upstream};
use http::StatusCode;
use serde_json::json;

use crate::api::Description;

const CHALLENGE: &str = "/.doorward/captcha?purpose=sign-in";

/// Easy enough for a test, and asked at every sign-in.
const ALWAYS: &str = "[captcha]\nalways = [\"sign-in\"]\ndifficulty = 10\ndifficulty_max = 80\n";

/// A gate with alice that asks always; `more` are further keys.
async fn gate(more: &str) -> (Upstream, TestGate) {
    let upstream = Upstream::start().await;
    let tables = &format!("{ALWAYS}{more}");
    let gate = TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await;
    gate.add_alice().await;
    (upstream, gate)
}

/// A challenge as a client gets it.
async fn challenge(browser: &mut Browser) -> Challenge {
    let answer = browser.get(CHALLENGE).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

fn solve(challenge: &Challenge) -> Payload {
    let solution = altcha::solve_challenge(SolveChallengeOptions::new(challenge)).unwrap();
    Payload { challenge: challenge.clone(), solution: solution.unwrap() }
}

fn encode(payload: &Payload) -> String {
    STANDARD.encode(serde_json::to_string(payload).unwrap())
}

/// What a client sends that has got a challenge and solved it.
pub(crate) async fn solution(browser: &mut Browser) -> String {
    encode(&solve(&challenge(browser).await))
}

/// Tries to sign in as a program.
async fn sign_in(browser: &mut Browser, password: &str, captcha: &str) -> Answer {
    let body = json!({"account": "alice", "password": password, "captcha": captcha});
    browser.post_json("/.doorward/api/v1/sign-in", &body).await
}

/// It was refused for the captcha, and the password, which is right, was not looked at.
#[track_caller]
fn refused(answer: &Answer, why: &str) {
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{why}: {}", answer.text());
    let document = answer.json();
    assert_eq!(document["type"], "urn:doorward:problem:captcha-required", "{why}");
    assert_eq!(document["captcha"], CHALLENGE, "{why}");
    assert!(answer.headers.get("set-cookie").is_none(), "{why}");
}

#[tokio::test]
async fn f10_a_program_gets_a_challenge_solves_it_and_signs_in() {
    let (_upstream, gate) = gate("").await;
    let mut program = gate.browser();
    let missing = sign_in(&mut program, PASSWORD, "").await;
    refused(&missing, "missing");
    Description::of(&gate).await.holds("POST", "/sign-in", &missing);
    let solution = solution(&mut program).await;
    let answer = sign_in(&mut program, PASSWORD, &solution).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
}
