//! How a request travels.
//!
//! Six rooms, named in one function, [`serve`](serve/index.html): listener, router, plugins on the
//! request, upstream or portal, plugins on the response, access log. *Workers*, one thread each,
//! only carry requests; everything that may block or compute (pages, the API, password hashing,
//! SQL) runs on the *office* runtime.
//!
//! Not here: what is decided (`doorward-plugins`), and what an operator can say
//! (`doorward-config`).

mod access_log;
mod approval;
mod body;
pub mod cli;
mod connection;
mod deadline;
pub mod demo;
mod entrance;
mod forwarded;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod hand_over;
mod held;
pub mod http1;
mod listener;
pub mod log;
mod max_forwards;
mod metrics;
mod notify;
mod operations;
mod outgoing;
pub mod portal;
mod private_socket;
pub mod proxy_protocol;
mod refusal;
mod reload;
mod rewrite;
mod route_index;
mod router;
mod serve;
mod service_manager;
mod shared;
mod target;
mod tls;
#[cfg_attr(not(feature = "otlp"), path = "traces_off.rs")]
mod traces;
mod trailers;
mod upstream;
mod waiting;
mod worker;

pub use gate::{Gate, StartError};
pub use hand_over::Sockets;
pub use reload::ReloadError;
pub use router::{Explained, Router};
pub use target::{Target, TargetError};
