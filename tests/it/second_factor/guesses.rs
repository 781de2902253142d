//! Codes are good once, and guessing at them gets nowhere.

use doorward_tests::{Browser, PASSWORD};
use http::StatusCode;

use super::{gate_and_app, give};

async fn half_way(browser: &mut Browser) {
    let half = browser.try_sign_in("alice", PASSWORD).await;
    assert_eq!(half.status, StatusCode::UNAUTHORIZED, "{}", half.text());
}

#[tokio::test]
async fn g01_a_code_is_good_once_and_no_earlier_one_is_good_after_it() {
    let (gate, app, _console) = gate_and_app().await;
    app.wait();
    let (before, now) = (app.code_after(-1), app.code());
    let mut browsers: Vec<_> = (0..8).map(|_| gate.browser()).collect();
    for browser in &mut browsers {
        half_way(browser).await;
    }
    let mut given = Vec::new();
    for mut browser in browsers {
        let now = now.clone();
        given.push(tokio::spawn(async move { give(&mut browser, "totp", &now).await.status }));
    }
    let mut good = 0;
    for one in given {
        good += usize::from(one.await.unwrap() == StatusCode::OK);
    }
    assert_eq!(good, 1);
    let gate = gate.restart().await;
    for code in [before, now] {
        let mut browser = gate.browser();
        half_way(&mut browser).await;
        assert_eq!(give(&mut browser, "totp", &code).await.status, StatusCode::FORBIDDEN);
    }
    app.wait();
    let mut browser = gate.browser();
    half_way(&mut browser).await;
    assert_eq!(give(&mut browser, "totp", &app.code()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn g07_wrong_codes_end_the_sign_in_and_then_lock_the_factor_for_all_of_them() {
    let (gate, app, _console) = gate_and_app().await;
    let mut wrong = 0;
    // Five for each sign-in; ten in all, however many sign-ins there are.
    for _ in 0..4 {
        let mut browser = gate.browser();
        half_way(&mut browser).await;
        for _ in 0..5 {
            let answer = give(&mut browser, "totp", "000000").await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text());
            wrong += 1;
        }
        let sixth = give(&mut browser, "totp", &app.code()).await;
        assert_eq!(sixth.status, StatusCode::GONE, "after {wrong} wrong codes");
    }
    let mut browser = gate.browser();
    half_way(&mut browser).await;
    let locked = give(&mut browser, "totp", &app.code()).await;
    assert_eq!(locked.status, StatusCode::FORBIDDEN, "the factor is locked, and that is not told");
    gate.clock.advance(std::time::Duration::from_secs(24 * 3600));
    let mut browser = gate.browser();
    half_way(&mut browser).await;
    assert_eq!(give(&mut browser, "totp", &app.code()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn i07_an_empty_or_unknown_answer_proves_nothing() {
    let (gate, app, _console) = gate_and_app().await;
    for (way, code) in [
        ("totp", ""),
        ("", ""),
        ("none", "000000"),
        ("password", PASSWORD),
        ("webauthn", "{}"),
        ("recovery-code", ""),
        ("text-message", ""),
        ("text-message", "000000"),
    ] {
        let mut browser = gate.browser();
        half_way(&mut browser).await;
        let answer = give(&mut browser, way, code).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{way} {code}");
        assert!(browser.token().is_empty());
    }
    let mut browser = gate.browser();
    half_way(&mut browser).await;
    let right = app.code();
    let digits: String =
        right.chars().map(|c| char::from_u32(c as u32 - 0x30 + 0xff10).unwrap()).collect();
    assert_eq!(give(&mut browser, "totp", &digits).await.status, StatusCode::FORBIDDEN);
    assert_eq!(
        give(&mut browser, "totp", &format!("{right}0")).await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(give(&mut browser, "totp", &right).await.status, StatusCode::OK);
}
