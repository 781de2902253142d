//! Limits that several gates give together.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::limit::{Limit, Measure};
use super::table::Table;
use crate::clock::{Clock, Timestamp};
use crate::store::SharedState;

/// How many keys are remembered that are over a limit.
const OVER_MAX: usize = 100_000;

/// Counts with other gates.
pub(super) struct Together {
    store: Arc<dyn SharedState>,
    clock: Clock,
    gates: AtomicU32,
    /// Who is over a limit until when: whoever goes on asking costs the store nothing.
    over: Table,
    hash: RandomState,
}

impl Together {
    pub(super) fn new(store: Arc<dyn SharedState>, clock: Clock) -> Self {
        let (gates, hash) = (AtomicU32::new(1), RandomState::new());
        Self { store, clock, gates, over: Table::new(OVER_MAX), hash }
    }

    pub(super) fn set_gates(&self, gates: u32) {
        self.gates.store(gates.max(1), Ordering::Relaxed);
    }

    /// Measures one request, and takes it from the allowance.
    pub(super) async fn measure(&self, limit: &Limit, key: &str) -> Measure {
        let now = self.clock.now();
        let place = self.hash.hash_one((&limit.name, key));
        let until = self.over.get(place).map(Timestamp).unwrap_or_default();
        if until > now {
            let measure = Measure { fits: false, remaining: 0, after: until.since(now) };
            limit.count(&measure);
            return measure;
        }
        let rate = (limit.rate.every(), limit.rate.burst.get());
        let Ok(said) = self.store.measure(&format!("{}:{key}", limit.name), rate, now).await else {
            let gates = NonZeroU32::new(self.gates.load(Ordering::Relaxed));
            return limit.measure_share(key, gates.unwrap_or(NonZeroU32::MIN));
        };
        let measure = Measure { after: round_up(said.after), ..said };
        if measure.fits {
            limit.follow(key);
        } else {
            self.over.set(place, (now + measure.after).0);
        }
        limit.count(&measure);
        measure
    }
}

/// To whole milliseconds: who comes back after them is let in.
fn round_up(time: Duration) -> Duration {
    let spare = time.subsec_nanos() % 1_000_000;
    if spare == 0 { time } else { time + Duration::from_nanos(u64::from(1_000_000 - spare)) }
}

#[cfg(test)]
mod tests {
    use doorward_config::Rate;

    use super::*;
    use crate::store::redis::tests::open;
    use crate::store::redis::tests::server::RedisServer;

    struct Gate {
        together: Together,
        limit: Limit,
    }

    impl Gate {
        fn new(server: &RedisServer, clock: &Clock, rate: &str) -> Self {
            let together = Together::new(Arc::new(open(server)), clock.clone());
            let table = Table::new(1000);
            let limit = Limit::new("x".into(), Rate::parse(rate).unwrap(), &table, clock);
            Self { together, limit }
        }

        async fn fits(&self, key: &str) -> bool {
            self.together.measure(&self.limit, key).await.fits
        }
    }

    #[tokio::test]
    async fn f12_an_allowance_is_given_once_by_all_gates() {
        let (server, clock) = (RedisServer::start(), Clock::manual(Timestamp(1_800_000_000_000)));
        let gates = [(); 3].map(|()| Gate::new(&server, &clock, "60/1m burst 6"));
        let mut let_in = 0;
        for turn in 0..30 {
            let_in += usize::from(gates[turn % 3].fits("a").await);
        }
        assert_eq!(let_in, 6);
        assert!(gates[0].fits("b").await, "another's");
        let said = gates[0].together.measure(&gates[0].limit, "a").await;
        assert_eq!((said.fits, said.after), (false, Duration::from_secs(1)));
        clock.advance(said.after);
        let let_in = [gates[0].fits("a").await, gates[1].fits("a").await, gates[2].fits("a").await];
        assert_eq!(let_in, [true, false, false], "one has come back");
    }

    #[tokio::test]
    async fn f12_who_is_over_the_limit_costs_the_store_nothing() {
        let (server, clock) = (RedisServer::start(), Clock::manual(Timestamp(1_800_000_000_000)));
        let gate = Gate::new(&server, &clock, "1/1m");
        assert!(gate.fits("a").await && !gate.fits("a").await);
        let calls = || server.ask(&["info", "commandstats"]).matches("evalsha").count();
        let asked = |text: String| {
            let line = text.lines().find(|line| line.starts_with("cmdstat_evalsha"));
            line.and_then(|line| line.split(['=', ',']).nth(1)).unwrap().to_owned()
        };
        assert!(calls() > 0);
        let before = asked(server.ask(&["info", "commandstats"]));
        for _ in 0..1000 {
            assert!(!gate.fits("a").await);
        }
        assert_eq!(asked(server.ask(&["info", "commandstats"])), before);
    }

    #[tokio::test]
    async fn o05_while_the_store_is_away_each_gate_gives_its_share() {
        let (mut server, clock) =
            (RedisServer::start(), Clock::manual(Timestamp(1_800_000_000_000)));
        let gates = [(); 3].map(|()| Gate::new(&server, &clock, "60/1m burst 6"));
        server.kill();
        let mut let_in = 0;
        for gate in &gates {
            gate.together.set_gates(3);
            for _ in 0..10 {
                let_in += usize::from(gate.fits("a").await);
            }
        }
        assert_eq!(let_in, 6, "two each");
    }
}
