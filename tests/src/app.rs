//! An authenticator app, independent of the gate: it knows a key as people type it, and the time.

use totp_rs::{Algorithm, Builder, Secret};

use doorward_plugins::Clock;

/// An app on somebody's phone, whose clock is the test's.
#[derive(Clone, Debug)]
pub struct App {
    key: String,
    clock: Clock,
}

impl App {
    /// One in which this key was typed, spaces and all.
    #[must_use]
    pub fn new(key: &str, clock: &Clock) -> Self {
        Self { key: key.replace(' ', ""), clock: clock.clone() }
    }

    /// The code that it shows now.
    #[must_use]
    pub fn code(&self) -> String {
        self.code_after(0)
    }

    /// The code that it shows `steps` later, or earlier.
    #[must_use]
    pub fn code_after(&self, steps: i64) -> String {
        let secret = Secret::try_from_base32(&self.key).unwrap();
        let builder = Builder::new().with_algorithm(Algorithm::SHA1).with_secret(secret);
        let totp = builder.with_digits(6).with_step_duration(30).build().unwrap();
        let secs = self.clock.wall().secs().checked_add_signed(steps * 30).unwrap();
        totp.generate(secs).to_string()
    }

    /// Waits until it shows another code.
    pub fn wait(&self) {
        self.clock.advance(std::time::Duration::from_secs(30));
    }
}
