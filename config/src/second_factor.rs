//! `[second_factor]`: who has to prove more than a password, and how that is kept.

use std::path::PathBuf;
use std::time::Duration;

use crate::problem::Fault;
use crate::reader::Reader;
use crate::spec::{Kind, TableSpec, default, optional, seconds};
use crate::store::Store;
use crate::text::{some_text, verify_group};

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "Who has to prove more than a password, and how that is kept.",
    keys: &[
        default(
            "require",
            Kind::List(&Kind::Text(verify_group)),
            "[]",
            "Who needs a second factor at every sign-in, whatever their account says: \"all\", or groups.",
        ),
        default(
            "operation_protection",
            Kind::Choice(&["account", "always"]),
            "\"account\"",
            "Do routes with step_up ask? \"account\": unless the account has switched its operation protection off; \"always\".",
        ),
        optional(
            "issuer",
            Kind::Text(verify_issuer),
            "The name that authenticator apps show; the host of public_url when left out.",
        ),
        default(
            "skew",
            Kind::Integer { least: 0, most: 2 },
            "1",
            "So many steps of 30 seconds before and after the present one a code of an authenticator app is right (RFC 6238 §5.2 recommends one).",
        ),
        default(
            "tries",
            Kind::Integer { least: 1, most: 20 },
            "5",
            "So many wrong codes end a sign-in, or an approval, which then has to be begun anew.",
        ),
        default(
            "lifetime",
            seconds(60, 3600),
            "\"10m\"",
            "How long a sign-in waits for its second factor, and a page for its approval.",
        ),
        default(
            "per_person_max",
            Kind::Integer { least: 1, most: 50 },
            "10",
            "How many apps, tokens and keys one person may bind.",
        ),
        default(
            "fresh",
            seconds(60, 3600),
            "\"5m\"",
            "Whoever changes a password, a factor, a protection or an address must have proven who they are within this time.",
        ),
        default(
            "trust_device_for",
            seconds(0, 90 * 86_400),
            "\"0s\"",
            "People may have their browser not asked for a second factor at sign-in for this time. 0s: they may not. Never for sensitive operations.",
        ),
        default(
            "hold_per_person",
            Kind::Integer { least: 1, most: 100 },
            "8",
            "How many requests are kept for one person; the oldest make room.",
        ),
        default(
            "hold_total",
            Kind::Size { least: 0, most: 1 << 40 },
            "\"256MiB\"",
            "How much is kept in all, while people approve or sign in again. 0: nothing is.",
        ),
        default(
            "hold_expired",
            Kind::Size { least: 0, most: 1024 * 1024 },
            "\"64KiB\"",
            "The largest body of a form that is kept when the session of whoever sends it has expired. 0: none is.",
        ),
        optional(
            "key_file",
            Kind::Text(some_text),
            "File with the keys that authenticators, appeals and messages in the store are encrypted with, made when missing; beside the store, with the ending .vault, when left out. Keep a copy: without it nobody's authenticator works.",
        ),
    ],
};

/// Who has to prove more than a password, and how that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecondFactor {
    /// Everybody needs a second factor at sign-in.
    pub require_all: bool,
    /// Whoever is in one of these groups does.
    pub require_groups: Vec<String>,
    /// Routes with `step_up` ask even where the account says otherwise.
    pub always_protect_operations: bool,
    /// The name that authenticator apps show; `None`: the host of `public_url`.
    pub issuer: Option<String>,
    /// Steps before and after the present one.
    pub skew: u64,
    /// Wrong codes that end a challenge.
    pub tries: u32,
    /// How long a challenge can be met.
    pub lifetime: Duration,
    /// How many authenticators one person may bind.
    pub per_person_max: usize,
    /// How long ago somebody may have proven who they are who changes what guards their account.
    pub fresh: Duration,
    /// For how long a browser may be trusted; zero: not at all.
    pub trust_device_for: Duration,
    /// How many requests are kept for one person.
    pub hold_per_person: u32,
    /// How much is kept in all, in bytes.
    pub hold_total: u64,
    /// The largest body that is kept over the end of a session, in bytes.
    pub hold_expired: usize,
    /// Where the keys are that secrets are encrypted with.
    pub key_file: PathBuf,
}

impl SecondFactor {
    pub(crate) fn read(reader: &Reader<'_>, store: &Store) -> Self {
        let (all, groups): (Vec<_>, Vec<_>) =
            reader.texts("require").into_iter().partition(|name| name == "all");
        if !all.is_empty() && !groups.is_empty() {
            let reason = "names groups beside \"all\", which they are part of.";
            reader.problem("require", Fault::new(reason, "Keep \"all\", or the groups."));
        }
        let number = |key| u32::try_from(reader.integer(key)).unwrap_or(u32::MAX);
        let key_file = reader.optional_file("key_file");
        Self {
            require_all: !all.is_empty(),
            require_groups: groups,
            always_protect_operations: reader.text("operation_protection") == "always",
            issuer: reader.optional_text("issuer"),
            skew: reader.integer("skew"),
            tries: number("tries"),
            lifetime: reader.duration("lifetime"),
            per_person_max: usize::try_from(reader.integer("per_person_max")).unwrap_or(usize::MAX),
            fresh: reader.duration("fresh"),
            trust_device_for: reader.duration("trust_device_for"),
            hold_per_person: number("hold_per_person"),
            hold_total: reader.size("hold_total"),
            hold_expired: usize::try_from(reader.size("hold_expired")).unwrap_or_default(),
            key_file: key_file.unwrap_or_else(|| store.beside("vault")),
        }
    }

    /// Does somebody in these groups need a second factor at sign-in, whatever their account says?
    pub fn requires(&self, groups: &[String]) -> bool {
        self.require_all || groups.iter().any(|group| self.require_groups.contains(group))
    }
}

/// What stands before the colon of an `otpauth` label.
fn verify_issuer(text: &str) -> Result<(), Fault> {
    some_text(text)?;
    if text.contains(':') || text.chars().any(char::is_control) || text.len() > 64 {
        let advice = "Write at most 64 bytes without a colon, for example \"Example Console\".";
        return Err(Fault::new(format!("{text:?} is no name for an app."), advice));
    }
    Ok(())
}
