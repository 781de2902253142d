//! An HTTP/2 client that sends exactly the frames it is given: what libraries refuse to send.
//!
//! Header blocks are literals without indexing and without Huffman coding (RFC 7541 §6.2.2), so
//! that every octet of a field stands in the frame as the test wrote it.
//!
//! - [`request`]: one request, and what becomes of it.
//! - [`exchange`]: any frames, and all that is said to them.
//! - [`Frames`]: a conversation, frame by frame.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use crate::DEADLINE;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113 §6).
pub const DATA: u8 = 0;
/// Opens a stream, or ends it with trailers.
pub const HEADERS: u8 = 1;
/// A place in a tree that nobody uses any more.
pub const PRIORITY: u8 = 2;
/// `RST_STREAM`.
pub const RESET: u8 = 3;
/// Parameters of the connection.
pub const SETTINGS: u8 = 4;
/// An echo is asked for.
pub const PING: u8 = 6;
/// The connection is about to end.
pub const GO_AWAY: u8 = 7;
/// More may be sent.
pub const WINDOW_UPDATE: u8 = 8;
/// More of a header block.
pub const CONTINUATION: u8 = 9;

/// Flag of DATA and HEADERS: nothing more comes on this stream.
pub const END_STREAM: u8 = 1;
/// Flag of SETTINGS and PING: this is the answer to one.
pub const ACK: u8 = 1;
/// Flag of HEADERS and CONTINUATION: the header block is over.
pub const END_HEADERS: u8 = 4;

/// What [`exchange`] asks to have echoed when everything else was sent.
const LAST_WORD: &[u8] = b"the end!";

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

/// One frame as it came.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0: the connection.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The number of four octets that stands at this place of the payload.
    #[must_use]
    pub fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// What was said to the frames of [`exchange`].
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The connection went on: the last echo came.
    pub survived: bool,
    /// Why the connection was ended.
    pub go_away: Option<u32>,
    /// Streams that were reset, and why.
    pub resets: Vec<(u32, u32)>,
    /// Streams that were answered.
    pub answered: Vec<u32>,
    /// The gate's settings.
    pub settings: Vec<(u16, u32)>,
}

/// Sends one request with these fields, in this order, on a fresh connection; `body` may be empty.
///
/// # Panics
/// When nothing comes of it within [`DEADLINE`].
pub async fn request(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    fields: &[(&str, &str)],
    body: &[u8],
) -> Outcome {
    let mut octets = Vec::new();
    let flags = if body.is_empty() { END_HEADERS | END_STREAM } else { END_HEADERS };
    frame(&mut octets, HEADERS, flags, 1, &block(fields));
    if !body.is_empty() {
        frame(&mut octets, DATA, END_STREAM, 1, body);
    }
    outcome(stream, &octets).await
}

/// Sends these frames on a fresh connection, and gives what becomes of the first stream that
/// anything is said about.
///
/// # Panics
/// As [`request`].
pub async fn outcome(stream: impl AsyncRead + AsyncWrite + Unpin, octets: &[u8]) -> Outcome {
    let mut frames = Frames::open(stream).await;
    frames.write(octets).await;
    loop {
        let Some(frame) = frames.next().await else { return Outcome::Closed };
        match frame.kind {
            HEADERS => return Outcome::Status(status(&frame.payload)),
            RESET => return Outcome::Reset,
            GO_AWAY => return Outcome::Closed,
            _ => {}
        }
    }
}

/// Sends these frames on a fresh connection, taking all that is said meanwhile, until the
/// connection is over or everything was read by the gate.
///
/// # Panics
/// When neither happens within [`DEADLINE`].
pub async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin, octets: &[u8]) -> Told {
    let Frames { mut reading, mut writing } = Frames::open(stream).await;
    let mut last = Vec::new();
    frame(&mut last, PING, 0, 0, LAST_WORD);
    let sending = async {
        // The gate may go away before it has read everything.
        let _ = writing.write_all(octets).await;
        let _ = writing.write_all(&last).await;
        // The other end stays open until the listening is over.
        std::future::pending::<()>().await;
    };
    let listening = async {
        let mut told = Told::default();
        while let Some(frame) = read(&mut reading).await {
            match frame.kind {
                HEADERS => told.answered.push(frame.stream),
                RESET => told.resets.push((frame.stream, frame.number(0))),
                GO_AWAY => told.go_away = Some(frame.number(4)),
                SETTINGS => told.settings.extend(frame.payload.chunks_exact(6).map(|one| {
                    let value = u32::from_be_bytes(one[2..].try_into().unwrap());
                    (u16::from_be_bytes([one[0], one[1]]), value)
                })),
                PING if frame.payload == LAST_WORD => {
                    told.survived = true;
                    break;
                }
                _ => {}
            }
        }
        told
    };
    let both = async {
        tokio::select! {
            told = listening => told,
            () = sending => unreachable!(),
        }
    };
    tokio::time::timeout(DEADLINE, both).await.expect("an end in time")
}

/// A conversation, frame by frame.
pub struct Frames<S> {
    reading: ReadHalf<S>,
    writing: WriteHalf<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// Begins one, with settings that change nothing.
    pub async fn open(stream: S) -> Self {
        let (reading, writing) = tokio::io::split(stream);
        let mut frames = Self { reading, writing };
        let mut octets = PREFACE.to_vec();
        frame(&mut octets, SETTINGS, 0, 0, &[]);
        frames.write(&octets).await;
        frames
    }

    /// Sends these octets. The gate may go away before it has read everything; what it said before
    /// is what counts.
    pub async fn write(&mut self, octets: &[u8]) {
        let _ = self.writing.write_all(octets).await;
    }

    /// The next frame, settings and pings answered; `None`: the connection is over.
    ///
    /// # Panics
    /// When none comes within [`DEADLINE`].
    pub async fn next(&mut self) -> Option<Frame> {
        let reading = tokio::time::timeout(DEADLINE, read(&mut self.reading));
        let found = reading.await.expect("a frame in time")?;
        if matches!(found.kind, SETTINGS | PING) && found.flags & ACK == 0 {
            let mut octets = Vec::new();
            let echo: &[u8] = if found.kind == PING { &found.payload } else { &[] };
            frame(&mut octets, found.kind, ACK, 0, echo);
            self.write(&octets).await;
        }
        Some(found)
    }

    /// The next frame of this type.
    ///
    /// # Panics
    /// When none comes within [`DEADLINE`], or before the connection is over.
    pub async fn next_of(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().await.expect("the connection goes on");
            if frame.kind == kind {
                return frame;
            }
        }
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let [a, b, c, kind, flags, number @ ..] = head;
    let mut payload = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
    stream.read_exact(&mut payload).await.ok()?;
    let [a, b, c, d] = number;
    Some(Frame { kind, flags, stream: u32::from_be_bytes([a, b, c, d]), payload })
}

/// A header block of these fields.
#[must_use]
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_bytes(), value.as_bytes()] {
            length(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
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

/// Adds a frame to `octets`.
///
/// # Panics
/// When its payload is longer than anybody sends.
pub fn frame(octets: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
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
