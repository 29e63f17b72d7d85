//! The reason of a state: after a restart, on the instances that follow, and from a store that is not to be trusted.

use serde_json::{Value, json};
use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::store::{AuditFilter, FileStore, Hint, MemoryStore, SqliteStore, Store, Write};
use tower_circuit_breaker::{Circuit, Config, Failure, OpenDuration, State};

use crate::lines::Lines;
use crate::rig::{Instance, alice, fail, memory, pass, record, secs, settings, state, succeed};
use crate::servers::folder::Folder;
use crate::servers::redis::Redis;

const REASON: &str =
    "failures in a row weighed 5.0, the limit is 5.0, last a failure of kind connect: Connection refused";

/// Five failures with a text open the circuit.
fn open(circuit: &Circuit) {
    for _ in 0..5 {
        let failure = Failure::hard().with_kind(FailureKind::Connect);
        circuit.try_acquire().unwrap().failure_because(failure, &"Connection refused");
    }
}

fn rejected(circuit: &Circuit) -> String {
    circuit.try_acquire().unwrap_err().to_string()
}

/// Nothing probes while the test lasts.
fn long() -> Config {
    settings("payments").open_for(OpenDuration::fixed(secs(600)).jitter(0.0)).build().unwrap()
}

async fn start(store: &(impl Store + Clone), id: &str, sharing: Sharing) -> Instance {
    Instance::with(store, id, sharing, long()).await
}

/// Returns the part of a sentence between two others.
#[track_caller]
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let part = text.strip_prefix(before).and_then(|rest| rest.split_once(after));
    part.unwrap_or_else(|| panic!("{text:?} is not {before:?} .. {after:?}")).0
}

/// Opens a circuit, and starts the instance twice again. `opened` opens the store anew, as another process does.
async fn keeps_the_reason<S: Store + Clone>(opened: impl Fn() -> S) {
    let a = start(&opened(), "a", Sharing::Advise).await;
    open(&a.circuit);
    assert!(rejected(&a.circuit).starts_with(&format!("circuit `payments` is open: {REASON}; it lets")));
    a.end().await;
    let mut since = Vec::new();
    for _ in 0..2 {
        let lines = Lines::collect();
        let a = start(&opened(), "a", Sharing::Advise).await;
        let sentence = rejected(&a.circuit);
        let after = format!(" UTC, before this restart: {REASON}; it lets a probe through in ");
        since.push(between(&sentence, "circuit `payments` is open since 20", &after).to_owned());
        let edge = a.circuit.status().transitions.pop().unwrap();
        assert_eq!(edge.earlier.as_ref().map(|earlier| earlier.reason()), Some(REASON));
        assert!(sentence.contains(&edge.because().to_string()), "the status says the same: {}", edge.because());
        let logged = lines.with("and is still open");
        assert!(logged.len() == 1 && logged[0].contains(&edge.because().to_string()), "{logged:?}");
        a.end().await;
    }
    assert_eq!(since[0].get(..14), since[1].get(..14), "the opening has one time, whatever the seconds: {since:?}");
}

#[tokio::test]
async fn an_open_circuit_keeps_time_and_reason_over_two_restarts_on_files() {
    let folder = Folder::new();
    keeps_the_reason(|| FileStore::new(folder.path())).await;
}

#[tokio::test]
async fn an_open_circuit_keeps_time_and_reason_over_two_restarts_on_sqlite() {
    let folder = Folder::new();
    keeps_the_reason(|| SqliteStore::new(folder.path().join("circuit_breaker.db"))).await;
}

#[tokio::test]
async fn an_open_circuit_keeps_time_and_reason_over_two_restarts_on_redis() {
    let server = Redis::start().await;
    keeps_the_reason(|| server.store()).await;
}

#[tokio::test(start_paused = true)]
async fn a_half_open_circuit_keeps_the_reason_of_its_opening_over_a_restart() {
    let store = memory();
    let a = start(&store, "a", Sharing::Advise).await;
    open(&a.circuit);
    pass(secs(600)).await;
    drop(a.circuit.try_acquire().unwrap());
    assert_eq!(state(&a.circuit), State::HalfOpen);
    pass(secs(30)).await;
    a.end().await;
    let a = start(&store, "a", Sharing::Advise).await;
    assert_eq!(state(&a.circuit), State::HalfOpen);
    let probe = a.circuit.try_acquire().unwrap();
    let sentence = rejected(&a.circuit);
    let before = "circuit `payments` is half-open and admits no further probe now; it was opened at 20";
    between(&sentence, before, &format!(" UTC, before this restart: {REASON}"));
    drop(probe);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_follows_names_the_other_instance_and_its_reason() {
    let store = memory();
    let (a, b) = (start(&store, "orders-1", Sharing::Follow).await, start(&store, "orders-2", Sharing::Follow).await);
    let lines = Lines::collect();
    // With a failure of its own, the instance has an entry of its own in the record.
    fail(&b.circuit, 1);
    open(&a.circuit);
    pass(secs(5)).await;
    let opened = format!("circuit `payments` is open: orders-1 opened: {REASON}; it lets a probe through in 595 s");
    assert_eq!(rejected(&b.circuit), opened);
    assert_eq!(lines.with("orders-1 opened").len(), 1, "the log as well");

    b.end().await;
    let b = start(&store, "orders-2", Sharing::Follow).await;
    let after = format!(" UTC, before this restart: orders-1 opened: {REASON}; it");
    between(&rejected(&b.circuit), "circuit `payments` is open since 20", &after);

    pass(secs(600)).await;
    drop(a.circuit.try_acquire());
    for _ in 0..3 {
        pass(secs(1)).await;
        succeed(&a.circuit, 1);
    }
    pass(secs(5)).await;
    let closed = b.circuit.status().transitions.pop().unwrap();
    assert_eq!(
        (closed.to.state, closed.because().to_string().as_str()),
        (State::Closed, "3 probes of the fleet succeeded")
    );
}

#[tokio::test(start_paused = true)]
async fn an_instance_without_an_entry_names_the_instance_that_has_opened() {
    let store = memory();
    let a = start(&store, "orders-1", Sharing::Advise).await;
    open(&a.circuit);
    pass(secs(2)).await;
    let b = start(&store, "orders-2", Sharing::Advise).await;
    let after = format!(" UTC on instance `orders-1`, before this restart: {REASON}; it");
    between(&rejected(&b.circuit), "circuit `payments` is open since 20", &after);
}

#[tokio::test(start_paused = true)]
async fn a_reset_while_an_instance_was_away_is_its_reason() {
    let store = memory();
    let (a, b) = (start(&store, "a", Sharing::Advise).await, start(&store, "b", Sharing::Advise).await);
    open(&a.circuit);
    a.end().await;
    pass(secs(120)).await;
    b.registry
        .operate("payments", &tower_circuit_breaker::operation::Order::reset(&alice(), To::HalfOpen))
        .await
        .unwrap();
    let a = start(&store, "a", Sharing::Advise).await;
    let edge = a.circuit.status().transitions.pop().unwrap();
    assert_eq!(edge.to.state, State::HalfOpen);
    assert!(edge.because().to_string().contains("reset by alice: maintenance"), "{}", edge.because());
}

#[tokio::test(start_paused = true)]
async fn the_audit_has_the_text_of_the_last_failure() {
    let store = memory();
    let a = start(&store, "a", Sharing::Advise).await;
    open(&a.circuit);
    pass(secs(1)).await;
    assert_eq!(store.audit(&AuditFilter::new()).await.unwrap()[0].reason, REASON);
    assert_eq!(record(&store, "payments").await.unwrap().reason, REASON, "and so has the published state");
}

/// Changes the stored record by its JSON, as another program could.
async fn change(store: &MemoryStore, change: impl FnOnce(&mut Value)) {
    let loaded = store.load_many(&["payments".to_owned()]).await.unwrap();
    let entry = loaded.entries.into_iter().next().unwrap().unwrap();
    let mut json = serde_json::from_slice(&entry.bytes).unwrap();
    change(&mut json);
    let bytes = serde_json::to_vec(&json).unwrap();
    store
        .compare_and_set(&Write {
            name: "payments".to_owned(),
            expected: Some(entry.etag),
            bytes,
            ttl: None,
            hint: Hint::Any,
        })
        .await
        .unwrap();
}

/// Opens the circuit of instance `a`, ends the instance, and changes its record.
async fn opened_and_changed(by: impl FnOnce(&mut Value)) -> MemoryStore {
    let store = memory();
    let a = start(&store, "a", Sharing::Advise).await;
    open(&a.circuit);
    a.end().await;
    change(&store, by).await;
    store
}

#[tokio::test(start_paused = true)]
async fn a_record_of_an_earlier_version_is_read_with_the_reason_of_the_published_state() {
    let store =
        opened_and_changed(|json| drop(json["instances"]["a"].as_object_mut().unwrap().remove("opening"))).await;
    let a = start(&store, "a", Sharing::Advise).await;
    assert!(rejected(&a.circuit).contains(REASON), "{}", rejected(&a.circuit));

    let without = |json: &mut Value| {
        json["instances"]["a"].as_object_mut().unwrap().remove("opening");
        json["reason"] = json!("");
    };
    let a = start(&opened_and_changed(without).await, "a", Sharing::Advise).await;
    assert!(rejected(&a.circuit).starts_with("circuit `payments` is open: restored from the store; it"));
}

#[tokio::test(start_paused = true)]
async fn an_opening_that_an_earlier_version_has_kept_without_knowing_it_is_not_shown() {
    // The earlier version wrote the entry again, with another sequence, and has kept the unknown field.
    let store = opened_and_changed(|json| {
        let entry = &mut json["instances"]["a"];
        entry["sequence"] = json!(entry["sequence"].as_u64().unwrap() + 1);
        entry["opening"]["reason"] = json!("an old reason");
    })
    .await;
    let a = start(&store, "a", Sharing::Advise).await;
    assert!(!rejected(&a.circuit).contains("an old reason") && rejected(&a.circuit).contains(REASON));
}

#[tokio::test(start_paused = true)]
async fn a_reason_from_a_store_neither_ends_a_line_nor_fills_a_log() {
    let hostile = format!("it was\r\nERROR \u{202e}root: {}", "ä".repeat(4_000));
    let store = opened_and_changed(|json| {
        json["instances"]["a"]["opening"]["reason"] = json!(hostile);
        json["instances"]["a"]["opening"]["at"] = json!(u64::MAX);
    })
    .await;
    let a = start(&store, "a", Sharing::Advise).await;
    let sentence = rejected(&a.circuit);
    assert!(
        sentence.starts_with("circuit `payments` is open, before this restart: it was  ERROR  root: "),
        "{sentence}"
    );
    assert!(sentence.chars().count() < 400 && !sentence.contains(char::is_control), "{sentence}");
}
