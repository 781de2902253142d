//! The words of the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// An authentication gateway: signs people in, keeps their sessions, and tells the console behind
/// it who is asking.
#[derive(Debug, Parser)]
#[command(name = "doorward", version, propagate_version = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a whole working example on this machine: gate, sample console, accounts.
    Demo(Demo),
    /// Run the gate. Where Redis or PostgreSQL cannot be reached yet it waits for them, and answers
    /// only operators meanwhile.
    Serve {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Take the place of the gate that runs over the same store: its listening sockets pass to
        /// this process, and it ends when its requests are done.
        #[arg(long)]
        take_over: bool,
        /// End with 74, and do not wait, where Redis or PostgreSQL cannot be reached.
        #[arg(long)]
        strict_start: bool,
    },
    /// Have the running gate read its configuration again; one with problems changes nothing.
    Reload {
        /// The configuration of the gate.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Look at a configuration before it serves.
    #[command(subcommand)]
    Config(Config),
    /// Accounts and sub-users. A sub-user is written ACCOUNT/SUB_USER.
    #[command(subcommand)]
    Account(Account),
    /// Lists of passwords that were found in breaches.
    #[command(subcommand)]
    BreachList(BreachList),
    /// Who is signed in.
    #[command(subcommand)]
    Session(Session),
    /// The keys that sign assertions.
    #[command(subcommand)]
    Key(Key),
    /// The log of what happened.
    #[command(subcommand)]
    Audit(Audit),
    /// What wrong passwords have led to.
    #[command(subcommand)]
    Lock(Lock),
    /// Second factors.
    #[command(subcommand)]
    Factor(Factor),
    /// Appeals of people who have lost every second factor.
    #[command(subcommand)]
    Appeal(Appeal),
    /// Where things are kept.
    #[command(subcommand)]
    Store(Store),
    /// Ask a running gate whether it is ready; exit 0 if it is.
    Health {
        /// The configuration of the gate.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Print completions for a shell.
    Completions {
        /// bash, zsh, fish, elvish or powershell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Where to listen, with TLS; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443")]
    pub(super) listen: SocketAddr,
    /// Where to keep the example's certificates, accounts and sessions.
    #[arg(long, value_name = "DIR", default_value = "doorward-demo")]
    pub(super) data: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Report every problem of a configuration, with its place; exit 64 if there is any.
    Check {
        /// The configuration.
        file: PathBuf,
        /// Print the problems as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of the configuration.
    Schema,
    /// Say what would happen to a request: route, demands, fields that would be sent.
    Explain {
        /// The configuration.
        file: PathBuf,
        /// Method of the request.
        #[arg(long, default_value = "GET")]
        method: String,
        /// URL of the request; a path stands for one at `public_url`.
        #[arg(long)]
        url: String,
        /// Who would ask; a stranger when left out.
        #[arg(long = "as", value_name = "ACCOUNT")]
        account: Option<String>,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// How every command on accounts, sessions and keys finds its gate.
#[derive(Debug, Args)]
pub(super) struct Gate {
    /// The configuration of the gate.
    #[arg(long, value_name = "FILE")]
    pub(super) config: PathBuf,
    /// Print as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Account {
    /// Add an account or a sub-user.
    Add {
        /// ACCOUNT or ACCOUNT/SUB_USER.
        name: String,
        /// Read the password from standard input instead of asking for it.
        #[arg(long)]
        password_stdin: bool,
        /// Take over a password by its hash from another system (bcrypt; Argon2id, scrypt or PBKDF2
        /// in PHC string form) instead; "-" reads the hash from standard input, unseen by others.
        #[arg(long, value_name = "HASH", conflicts_with = "password_stdin")]
        password_hash: Option<String>,
        #[command(flatten)]
        change: Change,
        #[command(flatten)]
        gate: Gate,
    },
    /// List accounts and sub-users.
    List {
        #[command(flatten)]
        gate: Gate,
    },
    /// Show one.
    Show {
        /// ACCOUNT or ACCOUNT/SUB_USER.
        name: String,
        #[command(flatten)]
        gate: Gate,
    },
    /// Change what is known of one; holds for sessions that exist.
    Set {
        /// ACCOUNT or ACCOUNT/SUB_USER.
        name: String,
        #[command(flatten)]
        change: Change,
        #[command(flatten)]
        gate: Gate,
    },
    /// Let a disabled one sign in again.
    Enable {
        /// ACCOUNT or ACCOUNT/SUB_USER.
        name: String,
        #[command(flatten)]
        gate: Gate,
    },
    /// Let one not sign in any more, and end all sessions.
    Disable {
        /// ACCOUNT or ACCOUNT/SUB_USER.
        name: String,
        #[command(flatten)]
        gate: Gate,
    },
    /// Delete one for ever; the name is not handed out again.
    Delete {
        /// ACCOUNT or ACCOUNT/SUB_USER.
        name: String,
        #[command(flatten)]
        gate: Gate,
    },
    /// Set a new password, and end all sessions.
    SetPassword {
        /// ACCOUNT or ACCOUNT/SUB_USER.
        name: String,
        /// Read the password from standard input instead of asking for it.
        #[arg(long)]
        password_stdin: bool,
        /// Take over a password by its hash from another system (bcrypt; Argon2id, scrypt or PBKDF2
        /// in PHC string form) instead; "-" reads the hash from standard input, unseen by others.
        #[arg(long, value_name = "HASH", conflicts_with = "password_stdin")]
        password_hash: Option<String>,
        #[command(flatten)]
        gate: Gate,
    },
}

/// What to write into an account; what is left out stays as it is.
#[derive(Debug, Args)]
pub(super) struct Change {
    /// The name to show; empty: none.
    #[arg(long, value_name = "TEXT")]
    pub(super) display_name: Option<String>,
    /// E-mail address; empty: none.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) email: Option<String>,
    /// A role; repeat for several, which replace all; empty: none.
    #[arg(long = "role", value_name = "ROLE")]
    pub(super) roles: Option<Vec<String>>,
    /// A group; repeat for several, which replace all; empty: none.
    #[arg(long = "group", value_name = "GROUP")]
    pub(super) groups: Option<Vec<String>>,
    /// Idle time of the account's sessions, 15m to 23h59m; "default": the configuration's.
    #[arg(long, value_name = "TIME")]
    pub(super) idle: Option<String>,
    /// E-mail address for what concerns safety; empty: none.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) security_email: Option<String>,
    /// Telephone number, such as +8613800000000; empty: none.
    #[arg(long, value_name = "NUMBER")]
    pub(super) phone: Option<String>,
    /// Does the account ask for a second factor at every sign-in?
    #[arg(long, value_name = "YES/NO", value_parser = parse_switch)]
    pub(super) login_protection: Option<bool>,
    /// Does it before sensitive operations?
    #[arg(long, value_name = "YES/NO", value_parser = parse_switch)]
    pub(super) operation_protection: Option<bool>,
    /// Language in which it is written to: en or zh-CN; empty: none.
    #[arg(long, value_name = "TAG")]
    pub(super) language: Option<String>,
    /// Real-name status: unverified, personal or enterprise.
    #[arg(long, value_name = "STATUS")]
    pub(super) verification: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Store {
    /// Copy a gate's file, and the keys that stand beside it, into a fresh folder; the gate may run.
    Backup {
        /// Its configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The folder, which must not be there yet.
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
    },
    /// Put a backup where a configuration has its store, which must not be there yet. Everybody has to
    /// sign in again; what else was done since the backup is undone.
    Restore {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The folder of the backup.
        #[arg(long, value_name = "FOLDER")]
        from: PathBuf,
    },
    /// Copy what is in a gate's file, while that gate is stopped, to the servers of a configuration:
    /// accounts and the like into PostgreSQL, which must be empty, all or none; sessions, wrong guesses
    /// and known browsers to Redis.
    Migrate {
        /// The configuration, with store.postgres, store.redis, or both.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The file. What is copied stays there too.
        #[arg(long, value_name = "SQLITE_FILE")]
        from: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum BreachList {
    /// Make the file that `accounts.breach_list` names.
    Make {
        /// Lines of SHA-1 hashes with or without a count, as the Pwned Passwords download has them,
        /// best sorted; "-" reads standard input.
        input: PathBuf,
        /// The list; one that exists is replaced.
        output: PathBuf,
        /// The lines are passwords, not hashes.
        #[arg(long)]
        passwords: bool,
    },
    /// Say whether a password is in a list; exit 1 if it is.
    Check {
        /// The list.
        file: PathBuf,
        /// Read the password from standard input instead of asking for it.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Read all of a list, and say whether it is as it was made.
    Verify {
        /// The list.
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Session {
    /// List live sessions.
    List {
        /// Only those of ACCOUNT or ACCOUNT/SUB_USER.
        name: Option<String>,
        #[command(flatten)]
        gate: Gate,
    },
    /// End a session, or all of somebody's.
    Revoke {
        /// The session's id.
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// End all sessions of ACCOUNT or ACCOUNT/SUB_USER instead.
        #[arg(long, value_name = "NAME", conflicts_with = "id")]
        all: Option<String>,
        #[command(flatten)]
        gate: Gate,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Key {
    /// List signing keys.
    List {
        #[command(flatten)]
        gate: Gate,
    },
    /// Make a new key, which signs from now on; the old one stays listed while it is needed.
    Rotate {
        #[command(flatten)]
        gate: Gate,
    },
    /// Make a new key for secrets in the store, and encrypt seeds with it.
    RotateVault {
        #[command(flatten)]
        gate: Gate,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// List the latest records.
    List {
        /// Only those about ACCOUNT or ACCOUNT/SUB_USER.
        #[arg(long, value_name = "NAME")]
        account: Option<String>,
        /// Only those of this event, such as authn_login_fail.
        #[arg(long, value_name = "EVENT")]
        event: Option<String>,
        /// Only those of the time before now, such as 24h.
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// At most so many, 10000 at the most.
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        limit: u32,
        #[command(flatten)]
        gate: Gate,
    },
    /// Print the whole log as JSON lines; the last line is its signed end.
    Export {
        /// The configuration of the gate.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Say what was done to the log and where; exit 1 if anything was.
    Verify {
        /// Verify an export of the gate instead of its store.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// The file is a piece of the log, such as `audit.file`: it may begin and end anywhere.
        #[arg(long, requires = "file")]
        piece: bool,
        #[command(flatten)]
        gate: Gate,
    },
    /// Print the JSON Schema of a record.
    Schema,
}

/// Reads a switch.
fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "yes" | "on" | "true" => Ok(true),
        "no" | "off" | "false" => Ok(false),
        _ => Err("write yes or no".into()),
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Appeal {
    /// List appeals that are not over.
    List {
        /// Those that are over as well.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        gate: Gate,
    },
    /// Show one: its reason and contact.
    Show {
        /// The appeal.
        id: String,
        /// Write the documents that came with it into this folder.
        #[arg(long, value_name = "DIR")]
        documents: Option<PathBuf>,
        #[command(flatten)]
        gate: Gate,
    },
    /// Grant one: all second factors go after the waiting time.
    Grant {
        /// The appeal.
        id: String,
        #[command(flatten)]
        gate: Gate,
    },
    /// Refuse one.
    Refuse {
        /// The appeal.
        id: String,
        #[command(flatten)]
        gate: Gate,
    },
    /// Stop one, granted or not.
    Stop {
        /// The appeal.
        id: String,
        #[command(flatten)]
        gate: Gate,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Factor {
    /// List what one has bound.
    List {
        /// ACCOUNT or ACCOUNT/SUB_USER.
        name: String,
        #[command(flatten)]
        gate: Gate,
    },
    /// Take in hardware tokens from a file of CSV (serial,seed[,algorithm[,digits]]; seeds in
    /// hexadecimal or base 32) or PSKC (RFC 6030). People bind theirs by serial number and two codes.
    Import {
        /// The file; "-" reads standard input.
        file: PathBuf,
        #[command(flatten)]
        gate: Gate,
    },
    /// Remove all second factors of one who has lost them, and end all sessions.
    Reset {
        /// ACCOUNT or ACCOUNT/SUB_USER.
        name: String,
        #[command(flatten)]
        gate: Gate,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Lock {
    /// List accounts with wrong passwords since the last right one, locked or not.
    List {
        #[command(flatten)]
        gate: Gate,
    },
    /// Show one.
    Show {
        /// ACCOUNT or ACCOUNT/SUB_USER.
        name: String,
        #[command(flatten)]
        gate: Gate,
    },
    /// Forget the wrong passwords of one, which lifts the lock.
    Lift {
        /// ACCOUNT or ACCOUNT/SUB_USER.
        name: String,
        #[command(flatten)]
        gate: Gate,
    },
}
