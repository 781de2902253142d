//! The page on which people change their own password.

use std::sync::Arc;

use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Redirect, Response};
use doorward_config::Secret;
use doorward_plugins::audit::EventKind;
use doorward_plugins::password_change::{ChangeError, NewPassword};
use doorward_plugins::{Problem, Refusal};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::refusal::add_fields;

use super::account::to_sign_in;
use super::captcha::{self, CaptchaPart};
use super::pages::{PasswordPage, render};
use super::sign_in::{give_device_cookie, refuse};
use super::step_up::prove_first;
use super::text::Texts;
use super::{Desk, Visit, add_cookie};

pub(super) const PURPOSE: &str = "password";
const PAGE: &str = "/.doorward/account/password";

/// What the form sends.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    current_password: String,
    new_password: String,
    /// Anything: the box is ticked.
    end_others: String,
    code: String,
    captcha: String,
    captcha_wait: String,
}

/// Why it was not changed.
pub(super) enum Unchanged {
    /// What every program can be told.
    Refused(Refusal),
    /// Where they prove first that it is them.
    Unproven(Box<Response>),
    /// What a person should know about the new password, in their language.
    Weak(String),
}

pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
) -> Response {
    let Some(session) = &visit.session else {
        return to_sign_in(&visit, "%2F.doorward%2Faccount%2Fpassword");
    };
    // Asked before anything is typed.
    match desk.services.password_change.may_change(session).await {
        Ok(true) => {}
        Ok(false) => return prove_first(&desk, &visit, session, PAGE).await,
        Err(error) => return visit.refuse(&refuse(&desk, &visit, PURPOSE, &error)),
    }
    show(&desk, &visit, &Fields { end_others: "on".into(), ..Fields::default() }, "", false)
}

pub(super) async fn submit(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Result<Form<Fields>, FormRejection>,
) -> Response {
    let Ok(Form(mut fields)) = fields else {
        return visit.refuse(&Refusal::new(Problem::BadRequest));
    };
    let password = NewPassword {
        current: Secret::new(std::mem::take(&mut fields.current_password)),
        new: Secret::new(std::mem::take(&mut fields.new_password)),
        end_others: !fields.end_others.is_empty(),
    };
    let t = Texts::of(visit.language);
    if desk.guard.verify(&visit, PURPOSE, &fields.code).is_none() {
        desk.note(&visit, EventKind::CsrfRefused);
        let mut response = show(&desk, &visit, &fields, t.form_expired, false);
        *response.status_mut() = StatusCode::FORBIDDEN;
        return response;
    }
    let solution =
        [&fields.captcha, &fields.captcha_wait].into_iter().find(|text| !text.is_empty());
    let mut headers = HeaderMap::new();
    let solution = solution.map_or("", String::as_str);
    match change(&desk, &visit, &password, solution, &mut headers).await {
        Ok(()) => {
            let mut response = Redirect::to("/.doorward/account?notice=password").into_response();
            response.headers_mut().extend(headers);
            response
        }
        Err(Unchanged::Unproven(response)) => *response,
        Err(Unchanged::Weak(why)) => {
            let mut response = show(&desk, &visit, &fields, &why, false);
            *response.status_mut() = Problem::WeakPassword.status();
            response
        }
        Err(Unchanged::Refused(refusal)) => {
            let too_soon = refusal.retry_after.map(|left| t.too_soon(left)).unwrap_or_default();
            let asked = refusal.problem == Problem::CaptchaRequired;
            let error = match refusal.problem {
                Problem::SignInFailed => t.wrong_password,
                Problem::SessionRequired => return visit.refuse(&refusal),
                Problem::CaptchaRequired if !too_soon.is_empty() => &too_soon,
                problem => t.not_looked_at(problem),
            };
            let mut response = show(&desk, &visit, &fields, error, asked);
            *response.status_mut() = refusal.problem.status();
            add_fields(&refusal, response.headers_mut());
            response
        }
    }
}

/// Changes the password of a visitor, for the page and the API alike; the browser's new cookie goes
/// into `headers`.
pub(super) async fn change(
    desk: &Desk,
    visit: &Visit,
    password: &NewPassword,
    solution: &str,
    headers: &mut HeaderMap,
) -> Result<(), Unchanged> {
    let session = visit.session.as_ref();
    let session = session.ok_or(Unchanged::Refused(Refusal::new(Problem::SessionRequired)))?;
    desk.services
        .rate_limits
        .sign_in(visit.address, &visit.request_id)
        .await
        .map_err(Unchanged::Refused)?;
    let solved =
        captcha::solved(desk, visit, PURPOSE, solution).await.map_err(Unchanged::Refused)?;
    let changed =
        desk.services.password_change.change(session, password, visit.guesser(solved)).await;
    match changed {
        Ok(cookie) => {
            give_device_cookie(desk, cookie.as_ref(), headers);
            Ok(())
        }
        Err(ChangeError::Weak(weakness)) => {
            Err(Unchanged::Weak(Texts::of(visit.language).weakness(&weakness)))
        }
        Err(ChangeError::Stale) => {
            Err(Unchanged::Unproven(Box::new(prove_first(desk, visit, session, PAGE).await)))
        }
        Err(ChangeError::Check(error)) => {
            Err(Unchanged::Refused(refuse(desk, visit, PURPOSE, &error)))
        }
    }
}

fn show(desk: &Desk, visit: &Visit, fields: &Fields, error: &str, asked: bool) -> Response {
    let form = desk.guard.issue(visit, [PURPOSE]);
    let [code] = &form.codes;
    let browser = form.fresh_cookie.as_deref().or(visit.cookies.form.as_deref());
    let asked = asked || !fields.captcha.is_empty();
    let held = &fields.captcha_wait;
    let captcha = asked.then(|| CaptchaPart::of(desk, visit, PURPOSE, browser, held)).flatten();
    let name = visit.session.as_ref().map(|session| session.principal().name.to_string());
    let page = PasswordPage {
        t: Texts::of(visit.language),
        name: &name.unwrap_or_default(),
        end_others: !fields.end_others.is_empty(),
        length_min: desk.services.config.accounts.password_length_min,
        code,
        error,
        captcha: captcha.as_ref(),
    };
    let mut response = render(StatusCode::OK, &page);
    if let Some(captcha) = &captcha {
        captcha.allow_in(&mut response);
    }
    if let Some(cookie) = &form.fresh_cookie {
        add_cookie(response.headers_mut(), &desk.cookies.set_form(cookie));
    }
    response
}
