//! What the ways in, and administration, are made of.

use std::sync::Arc;

use doorward_certs::vault::Vault;

use crate::account::password::PasswordHasher;
use crate::account::rules::PasswordRules;
use crate::account_centre::AccountCentre;
use crate::address_change::AddressChange;
use crate::administration::Administration;
use crate::appeal::Appeals;
use crate::audit::Audit;
use crate::certificate::CertificateSessions;
use crate::clock::Clock;
use crate::code::Codes;
use crate::factor_change::FactorChange;
use crate::identity::Assertions;
use crate::lockout::Lockout;
use crate::notify::alerts::Alerts;
use crate::password_change::PasswordChange;
use crate::password_check::PasswordCheck;
use crate::recovery::{Masks, Recovery};
use crate::risk::Risk;
use crate::second_factor::SecondFactors;
use crate::session::Sessions;
use crate::sign_in::SignIn;
use crate::step_up::Approvals;
use crate::store::{AccountStore, AppealStore};
use crate::stuffing::Stuffing;

/// What stands on others of these.
type Parts<'a> = (&'a Arc<Approvals>, &'a Arc<Administration>, &'a Arc<Codes>);

/// What the ways in, and administration, have in common.
pub(super) struct Base {
    pub(super) accounts: Arc<dyn AccountStore>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) second: Arc<SecondFactors>,
    pub(super) hasher: Arc<PasswordHasher>,
    pub(super) password_rules: Arc<PasswordRules>,
    pub(super) lockout: Arc<Lockout>,
    pub(super) audit: Arc<Audit>,
    pub(super) alerts: Arc<Alerts>,
    pub(super) risk: Arc<Risk>,
    pub(super) clock: Clock,
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
}

impl Base {
    pub(super) fn administration(
        &self,
        assertions: Arc<Assertions>,
        vault: Arc<Vault>,
        appeals: Arc<Appeals>,
    ) -> Administration {
        Administration {
            accounts: Arc::clone(&self.accounts),
            sessions: Arc::clone(&self.sessions),
            assertions,
            hasher: Arc::clone(&self.hasher),
            password_rules: Arc::clone(&self.password_rules),
            clock: self.clock.clone(),
            audit: Arc::clone(&self.audit),
            lockout: Arc::clone(&self.lockout),
            authenticators: Arc::clone(&self.second.authenticators),
            alerts: Arc::clone(&self.alerts),
            vault,
            appeals,
            turn: Arc::clone(&self.turn),
        }
    }

    pub(super) fn approvals(&self, check: Arc<PasswordCheck>) -> Approvals {
        Approvals {
            check,
            accounts: Arc::clone(&self.accounts),
            sessions: Arc::clone(&self.sessions),
            second: Arc::clone(&self.second),
            audit: Arc::clone(&self.audit),
            clock: self.clock.clone(),
            turn: Arc::clone(&self.turn),
        }
    }

    pub(super) fn factor_change(&self, approvals: Arc<Approvals>) -> FactorChange {
        FactorChange {
            accounts: Arc::clone(&self.accounts),
            sessions: Arc::clone(&self.sessions),
            second: Arc::clone(&self.second),
            approvals,
            audit: Arc::clone(&self.audit),
            alerts: Arc::clone(&self.alerts),
            turn: Arc::clone(&self.turn),
        }
    }

    pub(super) fn appeals(
        &self,
        rules: &doorward_config::Appeal,
        (store, vault): (Arc<dyn AppealStore>, Arc<Vault>),
    ) -> Appeals {
        Appeals {
            rules: rules.clone(),
            store,
            accounts: Arc::clone(&self.accounts),
            sessions: Arc::clone(&self.sessions),
            authenticators: Arc::clone(&self.second.authenticators),
            lockout: Arc::clone(&self.lockout),
            vault,
            alerts: Arc::clone(&self.alerts),
            audit: Arc::clone(&self.audit),
            clock: self.clock.clone(),
            turn: Arc::clone(&self.turn),
        }
    }

    /// What people change about themselves.
    pub(super) fn centre(
        &self,
        (approvals, administration, codes): Parts<'_>,
        per_phone: usize,
    ) -> (AddressChange, AccountCentre) {
        let addresses = AddressChange {
            accounts: Arc::clone(&self.accounts),
            sessions: Arc::clone(&self.sessions),
            second: Arc::clone(&self.second),
            approvals: Arc::clone(approvals),
            codes: Arc::clone(codes),
            audit: Arc::clone(&self.audit),
            alerts: Arc::clone(&self.alerts),
            per_phone,
            turn: Arc::clone(&self.turn),
        };
        let centre = AccountCentre {
            accounts: Arc::clone(&self.accounts),
            administration: Arc::clone(administration),
            approvals: Arc::clone(approvals),
            authenticators: Arc::clone(&self.second.authenticators),
            audit: Arc::clone(&self.audit),
        };
        (addresses, centre)
    }

    /// `key` makes the masks of names that nobody has.
    pub(super) fn recovery(
        &self,
        (_, administration, codes): Parts<'_>,
        key: &[u8],
        places: Arc<tokio::sync::Semaphore>,
    ) -> Recovery {
        Recovery {
            accounts: Arc::clone(&self.accounts),
            second: Arc::clone(&self.second),
            codes: Arc::clone(codes),
            administration: Arc::clone(administration),
            rules: Arc::clone(&self.password_rules),
            hasher: Arc::clone(&self.hasher),
            lockout: Arc::clone(&self.lockout),
            audit: Arc::clone(&self.audit),
            alerts: Arc::clone(&self.alerts),
            masks: Masks::new(key),
            places,
            turn: Arc::clone(&self.turn),
        }
    }

    pub(super) fn certificates(&self) -> CertificateSessions {
        CertificateSessions::new(
            Arc::clone(&self.accounts),
            Arc::clone(&self.sessions),
            self.clock.clone(),
            Arc::clone(&self.audit),
            Arc::clone(&self.turn),
        )
    }

    pub(super) fn check(&self, stuffing: Arc<Stuffing>) -> PasswordCheck {
        PasswordCheck {
            accounts: Arc::clone(&self.accounts),
            hasher: Arc::clone(&self.hasher),
            lockout: Arc::clone(&self.lockout),
            stuffing,
            audit: Arc::clone(&self.audit),
            alerts: Arc::clone(&self.alerts),
            clock: self.clock.clone(),
        }
    }

    pub(super) fn password_change(&self, check: Arc<PasswordCheck>) -> PasswordChange {
        PasswordChange {
            accounts: Arc::clone(&self.accounts),
            sessions: Arc::clone(&self.sessions),
            hasher: Arc::clone(&self.hasher),
            rules: Arc::clone(&self.password_rules),
            check,
            second: Arc::clone(&self.second),
            lockout: Arc::clone(&self.lockout),
            audit: Arc::clone(&self.audit),
            turn: Arc::clone(&self.turn),
        }
    }

    pub(super) fn sign_in(self, check: Arc<PasswordCheck>) -> SignIn {
        SignIn {
            accounts: self.accounts,
            sessions: self.sessions,
            hasher: self.hasher,
            check,
            second: self.second,
            risk: self.risk,
            audit: self.audit,
            clock: self.clock,
            turn: self.turn,
        }
    }
}
