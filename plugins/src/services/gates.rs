//! What a gate does because it is not alone: it hears what the others do, and they of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::Services;
use crate::clock::Timestamp;
use crate::session::shared::HEAR_EVERY;
use crate::store::{StoreError, Stores};

/// How often gates look after each other.
const ATTEND_EVERY: Duration = Duration::from_secs(2);

/// A gate that has not been heard of for so long is not counted.
const ATTENDED_WITHIN: Duration = Duration::from_secs(15);

/// For how long the public keys of a gate are shown after it was there last: much longer than what
/// it signed is good for.
const KEYS_SHOWN_FOR: Duration = Duration::from_secs(3600);

/// How far the clocks of two gates may be apart. One that is further ahead would take everybody's
/// sessions for old.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(30);

/// Is it for this gate what time it is for the others?
pub(super) async fn verify_clock(stores: &Stores, now: Timestamp) -> Result<(), StoreError> {
    let Some(shared) = &stores.shared_state else { return Ok(()) };
    let Some(theirs) = shared.clock().await? else { return Ok(()) };
    let apart = now.since(theirs).max(theirs.since(now));
    if apart <= CLOCKS_APART_MAX {
        return Ok(());
    }
    let direction = if now > theirs { "ahead of" } else { "behind" };
    let seconds = apart.as_secs();
    let why =
        format!("this machine's clock is {seconds} s {direction} the other gates'; set it right");
    Err(StoreError::Failed(why.into()))
}

/// Hears what other gates do with sessions, for ever. Apart from the rest of the house, which may
/// take its time.
pub(super) async fn hear(current: impl Fn() -> Arc<Services>) {
    let what = "what other gates do is not heard: every request asks the store";
    again_and_again(&current, HEAR_EVERY, what, async |services: &Services| {
        services.sessions.hear_changes().await
    })
    .await;
}

/// Reads the accounts of which others have told, for ever. Apart from hearing, as those records are
/// at another server.
pub(super) async fn read(current: impl Fn() -> Arc<Services>) {
    let what = "accounts of which other gates tell are not read: their requests wait for that";
    again_and_again(&current, HEAR_EVERY, what, async |services: &Services| {
        services.sessions.read_unread().await
    })
    .await;
}

/// Tells other gates of this one, for ever.
pub(super) async fn tend(current: impl Fn() -> Arc<Services>) {
    let what = "gates are not counted, and their keys not known";
    again_and_again(&current, ATTEND_EVERY, what, attend).await;
}

/// Does something at this pace; says once that it fails, and once that it does no more.
async fn again_and_again(
    current: &impl Fn() -> Arc<Services>,
    every: Duration,
    what: &str,
    work: impl AsyncFn(&Services) -> Result<(), StoreError>,
) {
    if current().ground.stores.shared_state.is_none() {
        return;
    }
    let mut pace = tokio::time::interval(every);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failed = false;
    loop {
        pace.tick().await;
        let result = work(&current()).await;
        match &result {
            Ok(()) if failed => tracing::info!(event = "store_back", "other gates are heard again"),
            Err(error) if !failed => tracing::error!(event = "store_lost", %error, "{what}"),
            Ok(()) | Err(_) => {}
        }
        failed = result.is_err();
    }
}

/// Tells other gates that this one is there, and what its public keys are; learns the same of them.
pub(super) async fn attend(services: &Services) -> Result<(), StoreError> {
    let Some(shared) = &services.ground.stores.shared_state else { return Ok(()) };
    let now = services.clock.now();
    let keys = services.assertions.public_keys();
    shared.publish_keys(&keys, now + KEYS_SHOWN_FOR).await?;
    services.assertions.set_others(&shared.published_keys(now).await?);
    let lately = u64::try_from(ATTENDED_WITHIN.as_millis()).unwrap_or(u64::MAX);
    let since = Timestamp(now.0.saturating_sub(lately));
    let gates = shared.attend(&services.ground.name, now, since).await?;
    services.rate_limits.set_gates(gates);
    Ok(())
}
