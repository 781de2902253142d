//! The six rooms of a request, in one function.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use doorward_plugins::session::cookie::CookieNames;
use doorward_plugins::{Problem, Refusal, RequestContext, RequestId};
use http::header::{CONNECTION, SET_COOKIE, UPGRADE};
use http::request::Parts as RequestHead;
use http::{HeaderValue, Request, Response, StatusCode, Version};

use crate::access_log::Entry;
use crate::approval::{self, After};
use crate::body::{AnswerBody, Incoming, Sent, Source};
use crate::connection::{Peer, Tunnel};
use crate::held::{self, GoesOn};
use crate::max_forwards;
use crate::portal;
use crate::refusal::{self, Audience};
use crate::router::remove_hop_by_hop;
use crate::trailers;
use crate::upstream::{Answered, Call, Outgoing, Unanswered, UpstreamStream};
use crate::worker::Worker;

/// Carries one request through the six rooms: listener (behind us), router, plugins, upstream or
/// portal, plugins again, access log. Every branch of the request path is in this body; a refusal
/// of whichever room passes the last two as well. What could not be read as a request is `unread`
/// for this reason; `head` is then what could be told of it.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    peer: Rc<Peer>,
    mut head: RequestHead,
    body: Option<Incoming>,
    unread: Option<Problem>,
) -> Response<AnswerBody> {
    peer.watch.begin();
    peer.admit(worker.gate.services.config.limits.requests_per_connection);
    let (method, version) = (head.method.clone(), head.version);
    let audience = Audience::of(&head);
    let (worker_id, count) = worker.next_request();
    let clock = &worker.gate.services.clock;
    let began = clock.exact();
    let received = clock.timestamp(began);

    let id = RequestId::new(worker_id, count);
    let (kept, refused) = match unread {
        None if held::is_marked(&head.uri) => Box::pin(held::unfold(&worker, &mut head)).await,
        unread => (None, unread),
    };
    let (entered, cx) = match worker.gate.router.enter(head, &peer, id, received, refused) {
        Ok(cx) => (Ok(()), cx),
        Err((problem, cx)) => (Err(Refusal::new(problem)), cx),
    };
    // From here on the request is written down, even if the client does not wait for the answer.
    let mut entry = Entry::new(Rc::clone(&worker), peer, cx, method, version);
    let Entry { cx, peer, .. } = &mut entry;
    let answer = match entered {
        Err(refusal) => {
            read_cookies(&worker, cx, &audience);
            Err(refusal)
        }
        Ok(()) => match worker.gate.pipeline.on_request(cx).await {
            // Large, and rarer: neither must make the future of every request larger.
            Some(refusal) if approval::asks_more(&refusal) => {
                let sent = Sent::of(body, kept.as_deref());
                let asked = (kept.as_deref(), refusal);
                match Box::pin(approval::ask(&worker, cx, &audience, sent, asked)).await {
                    Ok(After::Answer(answer)) => Ok(*answer),
                    Ok(After::GoOn(body)) => {
                        let going = go_on(&worker, cx, (peer, version), &audience, (body, kept));
                        Box::pin(going).await
                    }
                    Err(refusal) => Err(refusal),
                }
            }
            Some(refusal) => Err(refusal),
            None => match (cx.upstream, kept) {
                (Some(upstream), None) => {
                    forward(&worker, cx, (peer, version), upstream, Sent::of(body, None)).await
                }
                (_, kept) => {
                    let body = Sent::of(body, kept.as_deref());
                    let going = go_on(&worker, cx, (peer, version), &audience, (body, kept));
                    Box::pin(going).await
                }
            },
        },
    };
    let refused = match &answer {
        Ok(answer) => answer.extensions().get::<Problem>().copied(),
        Err(refusal) => Some(refusal.problem),
    };
    worker.thread.metrics.decide(cx.decided_by, refused, cx.sent_on, began, || clock.exact());
    let answer = answer.unwrap_or_else(|refusal| refusal::dress(&refusal, cx, &audience));
    let (mut head, source) = answer.into_parts();
    worker.gate.pipeline.on_response(cx, &mut head);
    let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
    if unread.is_some() || (entry.peer.watch.is_last() && !switches) {
        // Nothing is read after it.
        head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    entry.status = Some(head.status);
    Response::from_parts(head, AnswerBody::new(source, entry))
}

/// The cookies of a request that no plugin has seen: the page that refuses it is in the language
/// that the person has chosen.
fn read_cookies(worker: &Worker, cx: &mut RequestContext, audience: &Audience) {
    if audience.navigates {
        let names = CookieNames::new(&worker.gate.services.config.session);
        cx.cookies = names.take(&mut cx.head.headers).others;
    }
}

/// Carries a request that was let through to where it is going.
async fn go_on(
    worker: &Rc<Worker>,
    cx: &mut RequestContext,
    (peer, version): (&Peer, Version),
    audience: &Audience,
    (body, kept): (Sent, Option<Box<GoesOn>>),
) -> Result<Response<Source>, Refusal> {
    let given_out = match kept {
        Some(kept) => Some(held::give_out(worker, cx, kept).await?),
        None => None,
    };
    let answer = match cx.upstream {
        None => portal::visit(worker, cx, audience, body).await,
        Some(upstream) => forward(worker, cx, (peer, version), upstream, body).await,
    };
    if let Some(record) = given_out.filter(|_| cx.nothing_sent) {
        held::give_back(worker, record).await;
    }
    answer
}

/// Sends the request on and takes what belongs to the upstream's connection out of the answer.
async fn forward(
    worker: &Rc<Worker>,
    cx: &mut RequestContext,
    (peer, version): (&Peer, Version),
    upstream: usize,
    body: Sent,
) -> Result<Response<Source>, Refusal> {
    let pool = worker.pools.get(upstream).ok_or(Refusal::new(Problem::Internal))?;
    let limits = &worker.gate.services.config.limits;
    if let Some(answer) = max_forwards::answer(&mut cx.head, &limits.methods) {
        cx.decided_by = "max_forwards";
        return Ok(answer);
    }
    if body.least() > limits.body_bytes {
        return Err(refuse(cx, Problem::TooLarge));
    }
    let streaming = cx.route.streaming;
    let (body, progress) = body.on_its_way(limits.body_bytes, worker, streaming);
    if !body.is_empty() {
        // What comes in with a body is no other protocol.
        cx.upgrade = None;
    }
    if cx.upgrade.is_some() {
        // Nor is what comes before the answer.
        peer.watch.look_ahead();
    }
    let mut call = Call {
        outgoing: Outgoing { head: &cx.head, context: Some(cx), host: None },
        body,
        progress,
        announced: Some((cx.client.end(), peer.local)),
        session: cx.session.as_ref(),
        streaming,
        time: limits.exchange_time.filter(|_| !streaming),
        interim: &|response| tell(peer, version, response),
    };
    let clock = &worker.gate.services.clock;
    let asked = clock.exact();
    let answered = pool.forward(&mut call).await;
    cx.sent_on = Some((asked, clock.exact().saturating_sub(asked)));
    cx.decided_by = "upstream";
    match answered {
        Err(Unanswered { problem, sent }) => {
            cx.nothing_sent = !sent;
            Err(Refusal::new(problem))
        }
        Ok(Answered::Switched(response, stream, first)) => {
            switch(worker, cx, peer, (&response, stream, first))
        }
        Ok(Answered::Response(mut response)) => {
            cx.answered_by_upstream = true;
            // The gate speaks its own version (RFC 9112 §2.3).
            *response.version_mut() = Version::HTTP_11;
            remove_hop_by_hop(response.headers_mut());
            trailers::announce_allowed(response.headers_mut());
            Ok(response.map(Source::Upstream))
        }
    }
}

/// Tells the client of an interim response, unless it speaks HTTP/1.0, which has none (RFC 9110
/// §15.2). It is no decision and sets nothing; `100 Continue` is the gate's own to say.
fn tell(peer: &Peer, version: Version, mut response: Response<()>) {
    let headers = response.headers_mut();
    remove_hop_by_hop(headers);
    headers.remove(SET_COOKIE);
    if response.status() != StatusCode::CONTINUE && version != Version::HTTP_10 {
        peer.tell(response.status(), response.headers());
    }
}

/// Makes the connection another protocol's, if the upstream speaks the one that was asked for.
fn switch(
    worker: &Worker,
    cx: &mut RequestContext,
    peer: &Peer,
    (response, stream, first): (&Response<()>, UpstreamStream, Bytes),
) -> Result<Response<Source>, Refusal> {
    let wanted = cx.upgrade.take();
    let spoken = response.headers().get(UPGRADE);
    let same = |(wanted, spoken): (&HeaderValue, &HeaderValue)| {
        wanted.as_bytes().eq_ignore_ascii_case(spoken.as_bytes())
    };
    let Some(protocol) = wanted.as_ref().zip(spoken).filter(|pair| same(*pair)) else {
        return Err(refuse(cx, Problem::BadGateway));
    };
    // It was read as a request, which it may have been: it is not the new protocol's.
    if peer.has_sent_more() {
        return Err(refuse(cx, Problem::BadRequest));
    }
    let services = &worker.gate.services;
    peer.switch(Tunnel {
        upstream: stream,
        first,
        is_websocket: protocol.0.as_bytes().eq_ignore_ascii_case(b"websocket"),
        session: cx.session.clone(),
        sessions: Arc::clone(&services.sessions),
        clock: services.clock.clone(),
        is_activity: cx.route.upgrade_activity,
        idle: services.config.limits.tunnel_idle,
        began: services.clock.now(),
        request_id: cx.request_id,
    });
    let mut answer = Response::new(Source::Full(None));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    *headers = response.headers().clone();
    remove_hop_by_hop(headers);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol.1.clone());
    Ok(answer)
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
