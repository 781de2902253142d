//! Guesses and known browsers in Redis: a document for each principal, or name that nobody has.
//!
//! Indexes are written before the document that they lead to: an entry that leads nowhere does no
//! harm, a document that nothing leads to would stay for ever.

use async_trait::async_trait;
use doorward_config::Lockout as Rules;
use serde::{Deserialize, Serialize};

use super::{Document, RedisStore};
use crate::clock::Timestamp;
use crate::lockout::{Admission, DeviceId, Guess, SignedInDevice, Tally, TallyKey, TrustedDevice};
use crate::store::{Counts, GuessStore, StoreError};

/// The most browsers that are known for one principal; those unused for longest are forgotten.
const DEVICES_MAX: usize = 100;

/// How many names that nobody has are forgotten by one call.
const PRUNED_AT_ONCE: u64 = 2000;

/// More than any time in milliseconds: what is above it is a number of guesses.
const TIMES: u64 = 10_000_000_000_000;

#[derive(Default, Serialize, Deserialize)]
struct Person {
    known: bool,
    tallies: Vec<Guesses>,
    devices: Vec<Device>,
}

#[derive(Serialize, Deserialize)]
struct Guesses {
    kind: Guess,
    /// Empty for strangers.
    device: String,
    tally: Tally,
}

#[derive(Serialize, Deserialize)]
struct Device {
    id: String,
    active: Timestamp,
    expires: Timestamp,
    trusted: Timestamp,
    name: String,
}

impl Document for Person {
    const NAME: &'static str = "guess";

    fn over(&self) -> Option<Timestamp> {
        // Guesses in a row count in whatever time; those at names that nobody has are in an index.
        let last = self.devices.iter().map(|device| device.expires).max();
        last.filter(|_| self.tallies.is_empty())
    }
}

impl Person {
    fn counted(&mut self, key: &TallyKey) -> Option<&mut Guesses> {
        let device = device(key);
        self.tallies.iter_mut().find(|one| one.kind == key.kind && one.device == device)
    }

    fn knows(&self, id: &str) -> bool {
        self.devices.iter().any(|device| device.id == id)
    }

    fn rename(&mut self, before: &str, now: &str) {
        for device in self.devices.iter_mut().filter(|device| device.id == before) {
            now.clone_into(&mut device.id);
        }
        for counted in self.tallies.iter_mut().filter(|counted| counted.device == before) {
            now.clone_into(&mut counted.device);
        }
    }

    /// Knows a browser; those that are too many are forgotten.
    fn know(&mut self, signed_in: &SignedInDevice<'_>) {
        let id = signed_in.now.as_str();
        match self.devices.iter_mut().find(|device| device.id == id) {
            Some(device) => {
                (device.active, device.expires) = (signed_in.active, signed_in.expires);
            }
            None => self.devices.push(Device {
                id: id.to_owned(),
                active: signed_in.active,
                expires: signed_in.expires,
                trusted: Timestamp(0),
                name: String::new(),
            }),
        }
        self.devices.sort_by_key(|device| std::cmp::Reverse(device.active));
        self.devices.truncate(DEVICES_MAX);
        self.forget_devices(signed_in.active);
    }

    /// Forgets browsers whose time has come, and what was counted for those that are not known.
    fn forget_devices(&mut self, now: Timestamp) {
        self.devices.retain(|device| device.expires > now);
        let Self { devices, tallies, .. } = self;
        let known = |id: &str| devices.iter().any(|device| device.id == id);
        tallies.retain(|counted| counted.device.is_empty() || known(&counted.device));
    }

    fn is_empty(&self) -> bool {
        self.tallies.is_empty() && self.devices.is_empty()
    }
}

/// The device of a key, as it is stored.
fn device(key: &TallyKey) -> &str {
    key.device.as_ref().map_or("", DeviceId::as_str)
}

impl RedisStore {
    async fn change_person<T>(
        &self,
        subject: &str,
        known: bool,
        mut change: impl FnMut(&mut Person) -> T + Send,
    ) -> Result<T, StoreError> {
        self.update(&self.key("guess", subject), |found: &mut Option<Person>| {
            let mut person = found.take().unwrap_or(Person { known, ..Person::default() });
            let given = change(&mut person);
            *found = Some(person).filter(|person| !person.is_empty());
            Ok(given)
        })
        .await
    }

    async fn person(&self, subject: &str) -> Result<Option<Person>, StoreError> {
        self.document(&self.key("guess", subject)).await
    }

    async fn remember(&self, signed_in: &SignedInDevice<'_>) -> Result<(), StoreError> {
        let index = |id: &str| self.key("device", id);
        let now = index(signed_in.now.as_str());
        let mut principals: Vec<String> = Vec::new();
        if let Some(before) = signed_in.before {
            let mut members = redis::cmd("SMEMBERS");
            principals = self.command(members.arg(index(before.as_str()))).await?;
        }
        let mut add = redis::cmd("SADD");
        self.command::<u64>(add.arg(&now).arg(&principals).arg(signed_in.principal_id)).await?;
        let mut over = redis::cmd("ZADD");
        over.arg(self.single("over")).arg(signed_in.expires.0).arg(&now);
        self.command::<u64>(&over).await?;
        let mut ends = redis::cmd("ZADD");
        ends.arg(self.single("device-ends")).arg("LT").arg(signed_in.expires.0);
        self.command::<u64>(ends.arg(signed_in.principal_id)).await?;
        if let Some(before) = signed_in.before {
            for principal in &principals {
                let change =
                    |person: &mut Person| person.rename(before.as_str(), signed_in.now.as_str());
                self.change_person(principal, true, change).await?;
            }
            let mut delete = redis::cmd("DEL");
            self.command::<u64>(delete.arg(index(before.as_str()))).await?;
        }
        self.change_person(signed_in.principal_id, true, |person| person.know(signed_in)).await
    }

    /// Takes over what another store has counted and known.
    ///
    /// # Errors
    /// [`StoreError`]; some of it may have been taken over then.
    pub(crate) async fn take_over(&self, counted: Counts) -> Result<(), StoreError> {
        for device in &counted.devices {
            let index = self.key("device", &device.id);
            let mut add = redis::cmd("SADD");
            self.command::<u64>(add.arg(&index).arg(&device.principal_id)).await?;
            for (ends, whose) in [("over", &index), ("device-ends", &device.principal_id)] {
                let mut ends_at = redis::cmd("ZADD");
                ends_at.arg(self.single(ends)).arg("LT").arg(device.expires.0).arg(whose);
                self.command::<u64>(&ends_at).await?;
            }
            self.change_person(&device.principal_id, true, |person| {
                if !person.knows(&device.id) {
                    person.devices.push(Device {
                        id: device.id.clone(),
                        active: device.active,
                        expires: device.expires,
                        trusted: device.trusted,
                        name: device.name.clone(),
                    });
                }
            })
            .await?;
        }
        for (key, tally) in &counted.guesses {
            let mut add = redis::cmd("SADD");
            self.command::<u64>(add.arg(self.single("guessed")).arg(&key.subject)).await?;
            self.change_person(&key.subject, true, |person| match person.counted(key) {
                Some(counted) => counted.tally = *tally,
                None => person.tallies.push(Guesses {
                    kind: key.kind,
                    device: device(key).to_owned(),
                    tally: *tally,
                }),
            })
            .await?;
        }
        Ok(())
    }

    /// Forgets browsers whose time has come by `now`.
    async fn forget_old_devices(&self, now: Timestamp) -> Result<(), StoreError> {
        let ends = self.single("device-ends");
        loop {
            let mut range = redis::cmd("ZRANGEBYSCORE");
            range.arg(&ends).arg("-inf").arg(now.0).arg("LIMIT").arg(0).arg(PRUNED_AT_ONCE);
            let subjects: Vec<String> = self.command(&range).await?;
            if subjects.is_empty() {
                return Ok(());
            }
            for subject in subjects {
                let change = |person: &mut Person| {
                    person.forget_devices(now);
                    person.devices.iter().map(|device| device.expires.0).min()
                };
                let index = match self.change_person(&subject, true, change).await? {
                    Some(next) => redis::cmd("ZADD").arg(&ends).arg(next).arg(&subject).take(),
                    None => redis::cmd("ZREM").arg(&ends).arg(&subject).take(),
                };
                self.command::<u64>(&index).await?;
            }
        }
    }

    /// Forgets names that nobody has.
    async fn forget_nobodies(&self, subjects: &[String]) -> Result<(), StoreError> {
        for chunk in subjects.chunks(500) {
            let keys: Vec<_> = chunk.iter().map(|subject| self.key("guess", subject)).collect();
            let mut delete = redis::cmd("DEL");
            self.command::<u64>(delete.arg(&keys)).await?;
            for index in ["nobody-first", "nobody-count"] {
                let mut remove = redis::cmd("ZREM");
                self.command::<u64>(remove.arg(self.single(index)).arg(chunk)).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl GuessStore for RedisStore {
    async fn tally(&self, key: &TallyKey) -> Result<Tally, StoreError> {
        let found = self.person(&key.subject).await?;
        Ok(found.and_then(|mut person| Some(person.counted(key)?.tally)).unwrap_or_default())
    }

    async fn admit(
        &self,
        key: &TallyKey,
        rules: &Rules,
        now: Timestamp,
        captcha_solved: bool,
    ) -> Result<Option<(Admission, Tally)>, StoreError> {
        if key.known {
            let mut add = redis::cmd("SADD");
            self.command::<u64>(add.arg(self.single("guessed")).arg(&key.subject)).await?;
        } else {
            let mut add = redis::cmd("ZADD");
            add.arg(self.single("nobody-first")).arg("NX").arg(now.0).arg(&key.subject);
            self.command::<u64>(&add).await?;
        }
        let decided = self.change_person(&key.subject, key.known, |person| {
            let device = device(key);
            if !device.is_empty() && !person.knows(device) {
                return None;
            }
            let mut tally = person.counted(key).map(|counted| counted.tally).unwrap_or_default();
            let admission = tally.admit(rules, now, captcha_solved);
            if matches!(admission, Admission::Check | Admission::Disable) {
                match person.counted(key) {
                    Some(counted) => counted.tally = tally,
                    None => person.tallies.push(Guesses {
                        kind: key.kind,
                        device: device.to_owned(),
                        tally,
                    }),
                }
            }
            Some((admission, tally))
        });
        let decided = decided.await?;
        if let (false, Some((_, tally))) = (key.known, &decided) {
            let counted = u64::from(tally.in_window) * TIMES + tally.first.0;
            for (index, score) in [("nobody-first", tally.first.0), ("nobody-count", counted)] {
                let mut add = redis::cmd("ZADD");
                add.arg(self.single(index)).arg(score).arg(&key.subject);
                self.command::<u64>(&add).await?;
            }
        }
        Ok(decided)
    }

    async fn succeed(
        &self,
        key: &TallyKey,
        signed_in: Option<&SignedInDevice<'_>>,
    ) -> Result<(), StoreError> {
        self.change_person(&key.subject, key.known, |person| {
            let device = device(key);
            person.tallies.retain(|one| one.kind != key.kind || one.device != device);
        })
        .await?;
        match signed_in {
            Some(signed_in) => self.remember(signed_in).await,
            None => Ok(()),
        }
    }

    async fn tallies(&self, principal_id: &str) -> Result<Vec<(TallyKey, Tally)>, StoreError> {
        let Some(mut person) = self.person(principal_id).await? else { return Ok(Vec::new()) };
        person.tallies.sort_by(|one, other| {
            (one.kind.as_str(), &one.device).cmp(&(other.kind.as_str(), &other.device))
        });
        let known = person.known;
        let key = |counted: Guesses| {
            let key = TallyKey {
                subject: principal_id.to_owned(),
                known,
                kind: counted.kind,
                device: DeviceId::stored(counted.device),
            };
            (key, counted.tally)
        };
        Ok(person.tallies.into_iter().map(key).collect())
    }

    async fn guessed_at(&self) -> Result<Vec<String>, StoreError> {
        let mut members = redis::cmd("SMEMBERS");
        let subjects: Vec<String> = self.command(members.arg(self.single("guessed"))).await?;
        let mut guessed = Vec::new();
        for subject in subjects {
            if self.person(&subject).await?.is_some_and(|person| !person.tallies.is_empty()) {
                guessed.push(subject);
            }
        }
        Ok(guessed)
    }

    async fn lift_kind(&self, principal_id: &str, kind: Guess) -> Result<(), StoreError> {
        self.change_person(principal_id, true, |person| {
            person.tallies.retain(|counted| counted.kind != kind);
        })
        .await
    }

    async fn lift(&self, principal_id: &str) -> Result<usize, StoreError> {
        let lift = |person: &mut Person| std::mem::take(&mut person.tallies).len();
        self.change_person(principal_id, true, lift).await
    }

    async fn knows_device(&self, id: &DeviceId, principal_id: &str) -> Result<bool, StoreError> {
        let found = self.person(principal_id).await?;
        Ok(found.is_some_and(|person| person.knows(id.as_str())))
    }

    async fn trust_device(
        &self,
        id: &DeviceId,
        principal_id: &str,
        (name, until): (&str, Timestamp),
    ) -> Result<(), StoreError> {
        self.change_person(principal_id, true, |person| {
            for device in person.devices.iter_mut().filter(|device| device.id == id.as_str()) {
                device.trusted = until;
                name.clone_into(&mut device.name);
            }
        })
        .await
    }

    async fn trusted_devices(
        &self,
        principal_id: &str,
        now: Timestamp,
    ) -> Result<Vec<TrustedDevice>, StoreError> {
        let Some(mut person) = self.person(principal_id).await? else { return Ok(Vec::new()) };
        person.devices.sort_by_key(|device| std::cmp::Reverse(device.active));
        let trusted = person.devices.into_iter().filter(|device| device.trusted > now);
        let trusted = trusted.filter_map(|device| {
            let (id, until) = (DeviceId::stored(device.id)?, device.trusted);
            Some(TrustedDevice { id, name: device.name, until })
        });
        Ok(trusted.collect())
    }

    async fn distrust_devices(&self, principal_id: &str) -> Result<(), StoreError> {
        self.change_person(principal_id, true, |person| {
            person.devices.iter_mut().for_each(|device| device.trusted = Timestamp(0));
        })
        .await
    }

    async fn forget_devices(&self, principal_id: &str) -> Result<(), StoreError> {
        self.change_person(principal_id, true, |person| {
            person.devices.clear();
            person.tallies.retain(|counted| counted.device.is_empty());
        })
        .await
    }

    async fn prune_guesses(
        &self,
        now: Timestamp,
        over: Timestamp,
        unknown_max: u64,
    ) -> Result<u64, StoreError> {
        self.forget_old_devices(now).await?;
        self.reap(now).await?;
        loop {
            let mut range = redis::cmd("ZRANGEBYSCORE");
            range.arg(self.single("nobody-first")).arg("-inf").arg(over.0);
            range.arg("LIMIT").arg(0).arg(PRUNED_AT_ONCE);
            let subjects: Vec<String> = self.command(&range).await?;
            if subjects.is_empty() {
                break;
            }
            self.forget_nobodies(&subjects).await?;
        }
        let mut count = redis::cmd("ZCARD");
        let count: u64 = self.command(count.arg(self.single("nobody-first"))).await?;
        // Those with many guesses stay: whoever wants a name to be forgotten has to guess at more
        // names than there is room for, as often as at that one.
        let mut excess = count.saturating_sub(unknown_max);
        while excess > 0 {
            let some = excess.min(PRUNED_AT_ONCE);
            let mut range = redis::cmd("ZRANGE");
            range.arg(self.single("nobody-count")).arg(0).arg(some - 1);
            let subjects: Vec<String> = self.command(&range).await?;
            if subjects.is_empty() {
                break;
            }
            self.forget_nobodies(&subjects).await?;
            excess -= some;
        }
        Ok(count.min(unknown_max))
    }
}
