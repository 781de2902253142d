//! The sign-in page: both forms, and what comes of them.

use std::sync::Arc;
use std::time::Duration;

use axum::Form;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Extension, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use doorward_config::Secret;
use doorward_plugins::audit::EventKind;
use doorward_plugins::sign_in::{Credentials, Entered, Origin, SignInError, SignedIn};
use doorward_plugins::{Problem, Refusal};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::refusal::add_fields;

use super::captcha::{self, CaptchaPart, Solved};
use super::pages::{SignInPage, render};
use super::second_step;
use super::text::{FactorTexts, RecoverTexts, Texts};
use super::{Desk, Visit, add_cookie, return_to, webauthn};

pub(super) const PURPOSE: &str = "sign-in";
/// Where somebody goes on whose request is kept.
const CONTINUE: &str = "/.doorward/continue?";

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
    /// The solution of the captcha; what the widgets of providers call it besides.
    captcha: String,
    #[serde(rename = "h-captcha-response")]
    h_captcha: String,
    #[serde(rename = "g-recaptcha-response")]
    g_recaptcha: String,
    /// The ticket of a browser that cannot solve one. Every page that asks has it.
    captcha_wait: String,
}

impl Fields {
    /// What solves the captcha, if anything.
    fn solution(&self) -> &str {
        let fields = [&self.captcha, &self.h_captcha, &self.g_recaptcha, &self.captcha_wait];
        fields.into_iter().find(|field| !field.is_empty()).map_or("", |field| field)
    }
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
    let notice = match link.notice.as_str() {
        "signed-out" => t.signed_out,
        "recovered" => RecoverTexts::of(visit.language).done,
        "begin-again" => FactorTexts::of(visit.language).begin_again,
        _ if link.return_to.starts_with(CONTINUE) => FactorTexts::of(visit.language).go_on_later,
        _ => "",
    };
    let fields = Fields { return_to: link.return_to, form: link.form, ..Fields::default() };
    show(&desk, &visit, &fields, StatusCode::OK, Told { notice, ..Told::default() })
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
    let Some(shown) = desk.guard.verify(&visit, PURPOSE, &fields.code) else {
        desk.note(&visit, EventKind::CsrfRefused);
        return show(&desk, &visit, &fields, StatusCode::FORBIDDEN, Told::error(t.form_expired));
    };
    let credentials = Credentials {
        account: fields.account.clone(),
        sub_user: fields.sub_user.clone(),
        password,
    };
    let admitted = desk.services.rate_limits.sign_in(visit.address, &visit.request_id).await;
    let result = match admitted {
        Ok(()) => attempt(&desk, &visit, &credentials, fields.solution()).await,
        Err(refusal) => Err(refusal),
    };
    match result {
        Ok(Entered::Waits(waiting)) => second_step::go_there(&desk, &waiting, &fields.return_to),
        Ok(Entered::SignedIn(signed_in)) => {
            // 303: the browser must not send the password again.
            let mut response = Redirect::to(return_to::verify(&fields.return_to)).into_response();
            give_cookies(&desk, &signed_in, response.headers_mut());
            response
        }
        Err(refusal) => {
            if refusal.problem == Problem::SignInFailed {
                desk.services.captcha.note_haste(visit.address, visit.now.since(shown));
            }
            let too_soon = refusal.retry_after.map(|left| t.too_soon(left)).unwrap_or_default();
            let error = match refusal.problem {
                Problem::SignInFailed => t.rejected,
                Problem::CaptchaRequired if refusal.retry_after.is_some() => &too_soon,
                problem => t.not_looked_at(problem),
            };
            let told =
                Told { captcha: refusal.problem == Problem::CaptchaRequired, ..Told::error(error) };
            let mut response = show(&desk, &visit, &fields, refusal.problem.status(), told);
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
    solution: &str,
) -> Result<Entered, Refusal> {
    // Nobody's solution is used up for a password that cannot be verified now.
    if desk.services.sign_in.is_full() {
        return Err(Refusal::new(Problem::Busy));
    }
    // Then, before anything else: what is wrong with the captcha is told without touching the password.
    let solved = captcha::solved(desk, visit, PURPOSE, solution).await?;
    if solved == Solved::No && desk.services.captcha.is_always_asked(PURPOSE) {
        return Err(captcha::required(PURPOSE));
    }
    let origin = Origin {
        scope: &visit.scope,
        device: &visit.device,
        session: visit.session.as_deref(),
        guesser: visit.guesser(solved),
    };
    let attempted = desk.services.sign_in.attempt(credentials, origin).await;
    attempted.map_err(|error| refuse(desk, visit, PURPOSE, &error))
}

/// What a visitor is told whose password was not accepted.
pub(super) fn refuse(desk: &Desk, visit: &Visit, purpose: &str, error: &SignInError) -> Refusal {
    match error {
        SignInError::Reject => {
            desk.services.captcha.note_failure(visit.address);
            Refusal::new(Problem::SignInFailed)
        }
        SignInError::Captcha => captcha::required(purpose),
        SignInError::Suspect(after) => Refusal::after(Problem::TooManyRequests, *after),
        SignInError::Busy => Refusal::new(Problem::Busy),
        SignInError::Unavailable(_) => Refusal::new(Problem::Undecided),
    }
}

/// What a browser keeps of a sign-in.
pub(super) fn give_cookies(desk: &Desk, signed_in: &SignedIn, headers: &mut HeaderMap) {
    add_cookie(headers, &desk.cookies.set_session(signed_in.token.expose()));
    give_device_cookie(desk, signed_in.device_cookie.as_ref(), headers);
}

/// What a browser is known by from now on, if it is to be known.
pub(super) fn give_device_cookie(
    desk: &Desk,
    cookie: Option<&(String, Duration)>,
    headers: &mut HeaderMap,
) {
    if let Some((value, life)) = cookie {
        add_cookie(headers, &desk.cookies.set_device(value, *life));
    }
}

/// What the page tells, besides the form.
#[derive(Clone, Copy, Default)]
struct Told<'a> {
    notice: &'a str,
    error: &'a str,
    /// A captcha is demanded.
    captcha: bool,
}

impl<'a> Told<'a> {
    fn error(error: &'a str) -> Self {
        Self { error, ..Self::default() }
    }
}

fn show(
    desk: &Desk,
    visit: &Visit,
    fields: &Fields,
    status: StatusCode,
    told: Told<'_>,
) -> Response {
    let form = desk.guard.issue(visit, [PURPOSE]);
    let [code] = &form.codes;
    // A page that asked for it goes on asking, so that nobody has to type a password once more.
    let asked = told.captcha
        || !fields.solution().is_empty()
        || desk.services.captcha.is_always_asked(PURPOSE);
    let browser = form.fresh_cookie.as_deref().or(visit.cookies.form.as_deref());
    let held = &fields.captcha_wait;
    let captcha = asked.then(|| CaptchaPart::of(desk, visit, PURPOSE, browser, held)).flatten();
    let place = return_to::verify(&fields.return_to);
    let page = SignInPage {
        t: Texts::of(visit.language),
        forgotten: RecoverTexts::of(visit.language).forgotten,
        sub_user_form: fields.form == "sub-user",
        account: &fields.account,
        sub_user: &fields.sub_user,
        return_to: place,
        query: &format!("&return_to={}", return_to::encode(place)),
        code,
        notice: told.notice,
        error: told.error,
        captcha: captcha.as_ref(),
        passkeys: webauthn::passkeys(desk).is_ok(),
    };
    let mut response = render(status, &page);
    if page.passkeys {
        response.extensions_mut().insert(captcha::Policy::keys());
    }
    if let Some(captcha) = &captcha {
        captcha.allow_in(&mut response);
    }
    if let Some(cookie) = &form.fresh_cookie {
        add_cookie(response.headers_mut(), &desk.cookies.set_form(cookie));
    }
    response
}
