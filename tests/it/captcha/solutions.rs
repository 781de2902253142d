//! Solutions by programs: right, wrong, old, used, and somebody else's.
