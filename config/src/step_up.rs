//! `step_up` of a route: what somebody has to prove, and how lately, before a sensitive operation.

use std::time::Duration;

use crate::problem::Fault;
use crate::reader::Reader;
use crate::spec::{Kind, TableSpec, default, optional, seconds};
use crate::text::some_text;

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "What somebody has to prove, and how lately, before this operation.",
    keys: &[
        default(
            "max_age",
            seconds(1, 86_400),
            "\"5m\"",
            "How long ago the second factor may have been given; with bind = \"request\" how long an approval can be used.",
        ),
        default(
            "factors",
            Kind::List(&Kind::Choice(&["totp", "webauthn", "text-message"])),
            "[\"totp\", \"webauthn\", \"text-message\"]",
            "Which factors are accepted: an authenticator app or token, a key or passkey, a code by text message.",
        ),
        default(
            "bind",
            Kind::Choice(&["session", "request"]),
            "\"session\"",
            "\"session\": a factor given lately is good for every such request of the session; \"request\": one approval for exactly this request (method, path, query, body), once.",
        ),
        default(
            "hold",
            Kind::Size { least: 0, most: 1024 * 1024 },
            "\"64KiB\"",
            "The largest body that is kept while somebody approves, and sent on afterwards; with bind = \"request\" also the largest that can be approved. 0: none is kept.",
        ),
        optional(
            "label",
            Kind::Text(some_text),
            "What the operation is, in words for the person who approves it, for example \"Delete an access key\".",
        ),
        default(
            "show",
            Kind::List(&Kind::Text(some_text)),
            "[]",
            "Fields of the body (a form's, or members of a JSON object) that the person is shown before approving.",
        ),
    ],
};

/// What somebody has to prove, and how lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepUp {
    /// How long ago the second factor may have been given.
    pub max_age: Duration,
    /// Factors that are accepted; never empty.
    pub factors: Vec<Factor>,
    /// An approval is for one request, once.
    pub for_one_request: bool,
    /// The largest body that is kept, in bytes.
    pub hold: usize,
    /// What the operation is, in words.
    pub label: Option<String>,
    /// Fields of the body that are shown.
    pub show: Vec<String>,
}

/// A kind of second factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    /// A code by text message.
    TextMessage,
    /// An authenticator app, or a token with a display.
    Totp,
    /// A security key or a passkey.
    Webauthn,
}

impl Factor {
    /// The word for it in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TextMessage => "text-message",
            Self::Totp => "totp",
            Self::Webauthn => "webauthn",
        }
    }
}

impl StepUp {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        let named = reader.texts("factors");
        let all = [Factor::TextMessage, Factor::Totp, Factor::Webauthn];
        let factors =
            all.into_iter().filter(|factor| named.iter().any(|name| name == factor.as_str()));
        let factors: Vec<_> = factors.collect();
        if factors.is_empty() {
            let reason = "is empty, so that nobody could pass.";
            reader.problem("factors", Fault::new(reason, "Name one, or leave the key out."));
        }
        Self {
            max_age: reader.duration("max_age"),
            factors,
            for_one_request: reader.text("bind") == "request",
            hold: usize::try_from(reader.size("hold")).unwrap_or_default(),
            label: reader.optional_text("label"),
            show: reader.texts("show"),
        }
    }
}
