//! Writing of an answer's head.

use std::io::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use bytes::{BufMut, BytesMut};
use doorward_plugins::Timestamp;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::response::Parts as ResponseHead;
use http::{HeaderValue, StatusCode};
use httpdate::HttpDate;
use hyper::ext::ReasonPhrase;

use crate::http1::{Coding, Facts, write_line};

/// What an answer's head has to say besides what is in it.
pub(super) struct Answering {
    /// Of the request.
    pub(super) facts: Facts,
    /// The request was HEAD.
    pub(super) is_head: bool,
    /// How long the body is, if that is known.
    pub(super) length: Option<u64>,
    /// The connection ends after it.
    pub(super) closes: bool,
}

impl Answering {
    /// Writes the head; says how the body is to be told from what follows, and whether the
    /// connection ends after it. `now` is asked for a date where the head has none.
    pub(super) fn write(
        self,
        head: &ResponseHead,
        now: impl FnOnce() -> Timestamp,
        write: &mut BytesMut,
    ) -> (Coding, bool) {
        write.reserve(1024);
        write_status(head, self.facts.is_http10, write);
        let (mut announced, mut closes, mut said, mut dated) = (None, self.closes, false, false);
        for (name, value) in &head.headers {
            match *name {
                CONTENT_LENGTH => {
                    announced = Some(value);
                    continue;
                }
                // Of which hop it is, is for this one to say.
                TRANSFER_ENCODING => continue,
                CONNECTION => {
                    said = true;
                    closes |= value.as_bytes().eq_ignore_ascii_case(b"close");
                }
                DATE => dated = true,
                _ => {}
            }
            write_line(write, name.as_str(), value.as_bytes());
        }
        let coding = self.coding(head.status, announced, write);
        closes |= coding == Coding::Close;
        match (closes, self.facts.is_http10) {
            _ if said => {}
            (true, _) => write.put_slice(b"connection: close\r\n"),
            (false, true) => write.put_slice(b"connection: keep-alive\r\n"),
            (false, false) => {}
        }
        if !dated {
            let date = HttpDate::from(UNIX_EPOCH + Duration::from_millis(now().0));
            // Writing into memory does not fail.
            let _ = write!(write.writer(), "date: {date}\r\n");
        }
        write.put_slice(b"\r\n");
        (coding, closes)
    }

    /// How the body is told from what follows (RFC 9112 §6.3), which the head says.
    fn coding(
        &self,
        status: StatusCode,
        announced: Option<&HeaderValue>,
        write: &mut BytesMut,
    ) -> Coding {
        if status.is_informational() || status == StatusCode::NO_CONTENT {
            return Coding::None;
        }
        let announced = announced.and_then(|value| value.to_str().ok()?.parse().ok());
        if self.is_head || status == StatusCode::NOT_MODIFIED {
            // As it would be with a body (RFC 9110 §8.6).
            let would_be = announced.or(self.length.filter(|length| *length > 0));
            if let Some(length) = would_be {
                write_length(length, write);
            }
            return Coding::None;
        }
        match self.length.or(announced) {
            Some(length) => {
                write_length(length, write);
                Coding::Length(length)
            }
            None if self.facts.is_http10 => Coding::Close,
            None => {
                write.put_slice(b"transfer-encoding: chunked\r\n");
                Coding::Chunked
            }
        }
    }
}

fn write_status(head: &ResponseHead, is_http10: bool, write: &mut BytesMut) {
    if head.status == StatusCode::OK && !is_http10 && head.extensions.is_empty() {
        return write.put_slice(b"HTTP/1.1 200 OK\r\n");
    }
    write.put_slice(if is_http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    write.put_slice(head.status.as_str().as_bytes());
    write.put_u8(b' ');
    match head.extensions.get::<ReasonPhrase>() {
        Some(reason) => write.put_slice(reason.as_bytes()),
        None => write.put_slice(head.status.canonical_reason().unwrap_or_default().as_bytes()),
    }
    write.put_slice(b"\r\n");
}

fn write_length(length: u64, write: &mut BytesMut) {
    let mut digits = [0; 20];
    let mut left = length;
    let mut start = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
        start -= 1;
        if left == 0 {
            break;
        }
    }
    write_line(write, CONTENT_LENGTH.as_str(), digits.get(start..).unwrap_or_default());
}
