//! Requests that are kept: how one is folded away, and how it goes on.
//!
//! Somebody whose browser sends a form to be approved, or after their session has expired, loses
//! nothing: the request is kept (`doorward_plugins::hold`), and goes on when the browser posts to
//! its path with a mark in the query. Of that post itself nothing is ever forwarded: its body may be
//! the code that somebody has just typed. What goes on passes all rooms like any request, with the
//! cookies and the address of whoever posts; it is given out last, once, and only to who sent it.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use doorward_config::is_forwarding_field;
use doorward_plugins::hold::{Held, HeldRequest, HoldRecord};
use doorward_plugins::session::cookie::CookieNames;
use doorward_plugins::{Problem, Refusal, RequestContext};
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, HOST, HeaderMap, HeaderName,
    HeaderValue, USER_AGENT,
};
use http::request::Parts as RequestHead;
use http::uri::PathAndQuery;
use http::{Method, Uri};

use crate::portal::Site;
use crate::worker::Worker;

/// What marks the post that makes a kept request go on.
const MARK: &str = "doorward-continue=";

/// A kept request that is going on.
pub(crate) struct GoesOn {
    /// What is kept.
    pub(crate) held: Held,
    /// Its body.
    pub(crate) body: Bytes,
}

/// The address at which a kept request goes on.
pub(crate) fn address(target: &str, id: &str) -> String {
    let separator = if target.contains('?') { '&' } else { '?' };
    format!("{target}{separator}{MARK}{id}")
}

/// The id in the mark, which is the end of the query.
fn marked(uri: &Uri) -> Option<&str> {
    let query = uri.query()?;
    let id = query.rsplit('&').next()?.strip_prefix(MARK)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (id.len() == 22 && id.bytes().all(plain)).then_some(id)
}

/// Is it such a post?
pub(crate) fn is_marked(uri: &Uri) -> bool {
    marked(uri).is_some()
}

/// Puts a kept request in the place of the post that makes it go on, or says why it does not go on:
/// nothing of the post is forwarded then either.
pub(crate) async fn unfold(
    worker: &Rc<Worker>,
    head: &mut RequestHead,
) -> (Option<Box<GoesOn>>, Option<Problem>) {
    match find(worker, head).await {
        Ok(found) => (Some(Box::new(found)), None),
        Err(problem) => (None, Some(problem)),
    }
}

async fn find(worker: &Rc<Worker>, head: &mut RequestHead) -> Result<GoesOn, Problem> {
    let id = marked(&head.uri).map(str::to_owned).ok_or(Problem::NotHeld)?;
    if head.method != Method::POST {
        return Err(Problem::NotHeld);
    }
    // The router has not been here yet: over HTTP/2 the host stands in the target alone.
    let authority = head.uri.authority().map(|authority| authority.as_str().parse());
    let host = authority.transpose().map_err(|_| Problem::BadRequest)?;
    if Site::of(&head.headers, host.as_ref().or(head.headers.get(HOST))) == Site::Other {
        return Err(Problem::CrossSite);
    }
    let services = Arc::clone(&worker.gate.services);
    let names = CookieNames::new(&services.config.session);
    let cookie = names.take(&mut head.headers.clone()).others.hold.ok_or(Problem::NotHeld)?;
    let found = worker.gate.office.spawn(async move { services.holds.find(&id, &cookie).await });
    let Ok(Ok(found)) = found.await else { return Err(Problem::Undecided) };
    let held = found.ok_or(Problem::NotHeld)?;
    let body = Bytes::from(held.request.body());
    replace(head, &held.request, body.len()).ok_or(Problem::NotHeld)?;
    Ok(GoesOn { held, body })
}

/// Gives a kept request out, the last thing before it is forwarded: once, to whoever sent it, at the
/// host that it was for. What it gives can be given back if nothing comes of it.
///
/// # Errors
/// Why it is not forwarded.
pub(crate) async fn give_out(
    worker: &Rc<Worker>,
    cx: &mut RequestContext,
    kept: Box<GoesOn>,
) -> Result<Box<HoldRecord>, Refusal> {
    cx.decided_by = "held";
    verify_sender(cx, &kept)?;
    let record = Box::new(kept.held.record);
    let id = record.id.clone();
    let services = Arc::clone(&worker.gate.services);
    let taken = worker.gate.office.spawn(async move { services.holds.take(&id).await });
    match taken.await {
        Ok(Ok(true)) => Ok(record),
        Ok(Ok(false)) => Err(Refusal::new(Problem::NotHeld)),
        _ => Err(Refusal::new(Problem::Undecided)),
    }
}

/// Keeps again what was given out, and of which nothing was sent on: a console that is down costs
/// nobody what they have typed.
pub(crate) async fn give_back(worker: &Rc<Worker>, record: Box<HoldRecord>) {
    let services = Arc::clone(&worker.gate.services);
    let kept = worker.gate.office.spawn(async move { services.holds.give_back(&record).await });
    match kept.await {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) => tracing::warn!(event = "hold_full", "a kept request is lost"),
        Ok(Err(error)) => {
            tracing::error!(event = "store_failed", %error, "a kept request is lost");
        }
        Err(error) => tracing::error!(event = "office_failed", %error, "a kept request is lost"),
    }
}

/// Is it whoever sent it who asks, at the host that it was for?
///
/// # Errors
/// That they may not.
pub(crate) fn verify_sender(cx: &RequestContext, kept: &GoesOn) -> Result<(), Refusal> {
    let whose = cx.principal.as_ref().map(|principal| principal.id.as_str());
    let same = whose == Some(&kept.held.record.principal_id) && *cx.host == *kept.held.request.host;
    if same { Ok(()) } else { Err(Refusal::new(Problem::Forbidden)) }
}

/// Makes the kept request of the post. Who asks is as the post says, what is asked as was kept.
fn replace(head: &mut RequestHead, kept: &HeldRequest, length: usize) -> Option<()> {
    head.method = Method::from_bytes(kept.method.as_bytes()).ok()?;
    let mut parts = std::mem::take(&mut head.uri).into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(kept.target.as_str()).ok()?);
    head.uri = Uri::from_parts(parts).ok()?;
    let mut headers = HeaderMap::new();
    for (name, value) in head.headers.iter().filter(|(name, _)| belongs_to_post(name)) {
        headers.append(name.clone(), value.clone());
    }
    for (name, value) in &kept.fields {
        let name = HeaderName::try_from(name).ok()?;
        headers.append(name, HeaderValue::from_bytes(value).ok()?);
    }
    if length > 0 {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    head.headers = headers;
    Some(())
}

/// Fields that say who asks and from where, not what.
fn belongs_to_post(name: &HeaderName) -> bool {
    [HOST, COOKIE, USER_AGENT].contains(name) || is_forwarding_field(name.as_str())
}

/// What is kept of a request, whose fields of connection, forwarding and identity are gone already.
pub(crate) fn fold(cx: &RequestContext, body: &[u8]) -> HeldRequest {
    let dropped =
        |name: &HeaderName| belongs_to_post(name) || [CONTENT_LENGTH, EXPECT].contains(name);
    let fields = cx.head.headers.iter().filter(|(name, _)| !dropped(name));
    let fields = fields.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
    let method = cx.head.method.as_str();
    HeldRequest::new(method, &cx.host, cx.target.as_str(), fields.collect(), body)
}

/// Everything that says how a request's body is to be read: all its fields of content, octet by
/// octet and in their order, but for its length.
pub(crate) fn representation(head: &RequestHead) -> Vec<u8> {
    let mut all = Vec::new();
    let says = |name: &HeaderName| name.as_str().starts_with("content-") && *name != CONTENT_LENGTH;
    for (name, value) in head.headers.iter().filter(|(name, _)| says(name)) {
        for part in [name.as_str().as_bytes(), value.as_bytes()] {
            all.extend_from_slice(&(part.len() as u64).to_be_bytes());
            all.extend_from_slice(part);
        }
    }
    all
}

/// The one type of a request's body, if nothing else says how that is to be read; empty: it has none.
pub(crate) fn plain_type(head: &RequestHead) -> Option<&str> {
    let mut types = head.headers.get_all(CONTENT_TYPE).iter();
    let first = types.next().map_or(Some(""), |value| value.to_str().ok());
    let encoded = head.headers.contains_key(CONTENT_ENCODING);
    first.filter(|_| types.next().is_none() && !encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_mark_at_the_end_is_one() {
        let id = "AAAAAAAAAAAAAAAAAAAAAA";
        for (address, expected) in [
            (format!("/a?doorward-continue={id}"), true),
            (format!("/a?b=c&doorward-continue={id}"), true),
            (format!("/a?doorward-continue={id}&b=c"), false),
            (format!("/a?doorward-continue={id}x"), false),
            (format!("/a?xdoorward-continue={id}"), false),
            ("/a?doorward-continue=".into(), false),
            ("/a".into(), false),
        ] {
            assert_eq!(marked(&address.parse().unwrap()).is_some(), expected, "{address}");
        }
        assert_eq!(address("/a", id), format!("/a?doorward-continue={id}"));
        assert_eq!(marked(&address("/a?b", id).parse().unwrap()), Some(id));
    }
}
