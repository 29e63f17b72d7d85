//! Calls that hang and health probes on the page.

use std::time::Duration;

use tower_circuit_breaker::{Config, Failure, OpenDuration, Registry};

use super::{WIDE, let_in, shows};

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn the_page_shows_the_calls_that_hang_beside_the_slow_calls() {
    let registry = Registry::new();
    let settings = Config::builder("reports").slow_call_rate(0.5).slower_than(Duration::from_millis(50)).min_calls(20);
    let circuit = registry.circuit(settings.build().unwrap()).unwrap();
    (0..17).for_each(|_| circuit.try_acquire().unwrap().success());
    let hanging: Vec<_> = (0..3).map(|_| circuit.try_acquire().unwrap()).collect();

    let (_served, browser) = let_in(&registry, WIDE).await;
    shows(&browser, "reports", "15 % of 50 % · 3 still under way").await;
    drop(hanging);
    browser.close().await;
}

#[tokio::test]
async fn the_page_shows_the_last_health_probe_and_its_error() {
    let registry = Registry::new();
    let settings = Config::builder("stock").consecutive_failures(1).open_for(OpenDuration::fixed(HOUR));
    let circuit = registry.circuit(settings.build().unwrap()).unwrap();
    let probe = circuit.probe_with(Duration::from_millis(100), || async { Err::<(), _>("warming <b>up</b>") });
    #[expect(clippy::disallowed_methods, reason = "the task of the test, which ends it")]
    let runner = tokio::spawn(probe.required().run().unwrap());
    circuit.try_acquire().unwrap().failure(Failure::hard());

    let (_served, browser) = let_in(&registry, WIDE).await;
    shows(&browser, "stock", "Health probes: required, failed").await;
    shows(&browser, "stock", "ago: warming <b>up</b>").await;
    runner.abort();
    shows(&browser, "stock", "Health probes: not running").await;
    browser.close().await;
}
