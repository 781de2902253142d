//! `[session]`: how long a sign-in lasts.

use std::time::Duration;

use crate::identity::{Identity, IdentityHeaders, has_meaning};
use crate::pattern::HostPattern;
use crate::problem::Fault;
use crate::public_url::PublicUrl;
use crate::reader::Reader;
use crate::spec::{Kind, TableSpec, default, optional, seconds};
use crate::text::verify_field_name;
use crate::value::format_duration;

/// The shortest idle time that there may be.
pub const IDLE_MIN: Duration = Duration::from_secs(15 * 60);
/// The longest idle time that there may be.
pub const IDLE_MAX: Duration = Duration::from_secs((23 * 60 + 59) * 60);

const IDLE: Kind = Kind::Duration { least: IDLE_MIN, most: IDLE_MAX };

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "How long a sign-in lasts.",
    keys: &[
        default(
            "idle",
            IDLE,
            "\"1h\"",
            "A session ends after this time without a request that counts as activity. An account may have its own.",
        ),
        default(
            "idle_min",
            IDLE,
            "\"15m\"",
            "The shortest idle time that an account may be given.",
        ),
        default(
            "idle_max",
            IDLE,
            "\"23h59m\"",
            "The longest idle time that an account may be given.",
        ),
        default(
            "absolute",
            seconds(15 * 60, 400 * 86_400),
            "\"12h\"",
            "A session ends this long after its sign-in, whatever happens.",
        ),
        default(
            "background_header",
            Kind::Text(verify_field_name),
            "\"X-Doorward-Background\"",
            "A request that carries this field is not a person's act and does not count as activity.",
        ),
        default(
            "parallel_max",
            Kind::Integer { least: 1, most: 10_000 },
            "20",
            "How many sessions one person may have; a further sign-in ends the one unused for longest.",
        ),
        default(
            "total_max",
            Kind::Integer { least: 1, most: 100_000_000 },
            "1000000",
            "How many sessions there may be in all; further sign-ins are refused with 503.",
        ),
        optional(
            "cookie_domain",
            Kind::Text(verify_domain),
            "Share sessions between all hosts below this domain. When left out each host has its own.",
        ),
    ],
};

/// How long a sign-in lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Ends after this time without activity, unless the account has its own.
    pub idle: Duration,
    /// The shortest idle time that an account may be given.
    pub idle_min: Duration,
    /// The longest idle time that an account may be given.
    pub idle_max: Duration,
    /// Ends this long after its sign-in.
    pub absolute: Duration,
    /// Lower-case name of the field that marks a request as not a person's act.
    pub background_header: String,
    /// How many sessions one person may have.
    pub parallel_max: usize,
    /// How many sessions there may be in all.
    pub total_max: usize,
    /// Sessions are shared below this domain; `None`: each host has its own.
    pub cookie_domain: Option<String>,
}

impl Session {
    pub(crate) fn read(reader: &Reader<'_>, public_url: &PublicUrl, identity: &Identity) -> Self {
        let session = Self {
            idle: reader.duration("idle"),
            idle_min: reader.duration("idle_min"),
            idle_max: reader.duration("idle_max"),
            absolute: reader.duration("absolute"),
            background_header: reader.text("background_header").to_ascii_lowercase(),
            parallel_max: usize::try_from(reader.integer("parallel_max")).unwrap_or(usize::MAX),
            total_max: usize::try_from(reader.integer("total_max")).unwrap_or(usize::MAX),
            cookie_domain: reader.optional_text("cookie_domain"),
        };
        let (min, max) = (format_duration(session.idle_min), format_duration(session.idle_max));
        if session.idle_min > session.idle_max {
            reader.problem(
                "idle_min",
                Fault::new(format!("is more than idle_max, {max}."), "Lower it."),
            );
        } else if !(session.idle_min..=session.idle_max).contains(&session.idle) {
            let reason = format!("is outside idle_min to idle_max, {min} to {max}.");
            reader.problem("idle", Fault::new(reason, "Choose a time in this range."));
        }
        if session.absolute < session.idle {
            let reason = format!("is less than idle, {}.", format_duration(session.idle));
            reader.problem("absolute", Fault::new(reason, "Raise it, or lower idle."));
        }
        let name = session.background_header.as_str();
        let identities = IdentityHeaders::reserved(&identity.headers);
        if has_meaning(name) || identities.iter().any(|reserved| reserved == name) {
            let reason = format!("{name:?} has a meaning of its own.");
            let advice = "Choose another name, for example \"X-Background\".";
            reader.problem("background_header", Fault::new(reason, advice));
        }
        if let Some(domain) = &session.cookie_domain {
            let below = public_url
                .host
                .strip_suffix(domain.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
            if !below && !public_url.host.is_empty() {
                reader.problem(
                    "cookie_domain",
                    Fault::new(
                        "does not contain the host of public_url.",
                        "Name a domain that both share.",
                    ),
                );
            }
        }
        session
    }
}

/// Is `idle` a time that an account may be given? Both ends of the range are included.
///
/// # Errors
/// What to tell the person who asked for it.
pub fn verify_idle(idle: Duration, session: &Session) -> Result<(), String> {
    if (session.idle_min..=session.idle_max).contains(&idle) {
        return Ok(());
    }
    let (min, max) = (format_duration(session.idle_min), format_duration(session.idle_max));
    Err(format!("an idle time of {} is not allowed; choose {min} to {max}", format_duration(idle)))
}

fn verify_domain(text: &str) -> Result<(), Fault> {
    // A single label ("com", "localhost") is a public suffix or not a domain.
    match HostPattern::parse(text) {
        Ok(HostPattern::Exact(name))
            if name.contains('.') && name.parse::<std::net::Ipv4Addr>().is_err() =>
        {
            Ok(())
        }
        _ => Err(Fault::new(
            format!("{text:?} is not a domain."),
            "Write it without a star, for example \"example.com\".",
        )),
    }
}
