//! What every store of records does, told once, for SQLite and for a real PostgreSQL.
//!
//! What several gates do at once to one store is here too: each has connections of its own.

mod messages;

use std::sync::Arc;

use doorward_config::GatewayConfig;
use doorward_plugins::Timestamp;
use doorward_plugins::account::name::{Name, NameKey};
use doorward_plugins::account::{PrincipalRecord, Protection, State, Verification};
use doorward_plugins::appeal::{AppealRecord, AppealState};
use doorward_plugins::authenticator::{AuthenticatorRecord, Kind};
use doorward_plugins::risk::PastSignIn;
use doorward_plugins::store::{
    AccountStore, AppealStore, AuthenticatorStore, Backend, HistoryStore, MessageStore,
    PostgresStore, SqliteStore, StoreError,
};
use doorward_tests::{PostgresServer, Scratch};

/// A store of records.
trait Records:
    AccountStore + AuthenticatorStore + AppealStore + HistoryStore + MessageStore + Backend
{
}

impl<S> Records for S where
    S: AccountStore + AuthenticatorStore + AppealStore + HistoryStore + MessageStore + Backend
{
}

/// As many gates as should be, over one fresh store.
async fn gates(count: usize, scratch: &Scratch) -> [Vec<Arc<dyn Records>>; 2] {
    let file: Arc<dyn Records> =
        Arc::new(SqliteStore::open(&scratch.path().join("a.db")).await.unwrap());
    let url = PostgresServer::shared().database();
    let config = postgres(&url, scratch);
    // They start at once: one of them makes the tables.
    let starts: Vec<_> = (0..count)
        .map(|_| {
            let config = config.clone();
            tokio::spawn(async move { PostgresStore::open(&config).await.unwrap() })
        })
        .collect();
    let mut servers: Vec<Arc<dyn Records>> = Vec::new();
    for start in starts {
        servers.push(Arc::new(start.await.unwrap()));
    }
    [vec![file; count], servers]
}

/// A `[store]` with this URL, as an operator writes it.
pub(crate) fn postgres(url: &str, scratch: &Scratch) -> doorward_config::Postgres {
    let text = format!(
        "public_url = \"https://console.example.com\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.a]\naddress = \"http://127.0.0.1:1\"\n[store]\npath = \"a.db\"\npostgres = \"{url}\"\npostgres_connections = 4"
    );
    GatewayConfig::parse(&text, scratch.path()).unwrap().store.postgres.unwrap()
}

async fn for_each(count: usize, check: impl AsyncFn(&[Arc<dyn Records>])) {
    let scratch = Scratch::new();
    for gates in gates(count, &scratch).await {
        check(&gates).await;
        for gate in gates {
            gate.close().await;
        }
    }
}

/// What each of many callers gets, at all gates at once.
async fn all_at_once<T: Send + 'static, F>(
    gates: &[Arc<dyn Records>],
    calls: usize,
    call: impl Fn(Arc<dyn Records>, usize) -> F,
) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
{
    let calls: Vec<_> = (0..calls)
        .map(|number| tokio::spawn(call(Arc::clone(&gates[number % gates.len()]), number)))
        .collect();
    let mut got = Vec::new();
    for call in calls {
        got.push(call.await.unwrap());
    }
    got
}

fn record(name: &str) -> PrincipalRecord {
    PrincipalRecord {
        id: format!("id-of-{name}"),
        account_id: format!("id-of-{name}"),
        name: Name::parse(name).unwrap(),
        display_name: Some("Alice \u{c4}.".into()),
        email: Some("Alice@Example.com".into()),
        phone: None,
        security_email: None,
        language: None,
        protection: Protection::default(),
        roles: vec!["owner".into()],
        groups: vec!["staff".into(), "a,b".into()],
        state: State::Active,
        account_state: State::Active,
        idle_secs: None,
        verification: Verification::Unverified,
        created: Timestamp(1_700_000_000_000),
        password_hash: "never".into(),
    }
}

#[tokio::test]
async fn accounts_keep_their_names_for_ever() {
    for_each(1, async |gates| {
        let store = &gates[0];
        assert!(store.find(&NameKey::of("Alice", "")).await.unwrap().is_none(), "nobody at all");
        let alice = record("Alice");
        store.add(&alice).await.unwrap();
        assert_eq!(store.find(&NameKey::of("aLICE", "")).await.unwrap().unwrap(), alice);
        for nobody in ["alic", "alice\0", ""] {
            assert!(store.find(&NameKey::of(nobody, "")).await.unwrap().is_none(), "{nobody:?}");
        }
        let other = PrincipalRecord { id: "x".into(), account_id: "x".into(), ..record("alice") };
        assert!(matches!(store.add(&other).await, Err(StoreError::Taken)));
        assert!(store.find_id("x").await.unwrap().is_none(), "all or nothing");
        let name = Name::parse("Alice/bob").unwrap();
        let mut bob = PrincipalRecord { id: "id-of-bob".into(), name, ..alice.clone() };
        store.add(&bob).await.unwrap();
        let of_account = store.list_account(&alice.account_id).await.unwrap();
        assert_eq!(of_account, [alice.clone(), bob.clone()]);

        let before = bob.clone();
        bob.roles = vec!["developer".into()];
        bob.idle_secs = Some(900);
        bob.phone = Some("+8613800000000".into());
        bob.protection = Protection { login: true, operations: false };
        store.update(&before, &bob).await.unwrap();
        store.set_password(&bob.id, None, "another").await.unwrap();
        let late = store.set_password(&bob.id, Some("never"), "late").await;
        assert!(matches!(late, Err(StoreError::Changed)), "it is another by now");
        bob.password_hash = "another".into();
        assert_eq!(store.find_id(&bob.id).await.unwrap().unwrap(), bob);
        let of_alice = store.find_id(&alice.id).await.unwrap().unwrap();
        assert_eq!((of_alice.idle_secs, of_alice.protection.login), (Some(900), true));

        store.set_state(&alice, State::Deleted).await.unwrap();
        assert!(store.list().await.unwrap().is_empty(), "the sub-user went with its account");
        assert!(!store.find_id(&bob.id).await.unwrap().unwrap().is_active());
        assert!(matches!(store.add(&record("alice")).await, Err(StoreError::Taken)));
    })
    .await;
}

#[tokio::test]
async fn accounts_are_found_by_address_and_shown_in_order() {
    for_each(1, async |gates| {
        let store = &gates[0];
        for name in ["b", "a", "C", "\u{e4}", "B2"] {
            store.add(&record(name)).await.unwrap();
        }
        let names = |records: Vec<PrincipalRecord>| {
            records.into_iter().map(|record| record.name.to_string()).collect::<Vec<_>>()
        };
        let in_order = ["a", "b", "B2", "C", "\u{e4}"];
        assert_eq!(names(store.list().await.unwrap()), in_order, "whatever the server's language");
        assert_eq!(names(store.find_address("aLICE@example.COM").await.unwrap()), in_order);
        assert!(store.find_address("alice@example.comx").await.unwrap().is_empty());
        let mut seen = Vec::new();
        store.each(&mut |record| seen.push(record)).await.unwrap();
        seen.sort_by_key(|record| record.name.key().account);
        assert_eq!(names(seen), in_order);
    })
    .await;
}

#[tokio::test]
async fn a_secret_that_many_gates_make_at_once_is_one() {
    for_each(3, async |gates| {
        let made = all_at_once(gates, 12, |gate, number| async move {
            gate.secret("form-key", &[u8::try_from(number).unwrap(); 32]).await.unwrap()
        });
        let mut made = made.await;
        made.dedup();
        assert_eq!(made.len(), 1);
        assert_eq!(gates[0].secret("form-key", b"late").await.unwrap(), made[0]);
        assert_eq!(gates[0].secret("other", b"x").await.unwrap(), b"x");
    })
    .await;
}

#[tokio::test]
async fn of_many_gates_that_give_out_a_name_one_does() {
    for_each(3, async |gates| {
        let added = all_at_once(gates, 9, |gate, number| async move {
            let id = format!("id{number}");
            gate.add(&PrincipalRecord { account_id: id.clone(), id, ..record("alice") }).await
        });
        let added = added.await;
        assert_eq!(added.iter().filter(|result| result.is_ok()).count(), 1);
        assert_eq!(
            added.iter().filter(|result| matches!(result, Err(StoreError::Taken))).count(),
            8
        );
    })
    .await;
}

#[tokio::test]
async fn of_changes_that_many_gates_make_none_is_lost() {
    for_each(3, async |gates| {
        gates[0].add(&record("alice")).await.unwrap();
        let changed = all_at_once(gates, 12, |gate, number| async move {
            let was = gate.find_id("id-of-alice").await.unwrap().unwrap();
            let mut record = was.clone();
            record.groups.push(number.to_string());
            match gate.update(&was, &record).await {
                Err(StoreError::Changed) => None,
                done => Some(done.map(|()| number.to_string()).unwrap()),
            }
        });
        let mut expected = record("alice").groups;
        expected.extend(changed.await.into_iter().flatten());
        expected.sort();
        let mut groups = gates[1].find_id("id-of-alice").await.unwrap().unwrap().groups;
        groups.sort();
        assert_eq!(groups, expected);
        let was = record("alice");
        assert!(matches!(gates[2].update(&was, &was).await, Err(StoreError::Changed)));

        // The hash of a password that was right is not written over that of the next.
        let set = all_at_once(gates, 9, |gate, number| async move {
            gate.set_password("id-of-alice", Some("never"), &format!("hash{number}")).await
        });
        assert_eq!(set.await.iter().filter(|set| set.is_ok()).count(), 1);
    })
    .await;
}

fn authenticator(id: &str, lookup: Option<&str>) -> AuthenticatorRecord {
    AuthenticatorRecord {
        id: id.into(),
        principal_id: "id-of-alice".into(),
        kind: Kind::Totp,
        name: "phone".into(),
        secret: vec![0, 1, 255],
        lookup: lookup.map(str::to_owned),
        counter: 5,
        created: Timestamp(10),
        used: None,
    }
}

#[tokio::test]
async fn authenticators_are_bound_changed_and_removed() {
    for_each(1, async |gates| {
        let store = &gates[0];
        store.add(&record("alice")).await.unwrap();
        // Of one moment: in the order in which they were bound.
        for id in ["z", "a", "m"] {
            assert!(store.bind(&authenticator(id, Some(id)), 3).await.unwrap());
        }
        assert!(!store.bind(&authenticator("n", None), 3).await.unwrap(), "there are three");
        let taken = store.bind(&authenticator("o", Some("a")), 9).await;
        assert!(matches!(taken, Err(StoreError::Taken)));
        let bound = store.authenticators("id-of-alice").await.unwrap();
        assert_eq!(bound, ["z", "a", "m"].map(|id| authenticator(id, Some(id))));
        assert_eq!(store.authenticator_by("m").await.unwrap(), Some(authenticator("m", Some("m"))));
        assert_eq!(store.authenticator_by("m\0").await.unwrap(), None);

        assert!(store.rename("a", "id-of-alice", "tablet").await.unwrap());
        assert!(!store.rename("a", "id-of-bob", "mine").await.unwrap());
        let replace = async |old: &[u8], counter, used: Option<u64>| {
            store.replace_secret("a", old, &[7], counter, used.map(Timestamp)).await.unwrap()
        };
        assert!(replace(&[0, 1, 255], 3, Some(20)).await);
        assert!(!replace(&[0, 1, 255], 9, None).await, "it is another by now");
        assert!(replace(&[7], 9, None).await);
        let changed = store.authenticator_by("a").await.unwrap().unwrap();
        let is = (&*changed.name, &*changed.secret, changed.counter, changed.used);
        assert_eq!(is, ("tablet", &[7][..], 9, Some(Timestamp(20))), "nothing goes back");

        let mut all = Vec::new();
        store.each_authenticator(&mut |record| all.push(record.id)).await.unwrap();
        assert_eq!(all, ["z", "a", "m"]);
        assert!(!store.unbind("a", "id-of-bob").await.unwrap());
        assert!(store.unbind("a", "id-of-alice").await.unwrap());
        assert_eq!(store.unbind_kind("id-of-alice", Kind::Totp).await.unwrap(), 2);
        assert_eq!(store.unbind_kind("id-of-alice", Kind::Totp).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn g01_a_counter_moves_forward_for_one_of_many_gates() {
    for_each(3, async |gates| {
        gates[0].add(&record("alice")).await.unwrap();
        assert!(gates[0].bind(&authenticator("a", None), 3).await.unwrap());
        for counter in [6, 8] {
            let moved = all_at_once(gates, 12, |gate, _| async move {
                gate.advance("a", counter, Timestamp(30)).await.unwrap()
            });
            assert_eq!(moved.await.iter().filter(|moved| **moved).count(), 1);
        }
        assert!(!gates[1].advance("a", 7, Timestamp(40)).await.unwrap(), "never back");
        assert!(!gates[1].advance("b", 9, Timestamp(40)).await.unwrap(), "there is none");
    })
    .await;
}

#[tokio::test]
async fn many_gates_bind_no_more_than_may_be() {
    for_each(3, async |gates| {
        gates[0].add(&record("alice")).await.unwrap();
        let bound = all_at_once(gates, 12, |gate, number| async move {
            gate.bind(&authenticator(&number.to_string(), None), 3).await.unwrap()
        });
        assert_eq!(bound.await.iter().filter(|bound| **bound).count(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_token_becomes_one_persons_whichever_gates_are_asked() {
    for_each(3, async |gates| {
        let store = &gates[0];
        store.add(&record("alice")).await.unwrap();
        let tokens = [("t1".to_owned(), vec![1]), ("t2".to_owned(), vec![2])];
        store.add_tokens(&tokens, Timestamp(1)).await.unwrap();
        let again = [("t3".to_owned(), vec![3]), ("t2".to_owned(), vec![2])];
        assert!(matches!(store.add_tokens(&again, Timestamp(1)).await, Err(StoreError::Taken)));
        let mut free = Vec::new();
        store.each_token(&mut |serial, secret| free.push((serial, secret))).await.unwrap();
        assert_eq!(free, tokens, "all or none");
        store.replace_token("t1", &[9], &[8]).await.unwrap();
        store.replace_token("t2", &[2], &[8]).await.unwrap();
        assert_eq!(store.token("t1").await.unwrap(), Some(vec![1]), "not that secret");
        assert_eq!(store.token("t2").await.unwrap(), Some(vec![8]));
        assert_eq!(store.token("t\0").await.unwrap(), None);

        let bound = all_at_once(gates, 9, |gate, number| async move {
            gate.bind_token("t1", &authenticator(&number.to_string(), None), 9).await.unwrap()
        });
        assert_eq!(bound.await.iter().filter(|bound| **bound).count(), 1);
        assert_eq!(store.token("t1").await.unwrap(), None);
        assert!(!store.bind_token("t2", &authenticator("z", None), 1).await.unwrap(), "has one");
        assert!(store.token("t2").await.unwrap().is_some(), "it stays nobody's");
    })
    .await;
}

fn appeal(id: &str, whose: &str) -> AppealRecord {
    AppealRecord {
        id: id.into(),
        principal_id: format!("id-of-{whose}"),
        state: AppealState::Open,
        sealed: vec![1, 2],
        created: Timestamp(10),
        decided: None,
        effective: None,
    }
}

#[tokio::test]
async fn appeals_are_lodged_once_and_decided_once() {
    use AppealState::{Done, Granted, Open, Refused};
    for_each(3, async |gates| {
        let store = &gates[0];
        for name in ["alice", "bob", "carol"] {
            store.add(&record(name)).await.unwrap();
        }
        let lodged = all_at_once(gates, 9, |gate, number| async move {
            gate.lodge(&appeal(&number.to_string(), "alice"), 9).await
        });
        let lodged = lodged.await;
        assert_eq!(lodged.iter().filter(|lodged| matches!(lodged, Ok(true))).count(), 1);
        let taken = |lodged: &&Result<bool, _>| matches!(lodged, Err(StoreError::Taken));
        assert_eq!(lodged.iter().filter(taken).count(), 8);
        assert!(store.lodge(&appeal("b", "bob"), 2).await.unwrap());
        assert!(!store.lodge(&appeal("c", "carol"), 2).await.unwrap(), "two wait");

        let granted = all_at_once(gates, 9, |gate, _| async move {
            let at = (Timestamp(20), Some(Timestamp(30)));
            gate.decide("b", (Open, Granted), at).await.unwrap()
        });
        assert_eq!(granted.await.iter().filter(|granted| **granted).count(), 1);
        let of_bob = store.open_appeal("id-of-bob").await.unwrap().unwrap();
        assert_eq!((of_bob.state, of_bob.effective), (Granted, Some(Timestamp(30))));
        assert_eq!(store.appeal("b").await.unwrap().unwrap().sealed, [1, 2]);
        assert!(store.due_appeals(Timestamp(29)).await.unwrap().is_empty());
        assert_eq!(store.due_appeals(Timestamp(30)).await.unwrap().len(), 1);
        assert!(store.decide("b", (Granted, Done), (Timestamp(30), None)).await.unwrap());
        assert_eq!(store.appeals(true).await.unwrap().len(), 1);
        let all = store.appeals(false).await.unwrap();
        assert!(all.len() == 2 && all.iter().all(|appeal| appeal.sealed.is_empty()));
        assert!(!store.decide("b", (Open, Refused), (Timestamp(31), None)).await.unwrap());
        store.prune_appeals(Timestamp(31)).await.unwrap();
        assert!(store.appeal("b").await.unwrap().is_none());
        assert_eq!(store.appeals(false).await.unwrap().len(), 1, "what is open stays");
    })
    .await;
}

#[tokio::test]
async fn sign_ins_are_kept_up_to_a_number_of_each_result() {
    for_each(3, async |gates| {
        let noted = all_at_once(gates, 12, |gate, number| async move {
            let sign_in = PastSignIn {
                principal_id: "id-of-alice".into(),
                at: Timestamp(u64::try_from(number).unwrap() / 2),
                address: "192.0.2.1".into(),
                region: String::new(),
                device: "Firefox".into(),
                result: if number % 2 == 0 { "signed_in" } else { "wrong" }.into(),
            };
            gate.note_sign_in(&sign_in, 3).await.unwrap();
        });
        noted.await;
        let kept = gates[0].sign_ins("id-of-alice", 100).await.unwrap();
        let kept: Vec<_> = kept.iter().map(|past| past.at.0).collect();
        assert_eq!(kept, [5, 5, 4, 4, 3, 3], "the latest of each, latest first");
        assert_eq!(gates[1].sign_ins("id-of-alice", 1).await.unwrap().len(), 1);
        assert!(gates[2].sign_ins("id-of-bob", 9).await.unwrap().is_empty());
    })
    .await;
}
