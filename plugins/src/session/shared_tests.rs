//! Two gates, one store, and a clock that moves.

use proptest::prelude::*;

use super::*;
use crate::account::tests::record;
use crate::context::tests::config;
use crate::session::live::tests::begin;
use crate::session::{Evidence, Method, NewSession};
use crate::store::redis::tests::open;
use crate::store::redis::tests::server::RedisServer;
use crate::store::{RedisStore, SqliteStore};

const START: Timestamp = Timestamp(1_800_000_000_000);

/// Gates over one Redis, and one file of accounts.
struct House {
    server: RedisServer,
    accounts: Arc<SqliteStore>,
    clock: Clock,
    folder: std::path::PathBuf,
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl House {
    async fn new() -> Self {
        let name = format!("doorward-two-{}", crate::account::fresh_id().unwrap());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let accounts = Arc::new(SqliteStore::open(&folder.join("a.db")).await.unwrap());
        accounts.add(&record("alice")).await.unwrap();
        Self { server: RedisServer::start(), accounts, clock: Clock::manual(START), folder }
    }

    async fn with_two_gates() -> (Self, Arc<Sessions>, Arc<Sessions>) {
        let house = Self::new().await;
        let (one, two) = (house.gate().await, house.gate().await);
        (house, one, two)
    }

    async fn gate(&self) -> Arc<Sessions> {
        self.gate_with("idle = \"15m\"\nabsolute = \"12h\"").await
    }

    async fn gate_with(&self, rules: &str) -> Arc<Sessions> {
        self.gate_by(&self.clock, rules).await
    }

    async fn gate_by(&self, clock: &Clock, rules: &str) -> Arc<Sessions> {
        let rules = &config(&format!("[session]\n{rules}")).session;
        let store: Arc<RedisStore> = Arc::new(open(&self.server));
        Sessions::join(rules, clock.clone(), store, self.accounts.clone()).await.unwrap()
    }

    /// Is the session of this token live at this gate?
    async fn finds(&self, gate: &Sessions, hash: &TokenHash, counts: bool) -> bool {
        gate.find_or_ask(hash, "host", self.clock.now(), counts).await.unwrap().is_some()
    }
}

/// A session that has begun at one gate, and of which the other has heard.
async fn begin_and_tell(one: &Sessions, two: &Sessions) -> Arc<LiveSession> {
    let session = begin(one).await;
    two.hear().await.unwrap();
    session
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[tokio::test]
async fn a10_a_session_is_known_everywhere_and_its_end_within_a_second() {
    let (house, one, two) = House::with_two_gates().await;
    let session = begin(&one).await;
    let hash = session.token_hash;
    assert!(house.finds(&two, &hash, true).await, "before it has heard of it");
    two.hear().await.unwrap();
    one.end(&[session]).await.unwrap();
    assert!(!house.finds(&one, &hash, true).await, "at once where it was ended");
    house.clock.advance(Duration::from_millis(901));
    assert!(!house.finds(&two, &hash, true).await, "nobody has told it, and it asks");
    // Told.
    let session = begin_and_tell(&one, &two).await;
    assert_eq!(two.count(), 1);
    one.end(&[session]).await.unwrap();
    two.hear().await.unwrap();
    assert_eq!(two.count(), 0);
}

#[tokio::test]
async fn e08_a_session_with_another_token_by_now_is_ended_all_the_same() {
    let (house, one, two) = House::with_two_gates().await;
    let session = begin_and_tell(&one, &two).await;
    // The first gate gives it another token; the second has not heard of it, and ends it.
    let proven = [Evidence { method: Method::Totp, at: START }];
    let (_, stepped) = one.step_up(&session, &proven).await.unwrap();
    let seen = two.list("id-of-alice", START);
    two.end(&seen).await.unwrap();
    one.hear().await.unwrap();
    assert!(!house.finds(&one, &stepped.token_hash, true).await);
    assert!(stepped.active().is_none(), "what is under way ends as well");
    // The other way round: what is over gets no other token.
    let session = begin_and_tell(&one, &two).await;
    two.end(&two.list("id-of-alice", START)).await.unwrap();
    assert!(matches!(one.step_up(&session, &proven).await, Err(BeginError::Over)));
    one.hear().await.unwrap();
    assert_eq!(one.count(), 0);
    // And what got another token and was ended before anybody has heard of either is over.
    let session = begin_and_tell(&one, &two).await;
    let (_, stepped) = one.step_up(&session, &proven).await.unwrap();
    one.end(&[stepped]).await.unwrap();
    two.hear().await.unwrap();
    assert!(!house.finds(&two, &session.token_hash, true).await);
    assert_eq!(two.count(), 0);
}

#[tokio::test]
async fn e18_of_two_gates_that_step_up_at_once_one_does_and_the_session_goes_on_at_both() {
    let (house, one, two) = House::with_two_gates().await;
    let session = begin_and_tell(&one, &two).await;
    let seen = two.find(&session.token_hash, "host", START, true).unwrap();
    let proven = [Evidence { method: Method::Totp, at: START }];
    let (_, stepped) = one.step_up(&session, &proven).await.unwrap();
    assert!(matches!(two.step_up(&seen, &proven).await, Err(BeginError::Over)));
    // Who still sends the old token, at a gate that has not heard for a while, ends nothing by it.
    house.clock.advance(seconds(2));
    assert!(!house.finds(&two, &session.token_hash, true).await);
    for _ in 0..2 {
        for gate in [&one, &two] {
            assert!(house.finds(gate, &stepped.token_hash, true).await);
            gate.hear().await.unwrap();
        }
    }
    // Nor does reading everything anew.
    house.server.ask(&["del", "{test}:changes"]);
    let (_, again) = one.step_up(&stepped, &proven).await.unwrap();
    house.server.ask(&["del", "{test}:changes"]);
    two.hear().await.unwrap();
    assert!(house.finds(&two, &again.token_hash, true).await);
    assert!(!house.finds(&two, &stepped.token_hash, true).await);
    assert_eq!((one.count(), two.count()), (1, 1));
}

#[tokio::test]
async fn e18_a_step_up_is_known_everywhere_and_the_old_token_nowhere() {
    let (house, one, two) = House::with_two_gates().await;
    let session = begin_and_tell(&one, &two).await;
    let proven = [Evidence { method: Method::Totp, at: START }];
    let (_, stepped) = one.step_up(&session, &proven).await.unwrap();
    assert!(house.finds(&two, &stepped.token_hash, true).await);
    two.hear().await.unwrap();
    assert!(!house.finds(&two, &session.token_hash, true).await);
    let found = two.find(&stepped.token_hash, "host", START, true).unwrap();
    assert_eq!((found.evidence.len(), two.count()), (2, 1));
    // From the second gate again: the first has heard its own step-up by then.
    let (_, again) = two.step_up(&found, &proven).await.unwrap();
    one.hear().await.unwrap();
    assert!(house.finds(&one, &again.token_hash, true).await);
    assert_eq!(one.count(), 1);
}

#[tokio::test]
async fn a10_a_disabled_owner_has_no_session_anywhere() {
    let (house, one, two) = House::with_two_gates().await;
    let hash = begin_and_tell(&one, &two).await.token_hash;
    // Whoever disables the owner at the second gate knows nothing of a session that begins at the
    // first one at that very moment.
    let alice = record("alice");
    house.accounts.set_state(&alice, crate::account::State::Disabled).await.unwrap();
    two.end(&two.all_of(&alice.id).await.unwrap()).await.unwrap();
    let late = begin(&one).await.token_hash;
    two.refresh(&PrincipalRecord { state: crate::account::State::Disabled, ..alice })
        .await
        .unwrap();
    one.hear().await.unwrap();
    two.hear().await.unwrap();
    for gate in [&one, &two] {
        assert!(!house.finds(gate, &hash, true).await && !house.finds(gate, &late, true).await);
        assert_eq!(gate.count(), 0);
    }
}

#[tokio::test]
async fn f11_a_changed_owner_is_seen_everywhere() {
    let (house, one, two) = House::with_two_gates().await;
    let session = begin_and_tell(&one, &two).await;
    let changed = PrincipalRecord { roles: vec!["auditor".into()], ..record("alice") };
    house.accounts.update(&record("alice"), &changed).await.unwrap();
    two.refresh(&changed).await.unwrap();
    one.hear().await.unwrap();
    assert_eq!(session.principal().roles, ["auditor"]);
}

#[tokio::test]
async fn e04_idle_time_counts_across_gates() {
    let (house, one, two) = House::with_two_gates().await;
    let hash = begin_and_tell(&one, &two).await.token_hash;
    // Used at the first gate alone.
    for _ in 0..20 {
        house.clock.advance(seconds(600));
        assert!(house.finds(&one, &hash, true).await);
        one.flush().await.unwrap();
        two.sweep().await.unwrap();
    }
    assert!(house.finds(&two, &hash, false).await, "idle here for hours, and busy there");
    house.clock.advance(seconds(900));
    assert!(house.finds(&two, &hash, false).await, "the other gate may not have written yet");
    house.clock.advance(seconds(5));
    assert!(!house.finds(&two, &hash, true).await && !house.finds(&one, &hash, true).await);
    assert_eq!(two.sweep().await.unwrap(), 1);
    assert_eq!(two.expired_owner(&hash).await.unwrap().as_deref(), Some("id-of-alice"));
}

#[tokio::test]
async fn o07_gates_whose_clocks_are_two_seconds_apart_end_nothing_too_early() {
    let house = House::new().await;
    let late = Clock::manual(Timestamp(START.0 - 2_000));
    let rules = "idle = \"15m\"\nabsolute = \"72h\"";
    let (one, two) = (house.gate_with(rules).await, house.gate_by(&late, rules).await);
    let hash = begin(&one).await.token_hash;
    let pass = |time: Duration| {
        house.clock.advance(time);
        late.advance(time);
    };
    let finds = async |gate: &Sessions, clock: &Clock, counts| {
        gate.find_or_ask(&hash, "host", clock.now(), counts).await.unwrap().is_some()
    };
    for turn in 0..20 {
        pass(seconds(897));
        if turn % 2 == 0 {
            assert!(finds(&two, &late, true).await, "turn {turn}");
        } else {
            assert!(finds(&one, &house.clock, true).await, "turn {turn}");
        }
        one.flush().await.unwrap();
        two.flush().await.unwrap();
    }
    // Late by what others may be late with writing, and by what the clocks are apart.
    pass(seconds(900 + 5 + 2));
    assert!(!finds(&one, &house.clock, true).await && !finds(&two, &late, true).await);
}

#[tokio::test]
async fn o06_an_end_stays_in_force_when_the_server_forgets_it() {
    let (house, one, two) = House::with_two_gates().await;
    let session = begin_and_tell(&one, &two).await;
    let hash = session.token_hash;
    let keys = ["sessions", "session-tokens", "session-active", "session-created"]
        .map(|name| format!("{{test}}:{name}"));
    for key in &keys {
        house.server.ask(&["copy", key, &format!("{key}-before")]);
    }
    one.end(&[session]).await.unwrap();
    two.hear().await.unwrap();
    // Another server takes its place, which has not heard of the end.
    for key in &keys {
        house.server.ask(&["rename", &format!("{key}-before"), key]);
    }
    house.server.ask(&["set", "{test}:epoch", "another"]);
    house.clock.advance(seconds(2));
    for gate in [&one, &two] {
        assert!(!house.finds(gate, &hash, true).await, "whatever the store says");
    }
    one.hear().await.unwrap();
    assert_eq!(house.server.ask(&["hlen", "{test}:sessions"]), "0", "ended there again");
}

#[tokio::test]
async fn o05_a_gate_that_missed_something_reads_everything_anew() {
    let (mut house, one, two) = House::with_two_gates().await;
    let ended = begin_and_tell(&one, &two).await;
    one.end(std::slice::from_ref(&ended)).await.unwrap();
    let begun = begin(&one).await;
    // What was told is gone before the second gate has heard it.
    house.server.ask(&["del", "{test}:changes"]);
    two.hear().await.unwrap();
    assert_eq!(two.count(), 1);
    assert!(house.finds(&two, &begun.token_hash, true).await);
    assert!(!house.finds(&two, &ended.token_hash, true).await);
    // A server that was restarted empty: everybody has to sign in again, and nobody is let in by
    // what a gate remembers.
    house.server.restart();
    house.clock.advance(seconds(2));
    for gate in [&one, &two] {
        let mut asked = gate.find_or_ask(&begun.token_hash, "host", house.clock.now(), true).await;
        while asked.is_err() {
            tokio::task::yield_now().await;
            asked = gate.find_or_ask(&begun.token_hash, "host", house.clock.now(), true).await;
        }
        assert!(asked.unwrap().is_none());
        gate.hear().await.unwrap();
        assert_eq!(gate.count(), 0);
    }
    let again = begin(&one).await.token_hash;
    assert!(house.finds(&two, &again, true).await);
}

#[tokio::test]
async fn a01_a_store_that_does_not_answer_is_no_sign_out_and_no_entry() {
    let (mut house, one, two) = House::with_two_gates().await;
    let hash = begin_and_tell(&one, &two).await.token_hash;
    house.server.kill();
    assert!(house.finds(&two, &hash, true).await, "for less than a second the copy is trusted");
    assert!(two.hear().await.is_err());
    house.clock.advance(seconds(1));
    let asked = two.find_or_ask(&hash, "host", house.clock.now(), true).await;
    assert!(asked.is_err(), "nothing is known");
    assert!(two.find_or_ask(&[9; 32], "host", house.clock.now(), true).await.is_err());
    let new = NewSession {
        principal: &record("alice"),
        evidence: vec![],
        scope: "host",
        device: "",
        address: String::new(),
        replaces: None,
    };
    assert!(matches!(two.begin(new).await, Err(BeginError::Store(_))));
    // A connection that is open goes on for a minute, and then not.
    let session = two.list("id-of-alice", house.clock.now()).pop().unwrap();
    house.clock.advance(seconds(59));
    assert!(two.is_live(&session, house.clock.now(), false));
    house.clock.advance(seconds(2));
    assert!(!two.is_live(&session, house.clock.now(), false));
}

/// What may happen, each at one of two gates.
#[derive(Clone, Debug)]
enum Act {
    Begin(usize),
    Use(usize, usize),
    Look(usize, usize),
    StepUp(usize, usize),
    End(usize, usize),
    Follow(usize),
    Sweep(usize),
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let gate = 0..2_usize;
    prop_oneof![
        1 => gate.clone().prop_map(Act::Begin),
        4 => (gate.clone(), 0..6_usize).prop_map(|(gate, which)| Act::Use(gate, which)),
        2 => (gate.clone(), 0..6_usize).prop_map(|(gate, which)| Act::Look(gate, which)),
        1 => (gate.clone(), 0..6_usize).prop_map(|(gate, which)| Act::StepUp(gate, which)),
        1 => (gate.clone(), 0..6_usize).prop_map(|(gate, which)| Act::End(gate, which)),
        2 => gate.clone().prop_map(Act::Follow),
        1 => gate.prop_map(Act::Sweep),
        4 => prop_oneof![Just(300), Just(2_000), Just(60_000), Just(420_000), Just(899_000)]
            .prop_map(Act::Pass),
    ]
}

/// A session as whoever uses it knows it.
struct Known {
    hash: TokenHash,
    active: u64,
    ended: Option<u64>,
}

const IDLE: u64 = 900_000;

async fn play(house: &House, gates: &[Arc<Sessions>; 2], acts: Vec<Act>) {
    let mut known: Vec<Known> = Vec::new();
    for act in acts {
        let now = house.clock.now().0;
        match act {
            Act::Begin(gate) => {
                let hash = begin(&gates[gate]).await.token_hash;
                known.push(Known { hash, active: now, ended: None });
            }
            Act::Use(gate, which) | Act::Look(gate, which) => {
                let Some(session) = known.get_mut(which) else { continue };
                let counts = matches!(act, Act::Use(..));
                let live = house.finds(&gates[gate], &session.hash, counts).await;
                match session.ended {
                    Some(at) if now >= at + 1_000 => assert!(!live, "over for a second"),
                    Some(_) => {}
                    None if now < session.active + IDLE => assert!(live, "too early"),
                    None if now >= session.active + IDLE + 5_000 => assert!(!live, "too late"),
                    None => {}
                }
                if live && counts && session.ended.is_none() {
                    session.active = now;
                }
                if !live && session.ended.is_none() {
                    session.ended = Some(now);
                }
            }
            Act::StepUp(gate, which) => {
                let Some(session) = known.get_mut(which) else { continue };
                let at = house.clock.now();
                let found = gates[gate].find_or_ask(&session.hash, "host", at, true).await.unwrap();
                let Some(found) = found else { continue };
                let proven = [Evidence { method: Method::Totp, at }];
                match gates[gate].step_up(&found, &proven).await {
                    Ok((_, stepped)) => {
                        assert!(session.ended.is_none(), "what is over got another token");
                        (session.hash, session.active) = (stepped.token_hash, now);
                    }
                    Err(_) => assert!(session.ended.is_some(), "a live one got none"),
                }
            }
            Act::End(gate, which) => {
                let Some(session) = known.get_mut(which) else { continue };
                let at = house.clock.now();
                let found =
                    gates[gate].find_or_ask(&session.hash, "host", at, false).await.unwrap();
                let Some(found) = found else { continue };
                gates[gate].end(&[found]).await.unwrap();
                session.ended.get_or_insert(now);
                assert!(!house.finds(&gates[gate], &session.hash, true).await, "here at once");
            }
            Act::Follow(gate) => gates[gate].hear().await.unwrap(),
            Act::Sweep(gate) => drop(gates[gate].sweep().await.unwrap()),
            Act::Pass(ms) => {
                // As every few seconds.
                gates[0].flush().await.unwrap();
                gates[1].flush().await.unwrap();
                house.clock.advance(Duration::from_millis(ms));
            }
        }
    }
}

#[test]
fn e04_a10_two_gates_agree_with_a_model_of_one() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let house = runtime.block_on(House::new());
    let config = ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() };
    proptest!(config, |(acts in prop::collection::vec(act(), 1..60))| {
        runtime.block_on(async {
            house.server.ask(&["flushall"]);
            let rules = "idle = \"15m\"\nabsolute = \"72h\"\nparallel_max = 100";
            let gates = [house.gate_with(rules).await, house.gate_with(rules).await];
            play(&house, &gates, acts).await;
        });
    });
}

/// A request may ask the store for a session while this gate hears what becomes of it.
#[tokio::test]
async fn a10_what_was_asked_for_before_an_end_or_another_token_was_heard_comes_not_back() {
    let house = House::new().await;
    let (one, two) = (house.gate().await, house.gate().await);
    let (shared, owner) = (two.shared.as_ref().unwrap(), record("alice"));
    let begun = begin(&one).await;
    let read = shared.store.look_up(&begun.token_hash).await.unwrap().unwrap();
    one.end(std::slice::from_ref(&begun)).await.unwrap();
    two.hear().await.unwrap();
    assert!(two.take_in(shared, read, &owner).await.unwrap().is_none());
    assert!(!house.finds(&two, &begun.token_hash, true).await, "it has ended");

    let begun = begin(&one).await;
    let read = shared.store.look_up(&begun.token_hash).await.unwrap().unwrap();
    let (_, stepped) = one.step_up(&begun, &[]).await.unwrap();
    two.hear().await.unwrap();
    assert!(two.take_in(shared, read, &owner).await.unwrap().is_none());
    assert!(!house.finds(&two, &begun.token_hash, true).await, "the old token");
    assert!(house.finds(&two, &stepped.token_hash, true).await, "the new one");
}

#[tokio::test]
async fn a10_who_was_refused_is_not_let_in_again_by_a_copy_that_is_behind() {
    let house = House::new().await;
    let (one, two) = (house.gate().await, house.gate().await);
    let begun = begin(&one).await;
    two.hear().await.unwrap();
    // Another one began, of which it has heard and not read yet: it asks.
    begin(&one).await;
    two.hear_changes().await.unwrap();
    one.end(&[Arc::clone(&begun)]).await.unwrap();
    assert!(!house.finds(&two, &begun.token_hash, true).await);
    two.read_unread().await.unwrap();
    assert!(!house.finds(&two, &begun.token_hash, true).await, "it has not heard of the end");
    two.hear().await.unwrap();
    assert!(!house.finds(&two, &begun.token_hash, true).await);
    assert!(
        !two.shared.as_ref().unwrap().unread.is_about(&begun.owner.id),
        "the copy is right again"
    );
}
