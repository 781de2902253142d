//! A passkey of another maker: an authenticator and a client that share no code with ours.

use ::passkey::authenticator::{
    Authenticator, MemoryStore, UiHint, UserCheck, UserValidationMethod,
};
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

#[tokio::test]
async fn a_passkey_of_another_maker_is_bound_and_signs_in() {
    let store = MemoryStore::new();
    let authenticator = Authenticator::new(Aaguid::new_empty(), store, Willing, AvailableBackend);
    let mut client = Client::new(authenticator);
    let origin = Url::parse(ORIGIN).unwrap();
    let ceremonies = ceremonies();

    let begun = ceremonies.begin_registration(&owner(ALICE), &[]).unwrap();
    let options = serde_json::from_value(begun.options).unwrap();
    let answer = client.register(&origin, options, DefaultClientData).await.unwrap();
    let answer = serde_json::to_vec(&answer).unwrap();
    eprintln!("{}", String::from_utf8_lossy(&answer));
    let bound = ceremonies.finish_registration(ALICE, &begun.state, &answer).unwrap();

    let known = [bound];
    let begun = ceremonies.begin_authentication(ALICE, &known).unwrap();
    let options = serde_json::from_value(begun.options).unwrap();
    let answer = client.authenticate(&origin, options, DefaultClientData).await.unwrap();
    let answer = serde_json::to_vec(&answer).unwrap();
    let verified = ceremonies.finish_authentication(ALICE, &begun.state, &answer, &known).unwrap();
    assert!(verified.user_verified);

    let begun = ceremonies.begin_passwordless().unwrap();
    let options = serde_json::from_value(begun.options).unwrap();
    let answer = client.authenticate(&origin, options, DefaultClientData).await.unwrap();
    let answer = serde_json::to_vec(&answer).unwrap();
    let claimed = ceremonies.claimed(&answer).unwrap();
    assert_eq!((claimed.principal_id.as_str(), claimed.credential_id), (ALICE, known[0].id()));
    let finished = ceremonies.finish_passwordless(ALICE, &begun.state, &answer, &known[0]);
    assert!(finished.unwrap().user_verified);
}
