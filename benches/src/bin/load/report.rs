//! The whole result: sections with targets, as tables, as Markdown and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{
    figures::{Limit, Spread},
    machine,
};

/// What one scenario found.
pub(crate) struct Section {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What was done, in a line.
    pub(crate) method: String,
    pub(crate) headings: Vec<String>,
    /// A row for each contender, as many cells as headings.
    pub(crate) cells: Vec<Vec<String>>,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) notes: Vec<String>,
    /// Every single round.
    pub(crate) json: Value,
}

/// A promise, and what was measured.
pub(crate) struct Verdict {
    pub(crate) what: String,
    pub(crate) figure: Spread,
    pub(crate) limit: Limit,
    /// What is hoped for beyond the promise.
    pub(crate) aim: Option<f64>,
    pub(crate) unit: &'static str,
}

impl Verdict {
    /// By the median.
    fn is_met(&self) -> bool {
        self.limit.is_met_by(self.figure.median)
    }

    fn text(&self) -> String {
        let met = if self.is_met() { "met" } else { "MISSED" };
        let aim = self.aim.map(|aim| format!(", aim {aim:.2}")).unwrap_or_default();
        let Self { what, unit, .. } = self;
        format!("{met}: {what}: {} {unit}, {}{aim}", self.figure.text(), self.limit.text())
    }

    fn json(&self) -> Value {
        json!({
            "what": self.what,
            "figure": self.figure.json(),
            "unit": self.unit,
            "target": self.limit.text(),
            "aim": self.aim,
            "met": self.is_met(),
        })
    }
}

/// Everything, and what it was measured on.
pub(crate) struct Report {
    pub(crate) sections: Vec<Section>,
    /// Names and versions of the programs.
    pub(crate) versions: Vec<String>,
}

impl Report {
    /// Aligned columns, for people.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("{}\n{}\n", machine::describe(), self.versions.join(", "));
        for section in &self.sections {
            write!(text, "\n== {}\n{}\n\n", section.name, section.method).expect("memory");
            text += &section.table();
            text.push('\n');
            for line in section.verdicts.iter().map(Verdict::text).chain(section.notes.clone()) {
                text += &format!("{line}\n");
            }
        }
        text
    }

    /// Tables to paste.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        for section in &self.sections {
            write!(text, "### `{}`\n\n{}\n\n", section.name, section.method).expect("memory");
            text += &section.markdown();
            text.push('\n');
            for verdict in &section.verdicts {
                text += &format!("- {}\n", verdict.text());
            }
            text += &format!("\n{}\n\n", section.notes.join(" "));
        }
        text + &format!("{}. {}.", machine::describe(), self.versions.join(", "))
    }

    /// Everything, round by round.
    pub(crate) fn json(&self) -> Value {
        let scenarios = self.sections.iter().map(|section| {
            json!({
                "scenario": section.name,
                "method": section.method,
                "targets": section.verdicts.iter().map(Verdict::json).collect::<Vec<_>>(),
                "peers": section.json,
                "notes": section.notes,
            })
        });
        json!({
            "machine": machine::describe(),
            "versions": self.versions,
            "scenarios": scenarios.collect::<Vec<_>>(),
        })
    }
}

impl Section {
    fn table(&self) -> String {
        let rows = || [&self.headings].into_iter().chain(&self.cells);
        let width = |column: usize| rows().map(|row| row[column].chars().count()).max();
        let widths: Vec<_> = (0..self.headings.len()).filter_map(width).collect();
        let mut table = String::new();
        for row in rows() {
            write!(table, "{:<1$}", row[0], widths[0]).expect("memory");
            for (cell, width) in row.iter().zip(&widths).skip(1) {
                write!(table, "  {cell:>width$}").expect("memory");
            }
            table.push('\n');
        }
        table
    }

    fn markdown(&self) -> String {
        let line = |row: &[String]| format!("| {} |\n", row.join(" | "));
        let numbers = "---:|".repeat(self.headings.len() - 1);
        let rows = self.cells.iter().map(|row| line(row));
        line(&self.headings) + "|---|" + &numbers + "\n" + &rows.collect::<String>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_goes_by_the_median() {
        let verdict = Verdict {
            what: "CPU time, a / b".into(),
            figure: Spread { median: 1.0, least: 0.5, most: 2.0 },
            limit: Limit::AtMost(1.0),
            aim: Some(0.9),
            unit: "x",
        };
        let text = "met: CPU time, a / b: 1.00 (0.50-2.00) x, at most 1.00, aim 0.90";
        assert_eq!(verdict.text(), text);
        let missed = Verdict { limit: Limit::AtLeast(1.1), ..verdict };
        assert!(missed.text().starts_with("MISSED"));
    }
}
