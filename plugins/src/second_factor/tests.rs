//! Second factors over a scratch store, and how long evidence is fresh.

use doorward_certs::vault::Vault;

use super::*;
use crate::context::tests::config;
use crate::notify::Notify;
use crate::rate_limit::RateLimits;
use crate::session::live::tests::Scratch;

/// Over a scratch store, with the rules of an empty configuration.
pub(crate) fn second_factors(scratch: &Scratch) -> Arc<SecondFactors> {
    let rules = &config("").second_factor;
    let (store, clock) = (scratch.store.clone(), scratch.clock.clone());
    let vault = Arc::new(Vault::open(&scratch.folder.join("a.vault")).unwrap());
    let authenticators =
        Authenticators::new(rules, store.clone(), Arc::clone(&vault), clock.clone());
    let challenges = Challenges::new(store.clone(), Arc::clone(&vault), clock.clone());
    let rules_of_guesses = crate::lockout::tests::rules();
    let lockout = Lockout::new(&rules_of_guesses, store.clone(), clock.clone(), b"key");
    let audit = Arc::<Audit>::default();
    let limits = RateLimits::new(&config(""), &clock, Arc::clone(&audit));
    let notify = Notify::new(&config("").notify, store.clone(), vault, clock.clone());
    let limits = (Arc::new(limits), &b"key"[..]);
    let codes = Codes::new(&config(""), store, notify, clock.clone(), limits);
    Arc::new(SecondFactors {
        rules: rules.clone(),
        authenticators: Arc::new(authenticators),
        challenges: Arc::new(challenges),
        keys: None,
        lockout: Arc::new(lockout),
        codes: Arc::new(codes),
        audit,
        alerts: crate::notify::alerts::tests::alerts(scratch),
        clock,
    })
}

#[test]
fn evidence_is_fresh_for_its_time_and_never_from_the_future() {
    let at = Timestamp(1_800_000_000_000);
    let evidence = [Evidence { method: Method::Totp, at }];
    let fresh = |secs: u64| {
        let now = at + Duration::from_secs(secs);
        is_fresh(&evidence, Method::is_second, Duration::from_secs(10), now)
    };
    assert!(fresh(0) && fresh(9) && !fresh(10));
    let before = Timestamp(at.0 - 1);
    assert!(!is_fresh(&evidence, Method::is_second, Duration::from_secs(10), before));
}
