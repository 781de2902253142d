use proptest::prelude::*;

use super::*;
use crate::account::tests::record;
use crate::context::tests::config;
use crate::session::{Evidence, Method};
use crate::store::conformance::all;
use crate::store::{Backend, SqliteStore};

const START: Timestamp = Timestamp(1_800_000_000_000);

/// A store in a folder that is removed with it.
pub(crate) struct Scratch {
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) clock: Clock,
    pub(crate) folder: std::path::PathBuf,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Sessions over a fresh store with the account alice, under `[session]` keys in `extra`.
pub(crate) async fn sessions(extra: &str) -> (Arc<Sessions>, Scratch) {
    let folder =
        std::env::temp_dir().join(format!("doorward-live-{}", crate::account::fresh_id().unwrap()));
    std::fs::create_dir_all(&folder).unwrap();
    let store = Arc::new(SqliteStore::open(&folder.join("a.db")).await.unwrap());
    store.add(&record("alice")).await.unwrap();
    let scratch = Scratch { store, clock: Clock::manual(START), folder };
    (reload(&scratch, extra).await, scratch)
}

#[tokio::test]
async fn e08_an_end_that_is_under_way_is_not_acknowledged_to_somebody_else() {
    let (sessions, scratch) = sessions("").await;
    let session = begin(&sessions).await;
    // Somebody else is at it, and the store fails before it is done.
    let turn = sessions.forgetting.lock().await;
    let ending = sessions.end(std::slice::from_ref(&session));
    let waiting = tokio::time::timeout(Duration::from_millis(1), ending).await;
    assert!(waiting.is_err(), "acknowledged while it is under way");
    scratch.store.close().await;
    drop(turn);
    assert!(sessions.end(&[]).await.is_err(), "a caller that gave up took the end with it");
}

#[tokio::test]
async fn o07_a_clock_that_is_set_back_prolongs_no_session_over_restarts() {
    let (sessions, mut scratch) = sessions("idle = \"15m\"\nabsolute = \"15m\"").await;
    let session = begin(&sessions).await;
    let live = |sessions: &Sessions, scratch: &Scratch| {
        sessions.find(&session.token_hash, "host", scratch.clock.now(), true).is_some()
    };
    scratch.clock = Clock::manual(Timestamp(START.0 - 30_000));
    assert!(
        live(&*reload(&scratch, "idle = \"15m\"").await, &scratch),
        "a clock that was put right"
    );
    scratch.clock = Clock::manual(Timestamp(START.0 - 86_400_000));
    for _ in 0..3 {
        assert!(!live(&*reload(&scratch, "idle = \"15m\"").await, &scratch), "a day back");
    }
    scratch.clock = Clock::manual(START);
    assert!(!live(&*reload(&scratch, "idle = \"15m\"").await, &scratch), "and it stays ended");
}

use sessions as sessions_under;

/// The sessions as another process would find them.
async fn reload(scratch: &Scratch, extra: &str) -> Arc<Sessions> {
    let rules = &config(&format!("[session]\n{extra}")).session;
    Sessions::load(rules, scratch.clock.clone(), scratch.store.clone(), &*scratch.store)
        .await
        .unwrap()
}

pub(crate) async fn begin(sessions: &Sessions) -> Arc<LiveSession> {
    begin_for(sessions, "alice").await
}

async fn begin_for(sessions: &Sessions, name: &str) -> Arc<LiveSession> {
    let new = NewSession {
        principal: &record(name),
        evidence: vec![Evidence { method: Method::Password, at: START }],
        scope: "host",
        device: "test",
        address: "192.0.2.1".into(),
        replaces: None,
    };
    sessions.begin(new).await.unwrap().1
}

fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn e04_idle_expiry_is_right_to_the_second() {
    for (text, idle) in
        [("15m", minutes(15)), ("1h", minutes(60)), ("23h59m", minutes(23 * 60 + 59))]
    {
        let (sessions, scratch) = sessions(&format!("idle = \"{text}\"\nabsolute = \"72h\"")).await;
        let session = begin(&sessions).await;
        let find = |counts| {
            sessions.find(&session.token_hash, "host", scratch.clock.now(), counts).is_some()
        };
        scratch.clock.advance(idle - SECOND);
        assert!(find(true), "{text}: a second before");
        scratch.clock.advance(idle - SECOND);
        assert!(find(false), "{text}: a second before, after activity");
        scratch.clock.advance(SECOND - Duration::from_millis(1));
        assert!(find(false), "{text}: what does not count does not prolong");
        scratch.clock.advance(Duration::from_millis(1));
        assert!(!find(true), "{text}: at the second");
        assert!(!find(true), "{text}: and for ever after");
    }
}

#[tokio::test]
async fn e05_the_absolute_end_comes_whatever_happens() {
    let (sessions, scratch) = sessions("absolute = \"2h\"").await;
    let session = begin(&sessions).await;
    for _ in 0..119 {
        scratch.clock.advance(minutes(1));
        assert!(sessions.find(&session.token_hash, "host", scratch.clock.now(), true).is_some());
    }
    scratch.clock.advance(minutes(1));
    assert!(sessions.find(&session.token_hash, "host", scratch.clock.now(), true).is_none());
}

#[tokio::test]
async fn a18_a_session_is_worthless_at_another_host() {
    let (sessions, scratch) = sessions("").await;
    let session = begin(&sessions).await;
    assert!(sessions.find(&session.token_hash, "other", scratch.clock.now(), true).is_none());
    assert!(sessions.find(&session.token_hash, "host", scratch.clock.now(), true).is_some());
}

#[tokio::test]
async fn e18_a_further_session_ends_the_one_unused_for_longest() {
    let (sessions, scratch) = sessions("parallel_max = 2").await;
    let (first, second) = (begin(&sessions).await, begin(&sessions).await);
    scratch.clock.advance(SECOND);
    sessions.find(&first.token_hash, "host", scratch.clock.now(), true).unwrap();
    let third = begin(&sessions).await;
    let now = scratch.clock.now();
    let live: Vec<_> = [&first, &second, &third]
        .map(|session| sessions.find(&session.token_hash, "host", now, false).is_some())
        .into();
    assert_eq!(live, [true, false, true]);
    assert_eq!((sessions.count(), all(&*scratch.store).await.len()), (2, 2));
    let (full, _scratch) = sessions_under("total_max = 1").await;
    begin(&full).await;
    let new = NewSession {
        principal: &record("alice"),
        evidence: vec![],
        scope: "host",
        device: "",
        address: String::new(),
        replaces: None,
    };
    assert!(matches!(full.begin(new).await, Err(BeginError::Full)));
}

#[tokio::test]
async fn o01_after_a_restart_activity_that_was_not_written_counts_as_older() {
    let (sessions, scratch) = sessions("idle = \"15m\"").await;
    let (written, unwritten, ended) =
        (begin(&sessions).await, begin(&sessions).await, begin(&sessions).await);
    sessions.end(std::slice::from_ref(&ended)).await.unwrap();
    scratch.clock.advance(minutes(10));
    sessions.find(&written.token_hash, "host", scratch.clock.now(), true).unwrap();
    sessions.flush().await.unwrap();
    sessions.find(&unwritten.token_hash, "host", scratch.clock.now(), true).unwrap();

    let restarted = reload(&scratch, "idle = \"15m\"").await;
    scratch.clock.advance(minutes(6));
    let live = |session: &LiveSession| {
        restarted.find(&session.token_hash, "host", scratch.clock.now(), false).is_some()
    };
    assert_eq!([live(&written), live(&unwritten), live(&ended)], [true, false, false]);
    assert_eq!(restarted.sweep().await.unwrap(), 1);
    assert_eq!(all(&*scratch.store).await.len(), 1);
}

#[tokio::test]
async fn a_longer_idle_time_does_not_revive_what_has_expired() {
    let (sessions, scratch) = sessions("idle = \"15m\"").await;
    let session = begin(&sessions).await;
    scratch.clock.advance(minutes(16));
    sessions.refresh(&PrincipalRecord { idle_secs: Some(3600), ..record("alice") }).await.unwrap();
    assert!(sessions.find(&session.token_hash, "host", scratch.clock.now(), true).is_none());
}

#[tokio::test]
async fn an_account_s_own_idle_time_holds_for_live_sessions_at_once() {
    let (sessions, scratch) = sessions("").await;
    let session = begin(&sessions).await;
    scratch.clock.advance(minutes(20));
    sessions.refresh(&PrincipalRecord { idle_secs: Some(900), ..record("alice") }).await.unwrap();
    assert!(sessions.find(&session.token_hash, "host", scratch.clock.now(), true).is_none());
}

#[tokio::test]
async fn e24_a_race_at_the_moment_of_expiry_has_one_outcome() {
    let (sessions, scratch) = sessions("idle = \"15m\"").await;
    for _ in 0..50 {
        let session = begin(&sessions).await;
        let end = scratch.clock.now() + minutes(15);
        let racing: Vec<_> = (0..8_u64)
            .map(|thread| {
                let (sessions, hash) = (Arc::clone(&sessions), session.token_hash);
                let now = Timestamp(end.0 - 2 + thread % 4);
                std::thread::spawn(move || (now, sessions.find(&hash, "host", now, true).is_some()))
            })
            .collect();
        let results: Vec<_> = racing.into_iter().map(|thread| thread.join().unwrap()).collect();
        // One that came late either saw an activity of just before, or ended it for all.
        let alive = session.active().is_some();
        assert_eq!(
            sessions.find(&session.token_hash, "host", end + SECOND, false).is_some(),
            alive,
            "{results:?}"
        );
        sessions.end(&[session]).await.unwrap();
    }
}

/// What may happen to a session.
#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Request { counts: bool },
    SetIdle(u64),
    SignOut,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u64..1200).prop_map(Step::Wait),
        4 => any::<bool>().prop_map(|counts| Step::Request { counts }),
        1 => prop_oneof![Just(900_u64), Just(3600), Just(86_340)].prop_map(Step::SetIdle),
        1 => Just(Step::SignOut),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// A session behaves like three numbers: begun, last active, idle time.
    #[test]
    fn sessions_follow_a_plain_model(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let extra = "idle = \"15m\"\nabsolute = \"4h\"";
            let (mut sessions, scratch) = sessions_under(extra).await;
            let session = begin(&sessions).await;
            let (mut now, mut active, mut idle, mut over) = (0, 0, 900, false);
            for step in steps {
                over |= now >= active + idle || now >= 4 * 3600;
                match step {
                    Step::Wait(secs) => {
                        now += secs;
                        scratch.clock.advance(Duration::from_secs(secs));
                    }
                    Step::Request { counts } => {
                        let live = sessions.find(&session.token_hash, "host", scratch.clock.now(), counts).is_some();
                        prop_assert_eq!(live, !over);
                        if live && counts {
                            active = now;
                        }
                    }
                    Step::SetIdle(secs) => {
                        idle = secs;
                        let was = scratch.store.find_id("id-of-alice").await.unwrap().unwrap();
                        let changed = PrincipalRecord { idle_secs: Some(secs), ..was.clone() };
                        sessions.expire("id-of-alice").await.unwrap();
                        scratch.store.update(&was, &changed).await.unwrap();
                        sessions.refresh(&changed).await.unwrap();
                    }
                    Step::SignOut => {
                        over = true;
                        sessions.end(&sessions.list("id-of-alice", scratch.clock.now())).await.unwrap();
                    }
                    Step::Restart => {
                        sessions.flush().await.unwrap();
                        sessions = reload(&scratch, extra).await;
                    }
                }
            }
            Ok(())
        })?;
    }
}

/// What may happen among several people; a number names one of the sessions so far.
#[derive(Clone, Debug)]
enum Change {
    Begin(&'static str),
    End(usize),
    EndAll(&'static str),
    Expire,
    Restart,
}

const PEOPLE: [&str; 3] = ["alice", "bob", "carol"];

fn change() -> impl Strategy<Value = Change> {
    let person = || proptest::sample::select(&PEOPLE[..]);
    prop_oneof![
        6 => person().prop_map(Change::Begin),
        3 => any::<usize>().prop_map(Change::End),
        1 => person().prop_map(Change::EndAll),
        1 => Just(Change::Expire),
        1 => Just(Change::Restart),
    ]
}

/// A session of the model: whose, and what was told of it.
struct Told {
    name: &'static str,
    hash: TokenHash,
    id: String,
}

impl Told {
    fn of(name: &'static str, session: &LiveSession) -> Self {
        Self { name, hash: session.token_hash, id: session.id.to_string() }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// However sessions come and go: found by hash, listed by person and counted, they are those
    /// of a plain list, and whose and what they were.
    #[test]
    fn sessions_of_several_people_follow_a_plain_list(changes in proptest::collection::vec(change(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let extra = "idle = \"15m\"\nparallel_max = 100";
            let (mut sessions, scratch) = sessions_under(extra).await;
            scratch.store.add(&record("bob")).await.unwrap();
            scratch.store.add(&record("carol")).await.unwrap();
            let (mut live, mut over) = (Vec::<Told>::new(), Vec::<Told>::new());
            for change in changes {
                let now = scratch.clock.now();
                match change {
                    Change::Begin(name) => live.push(Told::of(name, &*begin_for(&sessions, name).await)),
                    Change::End(number) if !live.is_empty() => {
                        let told = live.remove(number % live.len());
                        let found = sessions.find(&told.hash, "host", now, true).unwrap();
                        sessions.end(&[found]).await.unwrap();
                        over.push(told);
                    }
                    Change::End(_) => {}
                    Change::EndAll(name) => {
                        sessions.end(&sessions.list(&format!("id-of-{name}"), now)).await.unwrap();
                        over.extend(live.extract_if(.., |told| told.name == name));
                    }
                    Change::Expire => {
                        scratch.clock.advance(minutes(15));
                        prop_assert_eq!(sessions.sweep().await.unwrap(), live.len());
                        over.append(&mut live);
                    }
                    Change::Restart => sessions = reload(&scratch, extra).await,
                }
                let now = scratch.clock.now();
                prop_assert_eq!(sessions.count(), live.len());
                for told in &live {
                    let found = sessions.find(&told.hash, "host", now, false).unwrap();
                    prop_assert_eq!(&*found.id, told.id.as_str());
                    let principal = found.principal();
                    prop_assert_eq!(principal.name.account(), told.name);
                    prop_assert_eq!((&*found.device, &*found.address), ("test", "192.0.2.1"));
                    prop_assert_eq!(found.evidence.len(), 1);
                }
                prop_assert!(over.iter().all(|told| sessions.find(&told.hash, "host", now, true).is_none()));
                for name in PEOPLE {
                    let mut listed: Vec<_> = sessions.list(&format!("id-of-{name}"), now).iter().map(|session| session.id.to_string()).collect();
                    let mut expected: Vec<_> = live.iter().filter(|told| told.name == name).map(|told| told.id.clone()).collect();
                    listed.sort();
                    expected.sort();
                    prop_assert_eq!(listed, expected);
                }
                let people = PEOPLE.iter().filter(|name| live.iter().any(|told| told.name == **name));
                prop_assert_eq!(sessions.principal_ids().len(), people.count());
            }
            Ok(())
        })?;
    }
}
