//! `doorward appeal`: what administrators do about appeals.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use doorward_plugins::administration::{AppealSummary, Reply, Request};
use doorward_plugins::appeal::Statement;

use super::admin::ask;
use super::arguments::Appeal;
use super::{Failure, load, say, tame};

pub(super) fn run(command: Appeal) -> Result<(), Failure> {
    let (gate, request, folder) = match command {
        Appeal::List { all, gate } => (gate, Request::AppealList { all }, None),
        Appeal::Show { id, documents, gate } => (gate, Request::AppealShow { id }, documents),
        Appeal::Grant { id, gate } => (gate, Request::AppealDecide { id, grant: true }, None),
        Appeal::Refuse { id, gate } => (gate, Request::AppealDecide { id, grant: false }, None),
        Appeal::Stop { id, gate } => (gate, Request::AppealStop { id }, None),
    };
    let reply = ask(load(&gate.config)?, request)?;
    if let (Some(folder), Reply::Appeal { statement, .. }) = (&folder, &reply) {
        write_documents(folder, statement)?;
    }
    if gate.json {
        let text =
            serde_json::to_string(&reply).map_err(|error| Failure::Internal(error.to_string()))?;
        say(&text);
        return Ok(());
    }
    match &reply {
        Reply::Appeals { appeals } if appeals.is_empty() => say("no appeals"),
        Reply::Appeals { appeals } => appeals.iter().for_each(print),
        Reply::Appeal { appeal, statement } => {
            print(appeal);
            // What strangers wrote must not steer the terminal; its lines stay lines.
            say(&format!("contact: {}", tame(&statement.contact)));
            statement.reason.lines().for_each(|line| say(&format!("  {}", tame(line))));
            say(&format!("documents: {}", statement.documents.len()));
        }
        _ => {}
    }
    Ok(())
}

fn print(appeal: &AppealSummary) {
    let AppealSummary { id, account, state, created, effective, .. } = appeal;
    let effective = effective.map(|at| format!("  takes effect {}", at.rfc3339()));
    let effective = effective.unwrap_or_default();
    say(&format!("{id}  {account}  {}  {}{effective}", state.as_str(), created.rfc3339()));
}

/// One file for each document, for this user alone.
fn write_documents(folder: &Path, statement: &Statement) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)?;
    for (index, document) in statement.documents.iter().enumerate() {
        let place = folder.join(format!("document-{}.{}", index + 1, document.kind.extension()));
        let failed = |error| Failure::Io(format!("{}: {error}", place.display()));
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&place);
        opened.and_then(|mut file| file.write_all(&document.bytes())).map_err(failed)?;
        say(&place.display().to_string());
    }
    Ok(())
}
