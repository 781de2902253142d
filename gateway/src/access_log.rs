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
use crate::traces::{self, Span};
use crate::worker::Worker;

/// A batch is handed on when it is as large as this: some hundreds of lines, so that the thread that
/// writes them, which costs two switches each time, is seldom woken. A quarter of this cost a worker
/// without a core to spare 4 % of its time.
pub(crate) const BATCH_BYTES: usize = 128 * 1024;

/// A request under way. When this is dropped the request is over, however it ended, and is
/// written: also one whose client gave up before there was an answer.
pub(crate) struct Entry {
    pub(crate) worker: Rc<Worker>,
    pub(crate) peer: Rc<Peer>,
    pub(crate) cx: Box<RequestContext>,
    method: Method,
    version: Version,
    /// `None`: there is no answer yet.
    pub(crate) status: Option<StatusCode>,
    /// Octets of the answer's body so far.
    pub(crate) bytes: u64,
    /// The answer is whole.
    pub(crate) complete: bool,
    /// What a collector will be told; `None`: nothing.
    span: Option<Box<Span>>,
}

/// Stands for "the client gave up before the answer", as nginx writes it.
const GAVE_UP: u16 = 499;

impl Entry {
    /// A request that was just received.
    pub(crate) fn new(
        worker: Rc<Worker>,
        peer: Rc<Peer>,
        mut cx: Box<RequestContext>,
        method: Method,
        version: Version,
    ) -> Self {
        let span = worker.gate.traces.as_ref().map(|traces| {
            let began = worker.gate.services.clock.wall();
            Box::new(traces.begin(&mut cx, &method, began))
        });
        Self { worker, peer, cx, method, version, status: None, bytes: 0, complete: false, span }
    }

    /// Has the session that the request was let through for ended since?
    pub(crate) fn is_session_over(&self) -> bool {
        self.cx.session.as_ref().is_some_and(|session| session.active().is_none())
    }

    fn record(&mut self) {
        self.peer.watch.end(self.complete);
        let now = self.worker.gate.services.clock.now();
        let status = self.status.map_or(GAVE_UP, |status| status.as_u16());
        if let Some(span) = self.span.take() {
            let ended = self.worker.gate.services.clock.wall();
            traces::end(*span, &self.cx, (&self.method, status), ended);
        }
        self.worker.thread.metrics.record(status, now.since(self.cx.received));
        if !self.worker.gate.services.config.operations.access_log {
            return;
        }
        let mut batch = self.worker.thread.log_batch.borrow_mut();
        let Batch { lines, second } = &mut *batch;
        self.write(lines, second, status, now);
        if batch.lines.len() >= BATCH_BYTES {
            let fresh = String::with_capacity(BATCH_BYTES + BATCH_BYTES / 4);
            self.worker.gate.log.send(std::mem::replace(&mut batch.lines, fresh));
        }
    }

    fn write(&self, line: &mut String, second: &mut Second, status: u16, now: Timestamp) {
        let cx = &self.cx;
        line.push_str("{\"timestamp\":\"");
        second.write(line, cx.received);
        line.push_str("\",\"event\":\"request\",\"request_id\":\"");
        line.push_str(cx.request_id.as_str());
        line.push_str("\",\"client\":\"");
        self.peer.write_address(cx.client.address, line);
        line.push('"');
        write_member(line, ",\"method\":\"", self.method.as_str());
        write_member(line, ",\"host\":\"", &cx.host);
        write_member(line, ",\"path\":\"", cx.path());
        write_member(line, ",\"route\":\"", &cx.route.name);
        write_member(line, ",\"decided_by\":\"", cx.decided_by);
        if let (Some(session), Some(principal)) = (&cx.session, &cx.principal) {
            write_member(line, ",\"account\":\"", principal.name.account());
            write_member(line, ",\"sub_user\":\"", principal.name.sub_user().unwrap_or_default());
            write_member(line, ",\"session\":\"", &session.id);
        }
        line.push_str(match self.version {
            Version::HTTP_2 => ",\"protocol\":\"2\",\"status\":",
            Version::HTTP_10 => ",\"protocol\":\"1.0\",\"status\":",
            _ => ",\"protocol\":\"1.1\",\"status\":",
        });
        write_number(line, u64::from(status));
        line.push_str(",\"bytes\":");
        write_number(line, self.bytes);
        line.push_str(",\"ms\":");
        write_number(line, now.0.saturating_sub(cx.received.0));
        line.push_str(if self.complete { "}\n" } else { ",\"broken_off\":true}\n" });
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.record();
    }
}

/// Lines that wait to be handed on.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) lines: String,
    second: Second,
}

/// The text of the latest second: many requests fall into one.
#[derive(Default)]
struct Second {
    secs: u64,
    /// `2026-11-22T07:13:33.`
    text: String,
}

impl Second {
    /// Writes a time as RFC 3339 in UTC, with milliseconds.
    fn write(&mut self, line: &mut String, at: Timestamp) {
        if self.secs != at.secs() || self.text.is_empty() {
            (self.secs, self.text) = (at.secs(), at.rfc3339_second());
        }
        line.push_str(&self.text);
        let ms = at.0 % 1000;
        line.extend([ms / 100, ms / 10 % 10, ms % 10].map(digit));
        line.push('Z');
    }
}

fn digit(number: u64) -> char {
    u32::try_from(number).ok().and_then(|number| char::from_digit(number, 10)).unwrap_or('0')
}

/// Writes a number without the machinery of `fmt`, which costs as much as a whole field.
fn write_number(line: &mut String, number: u64) {
    if number >= 10 {
        write_number(line, number / 10);
    }
    line.push(digit(number % 10));
}

/// Writes a member, unless it is empty; `name` comes as it is written.
fn write_member(line: &mut String, name: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    line.push_str(name);
    escape(line, value);
    line.push('"');
}

/// Writes `text` as the inside of a JSON string, in printable ASCII (RFC 8259 §7).
fn escape(line: &mut String, text: &str) {
    // Without an early end, so that it is done for many bytes at once.
    let is_plain = |byte: u8| (0x20..=0x7e).contains(&byte) & (byte != b'"') & (byte != b'\\');
    if text.bytes().fold(true, |plain, byte| plain & is_plain(byte)) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n04_no_value_can_leave_its_string() {
        let mut line = String::new();
        write_member(&mut line, ",\"path\":\"", "/a\"\n{\"fake\":1}\u{1b}[31m\u{202e}😀\\");
        let parsed: serde_json::Value =
            serde_json::from_str(&format!("{{\"x\":1{line}}}")).unwrap();
        assert_eq!(parsed["path"], "/a\"\n{\"fake\":1}\u{1b}[31m\u{202e}😀\\");
        assert!(line.bytes().all(|byte| matches!(byte, 0x20..=0x7e)), "{line}");
    }

    #[test]
    fn numbers_and_times_are_written_out() {
        let mut line = String::new();
        [0, 9, 10, u64::MAX].iter().for_each(|number| write_number(&mut line, *number));
        assert_eq!(line, "091018446744073709551615");
        let text = |ms| {
            let mut line = String::new();
            Second::default().write(&mut line, Timestamp(ms));
            line
        };
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(1_795_305_599_999), "2026-11-21T23:59:59.999Z");
    }
}
