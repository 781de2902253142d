//! Keys that are bound and are presented.

use serde_json::json;

use super::soft_key::{BE, BS, Draft, UP, UV, decode, encode, integer, list, map, text};
use super::*;

/// Alike to look at, and not ours.
pub(super) const OTHER_ORIGINS: &[&str] = &[
    "http://console.example.com",
    "https://console.example.com:8443",
    "https://console.example.com:443",
    "https://example.com",
    "https://sub.console.example.com",
    "https://evilconsole.example.com",
    "https://console.example.com.",
    "https://console.example.com/",
    "https://CONSOLE.example.com",
    "https://consol\u{435}.example.com",
    "https://other.example.org",
    "https://user@console.example.com",
    "android:apk-key-hash:AAAA",
    "null",
    "",
];

/// Presents a key as a second factor, changed before it is signed and after.
fn present(
    (key, credential): &mut (SoftKey, Credential),
    lie: impl FnOnce(&mut Draft),
    tamper: impl FnOnce(&mut Value),
) -> Result<Verified, WebauthnError> {
    let ceremonies = ceremonies();
    let known = std::slice::from_ref(&*credential);
    let begun = ceremonies.begin_authentication(ALICE, known).unwrap();
    let mut draft = key.get(&begun.options, ORIGIN);
    lie(&mut draft);
    let mut answer = key.got(&draft);
    tamper(&mut answer);
    ceremonies.finish_authentication(ALICE, &begun.state, &octets(&answer), known)
}

/// Signs in by a passkey alone, as whom the key says.
fn sign_in(
    (key, credential): &mut (SoftKey, Credential),
    lie: impl FnOnce(&mut Draft),
) -> Result<Verified, WebauthnError> {
    let ceremonies = ceremonies();
    let begun = ceremonies.begin_passwordless().unwrap();
    let mut draft = key.get(&begun.options, ORIGIN);
    lie(&mut draft);
    let answer = octets(&key.got(&draft));
    let claimed = ceremonies.claimed(&answer)?;
    assert_eq!(claimed.credential_id, encode(&draft.id));
    ceremonies.finish_passwordless(&claimed.principal_id, &begun.state, &answer, credential)
}

fn refused(lie: impl FnOnce(&mut Draft)) -> WebauthnError {
    present(&mut bound(), lie, |_| {}).unwrap_err()
}

fn tampered(tamper: impl FnOnce(&mut Value)) -> WebauthnError {
    present(&mut bound(), |_| {}, tamper).unwrap_err()
}

#[test]
fn g20_a_key_tells_each_time_whether_it_verified_its_user() {
    let mut verifying = bound();
    let verified = present(&mut verifying, |_| {}, |_| {}).unwrap();
    assert!(verified.user_verified);
    assert_eq!((verified.counter, verified.backed_up), (1, false));
    assert_eq!(verified.credential_id, encode(b"key of alice"));
    assert!(sign_in(&mut verifying, |_| {}).unwrap().user_verified);

    let mut key = SoftKey::new(b"plain");
    key.flags = 0;
    let credential = bind_changed(&mut key, |_| {}, |_| {}).unwrap();
    let plain = present(&mut (key, credential), |_| {}, |_| {}).unwrap();
    assert!(!plain.user_verified, "possession, and no more");
    // One that verified its user when it was bound has to do so for ever.
    assert_eq!(refused(|draft| draft.flags &= !UV), WebauthnError::UserVerification);
}

#[test]
fn h02_an_answer_of_the_other_ceremony_is_refused() {
    let other = |draft: &mut Draft| draft.client_data["type"] = "webauthn.create".into();
    assert_eq!(refused(other), WebauthnError::Type);
}

#[test]
fn h03_a_page_elsewhere_is_refused_and_a_related_one_is_not() {
    for origin in OTHER_ORIGINS {
        let lie = |draft: &mut Draft| draft.client_data["origin"] = (*origin).into();
        assert_eq!(refused(lie), WebauthnError::Origin, "{origin}");
    }
    let related = "https://other.example.org:8443";
    let lie = |draft: &mut Draft| draft.client_data["origin"] = related.into();
    present(&mut bound(), lie, |_| {}).unwrap();
}

#[test]
fn h04_a_page_in_the_frame_of_another_is_refused() {
    let lie = |draft: &mut Draft| draft.client_data["crossOrigin"] = true.into();
    assert_eq!(refused(lie), WebauthnError::CrossOrigin);
    let lie = |draft: &mut Draft| draft.client_data["topOrigin"] = "https://evil.example".into();
    assert_eq!(refused(lie), WebauthnError::CrossOrigin);
    let lie =
        |draft: &mut Draft| drop(draft.client_data.as_object_mut().unwrap().remove("crossOrigin"));
    present(&mut bound(), lie, |_| {}).unwrap();
}

#[test]
fn h05_a_key_asked_for_another_domain_is_refused() {
    for domain in ["console.example.com", "example.org", "badexample.com", ""] {
        let lie = |draft: &mut Draft| draft.rp_id = domain.into();
        assert_eq!(refused(lie), WebauthnError::RelyingParty, "{domain}");
    }
}

#[test]
fn h06_h07_somebody_has_to_be_there_and_a_whole_sign_in_verifies_who() {
    assert_eq!(refused(|draft| draft.flags &= !UP), WebauthnError::UserPresence);
    let mut key = SoftKey::new(b"plain");
    key.flags = 0;
    let credential = bind_changed(&mut key, |_| {}, |_| {}).unwrap();
    let mut plain = (key, credential);
    assert_eq!(sign_in(&mut plain, |_| {}).unwrap_err(), WebauthnError::UserVerification);
    assert_eq!(
        sign_in(&mut bound(), |draft| draft.flags &= !UV).unwrap_err(),
        WebauthnError::UserVerification
    );
    let known = std::slice::from_ref(&plain.1);
    let begun = strict().begin_authentication(ALICE, known).unwrap();
    assert_eq!(begun.options["publicKey"]["userVerification"], "required");
    let draft = plain.0.get(&begun.options, ORIGIN);
    let answer = octets(&plain.0.got(&draft));
    let verified = strict().finish_authentication(ALICE, &begun.state, &answer, known);
    assert_eq!(verified.unwrap_err(), WebauthnError::UserVerification);
}

#[test]
fn h08_what_a_key_says_about_copies_stays_consistent() {
    for flags in [BE, BS, BE | BS] {
        assert_eq!(refused(|draft| draft.flags |= flags), WebauthnError::BackupFlags);
    }
    let mut key = SoftKey::new(b"synced");
    key.flags = UV | BE;
    let credential = bind_changed(&mut key, |_| {}, |_| {}).unwrap();
    let mut synced = (key, credential);
    let copied = present(&mut synced, |draft| draft.flags |= BS, |_| {}).unwrap();
    assert!(copied.backed_up && copied.credential.backed_up());
    let lie = |draft: &mut Draft| draft.flags &= !BE;
    assert_eq!(present(&mut synced, lie, |_| {}).unwrap_err(), WebauthnError::BackupFlags);
}

#[test]
fn h12_the_key_is_one_of_those_asked_for_and_says_whose_it_is() {
    let (mut key, credential) = bound();
    let mut other = SoftKey::new(b"key of bob");
    let others = bind_changed(&mut other, |_| {}, |_| {}).unwrap();
    let ceremonies = ceremonies();
    let known = [credential.clone()];
    let begun = ceremonies.begin_authentication(ALICE, &known).unwrap();
    let finish = |answer: &Value, known: &[Credential]| {
        ceremonies.finish_authentication(ALICE, &begun.state, &octets(answer), known).map(drop)
    };
    let unknown = Err(WebauthnError::UnknownCredential);
    let draft = other.get(&begun.options, ORIGIN);
    assert_eq!(finish(&other.got(&draft), &known), unknown, "another's key");
    let both = [credential.clone(), others];
    assert_eq!(finish(&other.got(&draft), &both), unknown, "one that was not asked for");
    let draft = key.get(&begun.options, ORIGIN);
    assert_eq!(finish(&key.got(&draft), &[]), unknown, "one that was taken away since");
    let swapped = Draft { id: other.id.clone(), ..draft.clone() };
    assert_eq!(finish(&key.got(&swapped), &both), unknown);
    for user in [other.id.clone(), vec![1; 16]] {
        let bad = Draft { user: Some(user), ..draft.clone() };
        assert_eq!(finish(&key.got(&bad), &known), Err(WebauthnError::NotTheOwner));
    }
    let silent = Draft { user: None, ..draft };
    assert_eq!(finish(&key.got(&silent), &known), Ok(()), "a plain key does not know");

    let not_the_owner = WebauthnError::NotTheOwner;
    let mut pair = bound();
    for user in [None, Some(vec![]), Some(vec![0; 15]), Some(vec![0; 17])] {
        let lie = |draft: &mut Draft| draft.user = user.clone();
        assert_eq!(sign_in(&mut pair, lie).unwrap_err(), not_the_owner, "{user:?}");
    }
    // It says that it is Bob's: the caller finds nothing of Bob's with that id. A caller that
    // looked the key up by its id alone is refused here.
    let begun = ceremonies.begin_passwordless().unwrap();
    let draft = Draft { user: Some(vec![1; 16]), ..pair.0.get(&begun.options, ORIGIN) };
    let answer = octets(&pair.0.got(&draft));
    assert_eq!(ceremonies.claimed(&answer).unwrap().principal_id, BOB);
    let verified = ceremonies.finish_passwordless(ALICE, &begun.state, &answer, &pair.1);
    assert_eq!(verified.unwrap_err(), not_the_owner);
}

#[test]
fn h13_every_octet_is_signed() {
    for part in ["signature", "authenticatorData", "clientDataJSON"] {
        let (mut key, credential) = bound();
        let ceremonies = ceremonies();
        let known = [credential];
        let begun = ceremonies.begin_authentication(ALICE, &known).unwrap();
        let draft = key.get(&begun.options, ORIGIN);
        let answer = key.got(&draft);
        let honest = decode(answer["response"][part].as_str().unwrap());
        for at in 0..honest.len() {
            let mut octets_of_part = honest.clone();
            octets_of_part[at] ^= 0x01;
            let mut answer = answer.clone();
            answer["response"][part] = encode(&octets_of_part).into();
            let finished =
                ceremonies.finish_authentication(ALICE, &begun.state, &octets(&answer), &known);
            assert!(finished.is_err(), "octet {at} of {part}");
        }
        ceremonies.finish_authentication(ALICE, &begun.state, &octets(&answer), &known).unwrap();
    }
    let stranger = SoftKey::new(b"");
    let swap = |answer: &mut Value| {
        answer["response"]["signature"] = encode(&stranger.sign(b"anything")).into();
    };
    assert_eq!(tampered(swap), WebauthnError::Signature);
}

#[test]
fn h14_a_counter_that_does_not_grow_refuses_also_in_parallel() {
    let mut pair = bound();
    pair.1 = present(&mut pair, |draft| draft.counter = 10, |_| {}).unwrap().credential;
    assert_eq!(pair.1.counter(), 10);
    for stale in [9, 10, 0] {
        let lie = |draft: &mut Draft| draft.counter = stale;
        assert_eq!(present(&mut pair, lie, |_| {}).unwrap_err(), WebauthnError::Counter);
    }
    // Two answers under way; the later one arrives first.
    let ceremonies = ceremonies();
    let known = [pair.1.clone()];
    let asked = [0, 1].map(|_| ceremonies.begin_authentication(ALICE, &known).unwrap());
    let answers = [(0, 11), (1, 12)].map(|(at, counter): (usize, u32)| {
        let draft = Draft { counter, ..pair.0.get(&asked[at].options, ORIGIN) };
        octets(&pair.0.got(&draft))
    });
    let finish = |at: usize, known: &[Credential]| {
        ceremonies.finish_authentication(ALICE, &asked[at].state, &answers[at], known)
    };
    let later = finish(1, &known).unwrap().credential;
    assert_eq!(finish(0, &[later]).unwrap_err(), WebauthnError::Counter);

    // A key that does not count says zero always, as synchronised ones do.
    let mut still = bound();
    for _ in 0..2 {
        still.1 = present(&mut still, |draft| draft.counter = 0, |_| {}).unwrap().credential;
    }
}

#[test]
fn h15_what_is_kept_changes_only_when_every_check_has_passed() {
    let mut pair = bound();
    let before = serde_json::to_string(&pair.1).unwrap();
    let lies: [fn(&mut Draft); 3] = [
        |draft| draft.flags &= !UV,
        |draft| draft.user = Some(vec![9; 16]),
        |draft| draft.client_data["origin"] = "https://evil.example".into(),
    ];
    for lie in lies {
        present(&mut pair, lie, |_| {}).unwrap_err();
        assert_eq!(serde_json::to_string(&pair.1).unwrap(), before);
    }
    let after = present(&mut pair, |_| {}, |_| {}).unwrap().credential;
    assert_eq!(
        (pair.1.counter(), after.counter()),
        (0, 4),
        "the refused uses were counted by the key"
    );
}

#[test]
fn h16_extensions_that_nobody_asked_for_are_let_be() {
    let extensions = map(&[(text("colour"), list(&[integer(1)])), (text("uvm"), map(&[]))]);
    let more = |answer: &mut Value| {
        answer["clientExtensionResults"] = json!({ "appid": "perhaps", "colour": { "a": [1] } });
    };
    present(&mut bound(), |draft| draft.extensions = extensions, more).unwrap();
    // That a key was asked under an older name of the site is nothing that we ever ask for.
    let legacy = |draft: &mut Draft| draft.rp_id = "https://example.com/app-id.json".into();
    let claim = |answer: &mut Value| answer["clientExtensionResults"] = json!({ "appid": true });
    let refused = present(&mut bound(), legacy, claim).unwrap_err();
    assert_eq!(refused, WebauthnError::RelyingParty);
}

#[test]
fn h19_an_answer_has_one_reading_and_an_end() {
    assert_eq!(refused(|draft| draft.tail = vec![0]), WebauthnError::Malformed);
    assert_eq!(refused(|draft| draft.flags |= 0x40), WebauthnError::Malformed);
    assert_eq!(refused(|draft| draft.flags |= 0x80), WebauthnError::Malformed);
    assert_eq!(tampered(|answer| answer["type"] = json!(null)), WebauthnError::Malformed);
    assert_eq!(tampered(|answer| answer["rawId"] = json!("")), WebauthnError::Malformed);
    let large = |answer: &mut Value| answer["more"] = "a".repeat(RESPONSE_BYTES_MAX).into();
    assert_eq!(tampered(large), WebauthnError::TooLarge);
}

#[test]
fn h19_five_thousand_broken_answers_are_refused() {
    let (mut key, credential) = bound();
    let ceremonies = ceremonies();
    let known = [credential];
    let begun = ceremonies.begin_authentication(ALICE, &known).unwrap();
    let draft = key.get(&begun.options, ORIGIN);
    let answer = key.got(&draft);
    let parts = ["authenticatorData", "clientDataJSON", "signature"];
    let mut refused = 0;
    mutated(&answer, &parts, |octets| {
        match ceremonies.finish_authentication(ALICE, &begun.state, octets, &known) {
            Ok(verified) => {
                // Changed in nothing that counts.
                let read = String::from_utf8_lossy(octets);
                for part in parts {
                    assert!(read.contains(answer["response"][part].as_str().unwrap()), "{read}");
                }
                assert_eq!(verified.credential_id, known[0].id());
            }
            Err(error) => {
                assert_ne!(error, WebauthnError::State);
                refused += 1;
            }
        }
    });
    assert!(refused > 3500, "{refused}");
}

/// Gives 5000 broken forms of an answer: of its JSON, and of what is encoded in these parts.
pub(super) fn mutated(answer: &Value, parts: &[&str], mut check: impl FnMut(&[u8])) {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below as u64).unwrap()
    };
    let mut break_one = |octets: &mut Vec<u8>| {
        for _ in 0..=random(3) {
            let at = random(octets.len().max(1));
            match random(4) {
                0 if at < octets.len() => octets[at] = u8::try_from(random(256)).unwrap(),
                1 if at < octets.len() => drop(octets.remove(at)),
                2 => octets.insert(at, u8::try_from(random(256)).unwrap()),
                _ => octets.truncate(octets.len() - octets.len().min(random(8))),
            }
        }
    };
    for turn in 0..5000 {
        let mut changed = answer.clone();
        let part = parts.get(turn % (parts.len() + 1));
        if let Some(part) = part {
            let mut octets = decode(answer["response"][part].as_str().unwrap());
            break_one(&mut octets);
            changed["response"][part] = encode(&octets).into();
        }
        let mut octets = octets(&changed);
        if part.is_none() {
            break_one(&mut octets);
        }
        check(&octets);
    }
}
