//! Security keys and passkeys: signing in by one alone, and the script of pages that ask for one.
//!
//! Page and program go the same way: options are asked for, the browser asks the key, its answer
//! is sent as JSON. Not here: what is asked and how it is judged
//! (`doorward_plugins::authenticator::webauthn`).

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::response::Response;
use doorward_plugins::authenticator::webauthn::{Asked, Sent};
use doorward_plugins::passkey_sign_in::PasskeySignIn;
use doorward_plugins::{Problem, Refusal};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{describe, read};
use super::captcha::{SCRIPT, file};
use super::sign_in::{self, give_cookies};
use super::{Desk, Visit, json as answer, second_step, step_up};

/// What has to be asked of a passkey, whosever it is.
pub(super) async fn options(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    body: Result<Json<Value>, JsonRejection>,
) -> Response {
    let begun = async {
        let passkeys = passkeys(&desk)?;
        read(body).map_err(Refusal::new)?;
        let asked = passkeys.begin(browser(&visit));
        asked.map_err(|error| sign_in::refuse(&desk, &visit, sign_in::PURPOSE, &error))
    };
    match begun.await {
        Ok(asked) => answer(&json!({"challenge": asked.challenge, "options": asked.options})),
        Err(refusal) => visit.refuse(&refusal),
    }
}

/// Signs in by the passkey that answered.
pub(super) async fn submit(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    body: Result<Json<Sent>, JsonRejection>,
) -> Response {
    let signed_in = async {
        let passkeys = passkeys(&desk)?;
        let body = read(body).map_err(Refusal::new)?;
        desk.services.rate_limits.sign_in(visit.address, &visit.request_id).await?;
        let credential = body.credential.to_string();
        let answered = (body.challenge.as_str(), credential.as_bytes());
        let finished = passkeys.finish(browser(&visit), answered, &visit.origin()).await;
        finished.map_err(|error| sign_in::refuse(&desk, &visit, sign_in::PURPOSE, &error))
    };
    match signed_in.await {
        Ok(signed_in) => {
            let mut response = answer(&describe(&desk, &signed_in.session));
            give_cookies(&desk, &signed_in, response.headers_mut());
            response
        }
        Err(refusal) => visit.refuse(&refusal),
    }
}

/// Are passkeys offered here?
pub(super) fn passkeys(desk: &Desk) -> Result<&PasskeySignIn, Refusal> {
    desk.services.passkey_sign_in.as_ref().ok_or_else(|| Refusal::new(Problem::NotFound))
}

/// What a challenge is bound to: the browser that was shown a form, or whoever shows none.
fn browser(visit: &Visit) -> &str {
    visit.cookies.form.as_deref().unwrap_or_default()
}

/// How a form asks for a key: what its script is given.
pub(super) struct KeyPart {
    pub(super) challenge: String,
    pub(super) options: String,
}

impl From<Asked> for KeyPart {
    fn from(asked: Asked) -> Self {
        Self { challenge: asked.challenge, options: asked.options.to_string() }
    }
}

/// What a program says that wants to be asked for its key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// The step-up that it is for; without it the sign-in that waits.
    #[serde(default)]
    step_up: Option<String>,
}

/// What has to be asked of a key that is a second factor.
pub(super) async fn second_factor_options(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    body: Result<Json<Wanted>, JsonRejection>,
) -> Response {
    match ask_for_key(&desk, &visit, body).await {
        Ok(asked) => answer(&json!({"challenge": asked.challenge, "options": asked.options})),
        Err(problem) => visit.refuse(&Refusal::new(problem)),
    }
}

async fn ask_for_key(
    desk: &Desk,
    visit: &Visit,
    body: Result<Json<Wanted>, JsonRejection>,
) -> Result<Asked, Problem> {
    let services = &desk.services;
    if let Some(challenge) = read(body)?.step_up {
        let session = visit.session.as_ref().ok_or(Problem::SessionRequired)?;
        let asked = services.approvals.ask_for_key(session, &challenge).await;
        return asked.map_err(|error| step_up::problem_of(&error));
    }
    let token = visit.cookies.pending.as_deref().ok_or(Problem::ChallengeOver)?;
    let asked = services.sign_in.ask_for_key(token).await;
    asked.map_err(|error| second_step::problem_of(&error))
}

/// What lets a single-page console live with step-up.
pub(super) async fn step_up_script() -> Response {
    file(SCRIPT, include_str!("../../templates/step-up.js"))
}

pub(super) async fn script() -> Response {
    file(SCRIPT, include_str!("../../templates/webauthn.js"))
}
