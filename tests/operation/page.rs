//! The page, in a real browser: what a person on call sees and does.
//!
//! The picture in `docs` is made by
//! `PAGE_PICTURE=docs/admin.png cargo test --all-features --test operation the_page_shows`.
//!
//! The file is longer than others, because all tests share the steps in the browser that are defined at its top and end.

mod browser;
mod fleet;
mod groups;
mod limits;
mod nginx;
mod proxy;
mod recovery;
mod shutdown;
mod tabs;

use std::time::Duration;

use serde_json::json;
use tower_circuit_breaker::store::MemoryStore;
use tower_circuit_breaker::{By, Circuit, Config, Failure, Mode, OpenDuration, Outcome, Registry, State, Window};

use crate::admin::rig::{Served, TOKEN, app, authorized, circuit, fail};
use browser::Browser;

/// A desktop, and a phone.
const WIDE: (u32, u32) = (1180, 900);
const NARROW: (u32, u32) = (360, 740);

async fn page_of(registry: &Registry, (width, height): (u32, u32)) -> (Served, Browser) {
    let served = Served::start(app(authorized(registry))).await;
    let browser = Browser::open(&served.url(), width, height).await;
    (served, browser)
}

/// Opens the page and lets alice in.
async fn let_in(registry: &Registry, size: (u32, u32)) -> (Served, Browser) {
    let (served, browser) = page_of(registry, size).await;
    browser.write("#token", TOKEN).await;
    browser.press(&[ENTER]).await;
    browser.sees("You are alice.").await;
    browser.wait("document.getElementById('link').textContent === 'Live'").await;
    (served, browser)
}

fn card(name: &str) -> String {
    format!("#list > li[data-circuit='{name}']")
}

async fn shows(browser: &Browser, name: &str, text: &str) {
    let selector = json!(card(name));
    browser.wait(&format!("document.querySelector({selector})?.innerText.includes({})", json!(text))).await;
}

fn alice() -> By {
    By::new("alice", "the provider announced a maintenance").unwrap()
}

/// Records so many calls, of which every so-many-th failed.
fn traffic(circuit: &Circuit, calls: u32, every: u32) {
    for call in 1..=calls {
        let permit = circuit.try_acquire().unwrap();
        permit.record(if call % every == 0 { Outcome::Failure(Failure::hard()) } else { Outcome::Success });
    }
}

/// A circuit in each state.
fn every_state() -> Registry {
    let registry = Registry::new();
    let short = OpenDuration::fixed(Duration::from_millis(50));
    // The last calls, however long ago: a slow machine takes its time.
    let inventory = Config::builder("inventory").failure_rate(0.5).window(Window::calls(60)).build().unwrap();
    traffic(&registry.circuit(inventory).unwrap(), 60, 4);
    traffic(&circuit(&registry, "orders"), 40, 41);
    fail(&circuit(&registry, "payments"));
    circuit(&registry, "mail").trip(&alice(), Some(Duration::from_secs(1800)));
    let search = registry.circuit(Config::builder("search").open_for(short).build().unwrap()).unwrap();
    search.trip(&alice(), None);
    search.reset(&By::new("bob", "they say that it is back").unwrap(), tower_circuit_breaker::circuit::To::HalfOpen);
    circuit(&registry, "legacy").disable(&By::new("carol", "it has no users").unwrap(), None);
    registry
}

#[tokio::test]
async fn the_line_of_the_store_is_the_sentence_of_its_status() {
    let registry = Registry::builder().store(MemoryStore::new()).build().unwrap();
    circuit(&registry, "payments");
    assert!(registry.restore(Duration::from_secs(5)).await.unwrap().is_complete());
    let (_served, browser) = let_in(&registry, WIDE).await;
    browser.sees("The store memory answers, and has every change.").await;
}

#[tokio::test]
async fn the_page_shows_state_rates_probes_and_reasons_of_every_circuit() {
    let registry = every_state();
    let (_served, browser) = let_in(&registry, WIDE).await;
    for (name, texts) in [
        (
            "payments",
            &["open: calls are rejected", "next probe in ", "failures in a row weighed 5.0, the limit is 5.0"][..],
        ),
        ("inventory", &["closed: calls go through", "25 % of 50 %", "No transition yet."]),
        (
            "mail",
            &[
                "forced open: calls are rejected",
                "the hold ends in ",
                "tripped by alice: the provider announced a maintenance",
            ],
        ),
        ("search", &["half-open: a few calls probe", "0 of 3 probes succeeded"]),
        ("legacy", &["disabled: every call goes through", "held until a reset or resume"]),
    ] {
        for text in texts {
            shows(&browser, name, text).await;
        }
    }
    // Six circuits, five looks: each has a shape of its own.
    let shapes =
        browser.value("new Set([...document.querySelectorAll('#list svg')].map((svg) => svg.innerHTML)).size").await;
    assert_eq!(shapes, json!(5));
    assert_eq!(browser.value("document.title").await, json!("(3) Circuits"));
    let first =
        browser.wait("document.querySelector('#list .open')?.parentNode.querySelector('.next').textContent").await;
    browser
        .wait(&format!(
            "document.querySelector('#list .open').parentNode.querySelector('.next').textContent !== {first}"
        ))
        .await;
    if let Ok(path) = std::env::var("PAGE_PICTURE") {
        std::fs::write(path, decode(&browser.picture().await)).unwrap();
    }
    browser.close().await;
}

#[tokio::test]
async fn a_trip_appears_without_a_reload() {
    let registry = Registry::new();
    let payments = circuit(&registry, "payments");
    let (_served, browser) = let_in(&registry, WIDE).await;
    shows(&browser, "payments", "closed: calls go through").await;
    browser.value("void (window.here = true)").await;
    fail(&payments);
    shows(&browser, "payments", "open: calls are rejected").await;
    browser.sees("payments is now open: failures in a row weighed 5.0").await;
    assert_eq!(browser.value("window.here").await, json!(true), "it is still the same page");
    // Of which a circuit that is new is part, too.
    circuit(&registry, "brand-new");
    shows(&browser, "brand-new", "closed").await;
    browser.close().await;
}

#[tokio::test]
async fn an_operator_trips_and_resets_with_a_reason_by_keyboard_alone() {
    let registry = Registry::new();
    let payments = circuit(&registry, "payments");
    let (_served, browser) = let_in(&registry, WIDE).await;
    shows(&browser, "payments", "closed").await;
    tab_to(&browser, "Trip payments").await;
    browser.press(&[ENTER]).await;
    browser.wait("document.activeElement.id === 'reason'").await;
    // Without a reason nothing is sent.
    browser.press(&[ENTER]).await;
    assert_eq!(browser.value("document.getElementById('order').open").await, json!(true));
    assert_eq!(payments.status().mode, Mode::Automatic);
    browser.press(&"maintenance".chars().chain([ENTER]).collect::<Vec<_>>()).await;
    shows(&browser, "payments", "forced open: calls are rejected").await;
    browser.wait("!document.getElementById('order').open").await;
    let status = payments.status();
    assert_eq!(
        (status.mode, status.transitions[0].reason.to_string()),
        (Mode::ForcedOpen, "tripped by alice: maintenance".to_owned())
    );
    browser.wait("document.getElementById('audit').innerText.includes('payments trip by alice: maintenance')").await;

    tab_to(&browser, "Reset payments").await;
    browser.press(&[ENTER]).await;
    browser.wait("document.activeElement.id === 'reason'").await;
    browser.press(&"it is back".chars().chain([ENTER]).collect::<Vec<_>>()).await;
    browser.sees("Refused: the circuit was tripped too recently to be reset").await;
    assert_eq!(payments.status().mode, Mode::ForcedOpen);
    // To closed, by its first letter; forced; sent.
    browser.press(&[TAB, 'c', TAB, ' ', TAB, ENTER]).await;
    shows(&browser, "payments", "closed: calls go through").await;
    assert_eq!((payments.status().mode, payments.status().state), (Mode::Automatic, State::Closed));
    browser.wait("document.getElementById('audit').innerText.includes('payments reset by alice: it is back')").await;
    browser.close().await;
}

#[tokio::test]
async fn an_operator_disables_and_resumes_and_may_change_their_mind() {
    let registry = Registry::new();
    let payments = circuit(&registry, "payments");
    let (_served, browser) = let_in(&registry, WIDE).await;
    browser.click(&format!("{} [data-act=disable]", card("payments"))).await;
    browser.write("#reason", "never mind").await;
    browser.press(&[ESCAPE]).await;
    browser.wait("!document.getElementById('order').open").await;
    assert!(payments.status().transitions.is_empty());
    browser.click(&format!("{} [data-act=disable]", card("payments"))).await;
    browser.write("#reason", "it rejects what is well").await;
    browser.click("#order-go").await;
    shows(&browser, "payments", "the hold ends in ").await;
    assert_eq!(payments.status().mode, Mode::Disabled);
    browser.click(&format!("{} [data-act=resume]", card("payments"))).await;
    browser.write("#reason", "tuned").await;
    browser.click("#order-go").await;
    shows(&browser, "payments", "closed: calls go through").await;
    browser.close().await;
}

#[tokio::test]
async fn a_wrong_token_is_refused_and_the_right_token_outlives_a_reload() {
    let registry = Registry::new();
    circuit(&registry, "payments");
    let (_served, browser) = page_of(&registry, WIDE).await;
    browser.sees("Sign in").await;
    browser.wait("document.activeElement.id === 'token'").await;
    browser.press(&"wrong".chars().chain([ENTER]).collect::<Vec<_>>()).await;
    browser.sees("Refused: the token is not known").await;
    assert_eq!(browser.value("document.body.innerText.includes('payments')").await, json!(false));
    browser.write("#token", TOKEN).await;
    browser.press(&[ENTER]).await;
    shows(&browser, "payments", "closed").await;
    browser.reload().await;
    shows(&browser, "payments", "closed").await;
    browser.close().await;
}

/// Signs in, trips a circuit, and sees both.
async fn works(registry: &Registry, browser: &Browser) {
    browser.sees("Sign in").await;
    browser.write("#token", TOKEN).await;
    browser.press(&[ENTER]).await;
    browser.sees("You are alice.").await;
    browser.click(&format!("{} [data-act=trip]", card("payments"))).await;
    browser.write("#reason", "maintenance").await;
    browser.press(&[ENTER]).await;
    shows(browser, "payments", "forced open").await;
    registry.get("payments").unwrap().resume(&alice()).unwrap();
    shows(browser, "payments", "closed: calls go through").await;
    let text = browser.value("document.body.innerText").await.as_str().unwrap().to_owned();
    assert!(!text.contains("No connection") && !text.contains("does not work"), "{text}");
}

#[tokio::test]
async fn the_page_works_while_the_browser_blocks_site_data() {
    let registry = Registry::new();
    circuit(&registry, "payments");
    let served = Served::start(app(authorized(&registry))).await;
    let blocked = json!({ "profile.default_content_setting_values.cookies": 2 });
    let browser = Browser::open_with(&served.url(), WIDE, blocked).await;
    let throws = "(() => { try { sessionStorage; return false; } catch (error) { return error.name; } })()";
    assert_eq!(browser.value(throws).await, json!("SecurityError"));
    browser.sees("The browser stores no data of this page, so that you sign in again after each reload.").await;
    works(&registry, &browser).await;
    browser.close().await;
}

#[tokio::test]
async fn the_page_works_without_storage_timeouts_and_channels_of_the_browser() {
    let registry = Registry::new();
    circuit(&registry, "payments");
    let served = Served::start(app(authorized(&registry))).await;
    for missing in [
        "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); }",
        "delete AbortSignal.timeout",
        "window.BroadcastChannel = class { constructor() { throw new DOMException('no', 'SecurityError'); } }",
        "BroadcastChannel.prototype.postMessage = () => { throw new DOMException('no', 'InvalidStateError'); }",
        "delete window.TextDecoderStream",
    ] {
        let browser = Browser::open("about:blank", WIDE.0, WIDE.1).await;
        browser.before_each_page(missing).await;
        browser.go(&served.url()).await;
        works(&registry, &browser).await;
        browser.close().await;
    }
}

#[tokio::test]
async fn an_exception_of_the_page_is_not_called_a_lost_connection() {
    let registry = Registry::new();
    circuit(&registry, "payments");
    let served = Served::start(app(authorized(&registry))).await;
    for (missing, name) in [
        ("delete window.URLSearchParams", "URLSearchParams"),
        ("delete window.crypto; delete Window.prototype.crypto", "crypto"),
        ("Element.prototype.replaceChildren = undefined", "replaceChildren"),
        ("delete window.fetch", "fetch"),
    ] {
        let browser = Browser::open("about:blank", WIDE.0, WIDE.1).await;
        browser.before_each_page(missing).await;
        browser.go(&served.url()).await;
        if name != "crypto" && name != "fetch" {
            browser.sees("Sign in").await;
            browser.write("#token", TOKEN).await;
            browser.press(&[ENTER]).await;
        }
        browser.sees("This page does not work in this browser").await;
        browser.sees(name).await;
        assert_eq!(browser.value("document.body.innerText.includes('No connection')").await, json!(false), "{missing}");
    }
}

#[tokio::test]
async fn html_in_names_and_reasons_is_shown_as_text() {
    let registry = Registry::new();
    let name = "<img/src=x/onerror=hacked=1>";
    let reason = "<script>hacked=1</script><b id=injected>bold</b>";
    circuit(&registry, name).trip(&By::new("<i>eve</i>", reason).unwrap(), None);
    let (_served, browser) = let_in(&registry, WIDE).await;
    browser.sees(name).await;
    browser.sees(reason).await;
    browser.wait(&format!("document.getElementById('audit').innerText.includes({})", json!(reason))).await;
    browser.click("#list [data-act=reset]").await;
    browser
        .wait(&format!("document.getElementById('order-title').textContent === {}", json!(format!("Reset {name}"))))
        .await;
    let harmless =
        browser.value("!document.querySelector('img, #injected, i, b') && typeof hacked === 'undefined'").await;
    assert_eq!(harmless, json!(true));
    // And if it were not text, the policy would stop it.
    let blocked = browser
        .value("(() => { try { document.body.innerHTML = '<b>x</b>'; return false; } catch (error) { return error instanceof TypeError; } })()")
        .await;
    assert_eq!(blocked, json!(true), "trusted types are required");
    browser.close().await;
}

#[tokio::test]
async fn the_page_says_when_the_server_is_gone_and_reconnects() {
    let registry = Registry::new();
    let payments = circuit(&registry, "payments");
    let (served, browser) = let_in(&registry, WIDE).await;
    shows(&browser, "payments", "closed").await;
    let address = served.address;
    drop(served);
    browser.sees("No connection to the server since ").await;
    assert_eq!(browser.value("document.getElementById('lost').getAttribute('role')").await, json!("alert"));
    // What happens meanwhile is seen afterwards.
    fail(&payments);
    shows(&browser, "payments", "closed").await;
    let _served = Served::at(address, app(authorized(&registry))).await;
    shows(&browser, "payments", "open: calls are rejected").await;
    browser.wait("document.getElementById('lost').hidden").await;
    browser.wait("document.getElementById('link').textContent === 'Live'").await;
    browser.close().await;
}

#[tokio::test]
async fn a_read_only_page_has_no_buttons_and_polls_without_events() {
    let registry = Registry::new();
    let payments = circuit(&registry, "payments");
    let router = tower_circuit_breaker::admin::router(&registry).read_only_without_auth().event_clients(0);
    let served = Served::start(app(router)).await;
    let browser = Browser::open(&served.url(), WIDE.0, WIDE.1).await;
    shows(&browser, "payments", "closed").await;
    browser.sees("Polling every 5 s, because too many clients follow the events").await;
    assert_eq!(browser.value("document.querySelectorAll('#list button').length").await, json!(0));
    fail(&payments);
    shows(&browser, "payments", "open: calls are rejected").await;
    browser.close().await;
}

#[tokio::test]
async fn nothing_overflows_on_a_phone() {
    let registry = every_state();
    circuit(&registry, &"a-very-long-name.".repeat(11));
    let (_served, browser) = let_in(&registry, NARROW).await;
    assert_eq!(browser.value("innerWidth").await, json!(NARROW.0));
    shows(&browser, "payments", "open").await;
    for dialog in [false, true] {
        if dialog {
            browser.click(&format!("{} [data-act=reset]", card("payments"))).await;
            browser.wait("document.getElementById('order').open").await;
        }
        let wider = browser
            .value("[...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 0.5).map((e) => e.outerHTML.slice(0, 80))")
            .await;
        assert_eq!(wider, json!([]), "these reach beyond the edge");
        assert_eq!(browser.value("document.documentElement.scrollWidth").await, json!(NARROW.0));
    }
    // Fingers are wider than pointers.
    let smallest = browser.value("Math.min(...[...document.querySelectorAll('button')].map((b) => b.getBoundingClientRect().height).filter(Boolean))").await;
    assert!(smallest.as_f64().unwrap() >= 44.0, "a button is {smallest} high");
    browser.close().await;
}

#[tokio::test]
async fn every_field_has_a_label_and_changes_are_announced() {
    let registry = every_state();
    let (_served, browser) = let_in(&registry, WIDE).await;
    let unnamed = browser
        .value("[...document.querySelectorAll('input, select, button, meter, dialog')].filter((e) => !(e.labels?.length || e.ariaLabel || e.getAttribute('aria-labelledby') || e.textContent.trim())).map((e) => e.outerHTML)")
        .await;
    // Whose text comes with the order.
    assert_eq!(unnamed, json!(["<button class=\"main\" id=\"order-go\"></button>"]));
    for (id, role) in
        [("link", "status"), ("message", "status"), ("lost", "alert"), ("denied", "alert"), ("order-fault", "alert")]
    {
        assert_eq!(
            browser.value(&format!("document.getElementById('{id}').getAttribute('role')")).await,
            json!(role),
            "{id}"
        );
    }
    assert_eq!(browser.value("document.documentElement.lang").await, json!("en"));
    browser.close().await;
}

/// Presses the tab key until the focus is on the button of that name.
async fn tab_to(browser: &Browser, label: &str) {
    for _ in 0..30 {
        if browser.value("document.activeElement.ariaLabel").await == json!(label) {
            return;
        }
        browser.press(&[TAB]).await;
    }
    panic!("the keyboard does not reach `{label}`");
}

/// Base64, in which pictures are sent.
fn decode(text: &str) -> Vec<u8> {
    let six = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::new();
    for four in text.chunks(4) {
        let bits = four.iter().fold(0, |bits, letter| bits << 6 | u32::from(six(*letter))) << (6 * (4 - four.len()));
        bytes.extend(&bits.to_be_bytes()[1..four.len()]);
    }
    bytes
}

/// What the protocol calls keys.
const TAB: char = '\u{e004}';
const ENTER: char = '\u{e007}';
const ESCAPE: char = '\u{e00c}';
