//! A service in this process, `circuitctl` in another, and a store between them.

use std::future::poll_fn;
use std::time::{Duration, Instant};

use serde_json::json;
use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::state::Mode;
use tower_circuit_breaker::store::{AnyStore, TieredStore};
use tower_circuit_breaker::{Circuit, Config, Failure, OpenDuration, Registry};

use super::{Circuitctl, files, sqlite};
use crate::servers::postgres::Postgres;
use crate::servers::redis::Redis;

/// Waits until the circuit has that mode.
async fn becomes(circuit: &Circuit, mode: Mode) {
    let mut era = 0;
    let until = async { while poll_fn(|cx| circuit.poll_changed(cx, &mut era)).await.mode != mode {} };
    tokio::time::timeout(Duration::from_secs(60), until).await.expect("it is taken over within a poll");
}

/// Trips again and again, and measures from the start of the other process to the first rejection here.
async fn an_act_of_another_process_rejects_here(ctl: Circuitctl, acts: usize) {
    let registry = Registry::builder().store(AnyStore::open(&ctl.store).unwrap()).instance("service").build().unwrap();
    let circuit = registry.circuit(Config::new("payments").unwrap()).unwrap();
    assert!(registry.restore(Duration::from_secs(5)).await.unwrap().is_complete());
    ctl.does(&["trip", "payments", "--reason", "the first makes the record", "--create"]);
    becomes(&circuit, Mode::ForcedOpen).await;
    let mut took = Vec::new();
    for number in 0..acts {
        ctl.does(&["resume", "payments", "--reason", "again"]);
        becomes(&circuit, Mode::Automatic).await;
        assert!(circuit.try_acquire().is_ok());
        let reason = format!("maintenance {number}");
        let begun = now();
        let mut program = ctl.command(&["trip", "payments", "--reason", &reason]).spawn().unwrap();
        becomes(&circuit, Mode::ForcedOpen).await;
        let rejected = circuit.try_acquire().unwrap_err().to_string();
        took.push(begun.elapsed());
        assert!(rejected.contains(&format!("ana: {reason}")), "{rejected}");
        let ended = tokio::task::spawn_blocking(move || program.wait()).await.unwrap().unwrap();
        assert!(ended.success());
    }
    took.sort();
    let kind = ctl.store.split(':').next().unwrap();
    println!(
        "circuitctl on {kind}: rejected in the other process after {:?}, at most {:?}",
        took[acts / 2],
        took[acts - 1]
    );
    // What the service did itself is seen there, too.
    registry.resume("payments", &tower_circuit_breaker::By::new("carl", "over").unwrap()).await.unwrap();
    assert_eq!(ctl.document(&["show", "payments"]).1["state"], "closed");
    let audit = ctl.does(&["audit", "--user", "carl"]);
    assert!(audit.contains("service") && audit.contains("resume"), "{audit}");
    assert!(registry.shutdown(Duration::from_secs(5)).await.is_complete());
}

#[tokio::test]
async fn the_instances_of_a_held_circuit_agree_with_its_state() {
    let (_folder, ctl) = files();
    let registry = Registry::builder().store(AnyStore::open(&ctl.store).unwrap()).instance("service").build().unwrap();
    let circuit = registry
        .circuit(Config::builder("payments").open_for(OpenDuration::fixed(Duration::from_secs(60))).build().unwrap())
        .unwrap();
    assert!(registry.restore(Duration::from_secs(5)).await.unwrap().is_complete());
    while let Ok(permit) = circuit.try_acquire() {
        permit.failure(Failure::hard());
    }
    is_shown(&ctl, "payments", "open").await;
    drop((circuit, registry));
    let shows = |instances: &str, tripped: u64, state: &str| {
        let status = ctl.does(&["status"]);
        assert!(status.contains(instances), "{status}");
        let (_, document) = ctl.document(&["show", "payments"]);
        assert_eq!((&document["instances_tripped"], &document["instances_known"]), (&tripped.into(), &1.into()));
        assert_eq!((&document["state"], &document["instances"][0]["state"]), (&state.into(), &state.into()));
    };
    shows("  1 of 1 tripped  ", 1, "open");
    ctl.does(&["trip", "payments", "--reason", "maintenance"]);
    shows("  1 of 1 held  ", 1, "forced_open");
    ctl.does(&["disable", "payments", "--reason", "the breaker is wrong", "--indefinitely"]);
    shows("  1 of 1 held  ", 0, "disabled");
    ctl.does(&["resume", "payments", "--reason", "over"]);
    shows("  1 of 1 tripped  ", 1, "open");
}

/// Waits until the store has that state of the circuit.
async fn is_shown(ctl: &Circuitctl, name: &str, state: &str) {
    for _ in 0..200 {
        if ctl.document(&["show", name]).1["state"] == state {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{name} is not {state}");
}

#[tokio::test]
async fn circuitctl_does_not_count_instances_that_have_stopped() {
    let (_folder, ctl) = files();
    for id in ["orders-1", "orders-2"] {
        let registry = Registry::builder().store(AnyStore::open(&ctl.store).unwrap()).instance(id).build().unwrap();
        let circuit = registry.circuit(Config::new("payments").unwrap()).unwrap();
        assert!(registry.restore(Duration::from_secs(5)).await.unwrap().is_complete());
        circuit.reset(&tower_circuit_breaker::By::new("carl", "a test").unwrap(), To::Closed);
        while let Ok(permit) = circuit.try_acquire() {
            permit.failure(Failure::hard());
        }
        let status = ctl.does(&["status"]);
        is_shown(&ctl, "payments", "open").await;
        assert!(!status.contains("2 of 2"), "the first has stopped: {status}");
        assert!(registry.shutdown(Duration::from_secs(5)).await.is_complete());
    }
    let (_, document) = ctl.document(&["show", "payments"]);
    let numbers = ["instances_known", "instances_tripped", "instances_silent", "instances_gone"];
    assert_eq!(numbers.map(|number| document[number].as_u64()), [Some(0), Some(0), Some(0), Some(2)], "{document}");
    let first = &document["instances"][0];
    assert_eq!((&first["gone"], &first["stopped"], &first["tripped"]), (&true.into(), &true.into(), &false.into()));
    assert_eq!(first["state"], "open", "the state that its instance restores");
    let shown = ctl.does(&["show", "payments"]);
    assert_eq!(shown.matches("gone, was open").count(), 2, "{shown}");
    let status = ctl.does(&["status"]);
    assert!(!status.contains(" tripped"), "no instance is there: {status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_to_one_tier_of_a_service_is_refused_and_waits_nowhere() {
    let (_folder, durable) = sqlite().await;
    let server = Redis::start().await;
    let tiers = TieredStore::new(AnyStore::open(&server.url()).unwrap(), AnyStore::open(&durable.store).unwrap());
    let registry = Registry::builder().store(tiers).instance("service").build().unwrap();
    let circuit = registry.circuit(Config::new("payments").unwrap()).unwrap();
    assert!(registry.restore(Duration::from_secs(5)).await.unwrap().is_complete());
    while let Ok(permit) = circuit.try_acquire() {
        permit.failure(Failure::hard());
    }
    while registry.store_status().unwrap().unsaved > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let cache = server.url();
    for alone in [&durable, &Circuitctl::on(cache.clone())] {
        let trip = ["trip", "payments", "--reason", "maintenance"];
        let (code, refused) = alone.document(&trip);
        assert_eq!((code, &refused["error"]["kind"]), (3, &json!("one_tier")), "{refused}");
        let said = alone.run(&trip);
        assert!(said.err.contains("the instances use redis in front of sqlite"), "{said:?}");
        assert_eq!(alone.document(&["show", "payments"]).1["state"], "open", "the record has no act");
    }
    // Another server has no record, and no instance reads the record that is created.
    let other = Redis::start().await;
    let elsewhere = Circuitctl::on(other.url());
    assert_eq!(elsewhere.run(&["trip", "payments", "--reason", "maintenance"]).code, 5);
    let created = elsewhere.does(&["trip", "payments", "--reason", "maintenance", "--create"]);
    assert!(created.ends_with("; no instance was seen to have it yet\n"), "{created}");
    assert_eq!(circuit.status().mode, Mode::Automatic);
    let both = durable.does(&["--cache", &cache, "trip", "payments", "--reason", "maintenance"]);
    assert!(both.ends_with("with its row of the audit; the only known instance has it\n"), "{both}");
    assert_eq!(circuit.status().mode, Mode::ForcedOpen);
    let (_, document) = durable.document(&["--cache", &cache, "resume", "payments", "--reason", "over"]);
    assert_eq!((&document["instances_known"], &document["instances_with_act"]), (&json!(1), &json!(1)), "{document}");
    assert!(registry.shutdown(Duration::from_secs(5)).await.is_complete());
}

#[tokio::test]
async fn circuitctl_shows_why_the_circuit_of_each_instance_has_opened() {
    let (_folder, ctl) = files();
    let registry = Registry::builder().store(AnyStore::open(&ctl.store).unwrap()).instance("service").build().unwrap();
    let circuit = registry.circuit(Config::new("payments").unwrap()).unwrap();
    assert!(registry.restore(Duration::from_secs(5)).await.unwrap().is_complete());
    while let Ok(permit) = circuit.try_acquire() {
        permit.failure_because(Failure::hard(), &"relation \"orders\" is gone\u{1b}[31m");
    }
    assert!(registry.shutdown(Duration::from_secs(5)).await.is_complete());
    let because = "failures in a row weighed 5.0, the limit is 5.0, last a failure of kind error: relation \"orders\" is gone [31m";
    let shown = ctl.does(&["show", "payments"]);
    assert_eq!(shown.matches(because).count(), 2, "once for the published state and once for the instance: {shown}");
    let (_, document) = ctl.document(&["show", "payments"]);
    assert_eq!(document["reason"], because);
    assert_eq!(document["instances"][0]["opened_because"], because);
    assert!(document["instances"][0]["opened_at"].is_u64(), "{document}");
}

fn acts() -> usize {
    std::env::var("ACTS").ok().and_then(|acts| acts.parse().ok()).unwrap_or(3)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_act_of_circuitctl_reaches_a_service_through_files() {
    let (_folder, ctl) = files();
    an_act_of_another_process_rejects_here(ctl, acts()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_act_of_circuitctl_reaches_a_service_through_sqlite() {
    let (_folder, ctl) = sqlite().await;
    an_act_of_another_process_rejects_here(ctl, acts()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_act_of_circuitctl_reaches_a_service_through_redis() {
    let server = Redis::start().await;
    an_act_of_another_process_rejects_here(Circuitctl::on(server.url()), acts()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_act_of_circuitctl_reaches_a_service_through_postgres() {
    let server = Postgres::start().await;
    an_act_of_another_process_rejects_here(Circuitctl::on(server.url()), acts()).await;
}

#[expect(clippy::disallowed_methods, reason = "how long it really takes")]
fn now() -> Instant {
    Instant::now()
}
