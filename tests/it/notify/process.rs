//! Messages outlive the process.
