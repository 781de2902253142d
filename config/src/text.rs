//! Kinds of text that several tables take, each with what to write instead.

use std::net::SocketAddr;

use crate::pattern::HostPattern;
use crate::problem::Fault;

/// Any text but the empty one.
pub(crate) fn some_text(text: &str) -> Result<(), Fault> {
    if text.trim().is_empty() {
        return Err(Fault::new("is empty.", "Write a value, or leave the key out."));
    }
    Ok(())
}

/// An IP address with a port.
pub(crate) fn verify_address(text: &str) -> Result<(), Fault> {
    text.parse::<SocketAddr>().map(drop).map_err(|_| {
        Fault::new(
            format!("{text:?} is not an address."),
            "Write IP address and port, for example \"0.0.0.0:8443\" or \"[::1]:8443\".",
        )
    })
}

/// The name of an HTTP field.
pub(crate) fn verify_field_name(text: &str) -> Result<(), Fault> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Ok(());
    }
    Err(Fault::new(
        format!("{text:?} is not a field name."),
        "Use letters, digits and -, for example \"X-User\".",
    ))
}

/// The value of an HTTP field, as one line (RFC 9110 §5.5).
pub(crate) fn verify_field_value(text: &str) -> Result<(), Fault> {
    let printable = text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    if !text.is_empty() && text.trim() == text && printable {
        return Ok(());
    }
    Err(Fault::new(
        format!("{text:?} is not the value of a field."),
        "Write printable ASCII, without a space at its beginning or end.",
    ))
}

/// A host, or every host below a domain.
pub(crate) fn verify_host(text: &str) -> Result<(), Fault> {
    HostPattern::parse(text).map(drop)
}

/// An HTTP method, in capitals.
pub(crate) fn verify_method(text: &str) -> Result<(), Fault> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
        return Ok(());
    }
    Err(Fault::new(
        format!("{text:?} is not a method."),
        "Write it in capitals, for example \"POST\".",
    ))
}

/// A role or a group, which is compared as it is written.
pub(crate) fn verify_group(text: &str) -> Result<(), Fault> {
    some_text(text)?;
    if text.trim() != text {
        let reason = format!("{text:?} has a space at its beginning or end.");
        return Err(Fault::new(reason, format!("Write {:?}.", text.trim())));
    }
    Ok(())
}
