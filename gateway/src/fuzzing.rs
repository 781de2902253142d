//! Ways in for the fuzz targets (tests/fuzz), to what is nobody else's to call.
//!
//! Only with the feature `fuzzing`, which no release has. Nothing is decided here.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use doorward_plugins::{Client, Problem, RequestContext, RequestId, Timestamp};
use http::request::Parts as RequestHead;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::connection::Peer;
use crate::forwarded;
use crate::router::Router;

pub use crate::upstream::fuzzing::{ReadResponse, ResponseEnd, read_response};

/// Who is at the other end of a request from `peer` with these fields.
pub fn client(headers: &HeaderMap, peer: SocketAddr, tls: bool, trusted: &[IpNet]) -> Client {
    forwarded::client(headers, peer, tls, trusted)
}

/// The fields with which the upstream is told who asked.
pub fn forwarded_fields(
    client: &Client,
    authority: &HeaderValue,
    headers: &HeaderMap,
) -> Option<[(HeaderName, HeaderValue); 4]> {
    forwarded::fields(client, authority, headers)
}

/// A host as it was asked for, in its one form.
pub fn parse_host(authority: &str) -> Option<Arc<str>> {
    forwarded::parse_host(authority)
}

/// Lets a request from `peer` into the second room, over plain HTTP at the first listener.
///
/// # Errors
/// Why it is refused there.
pub fn enter(
    router: &Router,
    head: RequestHead,
    peer: SocketAddr,
) -> Result<Box<RequestContext>, Problem> {
    let ticks = Rc::new(Cell::new(0));
    let local = SocketAddr::from(([127, 0, 0, 1], 8080));
    let peer = Peer::new(peer, local, false, 0, ticks);
    let entered = router.enter(head, &peer, RequestId::new(0, 0), Timestamp(0), None);
    entered.map_err(|(problem, _)| problem)
}
