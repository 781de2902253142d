//! Signing in, without a portal.

use doorward_config::PasswordHashing;

use super::*;
use crate::account::State;
use crate::account::tests::record;
use crate::lockout::Lockout;
use crate::session::live::tests::{Scratch, sessions};
use crate::stuffing::Stuffing;

struct Door {
    sign_in: SignIn,
    sessions: Arc<Sessions>,
    scratch: Scratch,
}

fn rules(memory_kib: u32) -> PasswordHashing {
    PasswordHashing {
        memory_kib,
        iterations: 1,
        parallelism: 1,
        threads: 1,
        queue: 4,
        pepper: None,
    }
}

fn check(
    scratch: &Scratch,
    hasher: Arc<PasswordHasher>,
    rules: &doorward_config::Lockout,
) -> Arc<PasswordCheck> {
    let (store, clock) = (scratch.store.clone(), scratch.clock.clone());
    Arc::new(PasswordCheck {
        accounts: store.clone(),
        hasher,
        lockout: Arc::new(Lockout::new(rules, store, clock.clone(), b"key")),
        stuffing: Arc::new(Stuffing::new(&crate::context::tests::config("").stuffing)),
        audit: Arc::default(),
        alerts: crate::notify::alerts::tests::alerts(scratch),
        clock,
    })
}

async fn door() -> Door {
    let (sessions, scratch) = sessions("").await;
    let old = PasswordHasher::new(&rules(64)).unwrap();
    let hash = old.hash(&Secret::new("correct horse".into())).await.unwrap();
    scratch.store.set_password("id-of-alice", None, &hash).await.unwrap();
    let hasher = PasswordHasher::new(&rules(128)).unwrap();
    let rules = doorward_config::Lockout { lock_after: 4, ..crate::lockout::tests::rules() };
    let (store, clock) = (scratch.store.clone(), scratch.clock.clone());
    let sign_in = SignIn {
        second: crate::second_factor::tests::second_factors(&scratch),
        risk: crate::risk::tests::risk(&scratch, ""),
        accounts: store.clone(),
        sessions: Arc::clone(&sessions),
        hasher: Arc::clone(&hasher),
        check: check(&scratch, hasher, &rules),
        audit: Arc::default(),
        clock,
        turn: Arc::default(),
    };
    Door { sign_in, sessions, scratch }
}

impl Door {
    async fn attempt(
        &self,
        account: &str,
        password: &str,
        session: Option<&LiveSession>,
    ) -> Result<SignedIn, SignInError> {
        self.attempt_with(account, password, session, None).await
    }

    async fn attempt_with(
        &self,
        account: &str,
        password: &str,
        session: Option<&LiveSession>,
        device_cookie: Option<&str>,
    ) -> Result<SignedIn, SignInError> {
        let credentials = Credentials {
            account: account.into(),
            sub_user: String::new(),
            password: Secret::new(password.into()),
        };
        let origin = Origin {
            scope: "host",
            device: "test",
            session,
            guesser: Guesser {
                address: std::net::IpAddr::from([192, 0, 2, 1]),
                device_cookie,
                captcha_solved: true,
                request_id: "1",
            },
        };
        match self.sign_in.attempt(&credentials, origin).await? {
            Entered::SignedIn(signed_in) => Ok(signed_in),
            Entered::Waits(_) => panic!("nobody here needs a second factor"),
        }
    }
}

#[tokio::test]
async fn e02_every_sign_in_has_a_new_token_and_the_old_session_ends() {
    let door = door().await;
    let first = door.attempt("alice", "correct horse", None).await.unwrap();
    let second = door.attempt("ALICE ", "correct horse", Some(&first.session)).await.unwrap();
    assert_ne!(first.token, second.token);
    assert!(first.session.active().is_none() && second.session.active().is_some());
    assert_eq!(door.sessions.count(), 1);
}

#[tokio::test]
async fn f18_an_old_hash_is_made_anew() {
    let door = door().await;
    door.attempt("alice", "correct horse", None).await.unwrap();
    let stored = door.scratch.store.find_id("id-of-alice").await.unwrap().unwrap().password_hash;
    assert!(stored.contains("m=128"), "{stored}");
    door.attempt("alice", "correct horse", None).await.unwrap();
}

#[tokio::test]
async fn f07_every_reason_to_refuse_looks_the_same() {
    let door = door().await;
    for (account, password) in
        [("alice", "wrong"), ("nobody", "correct horse"), ("", ""), ("alice", ""), ("a/b\0", "x")]
    {
        assert!(
            matches!(door.attempt(account, password, None).await, Err(SignInError::Reject)),
            "{account:?}"
        );
    }
    door.scratch.store.set_state(&record("alice"), State::Disabled).await.unwrap();
    assert!(matches!(door.attempt("alice", "correct horse", None).await, Err(SignInError::Reject)));
}

#[tokio::test]
async fn f04_f05_a_known_browser_has_its_own_count_until_it_guesses_too_much() {
    let door = door().await;
    let first = door.attempt("alice", "correct horse", None).await.unwrap();
    let cookie = first.device_cookie.unwrap().0;
    for _ in 0..5 {
        assert!(door.attempt("alice", "wrong", None).await.is_err());
    }
    assert!(door.attempt("alice", "correct horse", None).await.is_err(), "strangers are out");
    let again = door.attempt_with("alice", "correct horse", None, Some(&cookie)).await.unwrap();
    assert!(
        door.attempt_with("alice", "correct horse", None, Some(&cookie)).await.is_err(),
        "a cookie that was replaced is worth nothing"
    );
    let cookie = again.device_cookie.unwrap().0;
    for _ in 0..4 {
        assert!(door.attempt_with("alice", "wrong", None, Some(&cookie)).await.is_err());
    }
    assert!(door.attempt_with("alice", "correct horse", None, Some(&cookie)).await.is_err());
    assert!(door.attempt_with("nobody", "x", None, Some(&cookie)).await.is_err());
}

#[tokio::test]
async fn f12_right_passwords_at_once_all_sign_in() {
    let door = door().await;
    let attempt = || door.attempt("alice", "correct horse", None);
    let (a, b, c, d) = tokio::join!(attempt(), attempt(), attempt(), attempt());
    assert!([a, b, c, d].iter().all(Result::is_ok));
}

/// Mann-Whitney's U as a normal deviate: how far apart two samples are, in standard deviations.
fn deviate(a: &[u128], b: &[u128]) -> f64 {
    let mut all: Vec<_> = a.iter().map(|x| (x, true)).chain(b.iter().map(|x| (x, false))).collect();
    all.sort();
    let ranks: usize =
        all.iter().enumerate().filter(|(_, (_, of_a))| *of_a).map(|(rank, _)| rank + 1).sum();
    let (n, m) = (a.len() as f64, b.len() as f64);
    let u = ranks as f64 - n * (n + 1.0) / 2.0;
    (u - n * m / 2.0) / (n * m * (n + m + 1.0) / 12.0).sqrt()
}

/// With hashes this cheap everything else that a known and an unknown name cost stands out.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "how long it really takes is the question")]
async fn f07_known_and_unknown_names_take_the_same_time() {
    let mut door = door().await;
    let rules = doorward_config::Lockout {
        lock_after: u32::MAX,
        disable_after: u32::MAX,
        ..crate::lockout::tests::rules()
    };
    let hasher = Arc::clone(&door.sign_in.hasher);
    door.sign_in.check = check(&door.scratch, hasher, &rules);
    // Her hash is made with the present parameters.
    door.attempt("alice", "correct horse", None).await.unwrap();
    let mut apart = f64::INFINITY;
    // By chance alone one round in five thousand is as far apart as this.
    for _ in 0..4 {
        let mut times = [Vec::new(), Vec::new()];
        for index in 0..2000 {
            let name = if index % 2 == 0 { "alice" } else { "nobody" };
            let begun = std::time::Instant::now();
            assert!(door.attempt(name, "wrong", None).await.is_err());
            times[index % 2].push(begun.elapsed().as_nanos());
        }
        apart = deviate(&times[0], &times[1]).abs();
        if apart < 3.7 {
            return;
        }
    }
    panic!("{apart} standard deviations apart");
}
