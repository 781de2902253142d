//! The page on which people bind a hardware token, or have the clock of one followed.

use std::sync::Arc;

use axum::Form;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Extension, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use doorward_plugins::audit::EventKind;
use doorward_plugins::factor_change::FactorChangeError;
use doorward_plugins::{Problem, Refusal};
use serde::Deserialize;

use super::account::to_sign_in;
use super::authenticators::{PAGE, problem_of};
use super::captcha::Solved;
use super::pages::{BindTokenPage, render};
use super::step_up::prove_first;
use super::text::{FactorTexts, Texts};
use super::text_code::Told;
use super::{Desk, Visit, add_cookie, return_to};

const PURPOSE: &str = "token";

/// What a link to the page carries, and its form sends.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    code: String,
    /// The token whose clock is to be followed; empty: one is to be bound.
    id: String,
    serial: String,
    first: String,
    second: String,
}

pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    link: Result<Query<Fields>, QueryRejection>,
) -> Response {
    let Query(fields) = link.unwrap_or_default();
    let Some(session) = &visit.session else { return to_sign_in(&visit, &return_to::encode(PAGE)) };
    match desk.services.factor_change.fresh(session).await {
        Ok(_) => show(&desk, &visit, &fields, &Told::default()),
        Err(FactorChangeError::Stale) => prove_first(&desk, &visit, session, PAGE).await,
        Err(error) => visit.refuse(&Refusal::new(problem_of(&error))),
    }
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
    if desk.guard.verify(&visit, PURPOSE, &fields.code).is_none() {
        desk.note(&visit, EventKind::CsrfRefused);
        return visit.refuse(&Refusal::new(Problem::CrossSite));
    }
    let (change, guesser) = (&desk.services.factor_change, visit.guesser(Solved::No));
    let codes = [fields.first.as_str(), fields.second.as_str()];
    let (done, notice) = match fields.id.as_str() {
        "" => {
            let named = (fields.serial.as_str(), "");
            (change.bind_token(session, named, codes, guesser).await.map(drop), "bound")
        }
        id => (change.resynchronise(session, (id, codes), guesser).await, "resynced"),
    };
    let f = FactorTexts::of(visit.language);
    match done {
        Ok(()) => Redirect::to(&format!("{PAGE}?notice={notice}")).into_response(),
        Err(FactorChangeError::Stale) => prove_first(&desk, &visit, session, PAGE).await,
        Err(error @ (FactorChangeError::Wrong | FactorChangeError::Full)) => {
            let text = match error {
                FactorChangeError::Full => f.full,
                _ if fields.id.is_empty() => f.token_wrong,
                _ => f.bind_wrong,
            };
            show(&desk, &visit, &fields, &Told::error(text, problem_of(&error)))
        }
        Err(error) => visit.refuse(&Refusal::new(problem_of(&error))),
    }
}

fn show(desk: &Desk, visit: &Visit, fields: &Fields, told: &Told) -> Response {
    let form = desk.guard.issue(visit, [PURPOSE]);
    let [code] = &form.codes;
    let f = FactorTexts::of(visit.language);
    let page = BindTokenPage {
        t: Texts::of(visit.language),
        f,
        title: if fields.id.is_empty() { f.bind_token } else { f.resync },
        error: &told.error,
        code,
        id: &fields.id,
        serial: &fields.serial,
    };
    let mut response = render(told.status, &page);
    if let Some(cookie) = &form.fresh_cookie {
        add_cookie(response.headers_mut(), &desk.cookies.set_form(cookie));
    }
    response
}
