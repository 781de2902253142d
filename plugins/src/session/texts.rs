//! Texts that many sessions share: a host, or what a browser says it is.
//!
//! Each is held once. Bounds: there are never more than what live sessions name and what has ended
//! since the last [`Texts::sweep`], two for each session at most.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Every text that was asked for and is still held by somebody.
#[derive(Default)]
pub(super) struct Texts(Mutex<HashSet<Arc<str>>>);

impl Texts {
    /// The one copy of `text`.
    pub(super) fn of(&self, text: &str) -> Arc<str> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = held.get(text) {
            return Arc::clone(found);
        }
        let fresh: Arc<str> = text.into();
        held.insert(Arc::clone(&fresh));
        fresh
    }

    /// Forgets what nobody holds any more.
    pub(super) fn sweep(&self) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|text| Arc::strong_count(text) > 1);
        if held.capacity() / 4 > held.len() {
            held.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_held_once_and_as_long_as_somebody_has_it() {
        let texts = Texts::default();
        let (first, second) = (texts.of("curl/8"), texts.of("curl/8"));
        assert!(Arc::ptr_eq(&first, &second));
        texts.of("somebody who is gone");
        drop(first);
        texts.sweep();
        assert_eq!(
            texts.0.lock().unwrap().iter().map(|text| &**text).collect::<Vec<_>>(),
            ["curl/8"]
        );
        assert!(Arc::ptr_eq(&second, &texts.of("curl/8")));
    }
}
