//! The command line.
//!
//! Exit codes: 0 done, 1 refused (there is no such account, say), 64 configuration or usage,
//! 70 internal, 74 input or output (a port is taken, the store cannot be used).

mod admin;
mod appeal;
mod arguments;
mod audit;
mod breach_list;
mod config;
mod health;
mod password;
mod reload;
mod serve;
mod socket;
mod store;
mod take_over;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use doorward_plugins::OpenError;

use crate::gate::StartError;
use arguments::{Arguments, Command};

pub(crate) use doorward_plugins::audit::tame;
pub(crate) use serve::{Signals, wait_for_end};

/// What went wrong, in the terms of exit codes.
#[derive(Debug)]
pub(crate) enum Failure {
    /// 64: the configuration or the command's words.
    Config(String),
    /// 70: a fault of ours.
    Internal(String),
    /// 74: the system did not give what was needed.
    Io(String),
    /// 1: the command was understood and is refused.
    Refuse(String),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Config(_) => 64,
            Self::Internal(_) => 70,
            Self::Io(_) => 74,
            Self::Refuse(_) => 1,
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Config(text) | Self::Internal(text) | Self::Io(text) | Self::Refuse(text) => text,
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Config(text) => Self::Config(text),
            StartError::Keys(error) => Self::Config(error.to_string()),
            StartError::Open(error @ OpenError::BreachList(_)) => Self::Config(error.to_string()),
            error @ (StartError::Io(..) | StartError::Open(_)) => Self::Io(error.to_string()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

/// Does what the command line says.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { 64 } else { 0 };
            // Nobody is left to tell if this cannot be printed.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let result = match arguments.command {
        Command::Demo(options) => crate::demo::run(&options.listen, &options.data),
        Command::Serve { config, take_over, strict_start } => {
            serve::run(&config, take_over, strict_start)
        }
        Command::Reload { config } => reload::run(&config),
        Command::Config(command) => config::run(&command),
        Command::Account(command) => admin::account(command),
        Command::BreachList(command) => breach_list::run(command),
        Command::Session(command) => admin::session(command),
        Command::Key(command) => admin::key(command),
        Command::Audit(command) => audit::run(command),
        Command::Lock(command) => admin::lock(command),
        Command::Factor(command) => admin::factor(command),
        Command::Appeal(command) => appeal::run(command),
        Command::Store(command) => store::run(command),
        Command::Health { config } => health::run(&config),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Arguments::command(),
                "doorward",
                &mut std::io::stdout(),
            );
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            note(&format!("doorward: {}", failure.text()));
            ExitCode::from(failure.code())
        }
    }
}

/// Prints a line of the answer.
pub(crate) fn say(line: &str) {
    // A closed pipe (`| head`) wants no more of it.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints a line about the answer, apart from it.
pub(crate) fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A runtime for one command.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Loads a configuration file, or tells all that is wrong with it.
pub(crate) fn load(file: &std::path::Path) -> Result<doorward_config::GatewayConfig, Failure> {
    doorward_config::GatewayConfig::load(file).map_err(|error| Failure::Config(error.to_string()))
}
