//! What the pages of a recovery show.

use askama::Template;
use doorward_plugins::recovery::Shown;
use doorward_plugins::second_factor::Way;

use crate::portal::captcha::CaptchaPart;
use crate::portal::text::{FactorTexts, RecoverTexts, Texts};
use crate::portal::webauthn::KeyPart;

/// The form for a name; with `names`, for an address whose names were forgotten.
#[derive(Template)]
#[template(path = "recover.html")]
pub(super) struct BeginPage<'a> {
    pub(super) t: &'static Texts,
    pub(super) r: &'static RecoverTexts,
    pub(super) names: bool,
    /// Codes are sent here.
    pub(super) offered: bool,
    pub(super) error: &'a str,
    pub(super) code: &'a str,
    /// What was typed: a name, or an address.
    pub(super) account: &'a str,
    pub(super) sub_user: &'a str,
    pub(super) captcha: Option<&'a CaptchaPart>,
}

/// Where the code may go.
#[derive(Template)]
#[template(path = "recover_channel.html")]
pub(super) struct ChannelPage<'a> {
    pub(super) t: &'static Texts,
    pub(super) r: &'static RecoverTexts,
    pub(super) error: &'a str,
    pub(super) code: &'a str,
    pub(super) ticket: &'a str,
    pub(super) shown: &'a [Shown],
}

/// The form for the code.
#[derive(Template)]
#[template(path = "recover_code.html")]
pub(super) struct CodePage<'a> {
    pub(super) t: &'static Texts,
    pub(super) r: &'static RecoverTexts,
    pub(super) title: &'a str,
    pub(super) notice: &'a str,
    pub(super) error: &'a str,
    pub(super) code: &'a str,
    /// Where the form goes.
    pub(super) action: &'a str,
    pub(super) ticket: &'a str,
    /// Where the code went; empty: it cannot be sent once more from here.
    pub(super) channel: &'a str,
}

/// The second factor that is needed besides.
#[derive(Template)]
#[template(path = "recover_factor.html")]
pub(super) struct FactorPage<'a> {
    pub(super) t: &'static Texts,
    pub(super) f: &'static FactorTexts,
    pub(super) r: &'static RecoverTexts,
    pub(super) notice: &'a str,
    pub(super) error: &'a str,
    pub(super) code: &'a str,
    pub(super) recovery: &'a str,
    pub(super) way: Option<Way>,
    /// How a key is asked for, if that is the way.
    pub(super) key: Option<&'a KeyPart>,
    pub(super) others: &'a [&'a Way],
}

/// The form for the new password.
#[derive(Template)]
#[template(path = "recover_password.html")]
pub(super) struct NewPasswordPage<'a> {
    pub(super) t: &'static Texts,
    pub(super) r: &'static RecoverTexts,
    pub(super) error: &'a str,
    pub(super) code: &'a str,
    pub(super) recovery: &'a str,
    pub(super) name: &'a str,
    pub(super) length_min: usize,
}

/// The names that an address has.
#[derive(Template)]
#[template(path = "recover_names.html")]
pub(super) struct NamesPage<'a> {
    pub(super) t: &'static Texts,
    pub(super) r: &'static RecoverTexts,
    pub(super) names: &'a [String],
}
