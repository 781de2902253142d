//! `doorward demo`: a whole working example on this machine.
//!
//! It writes a configuration, makes a development certificate and accounts with random passwords
//! (kept in the data folder, so that a second start knows them), runs a sample console behind the
//! gate, and prints what to try. Not for the public: the passwords stand in a file.

mod console;

use std::fmt::Display;
use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use doorward_certs::development::DevelopmentCertificate;
use doorward_config::GatewayConfig;
use doorward_plugins::Clock;
use doorward_plugins::account::fresh_id;
use doorward_plugins::administration::{AccountChange, AdminError, Reply, Request};
use doorward_plugins::authenticator::Kind;
use doorward_plugins::authenticator::totp::{Algorithm, Seed};
use serde::{Deserialize, Serialize};

pub use self::console::{POLICY, app};

use crate::cli::{Failure, note, say};
use crate::gate::Gate;
use crate::log::LogSink;

/// An account of the example.
#[derive(Serialize, Deserialize)]
struct DemoAccount {
    name: String,
    password: String,
    display_name: String,
    roles: Vec<String>,
    groups: Vec<String>,
    /// The key of an authenticator app, as people type it.
    #[serde(default)]
    app_key: Option<String>,
}

/// Runs the example until a signal ends it.
pub(crate) fn run(listen: &SocketAddr, data: &Path) -> Result<(), Failure> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data)?;
    let data = data.canonicalize()?;
    let listen = with_port(*listen)?;
    DevelopmentCertificate::ensure(&data, &["localhost", "127.0.0.1", "::1"])
        .map_err(|error| Failure::Io(error.to_string()))?;
    let text = configuration(listen, &data);
    let mut config = GatewayConfig::parse(&text, &data)
        .map_err(|problems| Failure::Internal(format!("{problems:?}")))?;
    config.file = Some(data.join("doorward.toml"));

    if !listen.ip().is_loopback() {
        note(&format!("warning: others can reach {listen}; the example is not made for that"));
    }
    let log = private(&data.join("demo.log"), OpenOptions::new().append(true))?;
    let log = LogSink::new(log)?;
    log.install("info");
    let signals = crate::cli::Signals::hear()?;
    let gate = Gate::start(config, Clock::machine(), log)?;
    // Only now, as the folder could be that of an example that still runs.
    let mut file =
        private(&data.join("doorward.toml"), OpenOptions::new().write(true).truncate(true))?;
    file.write_all(text.as_bytes())?;
    let accounts = accounts(&data)?;
    let served = gate.office().block_on(async {
        add(&gate, &accounts).await?;
        console::start(&data.join("console.sock"), gate.services()).await?;
        Ok(())
    });
    served.map_err(|error: Failure| error)?;
    print(listen, &data, &accounts);
    crate::cli::wait_for_end(gate, signals)
}

/// A file for this user only, made when missing. A link is refused: what it points to is not ours.
fn private(path: &Path, options: &mut OpenOptions) -> Result<File, Failure> {
    let failed = |reason: &dyn Display| Failure::Io(format!("{}: {reason}", path.display()));
    if path.is_symlink() {
        return Err(failed(&"is a symbolic link; remove it"));
    }
    let file = options.create(true).mode(0o600).open(path).map_err(|error| failed(&error))?;
    // The mode above is that of a new file only.
    file.set_permissions(Permissions::from_mode(0o600)).map_err(|error| failed(&error))?;
    Ok(file)
}

/// The address with a port: a free one where it has none.
fn with_port(listen: SocketAddr) -> Result<SocketAddr, Failure> {
    if listen.port() != 0 {
        return Ok(listen);
    }
    Ok(TcpListener::bind(listen)?.local_addr()?)
}

fn configuration(listen: SocketAddr, data: &Path) -> String {
    let port = listen.port();
    let socket = data.join("console.sock");
    let socket = toml_text(&format!("unix:{}", socket.display()));
    format!(
        r#"# Written by `doorward demo` at every start; a copy of it is a good beginning.
public_url = "https://localhost:{port}"

[[listener]]
address = "{listen}"
tls = {{ chain_file = "chain.pem", key_file = "key.pem" }}

[upstream.console]
address = {socket}
hosts = ["localhost", "127.0.0.1", "[::1]"]

[store]
path = "doorward.db"

[operations]
address = "127.0.0.1:0"

# Messages are written into this folder instead of being sent.
[notify]
outbox_dir = "outbox"

[[route]]
path = "/public/**"
access = "public"

[[route]]
path = "/admin/**"
roles = ["owner"]

[[route]]
path = "/keys/**"
methods = ["POST"]
step_up = {{ max_age = "5m", label = "Manage access keys" }}

[[route]]
path = "/transfer"
methods = ["POST"]
step_up = {{ bind = "request", label = "Transfer money", show = ["to", "amount"] }}

[[route]]
path = "/poll"
activity = false
"#
    )
}

fn toml_text(text: &str) -> String {
    // A JSON string is a TOML basic string, but for \u007f, which no path of ours has.
    serde_json::Value::from(text).to_string()
}

/// The accounts of the example, with the passwords of an earlier start if there was one.
fn accounts(data: &Path) -> Result<Vec<DemoAccount>, Failure> {
    let file = data.join("accounts.json");
    if let Ok(text) = std::fs::read_to_string(&file) {
        return serde_json::from_str(&text)
            .map_err(|error| Failure::Io(format!("{}: {error}", file.display())));
    }
    let made: Result<Vec<_>, Failure> = [
        ("alice", "Alice Example", ["owner"].as_slice(), ["staff", "operators"].as_slice()),
        ("alice/dev", "Dev of Alice", &["developer"], &["staff"]),
        ("bob", "Bob Example", &["owner"], &[]),
    ]
    .into_iter()
    .map(|(name, display_name, roles, groups)| {
        let password = fresh_id().map_err(|_| Failure::Internal("no randomness".into()))?;
        let seed = Seed::fresh().map_err(|_| Failure::Internal("no randomness".into()))?;
        // The second one has to bind an app first.
        let app_key = (name != "bob").then(|| seed.text().to_string());
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Ok(DemoAccount {
            name: name.into(),
            password,
            display_name: display_name.into(),
            roles: owned(roles),
            groups: owned(groups),
            app_key,
        })
    })
    .collect();
    let made = made?;
    let text = serde_json::to_string_pretty(&made)
        .map_err(|error| Failure::Internal(error.to_string()))?;
    let mut handle = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file)?;
    handle.write_all(text.as_bytes())?;
    Ok(made)
}

async fn add(gate: &Gate, accounts: &[DemoAccount]) -> Result<(), Failure> {
    for account in accounts {
        let change = AccountChange {
            display_name: Some(account.display_name.clone()),
            roles: Some(account.roles.clone()),
            groups: Some(account.groups.clone()),
            ..AccountChange::default()
        };
        let request = Request::AccountAdd {
            name: account.name.clone(),
            password: account.password.clone(),
            change: Box::new(change),
        };
        match gate.services().administration.execute(request).await {
            Ok(Reply::Account(record)) => bind(gate, &record.id, account).await?,
            // It was added by an earlier start.
            Ok(_) | Err(AdminError::Refuse(_)) => {}
            Err(error) => return Err(Failure::Internal(error.to_string())),
        }
    }
    Ok(())
}

/// Binds the account's app.
async fn bind(gate: &Gate, id: &str, account: &DemoAccount) -> Result<(), Failure> {
    let text = account.app_key.as_deref().unwrap_or_default();
    let Some(seed) = Seed::from_text(text, Algorithm::Sha1, 6) else { return Ok(()) };
    let authenticators = &gate.services().second.authenticators;
    let bound = authenticators.bind(id, Kind::Totp, "Authenticator app", &seed, None, 0).await;
    bound.map(drop).map_err(|error| Failure::Internal(error.to_string()))
}

fn print(listen: SocketAddr, data: &Path, accounts: &[DemoAccount]) {
    let url = format!("https://localhost:{}", listen.port());
    say(&format!("Doorward is running: {url}\n"));
    say("  account      sub-user     password                 key of the authenticator app");
    for account in accounts {
        let (main, sub_user) = account.name.split_once('/').unwrap_or((&account.name, "-"));
        let key = account.app_key.as_deref().unwrap_or("none: binds one when it is asked for");
        say(&format!("  {main:12} {sub_user:12} {:24} {key}", account.password));
    }
    let ca = data.join("ca.pem");
    let (first, password) =
        accounts.first().map_or(("", ""), |account| (&account.name, &account.password));
    say(&format!(
        r#"
Open {url} in a browser (it will warn: the certificate is only for this example), or:

  curl --cacert {ca} {url}/public/hello
  curl --cacert {ca} -i {url}/api/orders
  curl --cacert {ca} -c jar -H 'content-type: application/json' \
    -d '{{"account":"{first}","password":"{password}"}}' {url}/.doorward/api/v1/sign-in
  curl --cacert {ca} -b jar {url}/api/orders

Put a key into an authenticator app, or run `oathtool --totp -b KEY`: {url}/app asks for its code
before it manages keys or transfers money.

The console shows the fields it received and the claims it verified. Configuration, store, log,
messages and the passwords above are in {data}. Stop with Ctrl-C."#,
        ca = ca.display(),
        data = data.display(),
    ));
}
