//! Everything at once: people sign in, work and sign out at any of three gates while servers hang, are
//! killed and come back. Whoever has signed out gets in nowhere a second later; whoever has not is
//! never signed out; nobody gets in without a password.
//!
//! `DOORWARD_TEST_CHAOS=SECONDS` makes it last longer, `SECONDS:SEED` chooses as another run did.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use doorward_plugins::Timestamp;

use super::*;

const SECONDS: u64 = 12;

const PEOPLE: usize = 6;

/// How long after the answer to a sign-out nobody may get in by it.
const REFUSED_AFTER: Duration = Duration::from_secs(1);

/// Chooses; the same in each run with the same seed.
struct Dice(AtomicU64);

impl Dice {
    /// A number below `sides` (xorshift64*).
    fn roll(&self, sides: u64) -> u64 {
        let next = |state: u64| {
            let state = state ^ (state >> 12);
            let state = state ^ (state << 25);
            Some(state ^ (state >> 27))
        };
        let state = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap();
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
    }

    fn pick<'a, T>(&self, some: &'a [T]) -> &'a T {
        &some[usize::try_from(self.roll(some.len() as u64)).unwrap()]
    }
}

/// What people and servers do, and what must hold.
struct Town {
    gates: Vec<TestGate>,
    clock: Clock,
    is_over: AtomicBool,
    /// Those who have signed out, and when they were told so.
    gone: Mutex<Vec<(Browser, Timestamp)>>,
    worked: AtomicU64,
    unknown: AtomicU64,
    refused: AtomicU64,
    faults: AtomicU64,
}

/// Lets time pass.
async fn pause(ms: u64) {
    let _ = tokio::time::timeout(Duration::from_millis(ms), std::future::pending::<()>()).await;
}

impl Town {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    /// The status of an answer; `None`: there was none, as the connection ended with the session.
    async fn status(&self, of: impl Future<Output = StatusCode> + Send + 'static) -> Option<u16> {
        tokio::spawn(of).await.ok().map(|status| status.as_u16())
    }

    /// One person: in, to work, out, and again.
    async fn live(&self, name: &str, dice: &Dice) {
        while self.goes_on() {
            let mut browser = dice.pick(&self.gates).browser();
            let answer = browser.try_sign_in(name, PASSWORD).await;
            assert!(matches!(answer.status.as_u16(), 200 | 503), "sign-in: {}", answer.text());
            if answer.status != StatusCode::OK {
                pause(50).await;
                continue;
            }
            for _ in 0..dice.roll(30) {
                let mut there = at(dice.pick(&self.gates), &browser);
                match self.status(async move { there.get("/").await.status }).await {
                    Some(200) => self.worked.fetch_add(1, Ordering::Relaxed),
                    Some(503) | None => self.unknown.fetch_add(1, Ordering::Relaxed),
                    Some(status) => panic!("{name} was signed out: {status}"),
                };
                pause(dice.roll(40)).await;
            }
            let mut last = at(dice.pick(&self.gates), &browser);
            let out = self.status(async move {
                last.post_json("/.doorward/api/v1/sign-out", &serde_json::json!({})).await.status
            });
            if let Some(204 | 200) = out.await {
                self.gone.lock().unwrap().push((browser, self.clock.now()));
            }
        }
    }

    /// Somebody who has signed out tries again, and again.
    async fn haunt(&self, dice: &Dice) {
        while self.goes_on() {
            pause(10).await;
            let ghost = {
                let gone = self.gone.lock().unwrap();
                if gone.is_empty() { None } else { Some(dice.pick(&gone).clone()) }
            };
            let Some((browser, since)) = ghost else { continue };
            if self.clock.now().since(since) < REFUSED_AFTER {
                continue;
            }
            let mut there = at(dice.pick(&self.gates), &browser);
            let answered = self.status(async move { there.get("/").await.status }).await;
            assert!(matches!(answered, Some(401 | 503) | None), "let in: {answered:?}");
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Somebody guesses.
    async fn guess(&self, dice: &Dice) {
        while self.goes_on() {
            let answer = dice.pick(&self.gates).browser().try_sign_in("victim", "wrong").await;
            assert!(matches!(answer.status.as_u16(), 403 | 503), "{}", answer.text());
            pause(dice.roll(100)).await;
        }
    }

    /// One server after the other fails, in some way, for a while.
    async fn fail(&self, redis: &mut RedisServer, postgres: &PostgresServer, dice: &Dice) {
        while self.goes_on() {
            pause(500 + dice.roll(1500)).await;
            let lasts = 200 + dice.roll(2500);
            match dice.roll(4) {
                0 => {
                    redis.signal("STOP");
                    pause(lasts).await;
                    redis.signal("CONT");
                }
                1 => {
                    redis.kill();
                    pause(lasts).await;
                    redis.restart();
                }
                2 => {
                    postgres.signal("STOP");
                    pause(lasts).await;
                    postgres.signal("CONT");
                }
                _ => {
                    postgres.stop();
                    pause(lasts).await;
                    postgres.start_again();
                }
            }
            self.faults.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// How long, and by which dice.
fn chosen() -> (u64, u64) {
    #[expect(clippy::disallowed_methods, reason = "whoever runs it for longer says so")]
    let said = std::env::var("DOORWARD_TEST_CHAOS").unwrap_or_default();
    let (seconds, seed) = said.split_once(':').unwrap_or((&said, ""));
    let fresh = Clock::machine().wall().0 | 1;
    (seconds.parse().unwrap_or(SECONDS), seed.parse().unwrap_or(fresh))
}

#[tokio::test(flavor = "multi_thread")]
async fn o05_o06_a01_whatever_fails_nobody_is_let_in_or_thrown_out() {
    let (seconds, seed) = chosen();
    let mut house = House::with_clock(Clock::machine()).await;
    house.redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let postgres = PostgresServer::start();
    house.postgres = postgres.database();
    let tables = "[captcha]\nmode = \"off\"\n[session]\nparallel_max = 1000\n";
    let town = Town {
        gates: house.gates(tables).await.into(),
        clock: house.clock.clone(),
        is_over: AtomicBool::new(false),
        gone: Mutex::default(),
        worked: AtomicU64::new(0),
        unknown: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        faults: AtomicU64::new(0),
    };
    for number in 0..PEOPLE {
        town.gates[0].add(&format!("person{number}"), AccountChange::default()).await;
    }
    town.gates[0].add("victim", AccountChange::default()).await;
    let dice = Dice(AtomicU64::new(seed));
    let people = (0..PEOPLE).map(|number| {
        let (town, dice) = (&town, &dice);
        async move { town.live(&format!("person{number}"), dice).await }
    });
    let everybody = async {
        tokio::join!(
            futures_all(people),
            town.haunt(&dice),
            town.guess(&dice),
            town.fail(&mut house.redis, &postgres, &dice),
            async {
                pause(seconds * 1000).await;
                town.is_over.store(true, Ordering::Relaxed);
            }
        )
    };
    Box::pin(everybody).await;
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let told = format!(
        "seed {seed}, {seconds} s: {} faults, {} requests let through, {} undecided, {} tries of {} who had signed out refused",
        read(&town.faults),
        read(&town.worked),
        read(&town.unknown),
        read(&town.refused),
        town.gone.lock().unwrap().len(),
    );
    #[expect(clippy::print_stdout, reason = "a run is told, and how to repeat it")]
    {
        println!("{told}");
    }
    assert!(read(&town.worked) > 0 && read(&town.refused) > 0 && read(&town.faults) > 0, "{told}");
    for gate in &town.gates {
        eventually("all is well again", async || {
            gate.browser().try_sign_in("person0", PASSWORD).await.status == StatusCode::OK
        })
        .await;
    }
}

/// Does all of these at once.
async fn futures_all(all: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut left: Vec<_> = all.map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        left.retain_mut(|one| one.as_mut().poll(cx).is_pending());
        if left.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
