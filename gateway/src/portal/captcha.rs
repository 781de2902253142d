//! The captcha on pages and for programs: giving out challenges, taking solutions, and the policy
//! of pages that have the widget.
//!
//! Not here: whether it is solved (`doorward_plugins::captcha`), and when it is demanded.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::response::{IntoResponse, Response};
use doorward_config::ProviderKind;
use doorward_plugins::audit::{Event, EventKind};
use doorward_plugins::captcha::{Asks, CaptchaError, Form, Wait};
use doorward_plugins::{Problem, Refusal};
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use serde_json::json;

use super::{Desk, Visit, json as answer};

/// Where a challenge is got; the purpose follows.
pub(crate) const CHALLENGE: &str = "/.doorward/captcha?purpose=";

/// What a captcha can be for.
const PURPOSES: [&str; 3] =
    [super::sign_in::PURPOSE, super::password::PURPOSE, super::recover::PURPOSE];

/// What a request for a challenge says.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    purpose: String,
}

/// Whether somebody solved a captcha.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Solved {
    /// A right solution came, or captchas are off.
    Yes,
    /// None came.
    No,
}

/// A captcha as a page shows it.
pub(super) struct CaptchaPart {
    /// Where the widget gets its challenge; empty for a provider's.
    pub(super) challenge: String,
    pub(super) purpose: &'static str,
    /// What a provider's script looks for.
    pub(super) class: &'static str,
    pub(super) site_key: String,
    /// For browsers without scripts.
    pub(super) wait: Option<Wait>,
    script: &'static str,
    policy: &'static str,
}

/// Marks a page that needs this policy besides what every page has.
#[derive(Clone, Copy)]
pub(super) struct Policy(&'static str);

impl CaptchaPart {
    /// What is asked of this visitor; `None` when captchas are off. `browser` is the value of the
    /// form cookie that goes with the page, `held` the ticket that the visitor sent.
    pub(super) fn of(
        desk: &Desk,
        visit: &Visit,
        purpose: &'static str,
        browser: Option<&str>,
        held: &str,
    ) -> Option<Self> {
        let captcha = &desk.services.captcha;
        let form = Form { browser, ..form(visit, purpose) };
        let asks = captcha.asks();
        let (challenge, class, site_key, script, policy) = match &asks {
            Asks::Nothing => return None,
            Asks::ProofOfWork => {
                (format!("{CHALLENGE}{purpose}"), "", String::new(), "/.doorward/captcha.js", OWN)
            }
            Asks::Provider(provider) => {
                let (class, script, policy) = of_provider(provider.kind);
                (String::new(), class, provider.site_key.clone(), script, policy)
            }
        };
        let wait = captcha.wait(&form, held);
        Some(Self { challenge, purpose, class, site_key, wait, script, policy })
    }

    pub(super) fn is_proof_of_work(&self) -> bool {
        !self.challenge.is_empty()
    }

    /// The script that begins it.
    pub(super) fn script(&self) -> &'static str {
        self.script
    }

    /// Lets the page run what it needs for this, and nothing else.
    pub(super) fn allow_in(&self, response: &mut Response) {
        response.extensions_mut().insert(Policy(self.policy));
    }
}

impl Policy {
    /// For pages that ask for keys.
    pub(super) fn keys() -> Self {
        Self(KEYS)
    }

    /// Sets it instead of the one of pages without scripts.
    pub(super) fn apply(self, headers: &mut HeaderMap) {
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(self.0));
    }
}

macro_rules! policy {
    ($own:literal) => {
        concat!(
            "default-src 'none'; style-src 'self'; ",
            $own,
            "; form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'"
        )
    };
}

const KEYS: &str = policy!("script-src 'self'; connect-src 'self'");
const OWN: &str = policy!("script-src 'self'; worker-src 'self'; connect-src 'self'");

/// What the provider's script looks for, where it is, and what it needs, as the provider says; our
/// own script for keys may stand beside it.
fn of_provider(kind: ProviderKind) -> (&'static str, &'static str, &'static str) {
    match kind {
        ProviderKind::Turnstile => (
            "cf-turnstile",
            "https://challenges.cloudflare.com/turnstile/v0/api.js",
            policy!(
                "script-src 'self' https://challenges.cloudflare.com; connect-src 'self'; frame-src https://challenges.cloudflare.com"
            ),
        ),
        ProviderKind::Hcaptcha => (
            "h-captcha",
            "https://js.hcaptcha.com/1/api.js",
            policy!(
                "script-src 'self' https://hcaptcha.com https://*.hcaptcha.com; frame-src https://hcaptcha.com https://*.hcaptcha.com; connect-src 'self' https://hcaptcha.com https://*.hcaptcha.com"
            ),
        ),
        ProviderKind::Recaptcha => (
            "g-recaptcha",
            "https://www.google.com/recaptcha/api.js",
            policy!(
                "script-src 'self' https://www.google.com/recaptcha/ https://www.gstatic.com/recaptcha/; frame-src https://www.google.com/recaptcha/ https://recaptcha.google.com/recaptcha/; connect-src 'self' https://www.google.com/recaptcha/"
            ),
        ),
    }
}

/// Gives out a challenge.
pub(super) async fn challenge(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Response {
    let Query(wanted) = wanted.unwrap_or_default();
    let Some(purpose) = PURPOSES.into_iter().find(|purpose| *purpose == wanted.purpose) else {
        return visit.refuse(&Refusal::new(Problem::NotFound));
    };
    let captcha = &desk.services.captcha;
    match captcha.asks() {
        Asks::Nothing => visit.refuse(&Refusal::new(Problem::NotFound)),
        Asks::Provider(provider) => {
            let (name, ..) = of_provider(provider.kind);
            answer(&json!({"provider": name, "site_key": provider.site_key}))
        }
        Asks::ProofOfWork => match captcha.challenge(&form(&visit, purpose)) {
            Ok(challenge) => answer(&json!(challenge)),
            Err(_) => visit.refuse(&Refusal::new(Problem::Undecided)),
        },
    }
}

/// Was the captcha of this form solved? Whatever else is asked of the visitor comes after this: an
/// error refuses before any password is looked at. A solution counts once.
///
/// # Errors
/// The refusal of a solution that came and is not right, in one way for all that can be wrong with
/// it; with a time where waiting helps.
pub(super) async fn solved(
    desk: &Desk,
    visit: &Visit,
    purpose: &str,
    solution: &str,
) -> Result<Solved, Refusal> {
    let captcha = &desk.services.captcha;
    if matches!(captcha.asks(), Asks::Nothing) {
        return Ok(Solved::Yes);
    }
    let verified = captcha.verify(&form(visit, purpose), solution, &desk.outgoing).await;
    let error = match verified {
        Ok(()) => return Ok(Solved::Yes),
        Err(CaptchaError::Missing) => return Ok(Solved::No),
        Err(error) => error,
    };
    if error.is_suspicious() {
        captcha.note_failure(visit.address);
    }
    let event = Event::new(EventKind::CaptchaFail)
        .from_request(visit.address, &visit.request_id)
        .with("purpose", purpose)
        .with("reason", error);
    desk.services.audit.record(&event);
    Err(match error {
        CaptchaError::Busy => Refusal::new(Problem::Busy),
        CaptchaError::ProviderDown => Refusal::new(Problem::Undecided),
        CaptchaError::TooSoon(left) => {
            // In whole seconds, none of which is too few.
            let seconds = u64::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u64::MAX);
            let retry_after = Some(Duration::from_secs(seconds));
            Refusal { retry_after, ..required(purpose) }
        }
        _ => required(purpose),
    })
}

fn form<'a>(visit: &'a Visit, purpose: &'a str) -> Form<'a> {
    Form {
        purpose,
        browser: visit.cookies.form.as_deref(),
        client: visit.address,
        host: &visit.host,
    }
}

/// The refusal that says that a captcha is needed, and where to get it.
pub(super) fn required(purpose: &str) -> Refusal {
    let mut refusal = Refusal::new(Problem::CaptchaRequired);
    refusal.members.push(("captcha", format!("{CHALLENGE}{purpose}")));
    refusal
}

/// A file of the widget. It changes with the binary only, so a browser may keep it.
pub(super) fn file(kind: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "public, max-age=3600")], Body::from(text))
        .into_response()
}

pub(super) const SCRIPT: &str = "text/javascript; charset=utf-8";

pub(super) async fn loader() -> Response {
    file(SCRIPT, include_str!("../../templates/captcha.js"))
}

pub(super) async fn widget() -> Response {
    file(SCRIPT, include_str!("../../vendor/altcha/altcha.min.js"))
}

pub(super) async fn worker() -> Response {
    file(SCRIPT, include_str!("../../vendor/altcha/pbkdf2.js"))
}

pub(super) async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("../../vendor/altcha/altcha.css"))
}
