//! What a route changes on the way: the beginning of the path, fields of request and response.
//!
//! Every value is literal text. What would forge or remove who is asking, where a message ends, or
//! what the gate says of itself, is refused here, so that nobody has to look for it later.
//!
//! Not here: how the edits are made (`edits` of the plugins, `rewrite` of the gateway).

use std::collections::HashSet;
use std::fmt;

use crate::field::{
    is_forwarding_field, is_gate_cookie, is_of_identity_family, is_of_message_or_connection,
};
use crate::pattern::{PathPattern, Segment};
use crate::problem::Fault;
use crate::reader::Reader;
use crate::spec::{Kind, TableSpec, optional};
use crate::text::{verify_field_name, verify_field_value};

const VALUES: Kind = Kind::Map(&Kind::List(&Kind::Text(verify_field_value)));
const NAMES: Kind = Kind::List(&Kind::Text(verify_edited_name));

pub(crate) static REQUEST_SPEC: TableSpec = TableSpec {
    doc: "Fields of the request as the console gets it.",
    keys: &[
        optional("set", VALUES, "Fields with these values, instead of what the client sent."),
        optional("add", VALUES, "Values beside what the client sent."),
        optional("remove", NAMES, "Fields that the console does not get."),
    ],
};

pub(crate) static RESPONSE_SPEC: TableSpec = TableSpec {
    doc: "Fields of the console's answers; the gate's own pages and refusals stay as they are.",
    keys: &[
        optional("set", VALUES, "Fields with these values, instead of what the console sent."),
        optional("add", VALUES, "Values beside what the console sent."),
        optional("remove", NAMES, "Fields that the client does not get."),
    ],
};

/// What a route changes on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// Replaces the beginning of the path.
    pub replace_prefix: Option<ReplacePrefix>,
    /// Edits the fields of requests.
    pub request: FieldEdits,
    /// Edits the fields of the console's answers.
    pub response: FieldEdits,
    /// Which security fields are added to the console's answers.
    pub security_headers: SecurityHeaders,
    /// Keep `Server` and `X-Powered-By` of the console's answers?
    pub show_server: bool,
}

/// Replaces the beginning of the path that the console gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplacePrefix {
    /// The literal path of the route, decoded: `/app`; empty for `/**`.
    pub from: String,
    /// What stands there instead: `/v2`; empty for `/`.
    pub to: String,
}

/// Edits of fields, in this order. No name stands in two of the lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldEdits {
    /// Lower-case names of fields that are removed.
    pub remove: Vec<String>,
    /// Lines that replace all lines of their names.
    pub set: Vec<FieldLine>,
    /// Lines that are added.
    pub add: Vec<FieldLine>,
}

/// A line of a field. Its value may be a password, so it is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct FieldLine {
    /// Lower case.
    pub name: String,
    /// Printable ASCII, not empty.
    pub value: String,
}

impl fmt::Debug for FieldLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FieldLine").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Which security fields are added where the console's answer has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecurityHeaders {
    /// What fences a page in, too: no guessing of types, no foreign frames, short referrers.
    All,
    /// None.
    None,
    /// That the host is for TLS only, to clients that came so.
    #[default]
    Transport,
}

/// Whose fields are edited.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Request,
    Response,
}

impl Edits {
    /// Reads them from a route for `path`; `identity` are the names of identity fields.
    pub(crate) fn read(reader: &Reader<'_>, path: &PathPattern, identity: &[String]) -> Self {
        Self {
            replace_prefix: ReplacePrefix::read(reader, path),
            request: FieldEdits::read(&reader.table("request_headers"), Side::Request, identity),
            response: FieldEdits::read(&reader.table("response_headers"), Side::Response, identity),
            security_headers: match reader.text("security_headers").as_str() {
                "all" => SecurityHeaders::All,
                "none" => SecurityHeaders::None,
                _ => SecurityHeaders::Transport,
            },
            show_server: !reader.flag("hide_server"),
        }
    }
}

impl ReplacePrefix {
    fn read(reader: &Reader<'_>, path: &PathPattern) -> Option<Self> {
        let to = reader.optional_text("replace_prefix")?;
        let literal = |segment: &Segment| match segment {
            Segment::Exact(text) => Some(format!("/{text}")),
            Segment::Wild(..) => None,
        };
        // What is replaced is what was judged, or the two could tell different paths.
        let Some(from) = path.segments().iter().map(literal).collect::<Option<String>>() else {
            let advice = "Write the path without *, but for ** at the end, such as \"/app/**\".";
            let reason = format!("cannot tell what to replace in {:?}.", path.as_str());
            reader.problem("replace_prefix", Fault::new(reason, advice));
            return None;
        };
        let to = to.strip_suffix('/').unwrap_or(&to).to_owned();
        if from == to {
            let reason = "is what the path begins with anyway.";
            reader.problem("replace_prefix", Fault::new(reason, "Leave it out."));
        }
        Some(Self { from, to })
    }
}

impl FieldEdits {
    /// Is there nothing to do?
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    fn read(reader: &Reader<'_>, side: Side, identity: &[String]) -> Self {
        let mut seen = HashSet::new();
        let mut lines = |key: &str| {
            let (own, values) = reader.map(key);
            let mut lines = Vec::new();
            for (written, values) in values {
                let name = written.to_ascii_lowercase();
                let verified = verify_edited_name(&written)
                    .and_then(|()| verify_edit(side, &name, true, identity))
                    .and_then(|()| verify_cookies(&name, &values));
                if let Err(fault) = verified {
                    own.problem(&written, fault);
                }
                if !seen.insert(name.clone()) {
                    own.problem(&written, twice(&name));
                }
                lines.extend(
                    values.into_iter().map(|value| FieldLine { name: name.clone(), value }),
                );
            }
            lines
        };
        let (set, add) = (lines("set"), lines("add"));
        let mut remove = Vec::new();
        for name in reader.texts("remove") {
            let name = name.to_ascii_lowercase();
            if let Err(fault) = verify_edit(side, &name, false, identity) {
                reader.problem("remove", fault);
            }
            if !seen.insert(name.clone()) {
                reader.problem("remove", twice(&name));
            }
            remove.push(name);
        }
        Self { remove, set, add }
    }
}

fn twice(name: &str) -> Fault {
    let advice = "`set` replaces, `add` keeps what there is, `remove` removes: choose one.";
    Fault::new(format!("{name:?} is edited twice."), advice)
}

/// May this field be edited? `writes`: given a value, not only removed.
fn verify_edit(side: Side, name: &str, writes: bool, identity: &[String]) -> Result<(), Fault> {
    let fault = |reason: &str, advice: &str| Err(Fault::new(format!("{name:?} {reason}"), advice));
    if is_of_message_or_connection(name) {
        return fault("belongs to the connection or frames the message.", "Leave it to the gate.");
    }
    // What a console sends back of these means nothing to a client, and may go.
    if side == Side::Response && !writes {
        return Ok(());
    }
    if identity.iter().any(|reserved| reserved == name) || is_of_identity_family(name) {
        return fault("tells who is asking.", "Only the gate does that: choose another name.");
    }
    if is_forwarding_field(name) || name == "via" {
        return fault("is the gate's own to write.", "Leave it to the gate.");
    }
    if side == Side::Request && name == "host" {
        return fault("says which site is meant.", "Use host_header of the upstream.");
    }
    if side == Side::Request && name == "cookie" && writes {
        return fault("is the client's own to write.", "Choose another name, or remove it.");
    }
    Ok(())
}

fn verify_cookies(name: &str, values: &[String]) -> Result<(), Fault> {
    let ours =
        |value: &String| is_gate_cookie(value.trim_start_matches(['=', ' ', '\t']).as_bytes());
    if name == "set-cookie" && values.iter().any(ours) {
        return Err(Fault::new("is a cookie of the gate itself.", "Choose another name for it."));
    }
    Ok(())
}

fn verify_edited_name(text: &str) -> Result<(), Fault> {
    if text.contains('_') {
        let reason = format!("{text:?} has a _, which many programs read as -.");
        return Err(Fault::new(reason, "Write - instead."));
    }
    verify_field_name(text)
}

/// A path of plain segments, which stands for itself wherever it is written.
pub(crate) fn verify_prefix(text: &str) -> Result<(), Fault> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()+,=:@".contains(c);
    let segment = |segment: &str| {
        !segment.is_empty() && !matches!(segment, "." | "..") && segment.chars().all(plain)
    };
    let usable =
        text.strip_prefix('/').is_some_and(|rest| rest.is_empty() || rest.split('/').all(segment));
    if !usable {
        return Err(Fault::new(
            format!("{text:?} is not the beginning of a path."),
            "Write \"/\", or plain segments without a slash at the end, such as \"/v2\".",
        ));
    }
    let first = text.split('/').nth(1).unwrap_or_default();
    if first.eq_ignore_ascii_case(".doorward") {
        return Err(Fault::new("is the gate's own path.", "Choose another one."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_plain() {
        for text in ["/", "/v2", "/v2/api", "/a.b/...", "/(x)=1,2"] {
            assert_eq!(verify_prefix(text), Ok(()), "{text}");
        }
        for text in [
            "",
            "v2",
            "//",
            "/v2/",
            "/a//b",
            "/..",
            "/a/./b",
            "/%61",
            "/a;b",
            "/a?b",
            "/a#b",
            "/a*",
            "/a b",
            "/\u{e4}",
            "/.doorward",
            "/.DOORWARD/x",
            "https://h/",
        ] {
            assert!(verify_prefix(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_is_never_printed() {
        let line = FieldLine { name: "authorization".into(), value: "Basic c2VjcmV0".into() };
        assert!(!format!("{line:?}").contains("c2VjcmV0"));
    }
}
