//! O04: a disk that is full for a while. A bound on the size of files plays it.

use doorward_tests::process::{Served, add_account, configure};
use doorward_tests::{Browser, PUBLIC_HOST, Scratch, Upstream, eventually, metric};
use http::StatusCode;

#[tokio::test]
async fn o04_what_is_acknowledged_after_a_full_disk_survives_a_kill() {
    let (upstream, scratch) = (Upstream::start().await, Scratch::new());
    let config = configure(scratch.path(), &upstream.address, "");
    add_account(&config, "alice");
    let mut gate = Served::start(&config);
    let browser = |gate: &Served| Browser::new(gate.address, PUBLIC_HOST, None);
    let mut early = browser(&gate);
    early.sign_in("alice").await;

    let cookies = early.jar.clone();
    let checks = "doorward_password_checks_total";
    let checked = metric(gate.operations, checks).await;
    gate.bound_files("4096");
    for _ in 0..4 {
        let answer = browser(&gate).try_sign_in("alice", doorward_tests::PASSWORD).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "nothing is acknowledged");
    }
    let after = metric(gate.operations, checks).await;
    assert_eq!(after, checked, "a password was looked at that could not be counted");
    assert_eq!(early.get("/").await.status, StatusCode::OK, "live sessions go on");
    for attempt in ["the first", "and tried again, still not durable"] {
        let answer = early.post_json("/.doorward/api/v1/sign-out", &serde_json::json!({})).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{attempt}");
    }
    let mut operator = Browser::new(gate.operations, "localhost", None);
    assert_eq!(operator.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);

    gate.bound_files("unlimited");
    eventually("recovery", async || operator.get("/readyz").await.status == StatusCode::OK).await;
    let mut late = browser(&gate);
    late.sign_in("alice").await;
    let signed_out = early.post_json("/.doorward/api/v1/sign-out", &serde_json::json!({})).await;
    assert_eq!(signed_out.status, StatusCode::NO_CONTENT);
    gate.kill();

    let gate = Served::start(&config);
    let mut after = browser(&gate);
    after.jar.clone_from(&late.jar);
    assert_eq!(after.get("/").await.status, StatusCode::OK, "an acknowledged sign-in was lost");
    after.jar = cookies;
    assert_eq!(after.get("/").await.status, StatusCode::UNAUTHORIZED, "a sign-out was lost");
}
