//! O04: a disk that fails for a while. A bound on the size of files plays one that is full; a library
//! between the gate and the system plays one that cannot say that what was written is on it.
//!
//! What a failed `fsync` leaves in the memory of the system is not to be trusted. Nothing does: SQLite
//! takes the transaction back, and the next one writes those places of its log anew.

use std::path::PathBuf;

use doorward_plugins::store::{AccountStore, Backend, SqliteStore};
use doorward_tests::process::{Disk, Served, add_account, configure, run};
use doorward_tests::{Browser, PASSWORD, PUBLIC_HOST, Scratch, Upstream, eventually, metric};
use http::StatusCode;
use serde_json::json;

/// A gate as a process over a folder, and alice.
struct House {
    upstream: Upstream,
    gate: Served,
    config: PathBuf,
    disk: Disk,
    _scratch: Scratch,
}

impl House {
    async fn open() -> Self {
        let (upstream, scratch) = (Upstream::start().await, Scratch::new());
        let public = "[[route]]\npath = \"/public\"\naccess = \"public\"\n";
        let config = configure(scratch.path(), &upstream.address, public);
        add_account(&config, "alice");
        let disk = Disk::new();
        let gate = disk.serve(&config);
        Self { upstream, gate, config, disk, _scratch: scratch }
    }

    fn browser(&self) -> Browser {
        Browser::new(self.gate.address, PUBLIC_HOST, None)
    }

    fn restart(&mut self) {
        self.gate.kill();
        self.gate = self.disk.serve(&self.config);
    }

    /// What must not be done while nothing can be written, and what goes on.
    async fn check_fault(&self, early: &mut Browser) {
        let checks = "doorward_password_checks_total";
        let checked = metric(self.gate.operations, checks).await;
        for password in [PASSWORD, "wrong", PASSWORD, PASSWORD] {
            let mut stranger = self.browser();
            let answer = stranger.try_sign_in("alice", password).await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "nothing is acknowledged");
            assert_ne!(answer.field("retry-after"), "");
            let seen = self.upstream.count();
            assert_eq!(stranger.get("/").await.status, StatusCode::UNAUTHORIZED);
            assert_eq!(self.upstream.count(), seen);
        }
        let after = metric(self.gate.operations, checks).await;
        assert_eq!(after, checked, "a password was looked at that could not be counted");
        assert_eq!(early.get("/").await.status, StatusCode::OK, "live sessions go on");
        assert_eq!(self.browser().get("/public").await.status, StatusCode::OK);
        let mut operator = Browser::new(self.gate.operations, "localhost", None);
        assert_eq!(operator.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(operator.get("/livez").await.status, StatusCode::OK);
    }
}

/// Nothing that was acknowledged before, while or after a disk fails is lost by a kill.
async fn check_fault(begin: impl FnOnce(&House), end: impl FnOnce(&House)) {
    let mut house = House::open().await;
    let mut early = house.browser();
    early.sign_in("alice").await;
    let cookies = early.jar.clone();

    begin(&house);
    house.check_fault(&mut early).await;
    for attempt in ["the first", "and tried again, still not durable"] {
        let answer = early.post_json("/.doorward/api/v1/sign-out", &json!({})).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{attempt}");
    }

    end(&house);
    let mut operator = Browser::new(house.gate.operations, "localhost", None);
    eventually("recovery", async || operator.get("/readyz").await.status == StatusCode::OK).await;
    let mut late = house.browser();
    late.sign_in("alice").await;
    let signed_out = early.post_json("/.doorward/api/v1/sign-out", &json!({})).await;
    assert_eq!(signed_out.status, StatusCode::NO_CONTENT);

    house.restart();
    let mut after = house.browser();
    after.jar.clone_from(&late.jar);
    assert_eq!(after.get("/").await.status, StatusCode::OK, "an acknowledged sign-in was lost");
    after.jar = cookies;
    assert_eq!(after.get("/").await.status, StatusCode::UNAUTHORIZED, "a sign-out was lost");
    let config = house.config.to_str().unwrap();
    let verified = run(&["audit", "verify", "--config", config], "");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[tokio::test]
async fn o04_what_is_acknowledged_after_a_full_disk_survives_a_kill() {
    let bound = |size: &'static str| move |house: &House| house.gate.bound_files(size);
    check_fault(bound("4096"), bound("unlimited")).await;
}

#[tokio::test]
async fn o04_what_is_acknowledged_after_fsync_has_failed_survives_a_kill() {
    check_fault(|house| house.disk.fail_syncs(), |house| house.disk.mend()).await;
}

/// What a gate could not sync can be read by the next one while the system runs, and is gone when that
/// ends: nothing may be written behind it in the log.
#[tokio::test]
async fn o01_o04_the_next_gate_writes_nothing_behind_a_log_that_was_not_synced() {
    let house = House::open().await;
    house.browser().sign_in("alice").await;
    // As a kill leaves it.
    let (folder, left) = (house.config.parent().unwrap(), Scratch::new());
    for name in ["a.db", "a.db-wal"] {
        let from = folder.join(name.replace("a.db", "doorward.db"));
        std::fs::copy(from, left.path().join(name)).unwrap();
    }
    let size = || std::fs::metadata(left.path().join("a.db-wal")).unwrap().len();
    assert!(size() > 0);
    let store = SqliteStore::open(&left.path().join("a.db")).await.unwrap();
    assert_eq!(size(), 0);
    assert_eq!(store.list().await.unwrap().len(), 1);
    store.close().await;
}

#[tokio::test]
async fn o01_o04_a_kill_while_fsync_fails_loses_nothing_that_was_acknowledged() {
    let mut house = House::open().await;
    let mut gone = house.browser();
    gone.sign_in("alice").await;
    let cookies = gone.jar.clone();
    let out = gone.post_json("/.doorward/api/v1/sign-out", &json!({})).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    let mut early = house.browser();
    early.sign_in("alice").await;
    for round in 0..3 {
        house.disk.fail_syncs();
        house.check_fault(&mut early).await;
        house.gate.kill();
        house.disk.mend();
        house.restart();
        let mut after = house.browser();
        after.jar.clone_from(&early.jar);
        assert_eq!(
            after.get("/").await.status,
            StatusCode::OK,
            "round {round}: a sign-in was lost"
        );
        early = after;
        let mut risen = house.browser();
        risen.jar.clone_from(&cookies);
        assert_eq!(risen.get("/").await.status, StatusCode::UNAUTHORIZED, "round {round}");
    }
}
