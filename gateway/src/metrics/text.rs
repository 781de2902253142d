//! The text format of Prometheus, version 0.0.4.

use std::fmt::{Display, Write as _};

use doorward_plugins::histogram::Durations;

/// Names and values of a series' labels. Never a value that a client chose.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// What a scrape gets, as it grows.
#[derive(Default)]
pub(super) struct Text(pub(super) String);

impl Text {
    /// Begins a family of series; its samples follow.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One series.
    pub(super) fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        self.0.push_str(name);
        self.labels(labels, None);
        let _ = writeln!(self.0, " {value}");
    }

    /// A family of one series without labels.
    pub(super) fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// The series of one histogram.
    pub(super) fn histogram(&mut self, name: &str, labels: Labels<'_>, durations: &Durations) {
        let up_to = durations.up_to().map(|(bound, n)| (bound.as_secs_f64().to_string(), n));
        for (bound, count) in up_to.chain([("+Inf".to_owned(), durations.count())]) {
            let _ = write!(self.0, "{name}_bucket");
            self.labels(labels, Some(&bound));
            let _ = writeln!(self.0, " {count}");
        }
        for (part, value) in [
            ("sum", durations.total().as_secs_f64().to_string()),
            ("count", durations.count().to_string()),
        ] {
            let _ = write!(self.0, "{name}_{part}");
            self.labels(labels, None);
            let _ = writeln!(self.0, " {value}");
        }
    }

    fn labels(&mut self, labels: Labels<'_>, bound: Option<&str>) {
        let all = labels.iter().copied().chain(bound.map(|bound| ("le", bound)));
        let mut separator = '{';
        for (name, value) in all {
            let _ = write!(self.0, "{separator}{name}=\"");
            for c in value.chars() {
                match c {
                    '\\' | '"' => self.0.extend(['\\', c]),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.0.push('}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_can_leave_its_label() {
        let mut text = Text::default();
        text.family("a", "gauge", "What.");
        text.sample("a", &[("x", "y\"\\\n} 7"), ("z", "")], 1);
        assert_eq!(text.0, "# HELP a What.\n# TYPE a gauge\na{x=\"y\\\"\\\\\\n} 7\",z=\"\"} 1\n");
    }
}
