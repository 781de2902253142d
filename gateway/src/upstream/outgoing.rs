//! What of a request is written to an upstream, over whichever protocol.

use doorward_plugins::{FieldBlock, RequestId};
use http::request::Parts as RequestHead;
use http::{HeaderName, HeaderValue};

/// A request's head as it will be written.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) head: &'a RequestHead,
    /// Fields that stand behind those of the head.
    pub(crate) blocks: [Option<&'a FieldBlock>; 2],
    /// What names the request in the logs of both.
    pub(crate) request_id: Option<&'a RequestId>,
    /// The client takes trailers behind the answer.
    pub(crate) takes_trailers: bool,
    /// The `Host` instead of the client's.
    pub(crate) host: Option<&'a HeaderValue>,
    /// The protocol that it asks to switch to.
    pub(crate) upgrade: Option<&'a HeaderValue>,
}

/// The field that carries a [`RequestId`].
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

impl<'a> Outgoing<'a> {
    /// Nothing but a head.
    pub(super) fn of(head: &'a RequestHead) -> Self {
        Self {
            head,
            blocks: [None; 2],
            request_id: None,
            takes_trailers: false,
            host: None,
            upgrade: None,
        }
    }
}
