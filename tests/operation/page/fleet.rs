//! The fleet of a circuit on the page.

use serde_json::json;
use tower_circuit_breaker::Registry;
use tower_circuit_breaker::store::MemoryStore;

use super::{NARROW, WIDE, card, let_in, shows};
use crate::admin::fleet::{instance, until};
use crate::admin::rig::{circuit, fail};

#[tokio::test]
async fn the_page_shows_the_votes_then_the_decision_and_the_instances() {
    let store = MemoryStore::new();
    let (_first, first) = instance(&store, "orders-1").await;
    let (_second, second) = instance(&store, "orders-2").await;
    let (registry, third) = instance(&store, "<b>orders-3</b>").await;
    let (_served, browser) = let_in(&registry, WIDE).await;
    shows(&browser, "payments", "Fleet: 0 of 2 votes").await;
    fail(&first);
    until(|| first.status().fleet.unwrap().votes == 1).await;
    fail(&second);
    until(|| third.status().fleet.unwrap().votes == 2).await;
    shows(&browser, "payments", "Fleet: open · 2").await;
    browser.click(&format!("{} .fleet button", card("payments"))).await;
    browser.wait("document.getElementById('fleet').open").await;
    browser.sees("The fleet of payments").await;
    browser.wait("document.getElementById('fleet-sum').textContent.startsWith('open, for ')").await;
    browser.sees("instances opened, first orders-1: failures in a row weighed 5.0").await;
    browser.wait("document.getElementById('fleet-rows').children.length >= 2").await;
    let first = browser.value("document.getElementById('fleet-rows').children[0].innerText").await;
    assert!(first.as_str().unwrap().starts_with("orders-1\topen\t–\t–\t5.0"), "{first}");
    browser.click("#fleet-close").await;
    browser.wait("!document.getElementById('fleet').open").await;
    browser.close().await;
}

#[tokio::test]
async fn a_circuit_without_a_fleet_has_no_line_and_no_button_of_one() {
    let registry = Registry::new();
    circuit(&registry, "payments");
    let (_served, browser) = let_in(&registry, WIDE).await;
    shows(&browser, "payments", "closed").await;
    assert_eq!(browser.value("document.querySelectorAll('#list .fleet').length").await, json!(0));
    browser.close().await;
}

#[tokio::test]
async fn the_table_of_a_fleet_fits_a_phone() {
    let store = MemoryStore::new();
    let (_first, first) = instance(&store, &"orders-".repeat(14)).await;
    let (registry, second) = instance(&store, "orders-2").await;
    fail(&first);
    fail(&second);
    let (_served, browser) = let_in(&registry, NARROW).await;
    shows(&browser, "payments", "Fleet: open").await;
    browser.click(&format!("{} .fleet button", card("payments"))).await;
    browser.wait("document.getElementById('fleet-rows').children.length === 2").await;
    let wider = browser
        .value("[...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 0.5).map((e) => e.outerHTML.slice(0, 80))")
        .await;
    assert_eq!(wider, json!([]), "these reach beyond the edge");
    let headings = browser
        .value("[...document.getElementById('fleet-rows').children[0].children].map((cell) => cell.dataset.name)")
        .await;
    assert_eq!(headings, json!(["Instance", "State", "Vote", "Lease", "In a row", "Failed calls", "Seen"]));
    browser.close().await;
}
