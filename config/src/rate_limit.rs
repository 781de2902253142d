//! `[rate_limit]` and the `rate_limit` of routes: how often somebody may ask.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::problem::Fault;
use crate::reader::Reader;
use crate::spec::{Kind, TableSpec, default, optional, required};
use crate::value::{format_duration, parse_duration};

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "How often somebody may ask, whatever for. A rate is written \"600/1m\", or \"600/1m burst 50\" where no more than 50 may come at once.",
    keys: &[
        default(
            "mode",
            Kind::Choice(&["enforce", "observe"]),
            "\"enforce\"",
            "\"observe\" counts what would be refused, and refuses nothing; for the limits of routes as well.",
        ),
        optional("all", Kind::Text(verify_rate), "Requests of all clients together."),
        optional(
            "address",
            Kind::Text(verify_rate),
            "Requests of one client address (IPv6: of one /64).",
        ),
        default(
            "sign_in_address",
            Kind::Text(verify_rate),
            "\"60/1m burst 30\"",
            "Sign-ins tried from one client address (IPv6: from one /64).",
        ),
        default(
            "sign_in_network",
            Kind::Text(verify_rate),
            "\"600/1m burst 200\"",
            "Sign-ins tried from one network: /24, and /48 of IPv6.",
        ),
        default(
            "keys_max",
            Kind::Integer { least: 1024, most: 1 << 30 },
            "1000000",
            "How many addresses, accounts and sessions are remembered, at 16 bytes each. When there are more, those that asked least of late are forgotten.",
        ),
    ],
};

pub(crate) static ROUTE_SPEC: TableSpec = TableSpec {
    doc: "How often somebody may ask for what a route is about.",
    keys: &[
        required(
            "rate",
            Kind::Text(verify_rate),
            "For example \"100/1m\", or \"100/1m burst 20\" where no more than 20 may come at once.",
        ),
        default(
            "by",
            Kind::List(&Kind::Choice(&["address", "account", "session"])),
            "[\"address\"]",
            "Whose requests are counted together: those of one address, account, session, or of a combination; all when empty. Who is not signed in is counted by address.",
        ),
    ],
};

/// How often somebody may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many requests.
    pub requests: NonZeroU32,
    /// In this time.
    pub per: Duration,
    /// So many of them at once, at most.
    pub burst: NonZeroU32,
}

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Those of one account.
    Account,
    /// Those of one address.
    Address,
    /// Those of one session.
    Session,
}

/// The limits of all routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Is anything refused? If not it is only counted.
    pub enforce: bool,
    /// Of all clients together.
    pub all: Option<Rate>,
    /// Of one address.
    pub address: Option<Rate>,
    /// Sign-ins from one address.
    pub sign_in_address: Rate,
    /// Sign-ins from one network.
    pub sign_in_network: Rate,
    /// How many keys are remembered.
    pub keys_max: usize,
}

/// A limit of one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteLimit {
    /// How often.
    pub rate: Rate,
    /// Whose requests; empty: everybody's together.
    pub by: Vec<By>,
}

impl By {
    const ALL: [Self; 3] = [Self::Account, Self::Address, Self::Session];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Address => "address",
            Self::Session => "session",
        }
    }
}

impl RateLimits {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        let optional = |key| reader.optional_text(key).and_then(|text| Rate::parse(&text));
        let rate = |key| optional(key).unwrap_or(Rate::ONE_A_SECOND);
        Self {
            enforce: reader.text("mode") != "observe",
            all: optional("all"),
            address: optional("address"),
            sign_in_address: rate("sign_in_address"),
            sign_in_network: rate("sign_in_network"),
            keys_max: usize::try_from(reader.integer("keys_max")).unwrap_or(usize::MAX),
        }
    }
}

impl RouteLimit {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        let named = |text: String| By::ALL.into_iter().find(|by| by.as_str() == text);
        let by = reader.texts("by").into_iter().filter_map(named);
        Self {
            rate: Rate::parse(&reader.text("rate")).unwrap_or(Rate::ONE_A_SECOND),
            by: by.collect(),
        }
    }
}

impl Rate {
    /// Stands for a rate that could not be read, in a configuration that is refused.
    pub(crate) const ONE_A_SECOND: Self =
        Self { requests: NonZeroU32::MIN, per: Duration::from_secs(1), burst: NonZeroU32::MIN };

    /// Reads `600/1m` or `600/1m burst 50`.
    pub fn parse(text: &str) -> Option<Self> {
        let (rate, burst) = match text.split_once(" burst ") {
            Some((rate, burst)) => (rate, Some(burst)),
            None => (text, None),
        };
        let (requests, per) = rate.split_once('/')?;
        let requests = requests.parse().ok()?;
        let burst = burst.map_or(Some(requests), |burst| burst.parse().ok())?;
        let per = parse_duration(per)?;
        // Below a nanosecond a request, and beyond a year, nothing is counted well.
        let fits = Duration::from_millis(1)..=Duration::from_secs(366 * 86_400);
        let rate = Self { requests, per, burst };
        (fits.contains(&per) && burst <= requests && rate.every() >= Duration::from_nanos(1))
            .then_some(rate)
    }

    /// The time after which there is room for one more.
    pub fn every(&self) -> Duration {
        self.per / self.requests.get()
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} burst {}", self.requests, format_duration(self.per), self.burst)
    }
}

pub(crate) fn verify_rate(text: &str) -> Result<(), Fault> {
    if Rate::parse(text).is_some() {
        return Ok(());
    }
    Err(Fault::new(
        format!("{text:?} is not a rate."),
        "Write requests and time, for example \"600/1m\", and if need be the most at once, no more than that: \"600/1m burst 50\".",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_requests_in_a_time() {
        let rate = Rate::parse("600/1m burst 50").unwrap();
        assert_eq!((rate.requests.get(), rate.burst.get()), (600, 50));
        assert_eq!(rate.every(), Duration::from_millis(100));
        assert_eq!(Rate::parse(&rate.to_string()), Some(rate));
        assert_eq!(Rate::parse("5/1s").unwrap().burst.get(), 5);
        for wrong in
            ["", "5", "5/", "/1s", "0/1s", "5/0s", "5/1s burst 6", "5/1s burst", "-1/1s", "5/2y"]
        {
            assert_eq!(Rate::parse(wrong), None, "{wrong:?}");
        }
    }
}
