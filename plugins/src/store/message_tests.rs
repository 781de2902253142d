//! What every store does with messages and codes.

use super::*;
use crate::code::{Sending, StoredCode};
use crate::notify::{Channel, Outcome, Waiting};

async fn open(name: &str) -> (std::path::PathBuf, SqliteStore) {
    let folder = std::env::temp_dir().join(format!("doorward-mail-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let store = SqliteStore::open(&folder.join("a.db")).await.unwrap();
    (folder, store)
}

fn waiting(id: &str, expires: u64) -> Waiting {
    Waiting {
        id: id.into(),
        channel: Channel::Email,
        kind: "code_sign_in".into(),
        body: vec![1],
        due: Timestamp(10),
        expires: Timestamp(expires),
    }
}

async fn messages_are_taken_once_and_settled_by_who_took_them(store: &dyn MessageStore) {
    for (id, expires) in [("a", 300), ("b", 200), ("c", 100)] {
        assert!(store.add_message(&waiting(id, expires), 3).await.unwrap());
    }
    assert!(!store.add_message(&waiting("d", 100), 3).await.unwrap(), "full");
    let claim = async |name: &str, now: u64, limit| {
        let (now, lease) = (Timestamp(now), Timestamp(now + 20));
        store.claim_messages(Channel::Email, name, now, lease, limit).await.unwrap()
    };
    assert!(claim("x", 9, 8).await.claimed.is_empty(), "not due");
    let mut first = claim("x", 10, 2).await.claimed;
    first.sort_by(|one, other| one.id.cmp(&other.id));
    let ids: Vec<_> = first.iter().map(|claimed| (&*claimed.id, claimed.tries)).collect();
    assert_eq!(ids, [("b", 1), ("c", 1)], "those that expire first");
    assert_eq!(claim("y", 29, 8).await.claimed.len(), 1, "what nobody has");
    assert!(store.hand_over("b", "x", Timestamp(50)).await.unwrap());
    assert!(!store.hand_over("b", "x", Timestamp(50)).await.unwrap(), "once");
    assert!(!store.hand_over("c", "y", Timestamp(50)).await.unwrap(), "somebody else's");
    let again = claim("z", 30, 8).await;
    assert_eq!(again.claimed.len(), 1);
    assert_eq!((&*again.claimed[0].id, again.claimed[0].tries), ("c", 2), "its lease is over");
    store.settle_message(&first[1], "x", Outcome::Sent).await.unwrap();
    assert!(store.hand_over("c", "z", Timestamp(50)).await.unwrap(), "x has no say any more");
    store.settle_message(&again.claimed[0], "z", Outcome::Retry(Timestamp(60))).await.unwrap();
    let late = claim("z", 60, 8).await;
    assert!(late.given_up.iter().any(|given_up| given_up.id == "b" && given_up.perhaps_sent));
    let late = claim("z", 400, 8).await;
    assert!(late.claimed.is_empty() && late.given_up.iter().all(|given_up| !given_up.perhaps_sent));
    assert_eq!(store.waiting(Channel::Email).await.unwrap(), 0);
    store.prune_messages(Timestamp(1000)).await.unwrap();
    assert!(store.add_message(&waiting("b", 2000), 3).await.unwrap(), "forgotten");
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
async fn sqlite_keeps_messages_and_codes() {
    let (folder, store) = open("conformance").await;
    messages_are_taken_once_and_settled_by_who_took_them(&store).await;
    codes_are_tried_counted_and_used(&store).await;
    sendings_are_counted(&store).await;
    std::fs::remove_dir_all(folder).unwrap();
}
