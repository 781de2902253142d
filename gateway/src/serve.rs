//! The six rooms of a request, in one function.

use std::convert::Infallible;
use std::rc::Rc;

use doorward_plugins::{Problem, Refusal, RequestContext, RequestId};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Request, Response, Version};
use hyper::body::Incoming;

use crate::access_log::Entry;
use crate::body::{AnswerBody, Progress, RequestBody, Source};
use crate::connection::Peer;
use crate::portal;
use crate::refusal::{self, Audience};
use crate::router::remove_hop_by_hop;
use crate::worker::Worker;

/// Carries one request through the six rooms: listener (behind us), router, plugins, upstream or
/// portal, plugins again, access log. Every branch of the request path is in this body; a refusal
/// of whichever room passes the last two as well.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    peer: Rc<Peer>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    let (head, body) = request.into_parts();
    peer.watch.begin(!http_body::Body::is_end_stream(&body));
    let (method, version) = (head.method.clone(), head.version);
    let audience = Audience::of(&head);
    let (worker_id, count) = worker.next_request();
    let received = worker.gate.services.clock.now();

    let id = RequestId::new(worker_id, count);
    let (entered, cx) = match worker.gate.router.enter(head, &peer, id, received) {
        Ok(cx) => (Ok(()), cx),
        Err((problem, cx)) => (Err(Refusal::new(problem)), cx),
    };
    // From here on the request is written down, even if the client does not wait for the answer.
    let mut entry = Entry::new(Rc::clone(&worker), peer, cx, method, version);
    let cx = &mut entry.cx;
    let answer = match entered {
        Err(refusal) => Err(refusal),
        Ok(()) => match worker.gate.pipeline.on_request(cx).await {
            Some(refusal) => Err(refusal),
            None => match cx.upstream {
                // Large, and rarer: it must not make the future of every request larger.
                None => Box::pin(portal::visit(&worker, cx, &audience, body)).await,
                Some(upstream) => forward(&worker, cx, upstream, body).await,
            },
        },
    };
    let answer = answer.unwrap_or_else(|refusal| refusal::dress(&refusal, cx, &audience));
    let (mut head, source) = answer.into_parts();
    worker.gate.pipeline.on_response(cx, &mut head);
    entry.status = Some(head.status);
    Ok(Response::from_parts(head, AnswerBody::new(source, entry)))
}

/// Sends the request on and takes what belongs to the upstream's connection out of the answer.
async fn forward(
    worker: &Worker,
    cx: &mut RequestContext,
    upstream: usize,
    body: Incoming,
) -> Result<Response<Source>, Refusal> {
    let pool = worker.pools.get(upstream).ok_or(Refusal::new(Problem::Internal))?;
    let progress = Rc::new(Progress::default());
    let bytes_max = worker.gate.services.config.limits.body_bytes;
    if http_body::Body::size_hint(&body).lower() > bytes_max {
        return Err(refuse(cx, Problem::TooLarge));
    }
    let body = RequestBody::new(body, bytes_max, worker, &progress);
    let request = Request::from_parts(take_head(cx), body);
    match pool.forward(request, &progress).await {
        Err(problem) => Err(refuse(cx, problem)),
        Ok(mut response) => {
            cx.decided_by = "upstream";
            cx.answered_by_upstream = true;
            // The gate speaks its own version (RFC 9112 §2.3).
            *response.version_mut() = Version::HTTP_11;
            // A length beside a coding is not the body's (RFC 9112 §6.3).
            if response.headers().contains_key(TRANSFER_ENCODING) {
                response.headers_mut().remove(CONTENT_LENGTH);
            }
            remove_hop_by_hop(response.headers_mut());
            Ok(response.map(Source::Upstream))
        }
    }
}

fn refuse(cx: &mut RequestContext, problem: Problem) -> Refusal {
    cx.decided_by = "upstream";
    Refusal::new(problem)
}

/// The head is sent on; the log keeps what it needs of it elsewhere.
pub(crate) fn take_head(cx: &mut RequestContext) -> http::request::Parts {
    let (nothing, ()) = Request::new(()).into_parts();
    std::mem::replace(&mut cx.head, nothing)
}
