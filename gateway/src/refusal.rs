//! Dresses a refusal: a page for a person, a problem document for a program.
//!
//! Sources: RFC 9457 (problem details), RFC 9110 §15.5.2 (a 401 names a way to authenticate).

use bytes::Bytes;
use doorward_plugins::{Problem, Refusal, RequestContext};
use http::header::{
    ACCEPT, ACCEPT_LANGUAGE, ALLOW, CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER, VARY,
    WWW_AUTHENTICATE,
};
use http::request::Parts as RequestHead;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};

use crate::body::Source;
use crate::portal::language::Language;
use crate::portal::{PREFIX, pages, return_to};

const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

/// For whom an answer of the gate's own is.
#[derive(Clone, Debug)]
pub(crate) struct Audience {
    /// A person's browser that goes to a page, and can be sent to another.
    pub(crate) navigates: bool,
    /// Where the person goes back to after signing in: path and query of a page.
    place: Option<PathAndQuery>,
    accept_language: Option<HeaderValue>,
    /// It asked for the head only.
    head_only: bool,
    /// A program that calls by gRPC, and would read anything else as a broken message.
    calls_grpc: bool,
}

impl Audience {
    /// Reads a request's head. What a browser says of itself (`Sec-Fetch-Mode`) decides; where
    /// it says nothing, a program is what asks for something else than a page.
    pub(crate) fn of(head: &RequestHead) -> Self {
        // Of most requests nobody needs it: one pass costs less than to look for each.
        let (mut mode, mut accept, mut is_script) = (None, None, false);
        let (mut language, mut calls_grpc) = (None, false);
        for (name, value) in &head.headers {
            match *name {
                ACCEPT => accept = accept.or(Some(value)),
                ACCEPT_LANGUAGE => language = language.or(Some(value)),
                CONTENT_TYPE => calls_grpc |= value.as_bytes().starts_with(b"application/grpc"),
                ref other if *other == FETCH_MODE => mode = mode.or(Some(value)),
                ref other if *other == REQUESTED_WITH => is_script = true,
                _ => {}
            }
        }
        let navigates = match mode {
            Some(mode) => mode == "navigate",
            None if is_script => false,
            None => accept.is_some_and(|accept| {
                accept.as_bytes().windows(9).any(|window| window == b"text/html")
            }),
        };
        let page = navigates && matches!(head.method, Method::GET | Method::HEAD);
        let place = head.uri.path_and_query().filter(|_| page).cloned();
        let accept_language = language.filter(|_| navigates).cloned();
        let head_only = head.method == Method::HEAD;
        Self { navigates, place, accept_language, head_only, calls_grpc }
    }
}

/// The answer that tells `refusal` to its audience.
pub(crate) fn dress(
    refusal: &Refusal,
    cx: &RequestContext,
    audience: &Audience,
) -> Response<Source> {
    let mut response = if refusal.problem == Problem::SessionRequired && audience.navigates {
        to_sign_in(audience)
    } else {
        let page = audience.navigates.then(|| {
            Language::choose(cx.cookies.language.as_deref(), audience.accept_language.as_ref())
        });
        tell(refusal, cx.request_id.as_str(), page)
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("cookie, accept, sec-fetch-mode"));
    pages::fence(headers);
    if refusal.problem == Problem::MethodNotAllowed {
        headers.insert(
            ALLOW,
            HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        );
    }
    if audience.calls_grpc {
        let (code, title) = grpc_status(refusal.problem);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, HeaderValue::from(code));
        headers.insert(GRPC_MESSAGE, HeaderValue::from_static(title));
        return response.map(|_| Source::Full(None));
    }
    // Over HTTP/2 the library would send a body in answer to HEAD too (RFC 9110 §9.3.2).
    response.map(|bytes| Source::Full((!audience.head_only).then_some(bytes)))
}

/// The status of a call that was refused, by the gRPC project's mapping of HTTP's.
fn grpc_status(problem: Problem) -> (u16, &'static str) {
    let code = match problem.status().as_u16() {
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        400 => 13,
        _ => 2,
    };
    (code, problem.title())
}

/// Says what is wrong: on a page in this language, or else in a problem document. With it goes
/// what the status demands.
pub(crate) fn tell(refusal: &Refusal, request_id: &str, page: Option<Language>) -> Response<Bytes> {
    let problem = refusal.problem;
    let mut response = match page {
        Some(language) => pages::problem(problem, request_id, language),
        None => document(refusal, request_id),
    };
    *response.status_mut() = problem.status();
    add_fields(refusal, &mut response);
    let headers = response.headers_mut();
    if problem.status() == StatusCode::UNAUTHORIZED && !headers.contains_key(WWW_AUTHENTICATE) {
        headers.insert(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Doorward realm=\"doorward\", sign_in=\"/.doorward/sign-in\""),
        );
    }
    response
}

/// Says in fields when to come back, and what else there is to say of a refusal; and to the metrics,
/// what it is for.
pub(crate) fn add_fields<B>(refusal: &Refusal, response: &mut Response<B>) {
    response.extensions_mut().insert(refusal.problem);
    let headers = response.headers_mut();
    if let Some(after) = refusal.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    headers.extend(refusal.fields.iter().cloned());
}

/// A problem document (RFC 9457 §3). The type is stable; the instance names the request.
fn document(refusal: &Refusal, request_id: &str) -> Response<Bytes> {
    let problem = refusal.problem;
    let mut members = serde_json::json!({
        "type": format!("urn:doorward:problem:{}", problem.slug()),
        "title": problem.title(),
        "status": problem.status().as_u16(),
        "instance": format!("urn:doorward:request:{request_id}"),
    });
    if problem == Problem::SessionRequired
        && let Some(members) = members.as_object_mut()
    {
        members.insert("sign_in_url".into(), format!("{PREFIX}sign-in").into());
    }
    if let Some(members) = members.as_object_mut() {
        members.extend(
            refusal.members.iter().map(|(name, text)| ((*name).into(), text.clone().into())),
        );
    }
    let mut response = Response::new(Bytes::from(members.to_string()));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

fn to_sign_in(audience: &Audience) -> Response<Bytes> {
    let place = audience
        .place
        .as_ref()
        .map(|place| return_to::as_query(place.as_str()))
        .unwrap_or_default();
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(location) = HeaderValue::try_from(format!("{PREFIX}sign-in{place}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}
