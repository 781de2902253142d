//! Second factors, and what is a whole sign-in by itself.

pub mod webauthn;
