//! What every store does with codes.

use super::*;
use crate::code::{Sending, StoredCode};

async fn open(name: &str) -> (std::path::PathBuf, SqliteStore) {
    let folder = std::env::temp_dir().join(format!("doorward-mail-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let store = SqliteStore::open(&folder.join("a.db")).await.unwrap();
    (folder, store)
}

pub(crate) async fn codes_are_tried_counted_and_used(store: &dyn CodeStore) {
    let code = |hash, expires| StoredCode {
        binding: "b".into(),
        hash: [hash; 32],
        destination: "+8613800000000".into(),
        expires: Timestamp(expires),
    };
    assert_eq!(store.try_code("b", Timestamp(1), 5).await.unwrap(), None);
    store.put_code(&code(1, 100), Timestamp(1)).await.unwrap();
    assert_eq!(store.try_code("b", Timestamp(99), 2).await.unwrap(), Some(code(1, 100)));
    assert_eq!(store.try_code("b", Timestamp(100), 2).await.unwrap(), None, "expired");
    store.put_code(&code(2, 150), Timestamp(99)).await.unwrap();
    assert_eq!(store.code_tries("b", Timestamp(99)).await.unwrap(), 1, "they stay counted");
    assert!(!store.use_code(&code(1, 100)).await.unwrap(), "not the newest");
    assert!(store.try_code("b", Timestamp(99), 2).await.unwrap().is_some());
    assert_eq!(store.try_code("b", Timestamp(99), 2).await.unwrap(), None, "too often");
    store.put_code(&code(3, 300), Timestamp(150)).await.unwrap();
    assert_eq!(store.code_tries("b", Timestamp(150)).await.unwrap(), 0, "it had expired");
    assert!(store.use_code(&code(3, 300)).await.unwrap());
    assert!(!store.use_code(&code(3, 300)).await.unwrap(), "once");
}

pub(crate) async fn sendings_are_counted(store: &dyn CodeStore) {
    let rules = &crate::context::tests::config("").codes;
    let count = async |at: u64| {
        let now = Timestamp(1_000_000_000 + at * 1000);
        store.count_sending("d", now, rules).await.unwrap()
    };
    let wait = |seconds| Sending::TooOften(std::time::Duration::from_secs(seconds));
    assert_eq!(count(0).await, Sending::Fits);
    assert_eq!(count(59).await, wait(1));
    for at in [60, 120, 180, 240] {
        assert_eq!(count(at).await, Sending::Fits);
    }
    assert_eq!(count(300).await, wait(3300), "five within the hour");
    for at in [3600, 3660, 3720, 3780, 3840] {
        assert_eq!(count(at).await, Sending::Fits);
    }
    assert_eq!(count(10_000).await, wait(86_400 - 10_000), "ten within the day");
    assert_eq!(count(86_400).await, Sending::Fits);
    let far = Timestamp(1_000_000_000 + 200_000_000);
    store.prune_codes(far, far).await.unwrap();
    assert_eq!(count(86_401).await, Sending::Fits, "forgotten");
}

#[tokio::test]
async fn sqlite_keeps_codes() {
    let (folder, store) = open("conformance").await;
    codes_are_tried_counted_and_used(&store).await;
    sendings_are_counted(&store).await;
    std::fs::remove_dir_all(folder).unwrap();
}
