//! The pages of an appeal: its form, for whom a right password has let in half, how far it is, and
//! how its owner stops it.

use std::sync::Arc;

use axum::Form;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Extension, FromRequest, Multipart, Query, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use doorward_plugins::appeal::{AppealError, Document, Statement};
use doorward_plugins::audit::EventKind;
use doorward_plugins::{Problem, Refusal, Services};
use http::StatusCode;
use serde::Deserialize;

use super::captcha::Solved;
use super::pages::{AppealPage, AppealProgressPage, minute, render};
use super::text::{AppealTexts, Texts};
use super::{Desk, Visit, add_cookie};

const PURPOSE: &str = "appeal";
/// Where the form is, and where it goes.
pub(super) const PAGE: &str = "/.doorward/appeal";

/// What the form sends.
#[derive(Default)]
struct Fields {
    code: String,
    statement: Statement,
    /// A document is too large, or of another kind, or there are too many.
    unfit: bool,
}

/// What a link to the page of progress carries, and the form that stops an appeal sends.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Link {
    id: String,
    code: String,
}

/// How much an appeal may send of somebody who is signed in, or half: others are read as little of
/// as everywhere.
pub(super) async fn bytes_max(
    services: &Services,
    (is_signed_in, token): (bool, Option<&str>),
    usual: u64,
) -> u64 {
    let rules = &services.config.appeal;
    let knows = is_signed_in || services.sign_in.waiting(token.unwrap_or_default()).await.is_ok();
    match rules.enabled && knows {
        true => usual + (rules.documents_max as u64) * (rules.document_bytes as u64 + 1024),
        false => usual,
    }
}

pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
) -> Response {
    match waiting(&desk, &visit).await {
        Ok(_) => show(&desk, &visit, &Statement::default(), ("", StatusCode::OK)),
        Err(response) => *response,
    }
}

pub(super) async fn submit(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    request: Request,
) -> Response {
    let record = match waiting(&desk, &visit).await {
        Ok(record) => record,
        Err(response) => return *response,
    };
    let Ok(form) = Multipart::from_request(request, &()).await else {
        return visit.refuse(&Refusal::new(Problem::BadRequest));
    };
    let Some(fields) = read(form, &desk.services.config.appeal).await else {
        return visit.refuse(&Refusal::new(Problem::BadRequest));
    };
    if desk.guard.verify(&visit, PURPOSE, &fields.code).is_none() {
        desk.note(&visit, EventKind::CsrfRefused);
        return visit.refuse(&Refusal::new(Problem::CrossSite));
    }
    let a = AppealTexts::of(visit.language);
    let statement = &fields.statement;
    if fields.unfit {
        return show(&desk, &visit, statement, (a.invalid, StatusCode::UNPROCESSABLE_ENTITY));
    }
    let appeals = &desk.services.appeals;
    match appeals.lodge(&record, statement, visit.guesser(Solved::No)).await {
        Ok(id) => Redirect::to(&format!("{PAGE}/progress?id={id}")).into_response(),
        Err(AppealError::Full) => show(&desk, &visit, statement, (a.full, StatusCode::CONFLICT)),
        Err(AppealError::Store(error)) => {
            tracing::error!(event = "store_write_failed", %error, "no appeal can be lodged");
            visit.refuse(&Refusal::new(Problem::Undecided))
        }
        Err(AppealError::Invalid | AppealError::Unknown) => {
            show(&desk, &visit, statement, (a.invalid, StatusCode::UNPROCESSABLE_ENTITY))
        }
    }
}

/// Who is signed in, or whose sign-in waits in this browser; or where they begin one.
async fn waiting(
    desk: &Desk,
    visit: &Visit,
) -> Result<doorward_plugins::account::PrincipalRecord, Box<Response>> {
    if !desk.services.config.appeal.enabled {
        return Err(Box::new(visit.refuse(&Refusal::new(Problem::NotFound))));
    }
    if let Some(session) = &visit.session
        && let Ok(overview) = desk.services.factor_change.overview(session).await
    {
        return Ok(overview.record);
    }
    let token = visit.cookies.pending.as_deref().unwrap_or_default();
    match desk.services.sign_in.waiting(token).await {
        Ok((_, record)) => Ok(record),
        Err(_) => Err(Box::new(Redirect::to("/.doorward/sign-in").into_response())),
    }
}

/// Reads the form; `None`: it is none, or broke off.
async fn read(mut form: Multipart, rules: &doorward_config::Appeal) -> Option<Fields> {
    let mut fields = Fields::default();
    while let Some(part) = form.next_field().await.ok()? {
        let name = part.name().unwrap_or_default().to_owned();
        let bytes = part.bytes().await.ok()?;
        let text = || String::from_utf8_lossy(&bytes).into_owned();
        match name.as_str() {
            "code" => fields.code = text(),
            "reason" => fields.statement.reason = text(),
            "contact" => fields.statement.contact = text(),
            // A browser sends an empty one where none was chosen.
            "documents" if bytes.is_empty() => {}
            "documents" => {
                let fits = bytes.len() <= rules.document_bytes
                    && fields.statement.documents.len() < rules.documents_max;
                match Document::of(&bytes).filter(|_| fits) {
                    Some(document) => fields.statement.documents.push(document),
                    None => fields.unfit = true,
                }
            }
            _ => {}
        }
    }
    Some(fields)
}

fn show(
    desk: &Desk,
    visit: &Visit,
    statement: &Statement,
    (error, status): (&str, StatusCode),
) -> Response {
    let form = desk.guard.issue(visit, [PURPOSE]);
    let [code] = &form.codes;
    let rules = &desk.services.config.appeal;
    let page = AppealPage {
        t: Texts::of(visit.language),
        a: AppealTexts::of(visit.language),
        error,
        code,
        reason: &statement.reason,
        contact: &statement.contact,
        documents: rules.documents_max,
        document_bytes: rules.document_bytes,
        wait: rules.wait,
    };
    let mut response = render(status, &page);
    if let Some(cookie) = &form.fresh_cookie {
        add_cookie(response.headers_mut(), &desk.cookies.set_form(cookie));
    }
    response
}

/// How far an appeal is, for whoever has its id: 128 random bits.
pub(super) async fn progress(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    link: Result<Query<Link>, QueryRejection>,
) -> Response {
    let Query(link) = link.unwrap_or_default();
    match desk.services.appeals.find(&link.id).await {
        Ok(Some(appeal)) => {
            let effective = appeal.effective.map(|at| format!("{} UTC", minute(at)));
            let page = AppealProgressPage {
                t: Texts::of(visit.language),
                a: AppealTexts::of(visit.language),
                id: &appeal.id,
                state: appeal.state,
                created: &format!("{} UTC", minute(appeal.created)),
                effective: effective.as_deref(),
            };
            render(StatusCode::OK, &page)
        }
        Ok(None) => visit.refuse(&Refusal::new(Problem::NotFound)),
        Err(error) => {
            tracing::error!(event = "store_failed", %error, "an appeal cannot be shown");
            visit.refuse(&Refusal::new(Problem::Undecided))
        }
    }
}

/// The owner, who is signed in and so has a factor or needs none, stops an appeal.
pub(super) async fn stop(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Result<Form<Link>, FormRejection>,
) -> Response {
    let Form(fields) = fields.unwrap_or_default();
    let Some(session) = &visit.session else {
        return visit.refuse(&Refusal::new(Problem::SessionRequired));
    };
    if desk.guard.verify(&visit, super::authenticators::PURPOSE, &fields.code).is_none() {
        desk.note(&visit, EventKind::CsrfRefused);
        return visit.refuse(&Refusal::new(Problem::CrossSite));
    }
    let stopped = async {
        let record = desk.services.factor_change.overview(session).await.ok()?.record;
        let appeal = desk.services.appeals.open_of(&record.id).await.ok()??;
        desk.services.appeals.stop(&appeal.id, &record).await.ok()
    };
    match stopped.await {
        Some(()) => {
            Redirect::to("/.doorward/account/authenticators?notice=stopped").into_response()
        }
        None => visit.refuse(&Refusal::new(Problem::NotFound)),
    }
}
