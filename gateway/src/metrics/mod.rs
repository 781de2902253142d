//! What is counted, in the text format of Prometheus.
//!
//! Each worker has counters of its own, so that counting is an uncontended addition; a scrape
//! adds them up. No label holds anything that a client chooses, so the number of series is bounded:
//! labels are names of plugins, problems, events and backends, which are the code's, and of
//! upstreams, routes' limits and listeners, which are the operator's.
//!
//! - `state`: what the gate has at the moment of a scrape, and what its parts have counted.
//! - `text`: the format.

mod state;
mod text;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorward_plugins::Problem;
use doorward_plugins::histogram::{Durations, Histogram};

use crate::shared::Shared;
use text::Text;

/// Who decided, and what for.
type Decision = (&'static str, &'static str);

/// Counters of one worker.
#[derive(Debug, Default)]
pub(crate) struct WorkerMetrics {
    /// By first digit of the status.
    answers: [AtomicU64; 6],
    /// From a request's head to the end of its answer.
    whole: Histogram,
    /// The gate's own part of it: of requests that were sent on,
    sending: Histogram,
    /// and of those that were answered here.
    answering: Histogram,
    /// How long consoles took to begin their answers.
    upstream: Histogram,
    forwarded: AtomicU64,
    /// Everything else that was decided. Nobody but a scrape waits for it.
    decisions: Mutex<BTreeMap<Decision, u64>>,
    pub(crate) connections: AtomicU64,
}

impl WorkerMetrics {
    /// Counts an answer that took this long, from the request's head to its own end.
    pub(crate) fn record(&self, status: u16, took: Duration) {
        if let Some(counter) = self.answers.get(usize::from(status / 100)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.whole.record(took);
    }

    /// Counts what was decided about a request that `began` then, by whom, how long the gate took for
    /// it, and, if it was `sent_on`, how long the console took.
    pub(crate) fn decide(
        &self,
        by: &'static str,
        refused: Option<Problem>,
        sent_on: Option<(Duration, Duration)>,
        began: Duration,
        now: impl FnOnce() -> Duration,
    ) {
        match sent_on {
            Some((at, waited)) => {
                self.upstream.record(waited);
                self.sending.record(at.saturating_sub(began));
            }
            None => self.answering.record(now().saturating_sub(began)),
        }
        if refused.is_none() && sent_on.is_some() {
            self.forwarded.fetch_add(1, Ordering::Relaxed);
        } else {
            let reason = refused.map_or("answered", Problem::slug);
            let mut decisions = self.decisions.lock().unwrap_or_else(PoisonError::into_inner);
            *decisions.entry((by, reason)).or_default() += 1;
        }
    }
}

/// Everything, as a scrape gets it.
pub(crate) async fn render(gate: &Shared, workers: &[Arc<WorkerMetrics>]) -> String {
    let mut text = Text::default();
    write_requests(&mut text, workers);
    state::write(&mut text, gate).await;
    text.0
}

fn write_requests(text: &mut Text, workers: &[Arc<WorkerMetrics>]) {
    let sum = |counter: &dyn Fn(&WorkerMetrics) -> u64| {
        workers.iter().map(|worker| counter(worker)).sum::<u64>()
    };
    let load = |counter: Option<&AtomicU64>| counter.map_or(0, |n| n.load(Ordering::Relaxed));
    text.family("doorward_requests_total", "counter", "Answers, by class of status.");
    for class in 1..6 {
        let count = sum(&|worker| load(worker.answers.get(class)));
        text.sample("doorward_requests_total", &[("status", &format!("{class}xx"))], count);
    }
    let durations = |of: fn(&WorkerMetrics) -> &Histogram| {
        Durations::of(workers.iter().map(|worker| of(worker)))
    };
    let name = "doorward_request_duration_seconds";
    text.family(name, "histogram", "From the request's head to the end of the answer.");
    text.histogram(name, &[], &durations(|worker| &worker.whole));
    let name = "doorward_gate_duration_seconds";
    text.family(
        name,
        "histogram",
        "From the request's head until it is sent on, or to the head of the gate's own answer.",
    );
    text.histogram(name, &[("answer", "console")], &durations(|worker| &worker.sending));
    text.histogram(name, &[("answer", "gate")], &durations(|worker| &worker.answering));
    let name = "doorward_upstream_duration_seconds";
    text.family(
        name,
        "histogram",
        "How long consoles took to begin their answers, the request's body included.",
    );
    text.histogram(name, &[], &durations(|worker| &worker.upstream));
    write_decisions(text, workers);
    let connections = sum(&|worker| worker.connections.load(Ordering::Relaxed));
    text.single("doorward_connections", "gauge", "Open client connections.", connections);
}

fn write_decisions(text: &mut Text, workers: &[Arc<WorkerMetrics>]) {
    let mut decisions = BTreeMap::from([(("upstream", "forwarded"), 0)]);
    for worker in workers {
        let counted = worker.decisions.lock().unwrap_or_else(PoisonError::into_inner);
        let others = counted.iter().map(|(decision, count)| (*decision, *count));
        let forwarded = (("upstream", "forwarded"), worker.forwarded.load(Ordering::Relaxed));
        for (decision, count) in others.chain([forwarded]) {
            *decisions.entry(decision).or_default() += count;
        }
    }
    let name = "doorward_decisions_total";
    text.family(
        name,
        "counter",
        "What was decided about requests: by which plugin or room, and why.",
    );
    for ((by, reason), count) in decisions {
        text.sample(name, &[("by", by), ("reason", reason)], count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n11_series_are_fixed_and_add_up() {
        let worker = Arc::new(WorkerMetrics::default());
        worker.record(200, Duration::from_millis(3));
        worker.record(502, Duration::from_secs(60));
        let (fast, slow) = (Duration::from_micros(40), Duration::from_millis(70));
        let decide = |by, refused, own: Duration, waited: Option<Duration>| {
            let sent_on = waited.map(|waited| (own, waited));
            worker.decide(by, refused, sent_on, Duration::ZERO, || own);
        };
        decide("upstream", None, fast, Some(slow));
        decide("access", Some(Problem::SessionRequired), fast, None);
        decide("access", Some(Problem::SessionRequired), fast, None);
        decide("portal", None, slow, None);
        decide("upstream", Some(Problem::BadGateway), fast, Some(slow));
        let mut text = Text::default();
        write_requests(&mut text, &[Arc::clone(&worker), worker]);
        for line in [
            "doorward_requests_total{status=\"2xx\"} 2",
            "doorward_requests_total{status=\"5xx\"} 2",
            "doorward_request_duration_seconds_bucket{le=\"0.001\"} 0",
            "doorward_request_duration_seconds_bucket{le=\"0.005\"} 2",
            "doorward_request_duration_seconds_bucket{le=\"10\"} 2",
            "doorward_request_duration_seconds_bucket{le=\"+Inf\"} 4",
            "doorward_request_duration_seconds_sum 120.006",
            "doorward_gate_duration_seconds_bucket{answer=\"console\",le=\"0.00005\"} 4",
            "doorward_gate_duration_seconds_count{answer=\"gate\"} 6",
            "doorward_upstream_duration_seconds_bucket{le=\"0.05\"} 0",
            "doorward_upstream_duration_seconds_bucket{le=\"0.1\"} 4",
            "doorward_decisions_total{by=\"access\",reason=\"session-required\"} 4",
            "doorward_decisions_total{by=\"portal\",reason=\"answered\"} 2",
            "doorward_decisions_total{by=\"upstream\",reason=\"bad-gateway\"} 2",
            "doorward_decisions_total{by=\"upstream\",reason=\"forwarded\"} 2",
        ] {
            assert!(text.0.lines().any(|found| found == line), "{line} is not in\n{}", text.0);
        }
    }
}
