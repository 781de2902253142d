//! An HTTP/2 client that sends exactly the frames it is given: what libraries refuse to send.
//!
//! Header blocks are literals without indexing and without Huffman coding (RFC 7541 §6.2.2), so
//! that every octet of a field stands in the frame as the test wrote it.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::DEADLINE;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A response of this status.
    Status(u16),
    /// The stream was reset.
    Reset,
    /// The connection was closed.
    Closed,
}

/// Sends one request with these fields, in this order, on a fresh connection; `body` may be empty.
///
/// # Panics
/// When nothing comes of it within [`DEADLINE`].
pub async fn request(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    fields: &[(&str, &str)],
    body: &[u8],
) -> Outcome {
    let mut octets = PREFACE.to_vec();
    frame(&mut octets, SETTINGS, 0, 0, &[]);
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_bytes(), value.as_bytes()] {
            length(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    let (end_headers, end_stream) = (4, 1);
    let flags = if body.is_empty() { end_headers | end_stream } else { end_headers };
    frame(&mut octets, HEADERS, flags, 1, &block);
    if !body.is_empty() {
        frame(&mut octets, DATA, end_stream, 1, body);
    }
    // The gate may go away before it has read everything; what it said before is what counts.
    let _ = stream.write_all(&octets).await;
    tokio::time::timeout(DEADLINE, outcome(&mut stream)).await.expect("an outcome in time")
}

async fn outcome(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Outcome {
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return Outcome::Closed;
        }
        let size = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; size];
        if stream.read_exact(&mut payload).await.is_err() {
            return Outcome::Closed;
        }
        match head[3] {
            HEADERS => return Outcome::Status(status(&payload)),
            RESET => return Outcome::Reset,
            GO_AWAY => return Outcome::Closed,
            kind @ (SETTINGS | PING) if head[4] & 1 == 0 => {
                let mut octets = Vec::new();
                let echo: &[u8] = if kind == PING { &payload } else { &[] };
                frame(&mut octets, kind, 1, 0, echo);
                let _ = stream.write_all(&octets).await;
            }
            _ => {}
        }
    }
}

/// The status at the beginning of a header block: an entry of the static table, or a literal
/// with the name of one (RFC 7541 appendix A), its digits perhaps in Huffman code.
fn status(block: &[u8]) -> u16 {
    match block {
        // A dynamic table size update may come first.
        [first, rest @ ..] if first & 0xe0 == 0x20 => status(rest),
        [indexed, ..] if indexed & 0x80 != 0 => {
            [200, 204, 206, 304, 400, 404, 500][usize::from(indexed & 0x7f) - 8]
        }
        [_, size, value @ ..] if size & 0x80 == 0 => {
            String::from_utf8_lossy(&value[..usize::from(*size)]).parse().unwrap()
        }
        [_, size, value @ ..] => digits(&value[..usize::from(size & 0x7f)]),
        _ => panic!("no status in {block:?}"),
    }
}

/// Digits in Huffman code: 0, 1 and 2 have 5 bits, the others 6 (RFC 7541 appendix B).
fn digits(coded: &[u8]) -> u16 {
    let mut bits = coded.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let mut number = 0;
    for _ in 0..3 {
        let mut code = (0..5).fold(0, |code, _| code << 1 | u16::from(bits.next().unwrap()));
        if code > 2 {
            // 3 is 011001, 4 is 011010, and so on to 9, which is 011111.
            code = (code << 1 | u16::from(bits.next().unwrap())) - 0b01_1001 + 3;
        }
        number = number * 10 + code;
    }
    number
}

fn frame(octets: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
    octets.extend_from_slice(&size[1..]);
    octets.extend_from_slice(&[kind, flags]);
    octets.extend_from_slice(&stream.to_be_bytes());
    octets.extend_from_slice(payload);
}

/// A length with a prefix of 7 bits (RFC 7541 §5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        return block.push(u8::try_from(length).unwrap());
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 0x80);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}
