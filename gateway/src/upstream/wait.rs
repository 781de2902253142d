//! The wait for a response: how long, and what cuts it short.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use doorward_plugins::Problem;
use doorward_plugins::session::LiveSession;

use super::http1::Cause;
use super::{Call, Pool};
use crate::deadline::{Deadline, is_due, ticks};

/// The wait for a response, and what ends it.
pub(super) struct Wait<'a> {
    pool: &'a Pool,
    session: Option<&'a Arc<LiveSession>>,
    /// For so long, from when the upstream has the whole request.
    limit: Duration,
    deadline: Deadline,
    was_sent: bool,
    /// When the whole has lasted too long.
    end: Option<u32>,
}

impl<'a> Wait<'a> {
    pub(super) fn new(pool: &'a Pool, call: &Call<'a>) -> Self {
        let rules = &pool.upstream.rules;
        let limit = if call.streaming { FOR_EVER } else { rules.response_timeout };
        let first = call.time.map_or(limit, |time| limit.min(time));
        let deadline = pool.deadline(first).of_session(call.session);
        let end = call.time.map(|time| pool.deadlines.now().wrapping_add(ticks(time)));
        Self { pool, session: call.session, limit, deadline, was_sent: call.body.is_empty(), end }
    }

    pub(super) fn poll(&mut self, cx: &Context<'_>, is_sent: bool) -> Poll<Ended> {
        if self.session.is_some_and(|session| session.active().is_none()) {
            return Poll::Ready(Ended::Cut(Problem::SessionRequired));
        }
        while self.deadline.poll(cx).is_ready() {
            let now = self.pool.deadlines.now();
            let whole = self.end.is_some_and(|end| is_due(end, now));
            if whole || std::mem::replace(&mut self.was_sent, is_sent) {
                return Poll::Ready(Ended::Problem(Problem::GatewayTimeout));
            }
            self.deadline = self.pool.deadline(self.limit).of_session(self.session);
        }
        Poll::Pending
    }
}

/// Longer than anything lasts here.
pub(super) const FOR_EVER: Duration = Duration::from_secs(30 * 86_400);

/// Why waiting for a response ended without one.
pub(super) enum Ended {
    Failed(Cause),
    Problem(Problem),
    Cut(Problem),
}
