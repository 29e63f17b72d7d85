//! The page behind a real nginx: with its defaults, and with the lines of docs/operation.md.
//!
//! The browser opens `http://ops.internal`, because browsers send no Fetch Metadata over plain http to another machine. By
//! default nginx speaks HTTP/1.0 to the server and sends the address of the server as `Host`.

use std::net::TcpListener;

use serde_json::json;
use tower_circuit_breaker::admin::{self, AdminRouter, User};
use tower_circuit_breaker::{Mode, Registry};

use super::nginx::Nginx;
use super::{ENTER, WIDE, card, shows};
use crate::admin::rig::{Served, TOKEN, app, authorized, circuit, fail};
use crate::page::browser::Browser;

/// The defaults of nginx.
const DEFAULTS: &str = "location / { proxy_pass http://UPSTREAM; }";

/// Knows its users without a token, as by a cookie.
fn by_cookie(registry: &Registry) -> AdminRouter {
    admin::router(registry).authorize(|_| Ok(User::new("alice").unwrap()))
}

/// Opens the page behind nginx.
async fn behind(router: AdminRouter, location: &str, path: &str) -> (Served, Nginx, Browser) {
    let served = Served::start(app(router)).await;
    let nginx = Nginx::start(served.address, location).await;
    let browser = Browser::open(&format!("http://ops.internal:{}{path}", nginx.port), WIDE.0, WIDE.1).await;
    (served, nginx, browser)
}

async fn sign_in(browser: &Browser) {
    browser.write("#token", TOKEN).await;
    browser.press(&[ENTER]).await;
}

async fn trip(browser: &Browser) {
    browser.click(&format!("{} [data-act=trip]", card("payments"))).await;
    browser.write("#reason", "maintenance").await;
    browser.click("#order-go").await;
}

/// Waits until events arrive, and acts.
async fn is_live_and_acts(registry: &Registry, browser: &Browser) {
    browser.wait("document.getElementById('link').textContent === 'Live'").await;
    browser.value("void (window.here = true)").await;
    fail(&registry.get("orders").unwrap());
    browser.sees("orders is now open: failures in a row").await;
    trip(browser).await;
    shows(browser, "payments", "forced open: calls are rejected").await;
    assert_eq!(registry.status("payments").unwrap().mode, Mode::ForcedOpen);
    assert_eq!(browser.value("isSecureContext").await, json!(false), "the browser sends no Fetch Metadata");
}

fn registry() -> Registry {
    let registry = Registry::new();
    circuit(&registry, "payments");
    circuit(&registry, "orders");
    registry
}

#[tokio::test]
async fn events_and_orders_of_token_users_pass_nginx_with_its_defaults() {
    let registry = registry();
    let (_served, _nginx, browser) = behind(authorized(&registry), DEFAULTS, "/circuits").await;
    sign_in(&browser).await;
    is_live_and_acts(&registry, &browser).await;
    browser.close().await;
}

#[tokio::test]
async fn users_of_cookies_act_behind_a_changed_host_from_a_trusted_origin() {
    let registry = registry();
    // The same name at another port is another origin.
    let router = by_cookie(&registry).trusted_origin("http://ops.internal").unwrap();
    let (served, _nginx, browser) = behind(router, DEFAULTS, "/circuits").await;
    shows(&browser, "payments", "closed").await;
    trip(&browser).await;
    // The page says which values were compared, so that its reader knows that the proxy is the cause.
    browser.sees("Refused: the request comes from another site: its Origin is `http://ops.internal:").await;
    browser.sees(&format!("and its Host is `{}`. If a proxy changes the Host", served.address)).await;
    assert_eq!(registry.status("payments").unwrap().mode, Mode::Automatic);

    // The proxy starts first, because its port is a part of the origin.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nginx = Nginx::start(free, DEFAULTS).await;
    let origin = format!("http://ops.internal:{}", nginx.port);
    let router = by_cookie(&registry).trusted_origin(&origin).unwrap().hosts(["127.0.0.1"]).unwrap();
    let _served = Served::at(free, app(router)).await;
    browser.go(&format!("{origin}/circuits")).await;
    is_live_and_acts(&registry, &browser).await;
    browser.close().await;
}

#[tokio::test]
async fn the_documented_nginx_passes_the_host_and_strips_a_prefix() {
    let registry = registry();
    let documented = include_str!("../../../docs/operation.md");
    let location = documented.split("```nginx\n").nth(1).unwrap().split("```").next().unwrap();
    let location = location.replace("127.0.0.1:3000", "UPSTREAM");
    let router = by_cookie(&registry).hosts(["ops.internal"]).unwrap();
    let (_served, _nginx, browser) = behind(router, &location, "/ops/circuits").await;
    is_live_and_acts(&registry, &browser).await;
    browser.close().await;
}

#[tokio::test]
async fn the_page_behind_nginx_shows_that_the_server_is_gone_and_comes_back() {
    let registry = registry();
    let (served, _nginx, browser) = behind(authorized(&registry), DEFAULTS, "/circuits").await;
    sign_in(&browser).await;
    browser.wait("document.getElementById('link').textContent === 'Live'").await;
    let address = served.address;
    drop(served);
    browser.sees("No connection to the server since ").await;
    browser.sees("The last answer was: the server answered 502.").await;
    let _served = Served::at(address, app(authorized(&registry))).await;
    browser.wait("document.getElementById('lost').hidden").await;
    is_live_and_acts(&registry, &browser).await;
    browser.close().await;
}

#[tokio::test]
async fn events_pass_a_proxy_that_compresses_every_answer() {
    let registry = registry();
    let gzip =
        format!("gzip on; gzip_types *; gzip_proxied any; gzip_http_version 1.0; gzip_min_length 1;\n{DEFAULTS}");
    let (_served, _nginx, browser) = behind(authorized(&registry), &gzip, "/circuits").await;
    sign_in(&browser).await;
    is_live_and_acts(&registry, &browser).await;
    browser.close().await;
}

#[tokio::test]
async fn the_page_polls_and_acts_behind_a_proxy_that_collects_events() {
    let registry = registry();
    let collecting =
        "location / { proxy_pass http://UPSTREAM; proxy_ignore_headers X-Accel-Buffering; proxy_buffers 8 1m; }";
    let (_served, _nginx, browser) = behind(authorized(&registry), collecting, "/circuits").await;
    sign_in(&browser).await;
    // The circuits are shown before the first event, and an order does not wait for events.
    trip(&browser).await;
    shows(&browser, "payments", "forced open: calls are rejected").await;
    browser.sees("Polling every 5 s, because no events arrive").await;
    fail(&registry.get("orders").unwrap());
    shows(&browser, "orders", "open: calls are rejected").await;
    browser.close().await;
}
