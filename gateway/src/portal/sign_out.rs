//! Sign-out: a question, and the deed by POST.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Redirect, Response};
use doorward_plugins::{Problem, Refusal};
use http::{HeaderValue, StatusCode};

use super::pages::{SignOutPage, render};
use super::text::Texts;
use super::{Desk, Visit, add_cookie};

pub(super) async fn page(Extension(visit): Extension<Arc<Visit>>) -> Response {
    render(StatusCode::OK, &SignOutPage { t: Texts::of(visit.language) })
}

/// Ends the session. No code is asked for, so that a console's own page may post here: what a
/// browser says comes from another site is refused before this, and a request without any of a
/// browser's signs was not made by a browser, so that there is nobody to be tricked.
pub(super) async fn submit(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
) -> Response {
    if let Err(refusal) = end(&desk, &visit).await {
        return visit.refuse(&refusal);
    }
    forget(&desk, Redirect::to("/.doorward/sign-in?notice=signed-out").into_response())
}

/// Has the browser forget the session, and the console's pages that it has kept: whoever sits down
/// next and goes back sees none of them (Clear Site Data §3.1).
pub(super) fn forget(desk: &Desk, mut response: Response) -> Response {
    let headers = response.headers_mut();
    add_cookie(headers, &desk.cookies.forget_session());
    headers.insert("clear-site-data", HeaderValue::from_static("\"cache\""));
    response
}

/// Ends the session of a visit, for the page and the API alike.
pub(super) async fn end(desk: &Desk, visit: &Visit) -> Result<(), Refusal> {
    // Without a session there may still be one that ended here and that the store has not
    // forgotten: then a sign-out that is tried again must not be told that all is well.
    let ending = visit.session.as_slice();
    let ended = desk.services.sessions.end(ending).await;
    if let Some(session) = &visit.session {
        desk.note_ended(visit, session);
    }
    ended.map_err(|error| {
        tracing::error!(event = "store_write_failed", %error, request_id = visit.request_id);
        Refusal::new(Problem::Undecided)
    })
}
