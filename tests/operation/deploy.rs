//! `deploy/`, against what an exporter really says: Prometheus' own tools and a real server judge it.

mod exporter;
mod prometheus;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use exporter::Exporter;
use prometheus::Prometheus;

fn deployed(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)
}

fn promtool(arguments: &[&str], input: &str) -> (bool, String) {
    let mut tool = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is there: run scripts/test, which installs it");
    tool.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn the_alert_rules_are_valid_and_fire_as_tested() {
    let (rules, tests) = (deployed("prometheus/rules.yml"), deployed("prometheus/tests.yml"));
    for arguments in [["check", "rules", rules.to_str().unwrap()], ["test", "rules", tests.to_str().unwrap()]] {
        let (passed, said) = promtool(&arguments, "");
        assert!(passed, "promtool {arguments:?}: {said}");
    }
}

#[test]
fn every_alert_has_a_page_of_the_runbook_and_a_test() {
    let rules = fs::read_to_string(deployed("prometheus/rules.yml")).unwrap();
    let tests = fs::read_to_string(deployed("prometheus/tests.yml")).unwrap();
    let runbook = fs::read_to_string(deployed("../docs/runbook.md")).unwrap().to_lowercase();
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 7, "{alerts:?}");
    for alert in alerts {
        let anchor = alert.to_lowercase();
        assert!(rules.contains(&format!("/guide/runbook/index.html#{anchor}\n")), "{alert} has no runbook_url");
        assert!(runbook.contains(&format!("## {anchor}\n")), "docs/runbook.md has no section `{alert}`");
        assert!(tests.contains(&format!("alertname: {alert}\n")), "deploy/prometheus/tests.yml does not test {alert}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_finds_nothing_wrong_with_the_names_of_metrics() {
    let exporter = Exporter::start().await;
    let (passed, said) = promtool(&["check", "metrics"], &exporter.text());
    assert!(passed && said.trim().is_empty(), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_of_the_dashboard_and_the_rules_finds_series_in_prometheus() {
    let exporter = Exporter::start().await;
    let prometheus = Prometheus::start(exporter.address(), &deployed("prometheus/rules.yml")).await;
    // Rates need two scrapes with something new between them.
    exporter.go_on_until(async || prometheus.scrapes().await >= 4).await;

    let text = fs::read_to_string(deployed("grafana/circuit-breakers.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut queries = Vec::new();
    collect("expr", &dashboard, &mut queries);
    assert!(queries.len() >= 15, "{} queries", queries.len());
    for query in queries {
        let filled = query
            .replace("$service", ".*")
            .replace("$threshold", "0.4")
            .replace("$__rate_interval", "10s")
            .replace("$__range", "1m");
        assert!(!filled.contains('$'), "{filled} has a variable that is not known here");
        let found = prometheus.query(&filled).await;
        assert!(found.is_ok_and(|series| series > 0), "the dashboard asks in vain: {filled}\n{}", exporter.text());
    }

    let rules = prometheus.rules().await;
    for rule in &rules {
        assert_eq!(rule.health, "ok", "{}: {}", rule.name, rule.error);
    }
    let recorded: BTreeSet<&str> =
        rules.iter().map(|rule| rule.name.as_str()).filter(|name| name.starts_with("circuit_breaker_")).collect();
    assert_eq!(recorded.len(), 4, "{recorded:?}");
    for name in recorded {
        assert!(prometheus.query(name).await.unwrap() > 0, "{name} records nothing");
    }
}

/// Collects the texts of that key, wherever they are.
fn collect(key: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get(key).and_then(Value::as_str).map(ToOwned::to_owned));
            map.values().for_each(|value| collect(key, value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| collect(key, value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
