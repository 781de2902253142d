//! One HTTP/1 connection from a client: reads requests, has them served, writes the answers, one
//! after another, in one task.
//!
//! Ours, and not hyper's, for what that saves (benches/README.md) and because nothing is read twice
//! by two parsers. What is read is read by the letter (`http1::Reader`).
//!
//! While an answer is under way the next request is not taken. What comes is read ahead, at most
//! [`AHEAD_BYTES_MAX`] and a buffer, by which it shows that the client has gone.

mod answer;
mod inbound;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{BufMut, Bytes, BytesMut};
use doorward_config::Limits;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Order, Peer};
use crate::body::{AnswerBody, Incoming};
use crate::http1::{Coding, Facts, Found, Message, Misfit, Reader, Wire};
use crate::serve::serve;
use crate::worker::Current;
use answer::Answering;
pub(crate) use inbound::Inbound;

/// While an answer is under way so much is read of what the client sends behind the request.
const AHEAD_BYTES_MAX: usize = 8 * 1024;

/// Of a body that nobody wants at most so many reads are dropped to save the connection.
const DROPPED_READS_MAX: usize = 4;

/// How the speaking ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The last answer is written.
    Over,
    /// It is, and the client may still be sending what nobody reads.
    Unread,
    /// The connection is gone, or has to go at once.
    Broken,
    /// The same in the middle of an answer that nothing but the connection's end tells the end of.
    Cut,
    /// There is nothing to do for now.
    Rest,
    /// Another protocol is spoken from here on.
    Switched,
}

/// Speaks HTTP/1 until there is nothing to do or it is over; `first` has come already. What came
/// and was not used is given back.
pub(crate) async fn speak(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    first: BytesMut,
    current: &Current,
    peer: &Rc<Peer>,
) -> (End, BytesMut) {
    // How it is read is settled until it rests.
    let config = Arc::clone(&current.worker().gate.services.config);
    let mut line = Line {
        wire: Wire::new(stream, first),
        reader: Reader::default(),
        peer,
        limits: &config.limits,
        inbound: None,
        expects_continue: false,
        ended: false,
        flushed: true,
    };
    loop {
        match line.exchange(current).await {
            Ok(()) => {}
            Err(end) => return (end, std::mem::take(&mut line.wire.read)),
        }
    }
}

/// A connection and what is under way on it.
struct Line<'l, S> {
    wire: Wire<&'l mut S>,
    reader: Reader,
    peer: &'l Rc<Peer>,
    limits: &'l Limits,
    /// The body of the request under way, if it has one.
    inbound: Option<Rc<Inbound>>,
    /// The client waits to be told before it sends that.
    expects_continue: bool,
    /// The client has sent its end.
    ended: bool,
    flushed: bool,
}

impl<S> Drop for Line<'_, S> {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl<S> Line<'_, S> {
    /// Nobody reads what is left of the request.
    fn abandon(&mut self) {
        if let Some(inbound) = self.inbound.take() {
            inbound.abandon();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<'_, S> {
    /// One request and its answer.
    async fn exchange(&mut self, current: &Current) -> Result<(), End> {
        let Message { head, facts, refused } = poll_fn(|cx| self.poll_head(cx)).await?;
        let is_head = head.method == Method::HEAD;
        self.expects_continue = false;
        if !self.reader.is_between_messages() && !self.reader.is_closed() {
            self.inbound = Some(Inbound::new(self.peer, &self.reader));
            self.expects_continue = facts.expects_continue && !facts.is_http10;
        }
        self.peer.note_more(!self.wire.read.is_empty());
        if self.ended {
            self.peer.watch.note_half_closed();
        }
        let body = self.inbound.as_ref().map(|inbound| Incoming::Http1(Rc::clone(inbound)));
        let worker = current.worker();
        let answer = {
            let mut serving =
                pin!(serve(Rc::clone(&worker), Rc::clone(self.peer), head, body, refused));
            poll_fn(|cx| self.poll_serving(serving.as_mut(), cx)).await?
        };
        // What was not asked for by now must not be asked for within the answer.
        self.expects_continue = false;
        self.peer.take_interim(&mut self.wire.write);
        let switches = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        let (head, body) = answer.into_parts();
        let answering = Answering {
            facts,
            is_head,
            length: body.size_hint().exact(),
            closes: !switches && self.is_last(facts),
        };
        let wall = || worker.gate.services.clock.wall();
        let (coding, closes) = answering.write(&head, wall, &mut self.wire.write);
        let mut sending = Sending::new(body, coding, facts.takes_trailers);
        let sent = poll_fn(|cx| self.poll_answer(&mut sending, cx)).await;
        if let Err(end) = sent {
            sending.fail();
            return Err(if coding == Coding::Close { End::Cut } else { end });
        }
        self.reader.give_back(head.headers);
        self.drop_body();
        self.abandon();
        match () {
            () if switches => Err(End::Switched),
            () if !closes && self.reader.is_between_messages() => Ok(()),
            () => Err(self.over()),
        }
    }

    /// How it ends after its last answer: has the client sent something that nobody has read?
    fn over(&mut self) -> End {
        if self.wire.read.is_empty() && !self.ended {
            let mut cx = Context::from_waker(Waker::noop());
            // Whatever it is, it shows below.
            let _ = self.wire.poll_fill(&mut cx);
        }
        let all_read = self.reader.is_between_messages() && self.wire.read.is_empty();
        if all_read { End::Over } else { End::Unread }
    }

    /// Waits for a request.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, End>> {
        match self.peer.watch.order(cx) {
            Order::Close => return Poll::Ready(Err(End::Broken)),
            Order::Drain => return Poll::Ready(Err(self.over())),
            Order::Rest if self.wire.read.is_empty() => return Poll::Ready(Err(End::Rest)),
            Order::Rest | Order::Carry => {}
        }
        loop {
            let found = self.reader.head(&mut self.wire.read, self.limits);
            self.peer.watch.note_head(matches!(found, Found::Part));
            if let Found::Message(message) = found {
                return Poll::Ready(Ok(message));
            }
            if self.ended {
                return Poll::Ready(Err(End::Over));
            }
            match self.wire.poll_fill(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(End::Broken)),
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(_)) => {}
            }
        }
    }

    /// Has the request served, and meanwhile sees to its body and to interim responses.
    fn poll_serving(
        &mut self,
        mut serving: Pin<&mut impl Future<Output = Response<AnswerBody>>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<AnswerBody>, End>> {
        if self.peer.watch.order(cx) == Order::Close {
            return Poll::Ready(Err(End::Broken));
        }
        loop {
            if let Poll::Ready(answer) = serving.as_mut().poll(cx) {
                return Poll::Ready(Ok(answer));
            }
            if !self.attend(cx)? {
                return Poll::Pending;
            }
        }
    }

    /// Is the answer that is to be written the last one? What the client still sends of a body that
    /// nobody takes is read away first, if that is soon done.
    fn is_last(&mut self, facts: Facts) -> bool {
        let unwanted = self.inbound.as_ref().is_some_and(|inbound| Rc::strong_count(inbound) == 1);
        if unwanted {
            self.drop_body();
        }
        let lasts = !facts.closes && (!facts.is_http10 || facts.keeps_alive);
        let stuck = unwanted && !self.reader.is_between_messages();
        !lasts || stuck || self.reader.is_closed() || self.peer.watch.is_last()
    }

    /// Drops what has come of a body.
    fn drop_body(&mut self) {
        if self.reader.is_closed() {
            return;
        }
        let mut cx = Context::from_waker(Waker::noop());
        let mut reads = 0;
        while !self.reader.is_between_messages() {
            match self.reader.body(&mut self.wire.read, self.limits) {
                Ok(Some(_)) => continue,
                Err(_) => return,
                Ok(None) => {}
            }
            reads += 1;
            if reads > DROPPED_READS_MAX
                || self.ended
                || !matches!(self.wire.poll_fill(&mut cx), Poll::Ready(Ok(1..)))
            {
                return;
            }
        }
    }

    /// Writes the answer, and goes on seeing to the request's body.
    fn poll_answer(
        &mut self,
        sending: &mut Sending,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), End>> {
        if self.peer.watch.order(cx) == Order::Close {
            return Poll::Ready(Err(End::Broken));
        }
        loop {
            let waits = sending.poll(&mut self.wire, cx);
            let written = self.write(cx)?;
            if sending.is_done() && written {
                // A client that has a part of an answer must not take it for none at all.
                return Poll::Ready(if sending.broken_off { Err(End::Broken) } else { Ok(()) });
            }
            if (waits || !written) && !self.attend(cx)? {
                return Poll::Pending;
            }
        }
    }

    /// Writes what waits. False: not all of it could be written.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        if !self.wire.is_written() {
            self.flushed = false;
            self.wire.begin();
            let written = self.wire.poll_write(cx);
            if self.wire.has_begun() {
                // Whoever takes a part of it is there.
                self.peer.watch.note_write(false);
            }
            self.peer.watch.note_write(written.is_pending());
            match written {
                Poll::Pending => return Ok(false),
                Poll::Ready(Err(_)) => return Err(End::Broken),
                Poll::Ready(Ok(())) => {}
            }
        }
        if !self.flushed {
            match Pin::new(&mut self.wire.stream).poll_flush(cx) {
                Poll::Pending => {
                    self.peer.watch.note_write(true);
                    return Ok(false);
                }
                Poll::Ready(Err(_)) => return Err(End::Broken),
                Poll::Ready(Ok(())) => {}
            }
            self.flushed = true;
            self.peer.watch.note_flush();
        }
        Ok(true)
    }

    /// Writes interim responses, reads what is wanted of the body, or else looks whether the client
    /// is still there, if it is time to. True: there is news of the body.
    fn attend(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        self.peer.take_interim(&mut self.wire.write);
        self.write(cx)?;
        let Some(inbound) = self.inbound.clone().filter(|inbound| inbound.is_wanted()) else {
            if self.peer.watch.looks_ahead() {
                self.look_ahead(cx)?;
            }
            return Ok(false);
        };
        loop {
            let read = self.reader.body(&mut self.wire.read, self.limits).transpose();
            if let Some(read) = read {
                inbound.put(read, &self.reader, cx);
                return Ok(true);
            }
            if self.ended {
                inbound.put(Err(crate::http1::Broken), &self.reader, cx);
                return Ok(true);
            }
            if std::mem::take(&mut self.expects_continue) && self.wire.read.is_empty() {
                self.wire.write.put_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                self.write(cx)?;
            }
            match self.wire.poll_fill(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Err(_)) => return Err(End::Broken),
                Poll::Ready(Ok(0)) => self.end(),
                Poll::Ready(Ok(_)) => {}
            }
        }
    }

    /// Reads on, within bounds: that is how it shows that a client has gone.
    fn look_ahead(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        while !self.ended && self.wire.read.len() < AHEAD_BYTES_MAX && !self.reader.is_closed() {
            match self.wire.poll_fill(cx) {
                Poll::Pending => break,
                Poll::Ready(Err(_)) => return Err(End::Broken),
                Poll::Ready(Ok(0)) => self.end(),
                Poll::Ready(Ok(_)) => self.peer.note_more(true),
            }
        }
        Ok(())
    }

    /// The client has sent its end, while it waits for an answer or has gone away.
    fn end(&mut self) {
        self.ended = true;
        self.peer.watch.note_half_closed();
    }
}

/// An answer's body on its way out.
struct Sending {
    /// When this is dropped, the access log hears of it.
    body: Option<AnswerBody>,
    coding: Coding,
    takes_trailers: bool,
    /// All of the body stands on the wire.
    is_whole: bool,
    /// There will be no more of it: it broke off, or is not what was announced.
    broken_off: bool,
}

impl Sending {
    fn new(body: AnswerBody, coding: Coding, takes_trailers: bool) -> Self {
        let is_whole = coding == Coding::None;
        let body = Some(body).filter(|_| !is_whole);
        Self { body, coding, takes_trailers, is_whole, broken_off: false }
    }

    /// Does nothing of it come any more?
    fn is_done(&self) -> bool {
        self.is_whole || self.broken_off
    }

    /// The client does not take the rest.
    fn fail(&mut self) {
        self.body.iter_mut().for_each(AnswerBody::fail);
    }

    /// Puts on the wire what there is room for. True: it waits for more of the body.
    fn poll<S>(&mut self, wire: &mut Wire<S>, cx: &mut Context<'_>) -> bool {
        while !self.is_done()
            && !wire.is_full()
            && let Some(body) = &mut self.body
        {
            let frame = match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => return true,
                Poll::Ready(Some(Err(_))) => {
                    self.broken_off = true;
                    break;
                }
                Poll::Ready(frame) => frame.and_then(Result::ok),
            };
            let over = frame.is_none() || body.is_end_stream();
            if self.put(frame, over, wire).is_err() {
                self.fail();
                self.broken_off = true;
            }
        }
        // One that is short is over when it stands on the wire; else it is when it was written.
        if self.is_done() && !wire.is_full() {
            self.body = None;
        }
        false
    }

    /// Puts a frame on the wire, and the end if it is `over`.
    fn put<S>(
        &mut self,
        frame: Option<Frame<Bytes>>,
        over: bool,
        wire: &mut Wire<S>,
    ) -> Result<(), Misfit> {
        let trailers = match frame.map(Frame::into_data) {
            None => HeaderMap::new(),
            Some(Ok(data)) => {
                wire.put(data, &mut self.coding)?;
                if !over {
                    return Ok(());
                }
                HeaderMap::new()
            }
            Some(Err(frame)) => {
                let trailers = frame.into_trailers().ok().filter(|_| self.takes_trailers);
                trailers.unwrap_or_default()
            }
        };
        wire.finish(&trailers, self.coding)?;
        self.is_whole = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
