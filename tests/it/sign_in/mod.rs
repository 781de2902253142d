//! Signing in and out by the pages: both forms, what is kept after an error, languages, the
//! account page, and what happens when many people come at once.
//!
//! - `answers`: fields of every answer, escaping, who gets a page and who a problem document.
//! - `cookies`: what the session's cookie is, and where its token never appears.
//! - `cross_site`: what another site can make a browser send, and where a person may be sent.

mod answers;
mod cookies;
mod cross_site;

use std::time::Duration;

use doorward_plugins::administration::{AccountChange, Request};
use doorward_tests::{Answer, Browser, PASSWORD, Setup, TestGate, Upstream};
use http::StatusCode;

pub(crate) const SIGN_IN: &str = "/.doorward/sign-in";
pub(crate) const ACCOUNT: &str = "/.doorward/account";
pub(crate) const SIGN_OUT: &str = "/.doorward/sign-out";

/// Opens the sign-in page and sends its form, hidden fields and all, as a browser would.
pub(crate) async fn fill_in(
    browser: &mut Browser,
    page: &str,
    account: &str,
    sub_user: Option<&str>,
    password: &str,
) -> Answer {
    let shown = browser.get(page).await;
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.text());
    let (code, place) = (shown.hidden("code"), shown.hidden("return_to"));
    let mut fields = vec![
        ("code", &*code),
        ("return_to", &*place),
        ("account", account),
        ("password", password),
    ];
    if let Some(sub_user) = sub_user {
        fields.extend([("sub_user", sub_user), ("form", "sub-user")]);
    }
    browser.post_form(SIGN_IN, &fields).await
}

async fn plain_gate() -> (Upstream, TestGate) {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    gate.add_alice().await;
    gate.add("alice/dev", AccountChange::default()).await;
    (upstream, gate)
}

#[tokio::test]
async fn a_person_who_follows_a_link_signs_in_and_lands_there() {
    let (upstream, gate) = plain_gate().await;
    let mut browser = gate.browser().navigating();
    let sent = browser.get("/orders/7?tab=all&x=%2F").await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER);
    assert_eq!(
        sent.location(),
        "/.doorward/sign-in?return_to=%2Forders%2F7%3Ftab%3Dall%26x%3D%252F"
    );
    assert_eq!(upstream.count(), 0, "the upstream saw a stranger");
    let page = sent.location().to_owned();
    let done = fill_in(&mut browser, &page, "alice", None, PASSWORD).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text());
    assert_eq!(done.location(), "/orders/7?tab=all&x=%2F");
    let place = done.location().to_owned();
    assert_eq!(browser.get(&place).await.status, StatusCode::OK);
    assert_eq!(upstream.last().field("remote-user"), Some("alice"));
    assert_eq!(upstream.last().line(), "GET /orders/7?tab=all&x=%2F");
}

#[tokio::test]
async fn a_sub_user_signs_in_on_a_form_of_their_own() {
    let (upstream, gate) = plain_gate().await;
    let mut browser = gate.browser().navigating();
    let main = browser.get("/.doorward/sign-in?return_to=%2Fa%3Fb").await.text();
    let link = "/.doorward/sign-in?form=sub-user&#38;return_to=%2Fa%3Fb";
    assert!(main.contains(link), "no way to the other form in {main}");
    let page = link.replace("&#38;", "&");
    let done = fill_in(&mut browser, &page, "alice", Some("dev"), PASSWORD).await;
    assert_eq!((done.status, done.location()), (StatusCode::SEE_OTHER, "/a?b"));
    browser.get("/").await;
    assert_eq!(upstream.last().field("remote-user"), Some("alice/dev"));
    let mut main_form = gate.browser().navigating();
    let done = fill_in(&mut main_form, SIGN_IN, "alice/dev", None, PASSWORD).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "typed into one field");
    main_form.get("/").await;
    assert_eq!(upstream.last().field("remote-user"), Some("alice/dev"));
}

#[tokio::test]
async fn after_an_error_the_name_is_kept_and_the_password_never_comes_back() {
    let (upstream, gate) = plain_gate().await;
    let mut browser = gate.browser().navigating();
    let page = "/.doorward/sign-in?form=sub-user&return_to=%2Fkept";
    let refused = fill_in(&mut browser, page, "alice", Some("dev"), "canary-Pa55word").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let text = refused.text();
    assert!(text.contains("role=\"alert\""), "nobody is told: {text}");
    assert!(text.contains("value=\"alice\"") && text.contains("value=\"dev\""), "{text}");
    assert!(!text.contains("canary-Pa55word"), "the password came back: {text}");
    assert_eq!(refused.hidden("return_to"), "/kept");
    assert_eq!((browser.token(), upstream.count()), ("", 0), "a wrong password gave something");
    assert_eq!(browser.get("/kept").await.status, StatusCode::SEE_OTHER);
    let again = refused.hidden("code");
    let fields = [
        ("code", &*again),
        ("return_to", "/kept"),
        ("form", "sub-user"),
        ("account", "alice"),
        ("sub_user", "dev"),
        ("password", PASSWORD),
    ];
    assert_eq!(browser.post_form(SIGN_IN, &fields).await.location(), "/kept");
}

#[tokio::test]
async fn f07_every_refused_sign_in_looks_the_same() {
    let (_upstream, gate) = plain_gate().await;
    gate.add("carol", AccountChange::default()).await;
    gate.ask(Request::AccountDisable { name: "carol".into() }).await.unwrap();
    let attempts =
        [("alice", "wrong"), ("nobody", PASSWORD), ("carol", PASSWORD), ("alice/x", PASSWORD)];
    let mut seen = Vec::new();
    for (account, password) in attempts {
        let mut browser = gate.browser().navigating();
        let page = fill_in(&mut browser, SIGN_IN, account, None, password).await;
        let code = page.hidden("code");
        let by_form = page.text().replace(&code, "CODE").replace(account, "NAME");
        let mut program = gate.browser();
        let body = serde_json::json!({"account": account, "password": password});
        let refused = program.post_json("/.doorward/api/v1/sign-in", &body).await;
        let mut by_program = refused.json();
        by_program["instance"] = "".into();
        let names =
            |answer: &Answer| answer.headers.keys().map(ToString::to_string).collect::<Vec<_>>();
        seen.push((
            page.status,
            by_form,
            names(&page),
            refused.status,
            by_program,
            names(&refused),
        ));
    }
    for (index, other) in seen.iter().enumerate() {
        assert_eq!(other, &seen[0], "{:?} can be told from {:?}", attempts[index], attempts[0]);
    }
}

#[tokio::test]
async fn f07_an_unknown_name_costs_a_hash_too() {
    let upstream = Upstream::start().await;
    // So much that a hash stands out over everything else; and every try costs one.
    let tables =
        "[accounts]\nhash_memory = \"64MiB\"\nhash_iterations = 4\n[captcha]\nmode = \"off\"";
    let gate = TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await;
    gate.add_alice().await;
    cost_alike(&gate, ["alice", "nobody"]).await;
}

/// Wrong passwords of these two cost alike. No captcha may be asked for.
pub(crate) async fn cost_alike(gate: &TestGate, names: [&str; 2]) {
    let mut least = [Duration::MAX; 2];
    let alike = |[one, other]: [Duration; 2]| one * 2 > other && other * 2 > one;
    // Where others keep the machine busy it takes some tries to see what it costs; ten would lock.
    for attempt in 0..8 {
        if attempt >= 3 && alike(least) {
            break;
        }
        for (name, least) in names.iter().zip(&mut least) {
            #[expect(clippy::disallowed_methods, reason = "measures what a stranger can measure")]
            let begun = std::time::Instant::now();
            let refused = gate.browser().try_sign_in(name, "wrong").await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN);
            *least = begun.elapsed().min(*least);
        }
    }
    assert!(alike(least), "{names:?}: {least:?}");
}

#[tokio::test]
async fn f20_a_crowd_at_the_door_is_told_to_come_back_and_nobody_inside_waits() {
    let upstream = Upstream::start().await;
    let tables = "[accounts]\nhash_queue = 1\nhash_threads = 1\nhash_memory = \"32MiB\"\nhash_iterations = 2";
    let gate = TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await;
    let mut inside = gate.signed_in().await;
    let crowd: Vec<_> = (0..24)
        .map(|_| {
            let mut browser = gate.browser();
            tokio::spawn(async move { browser.try_sign_in("alice", PASSWORD).await })
        })
        .collect();
    let mut carried = 0;
    // No more than show it: who asks all the time leaves nothing of a small machine to the crowd.
    while carried < 500 && !crowd.iter().all(tokio::task::JoinHandle::is_finished) {
        assert_eq!(inside.get("/").await.status, StatusCode::OK);
        carried += 1;
    }
    assert!(carried > 20, "only {carried} requests were carried meanwhile");
    let (mut in_time, mut refused) = (0, 0);
    for attempt in crowd {
        let answer = attempt.await.unwrap();
        match answer.status {
            StatusCode::OK => in_time += 1,
            StatusCode::SERVICE_UNAVAILABLE => {
                assert_eq!(answer.field("retry-after"), "1");
                assert_eq!(answer.json()["type"], "urn:doorward:problem:busy");
                refused += 1;
            }
            other => panic!("{other}: {}", answer.text()),
        }
    }
    assert!(in_time > 0 && refused > 0, "{in_time} signed in, {refused} were refused");
    let mut person = gate.browser().navigating();
    let done = fill_in(&mut person, SIGN_IN, "alice", None, PASSWORD).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "the crowd has gone");
}

#[tokio::test]
async fn f20_a_password_of_a_megabyte_is_refused_unread() {
    let (_upstream, gate) = plain_gate().await;
    let huge = "x".repeat(1024 * 1024);
    let refused = gate.browser().try_sign_in("alice", &huge).await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
    let long = "x".repeat(5000);
    let wrong = gate.browser().try_sign_in("alice", &long).await;
    assert_eq!(wrong.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_page_speaks_the_language_that_the_browser_asks_for_or_the_person_chose() {
    let (_upstream, gate) = plain_gate().await;
    for (accepted, expected) in [
        ("zh-CN,zh;q=0.9,en;q=0.8", "<html lang=\"zh-CN\">"),
        ("en-GB,zh;q=0.5", "<html lang=\"en\">"),
        ("fr,zh;q=0.1", "<html lang=\"zh-CN\">"),
        ("fr", "<html lang=\"en\">"),
        ("zh;q=0, en;q=0.1", "<html lang=\"en\">"),
        ("\u{fffd};;q=zh,,", "<html lang=\"en\">"),
    ] {
        let page = gate.browser().get_with(SIGN_IN, &[("accept-language", accepted)]).await.text();
        assert!(page.contains(expected), "{accepted}: {page}");
    }
    let mut browser = gate.browser().navigating();
    browser.fields.push(("accept-language".into(), "en".into()));
    let english = browser.get("/.doorward/sign-in?return_to=%2Fa").await.text();
    let link = "/.doorward/sign-in?lang=zh-CN&#38;return_to=%2Fa";
    assert!(english.contains(link), "no way to the other language in {english}");
    let chosen = browser.get(&link.replace("&#38;", "&")).await;
    assert!(chosen.text().contains("<html lang=\"zh-CN\">"), "{}", chosen.text());
    assert_eq!(chosen.hidden("return_to"), "/a");
    let cookie = chosen.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap());
    let kept = cookie.filter(|cookie| cookie.starts_with("__Host-doorward-language=zh-CN;"));
    assert_eq!(kept.count(), 1, "the choice is kept in a cookie");
    let later = browser.get(SIGN_IN).await.text();
    assert!(later.contains("<html lang=\"zh-CN\">"), "the choice is forgotten: {later}");
    let problem = browser.get("/.doorward/nothing").await.text();
    assert!(problem.contains("<html lang=\"zh-CN\">"), "{problem}");
}

#[tokio::test]
async fn whoever_is_signed_in_is_sent_on_from_the_sign_in_page() {
    let (_upstream, gate) = plain_gate().await;
    let mut browser = gate.signed_in().await.navigating();
    let token = browser.token().to_owned();
    for (target, place) in [
        (SIGN_IN, "/"),
        ("/.doorward/sign-in?return_to=%2Fa%3Fb%3Dc", "/a?b=c"),
        ("/.doorward/sign-in?return_to=%2F.doorward%2Faccount", ACCOUNT),
        ("/.doorward/sign-in?return_to=%2F%2Fevil.example", "/"),
        ("/.doorward/sign-in?return_to=%2F.doorward%2Fsign-in", "/"),
    ] {
        let sent = browser.get(target).await;
        assert_eq!((sent.status, sent.location()), (StatusCode::SEE_OTHER, place), "{target}");
    }
    assert_eq!(browser.token(), token, "looking at the page changed the session");
}

#[tokio::test]
async fn e22_a_person_signs_out_by_the_page_and_is_told_so() {
    let (_upstream, gate) = plain_gate().await;
    let mut browser = gate.signed_in().await.navigating();
    let before = browser.clone();
    let asked = browser.get(SIGN_OUT).await;
    assert_eq!(asked.status, StatusCode::OK);
    assert_eq!(before.clone().get("/").await.status, StatusCode::OK, "looking is not doing");
    let done = browser.post_form(SIGN_OUT, &[]).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER);
    assert_eq!(browser.token(), "", "the cookie is cleared");
    assert_eq!(before.clone().get("/").await.status, StatusCode::SEE_OTHER);
    let place = done.location().to_owned();
    let page = browser.get(&place).await;
    assert!(page.text().contains("role=\"status\""), "{}", page.text());
    assert_eq!(browser.post_form(SIGN_OUT, &[]).await.status, StatusCode::SEE_OTHER, "twice");
}

#[tokio::test]
async fn e09_e22_the_account_page_lists_sessions_and_ends_one() {
    let (_upstream, gate) = plain_gate().await;
    let mut here = gate.signed_in().await.navigating();
    let mut there = gate.browser();
    there.fields.push(("user-agent".into(), "Phone of Alice".into()));
    there.sign_in("alice").await;
    gate.clock.advance(Duration::from_secs(300));
    here.get("/").await;
    let page = here.get(ACCOUNT).await;
    let text = page.text();
    assert_eq!(page.status, StatusCode::OK);
    for expected in
        ["alice", "Phone of Alice", "127.0.0.1", "this device", "action=\"/.doorward/sign-out\""]
    {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
    let code = page.hidden("code");
    let id = page.hidden("id");
    let ended =
        here.post_form("/.doorward/account/end-session", &[("code", &code), ("id", &id)]).await;
    assert_eq!((ended.status, ended.location()), (StatusCode::SEE_OTHER, ACCOUNT));
    assert_eq!(there.get("/").await.status, StatusCode::UNAUTHORIZED);
    assert!(!here.get(ACCOUNT).await.text().contains("Phone of Alice"));
    let mut safari = gate.browser();
    safari
        .fields
        .push(("user-agent".into(), "Mozilla/5.0 (iPhone) Version/18.5 Safari/604.1".into()));
    safari.sign_in("alice").await;
    assert!(here.get(ACCOUNT).await.text().contains("Safari, iPhone"));
    let mut stranger = gate.browser().navigating();
    let sent = stranger.get(ACCOUNT).await;
    assert_eq!(sent.location(), "/.doorward/sign-in?return_to=%2F.doorward%2Faccount");
    let page = sent.location().to_owned();
    assert_eq!(fill_in(&mut stranger, &page, "alice", None, PASSWORD).await.location(), ACCOUNT);
}
