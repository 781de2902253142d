//! Commands on the audit log.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use doorward_config::parse_duration;
use doorward_plugins::administration::{Reply, Request};
use doorward_plugins::audit::{AuditQuestion, Record, Report, Verifier, schema};
use serde::Deserialize;

use super::arguments::{Audit, Gate};
use super::{Failure, admin, load, say, tame};

/// No line of an export is longer.
const LINE_BYTES_MAX: u64 = 256 * 1024;

/// The last line of an export.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    end: String,
}

pub(super) fn run(command: Audit) -> Result<(), Failure> {
    match command {
        Audit::List { account, event, since, limit, gate } => {
            let since_secs = since.map(|text| {
                let time = parse_duration(&text);
                time.map(|time| time.as_secs()).ok_or_else(|| {
                    Failure::Refuse(format!("{text:?} is not a time; write one such as 24h"))
                })
            });
            let since_secs = since_secs.transpose()?;
            list(&gate, AuditQuestion { account, event, since_secs, limit })
        }
        Audit::Export { config } => export(&config),
        Audit::Verify { file: Some(file), piece, gate } => {
            let report = verify_file(&gate.config, &file, piece)?;
            tell(&report, gate.json)
        }
        Audit::Verify { file: None, gate, .. } => {
            match admin::ask(load(&gate.config)?, Request::AuditVerify)? {
                Reply::AuditReport(report) => tell(&report, gate.json),
                _ => Err(unexpected()),
            }
        }
        Audit::Schema => {
            say(&format!("{:#}", schema()));
            Ok(())
        }
    }
}

fn list(gate: &Gate, question: AuditQuestion) -> Result<(), Failure> {
    let reply = admin::ask(load(&gate.config)?, Request::AuditList(question))?;
    let Reply::AuditRecords { records, .. } = reply else { return Err(unexpected()) };
    for record in records {
        say(&if gate.json { record.line() } else { record.for_people() });
    }
    Ok(())
}

/// Page by page, so that no more than one is held.
fn export(config: &Path) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    let mut result = Ok(());
    admin::converse(load(config)?, Request::AuditPage { after: 0 }, |reply| {
        let Reply::AuditRecords { records, end } = reply else {
            result = Err(unexpected());
            return None;
        };
        let mut lines: String = records.iter().map(|record| record.line() + "\n").collect();
        if let Some(end) = &end {
            lines.push_str(&serde_json::json!({ "end": end }).to_string());
            lines.push('\n');
        }
        if let Err(error) = output.write_all(lines.as_bytes()).and_then(|()| output.flush()) {
            result = Err(Failure::Io(format!("the export is not complete: {error}")));
            return None;
        }
        let last = records.last()?.sequence;
        end.is_none().then_some(Request::AuditPage { after: last })
    })?;
    result
}

fn verify_file(config: &Path, file: &Path, piece: bool) -> Result<Report, Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::Io(format!("{}: {error}", file.display()));
    let key_file = load(config)?.audit.key_file;
    let mut verifier =
        Verifier::of_file(&key_file, piece).map_err(|error| Failure::Io(error.to_string()))?;
    let mut lines = BufReader::new(File::open(file).map_err(|error| failed(&error))?);
    let (mut number, mut end) = (0, None);
    loop {
        let mut line = Vec::new();
        let bounded = lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        if bounded.map_err(|error| failed(&error))? == 0 {
            return Ok(verifier.finish(end.as_deref()));
        }
        number += 1;
        let whole = line.strip_suffix(b"\n");
        let record = whole.and_then(|line| serde_json::from_slice::<Record>(line).ok());
        let is_as_written = |record: &Record| whole == Some(record.line().as_bytes());
        match record {
            Some(record) if end.is_none() => {
                if !is_as_written(&record) {
                    verifier.take_unreadable(number);
                }
                verifier.take(&record);
            }
            _ => match whole.and_then(|line| serde_json::from_slice::<End>(line).ok()) {
                Some(found) if end.is_none() => end = Some(found.end),
                _ => verifier.take_unreadable(number),
            },
        }
    }
}

fn tell(report: &Report, json: bool) -> Result<(), Failure> {
    let count = report.findings.len() as u64 + report.more_findings;
    if json {
        let text = serde_json::to_string(report);
        say(&text.map_err(|error| Failure::Internal(error.to_string()))?);
    } else {
        for finding in &report.findings {
            say(&tame(&format!("record {} {}", finding.sequence, finding.what)));
        }
        say(&match report.records {
            0 => "no records".to_owned(),
            records => format!(
                "{records} records, {} to {}; signed up to {}",
                report.first, report.last, report.signed
            ),
        });
    }
    match count {
        0 => Ok(()),
        1 => Err(Failure::Refuse("the log is not as it was written, in 1 place".into())),
        many => Err(Failure::Refuse(format!("the log is not as it was written, in {many} places"))),
    }
}

fn unexpected() -> Failure {
    Failure::Io("the running gate answered something else".into())
}
