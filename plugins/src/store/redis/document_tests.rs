//! What is in Redis as the first version wrote it, with members that only a newer one knows: each
//! version reads both. Whoever adds a member gives it a default, and leaves these texts as they are.

use serde_json::{Value, json};

use super::tests::open;
use super::tests::server::RedisServer;
use super::*;
use crate::lockout::{Guess, Tally, TallyKey};
use crate::session::token::public_id;
use crate::session::{Evidence, Method};
use crate::store::{
    ChallengeStore, CodeStore, GuessStore, HoldStore, SessionStore, SharedSessionStore,
};

const AT: Timestamp = Timestamp(1_800_000_000_000);

struct Written(RedisServer);

impl Written {
    fn set(&self, key: &str, document: &Value) {
        assert_eq!(self.0.ask(&["set", &format!("{{test}}:{key}"), &document.to_string()]), "OK");
    }

    fn hash(&self, key: &str, pairs: &[&str]) {
        self.0.ask(&[&["hset", &format!("{{test}}:{key}")], pairs].concat());
    }
}

#[tokio::test]
async fn o15_documents_of_older_and_newer_versions_are_read() {
    let written = Written(RedisServer::start());
    let store = open(&written.0);
    written.set(
        "challenge:c",
        &json!({"id": "c", "purpose": "p", "bound_to": "b", "principal_id": "alice", "state": "AQI",
            "version": 3, "tries": 1, "created": AT.0, "expires": AT.0 + 9, "newer": {}}),
    );
    let challenge = store.challenge("c").await.unwrap().unwrap();
    assert_eq!((challenge.state, challenge.version, challenge.tries), (vec![1, 2], 3, 1));
    assert!(store.count_try("c", 2, AT).await.unwrap());
    assert!(!store.count_try("c", 2, AT).await.unwrap());

    let hash = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
    written.set(
        "code:b",
        &json!({"hash": hash, "destination": "to", "tries": 0, "expires": AT.0 + 9, "newer": 1}),
    );
    let code = store.try_code("b", AT, 5).await.unwrap().unwrap();
    assert_eq!((code.hash, &*code.destination), ([7; 32], "to"));

    written.set(
        "guess:alice",
        &json!({"known": true, "newer": [1],
            "tallies": [{"kind": "totp", "device": "", "newer": "x",
                "tally": {"first": AT.0, "in_window": 3, "in_row": 4, "newer": 9}}],
            "devices": [{"id": "d", "active": AT.0, "expires": AT.0 + 9, "trusted": AT.0 + 5,
                "name": "curl", "newer": null}]}),
    );
    let key = TallyKey { subject: "alice".into(), known: true, kind: Guess::Totp, device: None };
    let tally = Tally { first: AT, in_window: 3, in_row: 4 };
    assert_eq!(store.tally(&key).await.unwrap(), tally);
    assert_eq!(store.trusted_devices("alice", AT).await.unwrap()[0].name, "curl");

    let held = ["principal", "alice", "sealed", "x", "expires", "9", "person", "p", "bytes", "1"];
    written.hash("held:h", &[&held[..], &["newer", "1"]].concat());
    let held = store.held("h").await.unwrap().unwrap();
    assert_eq!((&*held.principal_id, held.sealed, held.expires.0), ("alice", b"x".to_vec(), 9));
}

#[tokio::test]
async fn o15_a_session_of_a_newer_version_has_what_this_one_knows() {
    let written = Written(RedisServer::start());
    let store = open(&written.0);
    let before = store.position().await.unwrap();
    let id = public_id(&[b'h'; 32]);
    let session = json!({"id": &*id, "principal": "alice", "scope": "host", "device": "curl",
        "address": "192.0.2.1", "created": AT.0, "active": AT.0, "newer": {"a": [1]},
        "evidence": [{"method": "password", "at": AT.0, "newer": 1},
            {"method": "telepathy", "at": AT.0}, {"method": "totp", "at": AT.0 + 1}]});
    let session = format!("{}{session}", "h".repeat(32));
    let active = AT.0.to_string();
    written.hash("sessions", &[&id, &session]);
    written.hash("session-tokens", &[&"h".repeat(32), &id]);
    written.0.ask(&["zadd", "{test}:session-active", &active, &id]);
    written.0.ask(&["xadd", "{test}:changes", "1-0", "begun", &session]);
    written.0.ask(&["set", "{test}:change", "1"]);
    let known = [
        Evidence { method: Method::Password, at: AT },
        Evidence { method: Method::Totp, at: Timestamp(AT.0 + 1) },
    ];
    let found = store.look_up(&[b'h'; 32]).await.unwrap().unwrap();
    assert_eq!((&*found.principal_id, &*found.evidence), ("alice", &known[..]));
    let mut all = Vec::new();
    store.each(&mut |session| all.push(session)).await.unwrap();
    assert_eq!(all, [found], "one that is not known whole keeps nobody from the others");
    let told = store.changes(&before).await.unwrap().expect("it follows");
    assert_eq!((told.changes.len(), told.whole), (1, true));
}

/// What is sealed is the vault's for as long as it is under way.
#[test]
fn o15_what_is_sealed_is_read_whatever_a_newer_version_adds() {
    fn is_read<T: DeserializeOwned>(mut stored: Value) {
        stored["newer"] = json!({"a": 1});
        let read = serde_json::from_value::<T>(stored.clone());
        assert!(read.is_ok(), "{stored}: {:?}", read.err());
    }
    let at = AT.0;
    let evidence = json!([{"method": "password", "at": at}]);
    is_read::<crate::sign_in::PendingSignIn>(json!({"evidence": evidence, "mark": "m"}));
    is_read::<crate::step_up::Demanded>(json!({"method": "POST", "host": "h", "target": "/",
        "label": null, "fields": [["a", "b"]], "factors": ["totp"], "max_age": 300, "digest": null,
        "held": null, "return_to": "/"}));
    is_read::<crate::authenticator::binding::BindTotp>(
        json!({"seed": {"seed": "AQI=", "algorithm": "SHA1", "digits": 6}}),
    );
    is_read::<crate::authenticator::totp::Seed>(
        json!({"seed": "AQI=", "algorithm": "SHA256", "digits": 8, "drift": -2}),
    );
    is_read::<crate::hold::HeldRequest>(json!({"method": "POST", "host": "h", "target": "/",
        "fields": [["a", [98]]], "body": ""}));
    is_read::<crate::address_change::Changing>(
        json!({"kind": "phone", "old": null, "wanted": "+49", "old_proved": false}),
    );
    is_read::<crate::recovery::Recovering>(json!({"mark": "m", "by": "email", "second": false}));
    is_read::<crate::notify::Body>(
        json!({"to": "a@b", "language": "en", "subject": "s", "text": "t"}),
    );
}
