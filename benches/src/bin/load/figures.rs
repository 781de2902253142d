//! CPU time per request: samples, medians, spreads and ratios, as cells and as JSON.

use serde_json::{Value, json};

use crate::{
    peers::Peer,
    report::{Section, Verdict},
    trial::Contender,
};

/// One contender in one round, times in microseconds per request.
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

/// One contender in all rounds.
pub(crate) struct Row {
    pub(crate) name: String,
    title: String,
    logs_connections: bool,
    pub(crate) samples: Vec<Sample>,
    /// Requests sent to it, warm-up included, and lines it logged.
    pub(crate) sent: u64,
    /// Samples thrown away because the machine was busy with something else.
    pub(crate) retakes: u32,
    pub(crate) logged: u64,
}

/// A median and its extremes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

/// What time is counted by in a table.
#[derive(Clone, Copy)]
pub(crate) struct Unit {
    pub(crate) heading: &'static str,
    /// By how much microseconds per request are multiplied.
    pub(crate) times: f64,
}

impl Unit {
    /// Microseconds per request.
    pub(crate) const REQUEST: Self = Self { heading: "CPU us/request", times: 1.0 };
}

/// A promise about the ratio of two contenders, and how far the aim beyond it goes.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) own: &'static str,
    pub(crate) other: &'static str,
    pub(crate) limit: Limit,
    pub(crate) aim: Option<f64>,
}

/// On which side of a number a figure has to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// Time over time must not be more.
    AtMost(f64),
    /// Work per time over work per time must not be less.
    AtLeast(f64),
}

impl Limit {
    /// Is the figure on the right side?
    pub(crate) fn is_met_by(self, figure: f64) -> bool {
        match self {
            Self::AtMost(limit) => figure <= limit,
            Self::AtLeast(limit) => figure >= limit,
        }
    }

    /// In words.
    pub(crate) fn text(self) -> String {
        match self {
            Self::AtMost(limit) => format!("at most {limit:.2}"),
            Self::AtLeast(limit) => format!("at least {limit:.2}"),
        }
    }
}

impl Row {
    /// A contender not yet measured.
    pub(crate) fn new(contender: &Contender) -> Self {
        Self {
            name: contender.name.clone(),
            title: contender.title.clone(),
            logs_connections: contender.running.peer() == Peer::HaproxyTcp,
            samples: Vec::new(),
            sent: 0,
            retakes: 0,
            logged: 0,
        }
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
        if self.logs_connections {
            return "per connection".into();
        }
        // Requests cut off at the end of a run are logged and not counted.
        format!("{:.0} %", (self.logged as f64 / self.sent as f64 * 100.0).min(100.0))
    }

    /// Its cost over another's in the same round.
    fn ratio(&self, base: &Self) -> Spread {
        let pairs = self.samples.iter().zip(&base.samples);
        Spread::of(pairs.map(|(own, base)| own.cpu() / base.cpu()).collect())
    }

    fn cells(&self, unit: Unit, base: Option<&Self>) -> Vec<String> {
        let median = |of: fn(&Sample) -> f64| self.spread(of).median;
        vec![
            self.title.clone(),
            self.spread(|sample| sample.cpu() * unit.times).text(),
            format!("{:.2}", median(|sample| sample.user) * unit.times),
            format!("{:.2}", median(|sample| sample.system) * unit.times),
            base.map_or_else(|| "-".into(), |base| self.ratio(base).text()),
            format!("{:.0}", median(|sample| sample.per_second)),
            format!("{:.0} %", median(|sample| sample.busy) * 100.0),
            self.requests().to_string(),
            self.logged(),
        ]
    }

    fn json(&self, base: Option<&Self>) -> Value {
        let rounds = self.samples.iter().map(|sample| {
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
            "peer": self.name,
            "cpu_us": self.spread(Sample::cpu).json(),
            "user_us": self.spread(|sample| sample.user).json(),
            "system_us": self.spread(|sample| sample.system).json(),
            "times": base.map(|base| json!({ "of": base.name, "ratio": self.ratio(base).json() })),
            "requests_per_second": self.spread(|sample| sample.per_second).json(),
            "requests": self.requests(),
            "requests_with_warm_up": self.sent,
            "retakes": self.retakes,
            "log_lines": self.logged,
            "rounds": rounds.collect::<Vec<_>>(),
        })
    }
}

impl Spread {
    /// Of at least one value.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Self { median, least: values[0], most: values[values.len() - 1] }
    }

    /// `median (least-most)`.
    pub(crate) fn text(&self) -> String {
        format!("{:.2} ({:.2}-{:.2})", self.median, self.least, self.most)
    }

    /// The three numbers.
    pub(crate) fn json(&self) -> Value {
        json!({ "median": self.median, "min": self.least, "max": self.most })
    }

    /// Of the inverse values.
    fn inverse(&self) -> Self {
        Self { median: 1.0 / self.median, least: 1.0 / self.most, most: 1.0 / self.least }
    }
}

/// The rows of a trial as a section, each compared with the one called `base` if that took part.
pub(crate) fn section(
    name: &'static str,
    method: String,
    unit: Unit,
    base: &str,
    rows: &[Row],
    targets: &[Target],
) -> Section {
    let named = |name: &str| rows.iter().find(|row| row.name == name);
    let base_row = named(base);
    let ratio = format!("x {base}");
    let headings = [
        "peer",
        unit.heading,
        "user",
        "system",
        &ratio,
        "requests/s",
        "core busy",
        "requests",
        "logged",
    ];
    let verdicts = targets.iter().filter_map(|target| {
        let ratio = named(target.own)?.ratio(named(target.other)?);
        let (what, ratio) = match target.limit {
            Limit::AtMost(_) => ("CPU time", ratio),
            Limit::AtLeast(_) => ("work per CPU second", ratio.inverse()),
        };
        Some(Verdict {
            what: format!("{what}, {} / {}", target.own, target.other),
            figure: ratio,
            limit: target.limit,
            aim: target.aim,
            unit: "x",
        })
    });
    let samples = rows.iter().flat_map(|row| &row.samples);
    let disturbed = samples.map(|sample| sample.disturbed).fold(0.0, f64::max);
    let note = format!(
        "Median (least-most) over the rounds. Other processes used at most {:.0} % of a core in \
         any round, after {} retakes.",
        disturbed * 100.0,
        rows.iter().map(|row| row.retakes).sum::<u32>()
    );
    Section {
        name,
        method,
        headings: headings.map(str::to_owned).to_vec(),
        cells: rows.iter().map(|row| row.cells(unit, base_row)).collect(),
        verdicts: verdicts.collect(),
        notes: vec![note],
        json: rows.iter().map(|row| row.json(base_row)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_medians_of_odd_and_even_counts() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Spread { median: 2.0, least: 1.0, most: 3.0 });
        assert_eq!(Spread::of(vec![4.0, 1.0]), Spread { median: 2.5, least: 1.0, most: 4.0 });
        let inverse = Spread::of(vec![2.0, 4.0]).inverse();
        assert_eq!((inverse.least, inverse.most), (0.25, 0.5));
    }

    #[test]
    fn a_limit_has_its_right_side() {
        assert!(Limit::AtMost(1.0).is_met_by(1.0) && !Limit::AtMost(1.0).is_met_by(1.1));
        assert!(Limit::AtLeast(1.0).is_met_by(1.0) && !Limit::AtLeast(1.0).is_met_by(0.9));
    }
}
