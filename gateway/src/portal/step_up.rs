//! The pages on which people approve an operation, or prove once more who they are; and the same
//! for programs.

use std::sync::Arc;

use axum::extract::rejection::{FormRejection, JsonRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Form, Json};
use doorward_config::Secret;
use doorward_plugins::audit::EventKind;
use doorward_plugins::second_factor::Way;
use doorward_plugins::session::LiveSession;
use doorward_plugins::step_up::{Asked, Demanded, StepUpError, SteppedUp};
use doorward_plugins::{Problem, Refusal};
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::account::to_sign_in;
use super::api::{describe, read};
use super::captcha::{Policy, Solved};
use super::pages::{ContinuePage, StepUpPage, render};
use super::text::{FactorTexts, Texts};
use super::text_code::{self, Told};
use super::webauthn::KeyPart;
use super::{Desk, Visit, add_cookie, json as answer, return_to};
use crate::held;

const PURPOSE: &str = "step-up";
const DISCARD: &str = "discard";

/// What a link to the page carries.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Link {
    challenge: String,
    /// The way that the person chose.
    way: String,
}

/// What the form sends.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    challenge: String,
    way: String,
    answer: String,
    code: String,
    /// Anything: a code is to be sent.
    send: String,
    /// The request that is kept.
    hold: String,
}

/// What a link to the page of a kept request carries, and its form sends.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Keeping {
    hold: String,
    code: String,
}

pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    link: Result<Query<Link>, QueryRejection>,
) -> Response {
    let Query(link) = link.unwrap_or_default();
    let Some(session) = &visit.session else { return to_sign_in(&visit, "%2F") };
    show(&desk, &visit, session, (&link.challenge, &link.way), Told::default()).await
}

pub(super) async fn submit(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Result<Form<Fields>, FormRejection>,
) -> Response {
    let Ok(Form(fields)) = fields else {
        return visit.refuse(&Refusal::new(Problem::BadRequest));
    };
    let Some(session) = &visit.session else {
        // What is kept goes on after the sign-in as well.
        let place = match fields.hold.as_str() {
            "" => "%2F".to_owned(),
            hold => format!("%2F.doorward%2Fcontinue%3Fhold%3D{}", return_to::encode(hold)),
        };
        return to_sign_in(&visit, &place);
    };
    let t = FactorTexts::of(visit.language);
    let (challenge, way) = (&fields.challenge, &fields.way);
    if desk.guard.verify(&visit, PURPOSE, &fields.code).is_none() {
        desk.note(&visit, EventKind::CsrfRefused);
        let told = Told::error(t.form_expired, Problem::CrossSite);
        return show(&desk, &visit, session, (challenge, way), told).await;
    }
    if !fields.send.is_empty() {
        let asking = (visit.language, visit.guesser(Solved::No));
        let sent = desk.services.approvals.send_code(session, challenge, asking).await;
        let way = Way::TextMessage.as_str();
        return show(&desk, &visit, session, (challenge, way), text_code::told(&sent, t)).await;
    }
    match approve(&desk, &visit, session, challenge, way, Secret::new(fields.answer)).await {
        Ok(stepped) => go_on(&desk, &visit, &stepped).await,
        Err(Problem::ChallengeOver) => visit.refuse(&Refusal::new(Problem::ChallengeOver)),
        Err(problem) => {
            let error = match problem {
                Problem::WrongCode => t.wrong,
                Problem::Busy => t.busy,
                _ => t.unavailable,
            };
            let told = Told::error(error, problem);
            show(&desk, &visit, session, (challenge, way), told).await
        }
    }
}

/// Where a person goes who has approved: on with what was kept, if it still is, or back.
pub(super) async fn go_on(desk: &Desk, visit: &Visit, stepped: &SteppedUp) -> Response {
    let demanded = &stepped.demanded;
    let mut response = match &demanded.held {
        // The browser posts there at once. What it posts is never forwarded: see `held`.
        Some(kept) if is_kept(desk, visit, kept).await => {
            let mut response = StatusCode::TEMPORARY_REDIRECT.into_response();
            let place = HeaderValue::try_from(held::address(&demanded.target, kept));
            response.headers_mut().extend(place.map(|place| (LOCATION, place)));
            response
        }
        _ => Redirect::to(return_to::verify(&demanded.return_to)).into_response(),
    };
    add_cookie(response.headers_mut(), &desk.cookies.set_session(stepped.token.expose()));
    response
}

/// Is it still kept, for this browser? Others may have taken its place.
async fn is_kept(desk: &Desk, visit: &Visit, kept: &str) -> bool {
    let cookie = visit.cookies.hold.as_deref().unwrap_or_default();
    matches!(desk.services.holds.find(kept, cookie).await, Ok(Some(_)))
}

async fn approve(
    desk: &Desk,
    visit: &Visit,
    session: &Arc<LiveSession>,
    challenge: &str,
    way: &str,
    code: Secret,
) -> Result<SteppedUp, Problem> {
    let way = Way::parse(way).ok_or(Problem::WrongCode)?;
    let approvals = &desk.services.approvals;
    let guesser = visit.guesser(Solved::No);
    let approved = approvals.approve_by_code(session, challenge, (way, &code), guesser).await;
    approved.map_err(|error| problem_of(&error))
}

/// What a visitor is told whose answer led to nothing.
pub(super) fn problem_of(error: &StepUpError) -> Problem {
    match error {
        StepUpError::Busy => Problem::Busy,
        StepUpError::Over => Problem::ChallengeOver,
        StepUpError::SessionOver => Problem::SessionRequired,
        StepUpError::Wrong => Problem::WrongCode,
        StepUpError::Store(error) => {
            tracing::error!(event = "store_failed", %error, "nothing can be approved");
            Problem::Undecided
        }
    }
}

async fn show(
    desk: &Desk,
    visit: &Visit,
    session: &LiveSession,
    (challenge, way): (&str, &str),
    told: Told,
) -> Response {
    let asked = match desk.services.approvals.asked(session, challenge).await {
        Ok(asked) => asked,
        Err(error) => return visit.refuse(&Refusal::new(problem_of(&error))),
    };
    let wanted = Way::parse(way).filter(|way| asked.ways.contains(way));
    let way = wanted.or(asked.ways.first().copied());
    let key = match way {
        Some(Way::Webauthn) => {
            match desk.services.approvals.ask_for_key(session, challenge).await {
                Ok(asked) => Some(KeyPart::from(asked)),
                Err(error) => return visit.refuse(&Refusal::new(problem_of(&error))),
            }
        }
        _ => None,
    };
    let form = desk.guard.issue(visit, [PURPOSE]);
    let [code] = &form.codes;
    let demanded = &asked.challenge.state;
    let others: Vec<_> = asked.ways.iter().filter(|other| Some(**other) != way).collect();
    let kept = match &demanded.held {
        Some(kept) => is_kept(desk, visit, kept).await,
        None => false,
    };
    let page = StepUpPage {
        t: Texts::of(visit.language),
        f: FactorTexts::of(visit.language),
        error: &told.error,
        notice: &told.notice,
        code,
        challenge,
        way,
        key: key.as_ref(),
        others: &others,
        query: &format!("&challenge={challenge}"),
        label: demanded.label.as_deref(),
        method: &demanded.method,
        path: &demanded.target,
        fields: &demanded.fields,
        once: demanded.digest.is_some(),
        kept,
        hold: demanded.held.as_deref().unwrap_or_default(),
        can_bind: !asked.has_factors && demanded.factors.iter().any(|way| way == "totp"),
        sends: !matches!(demanded.method.as_str(), "GET" | "HEAD" | "OPTIONS"),
        return_to: &demanded.return_to,
    };
    let mut response = render(told.status, &page);
    if key.is_some() {
        response.extensions_mut().insert(Policy::keys());
    }
    if let Some(cookie) = &form.fresh_cookie {
        add_cookie(response.headers_mut(), &desk.cookies.set_form(cookie));
    }
    response
}

/// What a person has sent before their session expired, and may send on now.
pub(super) async fn continue_page(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    link: Result<Query<Keeping>, QueryRejection>,
) -> Response {
    let Query(link) = link.unwrap_or_default();
    let Some(session) = &visit.session else {
        let id: String = link.hold.chars().filter(char::is_ascii_alphanumeric).collect();
        let place = if id == link.hold { id } else { return_to::encode(&link.hold) };
        return to_sign_in(&visit, &format!("%2F.doorward%2Fcontinue%3Fhold%3D{place}"));
    };
    let cookie = visit.cookies.hold.as_deref().unwrap_or_default();
    let held = match desk.services.holds.find(&link.hold, cookie).await {
        Ok(Some(held)) => held,
        Ok(None) => return visit.refuse(&Refusal::new(Problem::NotHeld)),
        Err(error) => {
            tracing::error!(event = "store_failed", %error, "a kept request cannot be shown");
            return visit.refuse(&Refusal::new(Problem::Undecided));
        }
    };
    if held.record.principal_id != session.principal().id || *held.request.host != *visit.host {
        return visit.refuse(&Refusal::new(Problem::Forbidden));
    }
    let form = desk.guard.issue(&visit, [DISCARD]);
    let [code] = &form.codes;
    let request = &held.request;
    let page = ContinuePage {
        t: Texts::of(visit.language),
        f: FactorTexts::of(visit.language),
        method: &request.method,
        path: request.target.split('?').next().unwrap_or_default(),
        address: &held::address(&request.target, &held.record.id),
        hold: &held.record.id,
        code,
    };
    let mut response = render(StatusCode::OK, &page);
    if let Some(cookie) = &form.fresh_cookie {
        add_cookie(response.headers_mut(), &desk.cookies.set_form(cookie));
    }
    response
}

/// Forgets what was kept, because the person does not want it sent any more.
pub(super) async fn discard(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Result<Form<Keeping>, FormRejection>,
) -> Response {
    let Form(fields) = fields.unwrap_or_default();
    let Some(session) = &visit.session else { return to_sign_in(&visit, "%2F") };
    if desk.guard.verify(&visit, DISCARD, &fields.code).is_none() {
        desk.note(&visit, EventKind::CsrfRefused);
        return visit.refuse(&Refusal::new(Problem::CrossSite));
    }
    let cookie = visit.cookies.hold.as_deref().unwrap_or_default();
    let holds = &desk.services.holds;
    if let Ok(Some(held)) = holds.find(&fields.hold, cookie).await
        && held.record.principal_id == session.principal().id
        && let Err(error) = holds.take(&held.record.id).await
    {
        tracing::error!(event = "store_write_failed", %error, "a request is kept until its time");
    }
    Redirect::to("/").into_response()
}

/// What a program sends to approve.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Approval {
    way: String,
    code: String,
}

pub(super) async fn api_asked(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    Path(id): Path<String>,
) -> Response {
    let Some(session) = &visit.session else {
        return visit.refuse(&Refusal::new(Problem::SessionRequired));
    };
    match desk.services.approvals.asked(session, &id).await {
        Ok(asked) => answer(&tell(&asked)),
        Err(error) => visit.refuse(&Refusal::new(problem_of(&error))),
    }
}

pub(super) async fn api_approve(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    Path(id): Path<String>,
    body: Result<Json<Approval>, JsonRejection>,
) -> Response {
    let Some(session) = &visit.session else {
        return visit.refuse(&Refusal::new(Problem::SessionRequired));
    };
    let Approval { way, code } = match read(body) {
        Ok(body) => body,
        Err(problem) => return visit.refuse(&Refusal::new(problem)),
    };
    match approve(&desk, &visit, session, &id, &way, Secret::new(code)).await {
        Ok(stepped) => approved(&desk, &stepped),
        Err(problem) => visit.refuse(&Refusal::new(problem)),
    }
}

/// The session as it is now, and where what was kept goes on.
pub(super) fn approved(desk: &Desk, stepped: &SteppedUp) -> Response {
    let mut document = describe(desk, &stepped.session);
    if let (Some(kept), Some(members)) = (&stepped.demanded.held, document.as_object_mut()) {
        let place = held::address(&stepped.demanded.target, kept);
        members.insert("continue_url".into(), place.into());
    }
    let mut response = answer(&document);
    add_cookie(response.headers_mut(), &desk.cookies.set_session(stepped.token.expose()));
    response
}

fn tell(asked: &Asked) -> Value {
    let demanded = &asked.challenge.state;
    let fields = demanded.fields.iter();
    let fields: Vec<_> =
        fields.map(|(name, value)| json!({"name": name, "value": value})).collect();
    json!({
        "challenge": asked.challenge.id,
        "method": demanded.method,
        "path": demanded.target,
        "label": demanded.label,
        "fields": fields,
        "once": demanded.digest.is_some(),
        "kept": demanded.held.is_some(),
        "ways": asked.ways,
        "expires_at": asked.challenge.expires.secs(),
    })
}

/// What a program sends to get a code by text message: nothing else.
pub(super) async fn api_send(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    Path(id): Path<String>,
) -> Response {
    let Some(session) = &visit.session else {
        return visit.refuse(&Refusal::new(Problem::SessionRequired));
    };
    let asking = (visit.language, visit.guesser(Solved::No));
    match desk.services.approvals.send_code(session, &id, asking).await {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => visit.refuse(&text_code::refusal(&error)),
    }
}

/// Whoever changes what guards their account proves first who they are, and comes back to `place`.
pub(super) async fn prove_first(
    desk: &Desk,
    visit: &Visit,
    session: &LiveSession,
    place: &str,
) -> Response {
    let demanded = Demanded::for_account(&visit.host, place);
    match desk.services.approvals.ask(session, demanded).await {
        Ok(asked) if visit.navigates => {
            Redirect::to(&format!("/.doorward/step-up?challenge={}", asked.id)).into_response()
        }
        Ok(asked) => {
            let mut refusal = Refusal::new(Problem::FreshnessRequired);
            let api = format!("/.doorward/api/v1/step-up/{}", asked.id);
            let page = format!("/.doorward/step-up?challenge={}", asked.id);
            refusal.members.push(("challenge", asked.id));
            refusal.members.push(("step_up_url", page));
            refusal.members.push(("step_up_api", api));
            visit.refuse(&refusal)
        }
        Err(error) => {
            tracing::error!(event = "store_failed", %error, "nobody can prove who they are");
            visit.refuse(&Refusal::new(Problem::Undecided))
        }
    }
}
