//! The pages for who has forgotten the name of an account.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::Response;
use doorward_config::Secret;
use doorward_plugins::recovery::RecoveryError;
use http::StatusCode;

use super::pages::NamesPage;
use super::{Fields, Sent, admit, form, not_admitted, show_begin, show_code, told};
use crate::portal::captcha::Solved;
use crate::portal::pages::render;
use crate::portal::text::{RecoverTexts, Texts};
use crate::portal::text_code::Told;
use crate::portal::{Desk, Visit};

const NAMES: &str = "/.doorward/recover/names";

pub(in crate::portal) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
) -> Response {
    show_begin(&desk, &visit, true, &Fields::default(), &Told::default())
}

/// An address was typed whose names were forgotten.
pub(in crate::portal) async fn find(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Sent,
) -> Response {
    let fields = match form(&desk, &visit, fields) {
        Ok(fields) => fields,
        Err(response) => return *response,
    };
    if let Err(refusal) = admit(&desk, &visit, fields.solution()).await {
        return not_admitted(&desk, &visit, true, &fields, &refusal);
    }
    let asking = (visit.language, visit.guesser(Solved::Yes));
    let r = RecoverTexts::of(visit.language);
    match desk.services.recovery.find_names(&fields.address, visit.browser(), asking).await {
        Ok(ticket) => {
            let told = Told { notice: r.sent.to_owned(), ..Told::default() };
            show_code(&desk, &visit, (r.name_title, NAMES), (&ticket, ""), &told)
        }
        Err(error) => show_begin(&desk, &visit, true, &fields, &told(&visit, &error)),
    }
}

/// The code for names was typed.
pub(in crate::portal) async fn names(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    fields: Sent,
) -> Response {
    let fields = match form(&desk, &visit, fields) {
        Ok(fields) => fields,
        Err(response) => return *response,
    };
    let (t, r) = (Texts::of(visit.language), RecoverTexts::of(visit.language));
    let ticket = (fields.ticket.as_str(), visit.browser());
    let code = Secret::new(fields.answer);
    match desk.services.recovery.names(ticket, &code, visit.guesser(Solved::Yes)).await {
        Ok(names) => {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            render(StatusCode::OK, &NamesPage { t, r, names: &names })
        }
        Err(error @ RecoveryError::Wrong) => {
            let told = told(&visit, &error);
            show_code(&desk, &visit, (r.name_title, NAMES), (&fields.ticket, ""), &told)
        }
        Err(error) => show_begin(&desk, &visit, true, &Fields::default(), &told(&visit, &error)),
    }
}
