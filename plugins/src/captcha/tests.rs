use std::sync::Mutex as StdMutex;

use altcha::{Payload, SolveChallengeOptions, VerifySolutionOptions};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::outgoing::{Call, Method, OutgoingError};

/// Nobody answers.
struct Nobody;

#[async_trait]
impl Outgoing for Nobody {
    async fn ask(&self, _call: Call<'_>) -> Result<Bytes, OutgoingError> {
        Err(OutgoingError::Timeout)
    }
}

/// Answers with this, and keeps what was asked.
struct Saying(&'static str, StdMutex<Vec<String>>);

#[async_trait]
impl Outgoing for Saying {
    async fn ask(&self, call: Call<'_>) -> Result<Bytes, OutgoingError> {
        let Method::Post { body, .. } = call.method else { panic!("not a POST") };
        self.1.lock().unwrap().push(body.expose().to_owned());
        Ok(Bytes::from_static(self.0.as_bytes()))
    }
}

fn rules(keys: &str) -> Rules {
    let text = format!(
        "public_url = \"https://console.example.com\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.console]\naddress = \"http://127.0.0.1:9\"\n[store]\npath = \"x.db\"\n\
         [captcha]\ndifficulty = 4\ndifficulty_max = 4000\n{keys}"
    );
    let config = doorward_config::GatewayConfig::parse(&text, std::path::Path::new("/"));
    config.unwrap_or_else(|problems| panic!("{problems:#?}")).captcha
}

fn captcha(keys: &str) -> (Captcha, Clock) {
    let clock = Clock::manual(Timestamp(1_800_000_000_000));
    (Captcha::new(&rules(keys), clock.clone()).unwrap(), clock)
}

fn form(browser: Option<&'static str>) -> Form<'static> {
    Form {
        purpose: "sign-in",
        browser,
        client: "192.0.2.1".parse().unwrap(),
        host: "console.example.com",
    }
}

fn solved(challenge: &Challenge) -> Payload {
    let challenge = serde_json::from_str(&serde_json::to_string(challenge).unwrap()).unwrap();
    let solution = altcha::solve_challenge(SolveChallengeOptions::new(&challenge)).unwrap();
    Payload { solution: solution.unwrap(), challenge }
}

fn text(payload: &Payload) -> String {
    STANDARD.encode(serde_json::to_string(payload).unwrap())
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[tokio::test]
async fn f10_the_crate_of_the_protocols_authors_solves_and_verifies_what_is_given_out() {
    let (captcha, _) = captcha("");
    let form = form(Some("cookie"));
    let payload = solved(&captcha.challenge(&form).unwrap());
    // To that crate the signature is foreign, as it has another key; the solution is right.
    let mut theirs = payload.challenge.clone();
    let signed = altcha::sign_challenge(
        &altcha::HmacAlgorithm::Sha256,
        &mut theirs.parameters,
        None,
        "key",
        None,
    );
    let signed = signed.unwrap();
    let options = VerifySolutionOptions::new(&signed, &payload.solution, "key");
    assert!(altcha::verify_solution(options).unwrap().verified);
    assert_eq!(captcha.verify(&form, &text(&payload), &Nobody).await, Ok(()));
    let again = captcha.verify(&form, &text(&payload), &Nobody).await;
    assert_eq!(again, Err(CaptchaError::Used));
}

#[tokio::test]
async fn f10_a_solution_is_for_one_purpose_browser_and_network() {
    let (captcha, _) = captcha("");
    let given = form(Some("cookie"));
    let payload = text(&solved(&captcha.challenge(&given).unwrap()));
    for other in [
        Form { purpose: "recovery", ..given },
        Form { browser: Some("another"), ..given },
        Form { browser: None, ..given },
        Form { browser: Some(""), ..given },
    ] {
        let result = captcha.verify(&other, &payload, &Nobody).await;
        assert_eq!(result, Err(CaptchaError::Foreign), "{other:?}");
    }
    // Who has no cookie is known by the network: an IPv4 address, or a /64.
    let at = |address: &str| Form { browser: None, client: address.parse().unwrap(), ..given };
    for (from, to, expected) in [
        ("192.0.2.1", "192.0.2.2", Err(CaptchaError::Foreign)),
        ("192.0.2.1", "::ffff:192.0.2.1", Ok(())),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", Ok(())),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", Err(CaptchaError::Foreign)),
    ] {
        let payload = text(&solved(&captcha.challenge(&at(from)).unwrap()));
        assert_eq!(captcha.verify(&at(to), &payload, &Nobody).await, expected, "{from} {to}");
    }
}

#[tokio::test]
async fn f10_nobody_gets_it_cheaper_by_asking_from_another_address() {
    let (captcha, clock) = captcha("forget_after = \"1m\"");
    let clean = form(Some("cookie"));
    let busy = Form { client: "198.51.100.7".parse().unwrap(), ..clean };
    let cheap = || text(&solved(&captcha.challenge(&clean).unwrap()));
    captcha.note_failure(busy.client);
    captcha.note_failure(busy.client);
    assert_eq!((captcha.difficulty(busy.client), captcha.difficulty(clean.client)), (16, 4));
    assert_eq!(captcha.verify(&busy, &cheap(), &Nobody).await, Ok(()), "two may come in between");
    captcha.note_failure(busy.client);
    assert_eq!(captcha.verify(&busy, &cheap(), &Nobody).await, Err(CaptchaError::TooEasy));
    for _ in 0..100 {
        captcha.note_failure(busy.client);
    }
    assert_eq!(captcha.difficulty(busy.client), 4000, "the most");
    clock.advance(Duration::from_secs(60 * 32));
    assert_eq!(captcha.difficulty(busy.client), 4, "forgotten");
}

#[test]
fn f10_addresses_without_a_place_of_their_own_share_one() {
    let (captcha, _) = captcha("");
    captcha.memory.failures.lock().unwrap().known = Expiring::new(1);
    let [one, two, three]: [IpAddr; 3] =
        ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|address| address.parse().unwrap());
    captcha.note_failure(one);
    captcha.note_failure(two);
    captcha.note_failure(two);
    let difficulties = [one, two, three].map(|address| captcha.difficulty(address));
    assert_eq!(difficulties, [8, 16, 16], "known ones keep theirs, the others are not let off");
}

#[tokio::test]
async fn f10_a_full_memory_refuses_and_forgets_nothing() {
    let (captcha, clock) = captcha("");
    *captcha.memory.used.lock().unwrap() = Expiring::new(2);
    let form = form(Some("cookie"));
    let mut payloads = Vec::new();
    for _ in 0..3 {
        payloads.push(text(&solved(&captcha.challenge(&form).unwrap())));
    }
    for (payload, expected) in payloads.iter().zip([Ok(()), Ok(()), Err(CaptchaError::Busy)]) {
        assert_eq!(captcha.verify(&form, payload, &Nobody).await, expected);
    }
    let again = captcha.verify(&form, &payloads[0], &Nobody).await;
    assert_eq!(again, Err(CaptchaError::Used));
    clock.advance(Duration::from_secs(5 * 60));
    let fresh = text(&solved(&captcha.challenge(&form).unwrap()));
    assert_eq!(captcha.verify(&form, &fresh, &Nobody).await, Ok(()));
}

#[tokio::test]
async fn f10_a_crowd_with_solutions_is_told_to_come_back() {
    let (captcha, _) = captcha("");
    let form = form(Some("cookie"));
    let payload = text(&solved(&captcha.challenge(&form).unwrap()));
    let places = u32::try_from(VERIFYING_MAX).unwrap();
    let crowd = Arc::clone(&captcha.memory.queue).acquire_many_owned(places).await.unwrap();
    assert_eq!(captcha.verify(&form, &payload, &Nobody).await, Err(CaptchaError::Busy));
    drop(crowd);
    assert_eq!(captcha.verify(&form, &payload, &Nobody).await, Ok(()), "it is still good");
}

#[tokio::test]
async fn f10_waiting_is_bound_single_and_one_for_an_address_at_a_time() {
    let (captcha, clock) = captcha("wait = \"30s\"");
    let form = form(Some("cookie"));
    let [one, two] = [(); 2].map(|()| captcha.wait(&form, "").unwrap());
    assert_eq!(one.left, Duration::from_secs(30));
    let soon = captcha.verify(&form, &one.ticket, &Nobody).await;
    assert_eq!(soon, Err(CaptchaError::TooSoon(Duration::from_secs(30))));
    clock.advance(Duration::from_secs(30));
    for other in [Form { purpose: "recovery", ..form }, Form { browser: Some("other"), ..form }] {
        let foreign = captcha.verify(&other, &one.ticket, &Nobody).await;
        assert_eq!(foreign, Err(CaptchaError::Foreign));
    }
    assert_eq!(captcha.verify(&form, &one.ticket, &Nobody).await, Ok(()));
    assert_eq!(captcha.verify(&form, &one.ticket, &Nobody).await, Err(CaptchaError::Used));
    let second = captcha.verify(&form, &two.ticket, &Nobody).await;
    assert_eq!(second, Err(CaptchaError::TooSoon(Duration::from_secs(30))));
    assert_eq!(captcha.wait(&form, &two.ticket).unwrap().ticket, two.ticket, "held on to");
    assert_ne!(captcha.wait(&form, &one.ticket).unwrap().ticket, one.ticket, "used");
    clock.advance(Duration::from_secs(5 * 60));
    let late = captcha.verify(&form, &two.ticket, &Nobody).await;
    assert_eq!(late, Err(CaptchaError::Expired));
}

#[tokio::test]
async fn f10_off_asks_nothing_and_a_provider_has_the_last_word() {
    let (off, _) = captcha("mode = \"off\"\nalways = [\"sign-in\"]");
    assert!(matches!(off.asks(), Asks::Nothing) && !off.is_always_asked("sign-in"));
    assert!(off.wait(&form(None), "").is_none());
    let file = std::env::temp_dir().join(format!("doorward-captcha-{}", std::process::id()));
    std::fs::write(&file, "secret-of-provider").unwrap();
    let keys = format!("mode = \"hcaptcha\"\nsite_key = \"k\"\nsecret_file = {file:?}");
    let (provider, _) = captcha(&keys);
    std::fs::remove_file(file).unwrap();
    let no = Saying("{\"success\":false}", StdMutex::default());
    let result = provider.verify(&form(None), "token", &no).await;
    assert_eq!(result, Err(CaptchaError::Rejected));
    assert!(no.1.lock().unwrap()[0].starts_with("secret=secret-of-provider&response=token&"));
    // A solution of the built-in captcha is worth nothing here, nor does a provider that is down
    // let anybody pass.
    let work = text(&solved(&provider.challenge(&form(None)).unwrap()));
    let result = provider.verify(&form(None), &work, &Nobody).await;
    assert_eq!(result, Err(CaptchaError::ProviderDown));
}

/// Too many ask at once.
struct Crowded;

#[async_trait]
impl Outgoing for Crowded {
    async fn ask(&self, _call: Call<'_>) -> Result<Bytes, OutgoingError> {
        Err(OutgoingError::Busy)
    }
}

#[tokio::test]
async fn f10_a_crowd_does_not_make_a_provider_count_as_down() {
    let file = std::env::temp_dir().join(format!("doorward-crowd-{}", std::process::id()));
    std::fs::write(&file, "secret-of-provider").unwrap();
    let (captcha, _) = captcha(&format!(
        "mode = \"turnstile\"\nsite_key = \"k\"\nsecret_file = {file:?}\nwhen_down = \"allow\""
    ));
    std::fs::remove_file(file).unwrap();
    let form = form(None);
    assert_eq!(captcha.verify(&form, "token", &Crowded).await, Err(CaptchaError::Busy));
    assert_eq!(captcha.verify(&form, "token", &Nobody).await, Ok(()), "as the operator chose");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn f10_any_changed_octet_is_refused(place in any::<prop::sample::Index>(), octet in 0_u8..128) {
        let (captcha, _) = captcha("");
        let form = form(Some("cookie"));
        let mut payload = solved(&captcha.challenge(&form).unwrap());
        payload.solution.time = None;
        let mut json = serde_json::to_vec(&payload).unwrap();
        let place = place.index(json.len());
        prop_assume!(json[place] != octet);
        json[place] = octet;
        let result = block_on(captcha.verify(&form, &STANDARD.encode(json), &Nobody));
        prop_assert!(result.is_err(), "{result:?}");
        prop_assert_eq!(block_on(captcha.verify(&form, &text(&payload), &Nobody)), Ok(()));
    }

    #[test]
    fn f10_any_changed_octet_of_a_ticket_is_refused(place in any::<prop::sample::Index>(), octet in 32_u8..127) {
        let (captcha, clock) = captcha("");
        let form = form(Some("cookie"));
        let ticket = captcha.wait(&form, "").unwrap().ticket;
        clock.advance(Duration::from_secs(60));
        let mut changed = ticket.clone().into_bytes();
        let place = place.index(changed.len());
        prop_assume!(changed[place] != octet);
        changed[place] = octet;
        let changed = String::from_utf8(changed).unwrap();
        prop_assert!(block_on(captcha.verify(&form, &changed, &Nobody)).is_err());
        prop_assert_eq!(block_on(captcha.verify(&form, &ticket, &Nobody)), Ok(()));
    }

    #[test]
    fn f10_no_text_is_a_solution(text in prop_oneof![
        any::<String>(),
        "[A-Za-z0-9+/=]{0,200}",
        "wait\\.[0-9]{1,20}\\.[0-9]{1,20}\\.[a-z]{0,9}\\.[0-9a-f]{64}",
        "\\{\"challenge\":\\{[a-z:,\"{}]{0,60}".prop_map(|text| STANDARD.encode(text)),
    ]) {
        let (captcha, _) = captcha("");
        prop_assert!(block_on(captcha.verify(&form(None), &text, &Nobody)).is_err());
    }

    #[test]
    fn f10_work_that_was_made_less_is_refused(cost in 0_u32..4, prefix in "0?") {
        let (captcha, _) = captcha("");
        let form = form(Some("cookie"));
        let mut payload = solved(&captcha.challenge(&form).unwrap());
        payload.challenge.parameters.cost = cost.max(1);
        payload.challenge.parameters.key_prefix = prefix;
        let options = SolveChallengeOptions::new(&payload.challenge);
        payload.solution = altcha::solve_challenge(options).unwrap().unwrap();
        let result = block_on(captcha.verify(&form, &text(&payload), &Nobody));
        prop_assert_eq!(result, Err(CaptchaError::Foreign));
    }
}
