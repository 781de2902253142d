//! The pages on which people say what they are called, and look at their recent sign-ins; and the
//! same for programs.

use std::sync::Arc;

use axum::extract::rejection::{FormRejection, JsonRejection, QueryRejection};
use axum::extract::{Extension, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Form, Json};
use doorward_plugins::account::PrincipalRecord;
use doorward_plugins::account_centre::CentreError;
use doorward_plugins::risk::PastSignIn;
use doorward_plugins::session::LiveSession;
use doorward_plugins::{Problem, Refusal};
use serde::Deserialize;
use serde_json::{Value, json};

use super::account::to_sign_in;
use super::api::read;
use super::captcha::Solved;
use super::form::{own_form, show};
use super::language::Language;
use super::pages::{ProfilePage, SignInRow, SignInsPage, minute, render};
use super::text::{CentreTexts, Texts};
use super::text_code::Told;
use super::{Desk, Visit, add_cookie, json as answer};

const PURPOSE: &str = "profile";
const PLACE: &str = "%2F.doorward%2Faccount%2Fprofile";

/// How many sign-ins are shown.
const SHOWN_MAX: u32 = 50;

/// What a link to the page may carry.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Link {
    /// `saved`.
    notice: String,
}

/// What the form sends.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    code: String,
    display_name: String,
    language: String,
}

/// What a visitor is told for whom nothing was changed.
pub(super) fn refusal(error: &CentreError) -> Refusal {
    Refusal::new(match error {
        CentreError::NotYours => Problem::Forbidden,
        CentreError::Refused(_) => Problem::BadRequest,
        CentreError::Stale => Problem::FreshnessRequired,
        CentreError::Unknown => Problem::NotFound,
        CentreError::Store(error) => {
            tracing::error!(event = "store_failed", %error, "an account cannot be shown or changed");
            Problem::Undecided
        }
    })
}

pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    link: Result<Query<Link>, QueryRejection>,
) -> Response {
    let Some(session) = &visit.session else { return to_sign_in(&visit, PLACE) };
    let Query(link) = link.unwrap_or_default();
    let record = match desk.services.account_centre.person(session).await {
        Ok(record) => record,
        Err(error) => return visit.refuse(&refusal(&error)),
    };
    let saved = CentreTexts::of(visit.language).saved;
    let notice = if link.notice == "saved" { saved.to_owned() } else { String::new() };
    let name = record.display_name.as_deref().unwrap_or_default();
    // What is not said yet is what the page is in.
    let language = record.language.as_deref().unwrap_or(visit.language.code());
    show_form(&desk, &visit, (name, language), &Told { notice, ..Told::default() })
}

fn show_form(
    desk: &Desk,
    visit: &Visit,
    (display_name, language): (&str, &str),
    told: &Told,
) -> Response {
    let form = desk.guard.issue(visit, [PURPOSE]);
    let [code] = &form.codes;
    let page = ProfilePage {
        t: Texts::of(visit.language),
        c: CentreTexts::of(visit.language),
        notice: &told.notice,
        error: &told.error,
        code,
        display_name,
        language,
    };
    show(desk, (told.status, &page), &form)
}

pub(super) async fn submit(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Result<Form<Fields>, FormRejection>,
) -> Response {
    let (session, fields) =
        match own_form((&desk, &visit), (PURPOSE, PLACE), fields, |fields| &fields.code) {
            Ok(form) => form,
            Err(response) => return *response,
        };
    let language = Language::of_tag(&fields.language);
    let name = Some(fields.display_name.clone());
    match save(&desk, &visit, session, (name, language)).await {
        Ok(_) => {
            let page = "/.doorward/account/profile?notice=saved";
            let mut response = Redirect::to(page).into_response();
            if let Some(language) = language {
                let cookie = desk.cookies.set_language(language.code());
                add_cookie(response.headers_mut(), &cookie);
            }
            response
        }
        Err(CentreError::Refused(_)) => {
            let c = CentreTexts::of(visit.language);
            let told = Told::error(c.not_a_name, Problem::BadRequest);
            show_form(&desk, &visit, (&fields.display_name, &fields.language), &told)
        }
        Err(error) => visit.refuse(&refusal(&error)),
    }
}

async fn save(
    desk: &Desk,
    visit: &Visit,
    session: &LiveSession,
    profile: (Option<String>, Option<Language>),
) -> Result<PrincipalRecord, CentreError> {
    desk.services.account_centre.set_profile(session, profile, visit.guesser(Solved::No)).await
}

/// The sign-ins of the person of this session, latest first.
async fn recent(desk: &Desk, session: &LiveSession) -> Result<Vec<PastSignIn>, CentreError> {
    Ok(desk.services.risk.recent(&session.principal().id, SHOWN_MAX).await?)
}

pub(super) async fn sign_ins(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
) -> Response {
    let Some(session) = &visit.session else {
        return to_sign_in(&visit, "%2F.doorward%2Faccount%2Fsign-ins");
    };
    let (t, c) = (Texts::of(visit.language), CentreTexts::of(visit.language));
    match recent(&desk, session).await {
        Ok(found) => {
            let rows: Vec<_> = found.into_iter().map(|one| row(one, c)).collect();
            render(http::StatusCode::OK, &SignInsPage { t, c, rows: &rows })
        }
        Err(error) => visit.refuse(&refusal(&error)),
    }
}

fn row(one: PastSignIn, c: &CentreTexts) -> SignInRow {
    let machine = one.at.rfc3339();
    let time = minute(one.at);
    let parts = [one.device, one.region, one.address];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    SignInRow { time, machine, place: parts.join(" · "), result: c.result(&one.result) }
}

pub(super) async fn api_sign_ins(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
) -> Response {
    let Some(session) = &visit.session else {
        return visit.refuse(&Refusal::new(Problem::SessionRequired));
    };
    match recent(&desk, session).await {
        Ok(found) => {
            let rows = found.iter().map(|one| {
                json!({
                    "at": one.at.secs(),
                    "address": one.address,
                    "region": one.region,
                    "device": one.device,
                    "result": one.result,
                })
            });
            answer(&json!({"sign_ins": rows.collect::<Vec<_>>()}))
        }
        Err(error) => visit.refuse(&refusal(&error)),
    }
}

fn describe(record: &PrincipalRecord) -> Value {
    json!({
        "account": record.name.account(),
        "sub_user": record.name.sub_user(),
        "display_name": record.display_name,
        "language": record.language,
    })
}

pub(super) async fn api_profile(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
) -> Response {
    let Some(session) = &visit.session else {
        return visit.refuse(&Refusal::new(Problem::SessionRequired));
    };
    match desk.services.account_centre.person(session).await {
        Ok(record) => answer(&describe(&record)),
        Err(error) => visit.refuse(&refusal(&error)),
    }
}

/// What a program sends to change a profile; what is left out stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    display_name: Option<String>,
    language: Option<String>,
}

pub(super) async fn api_set_profile(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    body: Result<Json<Profile>, JsonRejection>,
) -> Response {
    let Some(session) = &visit.session else {
        return visit.refuse(&Refusal::new(Problem::SessionRequired));
    };
    let Profile { display_name, language: tag } = match read(body) {
        Ok(body) => body,
        Err(problem) => return visit.refuse(&Refusal::new(problem)),
    };
    let language = tag.as_deref().map(Language::of_tag);
    if language == Some(None) {
        return visit.refuse(&Refusal::new(Problem::BadRequest));
    }
    match save(&desk, &visit, session, (display_name, language.flatten())).await {
        Ok(record) => answer(&describe(&record)),
        Err(error) => visit.refuse(&refusal(&error)),
    }
}
