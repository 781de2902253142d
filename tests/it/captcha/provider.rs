//! Providers, by a stand-in on loopback: yes, no, nonsense, too much, nothing, nobody there.

use std::net::SocketAddr;
use std::time::Duration;

use doorward_certs::development::DevelopmentCertificate;
use doorward_tests::Scratch;

use super::*;
use crate::sign_in::SIGN_IN;

const YES: &str = r#"{"success":true,"hostname":"console.example.com","action":"sign-in","x":1}"#;

/// A gate that asks the provider at `address`, and the folder of its secret.
async fn asking(address: SocketAddr, mode: &str, more: &str) -> (Upstream, TestGate, Scratch) {
    let scratch = Scratch::new();
    let secret = scratch.path().join("secret");
    std::fs::write(&secret, "s3cret & more\n").unwrap();
    let more = format!(
        "mode = \"{mode}\"\nsite_key = \"key-of-site\"\nsecret_file = {:?}\nurl = \"http://{address}/verify?v=1\"\ntimeout = \"500ms\"\n{more}",
        secret.display().to_string()
    );
    let (upstream, gate) = gate(&more).await;
    (upstream, gate, scratch)
}

fn saying(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into()
}

async fn provider(body: &'static str) -> Upstream {
    Upstream::replying(move |_| Some(saying("200 OK", body))).await
}

#[tokio::test]
async fn f10_a_provider_that_says_yes_lets_pass() {
    let provider = provider(YES).await;
    let (_upstream, gate, _secret) = asking(provider.address, "turnstile", "").await;
    let mut browser = gate.browser();
    assert_eq!(
        browser.get(CHALLENGE).await.json(),
        json!({"provider": "cf-turnstile", "site_key": "key-of-site"})
    );
    refused(&sign_in(&mut browser, PASSWORD, "").await, "missing");
    assert!(provider.requests().is_empty(), "nobody is asked about nothing");
    let answer = sign_in(&mut browser, PASSWORD, "a token+").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let asked = provider.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].line(), "POST /verify?v=1");
    assert_eq!(asked[0].field("host").unwrap(), provider.address.to_string());
    assert_eq!(
        String::from_utf8_lossy(&asked[0].body),
        "secret=s3cret%20%26%20more&response=a%20token%2B&remoteip=127.0.0.1&sitekey=key-of-site"
    );
}

#[tokio::test]
async fn f10_what_a_provider_does_not_vouch_for_is_refused() {
    for (mode, body) in [
        ("turnstile", r#"{"success":false,"error-codes":["timeout-or-duplicate"]}"#),
        ("turnstile", r#"{"success":true,"hostname":"other.example.com","action":"sign-in"}"#),
        ("turnstile", r#"{"success":true,"hostname":"console.example.com","action":"contact"}"#),
        ("turnstile", r#"{"success":true,"hostname":"console.example.com"}"#),
        ("turnstile", r#"{"success":false,"error-codes":["bad-request","internal-error"]}"#),
        ("turnstile", r#"{"success":false,"error-codes":["invalid-input-secret"]}"#),
        ("hcaptcha", r#"{"success":false}"#),
        ("hcaptcha", r#"{"success":true,"hostname":"evil.example"}"#),
        ("recaptcha", r#"{"success":true,"hostname":"evil.example"}"#),
    ] {
        let provider = provider(body).await;
        // Not even where a provider that is down lets pass: whoever makes up an answer could
        // bring that about.
        let more = "when_down = \"allow\"";
        let (_upstream, gate, _secret) = asking(provider.address, mode, more).await;
        refused(&sign_in(&mut gate.browser(), PASSWORD, "a token").await, body);
    }
    let bad = Upstream::replying(|_| Some(saying("400 Bad", YES))).await;
    let (_upstream, gate, _secret) =
        asking(bad.address, "turnstile", "when_down = \"allow\"").await;
    refused(&sign_in(&mut gate.browser(), PASSWORD, "a token").await, "400");
    for mode in ["hcaptcha", "recaptcha"] {
        let provider = provider(r#"{"success":true,"hostname":"console.example.com"}"#).await;
        let (_upstream, gate, _secret) = asking(provider.address, mode, "").await;
        let answer = sign_in(&mut gate.browser(), PASSWORD, "a token").await;
        assert_eq!(answer.status, StatusCode::OK, "{mode}: {}", answer.text());
    }
}

#[tokio::test]
async fn f10_a_form_is_read_as_each_providers_script_fills_it_in() {
    let yes = r#"{"success":true,"hostname":"console.example.com","action":"sign-in"}"#;
    for (mode, names) in [
        ("turnstile", &["captcha"][..]),
        ("hcaptcha", &["h-captcha-response", "g-recaptcha-response"]),
        ("recaptcha", &["g-recaptcha-response"]),
    ] {
        let provider = provider(yes).await;
        let (_upstream, gate, _secret) = asking(provider.address, mode, "").await;
        let mut person = gate.browser();
        let page = person.get(SIGN_IN).await;
        let (code, ticket) = (page.hidden("code"), page.hidden("captcha_wait"));
        let mut fields = vec![
            ("code", &*code),
            ("captcha_wait", &ticket),
            ("account", "alice"),
            ("password", PASSWORD),
        ];
        fields.extend(names.iter().map(|name| (*name, "token-of-widget")));
        let answer = person.post_form(SIGN_IN, &fields).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{mode}: {}", answer.text());
        let asked = String::from_utf8(provider.last().body).unwrap();
        assert!(asked.contains("response=token-of-widget"), "{asked}");
    }
}

/// Everything that a provider can do instead of answering.
async fn broken() -> Vec<(&'static str, Upstream)> {
    let large = format!("{{\"success\":true,\"hostname\":\"{}\"}}", "a".repeat(20_000));
    let redirect =
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    vec![
        ("garbage", provider("<html>").await),
        ("another document", provider("{\"ok\":true}").await),
        ("too much", Upstream::replying(move |_| Some(saying("200 OK", &large))).await),
        (
            "endless",
            Upstream::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n{").await,
        ),
        ("an error", Upstream::replying(|_| Some(saying("500 Oops", YES))).await),
        ("a redirect", Upstream::replying(move |_| Some(redirect.into())).await),
        ("not HTTP", Upstream::answering(b"SSH-2.0-x\r\n\r\n").await),
        ("a pause", Upstream::answering(b"HTTP/1.1 200 OK\r\n").await),
        ("an end", Upstream::replying(|_| None).await),
    ]
}

#[tokio::test]
async fn f10_a_provider_that_is_down_lets_nobody_pass_unless_told_to() {
    for (how, provider) in broken().await {
        let (_upstream, gate, _secret) = asking(provider.address, "turnstile", "").await;
        let answer = sign_in(&mut gate.browser(), PASSWORD, "a token").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{how}: {}", answer.text());
        assert_eq!(gate.services().sessions.count(), 0, "{how}");
    }
    let nobody = Upstream::start().await.address;
    for (when_down, status) in [("refuse", 503), ("allow", 200), ("proof-of-work", 403)] {
        let more = format!("when_down = \"{when_down}\"");
        let (_upstream, gate, _secret) = asking(nobody, "hcaptcha", &more).await;
        let mut browser = gate.browser();
        let answer = sign_in(&mut browser, PASSWORD, "a token").await;
        assert_eq!(answer.status.as_u16(), status, "{when_down}: {}", answer.text());
        if when_down == "allow" {
            refused(&sign_in(&mut browser, PASSWORD, "").await, "nothing at all");
        }
    }
}

#[tokio::test]
async fn f10_while_a_provider_is_down_the_built_in_captcha_can_take_its_place() {
    let nobody = Upstream::start().await.address;
    let more = "when_down = \"proof-of-work\"";
    let (_upstream, gate, _secret) = asking(nobody, "turnstile", more).await;
    let mut browser = gate.browser();
    let page = browser.get(SIGN_IN).await.text();
    assert!(page.contains("data-sitekey=\"key-of-site\"") && !page.contains("altcha"), "{page}");
    refused(&sign_in(&mut browser, PASSWORD, "a token").await, "the provider is down");
    assert!(browser.get(SIGN_IN).await.text().contains("<altcha-widget"));
    let solution = solution(&mut browser).await;
    let answer = sign_in(&mut browser, PASSWORD, &solution).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    // After a while the provider is asked again.
    gate.clock.advance(Duration::from_secs(30));
    assert!(gate.browser().get(SIGN_IN).await.text().contains("data-sitekey"));
}

#[tokio::test]
async fn f10_a_page_loads_from_its_provider_and_nobody_else() {
    for (mode, script, others) in [
        ("turnstile", "https://challenges.cloudflare.com/turnstile/v0/api.js", "google"),
        ("hcaptcha", "https://js.hcaptcha.com/1/api.js", "cloudflare"),
        ("recaptcha", "https://www.google.com/recaptcha/api.js", "hcaptcha"),
    ] {
        let provider = provider(YES).await;
        let (_upstream, gate, _secret) = asking(provider.address, mode, "").await;
        let page = gate.browser().get(SIGN_IN).await;
        assert!(page.text().contains(&format!("<script src=\"{script}\" async defer>")), "{mode}");
        let policy = page.field("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; style-src 'self'; script-src 'self' https://")
        );
        assert!(!policy.contains(others) && !policy.contains("unsafe"), "{policy}");
    }
}

#[tokio::test]
async fn f10_a_provider_is_verified_by_its_certificate() {
    let scratch = Scratch::new();
    let made = DevelopmentCertificate::ensure(scratch.path(), &["localhost"]).unwrap();
    let secret = scratch.path().join("secret");
    std::fs::write(&secret, "12345678").unwrap();
    for (known, asked) in [(true, 1), (false, 0)] {
        let provider = Upstream::tls(made.tls.clone()).await;
        let url = format!("https://localhost:{}/verify", provider.address.port());
        let ca = if known { format!("ca_file = {:?}", made.ca_file) } else { String::new() };
        let more = format!(
            "mode = \"turnstile\"\nsite_key = \"k\"\nsecret_file = {secret:?}\nurl = \"{url}\"\n{ca}"
        );
        let (_upstream, gate) = gate(&more).await;
        // What it says is no JSON; what counts is whether it got the secret.
        let answer = sign_in(&mut gate.browser(), PASSWORD, "a token").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text());
        assert_eq!(provider.count(), asked);
    }
}
