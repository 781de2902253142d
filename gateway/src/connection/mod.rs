//! One downstream connection: who it is from, what it is doing, and what ends it.

pub(crate) mod http1;
mod stream;
mod tunnel;
mod watch;

use std::cell::{Cell, OnceCell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use doorward_certs::clients::ClientCertificate;
use doorward_config::{GatewayConfig, Listener};
use doorward_plugins::{FieldBlock, RequestContext};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::forwarded::{self, Authority, Pseudonym};
use crate::shared::Shared;
use crate::tls::Tls;

pub(crate) use http1::Inbound;
pub(crate) use stream::Watched;
pub(crate) use tunnel::{Tunnel, carry};
pub(crate) use watch::{Offer, Order, Watch};

/// The other end of a connection, and what is worth remembering between its requests.
pub(crate) struct Peer {
    address: Cell<SocketAddr>,
    /// The end of the connection that is ours.
    pub(crate) local: SocketAddr,
    tls: Cell<bool>,
    listener: usize,
    /// What the client has shown in the handshake, verified.
    pub(crate) certificate: OnceCell<Arc<ClientCertificate>>,
    pub(crate) watch: Watch,
    /// The client has sent something beyond the request under way.
    more: Cell<bool>,
    /// Requests so far.
    served: Cell<u64>,
    /// Interim responses that wait to be written.
    interim: RefCell<Vec<u8>>,
    /// What the connection turns into when its last answer is written.
    tunnel: RefCell<Option<Tunnel>>,
    /// With the number of the configuration by which it was found.
    authority: RefCell<Option<(u64, Authority)>>,
    fields: RefCell<Option<(HeaderValue, Arc<FieldBlock>)>>,
    /// A client address as the log writes it.
    written: RefCell<Option<(IpAddr, String)>>,
}

impl Peer {
    pub(crate) fn new(
        address: SocketAddr,
        local: SocketAddr,
        tls: bool,
        listener: usize,
        ticks: Rc<Cell<u32>>,
    ) -> Self {
        Self {
            address: Cell::new(address),
            local,
            tls: Cell::new(tls),
            listener,
            certificate: OnceCell::new(),
            watch: Watch::new(ticks),
            more: Cell::new(false),
            served: Cell::new(0),
            interim: RefCell::default(),
            tunnel: RefCell::default(),
            authority: RefCell::default(),
            fields: RefCell::default(),
            written: RefCell::default(),
        }
    }

    /// The other end: the socket's, or what a trusted proxy says of it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address.get()
    }

    /// Does the client speak TLS, to us or to a trusted proxy that says so?
    pub(crate) fn tls(&self) -> bool {
        self.tls.get()
    }

    pub(crate) fn set_tls(&self) {
        self.tls.set(true);
    }

    pub(crate) fn set_address(&self, address: SocketAddr) {
        self.address.set(address);
    }

    /// How its listener talks TLS; `None`: plain HTTP.
    pub(crate) fn listener_tls<'g>(&self, gate: &'g Shared) -> Option<&'g Tls> {
        gate.tls.get(self.listener)?.as_deref()
    }

    /// The listener that accepted it.
    pub(crate) fn listener<'c>(&self, config: &'c GatewayConfig) -> &'c Listener {
        #[expect(
            clippy::indexing_slicing,
            reason = "the acceptor counts the listeners, which stay the same"
        )]
        &config.listeners[self.listener]
    }

    /// Another request has come. If it is the last one that may come, the connection is told to
    /// close.
    pub(crate) fn admit(&self, requests_max: u64) {
        let number = self.served.get() + 1;
        self.served.set(number);
        if number >= requests_max {
            self.watch.drain();
        }
    }

    /// Writes an interim response (1xx) in front of the answer that is still to come. Over HTTP/2
    /// the library has no way to say it, and it is left out (RFC 9110 §15.2 lets a client expect
    /// none).
    pub(crate) fn tell(&self, status: StatusCode, fields: &HeaderMap) {
        if self.watch.is_multiplexed() {
            return;
        }
        let mut octets = self.interim.borrow_mut();
        let reason = status.canonical_reason().unwrap_or_default();
        octets.extend(format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).bytes());
        for (name, value) in fields {
            for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                octets.extend_from_slice(piece);
            }
        }
        octets.extend_from_slice(b"\r\n");
    }

    /// Puts the interim responses that wait behind what is to be written.
    fn take_interim(&self, write: &mut BytesMut) {
        let mut octets = self.interim.borrow_mut();
        if !octets.is_empty() {
            write.extend_from_slice(&std::mem::take(&mut *octets));
        }
    }

    /// Another protocol is spoken as soon as the answer under way is written.
    pub(crate) fn switch(&self, tunnel: Tunnel) {
        self.watch.switch();
        self.tunnel.replace(Some(tunnel));
    }

    /// What the connection turns into, now that nothing more is spoken as before.
    pub(crate) fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.take()
    }

    /// Has the client sent anything beyond the request under way?
    pub(crate) fn has_sent_more(&self) -> bool {
        self.more.get()
    }

    fn note_more(&self, more: bool) {
        self.more.set(more);
    }

    /// What an earlier request found out about this authority, by this configuration.
    pub(crate) fn known_authority(&self, raw: &HeaderValue, number: u64) -> Option<Authority> {
        let known = self.authority.borrow();
        let (found, authority) = known.as_ref()?;
        (*found == number && authority.raw == raw).then(|| authority.clone())
    }

    pub(crate) fn remember_authority(&self, authority: &Authority, number: u64) {
        self.authority.replace(Some((number, authority.clone())));
    }

    /// Writes a client address. Most connections have one client only.
    pub(crate) fn write_address(&self, address: IpAddr, line: &mut String) {
        let mut written = self.written.borrow_mut();
        match written.as_ref() {
            Some((known, text)) if *known == address => line.push_str(text),
            _ => {
                let text = address.to_string();
                line.push_str(&text);
                written.replace((address, text));
            }
        }
    }

    /// The forwarded fields of a request. A client's own connection always has the same; those
    /// of a trusted proxy depend on what it says.
    pub(crate) fn forwarded_fields(
        &self,
        cx: &RequestContext,
        authority: &Authority,
        pseudonym: &Pseudonym,
    ) -> Arc<FieldBlock> {
        let block =
            || forwarded::block(&cx.client, &authority.raw, &cx.head.headers, pseudonym).into();
        if cx.client.trusted_peer {
            return block();
        }
        let mut known = self.fields.borrow_mut();
        if let Some((_, fields)) = known.as_ref().filter(|(raw, _)| *raw == authority.raw) {
            return Arc::clone(fields);
        }
        let fields: Arc<FieldBlock> = block();
        known.replace((authority.raw.clone(), Arc::clone(&fields)));
        fields
    }
}
