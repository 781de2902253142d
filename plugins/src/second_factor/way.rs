//! The ways in which a second factor can be given.

use doorward_config::Factor;
use serde::{Deserialize, Serialize};

/// A way to give a second factor, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// A security key or passkey.
    Webauthn,
    /// The code of an app or token.
    Totp,
    /// A code by text message.
    TextMessage,
    /// A recovery code.
    RecoveryCode,
    /// The password once more, where nothing else is bound. No second factor.
    Password,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Webauthn, Self::Totp, Self::TextMessage, Self::RecoveryCode, Self::Password];

    /// Is it something that one types?
    pub fn is_typed(&self) -> bool {
        *self != Self::Webauthn
    }

    /// The word for it in forms and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webauthn => "webauthn",
            Self::Totp => "totp",
            Self::TextMessage => "text-message",
            Self::RecoveryCode => "recovery-code",
            Self::Password => "password",
        }
    }

    /// Reads what [`Self::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.as_str() == text)
    }

    /// The factor that a route names; `None`: no route accepts it.
    pub fn factor(self) -> Option<Factor> {
        match self {
            Self::Webauthn => Some(Factor::Webauthn),
            Self::Totp => Some(Factor::Totp),
            Self::TextMessage => Some(Factor::TextMessage),
            Self::RecoveryCode | Self::Password => None,
        }
    }
}
