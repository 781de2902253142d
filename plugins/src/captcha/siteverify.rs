//! Asking a provider whether an answer is right: the protocol that Turnstile, hCaptcha and reCAPTCHA
//! have in common.
//!
//! Sources: <https://developers.cloudflare.com/turnstile/get-started/server-side-validation/>,
//! <https://docs.hcaptcha.com/#verify-the-user-response-server-side>,
//! <https://developers.google.com/recaptcha/docs/verify>.

use std::net::IpAddr;

use doorward_config::{CaptchaProvider, ProviderKind, Secret};
use serde::Deserialize;

use super::{CaptchaError, Form};
use crate::outgoing::{Call, Method, Outgoing, OutgoingError};

/// The longest answer that is read; real ones have some hundred octets.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

#[derive(Deserialize)]
struct Verdict {
    success: bool,
    hostname: Option<String>,
    action: Option<String>,
    #[serde(default, rename = "error-codes")]
    error_codes: Vec<String>,
}

/// Error codes that are about the gate's configuration.
const OURS: [&str; 4] =
    ["invalid-input-secret", "missing-input-secret", "sitekey-secret-mismatch", "invalid-keys"];

/// Asks. [`CaptchaError::ProviderDown`] only when that tells nothing about the answer, and no
/// answer that somebody makes up could bring it about: it may let people pass.
pub(super) async fn ask(
    provider: &CaptchaProvider,
    form: &Form<'_>,
    answer: &str,
    outgoing: &dyn Outgoing,
) -> Result<(), CaptchaError> {
    let call = Call {
        url: &provider.url,
        method: Method::Post {
            fields: &[],
            content_type: "application/x-www-form-urlencoded",
            body: question(provider, form.client, answer),
        },
        timeout: provider.timeout,
        answer_bytes_max: ANSWER_BYTES_MAX,
    };
    let failed = |error: &dyn std::fmt::Display| {
        tracing::error!(event = "captcha_provider_failed", provider = %provider.url, %error);
    };
    let told = outgoing.ask(call).await.map_err(|error| {
        failed(&error);
        match error {
            OutgoingError::Busy => CaptchaError::Busy,
            OutgoingError::Status(400..500) => CaptchaError::Rejected,
            _ => CaptchaError::ProviderDown,
        }
    })?;
    let verdict: Verdict = serde_json::from_slice(&told).map_err(|error| {
        failed(&error);
        CaptchaError::ProviderDown
    })?;
    if !verdict.success {
        if let Some(code) = verdict.error_codes.iter().find(|code| OURS.contains(&code.as_str())) {
            failed(code);
        }
        return Err(CaptchaError::Rejected);
    }
    // An answer from another page of the provider's customer is not one for this form. Only
    // Turnstile knows purposes in general; what the others do not say cannot be held against them.
    let host = verdict.hostname.is_none_or(|host| host.eq_ignore_ascii_case(form.host));
    let action = match (provider.kind, verdict.action.as_deref()) {
        (ProviderKind::Turnstile, action) => action == Some(form.purpose),
        (ProviderKind::Hcaptcha | ProviderKind::Recaptcha, None | Some("")) => true,
        (ProviderKind::Hcaptcha | ProviderKind::Recaptcha, Some(action)) => action == form.purpose,
    };
    if host && action { Ok(()) } else { Err(CaptchaError::Foreign) }
}

fn question(provider: &CaptchaProvider, client: IpAddr, answer: &str) -> Secret {
    let mut body = String::with_capacity(answer.len() + 256);
    let client = client.to_string();
    let fields = [
        ("secret", provider.secret.expose()),
        ("response", answer),
        ("remoteip", &client),
        ("sitekey", &provider.site_key),
    ];
    for (name, value) in fields {
        let separator = if body.is_empty() { "" } else { "&" };
        body.push_str(&format!("{separator}{name}="));
        for byte in value.bytes() {
            match byte {
                b'-' | b'.' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                    body.push(char::from(byte));
                }
                byte => body.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    Secret::new(body)
}
