//! Commands on accounts, sessions and keys.
//!
//! They ask the running gate over its administration socket; if none runs, they do the same to
//! its store. Which it was is said on standard error.

use std::path::Path;
use std::sync::Arc;

use doorward_config::{GatewayConfig, Store, format_duration, parse_duration};
use doorward_plugins::account::{PrincipalRecord, State, Verification};
use doorward_plugins::administration::{AccountChange, AdminError, Reply, Request, SessionSummary};
use doorward_plugins::lockout::{LockState, TallySummary};
use doorward_plugins::{Clock, OpenError, Services, Timestamp};
use tokio::net::UnixStream;

use crate::outgoing::HttpsClient;

use super::arguments::{Account, Change, Factor, Gate, Key, Lock, Session};
use super::socket::{self, unanswered};
use super::{Failure, load, note, password, runtime, say, tame};

pub(super) fn account(command: Account) -> Result<(), Failure> {
    let (gate, request) = match command {
        Account::Add { name, password_stdin, password_hash, change, gate } => {
            let change = Box::new(change.parse()?);
            let request = match password_hash {
                Some(hash) => Request::AccountImport {
                    name,
                    password_hash: password::read_hash(hash)?,
                    change,
                },
                None => {
                    Request::AccountAdd { name, password: password::read(password_stdin)?, change }
                }
            };
            (gate, request)
        }
        Account::List { gate } => (gate, Request::AccountList),
        Account::Show { name, gate } => (gate, Request::AccountShow { name }),
        Account::Set { name, change, gate } => {
            (gate, Request::AccountSet { name, change: Box::new(change.parse()?) })
        }
        Account::Enable { name, gate } => (gate, Request::AccountEnable { name }),
        Account::Disable { name, gate } => (gate, Request::AccountDisable { name }),
        Account::Delete { name, gate } => (gate, Request::AccountDelete { name }),
        Account::SetPassword { name, password_stdin, password_hash, gate } => {
            let request = match password_hash {
                Some(hash) => Request::AccountSetPasswordHash {
                    name,
                    password_hash: password::read_hash(hash)?,
                },
                None => {
                    Request::AccountSetPassword { name, password: password::read(password_stdin)? }
                }
            };
            (gate, request)
        }
    };
    run(&gate, request)
}

pub(super) fn session(command: Session) -> Result<(), Failure> {
    let (gate, request) = match command {
        Session::List { name, gate } => (gate, Request::SessionList { name }),
        Session::Revoke { all: Some(name), gate, .. } => (gate, Request::SessionRevokeAll { name }),
        Session::Revoke { id, gate, .. } => {
            (gate, Request::SessionRevoke { id: id.unwrap_or_default() })
        }
    };
    run(&gate, request)
}

pub(super) fn key(command: Key) -> Result<(), Failure> {
    let (gate, request) = match command {
        Key::List { gate } => (gate, Request::KeyList),
        Key::Rotate { gate } => (gate, Request::KeyRotate),
        Key::RotateVault { gate } => (gate, Request::VaultRotate),
    };
    run(&gate, request)
}

pub(super) fn lock(command: Lock) -> Result<(), Failure> {
    let (gate, request) = match command {
        Lock::List { gate } => (gate, Request::LockList),
        Lock::Show { name, gate } => (gate, Request::LockShow { name }),
        Lock::Lift { name, gate } => (gate, Request::LockLift { name }),
    };
    run(&gate, request)
}

pub(super) fn factor(command: Factor) -> Result<(), Failure> {
    let (gate, request) = match command {
        Factor::List { name, gate } => (gate, Request::FactorList { name }),
        Factor::Reset { name, gate } => (gate, Request::FactorReset { name }),
        Factor::Import { file, gate } => {
            let text = match file.as_os_str() == "-" {
                true => std::io::read_to_string(std::io::stdin())?,
                false => std::fs::read_to_string(&file)
                    .map_err(|error| Failure::Io(format!("{}: {error}", file.display())))?,
            };
            (gate, Request::TokenImport { text })
        }
    };
    run(&gate, request)
}

fn run(gate: &Gate, request: Request) -> Result<(), Failure> {
    let reply = ask(load(&gate.config)?, request)?;
    if gate.json {
        let text =
            serde_json::to_string(&reply).map_err(|error| Failure::Internal(error.to_string()))?;
        say(&text);
    } else {
        print(&reply);
    }
    Ok(())
}

/// Asks the running gate, or else does it to the store of a stopped one.
pub(super) fn ask(config: GatewayConfig, request: Request) -> Result<Reply, Failure> {
    let mut reply = None;
    converse(config, request, |given| {
        reply = Some(given);
        None
    })?;
    reply.ok_or_else(|| Failure::Internal("there is no reply".into()))
}

/// The same with several requests: `take` gets a reply and says what to ask next.
pub(super) fn converse(
    config: GatewayConfig,
    first: Request,
    take: impl FnMut(Reply) -> Option<Request>,
) -> Result<(), Failure> {
    let socket = config.operations.socket.clone();
    runtime()?.block_on(async {
        match UnixStream::connect(&socket).await {
            Ok(stream) => {
                note(&format!("asked the running gate at {}", socket.display()));
                converse_running(stream, &config, first, take).await
            }
            Err(_) => Box::pin(converse_stopped(config, &socket, first, take)).await,
        }
    })
}

async fn converse_running(
    mut stream: UnixStream,
    config: &GatewayConfig,
    mut request: Request,
    mut take: impl FnMut(Reply) -> Option<Request>,
) -> Result<(), Failure> {
    loop {
        let reply = Box::pin(ask_running(stream, &config.store, &request)).await?;
        let Some(next) = take(reply) else { return Ok(()) };
        // A connection is for one request.
        request = next;
        stream = UnixStream::connect(&config.operations.socket).await?;
    }
}

async fn ask_running(
    stream: UnixStream,
    store: &Store,
    request: &Request,
) -> Result<Reply, Failure> {
    let body = serde_json::to_vec(request).map_err(unanswered)?;
    let (status, body) = socket::post(stream, store, "/administration", body).await?;
    let text = || String::from_utf8_lossy(&body).into_owned();
    match status.as_u16() {
        200 => serde_json::from_slice(&body).map_err(unanswered),
        404 | 422 => Err(Failure::Refuse(text())),
        _ => Err(Failure::Io(text())),
    }
}

async fn converse_stopped(
    config: GatewayConfig,
    socket: &Path,
    first: Request,
    mut take: impl FnMut(Reply) -> Option<Request>,
) -> Result<(), Failure> {
    let place = config.store.path.display().to_string();
    let services =
        Services::open(Arc::new(config), Clock::machine()).await.map_err(|error| match error {
            OpenError::InUse(store) => Failure::Io(format!(
                "{store} is in use by a gate that does not answer at {}",
                socket.display()
            )),
            OpenError::BreachList(_) => Failure::Config(error.to_string()),
            error => Failure::Io(error.to_string()),
        })?;
    HttpsClient::serve(&services);
    note(&format!("no gate is running: used its store at {place}"));
    let mut request = Some(first);
    let mut result = Ok(());
    while let Some(asked) = request.take() {
        match services.administration.execute(asked).await {
            Ok(reply) => request = take(reply),
            Err(error) => result = Err(error),
        }
    }
    services.close().await;
    result.map_err(|error| match error {
        AdminError::Refuse(_) | AdminError::Unknown(_) => Failure::Refuse(error.to_string()),
        AdminError::Failed(_) => Failure::Io(error.to_string()),
    })
}

impl Change {
    fn parse(self) -> Result<AccountChange, Failure> {
        let idle_secs = match self.idle.as_deref() {
            None => None,
            Some("default") => Some(0),
            Some(text) => {
                let time = parse_duration(text).filter(|time| !time.is_zero());
                Some(
                    time.ok_or_else(|| {
                        Failure::Refuse(format!("{text:?} is not a time; write one such as 45m"))
                    })?
                    .as_secs(),
                )
            }
        };
        let verification = match self.verification.as_deref() {
            None => None,
            Some(text) => Some(Verification::parse(text).ok_or_else(|| {
                Failure::Refuse(format!(
                    "{text:?} is not a status; write unverified, personal or enterprise"
                ))
            })?),
        };
        let Self { display_name, email, security_email, phone, roles, groups, .. } = self;
        let Self { login_protection, operation_protection, language, .. } = self;
        Ok(AccountChange {
            display_name,
            email,
            security_email,
            phone,
            language,
            roles,
            groups,
            idle_secs,
            verification,
            login_protection,
            operation_protection,
        })
    }
}

fn print(reply: &Reply) {
    match reply {
        Reply::Account(record) => print_account(record),
        // `doorward appeal` prints these itself.
        Reply::Appeals { .. } | Reply::Appeal { .. } => {}
        Reply::Accounts { accounts } => accounts.iter().for_each(print_account_line),
        Reply::Sessions { sessions } => sessions.iter().for_each(print_session),
        Reply::Keys { keys } => {
            for key in keys {
                let state = if key.retired.is_some() { "retired" } else { "signing" };
                say(&format!("{}  {}  {state}", key.kid, key.algorithm));
            }
        }
        Reply::AuditRecords { records, .. } => {
            records.iter().for_each(|record| say(&record.for_people()));
        }
        // Told by `audit`, with an exit code.
        Reply::AuditReport(_) => {}
        Reply::Locks { locks } if locks.is_empty() => say("no wrong passwords"),
        Reply::Locks { locks } => locks.iter().for_each(print_lock),
        Reply::Factors { factors } if factors.is_empty() => say("nothing is bound"),
        Reply::Factors { factors } => {
            for factor in factors {
                let used = factor.used.map_or("never used".into(), |used| used.rfc3339());
                say(&format!("{}  {}  {}  {used}", factor.id, factor.kind.as_str(), factor.name));
            }
        }
        Reply::Sealed { sealed } => say(&format!("{sealed} secrets are encrypted anew")),
        Reply::Imported { imported } => say(&format!("{imported} tokens were imported")),
        Reply::Ended { ended } => {
            say(&format!("{ended} session{} ended", if *ended == 1 { "" } else { "s" }))
        }
    }
}

fn print_account(record: &PrincipalRecord) {
    let none = || "-".to_owned();
    let list = |names: &[String]| if names.is_empty() { none() } else { names.join(", ") };
    let idle = record.idle_secs.map_or("the configuration's".to_owned(), |secs| {
        format_duration(std::time::Duration::from_secs(secs))
    });
    let protection = match (record.protection.login, record.protection.operations) {
        (true, true) => "sign-in and operations",
        (true, false) => "sign-in",
        (false, true) => "operations",
        (false, false) => "-",
    };
    let protection = protection.to_owned();
    for (label, value) in [
        ("name", record.name.to_string()),
        ("id", record.id.clone()),
        ("state", state(record).to_owned()),
        ("display name", record.display_name.clone().unwrap_or_else(none)),
        ("e-mail", record.email.clone().unwrap_or_else(none)),
        ("safety e-mail", record.security_email.clone().unwrap_or_else(none)),
        ("phone", record.phone.clone().unwrap_or_else(none)),
        ("roles", list(&record.roles)),
        ("groups", list(&record.groups)),
        ("idle time", idle),
        ("protection", protection),
        ("verification", record.verification.as_str().to_owned()),
    ] {
        say(&format!("{label:13} {}", tame(&value)));
    }
}

fn print_account_line(record: &PrincipalRecord) {
    say(&format!(
        "{:32} {:9} {}",
        record.name.to_string(),
        state(record),
        tame(record.display_name.as_deref().unwrap_or_default())
    ));
}

fn state(record: &PrincipalRecord) -> &'static str {
    match (record.state, record.account_state) {
        (State::Active, State::Active) => "active",
        (State::Deleted, _) | (_, State::Deleted) => "deleted",
        _ => "disabled",
    }
}

fn print_session(session: &SessionSummary) {
    let now = Clock::machine().now();
    let ago =
        |at: Timestamp| format_duration(std::time::Duration::from_secs(now.since(at).as_secs()));
    say(&format!(
        "{}  {:24} active {} ago, begun {} ago, from {}  {}",
        session.id,
        session.account.to_string(),
        ago(session.active),
        ago(session.created),
        session.address,
        tame(&session.device)
    ));
}

fn print_lock(lock: &TallySummary) {
    let left = lock.until.since(Clock::machine().now()).as_secs();
    let until = match (lock.state, lock.in_window) {
        (LockState::Disabled, _) => ", until the password is set or this is lifted".to_owned(),
        (_, 0) => String::new(),
        _ => format!(", for {} more", format_duration(std::time::Duration::from_secs(left))),
    };
    say(&format!(
        "{:32} {:9} {} wrong at the {}{until}; {} in a row; {}",
        lock.account,
        lock.state.as_str(),
        lock.in_window,
        lock.kind.as_str(),
        lock.in_row,
        if lock.known_device { "one known browser" } else { "everybody else" },
    ));
}
