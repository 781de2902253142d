//! Messages to a service by POST, signed as Standard Webhooks says
//! (<https://www.standardwebhooks.com>): `webhook-signature` is an HMAC-SHA256 over id, time and body.
//!
//! A message may come twice; its `webhook-id` is then the same.

use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use doorward_config::{MessageService, Secret};
use doorward_plugins::notify::{Handover, Parcel, SendError, Sender};
use doorward_plugins::outgoing::{Call, Method, Outgoing, OutgoingError};

use crate::outgoing::HttpsClient;

/// The longest answer that is read; nothing of it is used.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A service that takes messages.
pub(super) struct Webhook {
    rules: MessageService,
    key: hmac::Key,
    client: HttpsClient,
}

impl Webhook {
    pub(super) fn new(rules: &MessageService) -> Self {
        let client = HttpsClient::new(rules.ca_file.clone());
        Self { rules: rules.clone(), key: key(&rules.secret), client }
    }
}

/// The key that a secret stands for: what follows `whsec_` is base64, anything else is itself.
fn key(secret: &Secret) -> hmac::Key {
    let text = secret.expose();
    let decoded = text.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
    let octets = decoded.as_deref().unwrap_or(text.as_bytes());
    hmac::Key::new(hmac::HMAC_SHA256, octets)
}

/// The value of `webhook-signature`.
fn sign(key: &hmac::Key, id: &str, seconds: u64, body: &str) -> String {
    let signed = hmac::sign(key, format!("{id}.{seconds}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(signed))
}

#[async_trait]
impl Sender for Webhook {
    async fn send(&self, parcel: &Parcel<'_>, _: &Handover<'_>) -> Result<(), SendError> {
        let document = serde_json::json!({
            "id": parcel.id,
            "type": parcel.channel.as_str(),
            "kind": parcel.kind,
            "timestamp": parcel.at.rfc3339(),
            "data": parcel.body,
        });
        let (body, seconds) = (document.to_string(), parcel.at.secs());
        let fields = [
            ("webhook-id", parcel.id.to_owned()),
            ("webhook-timestamp", seconds.to_string()),
            ("webhook-signature", sign(&self.key, parcel.id, seconds, &body)),
        ];
        let call = Call {
            url: &self.rules.url,
            method: Method::Post {
                content_type: "application/json",
                fields: &fields,
                body: Secret::new(body),
            },
            timeout: self.rules.timeout,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        match self.client.ask(call).await {
            Ok(_) | Err(OutgoingError::Status(200..=299)) => Ok(()),
            // What was wrong with it will be wrong with it again.
            Err(error @ OutgoingError::Status(400 | 410 | 413 | 422)) => {
                Err(SendError::Refused(error.to_string()))
            }
            Err(error) => Err(SendError::Later(error.to_string())),
        }
    }

    fn longest(&self) -> Duration {
        self.rules.timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        let key = key(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()));
        let body = "{\"test\": 2432232314}";
        assert_eq!(
            sign(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }
}
