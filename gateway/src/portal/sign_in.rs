//! The sign-in page: both forms, and what comes of them.

use std::sync::Arc;

use axum::Form;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Extension, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use doorward_config::Secret;
use doorward_plugins::audit::EventKind;
use doorward_plugins::sign_in::{Credentials, Origin, SignInError, SignedIn};
use doorward_plugins::{Problem, Refusal};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::refusal::add_fields;

use super::pages::{SignInPage, render};
use super::text::Texts;
use super::{Desk, Visit, add_cookie, return_to};

const PURPOSE: &str = "sign-in";

/// What a link to the page may carry.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Link {
    return_to: String,
    /// `sub-user` for the sub-users' form.
    form: String,
    /// `signed-out` after a sign-out.
    notice: String,
}

/// What the form sends.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    account: String,
    sub_user: String,
    password: String,
    return_to: String,
    /// Which form it was.
    form: String,
    code: String,
}

pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    link: Result<Query<Link>, QueryRejection>,
) -> Response {
    let Query(link) = link.unwrap_or_default();
    if visit.session.is_some() {
        return Redirect::to(return_to::verify(&link.return_to)).into_response();
    }
    let t = Texts::of(visit.language);
    let notice = if link.notice == "signed-out" { t.signed_out } else { "" };
    let fields = Fields { return_to: link.return_to, form: link.form, ..Fields::default() };
    show(&desk, &visit, &fields, StatusCode::OK, notice, "")
}

pub(super) async fn submit(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Result<Form<Fields>, FormRejection>,
) -> Response {
    let Ok(Form(mut fields)) = fields else {
        return visit.refuse(&Refusal::new(Problem::BadRequest));
    };
    let t = Texts::of(visit.language);
    let password = Secret::new(std::mem::take(&mut fields.password));
    if !desk.guard.verify(&visit, PURPOSE, &fields.code) {
        desk.note(&visit, EventKind::CsrfRefused);
        return show(&desk, &visit, &fields, StatusCode::FORBIDDEN, "", t.form_expired);
    }
    let credentials = Credentials {
        account: fields.account.clone(),
        sub_user: fields.sub_user.clone(),
        password,
    };
    let admitted = desk.services.rate_limits.sign_in(visit.address, &visit.request_id);
    let result = match admitted {
        Ok(()) => attempt(&desk, &visit, &credentials).await,
        Err(refusal) => Err(refusal),
    };
    match result {
        Ok(signed_in) => {
            // 303: the browser must not send the password again.
            let mut response = Redirect::to(return_to::verify(&fields.return_to)).into_response();
            give_cookies(&desk, &signed_in, response.headers_mut());
            response
        }
        Err(refusal) => {
            let error = match refusal.problem {
                Problem::SignInFailed => t.rejected,
                Problem::Busy => t.busy,
                Problem::TooManyRequests => t.too_often,
                _ => t.unavailable,
            };
            let mut response = show(&desk, &visit, &fields, refusal.problem.status(), "", error);
            add_fields(&refusal, response.headers_mut());
            response
        }
    }
}

/// Signs in, for the page and the API alike.
pub(super) async fn attempt(
    desk: &Desk,
    visit: &Visit,
    credentials: &Credentials,
) -> Result<SignedIn, Refusal> {
    let origin = Origin {
        scope: &visit.scope,
        device: &visit.device,
        address: visit.address.to_string(),
        session: visit.session.as_deref(),
        device_cookie: visit.cookies.device.as_deref(),
        captcha_solved: true,
        request_id: &visit.request_id,
    };
    desk.services.sign_in.attempt(credentials, origin).await.map_err(|error| match error {
        SignInError::Reject | SignInError::Captcha => Refusal::new(Problem::SignInFailed),
        SignInError::Busy => Refusal::new(Problem::Busy),
        SignInError::Unavailable(_) => Refusal::new(Problem::Undecided),
    })
}

/// What a browser keeps of a sign-in.
pub(super) fn give_cookies(desk: &Desk, signed_in: &SignedIn, headers: &mut HeaderMap) {
    add_cookie(headers, &desk.cookies.set_session(signed_in.token.expose()));
    if let Some((value, life)) = &signed_in.device_cookie {
        add_cookie(headers, &desk.cookies.set_device(value, *life));
    }
}

fn show(
    desk: &Desk,
    visit: &Visit,
    fields: &Fields,
    status: StatusCode,
    notice: &str,
    error: &str,
) -> Response {
    let form = desk.guard.issue(visit, [PURPOSE]);
    let [code] = &form.codes;
    let place = return_to::verify(&fields.return_to);
    let page = SignInPage {
        t: Texts::of(visit.language),
        sub_user_form: fields.form == "sub-user",
        account: &fields.account,
        sub_user: &fields.sub_user,
        return_to: place,
        query: &format!("&return_to={}", return_to::encode(place)),
        code,
        notice,
        error,
    };
    let mut response = render(status, &page);
    if let Some(cookie) = &form.fresh_cookie {
        add_cookie(response.headers_mut(), &desk.cookies.set_form(cookie));
    }
    response
}
