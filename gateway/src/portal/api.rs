//! What the pages do, for programs: JSON in, JSON or problem documents out.
//!
//! `openapi.json` describes it; a test holds the two together.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use doorward_config::Secret;
use doorward_plugins::administration::SessionSummary;
use doorward_plugins::password_change::NewPassword;
use doorward_plugins::session::{LiveSession, assurance, methods, stepped_up};
use doorward_plugins::sign_in::{Credentials, Entered};
use doorward_plugins::{Problem, Refusal, Timestamp};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Value, json};

use super::account::end_own;
use super::password::{self, Unchanged};
use super::second_step;
use super::sign_in::{attempt, give_cookies};
use super::{Desk, Visit, json as answer, sign_out as page};

/// What a program sends to sign in.
#[derive(Deserialize)]
pub(super) struct SignIn {
    account: String,
    #[serde(default)]
    sub_user: String,
    password: String,
    /// The solution of a challenge.
    #[serde(default)]
    captcha: String,
}

/// What was sent as JSON, or what is wrong with it.
pub(super) fn read<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Problem> {
    match body {
        Ok(Json(body)) => Ok(body),
        Err(JsonRejection::MissingJsonContentType(_)) => Err(Problem::UnsupportedType),
        Err(_) => Err(Problem::BadRequest),
    }
}

pub(super) async fn sign_in(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    body: Result<Json<SignIn>, JsonRejection>,
) -> Response {
    let body = match read(body) {
        Ok(body) => body,
        Err(problem) => return visit.problem(problem),
    };
    let credentials = Credentials {
        account: body.account,
        sub_user: body.sub_user,
        password: Secret::new(body.password),
    };
    match attempt(&desk, &visit, &credentials, &body.captcha).await {
        Ok(Entered::SignedIn(signed_in)) => {
            let mut response = answer(&describe(&desk, &signed_in.session));
            give_cookies(&desk, &signed_in, response.headers_mut());
            response
        }
        Ok(Entered::Waits(waiting)) => second_step::ask_program(&desk, &visit, &waiting),
        Err(refusal) => visit.refuse(&refusal),
    }
}

/// What a program sends that changes a password.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    current_password: String,
    new_password: String,
    /// When left out: yes.
    end_others: Option<bool>,
    #[serde(default)]
    captcha: String,
}

pub(super) async fn change_password(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    body: Result<Json<Change>, JsonRejection>,
) -> Response {
    let body = match read(body) {
        Ok(body) => body,
        Err(problem) => return visit.problem(problem),
    };
    let password = NewPassword {
        current: Secret::new(body.current_password),
        new: Secret::new(body.new_password),
        end_others: body.end_others.unwrap_or(true),
    };
    let mut response = StatusCode::NO_CONTENT.into_response();
    let changed = password::change(&desk, &visit, &password, &body.captcha, response.headers_mut());
    match changed.await {
        Ok(()) => response,
        Err(Unchanged::Refused(refusal)) => visit.refuse(&refusal),
        Err(Unchanged::Unproven(response)) => *response,
        Err(Unchanged::Weak(why)) => {
            let refusal = Refusal::new(Problem::WeakPassword);
            visit.refuse(&Refusal { members: vec![("detail", why)], ..refusal })
        }
    }
}

pub(super) async fn sign_out(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
) -> Response {
    if let Err(refusal) = page::end(&desk, &visit).await {
        return visit.refuse(&refusal);
    }
    page::forget(&desk, StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn session(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
) -> Response {
    match &visit.session {
        Some(session) => answer(&describe(&desk, session)),
        None => visit.problem(Problem::SessionRequired),
    }
}

pub(super) async fn sessions(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
) -> Response {
    let Some(session) = &visit.session else { return visit.problem(Problem::SessionRequired) };
    let own = desk.services.sessions.list(&session.principal().id, visit.now);
    let listed = own.iter().map(|own| {
        let summary = SessionSummary::of(own, &desk.services.sessions.rules());
        json!({
            "id": summary.id,
            "current": own.id == session.id,
            "acr": summary.acr,
            "device": summary.device,
            "address": summary.address,
            "created": summary.created.secs(),
            "active": summary.active.secs(),
            "expires": summary.expires.secs(),
        })
    });
    answer(&json!({"sessions": listed.collect::<Vec<_>>()}))
}

pub(super) async fn end_session(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    Path(id): Path<String>,
) -> Response {
    match end_own(&desk, &visit, |own, id| own == id, &id).await {
        Ok(0) => visit.problem(Problem::NotFound),
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => visit.refuse(&refusal),
    }
}

pub(super) async fn end_others(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
) -> Response {
    let current = visit.session.as_ref().map(|session| session.id.to_string()).unwrap_or_default();
    match end_own(&desk, &visit, |own, current| own != current, &current).await {
        Ok(ended) => answer(&json!({"ended": ended})),
        Err(refusal) => visit.refuse(&refusal),
    }
}

/// The public keys. Backends ask again when they meet a key that they do not know, so a short
/// life in caches is enough.
pub(super) async fn jwks(State(desk): State<Arc<Desk>>) -> Response {
    let headers =
        [(CONTENT_TYPE, "application/jwk-set+json"), (CACHE_CONTROL, "public, max-age=60")];
    (headers, desk.services.assertions.jwks().to_string()).into_response()
}

pub(super) async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], include_str!("openapi.json")).into_response()
}

impl Visit {
    fn problem(&self, problem: Problem) -> Response {
        self.refuse(&Refusal::new(problem))
    }
}

/// Who is signed in, how strongly that was proven, and when it ends. Times are seconds since the
/// Unix epoch.
pub(super) fn describe(desk: &Desk, session: &LiveSession) -> Value {
    let principal = session.principal();
    let rules = desk.services.sessions.rules();
    let (expires, absolute) = session.expiry(&rules);
    json!({
        "session": &*session.id,
        "subject": principal.id,
        "account": principal.name.account(),
        "sub_user": principal.name.sub_user(),
        "name": principal.display_name,
        "email": principal.email,
        "roles": principal.roles,
        "groups": principal.groups,
        "verification": principal.verification.as_str(),
        "acr": assurance(&session.evidence),
        "amr": methods(&session.evidence),
        "auth_time": session.evidence.first().map_or(session.created, |evidence| evidence.at).secs(),
        "step_up_time": stepped_up(&session.evidence).map(Timestamp::secs),
        "idle_seconds": principal.idle.unwrap_or(rules.idle).as_secs(),
        "expires_at": expires.secs(),
        "absolute_expires_at": absolute.secs(),
    })
}
