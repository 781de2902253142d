//! The pages on which people change the addresses that reach them; and the same for programs.

use std::sync::Arc;

use axum::extract::rejection::{FormRejection, JsonRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Form, Json};
use doorward_config::Secret;
use doorward_plugins::account::address::AddressKind;
use doorward_plugins::address_change::{AddressError, Awaited, Progress};
use doorward_plugins::second_factor::SendError;
use doorward_plugins::session::LiveSession;
use doorward_plugins::{Problem, Refusal};
use serde::Deserialize;
use serde_json::json;

use super::account::to_sign_in;
use super::api::read;
use super::captcha::Solved;
use super::form::{own_form, show};
use super::pages::{AddressChangePage, AddressConfirmPage, AddressRow, AddressesPage};
use super::step_up::prove_first;
use super::text::{CentreTexts, FactorTexts, Texts};
use super::text_code::{self, Told};
use super::{Desk, Visit, json as answer};

const PURPOSE: &str = "addresses";
const PAGE: &str = "/.doorward/account/addresses";
const PLACE: &str = "%2F.doorward%2Faccount%2Faddresses";

/// What a link to the pages carries.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Link {
    /// `changed` or `removed`.
    notice: String,
    /// Which address.
    what: String,
    /// The change that is under way.
    change: String,
}

/// What the forms send.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    code: String,
    what: String,
    address: String,
    change: String,
    answer: String,
    /// Anything: another code is to be sent.
    send: String,
}

type Sent = Result<Form<Fields>, FormRejection>;

pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    link: Result<Query<Link>, QueryRejection>,
) -> Response {
    let Some(session) = &visit.session else { return to_sign_in(&visit, PLACE) };
    let Query(link) = link.unwrap_or_default();
    let c = CentreTexts::of(visit.language);
    let notice = match link.notice.as_str() {
        "changed" => c.changed,
        "removed" => c.removed,
        _ => "",
    };
    list(&desk, &visit, session, Told { notice: notice.to_owned(), ..Told::default() }).await
}

async fn list(desk: &Desk, visit: &Visit, session: &LiveSession, told: Told) -> Response {
    let record = match desk.services.account_centre.person(session).await {
        Ok(record) => record,
        Err(error) => return visit.refuse(&super::profile::refusal(&error)),
    };
    let rows = AddressKind::ALL.iter();
    let rows: Vec<_> = rows.map(|kind| AddressRow { kind, address: kind.of(&record) }).collect();
    let form = desk.guard.issue(visit, [PURPOSE]);
    let [code] = &form.codes;
    let page = AddressesPage {
        t: Texts::of(visit.language),
        c: CentreTexts::of(visit.language),
        notice: &told.notice,
        error: &told.error,
        code,
        rows: &rows,
    };
    show(desk, (told.status, &page), &form)
}

/// Removes an address, or begins to.
pub(super) async fn remove(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Sent,
) -> Response {
    let (session, fields) =
        match own_form((&desk, &visit), (PURPOSE, PLACE), fields, |fields| &fields.code) {
            Ok(form) => form,
            Err(response) => return *response,
        };
    let Some(kind) = AddressKind::parse(&fields.what) else {
        return visit.refuse(&Refusal::new(Problem::BadRequest));
    };
    let asking = (visit.language, visit.guesser(Solved::No));
    match desk.services.address_change.begin(session, (kind, None), asking).await {
        Ok(Progress::Done) => Redirect::to(&format!("{PAGE}?notice=removed")).into_response(),
        Ok(progress) => go_on(&desk, &visit, progress),
        Err(AddressError::Stale) => prove_first(&desk, &visit, session, PAGE).await,
        Err(error) => list(&desk, &visit, session, told(&visit, kind, &error)).await,
    }
}

pub(super) async fn change_page(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    link: Result<Query<Link>, QueryRejection>,
) -> Response {
    let Some(session) = &visit.session else { return to_sign_in(&visit, PLACE) };
    let Query(link) = link.unwrap_or_default();
    let Some(kind) = AddressKind::parse(&link.what) else {
        return visit.refuse(&Refusal::new(Problem::NotFound));
    };
    // Asked for before anything is typed, so that nothing typed is lost.
    match desk.services.address_change.fresh(session).await {
        Ok(_) => show_change(&desk, &visit, kind, "", &Told::default()),
        Err(error) => refuse(&desk, &visit, session, (kind, &error)).await,
    }
}

fn show_change(
    desk: &Desk,
    visit: &Visit,
    kind: AddressKind,
    address: &str,
    told: &Told,
) -> Response {
    let form = desk.guard.issue(visit, [PURPOSE]);
    let [code] = &form.codes;
    let page = AddressChangePage {
        t: Texts::of(visit.language),
        c: CentreTexts::of(visit.language),
        error: &told.error,
        code,
        kind: &kind,
        address,
    };
    show(desk, (told.status, &page), &form)
}

pub(super) async fn change(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Sent,
) -> Response {
    let (session, fields) =
        match own_form((&desk, &visit), (PURPOSE, PLACE), fields, |fields| &fields.code) {
            Ok(form) => form,
            Err(response) => return *response,
        };
    let Some(kind) = AddressKind::parse(&fields.what) else {
        return visit.refuse(&Refusal::new(Problem::BadRequest));
    };
    let asking = (visit.language, visit.guesser(Solved::No));
    let wanted = (kind, Some(fields.address.as_str()));
    match desk.services.address_change.begin(session, wanted, asking).await {
        Ok(progress) => go_on(&desk, &visit, progress),
        Err(error @ (AddressError::Malformed | AddressError::Same)) => {
            show_change(&desk, &visit, kind, &fields.address, &told(&visit, kind, &error))
        }
        Err(error) => refuse(&desk, &visit, session, (kind, &error)).await,
    }
}

/// On to the next code, or back to the list.
fn go_on(desk: &Desk, visit: &Visit, progress: Progress) -> Response {
    match progress {
        Progress::Done => Redirect::to(&format!("{PAGE}?notice=changed")).into_response(),
        Progress::Waits { id, awaited, sent } => {
            let sent = sent.map_err(SendError::Issue);
            let told = text_code::told(&sent, FactorTexts::of(visit.language));
            show_confirm(desk, visit, &id, &awaited, &told)
        }
    }
}

fn show_confirm(
    desk: &Desk,
    visit: &Visit,
    change: &str,
    awaited: &Awaited,
    told: &Told,
) -> Response {
    let form = desk.guard.issue(visit, [PURPOSE]);
    let [code] = &form.codes;
    let page = AddressConfirmPage {
        t: Texts::of(visit.language),
        c: CentreTexts::of(visit.language),
        notice: &told.notice,
        error: &told.error,
        code,
        change,
        awaited,
    };
    show(desk, (told.status, &page), &form)
}

pub(super) async fn confirm_page(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    link: Result<Query<Link>, QueryRejection>,
) -> Response {
    let Some(session) = &visit.session else { return to_sign_in(&visit, PLACE) };
    let Query(link) = link.unwrap_or_default();
    match desk.services.address_change.awaited(session, &link.change).await {
        Ok(awaited) => show_confirm(&desk, &visit, &link.change, &awaited, &Told::default()),
        Err(error) => visit.refuse(&Refusal::new(problem_of(&error))),
    }
}

pub(super) async fn confirm(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Sent,
) -> Response {
    let (session, fields) =
        match own_form((&desk, &visit), (PURPOSE, PLACE), fields, |fields| &fields.code) {
            Ok(form) => form,
            Err(response) => return *response,
        };
    let asking = (visit.language, visit.guesser(Solved::No));
    let (changes, id) = (&desk.services.address_change, fields.change.as_str());
    let done = match fields.send.as_str() {
        "" => changes.confirm(session, (id, &Secret::new(fields.answer)), asking).await,
        _ => changes.send(session, id, asking).await,
    };
    let error = match done {
        Ok(progress) => return go_on(&desk, &visit, progress),
        Err(error) => error,
    };
    match changes.awaited(session, id).await {
        Ok(awaited) if matches!(error, AddressError::Wrong) => {
            let told = told(&visit, awaited.kind, &error);
            show_confirm(&desk, &visit, id, &awaited, &told)
        }
        Ok(awaited) if matches!(error, AddressError::Stale) => {
            let place = format!("{PAGE}/confirm?change={}", fields.change);
            drop(awaited);
            prove_first(&desk, &visit, session, &place).await
        }
        _ => refuse(&desk, &visit, session, (AddressKind::Phone, &error)).await,
    }
}

/// What a visitor is told whose change does not go on.
async fn refuse(
    desk: &Desk,
    visit: &Visit,
    session: &LiveSession,
    (kind, error): (AddressKind, &AddressError),
) -> Response {
    match error {
        AddressError::Stale => {
            let place = format!("{PAGE}/change?what={}", kind.as_str());
            prove_first(desk, visit, session, &place).await
        }
        error => list(desk, visit, session, told(visit, kind, error)).await,
    }
}

fn told(visit: &Visit, kind: AddressKind, error: &AddressError) -> Told {
    let c = CentreTexts::of(visit.language);
    let text = match error {
        AddressError::Held => c.held,
        AddressError::Last => c.last_factor,
        AddressError::Malformed if kind == AddressKind::Phone => c.malformed_phone,
        AddressError::Malformed => c.malformed_email,
        AddressError::Same => c.same,
        AddressError::Wrong => c.wrong,
        AddressError::Over | AddressError::Stale => c.over,
        AddressError::Store(_) => FactorTexts::of(visit.language).unavailable,
    };
    Told::error(text, problem_of(error))
}

fn problem_of(error: &AddressError) -> Problem {
    match error {
        AddressError::Held | AddressError::Last => Problem::Forbidden,
        AddressError::Malformed | AddressError::Same => Problem::BadRequest,
        AddressError::Stale => Problem::FreshnessRequired,
        AddressError::Over => Problem::ChallengeOver,
        AddressError::Wrong => Problem::WrongCode,
        AddressError::Store(error) => {
            tracing::error!(event = "store_failed", %error, "no address can be changed");
            Problem::Undecided
        }
    }
}

pub(super) async fn api_list(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
) -> Response {
    let Some(session) = &visit.session else {
        return visit.refuse(&Refusal::new(Problem::SessionRequired));
    };
    match desk.services.account_centre.person(session).await {
        Ok(record) => answer(&json!({
            "phone": record.phone,
            "email": record.email,
            "security_email": record.security_email,
        })),
        Err(error) => visit.refuse(&super::profile::refusal(&error)),
    }
}

/// What a program sends to change an address.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    what: AddressKind,
    /// `None`: none.
    address: Option<String>,
}

pub(super) async fn api_begin(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    body: Result<Json<Wanted>, JsonRejection>,
) -> Response {
    let Some(session) = &visit.session else {
        return visit.refuse(&Refusal::new(Problem::SessionRequired));
    };
    let Wanted { what, address } = match read(body) {
        Ok(body) => body,
        Err(problem) => return visit.refuse(&Refusal::new(problem)),
    };
    let asking = (visit.language, visit.guesser(Solved::No));
    let wanted = (what, address.as_deref());
    let begun = desk.services.address_change.begin(session, wanted, asking).await;
    tell(&desk, &visit, session, begun).await
}

/// What a program sends to confirm one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Confirmation {
    code: String,
}

pub(super) async fn api_confirm(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    Path(id): Path<String>,
    body: Result<Json<Confirmation>, JsonRejection>,
) -> Response {
    let Some(session) = &visit.session else {
        return visit.refuse(&Refusal::new(Problem::SessionRequired));
    };
    let code = match read(body) {
        Ok(Confirmation { code }) => Secret::new(code),
        Err(problem) => return visit.refuse(&Refusal::new(problem)),
    };
    let asking = (visit.language, visit.guesser(Solved::No));
    let done = desk.services.address_change.confirm(session, (&id, &code), asking).await;
    tell(&desk, &visit, session, done).await
}

pub(super) async fn api_send(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    Path(id): Path<String>,
) -> Response {
    let Some(session) = &visit.session else {
        return visit.refuse(&Refusal::new(Problem::SessionRequired));
    };
    let asking = (visit.language, visit.guesser(Solved::No));
    let sent = desk.services.address_change.send(session, &id, asking).await;
    tell(&desk, &visit, session, sent).await
}

/// How far a program's change has come.
async fn tell(
    desk: &Desk,
    visit: &Visit,
    session: &LiveSession,
    progress: Result<Progress, AddressError>,
) -> Response {
    match progress {
        Ok(Progress::Done) => answer(&json!({"done": true})),
        Ok(Progress::Waits { id, awaited, sent }) => match sent {
            Ok(_) => answer(&json!({
                "done": false,
                "change": id,
                "code_sent_to": awaited.to.as_str(),
                "is_old_phone": awaited.is_old,
            })),
            Err(error) => {
                let mut refusal = text_code::refusal(&SendError::Issue(error));
                refusal.members.push(("change", id));
                visit.refuse(&refusal)
            }
        },
        Err(AddressError::Stale) => prove_first(desk, visit, session, PAGE).await,
        Err(error) => visit.refuse(&Refusal::new(problem_of(&error))),
    }
}
