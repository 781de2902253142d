//! What is unusual about a sign-in, compared with the earlier ones of the same principal; and the
//! history that this needs, which its owner may look at.
//!
//! The first sign-in of somebody is compared with nothing, and therefore usual. What cannot be
//! looked up is no signal: risk adds to what is demanded, and never takes away.
//!
//! Bounds: `[risk] history` sign-ins of each result for each principal.

use std::net::IpAddr;
use std::sync::Arc;

use doorward_config::Risk as Rules;
use maxminddb::{MaxMindDbError, Reader, path};

use crate::clock::{Clock, Timestamp};
use crate::notify::alerts::Alert;
use crate::notify::device;
use crate::store::{HistoryStore, StoreError};

/// After so many sign-ins it is known at which hours somebody signs in.
const HOURS_KNOWN_AFTER: usize = 10;

/// A sign-in within so many hours of an earlier one, by the time of day, is usual.
const HOURS_NEAR: u64 = 2;

/// The result of a sign-in that succeeded.
pub const SIGNED_IN: &str = "signed-in";

/// A sign-in that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastSignIn {
    /// Whose.
    pub principal_id: String,
    /// When.
    pub at: Timestamp,
    /// From which address.
    pub address: String,
    /// From which region: a country's code (ISO 3166-1), or empty if it is not known.
    pub region: String,
    /// By which browser, in our words, or empty.
    pub device: String,
    /// What came of it: [`SIGNED_IN`], or why not.
    pub result: String,
}

/// Something unusual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The browser has never signed in as this principal.
    NewDevice,
    /// No sign-in came from this region.
    NewRegion(String),
    /// No sign-in was at about this time of the day.
    UnusualHour,
}

impl Signal {
    /// What its owner is told.
    pub fn alert(&self) -> Alert<'_> {
        match self {
            Self::NewDevice => Alert::NewDevice,
            Self::NewRegion(region) => Alert::NewRegion { region },
            Self::UnusualHour => Alert::UnusualHour,
        }
    }
}

/// Where a sign-in comes from.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The address.
    pub address: IpAddr,
    /// The client's `User-Agent`.
    pub user_agent: &'a str,
    /// Has this browser signed in as this principal? `None`: browsers are not known.
    pub known_device: Option<bool>,
}

/// Compares sign-ins with earlier ones.
pub struct Risk {
    rules: Rules,
    store: Arc<dyn HistoryStore>,
    regions: Option<Reader<Vec<u8>>>,
    clock: Clock,
}

impl Risk {
    /// Reads the regions. Blocks on the disk.
    ///
    /// # Errors
    /// When there is a file of regions that cannot be used.
    pub fn open(
        rules: &Rules,
        store: Arc<dyn HistoryStore>,
        clock: Clock,
    ) -> Result<Self, MaxMindDbError> {
        let regions = rules.regions_file.as_ref().map(Reader::open_readfile).transpose()?;
        Ok(Self { rules: rules.clone(), store, regions, clock })
    }

    /// What is unusual about this sign-in.
    ///
    /// # Errors
    /// [`StoreError`] when there is nothing to compare with.
    pub async fn judge(
        &self,
        principal_id: &str,
        arrival: Arrival<'_>,
    ) -> Result<Vec<Signal>, StoreError> {
        let past = self.store.sign_ins(principal_id, self.rules.history.saturating_mul(2)).await?;
        let past: Vec<_> = past.iter().filter(|one| one.result == SIGNED_IN).collect();
        let mut signals = Vec::new();
        if past.is_empty() {
            return Ok(signals);
        }
        if arrival.known_device == Some(false) {
            signals.push(Signal::NewDevice);
        }
        let region = self.region(arrival.address);
        let known: Vec<_> = past.iter().filter(|one| !one.region.is_empty()).collect();
        if !region.is_empty() && !known.is_empty() && known.iter().all(|one| one.region != region) {
            signals.push(Signal::NewRegion(region));
        }
        let now = self.clock.wall();
        let far = |one: &&PastSignIn| hours_apart(one.at, now) > HOURS_NEAR;
        if past.len() >= HOURS_KNOWN_AFTER && past.iter().all(far) {
            signals.push(Signal::UnusualHour);
        }
        Ok(signals)
    }

    /// Can any signal ask for a second factor?
    pub fn may_demand(&self) -> bool {
        self.rules.second_factor
    }

    /// Do these ask for a second factor, of whoever has one?
    pub fn demands_second_factor(&self, signals: &[Signal]) -> bool {
        self.may_demand() && !signals.is_empty()
    }

    /// Remembers a sign-in and what came of it.
    ///
    /// # Errors
    /// [`StoreError`] when it will not be remembered.
    pub async fn note(
        &self,
        principal_id: &str,
        arrival: Arrival<'_>,
        result: &str,
    ) -> Result<(), StoreError> {
        let sign_in = PastSignIn {
            principal_id: principal_id.to_owned(),
            at: self.clock.wall(),
            address: arrival.address.to_string(),
            region: self.region(arrival.address),
            device: device::describe(arrival.user_agent),
            result: result.to_owned(),
        };
        self.store.note_sign_in(&sign_in, self.rules.history).await
    }

    /// The latest sign-ins of a principal, latest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn recent(&self, principal_id: &str, n: u32) -> Result<Vec<PastSignIn>, StoreError> {
        self.store.sign_ins(principal_id, n).await
    }

    /// The country of an address; empty if nobody knows.
    fn region(&self, address: IpAddr) -> String {
        let look = |regions: &Reader<Vec<u8>>| -> Option<String> {
            let found = regions.lookup(address.to_canonical()).ok()?;
            found.decode_path(&path!["country", "iso_code"]).ok()?
        };
        self.regions.as_ref().and_then(look).unwrap_or_default()
    }
}

/// How far apart two times of the day are, in whole hours.
fn hours_apart(one: Timestamp, other: Timestamp) -> u64 {
    let hour = |at: Timestamp| at.secs() / 3600 % 24;
    let apart = hour(one).abs_diff(hour(other));
    apart.min(24 - apart)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::context::tests::config;
    use crate::session::live::tests::{Scratch, sessions};

    /// Over a scratch store, with the rules of an empty configuration.
    pub(crate) fn risk(scratch: &Scratch, tables: &str) -> Arc<Risk> {
        let rules = &config(tables).risk;
        Arc::new(Risk::open(rules, scratch.store.clone(), scratch.clock.clone()).unwrap())
    }

    fn arrival(known_device: Option<bool>) -> Arrival<'static> {
        let user_agent = "curl/8 https://evil.example";
        Arrival { address: IpAddr::from([192, 0, 2, 1]), user_agent, known_device }
    }

    #[tokio::test]
    async fn what_never_was_is_unusual_and_a_first_time_is_not() {
        let (_, scratch) = sessions("").await;
        let risk = risk(&scratch, "[risk]\nsecond_factor = true\nhistory = 10\n");
        let judge = async |known| risk.judge("p", arrival(known)).await.unwrap();
        assert!(judge(Some(false)).await.is_empty(), "compared with nothing");
        for day in 0..12 {
            risk.note("p", arrival(None), SIGNED_IN).await.unwrap();
            risk.note("p", arrival(None), "second-factor-failed").await.unwrap();
            assert_eq!(risk.recent("p", 100).await.unwrap().len(), 2 * (day + 1).min(10));
            scratch.clock.advance(Duration::from_secs(86_400));
        }
        assert!(judge(Some(true)).await.is_empty() && judge(None).await.is_empty());
        assert_eq!(judge(Some(false)).await, [Signal::NewDevice]);
        scratch.clock.advance(Duration::from_secs(2 * 3600));
        assert!(judge(Some(true)).await.is_empty());
        scratch.clock.advance(Duration::from_secs(3600));
        let signals = judge(Some(true)).await;
        assert_eq!(signals, [Signal::UnusualHour]);
        assert!(risk.demands_second_factor(&signals) && !risk.demands_second_factor(&[]));
        let latest = risk.recent("p", 1).await.unwrap().remove(0);
        assert_eq!((&*latest.device, &*latest.region), ("curl", ""));
    }

    #[test]
    fn midnight_is_near_to_both_sides() {
        let at = |hour: u64| Timestamp(hour * 3_600_000);
        assert_eq!((hours_apart(at(23), at(25)), hours_apart(at(1), at(23))), (2, 2));
        assert_eq!((hours_apart(at(0), at(12)), hours_apart(at(5), at(5))), (12, 0));
    }
}
