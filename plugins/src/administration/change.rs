//! What may be written into an account, and what of it is refused.

use std::time::Duration;

use doorward_config::{Session as SessionRules, verify_idle};
use serde::{Deserialize, Serialize};

use super::AdminError;
use crate::account::{PrincipalRecord, Verification, is_email, is_phone};
use crate::language::Language;

/// The most characters that a display name, a role or a group may have.
const LABEL_CHARS_MAX: usize = 128;

/// What to write into an account; `None` leaves as it is.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountChange {
    /// The name to show; empty: none.
    pub display_name: Option<String>,
    /// An e-mail address; empty: none.
    pub email: Option<String>,
    /// An e-mail address for what concerns safety; empty: none.
    pub security_email: Option<String>,
    /// A telephone number in the form of E.164; empty: none.
    pub phone: Option<String>,
    /// Tag of the language in which it wants to be written to; empty: none.
    pub language: Option<String>,
    /// All roles.
    pub roles: Option<Vec<String>>,
    /// All groups.
    pub groups: Option<Vec<String>>,
    /// Idle time of the account's sessions in seconds; zero: the configuration's.
    pub idle_secs: Option<u64>,
    /// Real-name status of the account.
    pub verification: Option<Verification>,
    /// Does the account ask for a second factor at every sign-in?
    pub login_protection: Option<bool>,
    /// Does it before sensitive operations?
    pub operation_protection: Option<bool>,
}

impl AccountChange {
    /// Writes it into `record`.
    pub(super) fn apply(
        &self,
        record: &mut PrincipalRecord,
        rules: &SessionRules,
    ) -> Result<(), AdminError> {
        if let Some(name) = &self.display_name {
            record.display_name = label(name)?;
        }
        self.apply_addresses(record)?;
        match self.language.as_deref().map(|tag| (tag, Language::of_tag(tag))) {
            None => {}
            Some((_, Some(language))) => record.language = Some(language.code().to_owned()),
            Some(("", None)) => record.language = None,
            Some((tag, None)) => {
                return Err(AdminError::Refuse(format!("{tag:?} is not a language: en or zh-CN")));
            }
        }
        for (names, slot) in [(&self.roles, &mut record.roles), (&self.groups, &mut record.groups)]
        {
            if let Some(names) = names {
                *slot = names
                    .iter()
                    .filter_map(|name| label(name).transpose())
                    .collect::<Result<_, _>>()?;
            }
        }
        if let Some(secs) = self.idle_secs {
            refuse_for_sub_user(record, "the idle time")?;
            let idle = Duration::from_secs(secs);
            if secs > 0 {
                verify_idle(idle, rules).map_err(AdminError::Refuse)?;
            }
            record.idle_secs = (secs > 0).then_some(secs);
        }
        if let Some(verification) = self.verification {
            refuse_for_sub_user(record, "the verification")?;
            record.verification = verification;
        }
        let protection = &mut record.protection;
        let switches = [
            (self.login_protection, &mut protection.login),
            (self.operation_protection, &mut protection.operations),
        ];
        let mut set = false;
        for (wanted, switch) in switches {
            *switch = wanted.unwrap_or(*switch);
            set |= wanted.is_some();
        }
        if set { refuse_for_sub_user(record, "protection") } else { Ok(()) }
    }

    fn apply_addresses(&self, record: &mut PrincipalRecord) -> Result<(), AdminError> {
        for (wanted, slot) in
            [(&self.email, &mut record.email), (&self.security_email, &mut record.security_email)]
        {
            if let Some(email) = wanted {
                *slot = label(email)?;
                if slot.as_deref().is_some_and(|email| !is_email(email)) {
                    return Err(AdminError::Refuse(format!("{email:?} is not an e-mail address")));
                }
            }
        }
        if let Some(phone) = &self.phone {
            record.phone = label(phone)?;
            if record.phone.as_deref().is_some_and(|phone| !is_phone(phone)) {
                let reason = format!("{phone:?} is not a telephone number such as +8613800000000");
                return Err(AdminError::Refuse(reason));
            }
        }
        Ok(())
    }
}

/// A short text without control characters; `None` if it is empty.
fn label(text: &str) -> Result<Option<String>, AdminError> {
    let text = text.trim();
    if text.chars().count() > LABEL_CHARS_MAX || text.contains(char::is_control) {
        return Err(AdminError::Refuse(format!("{text:?} is too long, or has control characters")));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

fn refuse_for_sub_user(record: &PrincipalRecord, what: &str) -> Result<(), AdminError> {
    match record.name.sub_user() {
        None => Ok(()),
        Some(_) => Err(AdminError::Refuse(format!(
            "{what} is the account's: set it on {:?}",
            record.name.account()
        ))),
    }
}
