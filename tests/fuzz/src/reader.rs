//! The reader of requests: what it takes does not depend on how it comes in, and is what a naive and
//! strict reader takes for whole heads and bodies.

use std::path::Path;
use std::sync::LazyLock;

use bytes::BytesMut;
use doorward::http1::{Broken, Found, Message, Piece, Reader};
use doorward_config::{GatewayConfig, Limits};

use super::strict::{self, End};

static LIMITS: LazyLock<Limits> = LazyLock::new(|| {
    let text = "public_url = \"https://a.example\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
        [upstream.a]\naddress = \"http://127.0.0.1:9\"\n[store]\npath = \"x\"\n\
        [limits]\nheader_bytes = \"8KiB\"\nheader_count = 10\ntarget_bytes = \"256B\"\n";
    GatewayConfig::parse(text, Path::new("/")).unwrap().limits
});

/// The same for the naive reader.
const STRICT: strict::Limits = strict::Limits { head: 8192, fields: 10, target: 256 };

/// What becomes of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    messages: Vec<Request>,
    broken: bool,
    /// The request that came last is refused.
    refused: bool,
    /// Octets that nobody took.
    left: usize,
}

/// A request as it was read.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    method: String,
    target: String,
    old: bool,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    whole: bool,
}

/// Takes the first octet for the size of pieces and the others for what a client sends.
pub fn check(octets: &[u8]) {
    let Some((size, stream)) = octets.split_first() else { return };
    if stream.len() > 8100 {
        return;
    }
    let whole = through([stream]);
    for size in [1, usize::from(*size) + 1] {
        assert_eq!(through(stream.chunks(size)), whole, "in pieces of {size}");
    }
    let model = strict::read(stream, STRICT);
    let read = &whole.messages[..whole.messages.len() - usize::from(whole.refused)];
    for (read, message) in read.iter().zip(&model.messages) {
        assert_eq!((&*read.method, read.old), (message.method, message.old));
        assert_eq!(read.whole, message.whole);
        assert!(read.body == message.body || whole.broken, "{read:?} {message:?}");
        let fields = message.fields.iter();
        let fields = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec()));
        let (mut fields, mut found) = (fields.collect::<Vec<_>>(), read.fields.clone());
        // The order of fields with different names says nothing (RFC 9110 section 5.3).
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        found.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(found, fields, "{message:?}");
        assert!(same_target(&read.target, message.target), "{read:?} {message:?}");
    }
    let more = model.messages.len() - read.len();
    match model.end {
        // What the types of `http` do not take is refused though the letter allows it.
        _ if whole.refused && more > 0 => assert!(!whole.broken, "{model:?}"),
        end => assert_eq!(
            (whole.refused, whole.broken, more),
            (end == End::Refused, end == End::Broken, 0),
            "{model:?}"
        ),
    }
    if model.end == End::InHead && !whole.refused {
        let begun = &stream[model.at..];
        let empty = begun.chunks(2).take_while(|two| *two == b"\r\n").count() * 2;
        assert_eq!(whole.left, begun.len() - empty);
    }
}

/// A scheme and a host are written in lower case, and an empty path as `/`.
fn same_target(read: &str, sent: &[u8]) -> bool {
    let sent = String::from_utf8_lossy(sent);
    sent.eq_ignore_ascii_case(read) || !sent.starts_with('/')
}

/// What is read of these pieces.
fn through<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Outcome {
    let (mut reader, mut read, mut found) =
        (Reader::default(), BytesMut::new(), Outcome::default());
    for piece in pieces {
        read.extend_from_slice(piece);
        while step(&mut reader, &mut read, &mut found) {}
    }
    found.left = read.len();
    found
}

/// Takes what can be taken next.
fn step(reader: &mut Reader, read: &mut BytesMut, to: &mut Outcome) -> bool {
    if reader.is_closed() {
        read.clear();
        return false;
    }
    let before = read.len();
    if reader.is_between_messages() {
        let Found::Message(Message { head, facts, refused }) = reader.head(read, &LIMITS) else {
            assert!(read.len() == before || before - read.len() <= 8, "only empty lines are taken");
            return false;
        };
        to.refused = refused.is_some();
        let fields = head.headers.iter();
        to.messages.push(Request {
            method: head.method.to_string(),
            target: head.uri.to_string(),
            old: facts.is_http10,
            fields: fields
                .map(|(name, value)| (name.to_string(), value.as_bytes().into()))
                .collect(),
            body: Vec::new(),
            whole: reader.is_between_messages(),
        });
        assert!(reader.is_closed() == to.refused);
        return true;
    }
    let message = to.messages.last_mut().unwrap();
    match reader.body(read, &LIMITS) {
        Ok(None) => return false,
        Ok(Some(Piece::Data(data))) => {
            assert!(!data.is_empty() && data.len() <= before, "octets are taken once");
            message.body.extend_from_slice(&data);
        }
        Ok(Some(Piece::End(_))) => assert!(reader.is_between_messages()),
        Err(Broken) => {
            assert!(reader.is_closed());
            to.broken = true;
            // Of a body that is none more or less may have been handed on.
            message.body.clear();
            return true;
        }
    }
    message.whole = reader.is_between_messages();
    true
}
