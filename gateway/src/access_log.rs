//! Room 6: one JSON line a request, written when its answer is over.
//!
//! Lines are gathered in memory by each worker and handed on in batches, so that the log costs a
//! request no system call. What stands in a line is what was judged: never a query, a cookie or a
//! body, which may hold secrets. Everything that is not printable ASCII is escaped, so that no
//! value can pretend to be another line, or steer a terminal (RUSTSEC-2025-0055).
//!
//! Bounds: a batch is at most [`BATCH_BYTES`] and a line; what the sink cannot take is counted.

use std::fmt::Write as _;
use std::rc::Rc;

use doorward_plugins::{RequestContext, Timestamp};
use http::{Method, StatusCode, Version};

use crate::connection::Peer;
use crate::worker::Worker;

/// A batch is handed on when it is as large as this.
pub(crate) const BATCH_BYTES: usize = 16 * 1024;

/// A request whose answer is on its way.
pub(crate) struct Entry {
    pub(crate) worker: Rc<Worker>,
    pub(crate) peer: Rc<Peer>,
    pub(crate) cx: Box<RequestContext>,
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) status: StatusCode,
    /// Octets of the body so far.
    pub(crate) bytes: u64,
}

impl Entry {
    /// The answer is over; `complete` unless it broke off.
    pub(crate) fn record(self, complete: bool) {
        self.peer.watch.end();
        let now = self.worker.gate.services.clock.now();
        let took = now.since(self.cx.received);
        self.worker.metrics.record(self.status, took);
        if !self.worker.gate.services.config.operations.access_log {
            return;
        }
        let mut batch = self.worker.log_batch.borrow_mut();
        self.write(&mut batch, complete, now);
        if batch.len() >= BATCH_BYTES {
            self.worker.gate.log.send(std::mem::take(&mut *batch));
        }
    }

    /// Writing to a String cannot fail.
    fn write(&self, line: &mut String, complete: bool, now: Timestamp) {
        let cx = &self.cx;
        line.push_str("{\"timestamp\":\"");
        write_time(line, cx.received);
        line.push_str("\",\"event\":\"request\",\"request_id\":\"");
        line.push_str(cx.request_id.as_str());
        let _ = write!(line, "\",\"client\":\"{}\"", cx.client.address);
        for (name, value) in [
            ("method", self.method.as_str()),
            ("host", &*cx.host),
            ("path", &*cx.path),
            ("route", &*cx.route.name),
            ("decided_by", cx.decided_by),
        ] {
            write_member(line, name, value);
        }
        if let (Some(session), Some(principal)) = (&cx.session, &cx.principal) {
            let _ = write!(line, ",\"account\":\"");
            escape(line, principal.name.account());
            line.push('"');
            if let Some(sub_user) = principal.name.sub_user() {
                write_member(line, "sub_user", sub_user);
            }
            write_member(line, "session", &session.id);
        }
        let protocol = if self.version == Version::HTTP_2 {
            "2"
        } else if self.version == Version::HTTP_10 {
            "1.0"
        } else {
            "1.1"
        };
        let took = now.since(cx.received);
        let _ = write!(
            line,
            ",\"protocol\":\"{protocol}\",\"status\":{},\"bytes\":{},\"ms\":{}",
            self.status.as_u16(),
            self.bytes,
            took.as_millis()
        );
        line.push_str(if complete { "}\n" } else { ",\"broken_off\":true}\n" });
    }
}

fn write_member(line: &mut String, name: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    let _ = write!(line, ",\"{name}\":\"");
    escape(line, value);
    line.push('"');
}

/// Writes `text` as the inside of a JSON string, in printable ASCII (RFC 8259 §7).
fn escape(line: &mut String, text: &str) {
    if text.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\') {
        return line.push_str(text);
    }
    for c in text.chars() {
        match c {
            '"' | '\\' => line.extend(['\\', c]),
            ' '..='~' => line.push(c),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    let _ = write!(line, "\\u{unit:04x}");
                }
            }
        }
    }
}

/// Writes a time as RFC 3339 in UTC, with milliseconds.
fn write_time(line: &mut String, at: Timestamp) {
    let (secs, ms) = (at.0 / 1000, at.0 % 1000);
    let (days, of_day) = (secs / 86_400, secs % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let _ =
        write!(line, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z");
}

/// Year, month and day of a number of days since 1970-01-01, in the proleptic Gregorian calendar.
/// Counts from 1 March of year 0, so that the leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let since_march_0 = days + 719_468;
    let (era, of_era) = (since_march_0 / 146_097, since_march_0 % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n04_no_value_can_leave_its_string() {
        let mut line = String::new();
        write_member(&mut line, "path", "/a\"\n{\"fake\":1}\u{1b}[31m\u{202e}😀\\");
        let parsed: serde_json::Value =
            serde_json::from_str(&format!("{{\"x\":1{line}}}")).unwrap();
        assert_eq!(parsed["path"], "/a\"\n{\"fake\":1}\u{1b}[31m\u{202e}😀\\");
        assert!(line.bytes().all(|byte| matches!(byte, 0x20..=0x7e)), "{line}");
    }

    #[test]
    fn times_are_rfc_3339() {
        let text = |ms| {
            let mut line = String::new();
            write_time(&mut line, Timestamp(ms));
            line
        };
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(951_782_400_123), "2000-02-29T00:00:00.123Z");
        assert_eq!(text(1_795_305_599_999), "2026-11-21T23:59:59.999Z");
        assert_eq!(text(4_107_542_399_000), "2100-02-28T23:59:59.000Z");
        assert_eq!(text(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }
}
