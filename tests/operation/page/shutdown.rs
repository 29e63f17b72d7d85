//! The graceful shutdown of a server while a browser has the page open, and its next start.

use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tower_circuit_breaker::Registry;

use super::{ENTER, WIDE, shows};
use crate::admin::rig::{Served, TOKEN, app, authorized, circuit};
use crate::page::browser::Browser;

#[tokio::test]
async fn an_open_page_shows_a_graceful_shutdown_and_comes_back_by_itself() {
    let registry = Registry::new();
    circuit(&registry, "payments");
    let (stop, stopped) = watch::channel(false);
    let signal = move || {
        let mut stopped = stopped.clone();
        async move { drop(stopped.wait_for(|stopped| *stopped).await) }
    };
    let router = app(authorized(&registry).shutdown_signal(signal.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = async move { axum::serve(listener, router).with_graceful_shutdown(signal()).await.unwrap() };
    #[expect(clippy::disallowed_methods, reason = "a server of a test")]
    let serving = tokio::spawn(server);
    let browser = Browser::open(&format!("http://{address}/circuits"), WIDE.0, WIDE.1).await;
    browser.write("#token", TOKEN).await;
    browser.press(&[ENTER]).await;
    browser.wait("document.getElementById('link').textContent === 'Live'").await;

    stop.send_replace(true);
    // Only a failure takes this long.
    timeout(Duration::from_secs(30), serving).await.expect("an open page does not hold the server").unwrap();
    let report = registry.shutdown(Duration::from_secs(5)).await;
    assert!(report.unsaved.is_empty());
    browser.sees("No connection to the server since ").await;
    browser.wait("document.getElementById('link').textContent === 'Disconnected'").await;

    // The next process has another registry, whose circuits begin again.
    let next = Registry::new();
    circuit(&next, "payments");
    circuit(&next, "orders");
    let _served = Served::at(address, app(authorized(&next))).await;
    shows(&browser, "orders", "closed").await;
    browser.wait("document.getElementById('lost').hidden").await;
    browser.wait("document.getElementById('link').textContent === 'Live'").await;
    assert_eq!(browser.value("document.querySelectorAll('#list > li').length").await, json!(2));
    browser.close().await;
}
