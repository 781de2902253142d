//! Active health checks: each address is asked regularly whether it is well.

use std::rc::{Rc, Weak};

use doorward_config::Health;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Uri, header};

use super::{Answered, Call, Outgoing, Pool};
use crate::body::RequestBody;

impl Pool {
    /// Asks every address as long as there is the pool. One worker does it for all.
    pub(crate) fn watch_health(self: &Rc<Self>) {
        let Some(health) = &self.upstream.rules.health else { return };
        for index in 0..self.addresses.len() {
            tokio::task::spawn_local(watch(Rc::downgrade(self), index, health.clone()));
        }
    }

    async fn is_well(self: &Rc<Self>, index: usize, health: &Health) -> bool {
        let Ok(target) = PathAndQuery::try_from(health.path.as_str()) else { return false };
        let (mut head, ()) = Request::new(()).into_parts();
        (head.method, head.uri) = (Method::GET, Uri::from(target));
        let authority = self.upstream.rules.addresses.get(index).map(|address| address.authority());
        if let Ok(host) = HeaderValue::try_from(authority.unwrap_or_default()) {
            head.headers.insert(header::HOST, host);
        }
        let agent = HeaderValue::from_static("doorward-health");
        head.headers.insert(header::USER_AGENT, agent);
        let outgoing = Outgoing::of(&head);
        let mut call = Call {
            outgoing,
            body: RequestBody::Empty,
            progress: None,
            announced: None,
            session: None,
            streaming: false,
            time: None,
            interim: &|_| {},
        };
        let asking = self.forward_to(index, &mut call);
        match tokio::time::timeout(health.timeout, asking).await {
            Ok(Ok(Answered::Response(response))) => response.status().is_success(),
            Ok(Ok(Answered::Switched(..)) | Err(_)) | Err(_) => false,
        }
    }
}

async fn watch(pool: Weak<Pool>, index: usize, health: Health) {
    let mut interval = tokio::time::interval(health.interval);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut good, mut bad) = (0, 0);
    loop {
        interval.tick().await;
        let Some(pool) = pool.upgrade() else { return };
        if pool.is_well(index, &health).await {
            (good, bad) = (good + 1, 0);
        } else {
            (good, bad) = (0, bad + 1);
        }
        if bad >= health.unhealthy_after {
            pool.upstream.note_health(index, true);
        } else if good >= health.healthy_after {
            pool.upstream.note_health(index, false);
        }
    }
}
