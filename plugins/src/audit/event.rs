//! One thing that happened, and its name.

use std::fmt::Display;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it was.
    pub kind: EventKind,
    /// Id of the principal that it is about, as far as it is known.
    pub principal: Option<String>,
    /// Name of that principal. Never a name as somebody typed it: people type passwords into name
    /// fields.
    pub account: Option<String>,
    /// Public id of the session.
    pub session: Option<String>,
    /// Where it came from.
    pub address: Option<String>,
    /// Names the request in the access log.
    pub request_id: Option<String>,
    /// What else there is to say: a name of the code's own, and a value. Never a secret.
    pub details: Vec<(&'static str, String)>,
}

impl Event {
    /// An event about which nothing else is known yet.
    pub fn new(kind: EventKind) -> Self {
        Self {
            kind,
            principal: None,
            account: None,
            session: None,
            address: None,
            request_id: None,
            details: Vec::new(),
        }
    }

    /// About this principal, by id.
    pub fn principal(mut self, id: impl Display) -> Self {
        self.principal = Some(id.to_string());
        self
    }

    /// About the principal of this name, which exists.
    pub fn account(mut self, name: impl Display) -> Self {
        self.account = Some(name.to_string());
        self
    }

    /// In this session, by public id.
    pub fn session(mut self, id: impl Display) -> Self {
        self.session = Some(id.to_string());
        self
    }

    /// From this address, in this request.
    pub fn from_request(mut self, address: impl Display, request_id: impl Display) -> Self {
        self.address = Some(address.to_string());
        self.request_id = Some(request_id.to_string());
        self
    }

    /// With something else to say.
    pub fn with(mut self, name: &'static str, value: impl Display) -> Self {
        self.details.push((name, value.to_string()));
        self
    }

    /// Why a sign-in was refused before anything was spent on it; `None`: it was not. What anybody
    /// can cause for nothing is counted apart from real guesses, each of which costs a hash, so that
    /// it can neither fill the log nor keep guesses out of it.
    pub(crate) fn refused_early(&self) -> Option<&'static str> {
        let says = |name: &str, value: &str| {
            self.details.iter().any(|(own, text)| *own == name && text == value)
        };
        match self.kind {
            EventKind::LoginUnavailable => Some("unavailable"),
            EventKind::LoginFail if says("reason", "captcha") => Some("captcha"),
            EventKind::LoginFail if says("reason", "guessing") => Some("guessing"),
            EventKind::LoginFail if says("factor", "certificate") => Some("certificate"),
            _ => None,
        }
    }

    /// Takes what steers a screen out of all its texts.
    pub(crate) fn tamed(&self) -> Self {
        let optional = |text: &Option<String>| text.as_deref().map(tame);
        Self {
            kind: self.kind,
            principal: optional(&self.principal),
            account: optional(&self.account),
            session: optional(&self.session),
            address: optional(&self.address),
            request_id: optional(&self.request_id),
            details: self.details.iter().map(|(name, value)| (*name, tame(value))).collect(),
        }
    }

    /// Writes it to the log of the process.
    pub(crate) fn trace(&self) {
        let details = self.details.iter().map(|(name, value)| format!("{name}={value}"));
        let details = details.collect::<Vec<_>>().join(" ");
        let Self { principal, account, session, address, request_id, .. } = self;
        let event = self.kind.name();
        match self.kind.severity() {
            Severity::Info => {
                tracing::info!(event, principal, account, session, address, request_id, details)
            }
            Severity::Warning => {
                tracing::warn!(event, principal, account, session, address, request_id, details)
            }
        }
    }
}

/// A text that somebody else chose, so that it cannot steer a terminal or turn a line round.
pub fn tame(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.replace(steers, "\u{fffd}")
}

/// How much attention an event deserves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It belongs to the day.
    Info,
    /// Somebody may want to look at it.
    Warning,
}

impl Severity {
    /// Its name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
        }
    }
}

/// How many events of a kind become records of their own within a minute, if anybody can cause them
/// at no cost.
pub(super) const CHEAP_PER_MINUTE: u64 = 60;

/// The same of all others that come from outside. They cost a password hash, or a session.
const DEAR_PER_MINUTE: u64 = 6000;

impl EventKind {
    /// Did something succeed or fail? `None`: nothing was tried.
    pub fn outcome(self) -> Option<&'static str> {
        match self {
            Self::LoginSuccess
            | Self::LoginSuccessAfterFail
            | Self::PasswordChange
            | Self::StepUpSuccess
            | Self::OperationApproved => Some("success"),
            Self::LoginFail
            | Self::LoginUnavailable
            | Self::SecondFactorFail
            | Self::RecoveryFail
            | Self::CaptchaFail
            | Self::CsrfRefused
            | Self::RateLimitExceeded
            | Self::AuthorizationFail
            | Self::CertificateRefused
            | Self::UpstreamTlsFail => Some("failure"),
            _ => None,
        }
    }

    /// How many of it become records of their own within a minute. The others are counted, and a
    /// summary is written, or whoever can send requests could fill the disk.
    pub(crate) fn per_minute(self) -> u64 {
        match self {
            Self::CaptchaFail
            | Self::CsrfRefused
            | Self::RateLimitExceeded
            | Self::AuthorizationFail
            | Self::CertificateRefused
            | Self::UpstreamTlsFail
            | Self::RecoveryAsked
            | Self::CredentialStuffing => CHEAP_PER_MINUTE,
            // What the log says of itself.
            Self::AuditCheckpoint
            | Self::AuditGap
            | Self::AuditSummary
            | Self::AuditPruned
            | Self::AuditBroken => u64::MAX,
            _ => DEAR_PER_MINUTE,
        }
    }
}

/// Declares the kinds with their names, so that no name is written twice.
macro_rules! kinds {
    ($($(#[$doc:meta])+ $kind:ident = $name:literal, $severity:ident;)+) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum EventKind { $($(#[$doc])+ $kind,)+ }

        impl EventKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// Its name in logs.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)+ }
            }

            /// How much attention it deserves.
            pub fn severity(self) -> Severity {
                match self { $(Self::$kind => Severity::$severity,)+ }
            }
        }
    };
}

kinds! {
    /// Somebody signed in.
    LoginSuccess = "authn_login_success", Info;
    /// A sign-in was refused for what was given.
    LoginFail = "authn_login_fail", Info;
    /// A sign-in could not be decided.
    LoginUnavailable = "authn_login_unavailable", Warning;
    /// Wrong guesses locked somebody out.
    LoginLock = "authn_login_lock", Warning;
    /// A lock was lifted by an administrator.
    LoginUnlock = "authn_login_unlock", Info;
    /// So many wrong guesses in a row that the password is good for nothing until it is reset.
    AuthenticatorDisabled = "authn_disabled", Warning;
    /// Somebody signed in after many wrong guesses.
    LoginSuccessAfterFail = "authn_login_successafterfail", Warning;
    /// Somebody whose password was right gave a second factor that was not, or somebody signed in
    /// did, who was asked for it.
    SecondFactorFail = "authn_second_factor_fail", Warning;
    /// A second factor was given before a sensitive operation.
    StepUpSuccess = "authz_step_up", Info;
    /// An operation was approved.
    OperationApproved = "authz_operation_approved", Info;
    /// An approval was used for its operation.
    ApprovalUsed = "authz_approval_used", Info;
    /// An authenticator was bound.
    FactorAdded = "authn_factor_added", Warning;
    /// Somebody appealed who has lost every second factor.
    AppealLodged = "authn_appeal_lodged", Warning;
    /// An appeal was granted, refused or stopped.
    AppealDecided = "authn_appeal_decided", Warning;
    /// Hardware tokens were imported.
    TokensImported = "authn_tokens_imported", Info;
    /// An authenticator was removed.
    FactorRemoved = "authn_factor_removed", Warning;
    /// Recovery codes were made anew, or one was used.
    RecoveryCodes = "authn_recovery_codes", Warning;
    /// A browser is not asked for a second factor at sign-in for some time.
    DeviceTrusted = "authn_device_trusted", Warning;
    /// What an account asks of its sign-ins and operations was changed.
    ProtectionChanged = "authn_protection_changed", Warning;
    /// A phone or e-mail address was set or removed.
    AddressChanged = "user_address_changed", Warning;
    /// Somebody asked for a new password, or for forgotten names.
    RecoveryAsked = "authn_recovery_asked", Info;
    /// A code that should have led to a new password was wrong.
    RecoveryFail = "authn_recovery_fail", Warning;
    /// A password was changed.
    PasswordChange = "authn_password_change", Info;
    /// A captcha was not solved, or its solution was used before.
    CaptchaFail = "captcha_fail", Info;
    /// A form came from somewhere else than its page.
    CsrfRefused = "csrf_refused", Warning;
    /// A rate limit was exceeded.
    RateLimitExceeded = "excess_rate_limit_exceeded", Warning;
    /// Guessing over many names was noticed.
    CredentialStuffing = "authn_credential_stuffing", Warning;
    /// A route refused somebody for what they may not do.
    AuthorizationFail = "authz_fail", Warning;
    /// An account was made.
    UserCreated = "user_created", Info;
    /// An account was changed.
    UserUpdated = "user_updated", Info;
    /// An account was enabled, disabled or deleted.
    UserState = "user_state", Info;
    /// A session was ended by its owner.
    SessionEnded = "session_ended", Info;
    /// A session was ended by an administrator.
    SessionRevoked = "session_revoked", Info;
    /// Sessions ended by themselves.
    SessionExpired = "session_expired", Info;
    /// A client was sent away for its certificate.
    CertificateRefused = "client_certificate_refused", Warning;
    /// An upstream could not prove who it is, or would not speak TLS.
    UpstreamTlsFail = "upstream_tls_fail", Warning;
    /// A new signing key.
    KeyRotated = "key_rotated", Info;
    /// The gate began to serve.
    SysStartup = "sys_startup", Info;
    /// The gate goes by another configuration.
    ConfigReloaded = "sys_config_reloaded", Info;
    /// A configuration was to be read again, and the gate goes on by the one that it had.
    ConfigRefused = "sys_config_refused", Warning;
    /// The gate stops.
    SysShutdown = "sys_shutdown", Info;
    /// The log up to here, signed.
    AuditCheckpoint = "audit_checkpoint", Info;
    /// So many events could not be written.
    AuditGap = "audit_gap", Warning;
    /// So many events of a kind came in a short time that they have no records of their own.
    AuditSummary = "audit_summary", Warning;
    /// Old records were removed.
    AuditPruned = "audit_pruned", Info;
    /// The log was found changed by somebody else.
    AuditBroken = "audit_broken", Warning;
}
