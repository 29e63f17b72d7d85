//! Many tabs of the page in one browser, over HTTP/1.1 with its six connections for a host.

use std::time::Duration;

use axum::Router;
use serde_json::json;
use tower_circuit_breaker::admin::{self, AdminRouter, User};
use tower_circuit_breaker::{Mode, Registry};

use super::{ESCAPE, WIDE, card, shows};
use crate::admin::rig::{Served, app, circuit, fail};
use crate::page::browser::Browser;

/// Lets every client in as alice, so that no tab has to sign in.
fn open_to_all(registry: &Registry) -> AdminRouter {
    admin::router(registry).authorize(|_| Ok(User::new("alice").unwrap()))
}

/// Trips the circuit in the tab that is shown.
async fn trip(browser: &Browser, name: &str) {
    browser.click(&format!("{} [data-act=trip]", card(name))).await;
    browser.write("#reason", "maintenance").await;
    browser.click("#order-go").await;
    browser.wait("!document.getElementById('order').open").await;
}

const LIVE: &str = "document.getElementById('link').textContent.startsWith('Live')";
/// The tab that follows the events itself.
const FOLLOWS: &str = "document.getElementById('link').textContent === 'Live'";

/// Opens the addresses in a tab each. Each tab must show the circuit.
async fn tabs(urls: &[String]) -> (Browser, Vec<String>) {
    let browser = Browser::open(&urls[0], WIDE.0, WIDE.1).await;
    let mut tabs = vec![browser.tab().await];
    shows(&browser, "payments", "closed").await;
    for url in &urls[1..] {
        tabs.push(browser.open_tab(url).await);
        shows(&browser, "payments", "closed").await;
    }
    (browser, tabs)
}

#[tokio::test]
async fn nine_tabs_share_one_stream_and_the_last_tab_acts() {
    let registry = Registry::new();
    let payments = circuit(&registry, "payments");
    // One seat, so that a second stream would be refused.
    let served = Served::start(app(open_to_all(&registry).event_clients(1))).await;
    let (browser, tabs) = tabs(&vec![served.url(); 9]).await;
    for tab in &tabs {
        browser.turn_to(tab).await;
        browser.wait(LIVE).await;
    }
    trip(&browser, "payments").await;
    assert_eq!(payments.status().mode, Mode::ForcedOpen);
    // Each tab learns of the act, and can act itself.
    for tab in &tabs {
        browser.turn_to(tab).await;
        shows(&browser, "payments", "forced open: calls are rejected").await;
    }
    browser.turn_to(&tabs[0]).await;
    browser.click(&format!("{} [data-act=resume]", card("payments"))).await;
    browser.write("#reason", "over").await;
    browser.click("#order-go").await;
    shows(&browser, "payments", "closed: calls go through").await;
    assert_eq!(payments.status().mode, Mode::Automatic);
    browser.close().await;
}

#[tokio::test]
async fn another_tab_follows_the_events_when_the_first_tab_is_closed() {
    let registry = Registry::new();
    let payments = circuit(&registry, "payments");
    let served = Served::start(app(open_to_all(&registry).event_clients(1))).await;
    let (browser, tabs) = tabs(&vec![served.url(); 2]).await;
    browser.wait("document.getElementById('link').textContent === 'Live, by the events of another tab'").await;
    browser.turn_to(&tabs[0]).await;
    browser.wait(FOLLOWS).await;
    browser.close_tab().await;
    browser.turn_to(&tabs[1]).await;
    browser.wait(FOLLOWS).await;
    fail(&payments);
    shows(&browser, "payments", "open: calls are rejected").await;
    browser.sees("payments is now open: failures in a row weighed 5.0").await;
    browser.close().await;
}

#[tokio::test]
async fn a_tab_takes_over_from_a_tab_that_has_crashed() {
    let registry = Registry::new();
    let payments = circuit(&registry, "payments");
    let served = Served::start(app(open_to_all(&registry))).await;
    let browser = Browser::open("about:blank", WIDE.0, WIDE.1).await;
    // The clock by which the page measures the silence of other tabs runs faster than its timers.
    browser.before_each_page("const now = performance.now.bind(performance); performance.now = () => 20 * now()").await;
    browser.go(&served.url()).await;
    browser.wait(FOLLOWS).await;
    // The number is smaller than all others, so that the tab yields. No further message follows.
    let ghost = "void new BroadcastChannel('circuit-breaker-page').postMessage({ page: '/circuits/api/', tab: '0', word: 'follow' })";
    browser.value(ghost).await;
    browser.wait("document.getElementById('link').textContent === 'Live, by the events of another tab'").await;
    browser.wait(FOLLOWS).await;
    fail(&payments);
    browser.sees("payments is now open: failures in a row weighed 5.0").await;
    browser.close().await;
}

#[tokio::test]
async fn tabs_of_seven_services_on_one_host_leave_connections_for_orders() {
    let registries: Vec<_> = (0..7).map(|_| Registry::new()).collect();
    let mut router = Router::new();
    for (number, registry) in registries.iter().enumerate() {
        circuit(registry, "payments");
        router = router.nest(&format!("/service-{number}"), open_to_all(registry).build());
    }
    let served = Served::start(router).await;
    let urls: Vec<_> = (0..7).map(|number| format!("http://{}/service-{number}", served.address)).collect();
    let (browser, tabs) = tabs(&urls).await;
    browser.sees("Polling every 5 s, because other tabs of this browser follow events").await;
    trip(&browser, "payments").await;
    assert_eq!(registries[6].status("payments").unwrap().mode, Mode::ForcedOpen);
    assert_eq!(registries[5].status("payments").unwrap().mode, Mode::Automatic);
    // A tab that takes over while the tabs are counted is counted twice, or not at all. Therefore they are counted again.
    let mut following = 0;
    let counted = async {
        while following != 3 {
            following = 0;
            for tab in &tabs {
                browser.turn_to(tab).await;
                following += u8::from(browser.value(FOLLOWS).await == json!(true));
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), counted).await;
    assert!(ended.is_ok(), "{following} tabs follow events, and the other connections would be free with 3");
    browser.close().await;
}

#[tokio::test]
async fn a_browser_that_cannot_share_events_polls() {
    let registry = Registry::new();
    let payments = circuit(&registry, "payments");
    let served = Served::start(app(open_to_all(&registry).event_clients(0))).await;
    let browser = Browser::open("about:blank", WIDE.0, WIDE.1).await;
    browser.before_each_page("delete window.BroadcastChannel").await;
    browser.go(&served.url()).await;
    shows(&browser, "payments", "closed").await;
    browser.sees("Polling every 5 s, because this browser cannot share events between tabs").await;
    fail(&payments);
    shows(&browser, "payments", "open: calls are rejected").await;
    browser.sees("payments is now open: failures in a row weighed 5.0").await;
    browser.close().await;
}

#[tokio::test]
async fn messages_of_other_pages_change_no_data() {
    let registry = Registry::new();
    circuit(&registry, "payments");
    let served = Served::start(app(open_to_all(&registry))).await;
    let browser = Browser::open(&served.url(), WIDE.0, WIDE.1).await;
    browser.wait(FOLLOWS).await;
    // Anything that a page of this origin could send.
    let sent = "(() => { const channel = new BroadcastChannel('circuit-breaker-page'); \
        const words = ['news', 'anew', 'follow', 'begin', 'end', 'who', '', '__proto__', { circuit: 'payments', status: { state: 'open' } }, null, 7]; \
        for (let n = 0; n < 200; n++) for (const word of words) channel.postMessage({ page: location.pathname + '/api/', tab: '~' + n, word }); \
        for (const word of words) channel.postMessage(word); \
        return true; })()";
    assert_eq!(browser.value(sent).await, json!(true));
    browser.click(&format!("{} [data-act=trip]", card("payments"))).await;
    browser.press(&[ESCAPE]).await;
    browser.wait(LIVE).await;
    shows(&browser, "payments", "closed: calls go through").await;
    trip(&browser, "payments").await;
    shows(&browser, "payments", "forced open: calls are rejected").await;
    browser.close().await;
}
