//! What a browser sends when a key was presented: JSON, with base64url in it.
//!
//! Stricter than the library, which is given only what passed here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use webauthn_rs_core::proto::{
    AuthenticationExtensionsClientOutputs, AuthenticatorAssertionResponseRaw,
    AuthenticatorAttestationResponseRaw, AuthenticatorTransport, PublicKeyCredential,
    RegisterPublicKeyCredential, RegistrationExtensionsClientOutputs,
};

use super::{WebauthnError, cbor};

/// The largest answer that is looked at. One with a key of 2048 bits and all that browsers add has
/// some 3 KiB.
pub const RESPONSE_BYTES_MAX: usize = 16 * 1024;
/// How many ways to reach a key are noted.
const TRANSPORTS_MAX: usize = 8;

#[derive(Deserialize)]
struct Envelope<R> {
    id: String,
    #[serde(rename = "rawId")]
    raw_id: String,
    #[serde(rename = "type")]
    kind: String,
    response: R,
}

#[derive(Deserialize)]
struct Attestation {
    #[serde(rename = "clientDataJSON")]
    client_data: String,
    #[serde(rename = "attestationObject")]
    attestation: String,
    #[serde(default)]
    transports: Vec<String>,
}

#[derive(Deserialize)]
struct Assertion {
    #[serde(rename = "clientDataJSON")]
    client_data: String,
    #[serde(rename = "authenticatorData")]
    data: String,
    signature: String,
    #[serde(rename = "userHandle", default)]
    user_handle: Option<String>,
}

/// What the browser says about the ceremony (WebAuthn §5.8.1).
#[derive(Deserialize)]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    origin: String,
    #[serde(rename = "crossOrigin", default)]
    cross_origin: bool,
    #[serde(rename = "topOrigin", default)]
    top_origin: Option<IgnoredAny>,
}

/// The answer to a request for a new key.
pub(super) struct Registration {
    pub(super) response: RegisterPublicKeyCredential,
    /// How the key can be reached: a hint for browsers.
    pub(super) transports: Vec<AuthenticatorTransport>,
}

impl Registration {
    pub(super) fn read(json: &[u8], origins: &[String]) -> Result<Self, WebauthnError> {
        let Envelope { id, raw_id, kind, response } = read::<Envelope<Attestation>>(json)?;
        let raw_id = verify_id(&id, &raw_id, &kind)?;
        let client_data = verify_client_data(&response.client_data, "webauthn.create", origins)?;
        let object = decode(&response.attestation)?;
        let attestation = cbor::attestation(&object)?;
        if cbor::attested_id(attestation.data)? != raw_id {
            return Err(WebauthnError::Malformed);
        }
        // No attestation is asked for, so there is nothing that certificates could be trusted by:
        // a statement is none, or made with the new key itself (WebAuthn §6.5.4).
        match attestation.format {
            "none" if attestation.statement == [0xa0] => {}
            "packed" => {}
            _ => return Err(WebauthnError::Attestation),
        }
        let transports = response.transports.iter().take(TRANSPORTS_MAX);
        let transports = transports.filter_map(|name| name.parse().ok()).collect();
        let response = RegisterPublicKeyCredential {
            id,
            raw_id,
            response: AuthenticatorAttestationResponseRaw {
                attestation_object: object,
                client_data_json: client_data,
                transports: None,
            },
            type_: kind,
            // None is asked for; what comes unasked is not looked at.
            extensions: RegistrationExtensionsClientOutputs::default(),
        };
        Ok(Self { response, transports })
    }
}

/// The answer to a request for a known key.
pub(super) struct Authentication {
    pub(super) response: PublicKeyCredential,
    /// The id of the key, in base64url.
    pub(super) id: String,
    /// Whose the key says it is: a principal's id.
    pub(super) user: Option<String>,
}

impl Authentication {
    pub(super) fn read(json: &[u8], origins: &[String]) -> Result<Self, WebauthnError> {
        let Envelope { id, raw_id, kind, response } = read::<Envelope<Assertion>>(json)?;
        let raw_id = verify_id(&id, &raw_id, &kind)?;
        let client_data = verify_client_data(&response.client_data, "webauthn.get", origins)?;
        let data = decode(&response.data)?;
        cbor::verify_assertion_data(&data)?;
        let user = response.user_handle.filter(|handle| !handle.is_empty());
        let user_handle = user.as_deref().map(decode).transpose()?;
        let response = PublicKeyCredential {
            id: id.clone(),
            raw_id,
            response: AuthenticatorAssertionResponseRaw {
                authenticator_data: data,
                client_data_json: client_data,
                signature: decode(&response.signature)?,
                user_handle,
            },
            extensions: AuthenticationExtensionsClientOutputs::default(),
            type_: kind,
        };
        Ok(Self { response, id, user })
    }
}

fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, WebauthnError> {
    if json.len() > RESPONSE_BYTES_MAX {
        return Err(WebauthnError::TooLarge);
    }
    serde_json::from_slice(json).map_err(|_| WebauthnError::Malformed)
}

/// Base64url in its one form: no padding, no stray bits.
fn decode(text: &str) -> Result<Vec<u8>, WebauthnError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| WebauthnError::Malformed)
}

fn verify_id(id: &str, raw_id: &str, kind: &str) -> Result<Vec<u8>, WebauthnError> {
    if id != raw_id || id.is_empty() || kind != "public-key" {
        return Err(WebauthnError::Malformed);
    }
    decode(raw_id)
}

/// Was it this kind of ceremony, on a page of ours, in no other site's frame? The challenge is
/// compared by the library.
fn verify_client_data(
    encoded: &str,
    kind: &str,
    origins: &[String],
) -> Result<Vec<u8>, WebauthnError> {
    let octets = decode(encoded)?;
    let data: ClientData = read(&octets)?;
    if data.kind != kind {
        return Err(WebauthnError::Type);
    }
    // Octet by octet: a URL library would forgive a dot at the end, capitals and a path.
    if !origins.contains(&data.origin) {
        return Err(WebauthnError::Origin);
    }
    if data.cross_origin || data.top_origin.is_some() {
        return Err(WebauthnError::CrossOrigin);
    }
    Ok(octets)
}
