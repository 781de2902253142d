//! Random sequences of sign-in, step-up, expiry, revocation and requests, against a plain model: the
//! console sees exactly the requests that the model allows, each once.

use std::time::Duration;

use doorward_plugins::administration::Request;
use doorward_tests::{App, Browser, Setup, TestGate, Upstream};
use http::StatusCode;
use serde_json::json;

use super::ROUTES;

const IDLE: u64 = 3600;
const ABSOLUTE: u64 = 12 * 3600;
const MAX_AGE: u64 = 300;
const LIFETIME: u64 = 600;
/// How many requests are kept for one person.
const HELD_MAX: usize = 8;
/// One fewer than lock the factor.
const WRONG_MAX: u32 = 9;

/// Numbers that look random, and are the same for a seed.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wanted {
    Plain,
    Keys,
    Pay(u64),
}

/// What the model knows of a session.
#[derive(Debug)]
struct Session {
    created: u64,
    active: u64,
    factor: Option<u64>,
    /// Payments that were approved, and when.
    approved: Vec<(u64, u64)>,
}

/// What was asked of a session.
#[derive(Debug)]
struct Asked {
    api: String,
    wanted: Wanted,
    made: u64,
    tries: u32,
    session: u64,
    met: bool,
}

/// What is kept.
#[derive(Debug)]
struct Held {
    url: String,
    wanted: Wanted,
    made: u64,
    gone: bool,
}

struct World {
    gate: TestGate,
    upstream: Upstream,
    app: App,
    browser: Browser,
    now: u64,
    session: Option<Session>,
    sessions: u64,
    asked: Vec<Asked>,
    held: Vec<Held>,
    last_step: u64,
    wrong: u32,
    allowed: usize,
    log: Vec<String>,
}

impl World {
    async fn new() -> Self {
        let upstream = Upstream::start().await;
        let tables = format!("[captcha]\nmode = \"off\"\n{ROUTES}");
        let gate = TestGate::start(&upstream, Setup { tables: &tables, ..Setup::default() }).await;
        gate.add_alice().await;
        let app = gate.app_of("alice").await;
        let (browser, last_step) = (gate.browser(), gate.clock.wall().secs() / 30);
        Self {
            gate,
            upstream,
            app,
            browser,
            now: 0,
            session: None,
            sessions: 0,
            asked: Vec::new(),
            held: Vec::new(),
            last_step,
            wrong: 0,
            allowed: 0,
            log: Vec::new(),
        }
    }

    fn live(&self) -> bool {
        self.session.as_ref().is_some_and(|session| {
            self.now < session.active + IDLE && self.now < session.created + ABSOLUTE
        })
    }

    /// Would the model let this through? An approval is used up by it.
    fn lets(&mut self, wanted: Wanted) -> bool {
        if !self.live() {
            self.session = None;
            return false;
        }
        let now = self.now;
        let Some(session) = &mut self.session else { return false };
        session.active = now;
        match wanted {
            Wanted::Plain => true,
            Wanted::Keys => session.factor.is_some_and(|at| now < at + MAX_AGE),
            Wanted::Pay(amount) => {
                let good = |(paid, at): &(u64, u64)| *paid == amount && now < at + MAX_AGE;
                let found = session.approved.iter().position(good);
                found.map(|place| session.approved.remove(place)).is_some()
            }
        }
    }

    async fn request(&mut self, wanted: Wanted) {
        let was_live = self.live();
        let lets = self.lets(wanted);
        let answer = match wanted {
            Wanted::Plain => self.browser.get("/plain").await,
            Wanted::Keys => self.browser.post_json("/keys/new", &json!({"name": "x"})).await,
            Wanted::Pay(amount) => self.browser.post_json("/pay", &json!({"amount": amount})).await,
        };
        let expected = if lets { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        assert_eq!(answer.status, expected, "{wanted:?} {}\n{:#?}", answer.text(), self.log);
        self.allowed += usize::from(lets);
        if was_live && !lets {
            let document = answer.json();
            self.ask(&document, wanted);
            let url = document["continue_url"].as_str().unwrap().to_owned();
            self.held.push(Held { url, wanted, made: self.now, gone: false });
            if self.held.len() > HELD_MAX {
                // What is gone takes no place: of the others the oldest makes room.
                let live = self.held.iter().filter(|held| self.is_held(held)).count();
                let oldest = self.held.iter().position(|held| self.is_held(held));
                if let Some(oldest) = oldest.filter(|_| live > HELD_MAX) {
                    self.held[oldest].gone = true;
                }
            }
        }
    }

    fn is_held(&self, held: &Held) -> bool {
        !held.gone && self.now < held.made + LIFETIME
    }

    fn ask(&mut self, document: &serde_json::Value, wanted: Wanted) {
        let api = document["step_up_api"].as_str().unwrap().to_owned();
        let (made, session) = (self.now, self.sessions);
        self.asked.push(Asked { api, wanted, made, tries: 0, session, met: false });
    }

    async fn go_on(&mut self, place: usize) {
        let (url, wanted) = (self.held[place].url.clone(), self.held[place].wanted);
        let is_held = self.is_held(&self.held[place]);
        let answer = self.browser.post_json(&url, &json!({})).await;
        let expected = if !is_held {
            StatusCode::GONE
        } else if self.lets(wanted) {
            self.held[place].gone = true;
            self.allowed += 1;
            StatusCode::OK
        } else {
            if self.session.is_some() {
                self.ask(&answer.json(), wanted);
            }
            StatusCode::UNAUTHORIZED
        };
        assert_eq!(answer.status, expected, "{wanted:?} {}\n{:#?}", answer.text(), self.log);
    }

    async fn answer(&mut self, place: usize, right: bool) {
        let step = self.gate.clock.wall().secs() / 30;
        let (live, now, sessions) = (self.live(), self.now, self.sessions);
        let fresh_code = right && step > self.last_step;
        let asked = &mut self.asked[place];
        let code = if right { self.app.code() } else { "000000".to_owned() };
        let given = json!({"way": "totp", "code": code});
        let answer = self.browser.post_json(&asked.api.clone(), &given).await;
        let open = !asked.met && now < asked.made + LIFETIME && asked.session == sessions;
        let expected = if !live {
            StatusCode::UNAUTHORIZED
        } else if !open || asked.tries >= 5 {
            StatusCode::GONE
        } else if fresh_code {
            (asked.met, self.last_step, self.wrong) = (true, step, 0);
            let session = self.session.as_mut().unwrap();
            session.factor = Some(now);
            session.active = now;
            if let Wanted::Pay(amount) = asked.wanted {
                session.approved.push((amount, now));
            }
            StatusCode::OK
        } else {
            asked.tries += 1;
            self.wrong += 1;
            StatusCode::FORBIDDEN
        };
        assert_eq!(answer.status, expected, "{right} {}\n{:#?}", answer.text(), self.log);
    }

    async fn act(&mut self, dice: &mut Dice) {
        let choice = dice.roll(18);
        self.log.push(format!("{choice} at {}", self.now));
        match choice {
            0 => {
                self.browser.sign_in("alice").await;
                self.sessions += 1;
                let (created, active) = (self.now, self.now);
                let approved = Vec::new();
                self.session = Some(Session { created, active, factor: None, approved });
            }
            1 if dice.roll(3) == 0 => {
                self.browser.post_json("/.doorward/api/v1/sign-out", &json!({})).await;
                self.session = None;
            }
            2 if dice.roll(3) == 0 => {
                self.gate.ask(Request::SessionRevokeAll { name: "alice".into() }).await.unwrap();
                self.session = None;
            }
            3 | 4 | 16 => {
                let spans = [1, 30, 30, 60, 299, 300, 599, 3600];
                let span = spans[usize::try_from(dice.roll(8)).unwrap()];
                self.gate.clock.advance(Duration::from_secs(span));
                self.now += span;
            }
            5 => self.request(Wanted::Plain).await,
            6 | 7 => self.request(Wanted::Keys).await,
            8 => self.request(Wanted::Pay(1 + dice.roll(2))).await,
            9 | 10 if !self.held.is_empty() => {
                // The latest, mostly.
                let back = usize::try_from(dice.roll(3)).unwrap().min(self.held.len() - 1);
                self.go_on(self.held.len() - 1 - back).await;
            }
            11..=15 if !self.asked.is_empty() => {
                let right = self.wrong >= WRONG_MAX || dice.roll(4) > 0;
                if self.wrong >= WRONG_MAX && self.gate.clock.wall().secs() / 30 <= self.last_step {
                    return;
                }
                let back = usize::try_from(dice.roll(3)).unwrap().min(self.asked.len() - 1);
                self.answer(self.asked.len() - 1 - back, right).await;
            }
            _ => {}
        }
        assert_eq!(self.upstream.count(), self.allowed, "{:#?}", self.log);
    }
}

#[tokio::test]
async fn the_console_sees_what_the_model_allows_and_each_once() {
    let mut met = 0;
    for seed in 1..=8 {
        let mut world = World::new().await;
        let mut dice = Dice(seed);
        for _ in 0..250 {
            world.act(&mut dice).await;
        }
        met += world.asked.iter().filter(|asked| asked.met).count();
        met += world.held.iter().filter(|held| held.gone).count();
    }
    assert!(met > 40, "these sequences say little: {met}");
}
