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
use prometheus::{Prometheus, TargetLabels};

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

/// A `ServiceMonitor` gives each target the Kubernetes Service, and one pod may be a target of two of them.
#[test]
fn alert_rules_name_the_circuit_without_honor_labels() {
    let folder = std::env::temp_dir().join(format!("breaker-rules-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::copy(deployed("prometheus/rules.yml"), folder.join("rules.yml")).unwrap();
    let tests = fs::read_to_string(deployed("prometheus/tests.yml")).unwrap();
    // The series of the input are renamed, and the alerts that are expected stay.
    let renamed = |line: &str| match line.split_once("- series: ") {
        Some(_) => line.replace("{service=", r#"{namespace="shop", service="orders-api", exported_service="#),
        None => line.to_owned(),
    };
    let lines: Vec<String> = tests.lines().map(renamed).collect();
    let changed = lines.iter().filter(|line| line.contains("exported_service")).count();
    assert!(changed >= 20, "{changed} series");
    let twice = folder.join("twice.yml");
    fs::write(folder.join("renamed.yml"), lines.join("\n")).unwrap();
    fs::write(&twice, TWO_SERVICES).unwrap();
    for tests in [folder.join("renamed.yml"), twice] {
        let (passed, said) = promtool(&["test", "rules", tests.to_str().unwrap()], "");
        assert!(passed, "{}: {said}", tests.display());
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_refusal_before_the_first_scrape_raises_the_alert() {
    let folder = std::env::temp_dir().join(format!("breaker-refusal-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::copy(deployed("prometheus/rules.yml"), folder.join("rules.yml")).unwrap();
    fs::write(folder.join("tests.yml"), REFUSALS).unwrap();
    let (passed, said) = promtool(&["test", "rules", folder.join("tests.yml").to_str().unwrap()], "");
    assert!(passed, "{said}");
    fs::remove_dir_all(&folder).unwrap();
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
    expect_series_for_every_query(TargetLabels::None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_finds_series_of_circuits_without_honor_labels() {
    expect_series_for_every_query(TargetLabels::Service).await;
}

async fn expect_series_for_every_query(labels: TargetLabels) {
    let exporter = Exporter::start().await;
    let prometheus = Prometheus::start(exporter.address(), labels, &deployed("prometheus/rules.yml")).await;
    // Rates need two scrapes with something new between them.
    exporter.go_on_until(async || prometheus.scrapes().await >= 4).await;

    let text = fs::read_to_string(deployed("grafana/circuit-breakers.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut queries = Vec::new();
    collect("expr", &dashboard, &mut queries);
    assert!(queries.len() >= 15, "{} queries", queries.len());
    for query in queries {
        let filled = query
            .replace("$service", "payments|orders")
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

/// Two Services select one pod, and two circuits of the pod differ in their state.
const TWO_SERVICES: &str = r#"
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: circuit_breaker_state{service="orders", pod="orders-1", exported_service="payments", state="forced_open"}
        values: 1x30
      - series: circuit_breaker_state{service="orders-headless", pod="orders-1", exported_service="payments", state="forced_open"}
        values: 1x30
      - series: circuit_breaker_state{service="orders", pod="orders-1", exported_service="search", state="forced_open"}
        values: 0x30
      - series: circuit_breaker_state{service="reports", pod="reports-1", state="forced_open"}
        values: 1x30
    promql_expr_test:
      - expr: count by (service) (ALERTS{alertname="CircuitBreakerHeldOpen"})
        eval_time: 10m
        exp_samples:
          - { labels: '{service="payments"}', value: 1 }
          - { labels: '{service="reports"}', value: 1 }
"#;

/// The series of one store begins with 1, and the series of another store has begun with 0 and stays there.
const REFUSALS: &str = r#"
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: circuit_breaker_store_operations_total{store="postgres", operation="load", result="refused"}
        values: _x5 1x40
      - series: circuit_breaker_store_operations_total{store="redis", operation="load", result="refused"}
        values: _x5 0x40
    promql_expr_test:
      - expr: count by (store) (ALERTS{alertname="CircuitBreakerStoreRefuses"})
        eval_time: 10m
        exp_samples: [{ labels: '{store="postgres"}', value: 1 }]
      - expr: count by (store) (ALERTS{alertname="CircuitBreakerStoreRefuses"})
        eval_time: 30m
        exp_samples: []
"#;

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
