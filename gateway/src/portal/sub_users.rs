//! The page on which the main principal of an account decides about it and its sub-users.

use std::sync::Arc;

use axum::Form;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Extension, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use doorward_plugins::Problem;
use doorward_plugins::account_centre::CentreError;
use doorward_plugins::session::LiveSession;
use serde::Deserialize;

use super::account::to_sign_in;
use super::captcha::Solved;
use super::form::{own_form, show as with_cookie};
use super::pages::{SubUserRow, SubUsersPage};
use super::profile::refusal;
use super::step_up::prove_first;
use super::text::{CentreTexts, Texts};
use super::text_code::Told;
use super::{Desk, Visit};

const PURPOSE: &str = "sub-users";
const PAGE: &str = "/.doorward/account/sub-users";
const PLACE: &str = "%2F.doorward%2Faccount%2Fsub-users";

/// What a link to the page may carry.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Link {
    /// `saved` or `reset`.
    notice: String,
}

/// What the forms send.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    code: String,
    id: String,
    hours: String,
    minutes: String,
}

pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    link: Result<Query<Link>, QueryRejection>,
) -> Response {
    let Some(session) = &visit.session else { return to_sign_in(&visit, PLACE) };
    let Query(link) = link.unwrap_or_default();
    let c = CentreTexts::of(visit.language);
    let notice = match link.notice.as_str() {
        "saved" => c.saved,
        "reset" => c.reset_done,
        _ => "",
    };
    let idle = session.principal().idle.unwrap_or(desk.services.config.session.idle).as_secs();
    let (hours, minutes) = ((idle / 3600).to_string(), (idle / 60 % 60).to_string());
    let told = Told { notice: notice.to_owned(), ..Told::default() };
    show(&desk, &visit, session, (&hours, &minutes), told).await
}

async fn show(
    desk: &Desk,
    visit: &Visit,
    session: &LiveSession,
    (hours, minutes): (&str, &str),
    told: Told,
) -> Response {
    let sub_users = match desk.services.account_centre.sub_users(session).await {
        Ok(sub_users) => sub_users,
        Err(error) => return visit.refuse(&refusal(&error)),
    };
    let rows = sub_users.into_iter().map(|one| SubUserRow {
        id: one.record.id,
        name: one.record.name.to_string(),
        factors: one.factors,
    });
    let form = desk.guard.issue(visit, [PURPOSE]);
    let [code] = &form.codes;
    let page = SubUsersPage {
        t: Texts::of(visit.language),
        c: CentreTexts::of(visit.language),
        notice: &told.notice,
        error: &told.error,
        code,
        hours,
        minutes,
        rows: &rows.collect::<Vec<_>>(),
    };
    with_cookie(desk, (told.status, &page), &form)
}

pub(super) async fn set_idle(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Result<Form<Fields>, FormRejection>,
) -> Response {
    let (session, fields) =
        match own_form((&desk, &visit), (PURPOSE, PLACE), fields, |fields| &fields.code) {
            Ok(form) => form,
            Err(response) => return *response,
        };
    // What is no number is refused like one that is too small: zero would be the configuration's.
    let number = |text: &str| text.trim().parse::<u32>().ok().map(u64::from);
    let secs = number(&fields.hours)
        .zip(number(&fields.minutes))
        .map_or(1, |(hours, minutes)| (hours * 60 + minutes) * 60);
    let guesser = visit.guesser(Solved::No);
    match desk.services.account_centre.set_idle(session, secs.max(1), guesser).await {
        Ok(()) => Redirect::to(&format!("{PAGE}?notice=saved")).into_response(),
        Err(CentreError::Refused(_)) => {
            let rules = &desk.services.config.session;
            let c = CentreTexts::of(visit.language);
            let text = c.idle_refused(rules.idle_min, rules.idle_max);
            let told = Told::error(&text, Problem::BadRequest);
            show(&desk, &visit, session, (&fields.hours, &fields.minutes), told).await
        }
        Err(error) => refuse(&desk, &visit, session, &error).await,
    }
}

pub(super) async fn reset_factors(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Result<Form<Fields>, FormRejection>,
) -> Response {
    let (session, fields) =
        match own_form((&desk, &visit), (PURPOSE, PLACE), fields, |fields| &fields.code) {
            Ok(form) => form,
            Err(response) => return *response,
        };
    let guesser = visit.guesser(Solved::No);
    match desk.services.account_centre.reset_factors(session, &fields.id, guesser).await {
        Ok(()) => Redirect::to(&format!("{PAGE}?notice=reset")).into_response(),
        Err(error) => refuse(&desk, &visit, session, &error).await,
    }
}

async fn refuse(
    desk: &Desk,
    visit: &Visit,
    session: &LiveSession,
    error: &CentreError,
) -> Response {
    match error {
        CentreError::Stale => prove_first(desk, visit, session, PAGE).await,
        error => visit.refuse(&refusal(error)),
    }
}
