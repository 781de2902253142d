//! What is counted, in the text format of Prometheus.
//!
//! Each worker has counters of its own, so that counting is one uncontended addition; a scrape
//! adds them up. No label holds anything that a client chooses, so the number of series is fixed.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the latency histogram, in milliseconds.
const BOUNDS_MS: [u64; 8] = [1, 5, 10, 50, 100, 500, 1_000, 10_000];

/// Counters of one worker.
#[derive(Debug, Default)]
pub(crate) struct WorkerMetrics {
    /// By first digit of the status.
    answers: [AtomicU64; 6],
    buckets: [AtomicU64; BOUNDS_MS.len()],
    total_ms: AtomicU64,
    pub(crate) connections: AtomicU64,
}

impl WorkerMetrics {
    /// Counts an answer that took this long.
    pub(crate) fn record(&self, status: u16, took: Duration) {
        add(&self.answers, usize::from(status / 100));
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if let Some(bucket) = BOUNDS_MS.iter().position(|bound| ms <= *bound) {
            add(&self.buckets, bucket);
        }
        self.total_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

fn add(counters: &[AtomicU64], index: usize) {
    if let Some(counter) = counters.get(index) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Everything, as a scrape gets it. `gauges` are name, help and value.
pub(crate) fn render(
    workers: &[std::sync::Arc<WorkerMetrics>],
    gauges: &[(&str, &str, u64)],
) -> String {
    let sum = |counter: fn(&WorkerMetrics) -> &AtomicU64| {
        workers.iter().map(|worker| counter(worker).load(Ordering::Relaxed)).sum::<u64>()
    };
    let at = |index: usize, counters: fn(&WorkerMetrics) -> &[AtomicU64]| {
        workers
            .iter()
            .filter_map(|worker| counters(worker).get(index))
            .map(|counter| counter.load(Ordering::Relaxed))
            .sum::<u64>()
    };
    let mut text = String::from(
        "# HELP doorward_requests_total Answers, by class of status.\n# TYPE doorward_requests_total counter\n",
    );
    let mut total = 0;
    for class in 1..6 {
        let count = at(class, |worker| &worker.answers);
        total += count;
        let _ = writeln!(text, "doorward_requests_total{{status=\"{class}xx\"}} {count}");
    }
    text.push_str("# HELP doorward_request_duration_seconds From the request's head to the end of the answer.\n# TYPE doorward_request_duration_seconds histogram\n");
    let mut below = 0;
    for (index, bound) in BOUNDS_MS.iter().enumerate() {
        below += at(index, |worker| &worker.buckets);
        let _ = writeln!(
            text,
            "doorward_request_duration_seconds_bucket{{le=\"{}\"}} {below}",
            Duration::from_millis(*bound).as_secs_f64()
        );
    }
    let _ = writeln!(text, "doorward_request_duration_seconds_bucket{{le=\"+Inf\"}} {total}");
    let seconds = Duration::from_millis(sum(|worker| &worker.total_ms)).as_secs_f64();
    let _ = writeln!(
        text,
        "doorward_request_duration_seconds_sum {seconds}\ndoorward_request_duration_seconds_count {total}"
    );
    let connections =
        ("doorward_connections", "Open client connections.", sum(|worker| &worker.connections));
    for (name, help, value) in std::iter::once(&connections).chain(gauges) {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n11_series_are_fixed_and_add_up() {
        let worker = std::sync::Arc::new(WorkerMetrics::default());
        worker.record(200, Duration::from_millis(3));
        worker.record(502, Duration::from_secs(60));
        let text = render(&[worker], &[("doorward_sessions", "Sessions.", 7)]);
        for line in [
            "doorward_requests_total{status=\"2xx\"} 1",
            "doorward_requests_total{status=\"5xx\"} 1",
            "doorward_request_duration_seconds_bucket{le=\"0.001\"} 0",
            "doorward_request_duration_seconds_bucket{le=\"0.005\"} 1",
            "doorward_request_duration_seconds_bucket{le=\"10\"} 1",
            "doorward_request_duration_seconds_bucket{le=\"+Inf\"} 2",
            "doorward_request_duration_seconds_sum 60.003",
            "doorward_sessions 7",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
