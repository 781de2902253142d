//! Passwords come from a prompt or from standard input, never from the command line, which other
//! users of the machine can see.

use std::io::{self, BufRead, IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::Failure;

/// Reads a new password: a line of standard input, or twice from the terminal.
pub(super) fn read(from_stdin: bool) -> Result<String, Failure> {
    if from_stdin {
        return line();
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::Config(
            "standard input is not a terminal: write --password-stdin to read the password from it"
                .into(),
        ));
    }
    let first = ask("Password: ")?;
    if ask("Again: ")? != first {
        return Err(Failure::Refuse("the two passwords differ; nothing was changed".into()));
    }
    Ok(first)
}

/// The hash as given, or a line of standard input for "-".
pub(super) fn read_hash(given: String) -> Result<String, Failure> {
    if given == "-" { line() } else { Ok(given) }
}

fn ask(prompt: &str) -> Result<String, Failure> {
    let mut terminal = io::stderr();
    terminal.write_all(prompt.as_bytes())?;
    terminal.flush()?;
    let quiet = Quiet::begin()?;
    let password = line();
    drop(quiet);
    terminal.write_all(b"\n")?;
    password
}

fn line() -> Result<String, Failure> {
    let mut text = String::new();
    io::stdin().lock().read_line(&mut text)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// The terminal does not show what is typed as long as this lives.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> Result<Self, Failure> {
        let before = tcgetattr(io::stdin()).map_err(io::Error::from)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet).map_err(io::Error::from)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // If the terminal is gone there is nothing to restore.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
