//! The guard: what it lets through does not depend on how it comes in, and is what a naive and
//! strict reader takes for whole heads and bodies, and `httparse` for the same heads.

use std::path::Path;
use std::sync::LazyLock;

use doorward::guard::{Guard, Rest, Scan};
use doorward_config::{GatewayConfig, Limits};

use super::strict::{self, End, Message};

static LIMITS: LazyLock<Limits> = LazyLock::new(|| {
    let text = "public_url = \"https://a.example\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
        [upstream.a]\naddress = \"http://127.0.0.1:9\"\n[store]\npath = \"x\"\n\
        [limits]\nheader_bytes = \"8KiB\"\nheader_count = 10\ntarget_bytes = \"256B\"\n";
    GatewayConfig::parse(text, Path::new("/")).unwrap().limits
});

/// The same for the naive reader.
const STRICT: strict::Limits = strict::Limits { head: 8192, fields: 10, target: 256 };

/// What becomes of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    passed: Vec<u8>,
    /// What stands in for a head that was refused.
    instead: Option<String>,
    broken: bool,
    /// The number of the request that is refused.
    refused: Option<u64>,
}

/// Takes the first octet for the size of pieces and the others for what a client sends.
pub fn check(octets: &[u8]) {
    let Some((size, stream)) = octets.split_first() else { return };
    if stream.len() > 8100 {
        return;
    }
    let whole = through([stream]);
    for size in [1, usize::from(*size) + 1] {
        let other = through(stream.chunks(size));
        let same = (&other.instead, other.broken, other.refused)
            == (&whole.instead, whole.broken, whole.refused);
        assert!(same, "in pieces of {size}: {other:?}\nat once: {whole:?}");
        // Before a body that breaks off more or less of it may have been handed on.
        let shorter = other.passed.len().min(whole.passed.len());
        assert_eq!(other.passed[..shorter], whole.passed[..shorter], "in pieces of {size}");
        assert!(whole.broken || other.passed == whole.passed, "in pieces of {size}");
    }
    let model = strict::read(stream, STRICT);
    let refused = (model.end == End::Refused).then_some(model.messages.len() as u64 + 1);
    assert_eq!(whole.refused, refused, "{model:?}");
    assert_eq!(whole.broken, model.end == End::Broken, "{model:?}");
    assert_eq!(whole.instead.is_some(), refused.is_some(), "{model:?}");
    assert!(stream.starts_with(&whole.passed));
    match model.end {
        End::Clean | End::InBody => assert_eq!(whole.passed.len(), stream.len()),
        End::InHead | End::Refused => assert_eq!(whole.passed.len(), model.at),
        End::Broken => assert!(whole.passed.len() >= model.at),
    }
    for message in &model.messages {
        check_head(message, &stream[message.head.clone()]);
    }
    if let Some(instead) = whole.instead {
        let read = strict::read(instead.as_bytes(), strict::Limits { head: 9000, ..STRICT });
        assert_eq!((read.messages.len(), read.end), (1, End::Clean), "{instead:?}");
        check_head(&read.messages[0], instead.as_bytes());
    }
}

/// What the library would get of these pieces.
fn through<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Outcome {
    let mut guard = Guard::default();
    let mut found = Outcome { passed: Vec::new(), instead: None, broken: false, refused: None };
    let mut held = Vec::new();
    for piece in pieces {
        held.extend_from_slice(piece);
        let Scan { pass, rest } = guard.scan(&held, &LIMITS);
        assert!(pass <= held.len(), "more than there is");
        found.passed.extend(held.drain(..pass));
        match rest {
            Rest::None => assert!(held.is_empty()),
            Rest::Hold => assert!(!held.is_empty()),
            Rest::Broken => {
                found.broken = true;
                assert!(guard.is_closed());
                break;
            }
            Rest::Replace(text) => {
                assert!(guard.is_closed());
                held.clear();
                // Once it is refused, nothing more is handed on.
                assert!(found.instead.is_none() || (pass == 0 && text.is_empty()));
                found.instead.get_or_insert(text);
            }
        }
    }
    found.refused = (0..found.passed.len() as u64 + 2).find(|at| guard.refusal(*at).is_some());
    found
}

/// The library's own parser reads the head alike, or not at all.
fn check_head(message: &Message<'_>, octets: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut request = httparse::Request::new(&mut fields);
    let Ok(status) = request.parse(octets) else { return };
    assert_eq!(status, httparse::Status::Complete(octets.len()), "{}", octets.escape_ascii());
    assert_eq!(request.method, Some(message.method));
    assert_eq!(request.path.map(str::as_bytes), Some(message.target));
    assert_eq!(request.version, Some(if message.old { 0 } else { 1 }));
    let read = request.headers.iter().map(|field| (field.name, field.value));
    assert_eq!(read.collect::<Vec<_>>(), message.fields, "{}", octets.escape_ascii());
}
