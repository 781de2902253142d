//! Recovery for programs.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use doorward_config::Secret;
use doorward_plugins::account::address::AddressKind;
use doorward_plugins::recovery::{Open, RecoveryError};
use doorward_plugins::second_factor::Way;
use doorward_plugins::{Problem, Refusal};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{admit, refusal};
use crate::portal::api::read;
use crate::portal::captcha::Solved;
use crate::portal::text::Texts;
use crate::portal::{Desk, Visit, json as answer};

/// Whose password was forgotten.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::portal) struct Begin {
    account: String,
    #[serde(default)]
    sub_user: String,
    #[serde(default)]
    captcha: String,
}

/// Where the code is to go.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::portal) struct Send {
    ticket: String,
    channel: AddressKind,
}

/// A code that has come.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::portal) struct Verify {
    ticket: String,
    code: String,
}

/// The second factor.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::portal) struct Factor {
    recovery: String,
    way: String,
    code: String,
}

/// The new password.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::portal) struct NewPassword {
    recovery: String,
    new_password: String,
}

/// Whose names were forgotten.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::portal) struct Find {
    address: String,
    #[serde(default)]
    captcha: String,
}

type Sent<T> = Result<Json<T>, JsonRejection>;

/// Answers with a document, or with what is wrong.
fn reply(visit: &Visit, done: Result<Value, Refusal>) -> Response {
    match done {
        Ok(document) => answer(&document),
        Err(refusal) => visit.refuse(&refusal),
    }
}

fn body<T>(body: Sent<T>) -> Result<T, Refusal> {
    read(body).map_err(Refusal::new)
}

fn told<T>(visit: &Visit, done: Result<T, RecoveryError>) -> Result<T, Refusal> {
    done.map_err(|error| {
        let mut refused = refusal(&error);
        if let RecoveryError::Weak(weakness) = &error {
            refused.members.push(("detail", Texts::of(visit.language).weakness(weakness)));
        }
        refused
    })
}

fn describe(token: &str, open: &Open) -> Value {
    json!({"recovery": token, "ways": open.ways})
}

pub(in crate::portal) async fn begin(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    sent: Sent<Begin>,
) -> Response {
    let done = async {
        let Begin { account, sub_user, captcha } = body(sent)?;
        admit(&desk, &visit, &captcha).await?;
        let guesser = visit.guesser(Solved::Yes);
        let name = (account.as_str(), sub_user.as_str());
        let begun = desk.services.recovery.begin(name, visit.browser(), guesser).await;
        let (ticket, shown) = told(&visit, begun)?;
        Ok(json!({"ticket": ticket, "channels": shown}))
    };
    reply(&visit, done.await)
}

pub(in crate::portal) async fn send(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    sent: Sent<Send>,
) -> Response {
    let done = async {
        let Send { ticket, channel } = body(sent)?;
        let asking = (visit.language, visit.guesser(Solved::Yes));
        let sent = desk.services.recovery.send((&ticket, visit.browser()), channel, asking).await;
        Ok(json!({"ticket": told(&visit, sent)?}))
    };
    reply(&visit, done.await)
}

pub(in crate::portal) async fn verify(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    sent: Sent<Verify>,
) -> Response {
    let done = async {
        let Verify { ticket, code } = body(sent)?;
        let (ticket, code) = ((ticket.as_str(), visit.browser()), Secret::new(code));
        let guesser = visit.guesser(Solved::Yes);
        let verified = desk.services.recovery.verify(ticket, &code, guesser).await;
        let (token, open) = told(&visit, verified)?;
        Ok(describe(&token, &open))
    };
    reply(&visit, done.await)
}

pub(in crate::portal) async fn factor(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    sent: Sent<Factor>,
) -> Response {
    let done = async {
        let Factor { recovery: token, way, code } = body(sent)?;
        let way = Way::parse(&way).ok_or(Refusal::new(Problem::WrongCode))?;
        let (recovery, code) = (&desk.services.recovery, Secret::new(code));
        let open = told(&visit, recovery.open(&token, visit.browser()).await)?;
        let from = (visit.guesser(Solved::Yes), visit.device.as_str());
        let open = told(&visit, recovery.prove(open, (way, &code), from).await)?;
        Ok(describe(&token, &open))
    };
    reply(&visit, done.await)
}

pub(in crate::portal) async fn password(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    sent: Sent<NewPassword>,
) -> Response {
    let done: Result<(), Refusal> = async {
        let NewPassword { recovery: token, new_password } = body(sent)?;
        let (recovery, new) = (&desk.services.recovery, Secret::new(new_password));
        let open = told(&visit, recovery.open(&token, visit.browser()).await)?;
        told(&visit, recovery.finish(&open, &new, visit.guesser(Solved::Yes)).await)
    }
    .await;
    match done {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => visit.refuse(&refusal),
    }
}

pub(in crate::portal) async fn find_names(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    sent: Sent<Find>,
) -> Response {
    let done = async {
        let Find { address, captcha } = body(sent)?;
        admit(&desk, &visit, &captcha).await?;
        let asking = (visit.language, visit.guesser(Solved::Yes));
        let found = desk.services.recovery.find_names(&address, visit.browser(), asking).await;
        Ok(json!({"ticket": told(&visit, found)?}))
    };
    reply(&visit, done.await)
}

pub(in crate::portal) async fn names(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Arc<Visit>>,
    sent: Sent<Verify>,
) -> Response {
    let done = async {
        let Verify { ticket, code } = body(sent)?;
        let (ticket, code) = ((ticket.as_str(), visit.browser()), Secret::new(code));
        let found = desk.services.recovery.names(ticket, &code, visit.guesser(Solved::Yes)).await;
        let names: Vec<_> = told(&visit, found)?.iter().map(ToString::to_string).collect();
        Ok(json!({"names": names}))
    };
    reply(&visit, done.await)
}
