//! Providers, by a stand-in on loopback.
