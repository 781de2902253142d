//! A security key in software that can lie: every part of an answer can be changed before it is
//! signed and after.

#![allow(unreachable_pub, dead_code, reason = "stories of other crates take it as well")]

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Somebody was there.
pub const UP: u8 = 0x01;
/// It made sure who.
pub const UV: u8 = 0x04;
/// There may be copies.
pub const BE: u8 = 0x08;
/// There are copies.
pub const BS: u8 = 0x10;
const AT: u8 = 0x40;
const ED: u8 = 0x80;

/// A key with one credential.
pub struct SoftKey {
    pair: EcdsaKeyPair,
    /// The credential's id.
    pub id: Vec<u8>,
    /// How often it was used; it counts by itself.
    pub counter: u32,
    /// What it was told to know its user by.
    pub user: Vec<u8>,
    /// What it says besides that somebody was there.
    pub flags: u8,
}

/// An answer before it is signed.
#[derive(Clone)]
pub struct Draft {
    pub client_data: Value,
    pub rp_id: String,
    pub flags: u8,
    pub counter: u32,
    pub id: Vec<u8>,
    pub user: Option<Vec<u8>>,
    /// A CBOR map; empty for none.
    pub extensions: Vec<u8>,
    /// Follows everything else in the authenticator data.
    pub tail: Vec<u8>,
    pub format: &'static str,
    /// A CBOR map; `None`: made with the key itself.
    pub statement: Option<Vec<u8>>,
    /// A COSE key.
    pub public_key: Vec<u8>,
}

impl SoftKey {
    pub fn new(id: &[u8]) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        Self { pair, id: id.to_vec(), counter: 0, user: Vec::new(), flags: UV }
    }

    /// What it would honestly answer to `options` on a page of `origin`.
    pub fn create(&mut self, options: &Value, origin: &str) -> Draft {
        let asked = &options["publicKey"];
        self.user = decode(asked["user"]["id"].as_str().unwrap());
        let rp_id = asked["rp"]["id"].as_str().unwrap();
        self.draft("webauthn.create", asked, rp_id, origin)
    }

    /// What it would honestly answer to `options` on a page of `origin`.
    pub fn get(&mut self, options: &Value, origin: &str) -> Draft {
        let asked = &options["publicKey"];
        self.counter += 1;
        self.draft("webauthn.get", asked, asked["rpId"].as_str().unwrap(), origin)
    }

    fn draft(&self, kind: &str, asked: &Value, rp_id: &str, origin: &str) -> Draft {
        let challenge = asked["challenge"].as_str().unwrap();
        Draft {
            client_data: json!({
                "type": kind, "challenge": challenge, "origin": origin, "crossOrigin": false,
            }),
            rp_id: rp_id.into(),
            flags: UP | self.flags,
            counter: self.counter,
            id: self.id.clone(),
            user: Some(self.user.clone()),
            extensions: Vec::new(),
            tail: Vec::new(),
            format: "none",
            statement: Some(vec![0xa0]),
            public_key: self.cose(-7),
        }
    }

    /// The public key, said to be of this algorithm.
    pub fn cose(&self, algorithm: i32) -> Vec<u8> {
        let point = self.pair.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        let pairs = [
            (integer(1), integer(2)),
            (integer(3), integer(algorithm)),
            (integer(-1), integer(1)),
            (integer(-2), bytes(x)),
            (integer(-3), bytes(y)),
        ];
        map(&pairs)
    }

    pub fn sign(&self, octets: &[u8]) -> Vec<u8> {
        self.pair.sign(&SystemRandom::new(), octets).unwrap().as_ref().to_vec()
    }

    /// The answer to a request for a new key.
    pub fn created(&self, draft: &Draft) -> Value {
        let client_data = draft.client_data.to_string();
        let length = u16::try_from(draft.id.len()).unwrap().to_be_bytes();
        let attested =
            [&[0; 16], length.as_slice(), draft.id.as_slice(), draft.public_key.as_slice()];
        let data = draft.data(AT, &attested.concat());
        let statement = draft.statement.clone().unwrap_or_else(|| {
            let signature = self.sign(&signed(&data, &client_data));
            map(&[(text("alg"), integer(-7)), (text("sig"), bytes(&signature))])
        });
        let object = map(&[
            (text("fmt"), text(draft.format)),
            (text("attStmt"), statement),
            (text("authData"), bytes(&data)),
        ]);
        json!({
            "id": encode(&draft.id), "rawId": encode(&draft.id), "type": "public-key",
            "authenticatorAttachment": "cross-platform", "clientExtensionResults": {},
            "response": {
                "clientDataJSON": encode(client_data.as_bytes()),
                "attestationObject": encode(&object),
                "transports": ["usb", "telepathy"],
            },
        })
    }

    /// The answer to a request for a known key.
    pub fn got(&self, draft: &Draft) -> Value {
        let client_data = draft.client_data.to_string();
        let data = draft.data(0, &[]);
        json!({
            "id": encode(&draft.id), "rawId": encode(&draft.id), "type": "public-key",
            "authenticatorAttachment": "cross-platform", "clientExtensionResults": {},
            "response": {
                "clientDataJSON": encode(client_data.as_bytes()),
                "authenticatorData": encode(&data),
                "signature": encode(&self.sign(&signed(&data, &client_data))),
                "userHandle": draft.user.as_ref().map(|user| encode(user)),
            },
        })
    }
}

impl Draft {
    fn data(&self, flags: u8, attested: &[u8]) -> Vec<u8> {
        let more = if self.extensions.is_empty() { 0 } else { ED };
        let domain = digest(&SHA256, self.rp_id.as_bytes());
        let counter = self.counter.to_be_bytes();
        let flags = [self.flags | flags | more];
        [domain.as_ref(), &flags, &counter, attested, &self.extensions, &self.tail].concat()
    }
}

fn signed(data: &[u8], client_data: &str) -> Vec<u8> {
    [data, digest(&SHA256, client_data.as_bytes()).as_ref()].concat()
}

pub fn encode(octets: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

pub fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

fn head(kind: u8, argument: u32) -> Vec<u8> {
    let kind = kind << 5;
    match argument {
        0..=23 => vec![kind | u8::try_from(argument).unwrap()],
        24..=0xff => vec![kind | 24, u8::try_from(argument).unwrap()],
        0x100..=0xffff => [vec![kind | 25], argument.to_be_bytes()[2..].to_vec()].concat(),
        _ => [vec![kind | 26], argument.to_be_bytes().to_vec()].concat(),
    }
}

pub fn integer(number: i32) -> Vec<u8> {
    match u32::try_from(number) {
        Ok(positive) => head(0, positive),
        Err(_) => head(1, number.unsigned_abs() - 1),
    }
}

pub fn bytes(octets: &[u8]) -> Vec<u8> {
    [head(2, u32::try_from(octets.len()).unwrap()), octets.to_vec()].concat()
}

pub fn text(text: &str) -> Vec<u8> {
    [head(3, u32::try_from(text.len()).unwrap()), text.as_bytes().to_vec()].concat()
}

pub fn list(items: &[Vec<u8>]) -> Vec<u8> {
    [head(4, u32::try_from(items.len()).unwrap()), items.concat()].concat()
}

pub fn map(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let encoded: Vec<_> =
        pairs.iter().flat_map(|(key, value)| [&key[..], value].concat()).collect();
    [head(5, u32::try_from(pairs.len()).unwrap()), encoded].concat()
}
