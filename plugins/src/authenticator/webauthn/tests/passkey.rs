//! A passkey of another maker: an authenticator and a client that share no code with ours.

use ::passkey::authenticator::{Authenticator, UiHint, UserCheck, UserValidationMethod};
use ::passkey::client::{Client, DefaultClientData};
use ::passkey::crypto::AvailableBackend;
use ::passkey::types::Passkey;
use ::passkey::types::ctap2::{Aaguid, Ctap2Error};

use super::*;

/// Somebody who always agrees, by fingerprint.
struct Willing;

#[async_trait::async_trait]
impl UserValidationMethod for Willing {
    type PasskeyItem = Passkey;

    async fn check_user<'a>(
        &self,
        _: UiHint<'a, Passkey>,
        presence: bool,
        verification: bool,
    ) -> Result<UserCheck, Ctap2Error> {
        Ok(UserCheck { presence, verification })
    }

    fn is_presence_enabled(&self) -> bool {
        true
    }

    fn is_verification_enabled(&self) -> Option<bool> {
        Some(true)
    }
}

/// As a browser sends it: the crate writes octets as lists of numbers.
fn sent(answer: &impl Serialize) -> Vec<u8> {
    fn encoded(value: Value) -> Value {
        match value {
            Value::Array(items) if items.first().is_some_and(Value::is_u64) => {
                let items = items.iter().map(|item| u8::try_from(item.as_u64().unwrap()).unwrap());
                soft_key::encode(&items.collect::<Vec<_>>()).into()
            }
            Value::Object(members) => {
                members.into_iter().map(|(name, value)| (name, encoded(value))).collect()
            }
            other => other,
        }
    }
    octets(&encoded(serde_json::to_value(answer).unwrap()))
}

#[tokio::test]
async fn a_passkey_of_another_maker_is_bound_and_signs_in() {
    let store: Option<Passkey> = None;
    let authenticator = Authenticator::new(Aaguid::new_empty(), store, Willing, AvailableBackend);
    let mut client = Client::new(authenticator);
    let origin = Url::parse(ORIGIN).unwrap();
    let ceremonies = ceremonies();

    let begun = ceremonies.begin_registration(&owner(ALICE), &[]).unwrap();
    let options = serde_json::from_value(begun.options).unwrap();
    let answer = client.register(&origin, options, DefaultClientData).await.unwrap();
    let answer = sent(&answer);
    let bound = ceremonies.finish_registration(ALICE, &begun.state, &answer).unwrap();

    let known = [bound];
    let begun = ceremonies.begin_authentication(ALICE, &known).unwrap();
    let options = serde_json::from_value(begun.options).unwrap();
    let answer = client.authenticate(&origin, options, DefaultClientData).await.unwrap();
    let answer = sent(&answer);
    let verified = ceremonies.finish_authentication(ALICE, &begun.state, &answer, &known).unwrap();
    assert!(verified.user_verified);

    let begun = ceremonies.begin_passwordless().unwrap();
    let options = serde_json::from_value(begun.options).unwrap();
    let answer = client.authenticate(&origin, options, DefaultClientData).await.unwrap();
    let answer = sent(&answer);
    let claimed = ceremonies.claimed(&answer).unwrap();
    assert_eq!((claimed.principal_id.as_str(), claimed.credential_id), (ALICE, known[0].id()));
    let finished = ceremonies.finish_passwordless(ALICE, &begun.state, &answer, &known[0]);
    assert!(finished.unwrap().user_verified);
}
