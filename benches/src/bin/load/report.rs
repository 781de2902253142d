//! Medians, spreads and ratios, as a table, as Markdown and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{machine, measure::Site, options::Options, peers::Peer};

/// One peer in one round, times in microseconds per request.
pub(crate) struct Sample {
    pub(crate) requests: u64,
    pub(crate) per_second: f64,
    pub(crate) user: f64,
    pub(crate) system: f64,
    /// The share of one core that the peer used.
    pub(crate) busy: f64,
    /// The cores used by processes that have no part in this.
    pub(crate) disturbed: f64,
}

impl Sample {
    /// User and system time together.
    pub(crate) fn cpu(&self) -> f64 {
        self.user + self.system
    }
}

/// One peer in all rounds.
pub(crate) struct Row {
    pub(crate) peer: Peer,
    pub(crate) samples: Vec<Sample>,
    /// Requests sent to it, warm-up included, and lines it logged.
    pub(crate) sent: u64,
    /// Samples thrown away because the machine was busy with something else.
    pub(crate) retakes: u32,
    pub(crate) logged: u64,
}

impl Row {
    /// A peer not yet measured.
    pub(crate) fn new(peer: Peer) -> Self {
        Self { peer, samples: Vec::new(), sent: 0, retakes: 0, logged: 0 }
    }

    fn spread(&self, of: impl Fn(&Sample) -> f64) -> Spread {
        Spread::of(self.samples.iter().map(of).collect())
    }

    /// Requests in all rounds.
    fn requests(&self) -> u64 {
        self.samples.iter().map(|sample| sample.requests).sum()
    }

    /// Log lines per request; HAProxy in tcp mode has one per connection.
    fn logged(&self) -> String {
        if self.peer == Peer::HaproxyTcp {
            return "per connection".into();
        }
        // Requests cut off at the end of a run are logged and not counted.
        format!("{:.0} %", (self.logged as f64 / self.sent as f64 * 100.0).min(100.0))
    }

    /// Its cost over plain nginx's in the same round.
    fn ratio(&self, base: Option<&Self>) -> Option<Spread> {
        let pairs = self.samples.iter().zip(&base?.samples);
        Some(Spread::of(pairs.map(|(own, base)| own.cpu() / base.cpu()).collect()))
    }
}

/// A median and its extremes.
#[derive(Debug, PartialEq)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Self { median, least: values[0], most: values[values.len() - 1] }
    }

    fn text(&self) -> String {
        format!("{:.2} ({:.2}-{:.2})", self.median, self.least, self.most)
    }

    fn json(&self) -> Value {
        json!({ "median": self.median, "min": self.least, "max": self.most })
    }
}

/// The whole result.
pub(crate) struct Report {
    rows: Vec<Row>,
    machine: String,
    versions: Vec<String>,
    method: String,
}

const HEADINGS: [&str; 9] = [
    "peer",
    "CPU us/request",
    "user",
    "system",
    "x nginx",
    "requests/s",
    "core busy",
    "requests",
    "logged",
];

impl Report {
    /// Puts the rows together with what they were measured on.
    pub(crate) fn new(rows: Vec<Row>, options: &Options, pinned: bool, site: &Site) -> Self {
        let method = format!(
            "GET, {} byte body, HTTP/1.1 keep-alive, {} connections, {} rounds of {} s; {}",
            crate::configs::BODY.len(),
            options.connections,
            options.rounds,
            options.seconds,
            if pinned { "proxy on a core of its own" } else { "processes not pinned" },
        );
        let peers: Vec<Peer> = rows.iter().map(|row| row.peer).collect();
        Self {
            rows,
            machine: machine::describe(),
            versions: machine::versions(&peers, site),
            method,
        }
    }

    fn cells(&self) -> Vec<[String; 9]> {
        let base = self.rows.iter().find(|row| row.peer == Peer::Nginx);
        let cells = self.rows.iter().map(|row| {
            [
                row.peer.title().into(),
                row.spread(Sample::cpu).text(),
                format!("{:.2}", row.spread(|sample| sample.user).median),
                format!("{:.2}", row.spread(|sample| sample.system).median),
                row.ratio(base).map_or_else(|| "-".into(), |ratio| ratio.text()),
                format!("{:.0}", row.spread(|sample| sample.per_second).median),
                format!("{:.0} %", row.spread(|sample| sample.busy).median * 100.0),
                row.requests().to_string(),
                row.logged(),
            ]
        });
        cells.collect()
    }

    fn notes(&self) -> String {
        let samples = self.rows.iter().flat_map(|row| &row.samples);
        let disturbed = samples.map(|sample| sample.disturbed).fold(0.0, f64::max);
        format!(
            "Median (least-most) over the rounds. {}. Other processes used at most {:.0} % of a \
             core in any round, after {} retakes.",
            self.versions.join(", "),
            disturbed * 100.0,
            self.rows.iter().map(|row| row.retakes).sum::<u32>()
        )
    }

    /// Aligned columns, for people.
    pub(crate) fn table(&self) -> String {
        let cells = self.cells();
        let width = |column: usize| {
            let widths = cells.iter().map(|row| row[column].chars().count());
            widths.chain([HEADINGS[column].len()]).max().unwrap_or(0)
        };
        let widths: [usize; 9] = std::array::from_fn(width);
        let line = |row: [&str; 9]| {
            let mut line = format!("{:<1$}", row[0], widths[0]);
            for (cell, width) in row.iter().zip(widths).skip(1) {
                write!(line, "  {cell:>width$}").expect("memory");
            }
            line + "\n"
        };
        let mut table = format!("{}\n{}\n\n", self.machine, self.method) + &line(HEADINGS);
        for row in &cells {
            table += &line(row.each_ref().map(String::as_str));
        }
        format!("{table}\n{}", self.notes())
    }

    /// A table to paste.
    pub(crate) fn markdown(&self) -> String {
        let line = |row: [&str; 9]| format!("| {} |\n", row.join(" | "));
        let mut table = line(HEADINGS) + "|---|" + &"---:|".repeat(8) + "\n";
        for row in &self.cells() {
            table += &line(row.each_ref().map(String::as_str));
        }
        format!("{table}\n{}. {}. {}", self.machine, self.method, self.notes())
    }

    /// Everything, round by round.
    pub(crate) fn json(&self) -> Value {
        let base = self.rows.iter().find(|row| row.peer == Peer::Nginx);
        let peers = self.rows.iter().map(|row| {
            let rounds = row.samples.iter().map(|sample| {
                json!({
                    "requests": sample.requests,
                    "requests_per_second": sample.per_second,
                    "user_us": sample.user,
                    "system_us": sample.system,
                    "core_busy": sample.busy,
                    "cores_used_by_others": sample.disturbed,
                })
            });
            json!({
                "peer": row.peer.name(),
                "cpu_us": row.spread(Sample::cpu).json(),
                "user_us": row.spread(|sample| sample.user).json(),
                "system_us": row.spread(|sample| sample.system).json(),
                "times_nginx": row.ratio(base).map(|ratio| ratio.json()),
                "requests_per_second": row.spread(|sample| sample.per_second).json(),
                "requests": row.requests(),
                "requests_with_warm_up": row.sent,
                "retakes": row.retakes,
                "log_lines": row.logged,
                "rounds": rounds.collect::<Vec<_>>(),
            })
        });
        json!({
            "machine": self.machine,
            "method": self.method,
            "versions": self.versions,
            "peers": peers.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_medians_of_odd_and_even_counts() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Spread { median: 2.0, least: 1.0, most: 3.0 });
        assert_eq!(Spread::of(vec![4.0, 1.0]), Spread { median: 2.5, least: 1.0, most: 4.0 });
    }
}
