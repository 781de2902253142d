//! The account page: who is signed in, and where else.

use std::sync::Arc;

use axum::Form;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Extension, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use doorward_plugins::audit::EventKind;
use doorward_plugins::{Problem, Refusal};
use http::StatusCode;
use serde::Deserialize;

use super::pages::{AccountPage, SessionRow, render};
use super::text::{CentreTexts, FactorTexts, Texts};
use super::{Desk, Visit, add_cookie, device};

const PURPOSE: &str = "end-session";

/// What the form sends.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    id: String,
    code: String,
}

/// What a link to the page may carry.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Link {
    /// `password` after a change of it.
    notice: String,
}

/// Sends a stranger to sign in, and then to this place, which is encoded already.
pub(super) fn to_sign_in(visit: &Visit, place: &str) -> Response {
    if visit.navigates {
        Redirect::to(&format!("/.doorward/sign-in?return_to={place}")).into_response()
    } else {
        visit.refuse(&Refusal::new(Problem::SessionRequired))
    }
}

pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    link: Result<Query<Link>, QueryRejection>,
) -> Response {
    let Some(session) = &visit.session else {
        return to_sign_in(&visit, "%2F.doorward%2Faccount");
    };
    let Query(link) = link.unwrap_or_default();
    let t = Texts::of(visit.language);
    let principal = session.principal();
    let mut sessions = desk.services.sessions.list(&principal.id, visit.now);
    // The one that the person looks at first, then the others as they come.
    sessions.sort_by_key(|other| other.id != session.id);
    let sessions = sessions.into_iter().map(|other| SessionRow {
        id: other.id.to_string(),
        device: if other.device.is_empty() {
            t.unknown_device.to_owned()
        } else {
            device::name(&other.device)
        },
        address: other.address.clone().into(),
        activity: t.activity(visit.now.since(other.active().unwrap_or(other.created))),
        current: other.id == session.id,
    });
    let form = desk.guard.issue(&visit, [PURPOSE]);
    let [end_code] = &form.codes;
    let page = AccountPage {
        t,
        f: FactorTexts::of(visit.language),
        c: CentreTexts::of(visit.language),
        owns_account: principal.name.sub_user().is_none(),
        name: &principal.name.to_string(),
        notice: if link.notice == "password" { t.password_changed } else { "" },
        idle: &t.span(principal.idle.unwrap_or(desk.services.config.session.idle)),
        sessions: &sessions.collect::<Vec<_>>(),
        end_code,
    };
    let mut response = render(StatusCode::OK, &page);
    if let Some(cookie) = &form.fresh_cookie {
        add_cookie(response.headers_mut(), &desk.cookies.set_form(cookie));
    }
    response
}

pub(super) async fn end_session(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Result<Form<Fields>, FormRejection>,
) -> Response {
    let Form(fields) = fields.unwrap_or_default();
    if desk.guard.verify(&visit, PURPOSE, &fields.code).is_none() {
        desk.note(&visit, EventKind::CsrfRefused);
        return visit.refuse(&Refusal::new(Problem::CrossSite));
    }
    match end_own(&desk, &visit, |session, id| session == id, &fields.id).await {
        Ok(_) => Redirect::to("/.doorward/account").into_response(),
        Err(refusal) => visit.refuse(&refusal),
    }
}

pub(super) async fn end_others(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Result<Form<Fields>, FormRejection>,
) -> Response {
    let Form(fields) = fields.unwrap_or_default();
    if desk.guard.verify(&visit, PURPOSE, &fields.code).is_none() {
        desk.note(&visit, EventKind::CsrfRefused);
        return visit.refuse(&Refusal::new(Problem::CrossSite));
    }
    let current = visit.session.as_ref().map(|session| session.id.to_string()).unwrap_or_default();
    match end_own(&desk, &visit, |session, current| session != current, &current).await {
        Ok(_) => Redirect::to("/.doorward/account").into_response(),
        Err(refusal) => visit.refuse(&refusal),
    }
}

/// Ends those of the visitor's own sessions that `chosen` picks by comparing ids; says how many.
pub(super) async fn end_own(
    desk: &Desk,
    visit: &Visit,
    chosen: fn(&str, &str) -> bool,
    id: &str,
) -> Result<usize, Refusal> {
    let session = visit.session.as_ref().ok_or(Refusal::new(Problem::SessionRequired))?;
    let mut ending = desk.services.sessions.list(&session.principal().id, visit.now);
    ending.retain(|own| chosen(&own.id, id));
    let ended = desk.services.sessions.end(&ending).await;
    for own in &ending {
        desk.note_ended(visit, own);
    }
    ended.map_err(|error| {
        tracing::error!(event = "store_write_failed", %error);
        Refusal::new(Problem::Undecided)
    })?;
    Ok(ending.len())
}
