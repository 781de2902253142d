//! What browsers answer when a key was presented: nothing of it makes the gate fall over, and no
//! key proves anything by what it has not signed.

use std::sync::LazyLock;
use std::time::Duration;

use doorward_config::WebAuthn;
use doorward_plugins::authenticator::webauthn::{Begun, Ceremonies, Credential, Owner};

/// A principal.
const ALICE: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// Challenges of the specification's vectors (WebAuthn Level 3, §16.2), for which the corpus has the
/// right answers.
const CREATE: &str = "AMMPt4UxxGTStncdq417YDwBFi8vpIa-pw8oOuVW4TA";
const GET: &str = "OcDnUhQXulTUPo3JUXT0I97pvzzYBP9tZchXyav01Ag";
const REGISTRATION: &[u8] = include_bytes!("../corpus/webauthn/registration");
const AUTHENTICATION: &[u8] = include_bytes!("../corpus/webauthn/authentication");

struct Rig {
    ceremonies: Ceremonies,
    registration: String,
    authentication: String,
    known: [Credential; 1],
}

static RIG: LazyLock<Rig> = LazyLock::new(|| {
    let config = WebAuthn {
        rp_id: "example.org".into(),
        rp_name: "Example".into(),
        origins: vec!["https://example.org".into()],
        user_verification_required: false,
        passwordless: true,
        timeout: Duration::from_secs(300),
    };
    let ceremonies = Ceremonies::new(&config).unwrap();
    let owner = Owner { id: ALICE, name: "alice", display_name: "Alice" };
    let begun = ceremonies.begin_registration(&owner, &[]).unwrap();
    let registration = with_challenge(&begun, CREATE);
    let bound = ceremonies.finish_registration(ALICE, &registration, REGISTRATION).unwrap();
    let known = [bound];
    let begun = ceremonies.begin_authentication(ALICE, &known).unwrap();
    let authentication = with_challenge(&begun, GET);
    ceremonies.finish_authentication(ALICE, &authentication, AUTHENTICATION, &known).unwrap();
    Rig { ceremonies, registration, authentication, known }
});

/// A state as if this challenge had been set.
fn with_challenge(begun: &Begun, challenge: &str) -> String {
    let set = begun.options["publicKey"]["challenge"].as_str().unwrap();
    begun.state.replace(set, challenge)
}

/// Takes the octets for an answer to each ceremony.
pub fn check(octets: &[u8]) {
    let Rig { ceremonies, registration, authentication, known } = &*RIG;
    if let Ok(bound) = ceremonies.finish_registration(ALICE, registration, octets) {
        let stored = serde_json::to_string(&bound).unwrap();
        let read: Credential = serde_json::from_str(&stored).unwrap();
        assert_eq!(read.id(), bound.id());
        assert!(!bound.id().is_empty() && bound.id().len() <= 1364, "{}", bound.id());
        assert!(bound.backup_eligible() || !bound.backed_up());
    }
    if let Ok(verified) = ceremonies.finish_authentication(ALICE, authentication, octets, known) {
        // Only the vector's own signature is there: what was signed is what it signed.
        let text = String::from_utf8_lossy(octets);
        let honest: serde_json::Value = serde_json::from_slice(AUTHENTICATION).unwrap();
        for part in ["authenticatorData", "clientDataJSON"] {
            assert!(text.contains(honest["response"][part].as_str().unwrap()), "{text}");
        }
        assert_eq!((verified.user_verified, verified.counter), (false, 0));
    }
    if let Ok(claimed) = ceremonies.claimed(octets) {
        assert_eq!(claimed.principal_id.len(), ALICE.len());
        assert_eq!(ceremonies.answered_by(octets), Ok(claimed.credential_id));
    }
}
