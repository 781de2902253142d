//! The second step of a sign-in: the pages for it, and the same for programs.

use std::sync::Arc;

use axum::extract::rejection::{FormRejection, JsonRejection, QueryRejection};
use axum::extract::{Extension, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Form, Json};
use doorward_config::Secret;
use doorward_plugins::audit::EventKind;
use doorward_plugins::second_factor::Way;
use doorward_plugins::sign_in::{Origin, SecondStepError, SignedIn, Waiting};
use doorward_plugins::{Problem, Refusal};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::api::{describe, read};
use super::captcha::{Policy, Solved};
use super::pages::{BindPage, SecondStepPage, qr_code, render};
use super::sign_in::give_cookies;
use super::text::{AppealTexts, FactorTexts, Texts};
use super::text_code::{self, Told};
use super::webauthn::KeyPart;
use super::{Desk, Visit, add_cookie, json as answer, return_to};

const PURPOSE: &str = "second-step";
const BIND: &str = "bind-first";

/// What a link to the pages carries.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Link {
    return_to: String,
    way: String,
}

/// What the forms send.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    return_to: String,
    way: String,
    answer: String,
    code: String,
    name: String,
    first: String,
    second: String,
    /// Anything: a code is to be sent.
    send: String,
    /// Anything: the browser is not to be asked next time.
    trust: String,
}

/// Sends a browser to the second step.
pub(super) fn go_there(desk: &Desk, waiting: &Waiting, place: &str) -> Response {
    let page = if waiting.ways.is_empty() { "bind" } else { "verify" };
    let query = return_to::as_query(place);
    let mut response = Redirect::to(&format!("/.doorward/sign-in/{page}{query}")).into_response();
    remember(desk, waiting, response.headers_mut());
    response
}

/// Tells a program that there is a second step.
pub(super) fn ask_program(desk: &Desk, visit: &Visit, waiting: &Waiting) -> Response {
    let ways: Vec<_> = waiting.ways.iter().map(|way| way.as_str()).collect();
    let mut refusal = Refusal::new(Problem::SecondFactorRequired);
    refusal.members.push(("ways", ways.join(" ")));
    refusal.members.push(("second_factor_url", "/.doorward/sign-in/verify".into()));
    refusal.members.push(("second_factor_api", API.into()));
    let mut response = visit.refuse(&refusal);
    remember(desk, waiting, response.headers_mut());
    response
}

const API: &str = "/.doorward/api/v1/sign-in/second-factor";

fn remember(desk: &Desk, waiting: &Waiting, headers: &mut HeaderMap) {
    add_cookie(headers, &desk.cookies.set_pending(waiting.token.expose(), waiting.life));
}

pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    link: Result<Query<Link>, QueryRejection>,
) -> Response {
    let Query(link) = link.unwrap_or_default();
    show(&desk, &visit, (&link.return_to, &link.way), Told::default()).await
}

pub(super) async fn submit(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Result<Form<Fields>, FormRejection>,
) -> Response {
    let Ok(Form(fields)) = fields else {
        return visit.refuse(&Refusal::new(Problem::BadRequest));
    };
    let t = FactorTexts::of(visit.language);
    let place = (fields.return_to.as_str(), fields.way.as_str());
    if desk.guard.verify(&visit, PURPOSE, &fields.code).is_none() {
        desk.note(&visit, EventKind::CsrfRefused);
        let told = Told::error(t.form_expired, Problem::CrossSite);
        return show(&desk, &visit, place, told).await;
    }
    if !fields.send.is_empty() {
        let Some(token) = &visit.cookies.pending else {
            return begin_again(&desk, &visit, &fields.return_to);
        };
        let (language, guesser) = (visit.language, visit.guesser(Solved::No));
        let sent = desk.services.sign_in.send_code(token, language, guesser).await;
        let place = (fields.return_to.as_str(), Way::TextMessage.as_str());
        return show(&desk, &visit, place, text_code::told(&sent, t)).await;
    }
    let trusts = !fields.trust.is_empty();
    match complete(&desk, &visit, &fields.way, Secret::new(fields.answer), trusts).await {
        Ok(signed_in) => enter(&desk, &signed_in, &fields.return_to),
        Err(Problem::ChallengeOver) => begin_again(&desk, &visit, &fields.return_to),
        Err(problem) => {
            let error = match problem {
                Problem::WrongCode => t.wrong,
                Problem::Busy => t.busy,
                _ => t.unavailable,
            };
            show(&desk, &visit, place, Told::error(error, problem)).await
        }
    }
}

/// A session has begun: on to where the person wanted to go.
pub(super) fn enter(desk: &Desk, signed_in: &SignedIn, place: &str) -> Response {
    let mut response = Redirect::to(return_to::verify(place)).into_response();
    finish(desk, signed_in, response.headers_mut());
    response
}

/// What a browser keeps of it.
pub(super) fn finish(desk: &Desk, signed_in: &SignedIn, headers: &mut HeaderMap) {
    give_cookies(desk, signed_in, headers);
    add_cookie(headers, &desk.cookies.forget_pending());
}

/// There is nothing that could be completed.
fn begin_again(desk: &Desk, visit: &Visit, place: &str) -> Response {
    if !visit.navigates {
        return visit.refuse(&Refusal::new(Problem::ChallengeOver));
    }
    let query = return_to::as_query(place);
    let separator = if query.is_empty() { '?' } else { '&' };
    let page = format!("/.doorward/sign-in{query}{separator}notice=begin-again");
    let mut response = Redirect::to(&page).into_response();
    add_cookie(response.headers_mut(), &desk.cookies.forget_pending());
    response
}

async fn complete(
    desk: &Desk,
    visit: &Visit,
    way: &str,
    code: Secret,
    trusts: bool,
) -> Result<SignedIn, Problem> {
    let way = Way::parse(way).ok_or(Problem::WrongCode)?;
    let token = visit.cookies.pending.as_deref().ok_or(Problem::ChallengeOver)?;
    let sign_in = &desk.services.sign_in;
    let completed = sign_in.complete_by_code(token, (way, &code), (&visit.origin(), trusts)).await;
    completed.map_err(|error| problem_of(&error))
}

/// What a visitor is told whose second step led to nothing.
pub(super) fn problem_of(error: &SecondStepError) -> Problem {
    match error {
        SecondStepError::CannotBind => Problem::Forbidden,
        SecondStepError::Busy => Problem::Busy,
        SecondStepError::Over => Problem::ChallengeOver,
        SecondStepError::Wrong => Problem::WrongCode,
        SecondStepError::Store(error) => {
            tracing::error!(event = "store_failed", %error, "no sign-in can be completed");
            Problem::Undecided
        }
    }
}

async fn show(desk: &Desk, visit: &Visit, (place, way): (&str, &str), told: Told) -> Response {
    let Some(token) = &visit.cookies.pending else { return begin_again(desk, visit, place) };
    let (_, record) = match desk.services.sign_in.waiting(token).await {
        Ok(found) => found,
        Err(SecondStepError::Over) => return begin_again(desk, visit, place),
        Err(error) => return visit.refuse(&Refusal::new(problem_of(&error))),
    };
    let ways = match desk.services.second.ways(&record).await {
        Ok(ways) => ways,
        Err(error) => return visit.refuse(&Refusal::new(problem_of(&error.into()))),
    };
    if ways.is_empty() {
        return Redirect::to(&format!("/.doorward/sign-in/bind{}", return_to::as_query(place)))
            .into_response();
    }
    let wanted = Way::parse(way).filter(|way| ways.contains(way));
    let way = wanted.or(ways.first().copied());
    let key = match way {
        Some(Way::Webauthn) => match desk.services.sign_in.ask_for_key(token).await {
            Ok(asked) => Some(KeyPart::from(asked)),
            Err(error) => return visit.refuse(&Refusal::new(problem_of(&error))),
        },
        _ => None,
    };
    let form = desk.guard.issue(visit, [PURPOSE]);
    let [code] = &form.codes;
    let others: Vec<_> = ways.iter().filter(|other| Some(**other) != way).collect();
    let place = return_to::verify(place);
    let page = SecondStepPage {
        t: Texts::of(visit.language),
        f: FactorTexts::of(visit.language),
        a: AppealTexts::of(visit.language),
        appeals: desk.services.config.appeal.enabled,
        error: &told.error,
        notice: &told.notice,
        code,
        name: &record.name.to_string(),
        way,
        key: key.as_ref(),
        others: &others,
        query: &format!("&return_to={}", return_to::encode(place)),
        return_to: place,
        trust_days: desk.services.config.second_factor.trust_device_for.as_secs() / 86_400,
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

pub(super) async fn bind_page(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    link: Result<Query<Link>, QueryRejection>,
) -> Response {
    let Query(link) = link.unwrap_or_default();
    show_binding(&desk, &visit, (&link.return_to, ""), ("", StatusCode::OK)).await
}

pub(super) async fn bind(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Result<Form<Fields>, FormRejection>,
) -> Response {
    let Ok(Form(fields)) = fields else {
        return visit.refuse(&Refusal::new(Problem::BadRequest));
    };
    let t = FactorTexts::of(visit.language);
    let typed = (fields.return_to.as_str(), fields.name.as_str());
    if desk.guard.verify(&visit, BIND, &fields.code).is_none() {
        desk.note(&visit, EventKind::CsrfRefused);
        return show_binding(&desk, &visit, typed, (t.form_expired, StatusCode::FORBIDDEN)).await;
    }
    let Some(token) = &visit.cookies.pending else {
        return begin_again(&desk, &visit, &fields.return_to);
    };
    let codes = [fields.first.as_str(), fields.second.as_str()];
    let sign_in = &desk.services.sign_in;
    let name = FactorTexts::named(&fields.name, t.app);
    let bound = sign_in.complete_by_binding(token, (name, codes), &visit.origin()).await;
    match bound {
        Ok(signed_in) => enter(&desk, &signed_in, &fields.return_to),
        Err(SecondStepError::Over) => begin_again(&desk, &visit, &fields.return_to),
        Err(error) => {
            let problem = problem_of(&error);
            let told = if problem == Problem::WrongCode { t.bind_wrong } else { t.unavailable };
            show_binding(&desk, &visit, typed, (told, problem.status())).await
        }
    }
}

async fn show_binding(
    desk: &Desk,
    visit: &Visit,
    (place, name): (&str, &str),
    (error, status): (&str, StatusCode),
) -> Response {
    let Some(token) = &visit.cookies.pending else { return begin_again(desk, visit, place) };
    let bind = match desk.services.sign_in.bind_first(token).await {
        Ok(bind) => bind,
        Err(SecondStepError::Over) => return begin_again(desk, visit, place),
        Err(error) => return visit.refuse(&Refusal::new(problem_of(&error))),
    };
    let form = desk.guard.issue(visit, [BIND]);
    let [code] = &form.codes;
    let address = bind.seed.address(&desk.issuer(), &bind.record.name.to_string());
    let f = FactorTexts::of(visit.language);
    let page = BindPage {
        t: Texts::of(visit.language),
        f,
        hint: f.bind_first_hint,
        action: "/.doorward/sign-in/bind",
        error,
        code,
        challenge: "",
        qr: &qr_code(&address),
        key: &bind.seed.text(),
        name,
        return_to: return_to::verify(place),
    };
    let mut response = render(status, &page);
    if let Some(cookie) = &form.fresh_cookie {
        add_cookie(response.headers_mut(), &desk.cookies.set_form(cookie));
    }
    response
}

/// What a program sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    way: String,
    code: String,
    /// Do not ask this browser next time.
    #[serde(default)]
    trust: bool,
}

pub(super) async fn api(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    body: Result<Json<Answer>, JsonRejection>,
) -> Response {
    let Answer { way, code, trust } = match read(body) {
        Ok(body) => body,
        Err(problem) => return visit.refuse(&Refusal::new(problem)),
    };
    match complete(&desk, &visit, &way, Secret::new(code), trust).await {
        Ok(signed_in) => {
            let mut response = answer(&describe(&desk, &signed_in.session));
            finish(&desk, &signed_in, response.headers_mut());
            response
        }
        Err(problem) => visit.refuse(&Refusal::new(problem)),
    }
}

impl Visit {
    /// Where a sign-in in this visit comes from.
    pub(super) fn origin(&self) -> Origin<'_> {
        Origin {
            scope: &self.scope,
            device: &self.device,
            session: self.session.as_deref(),
            guesser: self.guesser(Solved::No),
        }
    }
}

/// What a program sends to get a code by text message: nothing else.
pub(super) async fn api_send(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
) -> Response {
    let Some(token) = &visit.cookies.pending else {
        return visit.refuse(&Refusal::new(Problem::ChallengeOver));
    };
    let guesser = visit.guesser(Solved::No);
    match desk.services.sign_in.send_code(token, visit.language, guesser).await {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => visit.refuse(&text_code::refusal(&error)),
    }
}
