//! Cookies: no pair of the gate's stays, every other one stays octet by octet, and a session is
//! believed only if it was presented once.

use std::path::Path;
use std::sync::LazyLock;

use doorward_config::GatewayConfig;
use doorward_plugins::session::cookie::CookieNames;
use doorward_plugins::session::token;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

static NAMES: LazyLock<[CookieNames; 2]> = LazyLock::new(|| {
    ["", "[session]\ncookie_domain = \"example.com\"\n"].map(|more| {
        let text = format!(
            "public_url = \"https://a.example.com\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
             [upstream.a]\naddress = \"http://127.0.0.1:9\"\n[store]\npath = \"x\"\n{more}"
        );
        CookieNames::new(&GatewayConfig::parse(&text, Path::new("/")).unwrap().session)
    })
});

/// Takes each line for one `Cookie` field.
pub fn check(octets: &[u8]) {
    let mut fields = HeaderMap::new();
    for line in octets.split(|byte| *byte == b'\n').take(16) {
        // Over HTTP/1.1 nobody sees the white space around a value.
        let Ok(value) = HeaderValue::from_bytes(line.trim_ascii()) else { return };
        fields.append(COOKIE, value);
    }
    for names in &*NAMES {
        check_with(names, &fields);
    }
}

fn check_with(names: &CookieNames, fields: &HeaderMap) {
    let before = pairs(fields);
    let mut left = fields.clone();
    let presented = names.take(&mut left);

    let kept: Vec<_> = before.iter().filter(|pair| !is_ours(pair)).cloned().collect();
    assert_eq!(pairs(&left), kept, "{fields:?} became {left:?}");
    assert!(!pairs(&left).iter().any(|pair| is_ours(pair)), "{left:?}");
    assert!(left.get_all(COOKIE).iter().count() <= 1, "{left:?}");
    if fields.get_all(COOKIE).iter().count() == 1 && kept.len() == before.len() && !kept.is_empty()
    {
        assert_eq!(left, *fields, "nothing was to be taken out");
    }

    let values = |wanted: &str| {
        let of = |pair: &Vec<u8>| {
            let equals = pair.iter().position(|byte| *byte == b'=');
            let (name, value) = pair.split_at(equals.unwrap_or(pair.len()));
            let value = value.get(1..).unwrap_or_default();
            (name.trim_ascii() == wanted.as_bytes()).then(|| value.to_vec())
        };
        before.iter().filter_map(of).collect::<Vec<_>>()
    };
    let only = |wanted: &str| values(wanted).pop().filter(|_| values(wanted).len() == 1);
    let session = only(names.session).and_then(|value| token::hash(&value));
    assert_eq!(presented.session, session, "{fields:?}");
    let text = |wanted: &str| only(wanted).and_then(|value| String::from_utf8(value).ok());
    assert_eq!(presented.others.form, text(names.form), "{fields:?}");
    assert_eq!(presented.others.language, text(names.language), "{fields:?}");
}

/// What stands between semicolons, without white space around it.
pub fn pairs(fields: &HeaderMap) -> Vec<Vec<u8>> {
    let values = fields.get_all(COOKIE).iter();
    let pieces = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    pieces.map(|piece| piece.trim_ascii().to_vec()).filter(|piece| !piece.is_empty()).collect()
}

/// Would anybody take this for a cookie of the gate: whatever stands in front of the first equals
/// sign with a name before it, or the whole where there is none?
pub fn is_ours(pair: &[u8]) -> bool {
    let start = pair.iter().position(|byte| !matches!(byte, b'=' | b' ' | b'\t'));
    let name = String::from_utf8_lossy(&pair[start.unwrap_or(pair.len())..]).to_lowercase();
    name.starts_with("__host-doorward") || name.starts_with("__secure-doorward")
}
