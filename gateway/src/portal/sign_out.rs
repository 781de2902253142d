//! Sign-out: a question, and the deed by POST.

use std::sync::Arc;

use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Redirect, Response};
use doorward_plugins::{Problem, Refusal};
use http::StatusCode;
use serde::Deserialize;

use super::pages::{SignOutPage, render};
use super::text::Texts;
use super::{Desk, Site, Visit, add_cookie};

pub(super) const PURPOSE: &str = "sign-out";

/// What the form sends.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    code: String,
}

pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
) -> Response {
    let form = desk.guard.issue(&visit, [PURPOSE]);
    let [code] = &form.codes;
    let mut response = render(StatusCode::OK, &SignOutPage { t: Texts::of(visit.language), code });
    if let Some(cookie) = &form.fresh_cookie {
        add_cookie(response.headers_mut(), &desk.cookies.set_form(cookie));
    }
    response
}

/// Ends the session. A console's own page may post here without a code, if the browser says that
/// it is a page of this host; what another site could make a browser send is refused.
pub(super) async fn submit(
    state: State<Arc<Desk>>,
    visit: Extension<Arc<Visit>>,
    fields: Result<Form<Fields>, FormRejection>,
) -> Response {
    let (desk, Form(fields)) = (&state.0, fields.unwrap_or_default());
    // A request without any of a browser's signs was not made by a browser: those of the last
    // years name the origin of every POST. There is then nobody to be tricked.
    if visit.site == Site::Other && !desk.guard.verify(&visit, PURPOSE, &fields.code) {
        return page(state, visit).await;
    }
    if let Err(refusal) = end(desk, &visit).await {
        return visit.refuse(&refusal);
    }
    let mut response = Redirect::to("/.doorward/sign-in?notice=signed-out").into_response();
    add_cookie(response.headers_mut(), &desk.cookies.forget_session());
    response
}

/// Ends the session of a visit, for the page and the API alike.
pub(super) async fn end(desk: &Desk, visit: &Visit) -> Result<(), Refusal> {
    let Some(session) = &visit.session else { return Ok(()) };
    let ended = desk.services.sessions.end(std::slice::from_ref(session)).await;
    tracing::info!(event = "session_ended", session = session.id, account = %session.principal().name, request_id = visit.request_id);
    ended.map_err(|error| {
        tracing::error!(event = "store_write_failed", %error, session = session.id);
        Refusal::new(Problem::Undecided)
    })
}
