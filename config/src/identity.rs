//! `[identity]`: how the console is told who is asking.

use std::time::Duration;

use crate::problem::Fault;
use crate::public_url::PublicUrl;
use crate::reader::Reader;
use crate::spec::{Kind, TableSpec, default, optional, seconds};
use crate::text::some_text;
use crate::text::verify_field_name;

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "How the console is told who is asking.",
    keys: &[
        default(
            "preset",
            Kind::Choice(&["remote", "forwarded", "auth-request", "none"]),
            "\"remote\"",
            "Plain fields: \"remote\" Remote-User, -Groups, -Name, -Email; \"forwarded\" X-Forwarded-User …; \"auth-request\" X-Auth-Request-User …; \"none\".",
        ),
        optional(
            "headers",
            Kind::Table(&HEADERS),
            "Field names of your own, each instead of the preset's.",
        ),
        default("assertion", Kind::Flag, "true", "Add X-Doorward-Assertion, the signed form."),
        default(
            "algorithm",
            Kind::Choice(&["ES256", "EdDSA"]),
            "\"ES256\"",
            "How assertions are signed; a change makes a new key at the next start.",
        ),
        default(
            "lifetime",
            seconds(60, 300),
            "\"2m\"",
            "How long an assertion is valid. It is made anew after half of this, or a minute if that is less.",
        ),
        default(
            "key_age_max",
            seconds(3600, 400 * 86_400),
            "\"30d\"",
            "The signing key is replaced when it is this old.",
        ),
        optional(
            "issuer",
            Kind::Text(some_text),
            "The `iss` of assertions; public_url when left out.",
        ),
    ],
};

static HEADERS: TableSpec = TableSpec {
    doc: "Field names of your own.",
    keys: &[
        optional("user", Kind::Text(verify_field_name), "Who: the account, or ACCOUNT/SUB_USER."),
        optional("groups", Kind::Text(verify_field_name), "Groups, with commas between them."),
        optional("name", Kind::Text(verify_field_name), "The name to show."),
        optional("email", Kind::Text(verify_field_name), "The e-mail address."),
        optional(
            "roles",
            Kind::Text(verify_field_name),
            "Roles, with commas between them; in no preset.",
        ),
    ],
};

/// How the console is told who is asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Names of the plain fields.
    pub headers: IdentityHeaders,
    /// Add the signed form?
    pub assertion: bool,
    /// How assertions are signed.
    pub algorithm: SigningAlgorithm,
    /// How long an assertion is valid: 1 to 5 minutes.
    pub lifetime: Duration,
    /// The signing key is replaced when it is this old.
    pub key_age_max: Duration,
    /// The `iss` of assertions.
    pub issuer: String,
}

/// Names of the plain fields, in lower case; `None`: not sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityHeaders {
    /// The account, or ACCOUNT/SUB_USER.
    pub user: Option<String>,
    /// Groups, with commas between them.
    pub groups: Option<String>,
    /// The name to show.
    pub name: Option<String>,
    /// The e-mail address.
    pub email: Option<String>,
    /// Roles, with commas between them.
    pub roles: Option<String>,
}

/// How assertions are signed (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl IdentityHeaders {
    /// The names of a preset; none of them for an unknown one.
    fn preset(preset: &str) -> Self {
        let prefix = match preset {
            "remote" => "remote",
            "forwarded" => "x-forwarded",
            "auth-request" => "x-auth-request",
            _ => return Self::default(),
        };
        let name = |part: &str| Some(format!("{prefix}-{part}"));
        let display = if preset == "remote" { "name" } else { "preferred-username" };
        Self {
            user: name("user"),
            groups: name("groups"),
            name: name(display),
            email: name("email"),
            roles: None,
        }
    }

    /// Notes a name that two of them have: the console could not tell one from the other.
    fn verify_apart(&self, own: &Reader<'_>) {
        let Self { user, groups, name, email, roles } = self;
        let all = [
            ("user", user),
            ("groups", groups),
            ("name", name),
            ("email", email),
            ("roles", roles),
        ];
        for (index, (key, field)) in all.iter().enumerate() {
            let same = |other: &&(&str, &Option<String>)| field.is_some() && other.1 == *field;
            if let Some((earlier, _)) = all.iter().take(index).find(same) {
                // One of the two at least was written.
                let (at, other) = if own.has(key) { (key, earlier) } else { (earlier, key) };
                let reason = format!("is the same as that of {other}.");
                own.problem(at, Fault::new(reason, "Choose another name."));
            }
        }
    }

    /// Every field name that any preset or `own` would use, in lower case.
    ///
    /// A client's field of any of these names is removed whatever the preset: a console that was
    /// written for another gateway may still read it.
    pub fn reserved(own: &Self) -> Vec<String> {
        let mut names = vec!["x-doorward-assertion".to_owned()];
        for set in [
            own.clone(),
            Self::preset("remote"),
            Self::preset("forwarded"),
            Self::preset("auth-request"),
        ] {
            names.extend(
                [set.user, set.groups, set.name, set.email, set.roles].into_iter().flatten(),
            );
        }
        names.sort();
        names.dedup();
        names
    }
}

impl Identity {
    pub(crate) fn read(reader: &Reader<'_>, public_url: &PublicUrl) -> Self {
        let own = reader.table("headers");
        let mut headers = IdentityHeaders::preset(&reader.text("preset"));
        for (key, slot) in [
            ("user", &mut headers.user),
            ("groups", &mut headers.groups),
            ("name", &mut headers.name),
            ("email", &mut headers.email),
            ("roles", &mut headers.roles),
        ] {
            let Some(name) = own.optional_text(key) else { continue };
            let name = name.to_ascii_lowercase();
            if has_meaning(&name) {
                let advice = "Choose another name, for example \"X-User\".";
                own.problem(key, Fault::new(format!("{name:?} has a meaning in HTTP."), advice));
            }
            *slot = Some(name);
        }
        headers.verify_apart(&own);
        Self {
            headers,
            assertion: reader.flag("assertion"),
            algorithm: if reader.text("algorithm") == "EdDSA" {
                SigningAlgorithm::EdDsa
            } else {
                SigningAlgorithm::Es256
            },
            lifetime: reader.duration("lifetime"),
            key_age_max: reader.duration("key_age_max"),
            issuer: reader.optional_text("issuer").unwrap_or_else(|| public_url.origin()),
        }
    }
}

/// Is it a field that carries the message itself, or that the gate writes or obeys? Another use
/// would break requests, or be overwritten.
pub(crate) fn has_meaning(name: &str) -> bool {
    RESERVED_FIELDS.contains(&name) || RESERVED_PREFIXES.iter().any(|start| name.starts_with(start))
}

const RESERVED_PREFIXES: [&str; 7] =
    ["accept-", "access-control-", "content-", "if-", "proxy-", "sec-fetch-", "sec-websocket-"];

const RESERVED_FIELDS: [&str; 42] = [
    "accept",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "forwarded",
    "from",
    "host",
    "http2-settings",
    "keep-alive",
    "last-modified",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "range",
    "referer",
    "server",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
    "x-doorward-assertion",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
    "x-requested-with",
];
