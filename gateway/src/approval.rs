//! What happens when a request is refused because the person has to do something first: approve it,
//! or sign in again.
//!
//! The request is kept where it can be, and they are told before they do anything where it cannot.
//! A browser that goes to a page is sent to the gate's; a program is told where to go.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use doorward_config::StepUp as Demand;
use doorward_plugins::session::Method as Proof;
use doorward_plugins::session::cookie::CookieNames;
use doorward_plugins::step_up::{Demanded, RequestDigest, shown_fields};
use doorward_plugins::{Problem, Refusal, RequestContext, Services};
use http::header::{HOST, LOCATION, REFERER, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::body::{Sent, Source};
use crate::held::{self, GoesOn};
use crate::portal::{Site, return_to};
use crate::refusal::Audience;
use crate::worker::Worker;

/// What came of it.
pub(crate) enum After {
    /// This is answered.
    Answer(Box<Response<Source>>),
    /// It goes on, with this body.
    GoOn(Sent),
}

/// What was kept, and the cookie that goes with it.
#[derive(Default)]
struct Kept {
    id: Option<String>,
    cookie: Option<HeaderValue>,
}

/// Is this refusal one after which the person can do something?
pub(crate) fn asks_more(refusal: &Refusal) -> bool {
    matches!(refusal.problem, Problem::StepUpRequired | Problem::SessionRequired)
}

/// Asks the person for what is missing, and keeps the request meanwhile.
///
/// # Errors
/// The refusal, where nothing can be asked or kept.
pub(crate) async fn ask(
    worker: &Rc<Worker>,
    cx: &mut RequestContext,
    audience: &Audience,
    sent: Sent,
    (going_on, refusal): (Option<&GoesOn>, Refusal),
) -> Result<After, Refusal> {
    match refusal.problem {
        Problem::SessionRequired => {
            let answer = sign_in_first(worker, cx, audience, sent, going_on).await;
            answer.map(|answer| After::Answer(Box::new(answer))).ok_or(refusal)
        }
        Problem::StepUpRequired => {
            let Some(demand) = cx.route.step_up.clone() else { return Err(refusal) };
            if let Some(going_on) = going_on {
                // What somebody else has sent is not shown for approval.
                held::verify_sender(cx, going_on)?;
            }
            approve_first(worker, cx, audience, (sent, going_on), (&demand, refusal)).await
        }
        _ => Err(refusal),
    }
}

/// Keeps a form of somebody whose session has expired, and sends them to sign in.
async fn sign_in_first(
    worker: &Rc<Worker>,
    cx: &mut RequestContext,
    audience: &Audience,
    sent: Sent,
    going_on: Option<&GoesOn>,
) -> Option<Response<Source>> {
    if !audience.navigates || cx.head.method.is_safe() {
        return None;
    }
    if let Some(going_on) = going_on {
        return redirect(&sign_in_address(&going_on.held.record.id), None);
    }
    let services = Arc::clone(&worker.gate.services);
    let most = services.config.second_factor.hold_expired;
    let token = cx.stale_token?;
    if most == 0 || Site::of(&cx.head.headers, cx.head.headers.get(HOST)) == Site::Other {
        return None;
    }
    let owner = {
        let services = Arc::clone(&services);
        worker.gate.office.spawn(async move { services.sessions.expired_owner(&token).await })
    };
    let owner = owner.await.ok()?.ok()??;
    let body = sent.read(most as u64, worker).await.ok()?;
    let kept = keep(worker, cx, owner, &body).await?;
    redirect(&sign_in_address(&kept.id?), kept.cookie)
}

fn sign_in_address(id: &str) -> String {
    format!("/.doorward/sign-in?return_to=%2F.doorward%2Fcontinue%3Fhold%3D{id}")
}

/// Asks for an approval, or finds that there is one.
async fn approve_first(
    worker: &Rc<Worker>,
    cx: &mut RequestContext,
    audience: &Audience,
    (sent, going_on): (Sent, Option<&GoesOn>),
    (demand, refusal): (&Demand, Refusal),
) -> Result<After, Refusal> {
    let Some(session) = cx.session.clone() else { return Err(refusal) };
    let by_certificate = |proof: Proof| proof == Proof::Certificate;
    if session.evidence.iter().all(|one| by_certificate(one.method)) {
        // A program has nothing to give, now or later.
        return Err(Refusal::new(Problem::NoFactor));
    }
    // A script has what it sent, and sends it again.
    let by_script = !audience.navigates && cx.head.headers.contains_key("sec-fetch-mode");
    let keeps = !cx.head.method.is_safe() && demand.hold > 0 && !by_script;
    let mut body = None;
    if demand.for_one_request || keeps {
        match sent.read(demand.hold as u64, worker).await {
            Ok(bytes) => body = Some(bytes),
            Err(Problem::TooLarge) if demand.for_one_request => return Err(too_large(demand)),
            Err(Problem::TooLarge) => {}
            Err(problem) => return Err(Refusal::new(problem)),
        }
    }
    let bytes = body.clone().unwrap_or_default();
    if demand.for_one_request && cx.digest.is_none() {
        let (method, target) = (cx.head.method.as_str(), cx.target.as_str());
        let kind = held::representation(&cx.head);
        cx.digest = Some(RequestDigest::of(method, &cx.host, target, &kind, &bytes));
        match worker.gate.pipeline.again(cx).await {
            None => return Ok(After::GoOn(Sent::Whole(bytes))),
            Some(refusal) if refusal.problem != Problem::StepUpRequired => return Err(refusal),
            Some(_) => {}
        }
    }
    let fields = match held::plain_type(&cx.head) {
        Some(kind) => shown_fields(&demand.show, kind, &bytes),
        None => shown_fields(&demand.show, "unreadable", &bytes),
    };
    // Nobody approves what they are not shown, where the operator says that they are.
    let fields = fields.ok_or_else(|| unreadable(demand))?;
    let kept = match (going_on, &body) {
        (Some(going_on), _) => Kept { id: Some(going_on.held.record.id.clone()), cookie: None },
        (None, Some(body)) if keeps => {
            let owner = session.principal().id.clone();
            keep(worker, cx, owner, body).await.unwrap_or_default()
        }
        _ => Kept::default(),
    };
    let mut demanded = Demanded::of(demand, cx);
    demanded.fields = fields;
    demanded.held = kept.id.clone();
    demanded.return_to = way_back(cx);
    let services = Arc::clone(&worker.gate.services);
    let asking = worker.gate.office.spawn(ask_person(services, session, demanded));
    let Ok(asked) = asking.await else { return Err(Refusal::new(Problem::Internal)) };
    let (id, ways) = asked?;
    let answered = answer(cx, audience, (&id, ways), kept, refusal)?;
    Ok(After::Answer(Box::new(answered)))
}

/// Begins the challenge; gives its id, and whether the person could meet it.
async fn ask_person(
    services: Arc<Services>,
    session: Arc<doorward_plugins::session::LiveSession>,
    demanded: Demanded,
) -> Result<(String, bool), Refusal> {
    let undecided = |error: &dyn std::fmt::Display| {
        tracing::error!(event = "store_failed", %error, "nobody can be asked to approve");
        Refusal::new(Problem::Undecided)
    };
    let challenge = services.approvals.ask(&session, demanded).await;
    let challenge = challenge.map_err(|error| undecided(&error))?;
    let asked = services.approvals.asked(&session, &challenge.id).await;
    let asked = asked.map_err(|error| undecided(&error))?;
    Ok((challenge.id, !asked.ways.is_empty()))
}

/// Tells the person, or the program, where to go.
fn answer(
    cx: &RequestContext,
    audience: &Audience,
    (id, can_be_met): (&str, bool),
    kept: Kept,
    mut refusal: Refusal,
) -> Result<Response<Source>, Refusal> {
    let page = format!("/.doorward/step-up?challenge={id}");
    if audience.navigates {
        return redirect(&page, kept.cookie).ok_or(Refusal::new(Problem::Internal));
    }
    if !can_be_met {
        // No loop: another challenge would end here again (RFC 9470 §5).
        let mut refusal = Refusal::new(Problem::NoFactor);
        refusal.members.push(("account_url", "/.doorward/account/authenticators".into()));
        return Err(refusal);
    }
    refusal.members.push(("challenge", id.to_owned()));
    refusal.members.push(("step_up_url", page));
    refusal.members.push(("step_up_api", format!("/.doorward/api/v1/step-up/{id}")));
    if let Some(kept) = &kept.id {
        refusal.members.push(("continue_url", held::address(cx.target.as_str(), kept)));
    }
    refusal.fields.extend(kept.cookie.map(|cookie| (SET_COOKIE, cookie)));
    Err(refusal)
}

/// Keeps a request; `None`: it cannot be kept.
async fn keep(
    worker: &Rc<Worker>,
    cx: &RequestContext,
    owner: String,
    body: &Bytes,
) -> Option<Kept> {
    let services = Arc::clone(&worker.gate.services);
    let cookie = cx.cookies.hold.clone();
    let request = held::fold(cx, body);
    let names = CookieNames::new(&services.config.session);
    let keeping = worker
        .gate
        .office
        .spawn(async move { services.holds.keep(&owner, cookie.as_deref(), &request).await });
    match keeping.await.ok()? {
        Ok(Some((id, fresh))) => {
            let cookie = fresh.map(|fresh| names.set_hold(fresh.expose()));
            let cookie = cookie.and_then(|cookie| HeaderValue::try_from(cookie).ok());
            Some(Kept { id: Some(id), cookie })
        }
        Ok(None) => None,
        Err(error) => {
            tracing::error!(event = "store_write_failed", %error, "a request is not kept");
            None
        }
    }
}

/// Where a person goes who gives up, or whose request was not kept: the page that they wanted, or
/// the one that they came from.
fn way_back(cx: &RequestContext) -> String {
    if cx.head.method.is_safe() {
        return return_to::verify(cx.target.as_str()).to_owned();
    }
    let referer = cx.head.headers.get(REFERER).and_then(|value| value.to_str().ok());
    let place = referer.and_then(|referer| {
        let (_, rest) = referer.split_once("://")?;
        let (authority, path) = rest.split_at(rest.find('/')?);
        let host = cx.head.headers.get(HOST)?.to_str().ok()?;
        authority.eq_ignore_ascii_case(host).then_some(path)
    });
    return_to::verify(place.unwrap_or("/")).to_owned()
}

fn too_large(demand: &Demand) -> Refusal {
    let mut refusal = Refusal::new(Problem::TooLarge);
    let most = demand.hold;
    let detail = format!("A request that has to be approved may have at most {most} bytes.");
    refusal.members.push(("detail", detail));
    refusal
}

fn unreadable(demand: &Demand) -> Refusal {
    let mut refusal = Refusal::new(Problem::UnsupportedType);
    let detail = format!(
        "Send a form or a JSON object in UTF-8, each name once and not encoded: the person who \
         approves this is shown {}.",
        demand.show.join(", ")
    );
    refusal.members.push(("detail", detail));
    refusal
}

fn redirect(place: &str, cookie: Option<HeaderValue>) -> Option<Response<Source>> {
    let mut response = Response::new(Source::Full(None));
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers: &mut HeaderMap = response.headers_mut();
    crate::portal::pages::fence(headers);
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(LOCATION, HeaderValue::try_from(place).ok()?);
    headers.extend(cookie.map(|cookie| (SET_COOKIE, cookie)));
    Some(response)
}
