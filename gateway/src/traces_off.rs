//! A gate that was built without the feature `otlp` makes no traces, and says so when it is to.

use doorward_config::Tracing;
use doorward_plugins::{RequestContext, Timestamp};
use http::Method;
use tokio::runtime::Handle;

use crate::gate::StartError;

/// There are none.
pub(crate) enum Traces {}

/// There is none.
pub(crate) enum Span {}

impl Traces {
    pub(crate) fn start(_: &Tracing, _: &Handle) -> Result<Self, StartError> {
        Err(StartError::Config("tracing: this gate was built without the feature otlp".into()))
    }

    pub(crate) fn begin(&self, _: &mut RequestContext, _: &Method, _: Timestamp) -> Span {
        match *self {}
    }

    pub(crate) fn shut_down(&self) {
        match *self {}
    }
}

pub(crate) fn end(span: Span, _: &RequestContext, _: (&Method, u16), _: Timestamp) {
    match span {}
}
