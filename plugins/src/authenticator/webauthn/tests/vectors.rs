//! The specification's own test vectors (WebAuthn Level 3, §16), which use no code of ours.

use super::*;

/// §16.2, "ES256 Credential with No Attestation": what was asked and answered, in hexadecimal.
mod none_es256 {
    pub(super) const CREATE_CHALLENGE: &str =
        "00c30fb78531c464d2b6771dab8d7b603c01162f2fa486bea70f283ae556e130";
    pub(super) const CREATE_CLIENT_DATA: &str = "7b2274797065223a22776562617574686e2e637265617465222c226368616c6c656e6765223a22414d4d507434557878475453746e63647134313759447742466938767049612d7077386f4f755657345441222c226f726967696e223a2268747470733a2f2f6578616d706c652e6f7267222c2263726f73734f726967696e223a66616c73652c22657874726144617461223a22636c69656e74446174614a534f4e206d617920626520657874656e6465642077697468206164646974696f6e616c206669656c647320696e20746865206675747572652c207375636820617320746869733a20426b5165446a646354427258426941774a544c453551227d";
    pub(super) const ATTESTATION: &str = "a363666d74646e6f6e656761747453746d74a068617574684461746158a4bfabc37432958b063360d3ad6461c9c4735ae7f8edd46592a5e0f01452b2e4b559000000008446ccb9ab1db374750b2367ff6f3a1f0020f91f391db4c9b2fde0ea70189cba3fb63f579ba6122b33ad94ff3ec330084be4a5010203262001215820afefa16f97ca9b2d23eb86ccb64098d20db90856062eb249c33a9b672f26df61225820930a56b87a2fca66334b03458abf879717c12cc68ed73290af2e2664796b9220";
    pub(super) const ID: &str = "f91f391db4c9b2fde0ea70189cba3fb63f579ba6122b33ad94ff3ec330084be4";
    pub(super) const GET_CHALLENGE: &str =
        "39c0e7521417ba54d43e8dc95174f423dee9bf3cd804ff6d65c857c9abf4d408";
    pub(super) const GET_CLIENT_DATA: &str = "7b2274797065223a22776562617574686e2e676574222c226368616c6c656e6765223a224f63446e55685158756c5455506f334a5558543049393770767a7a59425039745a63685879617630314167222c226f726967696e223a2268747470733a2f2f6578616d706c652e6f7267222c2263726f73734f726967696e223a66616c73657d";
    pub(super) const DATA: &str =
        "bfabc37432958b063360d3ad6461c9c4735ae7f8edd46592a5e0f01452b2e4b51900000000";
    pub(super) const SIGNATURE: &str = "3046022100f50a4e2e4409249c4a853ba361282f09841df4dd4547a13a87780218deffcd380221008480ac0f0b93538174f575bf11a1dd5d78c6e486013f937295ea13653e331e87";
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn base64url(hex: &str) -> String {
    soft_key::encode(&from_hex(hex))
}

/// A state as if this challenge had been set.
fn with_challenge(begun: &Begun, hex: &str) -> String {
    let set = begun.options["publicKey"]["challenge"].as_str().unwrap();
    begun.state.replace(set, &base64url(hex))
}

#[test]
fn h20_the_vectors_of_the_specification_verify() {
    use none_es256::*;
    let example = WebAuthn {
        rp_id: "example.org".into(),
        origins: vec!["https://example.org".into()],
        ..config()
    };
    let ceremonies = Ceremonies::new(&example).unwrap();
    let begun = ceremonies.begin_registration(&owner(ALICE), &[]).unwrap();
    let answer = serde_json::json!({
        "id": base64url(ID), "rawId": base64url(ID), "type": "public-key",
        "response": {
            "clientDataJSON": base64url(CREATE_CLIENT_DATA),
            "attestationObject": base64url(ATTESTATION),
        },
    });
    let state = with_challenge(&begun, CREATE_CHALLENGE);
    let bound = ceremonies.finish_registration(ALICE, &state, &octets(&answer)).unwrap();
    assert!(bound.backup_eligible() && bound.backed_up());

    let known = [bound];
    let begun = ceremonies.begin_authentication(ALICE, &known).unwrap();
    let answer = serde_json::json!({
        "id": base64url(ID), "rawId": base64url(ID), "type": "public-key",
        "response": {
            "clientDataJSON": base64url(GET_CLIENT_DATA),
            "authenticatorData": base64url(DATA),
            "signature": base64url(SIGNATURE),
        },
    });
    let state = with_challenge(&begun, GET_CHALLENGE);
    let verified =
        ceremonies.finish_authentication(ALICE, &state, &octets(&answer), &known).unwrap();
    assert_eq!((verified.user_verified, verified.counter), (false, 0));
}
