//! The pages for who has forgotten a password, or the name of an account. They need no script.
//!
//! Every step is a form that carries what is under way: a ticket until a code has come back, then a
//! token. Both are worth something in the browser that they were made for, where forms have a cookie.
//!
//! - `api`: the same for programs. `names`: forgotten names. `pages`: what is shown.
//!
//! Not here: what is decided (`doorward_plugins::recovery`).

pub(super) mod api;
pub(super) mod names;
mod pages;

use std::sync::Arc;

use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Redirect, Response};
use doorward_config::Secret;
use doorward_plugins::account::address::AddressKind;
use doorward_plugins::audit::EventKind;
use doorward_plugins::recovery::{Open, RecoveryError, Shown};
use doorward_plugins::second_factor::Way;
use doorward_plugins::{Problem, Refusal};
use serde::Deserialize;

use super::captcha::{self, CaptchaPart, Policy, Solved};
use super::form::show as with_cookie;
use super::text::{FactorTexts, RecoverTexts, Texts};
use super::text_code::Told;
use super::webauthn::KeyPart;
use super::{Desk, Visit};
use crate::refusal::add_fields;
use pages::{BeginPage, ChannelPage, CodePage, FactorPage, NewPasswordPage};

pub(super) const PURPOSE: &str = "recover";

const VERIFY: &str = "/.doorward/recover/verify";

/// What the forms send.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    code: String,
    account: String,
    sub_user: String,
    address: String,
    ticket: String,
    channel: String,
    answer: String,
    recovery: String,
    way: String,
    /// Another way to give the second factor.
    other: String,
    /// Anything: a code is to be sent.
    send: String,
    new_password: String,
    captcha: String,
    #[serde(rename = "h-captcha-response")]
    h_captcha: String,
    #[serde(rename = "g-recaptcha-response")]
    g_recaptcha: String,
    captcha_wait: String,
}

impl Fields {
    /// What solves the captcha, if anything.
    fn solution(&self) -> &str {
        let fields = [&self.captcha, &self.h_captcha, &self.g_recaptcha, &self.captcha_wait];
        fields.into_iter().find(|field| !field.is_empty()).map_or("", |field| field)
    }
}

type Sent = Result<Form<Fields>, FormRejection>;

impl Visit {
    /// What the browser is known by; nothing for a program without cookies.
    fn browser(&self) -> &str {
        self.cookies.form.as_deref().unwrap_or_default()
    }
}

/// The fields of a form of these pages, or the answer to one that is not to be looked at.
fn form(desk: &Desk, visit: &Visit, fields: Sent) -> Result<Fields, Box<Response>> {
    let Ok(Form(fields)) = fields else {
        return Err(Box::new(visit.refuse(&Refusal::new(Problem::BadRequest))));
    };
    if desk.guard.verify(visit, PURPOSE, &fields.code).is_none() {
        desk.note(visit, EventKind::CsrfRefused);
        let told = Told::error(Texts::of(visit.language).form_expired, Problem::CrossSite);
        return Err(Box::new(show_begin(desk, visit, false, &fields, &told)));
    }
    Ok(fields)
}

/// Has this visitor solved a captcha, and not asked too often?
async fn admit(desk: &Desk, visit: &Visit, solution: &str) -> Result<(), Refusal> {
    desk.services.rate_limits.sign_in(visit.address, &visit.request_id).await?;
    match captcha::solved(desk, visit, PURPOSE, solution).await? {
        Solved::Yes => Ok(()),
        Solved::No => Err(captcha::required(PURPOSE)),
    }
}

fn refusal(error: &RecoveryError) -> Refusal {
    Refusal::new(match error {
        RecoveryError::Busy => Problem::Busy,
        RecoveryError::Over => Problem::ChallengeOver,
        RecoveryError::Malformed => Problem::BadRequest,
        RecoveryError::NoFactor => Problem::NoFactor,
        RecoveryError::SecondFactor => Problem::SecondFactorRequired,
        RecoveryError::TooOften(after) => {
            return Refusal::after(Problem::TooManyRequests, *after);
        }
        RecoveryError::Weak(_) => Problem::WeakPassword,
        RecoveryError::Wrong => Problem::WrongCode,
        RecoveryError::Store(error) => {
            tracing::error!(event = "store_failed", %error, "nothing can be recovered");
            Problem::Undecided
        }
    })
}

/// What a person is told of it.
fn told(visit: &Visit, error: &RecoveryError) -> Told {
    let (t, r, f) = (
        Texts::of(visit.language),
        RecoverTexts::of(visit.language),
        FactorTexts::of(visit.language),
    );
    let later;
    let weak;
    let text = match error {
        RecoveryError::Busy => f.busy,
        RecoveryError::Over | RecoveryError::SecondFactor => r.over,
        RecoveryError::Malformed => r.malformed,
        RecoveryError::NoFactor => r.no_factor,
        RecoveryError::TooOften(after) => {
            later = f.code_later(*after);
            &later
        }
        RecoveryError::Weak(weakness) => {
            weak = t.weakness(weakness);
            &weak
        }
        RecoveryError::Wrong => r.wrong,
        RecoveryError::Store(_) => f.unavailable,
    };
    Told::error(text, refusal(error).problem)
}

pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
) -> Response {
    show_begin(&desk, &visit, false, &Fields::default(), &Told::default())
}

fn show_begin(desk: &Desk, visit: &Visit, names: bool, fields: &Fields, told: &Told) -> Response {
    let form = desk.guard.issue(visit, [PURPOSE]);
    let [code] = &form.codes;
    let browser = form.fresh_cookie.as_deref().or(visit.cookies.form.as_deref());
    let captcha = CaptchaPart::of(desk, visit, PURPOSE, browser, &fields.captcha_wait);
    let page = BeginPage {
        t: Texts::of(visit.language),
        r: RecoverTexts::of(visit.language),
        names,
        offered: desk.services.recovery.is_offered(),
        error: &told.error,
        code,
        account: if names { &fields.address } else { &fields.account },
        sub_user: &fields.sub_user,
        captcha: captcha.as_ref(),
    };
    let mut response = with_cookie(desk, (told.status, &page), &form);
    if let Some(captcha) = &captcha {
        captcha.allow_in(&mut response);
    }
    response
}

/// The first page again, for who was not let through to what it asks for.
fn not_admitted(
    desk: &Desk,
    visit: &Visit,
    names: bool,
    fields: &Fields,
    refusal: &Refusal,
) -> Response {
    let r = RecoverTexts::of(visit.language);
    let soon = refusal.retry_after.map(|left| r.too_soon(left)).unwrap_or_default();
    let error = match refusal.problem {
        Problem::CaptchaRequired if soon.is_empty() => r.captcha,
        Problem::CaptchaRequired => &soon,
        problem => Texts::of(visit.language).not_looked_at(problem),
    };
    let mut response = show_begin(desk, visit, names, fields, &Told::error(error, refusal.problem));
    add_fields(refusal, response.headers_mut());
    response
}

/// A name was typed.
pub(super) async fn begin(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Sent,
) -> Response {
    let fields = match form(&desk, &visit, fields) {
        Ok(fields) => fields,
        Err(response) => return *response,
    };
    if let Err(refusal) = admit(&desk, &visit, fields.solution()).await {
        return not_admitted(&desk, &visit, false, &fields, &refusal);
    }
    let name = (fields.account.as_str(), fields.sub_user.as_str());
    let guesser = visit.guesser(Solved::Yes);
    match desk.services.recovery.begin(name, visit.browser(), guesser).await {
        Ok((ticket, shown)) => show_channels(&desk, &visit, (&ticket, &shown), &Told::default()),
        Err(error) => show_begin(&desk, &visit, false, &fields, &told(&visit, &error)),
    }
}

fn show_channels(
    desk: &Desk,
    visit: &Visit,
    (ticket, shown): (&str, &[Shown]),
    told: &Told,
) -> Response {
    let form = desk.guard.issue(visit, [PURPOSE]);
    let [code] = &form.codes;
    let page = ChannelPage {
        t: Texts::of(visit.language),
        r: RecoverTexts::of(visit.language),
        error: &told.error,
        code,
        ticket,
        shown,
    };
    with_cookie(desk, (told.status, &page), &form)
}

/// A channel was chosen.
pub(super) async fn send(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Sent,
) -> Response {
    let fields = match form(&desk, &visit, fields) {
        Ok(fields) => fields,
        Err(response) => return *response,
    };
    let Some(channel) = AddressKind::parse(&fields.channel) else {
        return visit.refuse(&Refusal::new(Problem::BadRequest));
    };
    let asking = (visit.language, visit.guesser(Solved::Yes));
    let ticket = (fields.ticket.as_str(), visit.browser());
    let title = RecoverTexts::of(visit.language).title;
    match desk.services.recovery.send(ticket, channel, asking).await {
        Ok(ticket) => {
            let sent = RecoverTexts::of(visit.language).sent.to_owned();
            let told = Told { notice: sent, ..Told::default() };
            show_code(&desk, &visit, (title, VERIFY), (&ticket, channel.as_str()), &told)
        }
        Err(error @ (RecoveryError::Busy | RecoveryError::TooOften(_))) => {
            let told = told(&visit, &error);
            let parts = (fields.ticket.as_str(), channel.as_str());
            show_code(&desk, &visit, (title, VERIFY), parts, &told)
        }
        Err(error) => show_begin(&desk, &visit, false, &Fields::default(), &told(&visit, &error)),
    }
}

fn show_code(
    desk: &Desk,
    visit: &Visit,
    (title, action): (&str, &str),
    (ticket, channel): (&str, &str),
    told: &Told,
) -> Response {
    let form = desk.guard.issue(visit, [PURPOSE]);
    let [code] = &form.codes;
    let page = CodePage {
        t: Texts::of(visit.language),
        r: RecoverTexts::of(visit.language),
        title,
        notice: &told.notice,
        error: &told.error,
        code,
        action,
        ticket,
        channel,
    };
    with_cookie(desk, (told.status, &page), &form)
}

/// A code was typed.
pub(super) async fn verify(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Sent,
) -> Response {
    let fields = match form(&desk, &visit, fields) {
        Ok(fields) => fields,
        Err(response) => return *response,
    };
    let ticket = (fields.ticket.as_str(), visit.browser());
    let code = Secret::new(fields.answer);
    let guesser = visit.guesser(Solved::Yes);
    match desk.services.recovery.verify(ticket, &code, guesser).await {
        Ok((token, open)) => show_next(&desk, &visit, &token, &open, ("", Told::default())).await,
        Err(error @ (RecoveryError::Wrong | RecoveryError::Busy)) => {
            let parts = (fields.ticket.as_str(), fields.channel.as_str());
            let title = RecoverTexts::of(visit.language).title;
            show_code(&desk, &visit, (title, VERIFY), parts, &told(&visit, &error))
        }
        Err(error) => show_begin(&desk, &visit, false, &Fields::default(), &told(&visit, &error)),
    }
}

/// The page for the second factor, where one is needed, or else for the new password.
async fn show_next(
    desk: &Desk,
    visit: &Visit,
    token: &str,
    open: &Open,
    (way, told): (&str, Told),
) -> Response {
    let form = desk.guard.issue(visit, [PURPOSE]);
    let [code] = &form.codes;
    let (t, r) = (Texts::of(visit.language), RecoverTexts::of(visit.language));
    if open.ways.is_empty() {
        let page = NewPasswordPage {
            t,
            r,
            error: &told.error,
            code,
            recovery: token,
            name: &open.record.name.to_string(),
            length_min: desk.services.config.accounts.password_length_min,
        };
        return with_cookie(desk, (told.status, &page), &form);
    }
    let wanted = Way::parse(way).filter(|way| open.ways.contains(way));
    let way = wanted.or(open.ways.first().copied());
    let key = match way {
        Some(Way::Webauthn) => match desk.services.recovery.ask_for_key(open).await {
            Ok(asked) => Some(KeyPart::from(asked)),
            Err(error) => return visit.refuse(&refusal(&error)),
        },
        _ => None,
    };
    let others: Vec<_> = open.ways.iter().filter(|other| Some(**other) != way).collect();
    let page = FactorPage {
        t,
        f: FactorTexts::of(visit.language),
        r,
        notice: &told.notice,
        error: &told.error,
        code,
        recovery: token,
        way,
        key: key.as_ref(),
        others: &others,
    };
    let mut response = with_cookie(desk, (told.status, &page), &form);
    if key.is_some() {
        response.extensions_mut().insert(Policy::keys());
    }
    response
}

/// A second factor was given, or asked for in another way.
pub(super) async fn factor(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Sent,
) -> Response {
    let fields = match form(&desk, &visit, fields) {
        Ok(fields) => fields,
        Err(response) => return *response,
    };
    let (recovery, token) = (&desk.services.recovery, fields.recovery.as_str());
    let anew = |error: &RecoveryError| {
        show_begin(&desk, &visit, false, &Fields::default(), &told(&visit, error))
    };
    let open = match recovery.open(token, visit.browser()).await {
        Ok(open) => open,
        Err(error) => return anew(&error),
    };
    let guesser = visit.guesser(Solved::Yes);
    if !fields.other.is_empty() {
        return show_next(&desk, &visit, token, &open, (&fields.other, Told::default())).await;
    }
    if !fields.send.is_empty() {
        let told = match recovery.send_second(&open, (visit.language, guesser)).await {
            Ok(life) => {
                let notice = FactorTexts::of(visit.language).code_sent(life);
                Told { notice, ..Told::default() }
            }
            Err(error) => told(&visit, &error),
        };
        let way = Way::TextMessage.as_str();
        return show_next(&desk, &visit, token, &open, (way, told)).await;
    }
    let Some(way) = Way::parse(&fields.way) else {
        return visit.refuse(&Refusal::new(Problem::BadRequest));
    };
    let answer = Secret::new(fields.answer);
    match recovery.prove(open, (way, &answer), (guesser, &visit.device)).await {
        Ok(open) => show_next(&desk, &visit, token, &open, ("", Told::default())).await,
        Err(error @ (RecoveryError::Wrong | RecoveryError::Busy)) => {
            let text = match error {
                RecoveryError::Wrong => FactorTexts::of(visit.language).wrong,
                _ => FactorTexts::of(visit.language).busy,
            };
            let told = Told::error(text, refusal(&error).problem);
            match recovery.open(token, visit.browser()).await {
                Ok(open) => show_next(&desk, &visit, token, &open, (way.as_str(), told)).await,
                Err(error) => anew(&error),
            }
        }
        Err(error) => anew(&error),
    }
}

/// A new password was typed.
pub(super) async fn password(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Sent,
) -> Response {
    let fields = match form(&desk, &visit, fields) {
        Ok(fields) => fields,
        Err(response) => return *response,
    };
    let (recovery, token) = (&desk.services.recovery, fields.recovery.as_str());
    let open = match recovery.open(token, visit.browser()).await {
        Ok(open) => open,
        Err(error) => {
            return show_begin(&desk, &visit, false, &Fields::default(), &told(&visit, &error));
        }
    };
    let new = Secret::new(fields.new_password);
    match recovery.finish(&open, &new, visit.guesser(Solved::Yes)).await {
        Ok(()) => Redirect::to("/.doorward/sign-in?notice=recovered").into_response(),
        Err(RecoveryError::Over) => {
            let told = told(&visit, &RecoveryError::Over);
            show_begin(&desk, &visit, false, &Fields::default(), &told)
        }
        Err(error) => show_next(&desk, &visit, token, &open, ("", told(&visit, &error))).await,
    }
}
