//! Three gates behind HAProxy, which sends each request to the next one: a person with a real
//! browser notices nothing of it, and a sign-out at any of them counts at all within a second.

use std::collections::BTreeMap;

use doorward_tests::haproxy::{ANSWERED_BY, BEHIND_HAPROXY, Haproxy};
use doorward_tests::webdriver::Chromium;
use doorward_tests::{Answer, DEADLINE, PUBLIC_HOST};
use serde_json::json;

use super::*;
use crate::browser;

/// How often somebody signs out while it is measured how long that takes to be known.
const SIGN_OUTS: usize = 50;

const TABLES: &str = "[captcha]\nmode = \"off\"\n[[route]]\npath = \"/transfer\"\nmethods = [\"POST\"]\n\
    step_up = { max_age = \"5m\", label = \"Transfer money\" }\n";

const REFUSED_WITHIN: Duration = Duration::from_secs(1);

/// Three gates, which tell the machine's time, as they do behind HAProxy.
async fn behind_haproxy(tables: &str) -> (House, [TestGate; 3], Haproxy) {
    let mut house = House::with_clock(Clock::machine()).await;
    house.listener = BEHIND_HAPROXY;
    house.upstream = Upstream::replying(|asked| Some(browser::answer(asked))).await;
    let gates = house.gates(tables).await;
    gates[0].add_alice().await;
    let haproxy = Haproxy::start(&gates.each_ref().map(TestGate::address));
    (house, gates, haproxy)
}

fn answered_by(answer: &Answer) -> usize {
    answer.field(ANSWERED_BY).parse().expect("the number of a gate")
}

/// Asks one gate after the other until each has refused; gives how long after `ended` each of them
/// was last asked and let it through.
async fn until_refused(browser: &Browser, clock: &Clock, ended: Duration) -> [Duration; 3] {
    let (mut let_in, mut refused) = ([Duration::ZERO; 3], BTreeSet::new());
    while refused.len() < let_in.len() {
        let asked = clock.exact().saturating_sub(ended);
        assert!(asked < DEADLINE, "refused by {refused:?} only");
        let answer = browser.clone().get("/app").await;
        match answer.status {
            StatusCode::OK => {
                let gate = answered_by(&answer);
                assert!(!refused.contains(&gate), "refused, and let in again");
                let_in[gate] = asked;
            }
            StatusCode::UNAUTHORIZED => drop(refused.insert(answered_by(&answer))),
            // What is under way when the session ends is cut off.
            StatusCode::BAD_GATEWAY => {}
            status => panic!("{status}: {}", answer.text()),
        }
    }
    let_in
}

/// A person, with a real browser.
struct Person(Chromium);

impl Person {
    async fn go(&mut self, target: &str) {
        self.0.go(&format!("https://{PUBLIC_HOST}{target}")).await;
    }

    async fn arrive(&mut self, start: &str) {
        let url = format!("https://{PUBLIC_HOST}{start}");
        self.0.arrive(&format!("arrival at {start}"), |at| at.starts_with(&url)).await;
    }

    async fn give_password(&mut self) {
        self.0.type_into("#account", "alice").await;
        self.0.type_into("#password", PASSWORD).await;
        self.0.click("form button[type=submit]").await;
    }

    /// The same cookies, for a client that can say who has answered.
    async fn cookies(&mut self) -> BTreeMap<String, String> {
        let told = self.0.devtools("Network.getCookies", json!({})).await;
        let text = |cookie: &serde_json::Value, key: &str| cookie[key].as_str().unwrap().to_owned();
        let cookies = told["cookies"].as_array().unwrap().iter();
        cookies.map(|cookie| (text(cookie, "name"), text(cookie, "value"))).collect()
    }
}

/// What each gate was asked to do: method and path.
async fn asked(gates: &[TestGate; 3]) -> [Vec<String>; 3] {
    let mut asked = [const { Vec::new() }; 3];
    for (gate, asked) in gates.iter().zip(&mut asked) {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let log = gate.access_log().await;
        asked.extend(log.iter().map(|line| text(&line["method"]) + " " + &text(&line["path"])));
    }
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn a10_a_browser_signs_in_works_steps_up_and_signs_out_each_at_another_gate() {
    let (house, gates, haproxy) = behind_haproxy(TABLES).await;
    let app = gates[0].app_of("alice").await;
    let mut person = Person(Chromium::start_for(PUBLIC_HOST, haproxy.address.port()).await);
    haproxy.send_to(&[0]);
    person.go("/app").await;
    person.give_password().await;
    person.arrive("/app").await;
    haproxy.send_to(&[1]);
    person.go("/app").await;
    person.0.click("#by-form button").await;
    person.arrive("/.doorward/step-up?challenge=").await;
    haproxy.send_to(&[2]);
    person.0.type_into("#answer", &app.code_after(1)).await;
    person.0.click("form button[type=submit]:not([name])").await;
    person.arrive("/transfer").await;
    assert!(person.0.text("#got").await.contains("POST /transfer"));
    let sent = house.upstream.requests();
    let sent: Vec<_> = sent.iter().filter(|asked| asked.line() == "POST /transfer").collect();
    assert_eq!(sent.len(), 1, "the console got it once");
    assert_eq!(sent[0].body, b"to=carol&amount=200");
    assert_eq!(sent[0].field("x-forwarded-proto"), Some("https"));

    // Now each request goes to another gate.
    haproxy.send_to(&[0, 1, 2]);
    person.go("/app").await;
    let mut answered = BTreeSet::new();
    for _ in 0..3 {
        let by = format!(
            "fetch('/app').then(answer => answer.status + answer.headers.get('{ANSWERED_BY}'))"
        );
        answered.insert(person.0.evaluate(&by).await.as_str().unwrap().to_owned());
    }
    assert_eq!(answered, ["2000", "2001", "2002"].map(str::to_owned).into());
    let mut shadow = haproxy.browser();
    shadow.jar = person.cookies().await;
    person.go("/.doorward/sign-out").await;
    person.0.click("form button").await;
    person.arrive("/.doorward/sign-in?notice=signed-out").await;
    let let_in = until_refused(&shadow, &house.clock, house.clock.exact()).await;
    assert!(let_in.iter().all(|&after| after < REFUSED_WITHIN), "{let_in:?}");
    person.go("/app").await;
    person.arrive("/.doorward/sign-in").await;
    let asked = asked(&gates).await;
    let by = |what: &str| asked.iter().position(|asked| asked.iter().any(|asked| asked == what));
    let acts = ["POST /.doorward/sign-in", "GET /app", "POST /.doorward/step-up"].map(by);
    assert_eq!(acts, [Some(0), Some(0), Some(2)], "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a10_what_was_ended_behind_haproxy_is_refused_everywhere_within_a_second() {
    let (house, _gates, haproxy) = behind_haproxy("").await;
    let mut measured = Vec::new();
    for _ in 0..SIGN_OUTS {
        let mut browser = haproxy.browser();
        browser.sign_in("alice").await;
        let before = browser.clone();
        for _ in 0..3 {
            assert_eq!(browser.get("/app").await.status, StatusCode::OK);
        }
        let out = browser.post_json("/.doorward/api/v1/sign-out", &json!({})).await;
        let ended = house.clock.exact();
        assert!(out.status.is_success(), "{}", out.text());
        let here = answered_by(&out);
        let let_in = until_refused(&before, &house.clock, ended).await;
        assert_eq!(let_in[here], Duration::ZERO, "let in where it was ended");
        let others = let_in.iter().enumerate().filter(|(gate, _)| *gate != here);
        measured.extend(others.map(|(_, after)| *after));
    }
    measured.sort();
    let share = |percent: usize| measured[(measured.len() * percent).div_ceil(100) - 1];
    let (median, p99, max) = (share(50), share(99), share(100));
    let count = measured.len();
    #[expect(clippy::print_stdout, reason = "what was measured can be quoted")]
    {
        println!(
            "let in after a sign-out elsewhere: median {median:?}, p99 {p99:?}, max {max:?} of {count}"
        );
    }
    assert!(max < REFUSED_WITHIN, "let in {max:?} after the end");
}
