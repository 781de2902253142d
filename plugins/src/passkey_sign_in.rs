//! Sign-in by a passkey alone, without name and password.
//!
//! The key says whose it is, and that it made sure who holds it: what it proves counts as two
//! factors, so none is asked for besides. Keys cannot be guessed at, so nothing is counted; a
//! password that is locked does not lock a passkey.

use std::sync::Arc;

use crate::audit::{Event, EventKind};
use crate::authenticator::webauthn::{Asked, KeyError, Keys, Used};
use crate::session::Evidence;
use crate::sign_in::{Origin, SignIn, SignInError, SignedIn};

/// What the log calls this way to sign in.
const FACTOR: &str = "passkey";

impl From<KeyError> for SignInError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Refused(_) | KeyError::Over | KeyError::Full => Self::Reject,
            KeyError::Store(error) => error.into(),
        }
    }
}

/// Signs people in by passkeys.
pub struct PasskeySignIn {
    pub(crate) keys: Arc<Keys>,
    /// Begins the session as every sign-in does: what is unusual about it is told.
    pub(crate) sign_in: Arc<SignIn>,
}

impl PasskeySignIn {
    /// Asks for a passkey at this browser.
    ///
    /// # Errors
    /// [`SignInError::Unavailable`].
    pub fn begin(&self, browser: &str) -> Result<Asked, SignInError> {
        Ok(self.keys.begin_sign_in(browser)?)
    }

    /// Begins a session for whom the passkey belongs to. The session that the browser had ends.
    ///
    /// # Errors
    /// [`SignInError`]; no session has begun then.
    pub async fn finish(
        &self,
        browser: &str,
        (challenge, response): (&str, &[u8]),
        origin: &Origin<'_>,
    ) -> Result<SignedIn, SignInError> {
        let result = match self.keys.finish_sign_in(browser, challenge, response).await {
            Ok(used) => self.enter(&used, origin).await,
            Err(error) => {
                self.note_refused(&error, origin);
                return Err(error.into());
            }
        };
        let event = match &result {
            Ok(SignedIn { session, .. }) => {
                let principal = session.principal();
                let event = Event::new(EventKind::LoginSuccess).session(session.id);
                event.principal(&principal.id).account(&principal.name)
            }
            Err(SignInError::Reject) => Event::new(EventKind::LoginFail),
            Err(error) => Event::new(EventKind::LoginUnavailable).with("error", error),
        };
        self.record(event, origin);
        result
    }

    async fn enter(&self, used: &Used, origin: &Origin<'_>) -> Result<SignedIn, SignInError> {
        let _turn = self.sign_in.turn.lock().await;
        let record = self.sign_in.accounts.find_id(&used.record.principal_id).await?;
        let record = record.filter(|record| record.is_active()).ok_or(SignInError::Reject)?;
        let evidence = vec![Evidence { method: used.method, at: self.sign_in.clock.now() }];
        let (token, session) = self.sign_in.begin_session(&record, evidence, origin).await?;
        let known = self.sign_in.check.lockout.know(&record.id, origin.guesser.device_cookie).await;
        let device_cookie = known.unwrap_or_else(|error| {
            tracing::error!(event = "store_write_failed", %error, "a browser stays unknown");
            None
        });
        Ok(SignedIn { token, session, device_cookie })
    }

    fn note_refused(&self, error: &KeyError, origin: &Origin<'_>) {
        let event = match error {
            KeyError::Store(error) => Event::new(EventKind::LoginUnavailable).with("error", error),
            why => Event::new(EventKind::LoginFail).with("reason", why),
        };
        self.record(event, origin);
    }

    fn record(&self, event: Event, origin: &Origin<'_>) {
        let (address, request_id) = (origin.guesser.address, origin.guesser.request_id);
        self.sign_in.audit.record(&event.with("factor", FACTOR).from_request(address, request_id));
    }
}
