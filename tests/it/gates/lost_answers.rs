//! A connection that breaks within a call: the server has done what it was asked to, and nobody is
//! told. Each story is told again and again, with the answer to the first request of an act lost, to
//! the second, and so on, until the act asks for no more.

use serde_json::json;

use super::way::{Way, in_time};
use super::*;

/// More requests than any act makes.
const REQUESTS_MAX: u32 = 60;

const NO_CAPTCHA: &str = "[captcha]\nmode = \"off\"\n";

/// Two gates; the answers that one of them gets can be lost.
struct Pair {
    house: House,
    here: TestGate,
    there: TestGate,
    way: Way,
}

impl Pair {
    async fn by_redis(tables: &str) -> Self {
        let house = House::new().await;
        let way = Way::to(&house.redis.socket());
        let there = house.gate_by(&format!("redis = \"{}\"", way.redis()), tables).await;
        Self { here: house.gate(tables).await, there, way, house }
    }

    async fn by_postgres(tables: &str) -> Self {
        let house = House::new().await;
        let way = Way::to_postgres(&house.postgres);
        let redis = format!("redis = \"{}\"", house.redis.url());
        let there = house.gate_at(&redis, &way.postgres(&house.postgres), tables).await;
        Self { here: house.gate(tables).await, there, way, house }
    }

    /// Waits until all is well again, and believes nothing that a gate has heard before.
    async fn recover(&self) {
        self.house.clock.advance(Duration::from_secs(1));
        let mut operator = Browser::new(self.there.operations(), "localhost", None);
        eventually("recovery", async || operator.get("/readyz").await.status == StatusCode::OK)
            .await;
    }

    /// What a gate says to a browser when it knows.
    async fn known(&self, gate: &TestGate, browser: &Browser) -> StatusCode {
        let mut status = StatusCode::SERVICE_UNAVAILABLE;
        eventually("an answer", async || {
            status = in_time(at(gate, browser).get("/")).await.status;
            status != StatusCode::SERVICE_UNAVAILABLE
        })
        .await;
        status
    }
}

/// Does an act with the answer to each of its requests lost in turn. It says whether it was
/// acknowledged, and whether an answer was lost. Gives how often it was not acknowledged.
async fn each_lost(pair: &Pair, mut act: impl AsyncFnMut(u32) -> (bool, bool)) -> u32 {
    let mut refused = 0;
    for answered in 0..REQUESTS_MAX {
        let (acknowledged, lost) = act(answered).await;
        refused += u32::from(!acknowledged);
        if !lost {
            assert!(acknowledged, "nothing was lost");
            return refused;
        }
        pair.recover().await;
    }
    panic!("it asks for more than {REQUESTS_MAX} things");
}

/// The right password: in, or told that it is not known and not in.
async fn check_sign_ins(pair: &Pair) {
    pair.here.add_alice().await;
    let refused = each_lost(pair, async |answered| {
        let mut browser = pair.there.browser();
        let trying = in_time(browser.try_sign_in("alice", PASSWORD));
        let (answer, lost) = pair.way.lose_after(answered, trying).await;
        if answer.status == StatusCode::OK {
            assert_eq!(pair.known(&pair.there, &browser).await, StatusCode::OK);
            assert_eq!(pair.known(&pair.here, &browser).await, StatusCode::OK);
            return (true, lost);
        }
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text());
        assert_ne!(answer.field("retry-after"), "");
        assert_eq!(browser.token(), "");
        (false, lost)
    })
    .await;
    assert!(refused > 0, "no answer of a sign-in was lost");
}

#[tokio::test]
async fn o05_a01_a_sign_in_whose_answer_from_redis_is_lost_lets_nobody_in() {
    check_sign_ins(&Pair::by_redis(NO_CAPTCHA).await).await;
}

#[tokio::test]
async fn o05_a01_a_sign_in_whose_answer_from_postgres_is_lost_lets_nobody_in() {
    check_sign_ins(&Pair::by_postgres(NO_CAPTCHA).await).await;
}

#[tokio::test]
async fn o05_f12_a_guess_whose_answer_is_lost_is_counted_before_it_is_looked_at() {
    let pair = Pair::by_redis(NO_CAPTCHA).await;
    pair.here.add_alice().await;
    let mut wrong = 0;
    for guess in 0..40 {
        let mut browser = pair.there.browser();
        let guessing = in_time(browser.try_sign_in("alice", "wrong"));
        let (answer, _) = pair.way.lose_after(guess % 10, guessing).await;
        let told = [StatusCode::FORBIDDEN, StatusCode::SERVICE_UNAVAILABLE];
        assert!(told.contains(&answer.status), "{}", answer.text());
        wrong += u32::from(answer.status == StatusCode::FORBIDDEN);
        pair.recover().await;
    }
    let checked = pair.there.services().sign_in.passwords_checked();
    // Some were counted, and never looked at.
    assert!((1..10).contains(&checked), "{checked} of 40 were looked at");
    assert!(u64::from(wrong) > checked, "those that follow are refused unseen");
    for gate in [&pair.here, &pair.there] {
        let answer = gate.browser().try_sign_in("alice", PASSWORD).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "locked");
    }
}

#[tokio::test]
async fn o05_a10_a_sign_out_whose_answer_is_lost_stays_done_and_can_be_repeated() {
    let pair = Pair::by_redis(NO_CAPTCHA).await;
    pair.here.add_alice().await;
    // The server does not know the function for it before it is called: with the first answer that
    // is lost nothing would be done.
    let mut other = pair.there.browser();
    other.sign_in("alice").await;
    other.post_json("/.doorward/api/v1/sign-out", &json!({})).await;
    let mut done_untold = 0;
    each_lost(&pair, async |answered| {
        let mut browser = pair.here.browser();
        browser.sign_in("alice").await;
        assert_eq!(pair.known(&pair.there, &browser).await, StatusCode::OK);
        let before = browser.clone();
        let mut leaving = at(&pair.there, &browser);
        let nothing = json!({});
        // Who has heard just now need not ask first, so that the answer that is lost is the end's.
        eventually("a gate that has heard", async || {
            pair.there.services().sessions.hear().await.is_ok()
        })
        .await;
        let asking = in_time(leaving.post_json("/.doorward/api/v1/sign-out", &nothing));
        let (out, lost) = pair.way.lose_after(answered, asking).await;
        let acknowledged = out.status == StatusCode::NO_CONTENT;
        assert!(acknowledged || out.status == StatusCode::SERVICE_UNAVAILABLE, "{}", out.text());
        pair.house.clock.advance(Duration::from_secs(1));
        // The other gate asks the server, which was told or not.
        let is_out = pair.known(&pair.here, &before).await == StatusCode::UNAUTHORIZED;
        assert!(is_out || !acknowledged, "acknowledged, and not so");
        done_untold += u32::from(is_out && !acknowledged);
        if !is_out {
            eventually("a sign-out", async || {
                let again = leaving.post_json("/.doorward/api/v1/sign-out", &nothing);
                in_time(again).await.status == StatusCode::NO_CONTENT
            })
            .await;
            pair.house.clock.advance(Duration::from_secs(1));
        }
        for gate in [&pair.there, &pair.here] {
            assert_eq!(pair.known(gate, &before).await, StatusCode::UNAUTHORIZED);
        }
        (acknowledged, lost)
    })
    .await;
    assert!(done_untold > 0, "none was done without being told");
}

/// A code: it lets in once, whatever becomes of the answers.
async fn check_codes(pair: &Pair) {
    let refused = each_lost(pair, async |answered| {
        let name = format!("staff{answered}");
        let groups = Some(vec!["staff".to_owned()]);
        pair.here.add(&name, AccountChange { groups, ..AccountChange::default() }).await;
        let app = pair.here.app_of(&name).await;
        app.wait();
        let code = json!({"way": "totp", "code": app.code()});
        let half = async |gate: &TestGate| {
            let mut browser = gate.browser();
            let half = browser.try_sign_in(&name, PASSWORD).await;
            assert_eq!(half.status, StatusCode::UNAUTHORIZED, "{}", half.text());
            browser
        };
        let (mut first, second, third) =
            (half(&pair.there).await, half(&pair.here).await, half(&pair.there).await);
        let give = async |browser: &mut Browser| {
            in_time(browser.post_json("/.doorward/api/v1/sign-in/second-factor", &code)).await
        };
        let (answer, lost) = pair.way.lose_after(answered, give(&mut first)).await;
        let acknowledged = answer.status == StatusCode::OK;
        if !acknowledged {
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text());
            assert_eq!(first.token(), "");
            pair.recover().await;
        }
        let mut let_in = u32::from(acknowledged);
        for mut browser in [first.clone(), at(&pair.here, &first), second, third] {
            let answer = give(&mut browser).await;
            let_in += u32::from(answer.status == StatusCode::OK);
        }
        assert!(let_in <= 1, "a code was good {let_in} times");
        (acknowledged, lost)
    })
    .await;
    assert!(refused > 0, "no answer was lost");
}

const STAFF: &str = "require = \"staff\"\n[captcha]\nmode = \"off\"\n";

#[tokio::test]
async fn o05_g01_a_code_whose_answer_from_redis_is_lost_is_good_once() {
    check_codes(&Pair::by_redis(STAFF).await).await;
}

#[tokio::test]
async fn o05_g01_a_code_whose_answer_from_postgres_is_lost_is_good_once() {
    check_codes(&Pair::by_postgres(STAFF).await).await;
}

#[tokio::test]
async fn o05_i10_a_kept_request_whose_answer_is_lost_goes_on_once_at_most() {
    let pair = Pair::by_redis(&format!("{NO_CAPTCHA}{}", step_up::ROUTES)).await;
    pair.here.add_alice().await;
    let app = pair.here.app_of("alice").await;
    let refused = each_lost(&pair, async |answered| {
        let mut browser = pair.here.browser().navigating();
        browser.sign_in("alice").await;
        let to = format!("bob{answered}");
        let sent = browser.post_form("/pay", &[("to", &to), ("amount", "5")]).await;
        app.wait();
        let approved = submit(&mut browser, sent.location(), &app).await;
        let mut there = at(&pair.there, &browser).navigating();
        let going = in_time(follow(&mut there, &approved));
        let (done, lost) = pair.way.lose_after(answered, going).await;
        let acknowledged = done.status == StatusCode::OK;
        assert!(acknowledged || done.status == StatusCode::SERVICE_UNAVAILABLE, "{}", done.text());
        pair.recover().await;
        for gate in [&pair.there, &pair.here] {
            // Nothing goes on without an approval: it asks for another one at most.
            let again = in_time(follow(&mut at(gate, &there).navigating(), &approved)).await;
            assert_ne!(again.status, StatusCode::SERVICE_UNAVAILABLE, "{}", again.text());
        }
        let body = format!("to={to}&amount=5").into_bytes();
        let got = pair.house.upstream.requests().iter().filter(|got| got.body == body).count();
        assert!(got <= 1 && (got == 1 || !acknowledged), "the console got it {got} times");
        (acknowledged, lost)
    })
    .await;
    assert!(refused > 0, "no answer was lost");
}
