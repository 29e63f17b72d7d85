//! What an outage may cost: bounded memory, and a bounded end.

use tower_circuit_breaker::Outcome;
use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::store::{AuditFilter, RedisStore, Store};

use super::{App, builder, eventually, settings};
use crate::rig::{alice, fail, millis, secs};
use crate::servers::redis::Redis;

#[tokio::test]
async fn an_outage_keeps_a_bounded_audit_and_says_how_much_is_missing() {
    let mut server = Redis::start().await;
    let registry = builder(server.store(), "a").audit_waiting(64).build().unwrap();
    let circuit = registry.circuit(settings("payments")).unwrap();
    let report = registry.restore(secs(10)).await.unwrap();
    assert!(report.is_complete(), "{report}");
    server.kill9();
    for _ in 0..200_000 {
        circuit.try_acquire().unwrap().record(Outcome::Ignored);
    }
    for round in 0..2_500 {
        circuit.trip(&alice(), None);
        circuit.reset(&alice(), To::Closed);
        // Now and then the task sees each of them, and now and then it comes too late.
        if round % 20 == 0 && round < 2_000 {
            tokio::time::sleep(millis(1)).await;
            assert!(registry.store_status().unwrap().audit_rows <= 66, "{:?}", registry.store_status());
        }
    }
    eventually("it says what waits", async || {
        let status = registry.store_status().unwrap();
        status.unsaved == 1 && (64..=66).contains(&status.audit_rows)
    })
    .await;
    server.start_again().await;
    eventually("all is written", async || {
        let status = registry.store_status().unwrap();
        status.up && status.unsaved == 0 && status.audit_rows == 0
    })
    .await;
    let rows = server.store().audit(&AuditFilter::new().limit(10_000)).await.unwrap();
    let missing = |reason: &str| reason.split(' ').next().unwrap().parse::<usize>().unwrap();
    let (lost, kept): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.action == "missing");
    let told: usize = lost.iter().map(|row| missing(&row.reason)).sum();
    assert_eq!(told + kept.len(), 5_000, "{} rows are kept, {told} missing", kept.len());
    assert!(kept.len() <= 64 && !lost.is_empty(), "{lost:?}");
    assert!(registry.shutdown(secs(5)).await.is_complete());
}

#[tokio::test]
async fn a_shutdown_without_the_store_ends_in_time_and_reports_losses() {
    let mut server = Redis::start().await;
    let app = App::restored(server.store(), "a").await;
    server.kill9();
    fail(&app.circuit, 5);
    let ended = tokio::time::timeout(secs(5), app.registry.shutdown(millis(300))).await;
    let report = ended.expect("it keeps its deadline");
    assert_eq!((report.unsaved, report.audit_rows), (vec!["payments".to_owned()], 1));
    app.traffic.goes_on().await;
}

#[test]
fn dropping_a_registry_without_the_store_does_not_block() {
    // It accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let app = App::launch(RedisStore::new(&url).unwrap(), "a");
            fail(&app.circuit, 5);
            app.traffic.goes_on().await;
            drop(app);
        });
        drop(runtime);
        done.send(()).unwrap();
    });
    ended.recv_timeout(secs(10)).expect("neither the registry nor the runtime waits for the store");
}
