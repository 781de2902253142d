//! The page on which people bind a security key or passkey, and the same for programs.

use std::sync::Arc;

use axum::extract::rejection::{FormRejection, JsonRejection};
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Form, Json};
use doorward_plugins::audit::EventKind;
use doorward_plugins::authenticator::AuthenticatorSummary;
use doorward_plugins::authenticator::webauthn::{Asked, KeyError, WebauthnError};
use doorward_plugins::session::LiveSession;
use doorward_plugins::step_up::BindKeyError;
use doorward_plugins::{Problem, Refusal};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::account::to_sign_in;
use super::api::read;
use super::captcha::{Policy, Solved};
use super::pages::{BindKeyPage, render};
use super::step_up::prove_first;
use super::text::{FactorTexts, Texts};
use super::webauthn::KeyPart;
use super::{Desk, Visit, add_cookie, json as answer, return_to};

const PURPOSE: &str = "bind-key";
/// Where the page is.
const PAGE: &str = "/.doorward/account/keys/bind";
/// Where people go afterwards.
const DONE: &str = "/.doorward/account/authenticators?notice=bound";

/// What the form sends.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    code: String,
    name: String,
    answer: String,
}

pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
) -> Response {
    let Some(session) = &visit.session else { return to_sign_in(&visit, &return_to::encode(PAGE)) };
    show(&desk, &visit, session, ("", ""), StatusCode::OK).await
}

pub(super) async fn submit(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Result<Form<Fields>, FormRejection>,
) -> Response {
    let Ok(Form(fields)) = fields else {
        return visit.refuse(&Refusal::new(Problem::BadRequest));
    };
    let Some(session) = &visit.session else { return to_sign_in(&visit, &return_to::encode(PAGE)) };
    let f = FactorTexts::of(visit.language);
    if desk.guard.verify(&visit, PURPOSE, &fields.code).is_none() {
        desk.note(&visit, EventKind::CsrfRefused);
        let told = (fields.name.as_str(), f.form_expired);
        return show(&desk, &visit, session, told, StatusCode::FORBIDDEN).await;
    }
    let named = (FactorTexts::named(&fields.name, f.key), fields.answer.as_str());
    let approvals = &desk.services.approvals;
    match approvals.finish_key_binding(session, named, visit.guesser(Solved::No)).await {
        Ok(_) => Redirect::to(DONE).into_response(),
        Err(BindKeyError::NotFresh) => prove_first(&desk, &visit, session, PAGE).await,
        Err(error) => {
            let problem = problem_of(&error);
            let told = match error {
                BindKeyError::Key(KeyError::Refused(WebauthnError::AlreadyBound)) => {
                    f.key_bound_already
                }
                BindKeyError::Key(KeyError::Refused(_) | KeyError::Over) => f.key_failed,
                BindKeyError::Key(KeyError::Full) => f.full,
                _ => return visit.refuse(&Refusal::new(problem)),
            };
            show(&desk, &visit, session, (&fields.name, told), problem.status()).await
        }
    }
}

async fn show(
    desk: &Desk,
    visit: &Visit,
    session: &LiveSession,
    (name, error): (&str, &str),
    status: StatusCode,
) -> Response {
    let asked = match desk.services.approvals.begin_key_binding(session).await {
        Ok(asked) => asked,
        Err(BindKeyError::NotFresh) => return prove_first(desk, visit, session, PAGE).await,
        Err(error) => return visit.refuse(&Refusal::new(problem_of(&error))),
    };
    let form = desk.guard.issue(visit, [PURPOSE]);
    let [code] = &form.codes;
    let page = BindKeyPage {
        t: Texts::of(visit.language),
        f: FactorTexts::of(visit.language),
        error,
        code,
        name,
        action: PAGE,
        key: &KeyPart::from(asked),
        back: "/.doorward/account",
    };
    let mut response = render(status, &page);
    response.extensions_mut().insert(Policy::keys());
    if let Some(cookie) = &form.fresh_cookie {
        add_cookie(response.headers_mut(), &desk.cookies.set_form(cookie));
    }
    response
}

/// What a visitor is told whose key was not bound.
fn problem_of(error: &BindKeyError) -> Problem {
    match error {
        BindKeyError::Key(KeyError::Refused(_)) => Problem::WrongCode,
        BindKeyError::Key(KeyError::Over) => Problem::ChallengeOver,
        BindKeyError::Key(KeyError::Full) => Problem::Forbidden,
        BindKeyError::Key(KeyError::Store(error)) => {
            tracing::error!(event = "store_failed", %error, "no key can be bound");
            Problem::Undecided
        }
        BindKeyError::NoKeys => Problem::NotFound,
        BindKeyError::NotFresh => Problem::FreshnessRequired,
        BindKeyError::SessionOver => Problem::SessionRequired,
    }
}

/// What a program sends to bind a key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Binding {
    #[serde(default)]
    name: String,
    challenge: String,
    credential: Value,
}

pub(super) async fn api_options(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    body: Result<Json<Value>, JsonRejection>,
) -> Response {
    let begun = async {
        read(body)?;
        let session = visit.session.as_ref().ok_or(Problem::SessionRequired)?;
        let begun = desk.services.approvals.begin_key_binding(session).await;
        begun.map_err(|error| problem_of(&error))
    };
    match begun.await {
        Ok(Asked { challenge, options }) => {
            answer(&json!({"challenge": challenge, "options": options}))
        }
        Err(problem) => visit.refuse(&Refusal::new(problem)),
    }
}

pub(super) async fn api_bind(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    body: Result<Json<Binding>, JsonRejection>,
) -> Response {
    let bound = async {
        let Binding { name, challenge, credential } = read(body)?;
        let session = visit.session.as_ref().ok_or(Problem::SessionRequired)?;
        let sent = json!({"challenge": challenge, "credential": credential}).to_string();
        let approvals = &desk.services.approvals;
        let guesser = visit.guesser(Solved::No);
        let bound = approvals.finish_key_binding(session, (&name, &sent), guesser).await;
        bound.map_err(|error| problem_of(&error))
    };
    match bound.await {
        Ok(record) => {
            let summary = AuthenticatorSummary::from(&record);
            let document = json!({"id": summary.id, "kind": summary.kind, "name": summary.name});
            (StatusCode::CREATED, answer(&document)).into_response()
        }
        Err(problem) => visit.refuse(&Refusal::new(problem)),
    }
}
