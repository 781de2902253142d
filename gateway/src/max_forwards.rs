//! `Max-Forwards` (RFC 9110 §7.6.2): how many gateways an OPTIONS request may still pass. TRACE is
//! not let in at all.

use http::header::{ALLOW, MAX_FORWARDS};
use http::request::Parts as RequestHead;
use http::{HeaderValue, Method, Response, StatusCode};

use crate::body::Source;

/// The answer to a request that goes no further; else takes one from what it may still pass. A field
/// that is no number says nothing, and is passed on as it is.
pub(crate) fn answer(head: &mut RequestHead, methods: &[String]) -> Option<Response<Source>> {
    if head.method != Method::OPTIONS {
        return None;
    }
    let left = head.headers.get(MAX_FORWARDS)?.to_str().ok()?.parse::<u64>().ok()?;
    if let Some(left) = left.checked_sub(1) {
        head.headers.insert(MAX_FORWARDS, left.into());
        return None;
    }
    let mut answer = Response::new(Source::Full(None));
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let allow = HeaderValue::try_from(methods.join(", "));
    answer.headers_mut().extend(allow.ok().map(|methods| (ALLOW, methods)));
    Some(answer)
}
