//! One span a request for a collector of traces (OpenTelemetry), and the way of a trace through the
//! gate (W3C Trace Context).
//!
//! A span says the method, the route's name, the status, who decided and the request's id, by which
//! the log has the rest: never a path, a query, an address or a name. Where no collector is named
//! nothing of this is done, and `traceparent` goes through as it came.
//!
//! Bounds: so many spans wait ([`QUEUE`]), further ones are dropped; requests never wait for them.
//!
//! - `parent`: the fields. `collector`: how spans leave.

mod collector;
mod parent;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use doorward_config::Tracing;
use doorward_plugins::{RequestContext, Timestamp};
use http::Method;
use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
    TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider,
};
use tokio::runtime::Handle;

pub(crate) use opentelemetry_sdk::trace::Span;

use crate::gate::StartError;
use collector::Collector;
use parent::Parent;

/// So many spans wait to be sent; further ones are dropped.
const QUEUE: usize = 2048;

/// So many are sent at once, at the latest after [`SEND_EVERY`].
const BATCH: usize = 512;

const SEND_EVERY: Duration = Duration::from_secs(5);

/// How long a gate that goes down waits for the collector.
const LAST_SEND: Duration = Duration::from_secs(2);

/// Makes spans and has them sent.
pub(crate) struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    accept_everybody: bool,
}

impl Traces {
    /// Spans go to the collector that these rules name, by way of the `office`.
    ///
    /// # Errors
    /// [`StartError`] when they cannot.
    pub(crate) fn start(rules: &Tracing, office: &Handle) -> Result<Self, StartError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(rules.endpoint.to_string())
            .with_timeout(rules.timeout)
            .with_http_client(Collector::new(rules, office))
            .build()
            .map_err(|error| StartError::Config(format!("tracing: {error}")))?;
        // Each said here, or the library would look for it in the environment.
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(SEND_EVERY)
            .build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        #[expect(clippy::cast_precision_loss, reason = "a million fits")]
        let one_in = rules.one_in as f64;
        let begun_here = Sampler::TraceIdRatioBased(one_in.recip());
        let resource = Resource::builder_empty()
            .with_service_name(rules.service.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_sampler(Sampler::ParentBased(Box::new(begun_here)))
            .with_resource(resource.build())
            .build();
        let tracer = provider.tracer("doorward");
        Ok(Self { provider, tracer, accept_everybody: rules.accept_everybody })
    }

    /// Begins the span of a request, and tells the console of it.
    pub(crate) fn begin(&self, cx: &mut RequestContext, method: &Method, at: Timestamp) -> Span {
        let believed = self.accept_everybody || cx.client.trusted_peer;
        let headers = &mut cx.head.headers;
        let parent = Parent::take(headers, believed).map(|parent| {
            let flags = TraceFlags::default().with_sampled(parent.sampled);
            let (trace, span) = (TraceId::from(parent.trace), SpanId::from(parent.span));
            let remote = SpanContext::new(trace, span, flags, true, TraceState::default());
            Context::new().with_remote_span_context(remote)
        });
        let builder = self.tracer.span_builder(format!("{method} {}", cx.route.name));
        let builder = builder.with_kind(SpanKind::Server).with_start_time(system_time(at));
        let span = self.tracer.build_with_context(builder, &parent.unwrap_or_default());
        let own = span.span_context();
        if own.is_valid() {
            Parent {
                trace: u128::from_be_bytes(own.trace_id().to_bytes()),
                span: u64::from_be_bytes(own.span_id().to_bytes()),
                sampled: own.is_sampled(),
            }
            .tell(headers);
        }
        span
    }

    /// Sends what waits, for a last time. Blocks.
    pub(crate) fn shut_down(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(LAST_SEND) {
            tracing::warn!(event = "traces_lost", %error);
        }
    }
}

/// Says how a request went.
pub(crate) fn end(
    mut span: Span,
    cx: &RequestContext,
    (method, status): (&Method, u16),
    at: Timestamp,
) {
    if span.is_recording() {
        span.set_attributes([
            KeyValue::new("http.request.method", method.to_string()),
            KeyValue::new("http.route", cx.route.name.to_string()),
            KeyValue::new("http.response.status_code", i64::from(status)),
            KeyValue::new("doorward.decided_by", cx.decided_by),
            KeyValue::new("doorward.request_id", cx.request_id.as_str().to_owned()),
        ]);
        if status >= 500 {
            span.set_status(Status::error(""));
        }
    }
    span.end_with_timestamp(system_time(at));
}

fn system_time(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(at.0)
}
