//! A circuit whose group suppresses its opening, on the page and in the JSON.

use serde_json::json;
use tower_circuit_breaker::{Circuit, Config, Failure, Group, Registry};

use super::{WIDE, card, let_in, shows};

fn fail(circuit: &Circuit) {
    circuit.try_acquire().unwrap().failure(Failure::hard());
}

#[tokio::test]
async fn the_page_shows_a_suppressed_opening_in_words_and_shape() {
    let (registry, group) = (Registry::new(), Group::new("endpoints <b>"));
    let circuit = |name| {
        let config = Config::builder(name).without_failure_rate().consecutive_failures(1).group(&group);
        registry.circuit(config.build().unwrap()).unwrap()
    };
    let (open, suppressed, _well) = (circuit("open"), circuit("suppressed"), circuit("well"));
    fail(&open);
    fail(&suppressed);

    let (_served, browser) = let_in(&registry, WIDE).await;
    shows(&browser, "suppressed", "closed, opening suppressed: calls go through").await;
    shows(&browser, "suppressed", "1 of 3 circuits of the group endpoints <b> are open; suppressed").await;
    shows(&browser, "suppressed", "failures in a row weighed 1.0").await;
    shows(&browser, "open", "open: calls are rejected").await;
    let marks = |name| {
        format!("[...document.querySelectorAll(\"{} svg path\")].map((path) => path.getAttribute(\"d\"))", card(name))
    };
    assert_eq!(browser.value(&marks("suppressed")).await, json!(["M12 7v6M12 16v1"]), "an exclamation mark");
    assert_ne!(browser.value(&marks("well")).await, json!(["M12 7v6M12 16v1"]));
    let order = "[...document.querySelectorAll(\"#list > li h3\")].map((name) => name.textContent)";
    assert_eq!(
        browser.value(order).await,
        json!(["open", "suppressed", "well"]),
        "after the circuits that reject calls"
    );
    // An opening after that is shown without a reload.
    fail(&suppressed);
    open.reset(&tower_circuit_breaker::By::new("alice", "a test").unwrap(), tower_circuit_breaker::To::Closed);
    fail(&suppressed);
    shows(&browser, "suppressed", "open: calls are rejected").await;
    browser.close().await;
}
