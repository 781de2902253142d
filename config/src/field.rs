//! Which HTTP fields and cookies the gate keeps for itself: one list for whoever removes, writes or
//! refuses them.
//!
//! Names are given in lower case. Not here: identity fields by preset or by name (`identity`).

/// Beginnings of names with which gateways tell consoles who is asking.
const IDENTITY_FAMILIES: [&str; 4] = ["remote-", "x-auth-request-", "x-authentik-", "x-doorward-"];

/// Is it of a family of names with which gateways tell consoles who is asking?
pub fn is_of_identity_family(name: &str) -> bool {
    IDENTITY_FAMILIES.iter().any(|family| name.starts_with(family))
}

/// Is it one of the fields with which a proxy says what it was asked, or with which a client
/// would change what was judged? They are removed from every request.
pub fn is_forwarding_field(name: &str) -> bool {
    name.starts_with("x-forwarded-")
        || matches!(
            name,
            "forwarded"
                | "x-real-ip"
                | "x-original-url"
                | "x-original-uri"
                | "x-original-method"
                | "x-rewrite-url"
                | "x-http-method"
                | "x-http-method-override"
                | "x-method-override"
                | "x-request-id"
        )
}

/// Does it belong to one connection, or say where the message ends (RFC 9110 §7.6.1, RFC 9112 §6)?
pub(crate) fn is_of_message_or_connection(name: &str) -> bool {
    name.starts_with("proxy-")
        || name.starts_with("sec-websocket-")
        || matches!(
            name,
            "connection"
                | "content-length"
                | "expect"
                | "http2-settings"
                | "keep-alive"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
        )
}

/// Is it the name of a cookie of the gate? Without regard to case, as browsers compare the prefix
/// (RFC 6265bis §4.1.3).
pub fn is_gate_cookie(name: &[u8]) -> bool {
    let begins = |prefix: &[u8]| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    begins(b"__Host-doorward") || begins(b"__Secure-doorward")
}
