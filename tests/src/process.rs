//! The gate as a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};

use crate::{DEADLINE, MANY_SIGN_INS, PASSWORD, PUBLIC_HOST};

/// The product's binary. Cargo names only binaries of a test's own package, so it is found beside
/// the test, where `tests/run` and `cargo test --workspace` have put it.
#[must_use]
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap();
    let binary = folder.join("doorward");
    assert!(
        binary.exists(),
        "{} is missing: build it with `cargo build -p doorward`",
        binary.display()
    );
    binary
}

/// What `tests/run` has prepared: a program or folder named by an environment variable.
///
/// # Panics
/// When the variable is not set.
#[must_use]
pub fn prepared(variable: &str) -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "tests/run names what it has prepared so")]
    let found = std::env::var(variable);
    let found = found.unwrap_or_else(|_| {
        panic!("{variable} is not set: run the tests by tests/run, which prepares what they need")
    });
    PathBuf::from(found)
}

/// What a Python program prints, with `input` on its standard input.
///
/// # Panics
/// When it fails, or is not there.
pub fn python(program: &str, arguments: &[&str], input: &[u8]) -> String {
    let mut command = Command::new(prepared("DOORWARD_TEST_PYTHON"));
    command.args(["-c", program]).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command to its end, with `input` on its standard input.
pub fn run(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(binary());
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read has ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Adds an account with the usual password by the command line.
pub fn add_account(config: &Path, name: &str) {
    let output = run(
        &["account", "add", name, "--password-stdin", "--config", config.to_str().unwrap()],
        &format!("{PASSWORD}\n"),
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Writes a configuration for a gate over `folder`, in front of `upstream`.
pub fn configure(folder: &Path, upstream: &SocketAddr, extra: &str) -> PathBuf {
    let file = folder.join("doorward.toml");
    let text = format!(
        "public_url = \"https://{PUBLIC_HOST}\"\nworkers = 1\nshutdown_grace = \"10s\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.console]\naddress = \"http://{upstream}\"\n[store]\npath = \"doorward.db\"\n[operations]\naddress = \"127.0.0.1:0\"\n{MANY_SIGN_INS}{extra}"
    );
    std::fs::write(&file, text).unwrap();
    file
}

/// A running `doorward serve`; killed when dropped.
pub struct Served {
    /// The process.
    pub child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it answers operators.
    pub operations: SocketAddr,
    lines: Receiver<String>,
}

impl Served {
    /// Starts it and waits until it listens.
    ///
    /// # Panics
    /// When it does not within [`DEADLINE`].
    #[must_use]
    pub fn start(config: &Path) -> Self {
        Self::start_with(config, &[])
    }

    /// The same with further words on the command line.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn start_with(config: &Path, words: &[&str]) -> Self {
        // The shell is replaced by the gate. It makes a bound on file sizes, with which a test plays
        // a full disk, an error of the write instead of a signal that ends the process.
        let mut command = Command::new("sh");
        command
            .args(["-c", "trap '' XFSZ; exec \"$0\" serve --config \"$@\""])
            .arg(binary())
            .arg(config)
            .args(words);
        Self::run(command)
    }

    /// The same as a service manager does that listens for it.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn activated(config: &Path, socket: &TcpListener, notify: &Path) -> Self {
        let mut command = Command::new("sh");
        let script =
            "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" serve --config \"$1\"";
        command.args(["-c", script]).arg(binary()).arg(config).env("NOTIFY_SOCKET", notify);
        command.stdin(OwnedFd::from(socket.try_clone().unwrap()));
        Self::run(command)
    }

    fn run(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let started = loop {
            let line = lines.recv_timeout(DEADLINE).expect("a line about the start");
            let event: serde_json::Value = serde_json::from_str(&line).unwrap();
            if event["event"] == "listening" {
                break event;
            }
        };
        let address = |name: &str| started[name].as_str().unwrap().parse().unwrap();
        Self { child, address: address("address"), operations: address("operations"), lines }
    }

    /// `kill -9`: nothing is written, nothing is said.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Lets the process write files of at most this many bytes, as if the disk were full;
    /// `unlimited` to lift it.
    pub fn bound_files(&self, size: &str) {
        let pid = format!("--pid={}", self.child.id());
        let bound = format!("--fsize={size}:unlimited");
        let status = Command::new("prlimit").args([&pid, &bound]).status();
        assert!(status.unwrap().success());
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// The log lines so far.
    pub fn log(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
