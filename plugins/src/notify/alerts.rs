//! Who is told of what: the owner of an account by every address that it has, and operators.
//!
//! Whoever tells is never held up by it: what cannot be told is logged. A change of an address is
//! told at the old one as well, as whoever made it may have the new one only.

use std::net::IpAddr;
use std::sync::Arc;

use doorward_config::{Alerts as Rules, GatewayConfig};
use serde_json::{Map, Value};

use super::texts::{self, Scene, short};
use super::{Body, Channel, Message, Notify, device};
use crate::account::PrincipalRecord;
use crate::clock::Clock;
use crate::language::Language;
use crate::password_check::Guesser;

/// Something that the owner of an account should hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alert<'a> {
    /// A sign-in on a device that is not known.
    NewDevice,
    /// A sign-in from a region that is not known.
    NewRegion {
        /// Which.
        region: &'a str,
    },
    /// A sign-in at an hour at which there was none.
    UnusualHour,
    /// Wrong passwords locked the account.
    Locked,
    /// A sign-in after many wrong passwords.
    SuccessAfterFailures,
    /// The password was right, and the second factor was not.
    SecondFactorFailed,
    /// A second factor was bound.
    FactorAdded {
        /// Its kind or name.
        factor: &'a str,
    },
    /// A second factor was removed.
    FactorRemoved {
        /// Its kind or name.
        factor: &'a str,
    },
    /// The password was changed.
    PasswordChanged,
    /// A recovery code was used.
    RecoveryCodeUsed {
        /// How many are left.
        left: usize,
    },
    /// Few recovery codes are left.
    FewRecoveryCodes {
        /// How many.
        left: usize,
    },
    /// New recovery codes were made.
    RecoveryCodesMade,
    /// What the account asks of its sign-ins and operations was changed.
    ProtectionChanged,
    /// The phone was bound, changed or removed.
    PhoneChanged {
        /// The one before.
        old: Option<&'a str>,
    },
    /// An e-mail address was bound, changed or removed.
    EmailChanged {
        /// The one before.
        old: Option<&'a str>,
    },
    /// Somebody lodged an appeal.
    AppealReceived,
    /// An appeal was decided.
    AppealDecided {
        /// How.
        granted: bool,
    },
}

impl Alert<'_> {
    /// Its name in the configuration and in messages to programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NewDevice => "new_device",
            Self::NewRegion { .. } => "new_region",
            Self::UnusualHour => "unusual_hour",
            Self::Locked => "locked",
            Self::SuccessAfterFailures => "success_after_failures",
            Self::SecondFactorFailed => "second_factor_failed",
            Self::FactorAdded { .. } => "factor_added",
            Self::FactorRemoved { .. } => "factor_removed",
            Self::PasswordChanged => "password_changed",
            Self::RecoveryCodeUsed { .. } => "recovery_code_used",
            Self::FewRecoveryCodes { .. } => "few_recovery_codes",
            Self::RecoveryCodesMade => "recovery_codes_made",
            Self::ProtectionChanged => "protection_changed",
            Self::PhoneChanged { .. } => "phone_changed",
            Self::EmailChanged { .. } => "email_changed",
            Self::AppealReceived => "appeal_received",
            Self::AppealDecided { .. } => "appeal_decided",
        }
    }

    /// What else programs are told.
    fn detail(&self) -> Option<(&'static str, Value)> {
        match self {
            Self::NewRegion { region } => Some(("region", short(region).into())),
            Self::FactorAdded { factor } | Self::FactorRemoved { factor } => {
                Some(("factor", short(factor).into()))
            }
            Self::RecoveryCodeUsed { left } | Self::FewRecoveryCodes { left } => {
                Some(("left", (*left).into()))
            }
            Self::AppealDecided { granted } => Some(("granted", (*granted).into())),
            _ => None,
        }
    }
}

/// In which request something happened.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
    /// Where it came from; `None`: from the command line.
    pub address: Option<IpAddr>,
    /// The client's `User-Agent`; empty if it is not known.
    pub device: &'a str,
}

impl From<Guesser<'_>> for Occasion<'_> {
    fn from(guesser: Guesser<'_>) -> Self {
        Self { address: Some(guesser.address), device: "" }
    }
}

/// Tells owners and operators.
pub struct Alerts {
    rules: Rules,
    host: String,
    notify: Arc<Notify>,
    clock: Clock,
}

impl Alerts {
    /// Alerts by the rules of this configuration.
    pub fn new(config: &GatewayConfig, notify: Arc<Notify>, clock: Clock) -> Self {
        let (rules, host) = (config.alerts.clone(), config.public_url.host.clone());
        Self { rules, host, notify, clock }
    }

    /// Tells whom the configuration says. When this returns, it is durable in the outbox, or the log
    /// says why it is not.
    pub async fn tell(&self, owner: &PrincipalRecord, alert: Alert<'_>, from: Occasion<'_>) {
        enqueue(&self.notify, self.messages(owner, &alert, from)).await;
    }

    /// The same of something that has a name: it is told once, whoever tells it.
    pub async fn tell_once(
        &self,
        name: &str,
        owner: &PrincipalRecord,
        alert: Alert<'_>,
        from: Occasion<'_>,
    ) {
        let mut messages = self.messages(owner, &alert, from);
        messages.iter_mut().for_each(|message| message.once = Some(name.to_owned()));
        enqueue(&self.notify, messages).await;
    }

    /// The same as [`Self::tell`] without waiting for it: how long an answer takes must not show
    /// whether there is somebody to tell.
    pub fn tell_soon(&self, owner: &PrincipalRecord, alert: Alert<'_>, from: Occasion<'_>) {
        let (notify, messages) = (Arc::clone(&self.notify), self.messages(owner, &alert, from));
        tokio::spawn(async move { enqueue(&notify, messages).await });
    }

    /// All messages that this alert leads to.
    fn messages(
        &self,
        owner: &PrincipalRecord,
        alert: &Alert<'_>,
        from: Occasion<'_>,
    ) -> Vec<Message> {
        let language = language(owner);
        let (account, at) = (owner.name.to_string(), self.clock.wall());
        let address = from.address.map(|address| address.to_string()).unwrap_or_default();
        let device = device::describe(from.device);
        let scene =
            Scene { host: &self.host, account: &account, at, address: &address, device: &device };
        let facts = || {
            let mut facts = Map::new();
            for (name, value) in [
                ("account", short(&account)),
                ("principal", owner.id.clone()),
                ("time", at.rfc3339()),
                ("address", address.clone()),
                ("device", device.clone()),
            ] {
                facts.insert(name.into(), value.into());
            }
            facts.extend(alert.detail().map(|(name, value)| (name.to_owned(), value)));
            facts
        };
        let kind = format!("alert_{}", alert.name());
        let message = |channel, to: &str, (subject, text): (String, String)| Message {
            channel,
            kind: kind.clone(),
            body: Body { facts: facts(), ..Body::new(to, language, subject, text) },
            expires: None,
            once: None,
        };
        let mut messages = Vec::new();
        if self.tells(&self.rules.email, Channel::Email, alert) {
            for to in addresses(owner, alert) {
                let told = texts::alert_mail(alert, &scene, language);
                messages.push(message(Channel::Email, to, told));
            }
        }
        if self.tells(&self.rules.text_message, Channel::TextMessage, alert) {
            for to in phones(owner, alert) {
                let told = texts::alert_text(alert, &scene, language);
                messages.push(message(Channel::TextMessage, to, (String::new(), told)));
            }
        }
        if self.tells(&self.rules.webhook, Channel::Webhook, alert) {
            let told = texts::alert_mail(alert, &scene, Language::English);
            messages.push(message(Channel::Webhook, "", told));
        }
        messages
    }

    fn tells(&self, kinds: &[String], channel: Channel, alert: &Alert<'_>) -> bool {
        self.notify.can(channel) && kinds.iter().any(|kind| kind == alert.name())
    }
}

async fn enqueue(notify: &Notify, messages: Vec<Message>) {
    for message in messages {
        if let Err(error) = notify.enqueue(&message).await {
            let (kind, channel) = (&*message.kind, message.channel.as_str());
            let about = message.body.facts.get("principal").and_then(Value::as_str);
            tracing::error!(event = "alert_lost", kind, channel, principal = about, %error);
        }
    }
}

/// In which language its owner wants to be written to.
fn language(owner: &PrincipalRecord) -> Language {
    owner.language.as_deref().and_then(Language::of_tag).unwrap_or(Language::UNSET)
}

/// Every e-mail address that is to hear of it, each once.
fn addresses<'a>(owner: &'a PrincipalRecord, alert: &Alert<'a>) -> Vec<&'a str> {
    let old = match alert {
        Alert::EmailChanged { old } => *old,
        _ => None,
    };
    distinct([owner.email.as_deref(), owner.security_email.as_deref(), old])
}

/// Every phone that is to hear of it, each once.
fn phones<'a>(owner: &'a PrincipalRecord, alert: &Alert<'a>) -> Vec<&'a str> {
    let old = match alert {
        Alert::PhoneChanged { old } => *old,
        _ => None,
    };
    distinct([owner.phone.as_deref(), old])
}

fn distinct<const N: usize>(places: [Option<&str>; N]) -> Vec<&str> {
    let mut found: Vec<&str> = Vec::new();
    for place in places.into_iter().flatten() {
        if !found.contains(&place) {
            found.push(place);
        }
    }
    found
}

#[cfg(test)]
pub(crate) mod tests {
    use doorward_certs::vault::Vault;

    use super::*;
    use crate::context::tests::config;
    use crate::session::live::tests::Scratch;

    /// Alerts that nobody gets.
    pub(crate) fn alerts(scratch: &Scratch) -> Arc<Alerts> {
        let (store, clock) = (scratch.store.clone(), scratch.clock.clone());
        let vault = Arc::new(Vault::open(&scratch.folder.join("a.vault")).unwrap());
        let config = config("");
        let notify = Notify::new(&config.notify, store, vault, clock.clone());
        Arc::new(Alerts::new(&config, notify, clock))
    }

    #[test]
    fn every_alert_has_the_name_that_the_configuration_knows() {
        let all = [
            Alert::NewDevice,
            Alert::NewRegion { region: "" },
            Alert::UnusualHour,
            Alert::Locked,
            Alert::SuccessAfterFailures,
            Alert::SecondFactorFailed,
            Alert::FactorAdded { factor: "" },
            Alert::FactorRemoved { factor: "" },
            Alert::PasswordChanged,
            Alert::RecoveryCodeUsed { left: 1 },
            Alert::FewRecoveryCodes { left: 1 },
            Alert::RecoveryCodesMade,
            Alert::ProtectionChanged,
            Alert::PhoneChanged { old: None },
            Alert::EmailChanged { old: None },
            Alert::AppealReceived,
            Alert::AppealDecided { granted: true },
        ];
        let names: Vec<_> = all.iter().map(Alert::name).collect();
        assert_eq!(names, doorward_config::ALERTS);
    }
}
