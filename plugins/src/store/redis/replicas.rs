//! Replicas that have to have what must not be lost, before it is answered.
//!
//! By a connection of its own: a server answers nothing else on one that waits for replicas, and
//! whatever is only read must not wait with it. What fewer replicas have is not undone, and not
//! acknowledged either.

use std::time::Duration;

use doorward_config::Redis as Settings;
use redis::RedisError;

use super::link::{Connection, Link};
use crate::store::StoreError;

pub(super) struct Replicas {
    link: Link,
    least: u32,
    /// How long the server waits for them.
    within: Duration,
}

impl Replicas {
    /// `None`: the settings ask for none.
    ///
    /// # Errors
    /// When the settings cannot be used; nobody is asked yet.
    pub(super) fn new(settings: &Settings) -> Result<Option<Self>, StoreError> {
        let least = settings.replicas_acknowledge;
        if least == 0 {
            return Ok(None);
        }
        // The answer that there are too few has to come within the time of the whole call.
        let within = settings.timeout / 2;
        Ok(Some(Self { link: Link::new(settings)?, least, within }))
    }

    /// Does `work`, and waits until enough of them have it.
    ///
    /// # Errors
    /// [`StoreError`]; it may have been done even so.
    pub(super) async fn with<T>(
        &self,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, StoreError> {
        let mut wait = redis::cmd("WAIT");
        wait.arg(self.least).arg(u64::try_from(self.within.as_millis()).unwrap_or(u64::MAX));
        let both = async |connection: &mut Connection| {
            let done = work(connection).await?;
            // Speaks of what was written on this connection so far.
            let there: u32 = wait.query_async(connection).await?;
            Ok((done, there))
        };
        let (done, there) = self.link.with(both).await?;
        if there >= self.least {
            return Ok(done);
        }
        let why = format!("{there} of {} replicas have acknowledged", self.least);
        Err(StoreError::Unreachable(why.into()))
    }

    /// Forgets the connection for good.
    pub(super) fn close(&self) {
        self.link.close();
    }
}
