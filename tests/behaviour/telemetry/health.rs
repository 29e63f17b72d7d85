//! Metrics and log lines of health probes.

#![expect(clippy::disallowed_methods, reason = "tasks are spawned as an application does")]

use tokio::runtime::Builder;
use tower_circuit_breaker::clock::TokioClock;
use tower_circuit_breaker::health::HealthProbe;

use super::lines::Lines;
use super::metrics::{expect, recorded};
use super::*;

/// Opens a circuit on tokio's paused clock, and lets its health probe run for this time.
fn run_for(time: Duration, probe: impl FnOnce(&Circuit) -> HealthProbe, then: impl FnOnce(&Circuit)) {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let settings = Config::builder("payments").consecutive_failures(5).clock(TokioClock::new());
        let circuit = Circuit::new(settings.open_for(OpenDuration::fixed(SECONDS_5)).build().unwrap());
        tokio::spawn(probe(&circuit).run().unwrap());
        tokio::time::sleep(Duration::from_millis(1)).await;
        fail(&circuit, 5);
        tokio::time::sleep(time).await;
        then(&circuit);
    });
}

fn every(circuit: &Circuit, answer: fn() -> Result<(), &'static str>) -> HealthProbe {
    circuit.probe_with(Duration::from_millis(100), move || async move { answer() })
}

#[test]
fn the_results_of_health_probes_are_counted_from_zero() {
    let begun = recorded(|| run_for(Duration::ZERO, |circuit| every(circuit, || Ok(())), |_| {}));
    for result in ["passed", "failed", "timed_out", "panicked"] {
        expect(&begun, &[(&format!("health_probes_total{{result={result}}}"), 0.0)]);
    }
    let told = recorded(|| run_for(Duration::from_millis(900), |circuit| every(circuit, || Err("down")), |_| {}));
    let failed = told["health_probes_total{result=failed}"];
    assert!((7.0..=11.0).contains(&failed), "{failed}");
    expect(&told, &[("calls_total{outcome=failure}", 5.0), ("health_probes_total{result=passed}", 0.0)]);
    let told = recorded(|| run_for(Duration::from_millis(130), |circuit| every(circuit, || Ok(())), |_| {}));
    expect(&told, &[("transitions_total{from=open,reason=health_probe,to=half_open}", 1.0)]);
}

#[test]
fn a_circuit_without_health_probes_has_no_series_for_them() {
    let told = recorded(|| fail(&circuit(&MockClock::new()), 1));
    assert!(!told.keys().any(|name| name.contains("health")), "{:?}", told.keys());
}

#[test]
fn an_opening_that_a_health_probe_has_ended_is_one_line_of_information() {
    let lines = Lines::collect();
    run_for(Duration::from_millis(130), |circuit| every(circuit, || Ok(())), |_| {});
    let lines = lines.take();
    assert_eq!(lines.len(), 2, "opened and half-open: {lines:#?}");
    assert_eq!((lines[1].level, lines[1].field("reason")), (::tracing::Level::INFO, "health_probe"));
    let message = lines[1].message();
    assert!(message.starts_with("circuit `payments` is half-open: a health probe succeeded after "), "{message}");
}

#[test]
fn checks_that_panic_log_few_lines() {
    let lines = Lines::collect();
    run_for(Duration::from_secs(4), |circuit| every(circuit, || panic!("a panic of the check")), |_| {});
    let panics = lines.take().into_iter().filter(|line| line.message().contains("panicked, which counts as a failure"));
    // About forty checks, with a line for the first, the second, the fourth and so on.
    assert_eq!(panics.count(), 6);
}

#[test]
fn the_first_call_without_a_required_health_probe_is_logged_once() {
    let lines = Lines::collect();
    let required = |circuit: &Circuit| every(circuit, || Err("down")).deadline(Duration::from_millis(100)).required();
    // The bound is 11 s after the opening of 5 s.
    run_for(Duration::from_millis(16_100), required, |circuit| (0..3).for_each(|_| succeed(circuit)));
    let warned =
        lines.take().into_iter().filter(|line| line.message().contains("its required health probe has not succeeded"));
    assert_eq!(warned.count(), 1);
}
