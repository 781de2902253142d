//! What a demand accepts, by what and when.

use std::time::Duration;

use doorward_config::Factor;

use super::*;
use crate::session::Evidence;

fn demand(factors: &[Factor]) -> Demand {
    Demand {
        max_age: Duration::from_secs(300),
        factors: factors.to_vec(),
        for_one_request: false,
        hold: 0,
        label: None,
        show: Vec::new(),
    }
}

#[test]
fn i01_only_a_fresh_factor_that_is_accepted_is_enough() {
    let at = Timestamp(1_800_000_000_000);
    let after = |seconds: u64| at + Duration::from_secs(seconds);
    let proved = |method| [Evidence { method, at }];
    let all = demand(&[Factor::Totp, Factor::Webauthn, Factor::TextMessage]);
    for method in [Method::Totp, Method::Key, Method::VerifiedKey, Method::TextMessage] {
        assert!(is_met(&all, &proved(method), after(0)));
        assert!(is_met(&all, &proved(method), after(299)));
        assert!(!is_met(&all, &proved(method), after(300)), "{method:?}");
        assert!(!is_met(&all, &proved(method), Timestamp(at.0 - 1)), "evidence from the future");
    }
    for method in [Method::Password, Method::Certificate, Method::RecoveryCode] {
        assert!(!is_met(&all, &proved(method), after(0)), "{method:?}");
    }
    assert!(!is_met(&all, &[], after(0)));
    let keys = demand(&[Factor::Webauthn]);
    assert!(!is_met(&keys, &proved(Method::Totp), after(0)));
    assert!(is_met(&keys, &proved(Method::Key), after(0)));
}

#[test]
fn i02_the_challenge_is_that_of_the_standard() {
    let refusal = demanded(&demand(&[Factor::Totp]));
    assert_eq!(refusal.problem.status(), http::StatusCode::UNAUTHORIZED);
    let (name, value) = &refusal.fields[0];
    assert_eq!(name, WWW_AUTHENTICATE);
    assert_eq!(
        value,
        "Bearer realm=\"doorward\", error=\"insufficient_user_authentication\", \
         error_description=\"A second factor is needed for this.\", acr_values=\"aal2\", max_age=\"300\""
    );
}
