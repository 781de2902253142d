//! Key material: what proves who somebody is, in files that only this user can read.
//!
//! - [`tls`]: the certificates that listeners show, chosen by name and swapped when their files
//!   change; and how upstreams are verified.
//! - [`clients`]: by which authorities client certificates are verified, and whom they name.
//! - [`signing`]: the keys that sign assertions and seal the audit log, their rotation, and the
//!   public set (JWKS).
//! - [`vault`]: the keys that secrets in the store are encrypted with.
//! - [`development`]: a private authority and a leaf for `demo` and for tests.
//!
//! Not here: sessions, requests, sockets.

pub mod clients;
pub mod development;
mod file;
pub mod signing;
pub mod tls;
pub mod vault;

pub use file::{KeyFileError, read_private, replace_private};
