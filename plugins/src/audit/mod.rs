//! What happened, told once and in one shape: who tried, what came of it, from where.
//!
//! [`Audit::record`] never waits: it is called where somebody is being answered.
//!
//! Source of the names: OWASP Logging Vocabulary Cheat Sheet.

mod event;

pub use event::{Event, EventKind, Severity};

/// Takes events.
#[derive(Debug, Default)]
pub struct Audit {}

impl Audit {
    /// Notes that something happened. Never waits and never fails.
    pub fn record(&self, event: &Event) {
        event.trace();
    }
}
