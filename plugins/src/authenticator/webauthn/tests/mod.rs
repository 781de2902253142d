//! The ceremonies against keys in software that lie, and against two that do not.

mod authentication;
mod keys;
mod passkey;
mod registration;
mod soft_key;
mod vectors;

use std::time::Duration;

use doorward_config::WebAuthn;
use serde_json::Value;

use super::*;
use soft_key::SoftKey;

const ORIGIN: &str = "https://console.example.com";
/// Two principals.
const ALICE: &str = "AAAAAAAAAAAAAAAAAAAAAA";
const BOB: &str = "AQEBAQEBAQEBAQEBAQEBAQ";

fn config() -> WebAuthn {
    WebAuthn {
        rp_id: "example.com".into(),
        rp_name: "Example".into(),
        origins: vec![ORIGIN.into(), "https://other.example.org:8443".into()],
        user_verification_required: false,
        passwordless: true,
        timeout: Duration::from_secs(300),
    }
}

fn ceremonies() -> Ceremonies {
    Ceremonies::new(&config()).unwrap()
}

fn strict() -> Ceremonies {
    Ceremonies::new(&WebAuthn { user_verification_required: true, ..config() }).unwrap()
}

fn owner(id: &str) -> Owner<'_> {
    Owner { id, name: "alice", display_name: "Alice" }
}

fn octets(answer: &Value) -> Vec<u8> {
    answer.to_string().into_bytes()
}

/// Binds a key whose answer was changed before it was signed, or after.
fn bind_changed(
    key: &mut SoftKey,
    lie: impl FnOnce(&mut soft_key::Draft),
    tamper: impl FnOnce(&mut Value),
) -> Result<Credential, WebauthnError> {
    let ceremonies = ceremonies();
    let begun = ceremonies.begin_registration(&owner(ALICE), &[]).unwrap();
    let mut draft = key.create(&begun.options, ORIGIN);
    lie(&mut draft);
    let mut answer = key.created(&draft);
    tamper(&mut answer);
    ceremonies.finish_registration(ALICE, &begun.state, &octets(&answer))
}

/// A key that Alice has bound.
fn bound() -> (SoftKey, Credential) {
    let mut key = SoftKey::new(b"key of alice");
    let credential = bind_changed(&mut key, |_| {}, |_| {}).unwrap();
    (key, credential)
}

#[test]
fn h01_challenges_are_random_and_never_come_twice() {
    let ceremonies = ceremonies();
    let (_, credential) = bound();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..2500 {
        let asked = [
            ceremonies.begin_passwordless().unwrap(),
            ceremonies.begin_registration(&owner(ALICE), &[]).unwrap(),
            ceremonies.begin_authentication(ALICE, std::slice::from_ref(&credential)).unwrap(),
            ceremonies.begin_passwordless().unwrap(),
        ];
        for begun in asked {
            let challenge = begun.options["publicKey"]["challenge"].as_str().unwrap().to_owned();
            assert!(soft_key::decode(&challenge).len() >= 16, "{challenge}");
            assert!(seen.insert(challenge), "a challenge came twice");
        }
    }
    assert_eq!(seen.len(), 10_000);
}

#[test]
fn h18_options_without_a_name_tell_of_nobody() {
    let ceremonies = ceremonies();
    let mut asked = ceremonies.begin_passwordless().unwrap().options;
    asked["publicKey"]["challenge"] = Value::Null;
    let expected = serde_json::json!({ "publicKey": {
        "challenge": null, "timeout": 300_000, "rpId": "example.com",
        "userVerification": "required",
    } });
    assert_eq!(asked, expected);
}

#[test]
fn a_state_is_good_for_its_own_ceremony_and_its_own_principal_only() {
    let ceremonies = ceremonies();
    let (mut key, credential) = bound();
    let known = std::slice::from_ref(&credential);
    let second = ceremonies.begin_authentication(ALICE, known).unwrap();
    let whole = ceremonies.begin_passwordless().unwrap();
    let new = ceremonies.begin_registration(&owner(ALICE), known).unwrap();
    let answer = |begun: &Begun, key: &mut SoftKey| {
        let draft = key.get(&begun.options, ORIGIN);
        octets(&key.got(&draft))
    };
    let to_second = answer(&second, &mut key);
    let to_whole = answer(&whole, &mut key);
    let refused = Err(WebauthnError::State);
    let finish = |principal: &str, state: &str, answer: &[u8]| {
        ceremonies.finish_authentication(principal, state, answer, known).map(drop)
    };
    assert_eq!(finish(ALICE, &whole.state, &to_whole), refused);
    assert_eq!(finish(ALICE, &new.state, &to_second), refused);
    assert_eq!(finish(BOB, &second.state, &to_second), refused);
    assert_eq!(finish(ALICE, "", &to_second), refused);
    let finish = |state: &str, answer: &[u8]| {
        ceremonies.finish_passwordless(ALICE, state, answer, &credential).map(drop)
    };
    assert_eq!(finish(&second.state, &to_second), refused);
    assert_eq!(finish(&whole.state, &to_second), Err(WebauthnError::Challenge));
    assert_eq!(finish(&whole.state, &to_whole), Ok(()));
    let made = ceremonies.finish_registration(BOB, &new.state, &to_second);
    assert_eq!(made.map(drop), refused);
}
