//! The gate as a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};

use crate::{DEADLINE, MANY_SIGN_INS, PASSWORD, PUBLIC_HOST, Scratch};

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

/// The binary of an older version, if whoever runs the test has one: `DOORWARD_TEST_OLDER`. Otherwise
/// the same as [`binary`].
#[must_use]
pub fn older() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "whoever has one names it so")]
    std::env::var("DOORWARD_TEST_OLDER").map_or_else(|_| binary(), PathBuf::from)
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
        Self::begin(config, words).listening()
    }

    /// The same without waiting: it has no addresses yet.
    #[must_use]
    pub fn begin(config: &Path, words: &[&str]) -> Self {
        Self::begin_other(&binary(), config, words)
    }

    /// The same of another version.
    #[must_use]
    pub fn begin_other(binary: &Path, config: &Path, words: &[&str]) -> Self {
        Self::spawn(Self::command(binary, config, words))
    }

    fn command(binary: &Path, config: &Path, words: &[&str]) -> Command {
        // The shell is replaced by the gate. It makes a bound on file sizes, with which a test plays
        // a full disk, an error of the write instead of a signal that ends the process.
        let mut command = Command::new("sh");
        command
            .args(["-c", "trap '' XFSZ; exec \"$0\" serve --config \"$@\""])
            .arg(binary)
            .arg(config)
            .args(words);
        command
    }

    /// The same as a service manager does that listens for it.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn activated(config: &Path, socket: &TcpListener, notify: &Path) -> Self {
        Self::begin_activated(config, socket, notify).listening()
    }

    /// The same without waiting: it has no addresses yet.
    #[must_use]
    pub fn begin_activated(config: &Path, socket: &TcpListener, notify: &Path) -> Self {
        let mut command = Command::new("sh");
        let script =
            "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" serve --config \"$1\"";
        command.args(["-c", script]).arg(binary()).arg(config).env("NOTIFY_SOCKET", notify);
        command.stdin(OwnedFd::from(socket.try_clone().unwrap()));
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { child, address: nowhere, operations: nowhere, lines }
    }

    /// Waits until it listens.
    ///
    /// # Panics
    /// When it does not within [`DEADLINE`].
    #[must_use]
    pub fn listening(mut self) -> Self {
        let started = self.event("listening");
        let address = |name: &str| started[name].as_str().unwrap().parse().unwrap();
        (self.address, self.operations) = (address("address"), address("operations"));
        self
    }

    /// Waits until it logs this event. What it logged before is gone then.
    ///
    /// # Panics
    /// When it does not within [`DEADLINE`].
    pub fn event(&self, name: &str) -> serde_json::Value {
        loop {
            let line = self.lines.recv_timeout(DEADLINE).expect("a line about the start");
            let event: serde_json::Value = serde_json::from_str(&line).unwrap();
            if event["event"] == name {
                return event;
            }
        }
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

/// A disk that can be told to fail, for gates that are started on it.
#[derive(Debug)]
pub struct Disk {
    folder: Scratch,
}

impl Disk {
    /// One that is well.
    ///
    /// # Panics
    /// When there is no C compiler, which Rust's linker needs as well.
    #[must_use]
    pub fn new() -> Self {
        let folder = Scratch::new();
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-x", "c", "-", "-o"]).arg(folder.path().join(PRELOADED));
        let mut compiler = command.stdin(Stdio::piped()).spawn().expect("a C compiler");
        compiler.stdin.take().unwrap().write_all(include_bytes!("failing_sync.c")).unwrap();
        assert!(compiler.wait().unwrap().success());
        Self { folder }
    }

    /// As [`Served::start`].
    ///
    /// # Panics
    /// As that.
    #[must_use]
    pub fn serve(&self, config: &Path) -> Served {
        let mut command = Served::command(&binary(), config, &[]);
        command.env("LD_PRELOAD", self.folder.path().join(PRELOADED));
        command.env("DOORWARD_TEST_FAILING_SYNC", self.told());
        Served::spawn(command).listening()
    }

    /// From here on every `fsync` fails with EIO.
    pub fn fail_syncs(&self) {
        std::fs::write(self.told(), "").unwrap();
    }

    /// It is well again.
    pub fn mend(&self) {
        std::fs::remove_file(self.told()).unwrap();
    }

    fn told(&self) -> PathBuf {
        self.folder.path().join("fails")
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

/// What comes between the gate and the system (`failing_sync.c`), compiled.
const PRELOADED: &str = "failing_sync.so";
