//! Keys in the store: whose they are, how often an answer is good, what two answers at once do.

#![expect(clippy::needless_pass_by_value, reason = "results are looked at where they come from")]

use std::sync::Arc;

use doorward_certs::vault::Vault;

use super::soft_key::{BE, UV};
use super::*;
use crate::account::tests::record;
use crate::authenticator::{AuthenticatorRecord, Authenticators};
use crate::challenge::Challenges;
use crate::session::Method;
use crate::session::live::tests::{Scratch, sessions};
use crate::store::{AccountStore, Backend, StoreError};

struct Ring {
    keys: Keys,
    authenticators: Arc<Authenticators>,
    scratch: Scratch,
}

/// Keys over a fresh store, with two principals.
async fn ring() -> Ring {
    let (_, scratch) = sessions("").await;
    for (name, id) in [("anna", ALICE), ("bob", BOB)] {
        let mut record = record(name);
        (record.id, record.account_id) = (id.into(), id.into());
        scratch.store.add(&record).await.unwrap();
    }
    let file =
        std::env::temp_dir().join(format!("doorward-{}", crate::account::fresh_id().unwrap()));
    let vault = Arc::new(Vault::open(&file).unwrap());
    std::fs::remove_file(&file).unwrap();
    let rules = crate::context::tests::config("").second_factor.clone();
    let (store, clock) = (scratch.store.clone(), scratch.clock.clone());
    let authenticators =
        Authenticators::new(&rules, store.clone(), Arc::clone(&vault), clock.clone());
    let authenticators = Arc::new(authenticators);
    let challenges = Arc::new(Challenges::new(store, vault, clock));
    let keys = Keys::new(ceremonies(), Arc::clone(&authenticators), challenges);
    Ring { keys, authenticators, scratch }
}

impl Ring {
    async fn bind(&self, key: &mut SoftKey, id: &str) -> Result<AuthenticatorRecord, KeyError> {
        let asked = self.keys.begin_binding(&owner(id), "session").await?;
        let draft = key.create(&asked.options, ORIGIN);
        let answer = octets(&key.created(&draft));
        self.keys.finish_binding(id, "session", &asked.challenge, " Blue key ", &answer).await
    }

    async fn held(&self, id: &str) -> Vec<AuthenticatorRecord> {
        self.authenticators.list(id).await.unwrap()
    }

    /// Asks Alice, and has her key answer with this counter.
    async fn asked(&self, key: &mut SoftKey, counter: u32) -> (String, Vec<u8>) {
        let asked = self.keys.ask(ALICE, "session").await.unwrap();
        let mut draft = key.get(&asked.options, ORIGIN);
        draft.counter = counter;
        (asked.challenge, octets(&key.got(&draft)))
    }
}

fn is_over(result: Result<impl Sized, KeyError>) -> bool {
    matches!(result, Err(KeyError::Over))
}

fn refused(result: Result<impl Sized, KeyError>) -> Option<WebauthnError> {
    match result {
        Err(KeyError::Refused(why)) => Some(why),
        _ => None,
    }
}

#[tokio::test]
async fn h11_a_key_is_bound_to_one_person_and_once() {
    let ring = ring().await;
    let mut key = SoftKey::new(b"id");
    let bound = ring.bind(&mut key, ALICE).await.unwrap();
    assert_eq!((bound.name.as_str(), bound.principal_id.as_str()), ("Blue key", ALICE));
    assert_eq!(refused(ring.bind(&mut key, BOB).await), Some(WebauthnError::AlreadyBound));
    assert_eq!(refused(ring.bind(&mut key, ALICE).await), Some(WebauthnError::AlreadyBound));
    assert!(ring.held(BOB).await.is_empty());
    // Another one is another row, as many as the rules allow.
    for number in 1..10_u8 {
        ring.bind(&mut SoftKey::new(&[number]), ALICE).await.unwrap();
    }
    assert!(matches!(ring.bind(&mut SoftKey::new(b"more"), ALICE).await, Err(KeyError::Full)));
}

#[tokio::test]
async fn h01_a_binding_is_good_once_for_its_session_and_for_a_while() {
    let ring = ring().await;
    let mut key = SoftKey::new(b"id");
    let asked = ring.keys.begin_binding(&owner(ALICE), "session").await.unwrap();
    let draft = key.create(&asked.options, ORIGIN);
    let answer = octets(&key.created(&draft));
    let finish = async |who: &str, session: &str, answer: &[u8]| {
        ring.keys.finish_binding(who, session, &asked.challenge, "", answer).await
    };
    assert!(is_over(finish(ALICE, "another session", &answer).await));
    assert!(is_over(finish(BOB, "session", &answer).await));
    ring.scratch.clock.advance(Duration::from_secs(299));
    assert_eq!(refused(finish(ALICE, "session", b"{}").await), Some(WebauthnError::Malformed));
    assert!(is_over(finish(ALICE, "session", &answer).await), "it was answered, wrongly");

    let asked = ring.keys.begin_binding(&owner(ALICE), "session").await.unwrap();
    let draft = key.create(&asked.options, ORIGIN);
    let answer = octets(&key.created(&draft));
    ring.scratch.clock.advance(Duration::from_secs(300));
    let late = ring.keys.finish_binding(ALICE, "session", &asked.challenge, "", &answer).await;
    assert!(is_over(late));
}

#[tokio::test]
async fn h01_an_answer_signs_in_once_at_its_browser_and_for_a_while() {
    let ring = ring().await;
    let mut key = SoftKey::new(b"id");
    key.flags = UV | BE;
    ring.bind(&mut key, ALICE).await.unwrap();
    // A synchronised passkey, which does not count: nothing but the ticket refuses a replay.
    let mut answer_to = |asked: &Asked| {
        let mut draft = key.get(&asked.options, ORIGIN);
        draft.counter = 0;
        octets(&key.got(&draft))
    };
    let asked = ring.keys.begin_sign_in("browser").unwrap();
    let answer = answer_to(&asked);
    let finish = async |browser: &str, ticket: &str, answer: &[u8]| {
        ring.keys.finish_sign_in(browser, ticket, answer).await
    };
    assert!(is_over(finish("another browser", &asked.challenge, &answer).await));
    assert!(is_over(finish("browser", "", &answer).await));
    assert!(is_over(finish("browser", &"A".repeat(100_000), &answer).await));
    let other = ring.keys.begin_sign_in("browser").unwrap();
    let swapped = finish("browser", &other.challenge, &answer).await;
    assert_eq!(refused(swapped), Some(WebauthnError::Challenge));

    let twice = tokio::join!(
        finish("browser", &asked.challenge, &answer),
        finish("browser", &asked.challenge, &answer)
    );
    let (used, replayed) = if twice.0.is_ok() { twice } else { (twice.1, twice.0) };
    assert_eq!(used.unwrap().method, Method::VerifiedKey);
    assert!(is_over(replayed));
    ring.scratch.clock.advance(Duration::from_secs(299));
    assert!(is_over(finish("browser", &asked.challenge, &answer).await));

    let asked = ring.keys.begin_sign_in("browser").unwrap();
    let answer = answer_to(&asked);
    ring.scratch.clock.advance(Duration::from_secs(300));
    assert!(is_over(finish("browser", &asked.challenge, &answer).await));
}

#[tokio::test]
async fn h14_h15_two_answers_at_once_leave_the_counter_where_the_later_one_put_it() {
    let ring = ring().await;
    let mut key = SoftKey::new(b"id");
    ring.bind(&mut key, ALICE).await.unwrap();
    let first = ring.asked(&mut key, 5).await;
    let second = ring.asked(&mut key, 6).await;
    let answer = async |(challenge, answer): &(String, Vec<u8>)| {
        ring.keys.answer(ALICE, "session", challenge, answer).await
    };
    let (one, two) = tokio::join!(answer(&first), answer(&second));
    assert_eq!(two.unwrap().counter, 6, "the later one is always good");
    let kept = ring.held(ALICE).await;
    assert_eq!(kept[0].counter, 6, "{one:?}");
    let credential: Credential = ring.authenticators.open(&kept[0]).unwrap();
    assert_eq!(credential.counter(), 6);

    // A replay, and one that was copied: nothing changes.
    assert!(is_over(answer(&second).await));
    let copied = ring.asked(&mut key, 6).await;
    assert_eq!(refused(answer(&copied).await), Some(WebauthnError::Counter));
    assert_eq!(ring.held(ALICE).await, kept);
}

#[tokio::test]
async fn h01_h12_an_answer_is_good_once_for_its_session_and_its_person() {
    let ring = ring().await;
    let mut key = SoftKey::new(b"id");
    key.flags = UV | BE;
    ring.bind(&mut key, ALICE).await.unwrap();
    // One that does not count, so that only the challenge refuses a replay.
    let (challenge, answer) = ring.asked(&mut key, 0).await;
    let give =
        async |who: &str, session: &str| ring.keys.answer(who, session, &challenge, &answer).await;
    assert!(is_over(give(ALICE, "another session").await));
    assert!(is_over(give(BOB, "session").await));
    let twice = tokio::join!(give(ALICE, "session"), give(ALICE, "session"));
    let (used, replayed) = if twice.0.is_ok() { twice } else { (twice.1, twice.0) };
    assert_eq!(used.unwrap().method, Method::VerifiedKey);
    assert!(is_over(replayed));
    let (challenge, answer) = ring.asked(&mut key, 0).await;
    ring.scratch.clock.advance(Duration::from_secs(300));
    assert!(is_over(ring.keys.answer(ALICE, "session", &challenge, &answer).await));
    let none = ring.keys.ask(BOB, "session").await;
    assert_eq!(refused(none), Some(WebauthnError::UnknownCredential));
}

#[tokio::test]
async fn h17_a_key_that_was_taken_away_fails_at_once() {
    let ring = ring().await;
    let (mut key, mut other) = (SoftKey::new(b"id"), SoftKey::new(b"other"));
    let bound = ring.bind(&mut key, ALICE).await.unwrap();
    ring.bind(&mut other, ALICE).await.unwrap();
    let (challenge, answer) = ring.asked(&mut key, 1).await;
    let ticket = ring.keys.begin_sign_in("browser").unwrap();
    let draft = key.get(&ticket.options, ORIGIN);
    let sign_in = octets(&key.got(&draft));
    assert!(ring.authenticators.unbind(&bound.id, ALICE).await.unwrap());
    let unknown = Some(WebauthnError::UnknownCredential);
    assert_eq!(refused(ring.keys.answer(ALICE, "session", &challenge, &answer).await), unknown);
    let refusal = ring.keys.finish_sign_in("browser", &ticket.challenge, &sign_in).await;
    assert_eq!(refused(refusal), unknown);
    let (challenge, answer) = ring.asked(&mut other, 1).await;
    ring.keys.answer(ALICE, "session", &challenge, &answer).await.unwrap();
}

#[tokio::test]
async fn a_store_that_fails_proves_nothing() {
    let ring = ring().await;
    let mut key = SoftKey::new(b"id");
    ring.bind(&mut key, ALICE).await.unwrap();
    let (challenge, answer) = ring.asked(&mut key, 1).await;
    ring.scratch.store.close().await;
    let failed = ring.keys.answer(ALICE, "session", &challenge, &answer).await;
    assert!(matches!(failed, Err(KeyError::Store(StoreError::Failed(_)))), "{failed:?}");
}
