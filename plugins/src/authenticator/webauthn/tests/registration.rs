//! Keys that are to be bound.

use serde_json::json;

use super::soft_key::{BE, BS, Draft, UP, bytes, decode, encode, integer, list, map, text};
use super::*;

fn refused(lie: impl FnOnce(&mut Draft)) -> WebauthnError {
    bind_changed(&mut SoftKey::new(b"id"), lie, |_| {}).unwrap_err()
}

fn tampered(tamper: impl FnOnce(&mut Value)) -> WebauthnError {
    bind_changed(&mut SoftKey::new(b"id"), |_| {}, tamper).unwrap_err()
}

#[test]
fn a_key_is_bound_with_what_it_said_and_survives_being_stored() {
    let mut key = SoftKey::new(b"id");
    key.counter = 7;
    let bound = bind_changed(&mut key, |draft| draft.flags |= BE | BS, |_| {}).unwrap();
    assert_eq!((bound.id(), bound.counter()), (encode(b"id"), 7));
    assert!(bound.backup_eligible() && bound.backed_up());
    let stored = serde_json::to_string(&bound).unwrap();
    assert!(stored.len() < 1024, "{stored}");
    let read: Credential = serde_json::from_str(&stored).unwrap();
    assert_eq!(read.id(), bound.id());
    let asked = ceremonies().begin_authentication(ALICE, &[read]).unwrap().options;
    let allowed = &asked["publicKey"]["allowCredentials"][0];
    assert_eq!(allowed["transports"], json!(["usb"]), "what is unknown is no hint");
}

#[test]
fn what_is_asked_of_a_new_key() {
    let (_, existing) = bound();
    let begun = ceremonies().begin_registration(&owner(ALICE), &[existing]).unwrap();
    let asked = &begun.options["publicKey"];
    assert_eq!(asked["user"]["id"], ALICE, "a key knows its user by the principal's id");
    assert_eq!(asked["rp"], json!({"id": "example.com", "name": "Example"}));
    assert_eq!(asked["attestation"], "none");
    assert_eq!(asked["timeout"], 300_000);
    assert_eq!(asked["excludeCredentials"][0]["id"], encode(b"key of alice"));
    assert_eq!(asked["authenticatorSelection"]["residentKey"], "preferred");
    assert_eq!(asked["authenticatorSelection"]["userVerification"], "preferred");
    let strict = strict().begin_registration(&owner(ALICE), &[]).unwrap().options;
    let selection = &strict["publicKey"]["authenticatorSelection"];
    assert_eq!(selection["userVerification"], "required");
    for bad in ["", "AAAA", "not base64url!", "AAAAAAAAAAAAAAAAAAAAAAAA"] {
        let begun = ceremonies().begin_registration(&owner(bad), &[]);
        assert_eq!(begun.map(drop), Err(WebauthnError::State), "{bad:?}");
    }
}

#[test]
fn h02_an_answer_of_the_other_ceremony_binds_nothing() {
    let other = |draft: &mut Draft| draft.client_data["type"] = "webauthn.get".into();
    assert_eq!(refused(other), WebauthnError::Type);
    let none = |draft: &mut Draft| draft.client_data["type"] = Value::Null;
    assert_eq!(refused(none), WebauthnError::Malformed);
}

#[test]
fn h03_a_page_elsewhere_binds_nothing() {
    for origin in authentication::OTHER_ORIGINS {
        let lie = |draft: &mut Draft| draft.client_data["origin"] = (*origin).into();
        assert_eq!(refused(lie), WebauthnError::Origin, "{origin}");
    }
}

#[test]
fn h04_a_page_in_the_frame_of_another_binds_nothing() {
    let lie = |draft: &mut Draft| draft.client_data["crossOrigin"] = true.into();
    assert_eq!(refused(lie), WebauthnError::CrossOrigin);
    let lie = |draft: &mut Draft| draft.client_data["topOrigin"] = ORIGIN.into();
    assert_eq!(refused(lie), WebauthnError::CrossOrigin);
}

#[test]
fn h05_a_key_asked_for_another_domain_is_not_bound() {
    for domain in ["console.example.com", "example.org", "com", "EXAMPLE.COM", ""] {
        let lie = |draft: &mut Draft| draft.rp_id = domain.into();
        assert_eq!(refused(lie), WebauthnError::RelyingParty, "{domain}");
    }
}

#[test]
fn h06_h07_somebody_has_to_be_there_and_to_be_verified_where_that_is_demanded() {
    assert_eq!(refused(|draft| draft.flags &= !UP), WebauthnError::UserPresence);
    let bind = |ceremonies: &Ceremonies| {
        let mut key = SoftKey::new(b"id");
        key.flags = 0;
        let begun = ceremonies.begin_registration(&owner(ALICE), &[]).unwrap();
        let draft = key.create(&begun.options, ORIGIN);
        let answer = octets(&key.created(&draft));
        ceremonies.finish_registration(ALICE, &begun.state, &answer).map(drop)
    };
    assert_eq!(bind(&ceremonies()), Ok(()));
    assert_eq!(bind(&strict()), Err(WebauthnError::UserVerification));
}

#[test]
fn h08_copies_of_what_cannot_be_copied_are_a_contradiction() {
    assert_eq!(refused(|draft| draft.flags |= BS), WebauthnError::BackupFlags);
}

#[test]
fn h09_only_algorithms_that_were_offered() {
    let offered = ceremonies().begin_registration(&owner(ALICE), &[]).unwrap().options;
    let offered = offered["publicKey"]["pubKeyCredParams"].as_array().unwrap().clone();
    let offered: Vec<_> = offered.iter().map(|one| one["alg"].as_i64().unwrap()).collect();
    assert_eq!(offered, [-7, -35, -257], "none of them with SHA-1");
    for algorithm in [-65535, -8, -36, -37, -257, -999, 0, 7] {
        let mut key = SoftKey::new(b"id");
        let public_key = key.cose(algorithm);
        let bound = bind_changed(&mut key, |draft| draft.public_key = public_key, |_| {});
        assert_eq!(bound.map(drop), Err(WebauthnError::Algorithm), "{algorithm}");
    }
    // A point that is not on its curve.
    let bad = |draft: &mut Draft| *draft.public_key.last_mut().unwrap() ^= 1;
    assert_eq!(refused(bad), WebauthnError::Malformed);
}

#[test]
fn h10_an_attestation_is_none_or_true_and_the_keys_own() {
    let own = |draft: &mut Draft| (draft.format, draft.statement) = ("packed", None);
    bind_changed(&mut SoftKey::new(b"id"), own, |_| {}).unwrap();

    let statement = |pairs: &[(Vec<u8>, Vec<u8>)]| Some(map(pairs));
    let signature = |octets: &[u8]| (text("sig"), bytes(octets));
    let algorithm = (text("alg"), integer(-7));
    let stranger = SoftKey::new(b"").sign(b"something else");
    let chain = list(&[bytes(&[0x30, 0x03, 0x02, 0x01, 0x01])]);
    for (format, bad) in [
        ("packed", statement(&[algorithm.clone(), signature(&stranger)])),
        ("packed", statement(&[algorithm.clone(), signature(&[])])),
        ("packed", statement(&[(text("alg"), integer(-257)), signature(&stranger)])),
        ("packed", statement(&[])),
        ("packed", statement(&[algorithm.clone(), signature(&stranger), (text("x5c"), chain)])),
        ("packed", statement(&[algorithm, signature(&stranger), (text("x5c"), list(&[]))])),
        ("none", statement(&[signature(&stranger)])),
        ("fido-u2f", statement(&[signature(&stranger)])),
        ("android-safetynet", statement(&[])),
        ("tpm", statement(&[])),
        ("nonesuch", statement(&[])),
    ] {
        let error = refused(|draft| (draft.format, draft.statement) = (format, bad.clone()));
        let told = matches!(error, WebauthnError::Attestation | WebauthnError::Malformed);
        assert!(told, "{format} {bad:x?}: {error}");
    }
}

#[test]
fn h11_ids_have_a_bound_and_are_bound_once() {
    let bind = |length| {
        let id = vec![7; length];
        bind_changed(&mut SoftKey::new(&id), |_| {}, |_| {}).map(drop)
    };
    assert_eq!((bind(1), bind(1023)), (Ok(()), Ok(())));
    assert_eq!((bind(0), bind(1024)), (Err(WebauthnError::Malformed), bind(0)));
    assert_eq!(bind(65_000), Err(WebauthnError::TooLarge));

    let (mut key, existing) = bound();
    let ceremonies = ceremonies();
    let begun = ceremonies.begin_registration(&owner(ALICE), &[existing]).unwrap();
    let draft = key.create(&begun.options, ORIGIN);
    let again = ceremonies.finish_registration(ALICE, &begun.state, &octets(&key.created(&draft)));
    assert_eq!(again.map(drop), Err(WebauthnError::AlreadyBound));

    // The id that is told is the one that the key itself wrote.
    let other = |answer: &mut Value| {
        answer["id"] = encode(b"other").into();
        answer["rawId"] = encode(b"other").into();
    };
    assert_eq!(tampered(other), WebauthnError::Malformed);
    assert_eq!(tampered(|answer| answer["id"] = "other".into()), WebauthnError::Malformed);
}

#[test]
fn h16_extensions_that_nobody_asked_for_are_let_be() {
    let mut key = SoftKey::new(b"id");
    let known = (text("credProtect"), integer(2));
    let extensions = map(&[known, (text("colour"), list(&[integer(1)])), (text("x"), map(&[]))]);
    let more = |answer: &mut Value| {
        let results = json!({ "appid": "perhaps", "credProps": 7, "colour": [{}] });
        answer["clientExtensionResults"] = results;
        answer["unheardOf"] = json!({ "a": [1] });
    };
    bind_changed(&mut key, |draft| draft.extensions = extensions, more).unwrap();
    let lie = |draft: &mut Draft| draft.client_data["laterField"] = json!([1, { "a": null }]);
    bind_changed(&mut key, lie, |_| {}).unwrap();
}

#[test]
fn h19_messages_have_one_reading_and_an_end() {
    assert_eq!(refused(|draft| draft.tail = vec![0]), WebauthnError::Malformed);
    // A key twice in the public key, and in the extensions.
    let twice = |draft: &mut Draft| {
        draft.extensions = [vec![0xa2], [text("a"), integer(1)].concat().repeat(2)].concat()
    };
    assert_eq!(refused(twice), WebauthnError::Malformed);
    let twice = |draft: &mut Draft| {
        draft.public_key[0] += 1;
        draft.public_key.extend([0x03, 0x26]);
    };
    assert_eq!(refused(twice), WebauthnError::Malformed);
    for path in ["clientDataJSON", "attestationObject"] {
        let padded = |answer: &mut Value| {
            let text = answer["response"][path].as_str().unwrap().to_owned();
            answer["response"][path] = (text + "=").into();
        };
        assert_eq!(tampered(padded), WebauthnError::Malformed);
        let longer = |answer: &mut Value| {
            let mut octets = decode(answer["response"][path].as_str().unwrap());
            octets.push(0);
            answer["response"][path] = encode(&octets).into();
        };
        assert_eq!(tampered(longer), WebauthnError::Malformed);
        assert_eq!(
            tampered(|answer| answer["response"][path] = json!("")),
            WebauthnError::Malformed
        );
    }
    assert_eq!(tampered(|answer| answer["type"] = "password".into()), WebauthnError::Malformed);
    let ceremonies = ceremonies();
    let begun = ceremonies.begin_registration(&owner(ALICE), &[]).unwrap();
    let finish = |octets: &[u8]| {
        ceremonies.finish_registration(ALICE, &begun.state, octets).map(drop).unwrap_err()
    };
    assert_eq!(finish(&vec![b'['; RESPONSE_BYTES_MAX + 1]), WebauthnError::TooLarge);
    assert_eq!(finish(&vec![b'['; RESPONSE_BYTES_MAX]), WebauthnError::Malformed);
    assert_eq!(finish(b"{\"id\":\"a\",\"id\":\"b\"}"), WebauthnError::Malformed);
    for empty in ["", "{}", "null", "[]", "\"\""] {
        assert_eq!(finish(empty.as_bytes()), WebauthnError::Malformed, "{empty:?}");
    }
}

#[test]
fn h19_five_thousand_broken_answers_bind_no_key_with_another_id() {
    let ceremonies = ceremonies();
    let begun = ceremonies.begin_registration(&owner(ALICE), &[]).unwrap();
    let mut key = SoftKey::new(b"id");
    let draft = key.create(&begun.options, ORIGIN);
    let answer = key.created(&draft);
    let mut refused = 0;
    authentication::mutated(&answer, &["attestationObject", "clientDataJSON"], |octets| {
        match ceremonies.finish_registration(ALICE, &begun.state, octets) {
            // Nothing signs an answer without attestation: a changed one can be in order.
            Ok(_) => {}
            Err(error) => {
                assert_ne!(error, WebauthnError::State);
                refused += 1;
            }
        }
    });
    assert!(refused > 3000, "{refused}");
}
