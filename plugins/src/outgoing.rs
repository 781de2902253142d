//! Asking a service of somebody else's, seldom and slowly: what is sent, and what can go wrong.
//!
//! Who speaks HTTP is the gateway; here is only what it is asked for.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use doorward_config::{Secret, ServiceUrl};

/// One question to a service.
#[derive(Debug)]
pub struct Call<'a> {
    /// Where to.
    pub url: &'a ServiceUrl,
    /// How it is asked.
    pub method: Method<'a>,
    /// How long it may take, from the connection to the end of the answer.
    pub timeout: Duration,
    /// The longest answer that is read.
    pub answer_bytes_max: usize,
}

/// How a service is asked.
#[derive(Debug)]
pub enum Method<'a> {
    /// GET, with a field of the service's own.
    Get {
        /// Name and value.
        field: (&'static str, &'static str),
    },
    /// POST.
    Post {
        /// The type of the body.
        content_type: &'static str,
        /// Names and values of fields of the service's own.
        fields: &'a [(&'static str, String)],
        /// The body, which may hold secrets.
        body: Secret,
    },
}

/// Why there is no answer. Nothing of it is for strangers.
#[derive(Debug, thiserror::Error)]
pub enum OutgoingError {
    /// The service cannot be reached, or not safely.
    #[error("cannot be reached: {0}")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It answered with something else than 200; a redirect is not followed.
    #[error("answered {0}")]
    Status(u16),
    /// The answer could not be read, or is too long.
    #[error("answered with something that cannot be read: {0}")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It took too long.
    #[error("did not answer in time")]
    Timeout,
    /// Too many calls are under way.
    #[error("too many calls are under way")]
    Busy,
}

/// Makes calls.
#[async_trait]
pub trait Outgoing: Send + Sync {
    /// Sends it and gives the body of an answer of status 200.
    ///
    /// # Errors
    /// [`OutgoingError`].
    async fn ask(&self, call: Call<'_>) -> Result<Bytes, OutgoingError>;
}
