//! `[alerts]`: of what owners of accounts, and operators, are told.

use crate::reader::Reader;
use crate::spec::{Kind, TableSpec, default};

/// Everything of which somebody can be told, by its name.
pub const ALERTS: &[&str] = &[
    "new_device",
    "new_region",
    "unusual_hour",
    "locked",
    "success_after_failures",
    "second_factor_failed",
    "factor_added",
    "factor_removed",
    "password_changed",
    "recovery_code_used",
    "few_recovery_codes",
    "recovery_codes_made",
    "protection_changed",
    "phone_changed",
    "email_changed",
    "appeal_received",
    "appeal_decided",
];

const ALL: &str = "[\"new_device\", \"new_region\", \"unusual_hour\", \"locked\", \
                   \"success_after_failures\", \"second_factor_failed\", \"factor_added\", \
                   \"factor_removed\", \"password_changed\", \"recovery_code_used\", \
                   \"few_recovery_codes\", \"recovery_codes_made\", \"protection_changed\", \
                   \"phone_changed\", \
                   \"email_changed\", \"appeal_received\", \"appeal_decided\"]";

/// What changes who can get in: worth a text message, which costs money and sleep.
const GRAVE: &str = "[\"second_factor_failed\", \"factor_added\", \"factor_removed\", \
                     \"protection_changed\", \
                     \"password_changed\", \"recovery_code_used\", \"phone_changed\", \
                     \"email_changed\", \"appeal_received\", \"appeal_decided\"]";

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "Of what owners of accounts, and operators, are told, by each way that [notify] has.",
    keys: &[
        default(
            "email",
            Kind::List(&Kind::Choice(ALERTS)),
            ALL,
            "What the owner is told by e-mail, at both addresses.",
        ),
        default(
            "text_message",
            Kind::List(&Kind::Choice(ALERTS)),
            GRAVE,
            "What the owner is told by text message.",
        ),
        default("webhook", Kind::List(&Kind::Choice(ALERTS)), ALL, "What operators are told."),
    ],
};

/// Of what somebody is told: names of [`ALERTS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alerts {
    /// The owner, by e-mail.
    pub email: Vec<String>,
    /// The owner, by text message.
    pub text_message: Vec<String>,
    /// Operators.
    pub webhook: Vec<String>,
}

impl Alerts {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        Self {
            email: reader.texts("email"),
            text_message: reader.texts("text_message"),
            webhook: reader.texts("webhook"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_alerts_and_mail_tells_all() {
        let names = |list: &str| -> Vec<String> {
            list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
        };
        assert_eq!(names(ALL), ALERTS);
        assert!(names(GRAVE).iter().all(|name| ALERTS.contains(&name.as_str())));
    }
}
