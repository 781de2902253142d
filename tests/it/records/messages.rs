//! What every store of records does with messages: the outbox that gates share.

use std::sync::Arc;

use doorward_plugins::Timestamp;
use doorward_plugins::notify::{Channel, Outcome, Waiting};

use super::{Records, all_at_once, for_each};

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

#[tokio::test]
async fn messages_are_taken_once_and_settled_by_who_took_them() {
    for_each(1, async |gates| taken_once_and_settled(&gates[0]).await).await;
}

async fn taken_once_and_settled(store: &Arc<dyn Records>) {
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

#[tokio::test]
async fn a_message_is_one_gates_however_many_look_for_messages() {
    for_each(3, async |gates| {
        let added = all_at_once(gates, 30, |gate, number| async move {
            gate.add_message(&waiting(&number.to_string(), 300), 20).await.unwrap()
        });
        assert_eq!(added.await.iter().filter(|added| **added).count(), 20, "there is no more room");
        let claimed = all_at_once(gates, 12, |gate, number| async move {
            let (claim, now, lease) = (number.to_string(), Timestamp(10), Timestamp(30));
            gate.claim_messages(Channel::Email, &claim, now, lease, 3).await.unwrap().claimed
        });
        let mut ids: Vec<_> =
            claimed.await.into_iter().flatten().map(|message| message.id).collect();
        assert_eq!(ids.len(), 20);
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 20, "each once");
    })
    .await;
}
