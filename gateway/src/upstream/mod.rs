//! Room 4: the console behind the gate.
//!
//! Each worker has its own connections to each upstream. A connection is driven by the task of
//! the request that uses it: no task of its own, no wake across tasks. When the response's body
//! is over the connection goes back to the pool, where nobody polls it; whether it is still good
//! is found out when it is taken again.
//!
//! Not here: which upstream (the router), and several addresses for one.

mod connect;
mod link;

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use doorward_certs::KeyFileError;
use doorward_config::{HostHeader, Upstream as Rules};
use doorward_plugins::Problem;
use http::header::HOST;
use http::{HeaderValue, Request, Response, StatusCode};

use crate::body::{Progress, RequestBody};
use crate::deadline::{Deadline, Deadlines, ticks};
use connect::Connector;
use link::Link;

pub(crate) use link::LinkBody;

/// What all workers know of an upstream.
pub(crate) struct Upstream {
    pub(crate) rules: Rules,
    connector: Connector,
    host: Option<HeaderValue>,
}

impl Upstream {
    /// Prepares for an upstream; its certificates are read now.
    pub(crate) fn new(rules: &Rules) -> Result<Self, KeyFileError> {
        let host = match &rules.host_header {
            HostHeader::Keep => None,
            HostHeader::Literal(host) => HeaderValue::try_from(host).ok(),
        };
        Ok(Self { connector: Connector::new(rules)?, host, rules: rules.clone() })
    }
}

/// A worker's connections to one upstream.
pub(crate) struct Pool {
    upstream: Arc<Upstream>,
    idle: RefCell<Vec<Link>>,
    deadlines: Rc<Deadlines>,
}

impl Pool {
    pub(crate) fn new(upstream: Arc<Upstream>, deadlines: Rc<Deadlines>) -> Rc<Self> {
        Rc::new(Self { upstream, idle: RefCell::default(), deadlines })
    }

    /// Sends a request and gives the response as soon as its head is there.
    ///
    /// # Errors
    /// The problem to tell the client. Nothing is sent twice: only a request of which no octet
    /// left is tried on another connection.
    pub(crate) async fn forward(
        self: &Rc<Self>,
        mut request: Request<RequestBody>,
        progress: &Progress,
    ) -> Result<Response<LinkBody>, Problem> {
        if let Some(host) = &self.upstream.host {
            request.headers_mut().insert(HOST, host.clone());
        }
        loop {
            let pooled = self.take();
            let fresh = pooled.is_none();
            let link = match pooled {
                Some(link) => link,
                // Rare and large: it must not make the future of every request larger.
                None => Box::pin(self.connect()).await?,
            };
            match self.exchange(link, request, progress).await {
                Ok(response) => return Ok(response),
                Err(Failure::Unsent(unsent)) if !fresh => request = *unsent,
                Err(failure) => return Err(self.problem(&failure, progress)),
            }
        }
    }

    async fn connect(&self) -> Result<Link, Problem> {
        let connecting = self.upstream.connector.connect();
        match tokio::time::timeout(self.upstream.rules.connect_timeout, connecting).await {
            Ok(Ok(link)) => Ok(link),
            Ok(Err(error)) => {
                tracing::warn!(event = "upstream_unreachable", upstream = self.upstream.rules.name, %error);
                Err(Problem::BadGateway)
            }
            Err(_) => {
                tracing::warn!(
                    event = "upstream_unreachable",
                    upstream = self.upstream.rules.name,
                    error = "connecting took too long"
                );
                Err(Problem::GatewayTimeout)
            }
        }
    }

    async fn exchange(
        self: &Rc<Self>,
        mut link: Link,
        request: Request<RequestBody>,
        progress: &Progress,
    ) -> Result<Response<LinkBody>, Failure> {
        let limit = self.upstream.rules.response_timeout;
        let mut deadline = self.deadline(limit);
        let mut was_complete = progress.complete.get();
        let mut sending = pin!(link.sender.try_send_request(request));
        let sent = poll_fn(|cx| {
            // An error of the connection shows in `sending` as well.
            let _ = link.connection.as_mut().poll(cx);
            if let Poll::Ready(result) = sending.as_mut().poll(cx) {
                return Poll::Ready(Some(result));
            }
            // The time counts from when the upstream has the whole request.
            while deadline.poll(cx).is_ready() {
                if std::mem::replace(&mut was_complete, progress.complete.get()) {
                    return Poll::Ready(None);
                }
                deadline = self.deadline(limit);
            }
            Poll::Pending
        });
        match sent.await {
            None => Err(Failure::Timeout),
            // Nobody asked to switch; what follows on this connection is no answer.
            Some(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                Err(Failure::Switch)
            }
            Some(Ok(response)) => {
                Ok(response.map(|body| LinkBody::new(body, link, Rc::clone(self))))
            }
            Some(Err(mut error)) => Err(match error.take_message() {
                Some(request) => Failure::Unsent(Box::new(request)),
                None => Failure::Http(error.into_error()),
            }),
        }
    }

    fn problem(&self, failure: &Failure, progress: &Progress) -> Problem {
        if let Some(problem) = progress.problem.get() {
            return problem;
        }
        let (problem, error) = match failure {
            Failure::Switch => (Problem::BadGateway, "it switched protocols unasked".to_owned()),
            Failure::Timeout => (Problem::GatewayTimeout, "it took too long to answer".to_owned()),
            Failure::Unsent(_) => (Problem::BadGateway, "it closed a new connection".to_owned()),
            Failure::Http(error) => (Problem::BadGateway, error.to_string()),
        };
        tracing::warn!(event = "upstream_failed", upstream = self.upstream.rules.name, error);
        problem
    }

    /// A pooled connection that is still good.
    fn take(&self) -> Option<Link> {
        let keep = ticks(self.upstream.rules.keep_alive);
        loop {
            // The newest: it is the warmest, and the oldest ones run out.
            let mut link = self.idle.borrow_mut().pop()?;
            if self.deadlines.now().wrapping_sub(link.idle_since) <= keep && link.is_good() {
                return Some(link);
            }
        }
    }

    fn give_back(&self, mut link: Link) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.upstream.rules.connections_idle_max {
            link.idle_since = self.deadlines.now();
            idle.push(link);
        }
    }

    /// Closes connections that nobody has used for too long.
    pub(crate) fn sweep(&self) {
        let keep = ticks(self.upstream.rules.keep_alive);
        self.idle
            .borrow_mut()
            .retain(|link| self.deadlines.now().wrapping_sub(link.idle_since) <= keep);
    }

    /// How long the upstream may pause within a response body.
    fn pause(&self) -> Deadline {
        self.deadline(self.upstream.rules.idle_timeout)
    }

    fn deadline(&self, time: Duration) -> Deadline {
        Deadline::after(&self.deadlines, time)
    }
}

/// Why an exchange gave no response.
enum Failure {
    Http(hyper::Error),
    Switch,
    Timeout,
    Unsent(Box<Request<RequestBody>>),
}
