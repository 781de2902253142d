//! What both sides of HTTP/1.1 have in common, and how a client's side of it is read.
//!
//! Ours, and not hyper's, on both sides: carrying requests is what this project is for, and what
//! one reader takes for the end of a message nobody here takes for anything else. The connection to
//! a client is `connection/http1/`, the one to a console `upstream/http1/`; HTTP/2 is hyper's.

mod chunks;
mod head;
mod names;
mod reader;
mod wire;

pub use head::{Facts, Message};
pub(crate) use head::{is_token, lists, split_field};
pub(crate) use names::Names;
pub use reader::{Broken, Found, Piece, Reader};
pub(crate) use wire::{Coding, Misfit, Wire, write_line};
