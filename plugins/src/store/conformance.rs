//! What every backend of live state and the audit log does, told once and run for each. Records are
//! told of in `tests/it/records.rs`, where there is a real PostgreSQL.

use std::path::PathBuf;

use sqlx::{Connection as _, SqliteConnection};

use super::*;
use crate::session::{Evidence, Method};

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn scratch(name: &str) -> Scratch {
    let folder = std::env::temp_dir().join(format!("doorward-store-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    Scratch(folder)
}

pub(crate) fn session(number: u8) -> SessionRecord {
    SessionRecord {
        id: crate::session::token::public_id(&[number; 32]),
        token_hash: [number; 32],
        principal_id: "id-of-alice".into(),
        scope: "console.example.com".into(),
        evidence: vec![Evidence { method: Method::Password, at: Timestamp(5) }],
        device: "curl/8".into(),
        address: "192.0.2.1".into(),
        created: Timestamp(5),
        active: Timestamp(7),
    }
}

fn key(number: u8) -> SessionKey {
    SessionKey { hash: [number; 32], id: crate::session::token::public_id(&[number; 32]) }
}

/// All sessions of a store.
pub(crate) async fn all(store: &dyn SessionStore) -> Vec<SessionRecord> {
    let mut found = Vec::new();
    store.each(&mut |session| found.push(session)).await.unwrap();
    found
}

pub(crate) async fn sessions_begin_end_and_are_touched(store: &dyn SessionStore) {
    store.begin(&session(1), &[]).await.unwrap();
    store.begin(&session(2), &[key(1)]).await.unwrap();
    assert_eq!(all(store).await, [session(2)]);
    store.touch(&[(key(2), Timestamp(9)), (key(1), Timestamp(9))]).await.unwrap();
    store.touch(&[(key(2), Timestamp(8))]).await.unwrap();
    let loaded = all(store).await;
    assert_eq!(loaded.len(), 1, "a touch does not bring an ended session back");
    assert_eq!(loaded[0].active, Timestamp(9), "activity does not move backwards");
    assert!(store.begin(&session(2), &[key(2)]).await.is_ok());
    assert!(store.begin(&session(2), &[]).await.is_err(), "a token is issued once");
    // More is proven in it: it keeps its id.
    let stepped = SessionRecord { token_hash: [12; 32], ..session(2) };
    assert!(store.step_up(&stepped, &[2; 32]).await.unwrap());
    assert_eq!(all(store).await, std::slice::from_ref(&stepped));
    assert!(!store.step_up(&session(2), &[2; 32]).await.unwrap(), "it has another token by now");
    assert_eq!(all(store).await, std::slice::from_ref(&stepped));
    store.end(&[SessionKey { hash: [12; 32], id: stepped.id }, key(3)]).await.unwrap();
    assert!(!store.step_up(&session(2), &[12; 32]).await.unwrap(), "it is over");
    assert!(all(store).await.is_empty());
    assert_eq!(store.expired(&[1; 32]).await.unwrap(), None);
    let expired = [([1; 32], "alice".to_owned()), ([2; 32], "bob".to_owned())];
    store.note_expired(&expired, Timestamp(50), Timestamp(1)).await.unwrap();
    assert_eq!(store.expired(&[2; 32]).await.unwrap().as_deref(), Some("bob"));
    store.note_expired(&[], Timestamp(90), Timestamp(51)).await.unwrap();
    assert_eq!(store.expired(&[2; 32]).await.unwrap(), None, "a day later");
    for number in [6, 7] {
        store.begin(&session(number), &[]).await.unwrap();
    }
    store.touch(&[(key(7), Timestamp(90))]).await.unwrap();
    store.prune(Timestamp(5), Timestamp(90)).await.unwrap();
    assert_eq!(all(store).await.len(), 1, "the one that was active stays");
    store.prune(Timestamp(6), Timestamp(0)).await.unwrap();
    assert!(all(store).await.is_empty(), "begun too long ago");
}

fn audit_records(count: u64) -> Vec<Record> {
    let mut head = Head::default();
    let event = |number| {
        let event =
            Event::new(if number % 2 == 0 { EventKind::LoginFail } else { EventKind::UserCreated });
        let event = event.with("note", "\u{e9} \"quoted\"\n");
        if number % 3 == 0 { event.account("alice") } else { event.principal("id-of-alice") }
    };
    let records = (1..=count).map(|number| {
        let record = Record::chain(&event(number), Timestamp(number * 10), head);
        head = record.head();
        record
    });
    records.collect()
}

async fn the_log_grows_at_its_end_and_shrinks_at_its_front(store: &dyn AuditStore) {
    let records = audit_records(10);
    assert_eq!(store.last(u64::MAX).await.unwrap(), None);
    store.append(&records[..4]).await.unwrap();
    store.append(&records[4..]).await.unwrap();
    assert!(matches!(store.append(&records[9..]).await, Err(StoreError::Taken)));
    assert_eq!(store.last(u64::MAX).await.unwrap().as_ref(), records.last());
    assert_eq!(store.last(7).await.unwrap().as_ref(), records.get(6));
    assert_eq!(store.unnumbered().await.unwrap(), 0);
    assert_eq!(store.page(0, 4).await.unwrap(), records[..4]);
    assert_eq!(store.page(8, 4).await.unwrap(), records[8..]);

    let ask = async |since, event: Option<&str>, account: Option<&str>, principal: Option<&str>| {
        let [event, account, principal] =
            [event, account, principal].map(|text| text.map(str::to_owned));
        let filter = AuditFilter { since: Timestamp(since), event, account, principal };
        let found = store.latest(&filter, 10, 3).await.unwrap();
        found.iter().map(|record| record.sequence).collect::<Vec<_>>()
    };
    assert_eq!(ask(0, None, None, None).await, [8, 9, 10], "the latest, oldest first");
    assert_eq!(ask(90, Some("authn_login_fail"), None, None).await, [10]);
    assert_eq!(ask(0, None, Some("alice"), None).await, [3, 6, 9]);
    assert_eq!(ask(0, None, Some("alice"), Some("id-of-alice")).await, [8, 9, 10]);
    assert!(ask(0, None, Some("bob"), None).await.is_empty());
    let older = async |than| {
        let found = store.last_older("authn_login_fail", Timestamp(than)).await.unwrap();
        found.map(|record| record.sequence)
    };
    assert_eq!((older(80).await, older(20).await, older(1000).await), (Some(6), None, Some(10)));
    let event = Event::new(EventKind::LoginFail);
    let set_back = Record::chain(&event, Timestamp(5), records[9].head());
    store.append(&[set_back]).await.unwrap();
    assert_eq!((older(80).await, older(1000).await), (Some(6), Some(11)), "a clock was set back");
    assert_eq!(ask(0, None, None, None).await, [8, 9, 10], "up to the tenth");

    assert_eq!(store.forget_before(6, 3).await.unwrap(), 3);
    assert_eq!(store.forget_before(6, 3).await.unwrap(), 2);
    assert_eq!(store.forget_before(6, 3).await.unwrap(), 0);
    assert_eq!(store.page(0, 2).await.unwrap(), records[5..7]);
    let unnumbered = Record { sequence: 0, ..records[0].clone() };
    store.append(&[unnumbered]).await.unwrap();
    assert_eq!(store.unnumbered().await.unwrap(), 1);
    assert_eq!(store.page(0, 2).await.unwrap(), records[5..7]);
    assert_eq!(store.last(5).await.unwrap(), None);
    let all = store.latest(&AuditFilter::default(), 10, 100).await.unwrap();
    assert_eq!(all, records[5..], "nobody sees it but who looks for it");
}

use crate::audit::{Event, EventKind, Head};

#[tokio::test]
async fn sqlite_keeps_the_audit_log() {
    let scratch = scratch("audit");
    let store = SqliteStore::open(&scratch.0.join("a.db")).await.unwrap();
    the_log_grows_at_its_end_and_shrinks_at_its_front(&store).await;
}

fn tally_key(subject: &str, device: &str) -> TallyKey {
    TallyKey {
        subject: subject.into(),
        known: !subject.starts_with('?'),
        kind: Guess::Password,
        device: DeviceId::stored(device.into()),
    }
}

async fn guesses_are_counted_at_once_and_apart(store: &dyn GuessStore) {
    let rules = crate::lockout::tests::rules();
    let (strangers, device) = (tally_key("alice", ""), tally_key("alice", "d"));
    assert_eq!(store.admit(&device, &rules, Timestamp(7), true).await.unwrap(), None, "not known");
    let signed_in = SignedInDevice {
        before: None,
        now: &DeviceId::stored("d".into()).unwrap(),
        principal_id: "alice",
        active: Timestamp(7),
        expires: Timestamp(90),
    };
    store.succeed(&strangers, Some(&signed_in)).await.unwrap();
    let admit =
        async |key: &TallyKey| store.admit(key, &rules, Timestamp(7), true).await.unwrap().unwrap();
    let first = admit(&strangers).await;
    assert_eq!(first, (Admission::Check, Tally { first: Timestamp(7), in_window: 1, in_row: 1 }));
    for _ in 1..10 {
        assert_eq!(admit(&strangers).await.0, Admission::Check);
    }
    assert_eq!(admit(&strangers).await.0, Admission::Lock);
    assert_eq!(store.tally(&strangers).await.unwrap().in_window, 10);
    assert_eq!(admit(&device).await.1.in_window, 1, "the browser's own");
    assert_eq!(store.tallies("alice").await.unwrap().len(), 2);
    assert_eq!(store.guessed_at().await.unwrap(), ["alice"]);
    store.succeed(&device, None).await.unwrap();
    assert_eq!(store.tally(&device).await.unwrap(), Tally::default());
    assert_eq!(store.lift("alice").await.unwrap(), 1);
    assert_eq!(store.tally(&strangers).await.unwrap(), Tally::default());
}

async fn devices_change_their_name_with_every_sign_in(store: &dyn GuessStore) {
    let id = |name: &str| DeviceId::stored(name.into()).unwrap();
    let sign_in = async |before: Option<&DeviceId>, now: &str, principal_id: &str| {
        let signed_in = SignedInDevice {
            before,
            now: &id(now),
            principal_id,
            active: Timestamp(7),
            expires: Timestamp(90),
        };
        store.succeed(&tally_key(principal_id, ""), Some(&signed_in)).await.unwrap();
    };
    let rules = crate::lockout::tests::rules();
    sign_in(None, "one", "alice").await;
    store.admit(&tally_key("alice", "one"), &rules, Timestamp(7), true).await.unwrap();
    sign_in(Some(&id("one")), "two", "bob").await;
    for principal in ["alice", "bob"] {
        assert!(store.knows_device(&id("two"), principal).await.unwrap());
        assert!(!store.knows_device(&id("one"), principal).await.unwrap());
    }
    let carried = store.tally(&tally_key("alice", "two")).await.unwrap();
    assert_eq!(carried.in_window, 1, "a sign-in as bob forgets no guess at alice");
    store.forget_devices("bob").await.unwrap();
    assert!(!store.knows_device(&id("two"), "bob").await.unwrap());
    store.prune_guesses(Timestamp(89), Timestamp(0), 10).await.unwrap();
    assert_eq!(store.tally(&tally_key("alice", "two")).await.unwrap().in_window, 1);
    store.prune_guesses(Timestamp(90), Timestamp(0), 10).await.unwrap();
    assert!(!store.knows_device(&id("two"), "alice").await.unwrap(), "its time has come");
    assert_eq!(store.tally(&tally_key("alice", "two")).await.unwrap(), Tally::default());
}

async fn names_that_nobody_has_are_bounded(store: &dyn GuessStore) {
    let rules = crate::lockout::tests::rules();
    let admit = async |subject: &str, at: u64| {
        let key = tally_key(subject, "");
        store.admit(&key, &rules, Timestamp(at), true).await.unwrap();
    };
    admit("bob", 5).await;
    for name in ["?often", "?often", "?early", "?late"] {
        admit(name, if name == "?late" { 9 } else { 5 }).await;
    }
    let counted =
        async |subject: &str| store.tally(&tally_key(subject, "")).await.unwrap().in_window;
    assert_eq!(store.prune_guesses(Timestamp(9), Timestamp(4), 2).await.unwrap(), 2);
    assert_eq!(counted("?early").await, 0, "fewest guesses, longest ago");
    assert_eq!((counted("?often").await, counted("?late").await), (2, 1));
    assert_eq!(store.prune_guesses(Timestamp(9), Timestamp(5), 2).await.unwrap(), 1);
    assert_eq!((counted("?often").await, counted("?late").await), (0, 1), "its window is over");
    store.prune_guesses(Timestamp(9), Timestamp(9), 0).await.unwrap();
    assert_eq!(counted("bob").await, 1, "a principal's stays, whatever strangers do");
}

use crate::lockout::Guess;

#[tokio::test]
async fn sqlite_counts_guesses() {
    let scratch = scratch("guesses");
    let store = SqliteStore::open(&scratch.0.join("a.db")).await.unwrap();
    counts_guesses(&store).await;
}

pub(crate) async fn counts_guesses(store: &dyn GuessStore) {
    guesses_are_counted_at_once_and_apart(store).await;
    devices_change_their_name_with_every_sign_in(store).await;
    names_that_nobody_has_are_bounded(store).await;
}

pub(crate) async fn challenges_are_counted_and_taken_once(store: &dyn ChallengeStore) {
    let challenge = |id: &str, created: u64| ChallengeRecord {
        id: id.into(),
        purpose: "step_up".into(),
        bound_to: "session".into(),
        principal_id: "alice".into(),
        state: vec![0, 255],
        version: 0,
        tries: 0,
        created: Timestamp(created),
        expires: Timestamp(100),
    };
    for (created, id) in ["a", "b", "c"].into_iter().enumerate() {
        store.begin_challenge(&challenge(id, created as u64), 2).await.unwrap();
    }
    assert_eq!(store.challenge("a").await.unwrap(), None, "the oldest makes room");
    assert_eq!(store.challenge("b").await.unwrap(), Some(challenge("b", 1)));
    let latest = async || {
        let found = store.latest_challenge("step_up", "session").await.unwrap();
        found.map(|found| found.id)
    };
    assert_eq!(latest().await.as_deref(), Some("c"));
    assert_eq!(store.latest_challenge("step_up", "other").await.unwrap(), None);
    assert!(store.count_try("b", 1, Timestamp(99)).await.unwrap());
    assert!(!store.count_try("b", 1, Timestamp(99)).await.unwrap(), "too often");
    assert!(!store.count_try("c", 1, Timestamp(100)).await.unwrap(), "over");
    assert!(store.replace_state("b", 0, &[7]).await.unwrap());
    assert!(!store.replace_state("b", 0, &[8]).await.unwrap(), "another version");
    assert!(!store.take_challenge("b", 0, Timestamp(99)).await.unwrap(), "another version");
    assert!(!store.take_challenge("b", 1, Timestamp(100)).await.unwrap(), "over");
    assert!(store.take_challenge("b", 1, Timestamp(99)).await.unwrap());
    assert!(!store.take_challenge("b", 1, Timestamp(99)).await.unwrap(), "once");
    // What was taken leaves room for others.
    store.begin_challenge(&challenge("d", 9), 2).await.unwrap();
    assert!(store.challenge("c").await.unwrap().is_some());
    assert!(store.take_challenge("d", 0, Timestamp(1)).await.unwrap());
    assert_eq!(latest().await.as_deref(), Some("c"));
    store.prune_challenges(Timestamp(100)).await.unwrap();
    assert_eq!((store.challenge("c").await.unwrap(), latest().await), (None, None));
}

pub(crate) async fn requests_are_kept_within_bounds(store: &dyn HoldStore) {
    let limits = HoldLimits { per_person: 2, total_bytes: 10 };
    let keep = async |id: &str, who: &str, bytes: usize, expires: u64| {
        let record = HoldRecord {
            id: id.into(),
            principal_id: who.into(),
            sealed: vec![200; bytes],
            expires: Timestamp(expires),
        };
        store.keep(&record, limits, Timestamp(5)).await.unwrap()
    };
    assert!(keep("a", "alice", 3, 10).await);
    assert!(keep("b", "alice", 3, 20).await);
    assert!(keep("c", "alice", 3, 30).await);
    assert_eq!(store.held("a").await.unwrap(), None, "the person's oldest makes room");
    assert_eq!(store.held("b").await.unwrap().unwrap().sealed, [200; 3]);
    assert!(!keep("d", "bob", 5, 20).await, "too much in all");
    assert!(keep("e", "bob", 4, 6).await);
    assert!(store.take_held("b").await.unwrap());
    assert!(!store.take_held("b").await.unwrap(), "once");
    assert!(keep("f", "bob", 3, 20).await, "what was taken leaves room");
    store.prune_held(Timestamp(6)).await.unwrap();
    assert_eq!(store.held("e").await.unwrap(), None, "over");
    assert!(keep("g", "carol", 4, 20).await);
}

#[tokio::test]
async fn sqlite_keeps_challenges_and_requests() {
    let scratch = scratch("challenges");
    let store = SqliteStore::open(&scratch.0.join("a.db")).await.unwrap();
    challenges_are_counted_and_taken_once(&store).await;
    requests_are_kept_within_bounds(&store).await;
}

#[tokio::test]
async fn sqlite_keeps_sessions_across_a_restart_in_a_file_of_mode_0600() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = scratch("sessions");
    let file = scratch.0.join("a.db");
    let store = SqliteStore::open(&file).await.unwrap();
    sessions_begin_end_and_are_touched(&store).await;
    store.begin(&session(4), &[]).await.unwrap();
    store.close().await;
    assert_eq!(all(&SqliteStore::open(&file).await.unwrap()).await, [session(4)]);
    for entry in std::fs::read_dir(&scratch.0).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{:?}",
            entry.path()
        );
    }
}

#[tokio::test]
async fn o03_a_damaged_file_is_refused_not_taken_for_an_empty_one() {
    let scratch = scratch("torn");
    let file = scratch.0.join("a.db");
    let store = SqliteStore::open(&file).await.unwrap();
    for number in 0..100 {
        store.begin(&session(number), &[]).await.unwrap();
    }
    store.close().await;
    let whole = std::fs::read(&file).unwrap();
    for damage in [whole.len() / 2, 50, whole.len() - 5000] {
        std::fs::write(&file, &whole[..damage]).unwrap();
        assert!(SqliteStore::open(&file).await.is_err(), "cut at {damage} of {}", whole.len());
    }
    let mut scribbled = whole.clone();
    scribbled[4096..8192].fill(0xff);
    std::fs::write(&file, scribbled).unwrap();
    assert!(SqliteStore::open(&file).await.is_err(), "scribbled");
}

/// A write that failed half way must not leave a transaction open, in which later ones would be
/// acknowledged and lost.
#[tokio::test]
async fn o04_after_a_failed_write_what_is_acknowledged_is_durable() {
    let scratch = scratch("failed");
    let file = scratch.0.join("a.db");
    let store = SqliteStore::open(&file).await.unwrap();
    store.begin(&session(1), &[]).await.unwrap();
    for _ in 0..3 {
        assert!(store.begin(&session(1), &[key(9)]).await.is_err(), "the token is there");
    }
    store.begin(&session(2), &[]).await.unwrap();
    let other = SqliteStore::open(&file).await.unwrap();
    assert_eq!(all(&other).await.len(), 2, "acknowledged, and not there for others");
    store.ping().await.unwrap();
}

#[tokio::test]
async fn a_store_whose_file_is_gone_is_not_ready() {
    let scratch = scratch("gone");
    let file = scratch.0.join("a.db");
    let store = SqliteStore::open(&file).await.unwrap();
    store.ping().await.unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(store.ping().await.is_err());
}

#[tokio::test]
async fn a_store_that_cannot_write_is_not_ready_whatever_writes_nothing_succeeds() {
    let scratch = scratch("refuses");
    let file = scratch.0.join("a.db");
    let store = SqliteStore::open(&file).await.unwrap();
    let mut other = SqliteConnection::connect(file.to_str().unwrap()).await.unwrap();
    let sql = |table| {
        format!(
            "CREATE TRIGGER refuse_{table} BEFORE INSERT ON {table} \
             BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    };
    for table in ["session", "secret"] {
        sqlx::query(sqlx::AssertSqlSafe(sql(table))).execute(&mut other).await.unwrap();
    }
    assert!(store.begin(&session(1), &[]).await.is_err());
    store.note_expired(&[], Timestamp(1), Timestamp(1)).await.unwrap();
    assert!(store.ping().await.is_err());
    for table in ["session", "secret"] {
        let sql = format!("DROP TRIGGER refuse_{table}");
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut other).await.unwrap();
    }
    store.ping().await.unwrap();
    store.begin(&session(1), &[]).await.unwrap();
}
