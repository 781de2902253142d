//! The pages on which people bind and remove second factors, and say what their account asks for;
//! and the same for programs.

use std::sync::Arc;

use axum::extract::rejection::{FormRejection, JsonRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Form, Json};
use doorward_config::Secret;
use doorward_plugins::account::Protection;
use doorward_plugins::authenticator::{AuthenticatorSummary, Kind};
use doorward_plugins::factor_change::{FactorChangeError, Overview};
use doorward_plugins::session::LiveSession;
use doorward_plugins::{Problem, Refusal};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::account::to_sign_in;
use super::api::read;
use super::captcha::Solved;
use super::form::own_form;
use super::pages::{AuthenticatorsPage, BindPage, BoundRow, RecoveryCodesPage, qr_code, render};
use super::step_up::prove_first;
use super::text::{AppealTexts, FactorTexts, Texts};
use super::text_code::Told;
use super::{Desk, Visit, add_cookie, device, json as answer};

pub(super) const PURPOSE: &str = "authenticators";
const BIND: &str = "bind-app";
pub(super) const PAGE: &str = "/.doorward/account/authenticators";
const BIND_PAGE: &str = "/.doorward/account/authenticators/bind";

/// What a link to the page may carry.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Link {
    /// What has just gone well.
    notice: String,
}

/// What the forms send.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    code: String,
    id: String,
    answer: String,
    name: String,
    first: String,
    second: String,
    login: String,
    operations: String,
}

/// What a form of these pages sends, by whom; or the answer to one that is not to be done.
fn form<'v>(
    desk: &Desk,
    visit: &'v Visit,
    purpose: &str,
    fields: Result<Form<Fields>, FormRejection>,
) -> Result<(&'v Arc<LiveSession>, Fields), Box<Response>> {
    let place = "%2F.doorward%2Faccount%2Fauthenticators";
    own_form((desk, visit), (purpose, place), fields, |fields| &fields.code)
}

pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    link: Result<Query<Link>, QueryRejection>,
) -> Response {
    let Some(session) = &visit.session else {
        return to_sign_in(&visit, "%2F.doorward%2Faccount%2Fauthenticators");
    };
    let Query(link) = link.unwrap_or_default();
    let f = FactorTexts::of(visit.language);
    let notice = match link.notice.as_str() {
        "bound" => f.bound,
        "unbound" => f.unbound,
        "resynced" => f.resynced,
        "saved" => f.saved,
        "stopped" => AppealTexts::of(visit.language).stopped,
        _ => "",
    };
    show(&desk, &visit, session, Told { notice: notice.to_owned(), ..Told::default() }).await
}

async fn show(desk: &Desk, visit: &Visit, session: &LiveSession, told: Told) -> Response {
    let overview = match desk.services.factor_change.overview(session).await {
        Ok(overview) => overview,
        Err(error) => return refuse(desk, visit, session, &error, PAGE).await,
    };
    let (t, f) = (Texts::of(visit.language), FactorTexts::of(visit.language));
    let Overview { record, bound, recovery_codes, trusted, ways, is_required } = overview;
    let trusted: Vec<_> = trusted.iter().map(|one| device::name(&one.name)).collect();
    let rows = bound.into_iter().map(|one| BoundRow {
        id: one.id,
        name: one.name,
        is_app: one.kind == Kind::Totp,
        used: one
            .used
            .map_or_else(|| f.never_used.to_owned(), |used| t.activity(visit.now.since(used))),
    });
    let appeal = match desk.services.appeals.open_of(&record.id).await {
        Ok(appeal) => appeal.map(|appeal| appeal.id),
        Err(error) => return refuse(desk, visit, session, &error.into(), PAGE).await,
    };
    let form = desk.guard.issue(visit, [PURPOSE]);
    let [code] = &form.codes;
    let page = AuthenticatorsPage {
        t,
        f,
        a: AppealTexts::of(visit.language),
        appeal: appeal.as_deref(),
        appeals: desk.services.config.appeal.enabled,
        notice: &told.notice,
        error: &told.error,
        code,
        bound: &rows.collect::<Vec<_>>(),
        keys: desk.services.keys.is_some(),
        trusted: &trusted,
        recovery_codes,
        has_factors: !ways.is_empty(),
        protection: record.name.sub_user().is_none().then_some(record.protection),
        is_required,
    };
    let mut response = render(told.status, &page);
    if let Some(cookie) = &form.fresh_cookie {
        add_cookie(response.headers_mut(), &desk.cookies.set_form(cookie));
    }
    response
}

/// What a visitor is told whose change was not made.
async fn refuse(
    desk: &Desk,
    visit: &Visit,
    session: &LiveSession,
    error: &FactorChangeError,
    place: &str,
) -> Response {
    match error {
        FactorChangeError::Stale => prove_first(desk, visit, session, place).await,
        error => visit.refuse(&Refusal::new(problem_of(error))),
    }
}

pub(super) fn problem_of(error: &FactorChangeError) -> Problem {
    match error {
        FactorChangeError::Busy => Problem::Busy,
        FactorChangeError::Stale => Problem::FreshnessRequired,
        FactorChangeError::Full | FactorChangeError::Last | FactorChangeError::NotYours => {
            Problem::Forbidden
        }
        FactorChangeError::Over => Problem::ChallengeOver,
        FactorChangeError::Unknown => Problem::NotFound,
        FactorChangeError::Wrong => Problem::WrongCode,
        FactorChangeError::Store(error) => {
            tracing::error!(event = "store_failed", %error, "no factor can be changed");
            Problem::Undecided
        }
    }
}

pub(super) async fn unbind(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Result<Form<Fields>, FormRejection>,
) -> Response {
    let (session, fields) = match form(&desk, &visit, PURPOSE, fields) {
        Ok(form) => form,
        Err(response) => return *response,
    };
    let code = Secret::new(fields.answer);
    let change = &desk.services.factor_change;
    let f = FactorTexts::of(visit.language);
    match change.unbind(session, (&fields.id, &code), visit.guesser(Solved::No)).await {
        Ok(()) => Redirect::to("/.doorward/account/authenticators?notice=unbound").into_response(),
        Err(error @ (FactorChangeError::Wrong | FactorChangeError::Last)) => {
            let text = if matches!(error, FactorChangeError::Last) { f.last_one } else { f.wrong };
            show(&desk, &visit, session, Told::error(text, problem_of(&error))).await
        }
        Err(error) => refuse(&desk, &visit, session, &error, PAGE).await,
    }
}

pub(super) async fn recovery_codes(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Result<Form<Fields>, FormRejection>,
) -> Response {
    let (session, _) = match form(&desk, &visit, PURPOSE, fields) {
        Ok(form) => form,
        Err(response) => return *response,
    };
    let change = &desk.services.factor_change;
    match change.make_recovery_codes(session, visit.guesser(Solved::No)).await {
        Ok(codes) => {
            let (t, f) = (Texts::of(visit.language), FactorTexts::of(visit.language));
            render(StatusCode::OK, &RecoveryCodesPage { t, f, codes: &codes })
        }
        Err(error) => refuse(&desk, &visit, session, &error, PAGE).await,
    }
}

pub(super) async fn protect(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Result<Form<Fields>, FormRejection>,
) -> Response {
    let (session, fields) = match form(&desk, &visit, PURPOSE, fields) {
        Ok(form) => form,
        Err(response) => return *response,
    };
    let protection =
        Protection { login: !fields.login.is_empty(), operations: !fields.operations.is_empty() };
    let change = &desk.services.factor_change;
    match change.protect(session, protection, visit.guesser(Solved::No)).await {
        Ok(()) => Redirect::to("/.doorward/account/authenticators?notice=saved").into_response(),
        Err(error) => refuse(&desk, &visit, session, &error, PAGE).await,
    }
}

pub(super) async fn distrust(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Result<Form<Fields>, FormRejection>,
) -> Response {
    let (session, _) = match form(&desk, &visit, PURPOSE, fields) {
        Ok(form) => form,
        Err(response) => return *response,
    };
    match desk.services.factor_change.distrust(session, visit.guesser(Solved::No)).await {
        Ok(()) => Redirect::to("/.doorward/account/authenticators?notice=saved").into_response(),
        Err(error) => refuse(&desk, &visit, session, &error, PAGE).await,
    }
}

pub(super) async fn bind_page(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
) -> Response {
    let Some(session) = &visit.session else {
        return to_sign_in(&visit, "%2F.doorward%2Faccount%2Fauthenticators");
    };
    show_binding(&desk, &visit, session, ("", Told::default())).await
}

pub(super) async fn bind(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Result<Form<Fields>, FormRejection>,
) -> Response {
    let (session, fields) = match form(&desk, &visit, BIND, fields) {
        Ok(form) => form,
        Err(response) => return *response,
    };
    let change = &desk.services.factor_change;
    let f = FactorTexts::of(visit.language);
    let name = FactorTexts::named(&fields.name, f.app);
    let named = (name, [fields.first.as_str(), fields.second.as_str()]);
    match change.bind_app(session, named, visit.guesser(Solved::No)).await {
        Ok(_) => Redirect::to("/.doorward/account/authenticators?notice=bound").into_response(),
        Err(error @ (FactorChangeError::Wrong | FactorChangeError::Full)) => {
            let text = if matches!(error, FactorChangeError::Full) { f.full } else { f.bind_wrong };
            let told = Told::error(text, problem_of(&error));
            show_binding(&desk, &visit, session, (&fields.name, told)).await
        }
        Err(FactorChangeError::Over) => {
            // Another seed: this one had too many wrong codes.
            let told = Told::error(f.begin_again, Problem::ChallengeOver);
            show_binding(&desk, &visit, session, (&fields.name, told)).await
        }
        Err(error) => refuse(&desk, &visit, session, &error, BIND_PAGE).await,
    }
}

async fn show_binding(
    desk: &Desk,
    visit: &Visit,
    session: &LiveSession,
    (name, told): (&str, Told),
) -> Response {
    let (challenge, record) = match desk.services.factor_change.begin_app(session).await {
        Ok(begun) => begun,
        Err(error) => return refuse(desk, visit, session, &error, BIND_PAGE).await,
    };
    let form = desk.guard.issue(visit, [BIND]);
    let [code] = &form.codes;
    let seed = &challenge.state.seed;
    let page = BindPage {
        t: Texts::of(visit.language),
        f: FactorTexts::of(visit.language),
        hint: "",
        action: BIND_PAGE,
        error: &told.error,
        code,
        challenge: "",
        qr: &qr_code(&seed.address(&desk.issuer(), &record.name.to_string())),
        key: &seed.text(),
        name,
        return_to: PAGE,
    };
    let mut response = render(told.status, &page);
    if let Some(cookie) = &form.fresh_cookie {
        add_cookie(response.headers_mut(), &desk.cookies.set_form(cookie));
    }
    response
}

pub(super) async fn api_list(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
) -> Response {
    let Some(session) = &visit.session else {
        return visit.refuse(&Refusal::new(Problem::SessionRequired));
    };
    match desk.services.factor_change.overview(session).await {
        Ok(overview) => {
            let bound: Vec<_> = overview.bound.iter().map(summary).collect();
            answer(&json!({
                "authenticators": bound,
                "recovery_codes_left": overview.recovery_codes,
                "ways": overview.ways,
                "login_protection": overview.record.protection.login,
                "operation_protection": overview.record.protection.operations,
                "required": overview.is_required,
            }))
        }
        Err(error) => refuse(&desk, &visit, session, &error, PAGE).await,
    }
}

fn summary(record: &doorward_plugins::authenticator::AuthenticatorRecord) -> serde_json::Value {
    let AuthenticatorSummary { id, kind, name, created, used } = record.into();
    json!({
        "id": id,
        "kind": kind,
        "name": name,
        "created": created.secs(),
        "used": used.map(|used| used.secs()),
    })
}

pub(super) async fn api_begin(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
) -> Response {
    let Some(session) = &visit.session else {
        return visit.refuse(&Refusal::new(Problem::SessionRequired));
    };
    match desk.services.factor_change.begin_app(session).await {
        Ok((challenge, record)) => {
            let seed = &challenge.state.seed;
            let address = seed.address(&desk.issuer(), &record.name.to_string());
            answer(&json!({"key": seed.text().as_str(), "otpauth": address.as_str()}))
        }
        Err(error) => refuse(&desk, &visit, session, &error, PAGE).await,
    }
}

/// What a program sends to bind an app.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Binding {
    #[serde(default)]
    name: String,
    codes: [String; 2],
}

pub(super) async fn api_bind(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    body: Result<Json<Binding>, JsonRejection>,
) -> Response {
    let Some(session) = &visit.session else {
        return visit.refuse(&Refusal::new(Problem::SessionRequired));
    };
    let Binding { name, codes: [first, second] } = match read(body) {
        Ok(body) => body,
        Err(problem) => return visit.refuse(&Refusal::new(problem)),
    };
    let change = &desk.services.factor_change;
    let named = (name.as_str(), [first.as_str(), second.as_str()]);
    match change.bind_app(session, named, visit.guesser(Solved::No)).await {
        Ok(bound) => (StatusCode::CREATED, answer(&summary(&bound))).into_response(),
        Err(error) => refuse(&desk, &visit, session, &error, PAGE).await,
    }
}

/// What a program sends to remove one.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Removal {
    /// A code of the app.
    code: String,
}

pub(super) async fn api_unbind(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    Path(id): Path<String>,
    body: Result<Json<Removal>, JsonRejection>,
) -> Response {
    let Some(session) = &visit.session else {
        return visit.refuse(&Refusal::new(Problem::SessionRequired));
    };
    let code = match read(body) {
        Ok(Removal { code }) => Secret::new(code),
        Err(problem) => return visit.refuse(&Refusal::new(problem)),
    };
    let change = &desk.services.factor_change;
    match change.unbind(session, (&id, &code), visit.guesser(Solved::No)).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => refuse(&desk, &visit, session, &error, PAGE).await,
    }
}

pub(super) async fn api_recovery_codes(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
) -> Response {
    let Some(session) = &visit.session else {
        return visit.refuse(&Refusal::new(Problem::SessionRequired));
    };
    let change = &desk.services.factor_change;
    match change.make_recovery_codes(session, visit.guesser(Solved::No)).await {
        Ok(codes) => {
            let codes: Vec<_> = codes.iter().map(|code| code.as_str()).collect();
            answer(&json!({"recovery_codes": codes}))
        }
        Err(error) => refuse(&desk, &visit, session, &error, PAGE).await,
    }
}
