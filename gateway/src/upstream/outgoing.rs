//! What of a request is written to an upstream, over whichever protocol.

use doorward_plugins::RequestContext;
use http::request::Parts as RequestHead;
use http::{HeaderName, HeaderValue};

/// A request's head as it will be written.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) head: &'a RequestHead,
    /// Whose it is, of which the fields behind those of the head tell. `None`: the gate's own.
    pub(crate) context: Option<&'a RequestContext>,
    /// The `Host` instead of the client's.
    pub(crate) host: Option<&'a HeaderValue>,
}

/// The field that names the request in the logs of both.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

impl<'a> Outgoing<'a> {
    /// Nothing but a head.
    pub(super) fn of(head: &'a RequestHead) -> Self {
        Self { head, context: None, host: None }
    }

    /// The protocol that it asks to switch to.
    pub(super) fn upgrade(&self) -> Option<&'a HeaderValue> {
        self.context?.upgrade.as_ref()
    }
}
