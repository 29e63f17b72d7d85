//! A circuit that admits only a share of its calls, on the page.

use std::time::Duration;

use tower_circuit_breaker::state::{Reason, Snapshot};
use tower_circuit_breaker::{Config, Failure, Registry, Window};

use super::{WIDE, card, let_in, shows};

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn the_page_shows_a_ramp_and_a_throttle_in_words_and_shape() {
    let registry = Registry::new();
    let settings = |name| Config::builder(name).without_failure_rate().without_consecutive_failures();
    let cold = registry.circuit(settings("cold").ramp(HOUR).build().unwrap()).unwrap();
    let mut closed = Snapshot::closed();
    closed.closed_for = Some(Duration::from_secs(600));
    cold.adopt(&closed, Reason::Restored);
    let flaky = registry.circuit(settings("flaky").throttle(2.0).window(Window::time(HOUR)).build().unwrap()).unwrap();
    let permits: Vec<_> = (0..39).map(|_| flaky.try_acquire().unwrap()).collect();
    permits.into_iter().for_each(|permit| permit.failure(Failure::hard()));
    registry.circuit(settings("well").build().unwrap()).unwrap();

    let (_served, browser) = let_in(&registry, WIDE).await;
    shows(&browser, "cold", "closed: a share of the calls goes through").await;
    shows(&browser, "cold", "the ramp admits 16.").await;
    shows(&browser, "flaky", "the throttle rejects 97.5 % of the calls").await;
    shows(&browser, "well", "closed: calls go through").await;
    let wedge = |name| format!("document.querySelectorAll(\"{} svg .full\").length", card(name));
    for (name, wedges) in [("cold", 1), ("flaky", 1), ("well", 0)] {
        assert_eq!(browser.value(&wedge(name)).await, serde_json::json!(wedges), "{name}");
    }
    browser.close().await;
}
