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
use doorward_plugins::passkey_sign_in::PasskeySignIn;
use doorward_plugins::sign_in::Origin;
use doorward_plugins::{Problem, Refusal};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{describe, read};
use super::captcha::{SCRIPT, Solved, file};
use super::sign_in::{self, give_cookies};
use super::{Desk, Visit, json as answer};

/// What a browser sends after its key has answered.
#[derive(Deserialize)]
pub(super) struct Answered {
    /// What came with the options.
    challenge: String,
    /// The answer, in the JSON form of the specification.
    credential: Value,
}

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
    body: Result<Json<Answered>, JsonRejection>,
) -> Response {
    let signed_in = async {
        let passkeys = passkeys(&desk)?;
        let body = read(body).map_err(Refusal::new)?;
        desk.services.rate_limits.sign_in(visit.address, &visit.request_id)?;
        let origin = Origin {
            scope: &visit.scope,
            device: &visit.device,
            session: visit.session.as_deref(),
            guesser: visit.guesser(Solved::No),
        };
        let credential = body.credential.to_string();
        let answered = (body.challenge.as_str(), credential.as_bytes());
        let finished = passkeys.finish(browser(&visit), answered, &origin).await;
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

pub(super) async fn script() -> Response {
    file(SCRIPT, include_str!("../../templates/webauthn.js"))
}
