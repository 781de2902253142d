//! Solutions by programs and plain forms: right, wrong, old, used, and somebody else's.

use std::time::Duration;

use doorward_plugins::administration::AccountChange;
use doorward_tests::events;

use super::*;
use crate::sign_in::SIGN_IN;

#[tokio::test]
async fn f10_a_solution_counts_once_also_when_the_password_is_wrong() {
    let (_upstream, gate) = gate("").await;
    let mut program = gate.browser();
    let once = solution(&mut program).await;
    assert_eq!(sign_in(&mut program, PASSWORD, &once).await.status, StatusCode::OK);
    refused(&sign_in(&mut program, PASSWORD, &once).await, "replayed");
    let wasted = solution(&mut program).await;
    let wrong = sign_in(&mut program, "wrong", &wasted).await;
    assert_eq!(wrong.json()["type"], "urn:doorward:problem:sign-in-failed");
    refused(&sign_in(&mut program, PASSWORD, &wasted).await, "used for a wrong password");
}

#[tokio::test]
async fn f10_of_many_at_once_with_one_solution_one_gets_further() {
    let (_upstream, gate) = gate("").await;
    let solution = solution(&mut gate.browser()).await;
    let tries = (0..12).map(|_| {
        let (mut browser, solution) = (gate.browser(), solution.clone());
        tokio::spawn(async move { sign_in(&mut browser, PASSWORD, &solution).await.status })
    });
    let mut further = 0;
    for one in tries.collect::<Vec<_>>() {
        further += u32::from(one.await.unwrap() == StatusCode::OK);
    }
    assert_eq!(further, 1);
}

#[tokio::test]
async fn f10_a_solution_of_another_browser_is_refused() {
    let (_upstream, gate) = gate("").await;
    let (mut one, mut other, mut program) = (gate.browser(), gate.browser(), gate.browser());
    one.get(SIGN_IN).await;
    other.get(SIGN_IN).await;
    let given = solution(&mut one).await;
    refused(&sign_in(&mut other, PASSWORD, &given).await, "of another browser");
    refused(&sign_in(&mut program, PASSWORD, &given).await, "without the cookie");
    let answer = sign_in(&mut one, PASSWORD, &given).await;
    assert_eq!(answer.status, StatusCode::OK, "its own, all the same");
    let of_program = solution(&mut program).await;
    refused(&sign_in(&mut other, PASSWORD, &of_program).await, "of a program");
}

#[tokio::test]
async fn f10_a_challenge_has_five_minutes_and_does_not_outlive_the_gate() {
    let (_upstream, mut gate) = gate("").await;
    let mut program = gate.browser();
    let (late, last) = (solution(&mut program).await, solution(&mut program).await);
    gate.clock.advance(Duration::from_secs(5 * 60) - Duration::from_millis(1));
    assert_eq!(sign_in(&mut program, PASSWORD, &last).await.status, StatusCode::OK);
    gate.clock.advance(Duration::from_millis(1));
    refused(&sign_in(&mut program, PASSWORD, &late).await, "expired");
    // What was used is kept in memory, so that after a restart anything could have been.
    let before = solution(&mut program).await;
    gate = gate.restart().await;
    refused(&sign_in(&mut gate.browser(), PASSWORD, &before).await, "of before the restart");
}

#[tokio::test]
async fn f10_the_work_doubles_with_every_failure_of_the_address_and_is_forgotten() {
    let (_upstream, gate) = gate("forget_after = \"10m\"").await;
    let mut program = gate.browser();
    for expected in [10, 20, 40, 80, 80] {
        let asked = challenge(&mut program).await;
        assert_eq!(asked.parameters.cost, expected);
        let wrong = sign_in(&mut program, "wrong", &encode(&solve(&asked))).await;
        assert_eq!(wrong.json()["type"], "urn:doorward:problem:sign-in-failed");
    }
    for (minutes, expected) in [(20, 80), (10, 40), (10, 20), (10, 10)] {
        gate.clock.advance(Duration::from_secs(minutes * 60));
        assert_eq!(challenge(&mut program).await.parameters.cost, expected, "{minutes}");
    }
    // A replayed or made-up solution is a failure too.
    sign_in(&mut program, PASSWORD, "made up").await;
    assert_eq!(challenge(&mut program).await.parameters.cost, 20);
}

#[tokio::test]
async fn f10_a_client_can_change_nothing_of_a_challenge() {
    let (_upstream, gate) = gate("").await;
    let mut program = gate.browser();
    let mut easier = challenge(&mut program).await;
    easier.parameters.cost = 1;
    refused(&sign_in(&mut program, PASSWORD, &encode(&solve(&easier))).await, "less work");
    let mut shorter = challenge(&mut program).await;
    shorter.parameters.key_prefix = String::new();
    refused(&sign_in(&mut program, PASSWORD, &encode(&solve(&shorter))).await, "no prefix");
    let mut later = challenge(&mut program).await;
    let data = later.parameters.data.as_mut().unwrap();
    data.insert("expires".into(), json!(4_000_000_000_000_u64));
    refused(&sign_in(&mut program, PASSWORD, &encode(&solve(&later))).await, "a later end");
    let mut unsigned = solve(&challenge(&mut program).await);
    unsigned.challenge.signature = None;
    refused(&sign_in(&mut program, PASSWORD, &encode(&unsigned)).await, "no signature");
    let mut flipped = solve(&challenge(&mut program).await);
    let signature = flipped.challenge.signature.as_mut().unwrap();
    let first = if signature.starts_with('0') { "1" } else { "0" };
    signature.replace_range(..1, first);
    refused(&sign_in(&mut program, PASSWORD, &encode(&flipped)).await, "a flipped signature");
    let mut lazy = solve(&challenge(&mut program).await);
    lazy.solution.counter += 1;
    refused(&sign_in(&mut program, PASSWORD, &encode(&lazy)).await, "not the counter");
    refused(&sign_in(&mut program, PASSWORD, &"A".repeat(20_000)).await, "a long one");
    assert_eq!(gate.services().sessions.count(), 0);
}

#[tokio::test]
async fn f10_there_are_challenges_for_what_there_is_and_none_when_off() {
    let (_upstream, gate) = gate("").await;
    for nothing in ["", "?purpose=", "?purpose=nothing", "?purpose=sign-in&purpose=x"] {
        let answer = gate.browser().get(&format!("/.doorward/captcha{nothing}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{nothing}");
    }
    let upstream = Upstream::start().await;
    let tables = "[captcha]\nmode = \"off\"\nalways = [\"sign-in\"]";
    let off = TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await;
    off.add_alice().await;
    assert_eq!(off.browser().get(CHALLENGE).await.status, StatusCode::NOT_FOUND);
    off.browser().sign_in("alice").await;
    assert!(!off.browser().get(SIGN_IN).await.text().contains("captcha"));
}

/// Opens the page and sends its form, with what it has of a captcha.
async fn send_form(browser: &mut Browser, page: &Answer, more: &[(&str, &str)]) -> Answer {
    let code = page.hidden("code");
    let mut fields = vec![("code", &*code), ("account", "alice"), ("password", PASSWORD)];
    fields.extend(more);
    browser.post_form(SIGN_IN, &fields).await
}

#[tokio::test]
async fn f10_the_form_comes_again_with_the_name_and_without_a_password_check() {
    let (_upstream, gate) = gate("").await;
    let mut person = gate.browser();
    person.fields.push(("accept".into(), "text/html".into()));
    let page = person.get(SIGN_IN).await;
    let policy = page.field("content-security-policy").to_owned();
    assert!(policy.contains("script-src 'self'; worker-src 'self'; connect-src 'self';"));
    assert!(!policy.contains("unsafe") && !policy.contains("blob"), "{policy}");
    let again = send_form(&mut person, &page, &[]).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN);
    assert_eq!(again.field("content-security-policy"), policy);
    assert!(again.text().contains("value=\"alice\"") && again.text().contains("role=\"alert\""));
    let solution = solution(&mut person).await;
    let done = send_form(&mut person, &again, &[("captcha", &solution)]).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text());
    // Pages that ask for nothing run nothing.
    let account = person.get("/.doorward/account").await;
    assert!(!account.field("content-security-policy").contains("script-src"));
}

#[tokio::test]
async fn f10_waiting_lets_one_try_through_each_time() {
    let (_upstream, gate) = gate("wait = \"30s\"").await;
    let (mut one, mut other) = (gate.browser(), gate.browser());
    let (page, of_other) = (one.get(SIGN_IN).await, other.get(SIGN_IN).await);
    let (ticket, foreign) = (page.hidden("captcha_wait"), of_other.hidden("captcha_wait"));
    let soon = send_form(&mut one, &page, &[("captcha_wait", &ticket)]).await;
    assert_eq!((soon.status, soon.field("retry-after")), (StatusCode::FORBIDDEN, "30"));
    gate.clock.advance(Duration::from_millis(29_999));
    let soon = send_form(&mut one, &soon, &[("captcha_wait", &ticket)]).await;
    assert_eq!(soon.hidden("captcha_wait"), ticket, "nobody begins anew");
    assert!(soon.text().contains("another 1 seconds"), "{}", soon.text());
    gate.clock.advance(Duration::from_millis(1));
    let stolen = send_form(&mut one, &page, &[("captcha_wait", &foreign)]).await;
    assert_eq!(stolen.status, StatusCode::FORBIDDEN, "of another browser");
    let tampered = ticket.replace("wait.1", "wait.0");
    let answer = send_form(&mut one, &page, &[("captcha_wait", &tampered)]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "an earlier time");
    let done = send_form(&mut one, &page, &[("captcha_wait", &ticket)]).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text());
    // The other one has waited as long, but comes from the same address.
    let later = send_form(&mut other, &of_other, &[("captcha_wait", &foreign)]).await;
    assert_eq!((later.status, later.field("retry-after")), (StatusCode::FORBIDDEN, "30"));
    gate.clock.advance(Duration::from_secs(30));
    let done = send_form(&mut other, &later, &[("captcha_wait", &foreign)]).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER);
    gate.clock.advance(Duration::from_secs(30));
    other.jar.remove("__Host-doorward");
    let replay = send_form(&mut other, &of_other, &[("captcha_wait", &foreign)]).await;
    assert_eq!(replay.status, StatusCode::FORBIDDEN, "replayed");
    assert_eq!(gate.services().sessions.count(), 2);
}

#[tokio::test]
async fn f10_where_waiting_is_not_offered_a_ticket_is_worth_nothing() {
    let (_upstream, gate) = gate("without_scripts = false").await;
    let mut person = gate.browser();
    let page = person.get(SIGN_IN).await;
    assert!(!page.text().contains("captcha_wait"));
    assert!(page.text().contains("This page needs scripts"));
}

#[tokio::test]
async fn f10_nobody_is_asked_who_did_nothing() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    gate.add("bob", AccountChange::default()).await;
    let page = gate.browser().get(SIGN_IN).await;
    assert!(!page.text().contains("captcha"), "{}", page.text());
    let policy = page.field("content-security-policy");
    assert!(policy.contains("script-src 'self'; connect-src 'self';"), "for keys: {policy}");
    assert!(!policy.contains("worker-src"), "{policy}");
    gate.browser().sign_in("bob").await;
}

#[tokio::test]
async fn f24_a_form_that_is_filled_in_faster_than_a_person_would_counts_twice() {
    let (_upstream, gate) = gate("haste = \"1s\"").await;
    let mut person = gate.browser();
    for (taken, expected) in [(Duration::from_millis(999), 40), (Duration::from_secs(1), 80)] {
        let page = person.get(SIGN_IN).await;
        let solution = solution(&mut person).await;
        gate.clock.advance(taken);
        let code = page.hidden("code");
        let fields =
            [("code", &*code), ("account", "alice"), ("password", "x"), ("captcha", &solution)];
        let answer = person.post_form(SIGN_IN, &fields).await;
        assert!(answer.text().contains("Name or password is wrong"), "{}", answer.text());
        assert_eq!(challenge(&mut person).await.parameters.cost, expected);
        // The time that a form was shown at is signed like the rest.
        let (time, tag) = code.split_once('.').unwrap();
        let earlier = format!("{}.{tag}", time.parse::<u64>().unwrap() - 5000);
        let answer = person.post_form(SIGN_IN, &[("code", &earlier), ("account", "alice")]).await;
        assert!(answer.text().contains("This form was too old"), "{}", answer.text());
    }
    let metrics = Browser::new(gate.operations(), "localhost", None).get("/metrics").await.text();
    assert!(metrics.contains("\ndoorward_hasty_forms_total 1\n"), "{metrics}");
}

#[tokio::test]
async fn n02_a_captcha_that_fails_is_an_event_and_counted() {
    events();
    let (_upstream, gate) = gate("").await;
    let mut program = gate.browser();
    let answer = sign_in(&mut program, PASSWORD, "made up").await;
    let request =
        answer.json()["instance"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    let told = events().with("request_id", &request);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["event"], "captcha_fail");
    assert_eq!(told[0]["details"], "purpose=sign-in reason=malformed");
    let solution = solution(&mut program).await;
    sign_in(&mut program, PASSWORD, &solution).await;
    let metrics = Browser::new(gate.operations(), "localhost", None).get("/metrics").await.text();
    for series in ["{result=\"malformed\"} 1", "{result=\"solved\"} 1", "{result=\"used\"} 0"] {
        assert!(metrics.contains(&format!("doorward_captcha_total{series}\n")), "{metrics}");
    }
}
