//! Fields after a body: what may stand there, in both directions.
//!
//! Some recipients merge trailers into the head, so nothing may come by this way that decides
//! about the message: framing, routing, identity, cookies, what a client asks for (RFC 9110
//! §6.5.1). The rest passes; gRPC tells its status there.

use doorward_config::is_forwarding_field;
use http::header::TRAILER;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::router::is_hop_by_hop;

/// Beginnings of names that decide about a message.
const FAMILIES: [&str; 4] = ["content-", "if-", "access-control-", "proxy-"];

/// Takes out what must not come after a body.
pub(crate) fn filter(trailers: &mut HeaderMap) {
    while let Some(name) = trailers.keys().find(|name| !is_allowed(name)).cloned() {
        trailers.remove(name);
    }
}

/// Leaves of what a response's `Trailer` announces only what may come.
pub(crate) fn announce_allowed(headers: &mut HeaderMap) {
    if !headers.contains_key(TRAILER) {
        return;
    }
    let values = headers.get_all(TRAILER).iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(','));
    let names = names.filter_map(|name| HeaderName::try_from(name.trim()).ok());
    let allowed: Vec<_> = names.filter(is_allowed).collect();
    let list: Vec<_> = allowed.iter().map(HeaderName::as_str).collect();
    headers.remove(TRAILER);
    if let Ok(list) = HeaderValue::try_from(list.join(", "))
        && !allowed.is_empty()
    {
        headers.insert(TRAILER, list);
    }
}

fn is_allowed(name: &HeaderName) -> bool {
    let decides = is_hop_by_hop(name)
        || is_forwarding_field(name.as_str())
        || matches!(
            name.as_str(),
            "accept"
                | "age"
                | "authorization"
                | "cache-control"
                | "cookie"
                | "date"
                | "expect"
                | "expires"
                | "host"
                | "location"
                | "max-forwards"
                | "origin"
                | "pragma"
                | "range"
                | "referer"
                | "retry-after"
                | "set-cookie"
                | "strict-transport-security"
                | "trailer"
                | "user-agent"
                | "vary"
                | "via"
                | "warning"
                | "www-authenticate"
                | "sec-websocket-accept"
        )
        || FAMILIES.iter().any(|family| name.as_str().starts_with(family));
    !decides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b11_only_what_decides_nothing_comes_after_a_body() {
        let mut trailers = HeaderMap::new();
        for name in ["grpc-status", "grpc-message", "x-checksum", "digest", "server-timing"] {
            trailers.insert(name, HeaderValue::from_static("kept"));
        }
        let kept = trailers.clone();
        for name in [
            "content-length",
            "transfer-encoding",
            "host",
            "authorization",
            "cookie",
            "set-cookie",
            "x-forwarded-for",
            "forwarded",
            "connection",
            "content-type",
            "if-match",
            "te",
            "via",
            "x-request-id",
            "proxy-authorization",
            "trailer",
            "cache-control",
        ] {
            trailers.append(HeaderName::from_static(name), HeaderValue::from_static("dropped"));
        }
        filter(&mut trailers);
        assert_eq!(trailers, kept);
        let mut headers = HeaderMap::new();
        headers.append(TRAILER, HeaderValue::from_static("Grpc-Status, Cookie, ???"));
        headers.append(TRAILER, HeaderValue::from_static("x-a,host"));
        announce_allowed(&mut headers);
        assert_eq!(headers[TRAILER], "grpc-status, x-a");
        headers.insert(TRAILER, HeaderValue::from_static("cookie"));
        announce_allowed(&mut headers);
        assert!(headers.is_empty());
    }
}
