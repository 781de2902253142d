//! The dashboard and the rules of alerts ask for what a gate exposes, and the rules say what they
//! should.

use std::collections::BTreeSet;
use std::path::Path;

use doorward_tests::{Browser, Scratch, Setup, TestGate, Upstream};
use serde_json::{Value, json};

use super::{answer, read};

/// The names of ours in a text.
fn names(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(|c: char| !is_part(c)).filter(|word| word.starts_with("doorward_"));
    words.map(str::to_owned).collect()
}

/// The name of the family that a series is of.
fn family(series: &str, histograms: &BTreeSet<&str>) -> String {
    let of = ["_bucket", "_sum", "_count"].iter().filter_map(|part| series.strip_suffix(part));
    of.into_iter().find(|name| histograms.contains(name)).unwrap_or(series).to_owned()
}

/// Every question of the dashboard, with an interval in the place of Grafana's variable.
fn questions(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let asked = targets.map(|target| target["expr"].as_str().unwrap());
    asked.map(|expression| expression.replace("$__rate_interval", "5m")).collect()
}

#[tokio::test]
async fn n11_dashboard_and_alerts_ask_for_what_there_is_and_for_all_of_it() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tls: true, ..Setup::default() }).await;
    let scraped = Browser::new(gate.operations(), "localhost", None).get("/metrics").await.text();
    let types = scraped.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let types: Vec<_> = types.map(|line| line.split_once(' ').unwrap()).collect();
    let histograms = types.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| *name);
    let histograms: BTreeSet<_> = histograms.collect();
    let exposed: BTreeSet<_> = types.iter().map(|(name, _)| (*name).to_owned()).collect();
    for name in &exposed {
        let has_series =
            scraped.lines().any(|line| !line.starts_with('#') && line.starts_with(name.as_str()));
        assert!(has_series, "{name} has no series");
    }
    let families = |text: &str| -> BTreeSet<_> {
        names(text).iter().map(|series| family(series, &histograms)).collect()
    };
    let dashboard: Value = serde_json::from_str(&read("grafana/doorward.json")).unwrap();
    let shown = families(&questions(&dashboard).join("\n"));
    assert_eq!(shown, exposed, "the dashboard shows, and the gate exposes");
    for file in ["prometheus/alerts.yml", "prometheus/alerts_test.yml"] {
        let asked = families(&read(file));
        let unknown: Vec<_> = asked.difference(&exposed).collect();
        assert!(unknown.is_empty(), "{file} asks for {unknown:?}, which no gate exposes");
    }
    // Events and reasons that somebody waits for are ones that there are.
    let events: BTreeSet<_> =
        scraped.split("event=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    for rule in read("prometheus/alerts.yml").split("event=").skip(1) {
        let wanted =
            rule.trim_start_matches('~').trim_start_matches('"').split('"').next().unwrap();
        for event in wanted.split('|') {
            assert!(events.contains(event), "there is no event {event}");
        }
    }
}

#[test]
fn the_rules_of_alerts_say_what_their_tests_say() {
    let promtool = Path::new("promtool");
    answer(promtool, &["check", "rules", "prometheus/alerts.yml"], "");
    answer(promtool, &["test", "rules", "prometheus/alerts_test.yml"], "");
    let text = read("prometheus/alerts.yml");
    let tested = read("prometheus/alerts_test.yml");
    for rule in text.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap();
        for needed in ["expr:", "labels: {severity: ", "summary:", "action:"] {
            assert!(rule.contains(needed), "{name} has no {needed}");
        }
        assert!(tested.contains(&format!("alertname: {name}")), "{name} has no test");
    }
}

#[test]
fn every_question_of_the_dashboard_can_be_asked() {
    let dashboard: Value = serde_json::from_str(&read("grafana/doorward.json")).unwrap();
    let rules: Vec<_> = questions(&dashboard)
        .iter()
        .enumerate()
        .map(|(place, asked)| json!({"record": format!("question:{place}"), "expr": asked}))
        .collect();
    assert!(rules.len() > 30, "{}", rules.len());
    let file = json!({"groups": [{"name": "dashboard", "rules": rules}]});
    let scratch = Scratch::new();
    // What is JSON is YAML.
    let place = scratch.path().join("rules.yml");
    std::fs::write(&place, file.to_string()).unwrap();
    answer(Path::new("promtool"), &["check", "rules", place.to_str().unwrap()], "");
}
