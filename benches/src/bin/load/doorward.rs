//! What Doorward alone needs: an account before it starts, and a session after.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use crate::http::{Client, Endpoint};

/// The account that is signed in, as `Remote-User` names it.
pub(crate) const ACCOUNT: &str = "bench";
const PASSWORD: &str = "correct horse battery staple";
/// Where names and passwords go.
pub(crate) const SIGN_IN: &str = "/.doorward/api/v1/sign-in";
/// The name of the session cookie.
pub(crate) const COOKIE: &str = "__Host-doorward";

/// A cookie of the same length, for a run without Doorward.
pub(crate) fn stand_in() -> String {
    format!("{COOKIE}={}", "0".repeat(43))
}

/// Creates an account with the one password.
pub(crate) fn add_account(program: &Path, directory: &Path, config: &str, name: &str) {
    let mut child = Command::new(program)
        .args(["account", "add", name, "--password-stdin", "--config", config])
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
    let mut input = child.stdin.take().expect("its standard input");
    writeln!(input, "{PASSWORD}").expect("it reads the password");
    drop(input);
    let status = child.wait().expect("it ends");
    assert!(status.success(), "doorward account add: {status}");
}

/// Whether Doorward says it is ready.
pub(crate) fn ready(operations: u16) -> bool {
    let answer = Client::connect(operations).and_then(|mut client| client.get("/readyz", ""));
    answer.is_ok_and(|answer| answer.status == 200)
}

/// What somebody signs in with.
pub(crate) fn credentials(account: &str) -> String {
    serde_json::json!({ "account": account, "password": PASSWORD }).to_string()
}

/// Signs in and returns the session cookie.
pub(crate) fn sign_in(endpoint: &Endpoint) -> String {
    let mut client = Client::open(endpoint).expect("Doorward accepts a connection");
    let answer = client.post(SIGN_IN, &credentials(ACCOUNT)).expect("Doorward answers");
    assert_eq!(answer.status, 200, "sign-in: {}", answer.body);
    answer
        .headers("set-cookie")
        .filter_map(|cookie| cookie.split(';').next())
        .find(|cookie| cookie.split_once('=').is_some_and(|(name, _)| name == COOKIE))
        .expect("a session cookie")
        .to_owned()
}
