//! Room 4: the console behind the gate.
//!
//! Each worker has its own connections to each address of each upstream. An HTTP/1.1 connection
//! is driven by the task of the request that uses it: no task of its own, no wake across tasks.
//! When the response's body is over the connection goes back to the pool, where nobody polls it;
//! whether it is still good is found out when it is taken again. HTTP/2 connections are shared.
//!
//! A request is tried again only where that is safe: none of it has left, or it has no body, is
//! idempotent (RFC 9110 §9.2.2) and met a pooled connection that died before it answered.
//!
//! Not here: which upstream (the router).

mod address;
mod body;
mod connect;
mod health;
mod http1;
mod http2;
mod outgoing;
mod wait;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use doorward_config::Protocol;
use doorward_plugins::audit::{Audit, Event, EventKind};
use doorward_plugins::session::LiveSession;
use doorward_plugins::{Clock, Problem};
use http::{Response, StatusCode};

use crate::body::{Progress, RequestBody};
use crate::deadline::{Deadline, Deadlines, ticks};
use address::Lease;
use body::Source;
use http1::{Cause, Exchange, Link};
use wait::{Ended, Wait};

pub(crate) use address::Upstream;
pub(crate) use body::UpstreamBody;
pub(crate) use connect::UpstreamStream;
#[cfg(feature = "fuzzing")]
pub(crate) use http1::fuzzing;
pub(crate) use outgoing::Outgoing;

/// Whom a connection was announced to be for (PROXY protocol): the client, and where it came in.
pub(crate) type Announced = (SocketAddr, SocketAddr);

/// A worker's connections to one upstream.
pub(crate) struct Pool {
    upstream: Arc<Upstream>,
    /// By index of the address.
    addresses: Vec<Connections>,
    deadlines: Rc<Deadlines>,
    clock: Clock,
    audit: Arc<Audit>,
}

#[derive(Default)]
struct Connections {
    #[expect(
        clippy::vec_box,
        reason = "a connection goes from hand to hand; its box is made once"
    )]
    idle: RefCell<Vec<Box<Link>>>,
    shared: http2::Shared,
}

/// A request that is to be sent on.
pub(crate) struct Call<'a> {
    pub(crate) outgoing: Outgoing<'a>,
    pub(crate) body: RequestBody,
    /// How far the body has come.
    pub(crate) progress: Option<Rc<Progress>>,
    /// For whom it is.
    pub(crate) announced: Option<Announced>,
    /// The session that it was let through for; when that is over nobody waits any more.
    pub(crate) session: Option<&'a Arc<LiveSession>>,
    /// The upstream may take any time.
    pub(crate) streaming: bool,
    /// How long the whole may take.
    pub(crate) time: Option<Duration>,
    /// Hears of interim responses (1xx).
    pub(crate) interim: &'a dyn Fn(Response<()>),
}

/// What comes of a request.
pub(crate) enum Answered {
    Response(Response<UpstreamBody>),
    /// The upstream speaks another protocol from here on; these octets came already.
    Switched(Response<()>, UpstreamStream, Bytes),
}

/// Why there is no answer.
pub(crate) struct Unanswered {
    /// What to tell the client.
    pub(crate) problem: Problem,
    /// May an upstream have seen anything of the request?
    pub(crate) sent: bool,
}

impl Pool {
    pub(crate) fn new(
        upstream: Arc<Upstream>,
        deadlines: Rc<Deadlines>,
        clock: Clock,
        audit: Arc<Audit>,
    ) -> Rc<Self> {
        let addresses = upstream.addresses.iter().map(|_| Connections::default()).collect();
        Rc::new(Self { upstream, addresses, deadlines, clock, audit })
    }

    /// Are these the connections to this upstream?
    pub(crate) fn is_of(&self, upstream: &Arc<Upstream>) -> bool {
        Arc::ptr_eq(&self.upstream, upstream)
    }

    /// Sends a request and gives the response as soon as its head is there.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn forward(
        self: &Rc<Self>,
        call: &mut Call<'_>,
    ) -> Result<Answered, Unanswered> {
        let mut tried = Vec::new();
        let mut last = Unanswered { problem: Problem::NoUpstream, sent: false };
        while let Some(lease) = self.upstream.choose(&tried, || self.clock.now()) {
            let address = lease.address();
            let failed = match self.send(call, lease).await {
                Ok(answered) => {
                    self.upstream.note_success(address);
                    return Ok(answered);
                }
                Err(failed) => failed,
            };
            if failed.address_is_ill {
                self.upstream.note_failure(address, self.clock.now());
            }
            last = Unanswered { problem: failed.problem, sent: last.sent || failed.sent };
            if !failed.retry {
                return Err(last);
            }
            tried.push(address);
        }
        Err(last)
    }

    /// The same to the address of this index, whatever is known of it.
    async fn forward_to(
        self: &Rc<Self>,
        index: usize,
        call: &mut Call<'_>,
    ) -> Result<Answered, Failed> {
        self.send(call, Lease::new(&self.upstream, index)).await
    }

    async fn send(self: &Rc<Self>, call: &mut Call<'_>, lease: Lease) -> Result<Answered, Failed> {
        match self.upstream.rules.protocol {
            Protocol::Http1 => self.forward_http1(call, lease).await,
            // Large, and not every gate has such an upstream.
            Protocol::Http2 => Box::pin(self.forward_http2(call, lease)).await,
        }
    }

    /// The head for this address.
    fn outgoing<'c>(&'c self, call: &Call<'c>, lease: &Lease) -> Outgoing<'c> {
        let host = self.address(lease).and_then(|address| address.host.as_ref());
        Outgoing { host, ..call.outgoing }
    }

    async fn forward_http1(
        self: &Rc<Self>,
        call: &mut Call<'_>,
        lease: Lease,
    ) -> Result<Answered, Failed> {
        let mut was_sent = false;
        loop {
            // What killed one connection is not tried on all of them.
            let pooled = if was_sent { None } else { self.take(lease.address(), call.announced) };
            let fresh = pooled.is_none();
            let link = match pooled {
                Some(link) => link,
                // Rare and large: it must not make the future of every request larger.
                None => {
                    let connected = Box::pin(self.connect(&lease, call)).await;
                    let connected = connected.map_err(|failed| Failed { sent: was_sent, ..failed });
                    Link::new(connected?, call.announced)
                }
            };
            let body = std::mem::take(&mut call.body);
            let mut exchange = Exchange::new(link, &self.outgoing(call, &lease), body);
            let failure = match self.exchange(&mut exchange, call).await {
                Ok(head) => return self.answered(head, exchange, call, lease),
                Err(failure) => failure,
            };
            let http1::Failure { cause, sent, answered, body } = match failure {
                Ended::Failed(cause) => exchange.fail(cause),
                Ended::Problem(problem) => {
                    return Err(self.failed(problem, "it took too long to answer"));
                }
                Ended::Cut(problem) => return Err(Failed::for_good(problem)),
            };
            call.body = body;
            let died = matches!(cause, Cause::Io(_)) && !answered;
            let safe = !sent || (call.body.is_empty() && call.outgoing.head.method.is_idempotent());
            was_sent |= sent;
            if died && safe && !fresh {
                continue;
            }
            if let Some(problem) =
                call.progress.as_ref().and_then(|progress| progress.problem.get())
            {
                return Err(Failed::for_good(problem));
            }
            let mut failed = self.failed(Problem::BadGateway, &cause.to_string());
            failed.retry = died && !sent;
            failed.address_is_ill = died;
            failed.sent = was_sent;
            return Err(failed);
        }
    }

    /// Waits for the response; tells the client of interim ones.
    async fn exchange(
        &self,
        exchange: &mut Exchange,
        call: &Call<'_>,
    ) -> Result<Response<()>, Ended> {
        let mut wait = Wait::new(self, call);
        poll_fn(|cx| {
            loop {
                match exchange.poll_head(cx) {
                    Poll::Ready(Ok(head)) if http1::is_interim(head.status()) => {
                        (call.interim)(head);
                    }
                    Poll::Ready(result) => return Poll::Ready(result.map_err(Ended::Failed)),
                    Poll::Pending => return wait.poll(cx, exchange.is_sent()).map(Err),
                }
            }
        })
        .await
    }

    fn answered(
        self: &Rc<Self>,
        head: Response<()>,
        exchange: Exchange,
        call: &Call<'_>,
        lease: Lease,
    ) -> Result<Answered, Failed> {
        if head.status() != StatusCode::SWITCHING_PROTOCOLS {
            let body = UpstreamBody::new(Source::Http1(exchange), self, lease, call);
            return Ok(Answered::Response(head.map(|()| body)));
        }
        if call.outgoing.upgrade().is_none() {
            // What follows on this connection is no answer.
            return Err(self.failed(Problem::BadGateway, "it switched protocols unasked"));
        }
        let (stream, read) = exchange.into_link().into_parts();
        Ok(Answered::Switched(head, stream, read))
    }

    async fn forward_http2(
        self: &Rc<Self>,
        call: &mut Call<'_>,
        lease: Lease,
    ) -> Result<Answered, Failed> {
        loop {
            let (stream, fresh) = self.stream(&lease, call).await?;
            let body = std::mem::take(&mut call.body);
            let scheme = self.address(&lease).map_or("http", |address| address.connector.scheme());
            let mut wait = Wait::new(self, call);
            let is_sent = || call.progress.as_ref().is_none_or(|progress| progress.complete.get());
            let outgoing = self.outgoing(call, &lease);
            let mut sending = pin!(stream.exchange(&outgoing, body, scheme));
            let result = poll_fn(|cx| match sending.as_mut().poll(cx) {
                Poll::Ready(result) => Poll::Ready(Ok(result)),
                Poll::Pending => wait.poll(cx, is_sent()).map(Err),
            });
            let failure = match result.await {
                Ok(Ok(response)) => {
                    let (head, body) = response.into_parts();
                    let body = UpstreamBody::new(Source::Http2(Box::new(body)), self, lease, call);
                    return Ok(Answered::Response(Response::from_parts(head, body)));
                }
                Ok(Err(failure)) => failure,
                Err(Ended::Cut(problem)) => return Err(Failed::for_good(problem)),
                Err(_) => {
                    return Err(self.failed(Problem::GatewayTimeout, "it took too long to answer"));
                }
            };
            if let Some(problem) =
                call.progress.as_ref().and_then(|progress| progress.problem.get())
            {
                return Err(Failed::for_good(problem));
            }
            let Some(unsent) = failure.unsent else {
                return Err(self.failed(Problem::BadGateway, &failure.error.to_string()));
            };
            call.body = unsent.into_body();
            if fresh {
                let mut failed = self.failed(Problem::BadGateway, &failure.error.to_string());
                (failed.retry, failed.address_is_ill, failed.sent) = (true, true, false);
                return Err(failed);
            }
        }
    }

    /// A place on a shared connection, and whether that is new.
    async fn stream(
        &self,
        lease: &Lease,
        call: &Call<'_>,
    ) -> Result<(http2::Stream, bool), Failed> {
        let nowhere = || Failed::for_good(Problem::Internal);
        let shared = &self.addresses.get(lease.address()).ok_or_else(nowhere)?.shared;
        if let Some(stream) = shared.place() {
            return Ok((stream, false));
        }
        let _turn = shared.connecting.lock().await;
        if let Some(stream) = shared.place() {
            return Ok((stream, false));
        }
        let stream = Box::pin(self.connect(lease, call)).await?;
        if let Err(error) = shared.open(stream).await {
            let mut failed = self.failed(Problem::BadGateway, &error.to_string());
            (failed.retry, failed.address_is_ill, failed.sent) = (true, true, false);
            return Err(failed);
        }
        Ok((shared.place().ok_or_else(nowhere)?, true))
    }

    async fn connect(&self, lease: &Lease, call: &Call<'_>) -> Result<UpstreamStream, Failed> {
        let address = self.address(lease).ok_or(Failed::for_good(Problem::Internal))?;
        let connecting = address.connector.connect(call.announced);
        let limit = self.upstream.rules.connect_timeout;
        let (problem, error) = match tokio::time::timeout(limit, connecting).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => {
                self.note_tls_failure(&address.name, &error);
                (Problem::BadGateway, error.to_string())
            }
            Err(_) => (Problem::GatewayTimeout, "connecting took too long".to_owned()),
        };
        let upstream = self.upstream.rules.name.as_str();
        tracing::warn!(event = "upstream_unreachable", upstream, address = address.name, error);
        Err(Failed { problem, retry: true, address_is_ill: true, sent: false })
    }

    /// Tells the audit log if TLS was what failed: nobody may stand between gate and upstream.
    fn note_tls_failure(&self, address: &str, error: &io::Error) {
        if error.get_ref().is_some_and(|cause| cause.is::<rustls::Error>()) {
            let event = Event::new(EventKind::UpstreamTlsFail);
            let event = event.with("upstream", &self.upstream.rules.name).with("to", address);
            self.audit.record(&event.with("error", error));
        }
    }

    fn failed(&self, problem: Problem, error: &str) -> Failed {
        let upstream = self.upstream.rules.name.as_str();
        tracing::warn!(event = "upstream_failed", upstream, error);
        Failed::for_good(problem)
    }

    fn address(&self, lease: &Lease) -> Option<&address::Address> {
        self.upstream.addresses.get(lease.address())
    }

    /// A pooled connection that is still good.
    fn take(&self, address: usize, announced: Option<Announced>) -> Option<Box<Link>> {
        let idle = &self.addresses.get(address)?.idle;
        let keep = ticks(self.upstream.rules.keep_alive);
        loop {
            let mut idle = idle.borrow_mut();
            // The newest: it is the warmest, and the oldest ones run out.
            let mut link = match self.upstream.rules.proxy_protocol {
                None => idle.pop()?,
                Some(_) => {
                    let place = idle.iter().rposition(|link| link.announced == announced)?;
                    idle.remove(place)
                }
            };
            drop(idle);
            if self.deadlines.now().wrapping_sub(link.idle_since) <= keep && link.is_good() {
                return Some(link);
            }
        }
    }

    fn give_back(&self, mut link: Box<Link>, address: usize) {
        let Some(connections) = self.addresses.get(address) else { return };
        let mut idle = connections.idle.borrow_mut();
        if idle.len() < self.upstream.rules.connections_idle_max {
            link.idle_since = self.deadlines.now();
            idle.push(link);
        }
    }

    /// Closes connections that nobody has used for too long.
    pub(crate) fn sweep(&self) {
        let keep = ticks(self.upstream.rules.keep_alive);
        for connections in &self.addresses {
            let mut idle = connections.idle.borrow_mut();
            idle.retain(|link| self.deadlines.now().wrapping_sub(link.idle_since) <= keep);
        }
    }

    fn deadline(&self, time: Duration) -> Deadline {
        Deadline::after(&self.deadlines, time)
    }
}

/// Why an address gave no response.
struct Failed {
    problem: Problem,
    /// Another address may be tried.
    retry: bool,
    /// It is the address's own failure.
    address_is_ill: bool,
    /// May the upstream have seen anything of the request?
    sent: bool,
}

impl Failed {
    fn for_good(problem: Problem) -> Self {
        Self { problem, retry: false, address_is_ill: false, sent: true }
    }
}
