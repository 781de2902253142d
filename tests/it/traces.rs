//! What a collector of traces is told of requests, and how a trace goes through the gate.

use std::collections::BTreeMap;

use doorward_tests::{Setup, TestGate, Upstream, eventually};
use http::StatusCode;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRUSTED: &str = "trusted_proxies = [\"127.0.0.0/8\"]\n";

/// A gate that tells `collector` of one request in so many.
async fn gate(upstream: &Upstream, collector: &Upstream, listener: &str, keys: &str) -> TestGate {
    let endpoint = format!("http://{}/v1/traces", collector.address);
    let tables = format!("[tracing]\nendpoint = \"{endpoint}\"\n{keys}");
    let setup = Setup { tables: &tables, listener, ..Setup::default() };
    TestGate::start(upstream, setup).await
}

/// What the collector was told by the gate's end.
async fn told(mut gate: TestGate, collector: &Upstream) -> Vec<Span> {
    tokio::task::spawn_blocking(move || gate.stop()).await.unwrap();
    let batches = collector.requests().into_iter().map(|request| {
        assert!(request.line().starts_with("POST /v1/traces "), "{}", request.line());
        assert_eq!(request.field("content-type"), Some("application/x-protobuf"));
        ExportTraceServiceRequest::decode(&request.body[..]).unwrap()
    });
    let resources = batches.flat_map(|batch| batch.resource_spans);
    let scopes = resources.flat_map(|of| {
        let service = texts(&of.resource.unwrap().attributes);
        assert_eq!(service["service.name"], "doorward");
        of.scope_spans
    });
    scopes.flat_map(|scope| scope.spans).collect()
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let pair = |pair: &KeyValue| {
        let value = pair.value.as_ref().and_then(|value| value.value.as_ref()).unwrap();
        (pair.key.clone(), text(value))
    };
    attributes.iter().map(pair).collect()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Trace, span and flags of what the console was told.
fn parent(upstream: &Upstream) -> (String, String, String) {
    let request = upstream.last();
    let all = request.all("traceparent");
    assert_eq!(all.len(), 1, "{all:?}");
    let parts: Vec<_> = all[0].split('-').collect();
    assert_eq!((parts.len(), parts[0]), (4, "00"), "{all:?}");
    (parts[1].to_owned(), parts[2].to_owned(), parts[3].to_owned())
}

#[tokio::test]
async fn n08_a_trace_of_a_trusted_proxy_goes_through_the_gate_and_the_collector_hears_of_it() {
    let (upstream, collector) = (Upstream::start().await, Upstream::answering(TAKEN).await);
    let gate = gate(&upstream, &collector, TRUSTED, "one_in = 1000000\n").await;
    let mut inside = gate.signed_in().await;
    let fields = [("traceparent", PARENT), ("tracestate", "vendor=1,other=2")];
    inside.get_with("/orders/7?secret=hush", &fields).await;
    let (trace, span, flags) = parent(&upstream);
    assert_eq!((&*trace, &*flags), (TRACE, "01"));
    assert_eq!(upstream.last().all("tracestate"), ["vendor=1,other=2"]);
    let request_id = upstream.last().field("x-request-id").unwrap().to_owned();
    // Whoever it is that is believed has decided that this one is not told of.
    let unsampled = PARENT.replace("-01", "-00");
    inside.get_with("/orders/8", &[("traceparent", &unsampled)]).await;
    assert_eq!(parent(&upstream).2, "00");
    let spans = told(gate, &collector).await;
    let [told] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!((hex(&told.trace_id), hex(&told.span_id)), (trace, span));
    assert_eq!(hex(&told.parent_span_id), "00f067aa0ba902b7");
    let said = texts(&told.attributes);
    assert_eq!(said["http.request.method"], "GET");
    assert_eq!(said["http.response.status_code"], "200");
    assert_eq!(said["doorward.decided_by"], "upstream");
    assert_eq!(said["doorward.request_id"], request_id);
    assert_eq!(said.len(), 5, "{said:?}");
    let all = format!("{told:?}");
    for private in ["orders", "secret", "hush", "alice", "127.0.0.1"] {
        assert!(!all.contains(private), "{private} is in {all}");
    }
}

#[tokio::test]
async fn n08_a_strangers_trace_ends_at_the_gate() {
    let (upstream, collector) = (Upstream::start().await, Upstream::answering(TAKEN).await);
    let gate = gate(&upstream, &collector, "", "one_in = 1\n").await;
    let mut inside = gate.signed_in().await;
    let fields = [("traceparent", PARENT), ("tracestate", "vendor=1")];
    inside.get_with("/", &fields).await;
    let (trace, span, flags) = parent(&upstream);
    assert_ne!(trace, TRACE);
    assert_eq!(flags, "01");
    assert_eq!(upstream.last().all("tracestate"), Vec::<&str>::new());
    let refused = gate.browser().get("/").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let spans = told(gate, &collector).await;
    let sent_on = spans.iter().find(|told| hex(&told.span_id) == span).unwrap();
    assert_eq!((hex(&sent_on.trace_id), sent_on.parent_span_id.len()), (trace, 0));
    let last = texts(&spans.last().unwrap().attributes);
    assert_eq!(
        (&*last["doorward.decided_by"], &*last["http.response.status_code"]),
        ("access", "401")
    );
}

#[tokio::test]
async fn n08_everybodys_trace_goes_on_where_the_operator_says_so() {
    let (upstream, collector) = (Upstream::start().await, Upstream::answering(TAKEN).await);
    let gate = gate(&upstream, &collector, "", "accept = \"everybody\"\n").await;
    gate.signed_in().await.get_with("/", &[("traceparent", PARENT)]).await;
    assert_eq!(parent(&upstream).0, TRACE);
    // Two of them can be read in two ways.
    let twice = [("traceparent", PARENT), ("traceparent", PARENT)];
    gate.signed_in().await.get_with("/", &twice).await;
    assert_ne!(parent(&upstream).0, TRACE);
}

#[tokio::test]
async fn without_a_collector_the_fields_go_through_as_they_came() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    let fields = [("traceparent", "whatever it is"), ("tracestate", "vendor=1")];
    gate.signed_in().await.get_with("/", &fields).await;
    assert_eq!(upstream.last().all("traceparent"), ["whatever it is"]);
    assert_eq!(upstream.last().all("tracestate"), ["vendor=1"]);
}

#[tokio::test]
async fn n09_a_collector_that_takes_nothing_costs_nobody_anything() {
    let upstream = Upstream::start().await;
    let collector =
        Upstream::answering(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").await;
    let mut gate = gate(&upstream, &collector, "", "one_in = 1\n").await;
    let mut inside = gate.signed_in().await;
    for _ in 0..600 {
        assert_eq!(inside.get("/").await.status, StatusCode::OK);
    }
    // More than one batch is sent at once.
    eventually("a batch that is refused", async || collector.count() > 0).await;
    assert!(tokio::task::spawn_blocking(move || gate.stop()).await.unwrap());
}
