//! A copy of a gate that runs, and a gate from it.

use super::*;
use doorward_tests::PASSWORD;
use doorward_tests::process::{add_account, configure};

#[tokio::test]
async fn o16_a_gate_from_a_backup_knows_its_accounts_and_no_session_of_before() {
    let (upstream, scratch, other) = (Upstream::start().await, Scratch::new(), Scratch::new());
    let config = configure(scratch.path(), &upstream.address, "");
    add_account(&config, "alice");
    let folder = scratch.path().join("backup");
    let [file, to] = [&config, &folder].map(|path| path.to_str().unwrap());
    let backup = ["store", "backup", "--config", file, "--to", to];
    let served = Served::start(&config);
    let mut alice = browser(&served);
    alice.sign_in("alice").await;
    let (copied, _) = ended(&process::run(&backup, ""), 0);
    for name in ["doorward.db", "doorward.keys", "doorward.vault", "doorward.audit-keys"] {
        assert!(copied.lines().any(|line| line == name), "{copied}");
    }
    let (_, why) = ended(&process::run(&backup, ""), 74);
    assert!(why.contains("backup"), "{why}");
    assert_eq!(alice.get("/").await.status, StatusCode::OK, "the gate has noticed nothing");
    // What comes after the copy is not in it.
    add_account(&config, "bob");

    let fresh = configure(other.path(), &upstream.address, "");
    let restore = ["store", "restore", "--config", fresh.to_str().unwrap(), "--from", to];
    ended(&process::run(&restore, ""), 0);
    let (_, why) = ended(&process::run(&restore, ""), 74);
    assert!(why.contains("exists"), "{why}");
    let restored = Served::start(&fresh);
    let mut old = browser(&restored);
    old.jar = alice.jar.clone();
    assert_eq!(old.get("/").await.status, StatusCode::UNAUTHORIZED, "sessions do not come back");
    browser(&restored).sign_in("alice").await;
    let nobody = browser(&restored).try_sign_in("bob", PASSWORD).await;
    assert_eq!(nobody.status, StatusCode::FORBIDDEN);
    let (verified, _) =
        ended(&process::run(&["audit", "verify", "--config", fresh.to_str().unwrap()], ""), 0);
    assert!(!verified.is_empty());
}
