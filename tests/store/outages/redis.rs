//! Redis away, killed, flushed, paused, demoted, unreachable.

use tower_circuit_breaker::State;
use tower_circuit_breaker::state::Mode;
use tower_circuit_breaker::store::RedisStore;

use super::{App, actions, eventually, stored};
use crate::rig::{alice, fail, state};
use crate::servers::proxy::{Network, Proxy};
use crate::servers::redis::Redis;

#[tokio::test]
async fn an_app_starts_without_redis_and_stores_its_state_later() {
    let mut server = Redis::stopped(&[]);
    let app = App::opened_without_a_store(server.store()).await;
    server.start_again().await;
    let store = server.store();
    let record = app.settled(&store).await;
    assert_eq!(record.state, State::Open);
    assert_eq!(actions(&store).await, ["opened"]);
    app.is_found_open(server.store()).await;
    app.end().await;
}

#[tokio::test]
async fn an_app_started_without_redis_is_restored_later() {
    let mut server = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let app = App::restored(server.store(), "a").await;
    fail(&app.circuit, 5);
    app.settled(&server.store()).await;
    app.end().await;
    server.kill9();
    let app = App::launch(server.store(), "a");
    app.traffic.goes_on().await;
    assert_eq!(state(&app.circuit), State::Closed, "nothing is known yet");
    server.start_again().await;
    eventually("it is restored", async || state(&app.circuit) == State::Open).await;
    app.end().await;
}

#[tokio::test]
async fn a_redis_killed_and_restarted_closes_nothing_with_or_without_its_data() {
    for kept in [true, false] {
        let mut server = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
        let app = App::restored(server.store(), "a").await;
        fail(&app.circuit, 5);
        let before = app.settled(&server.store()).await;
        server.kill9();
        if !kept {
            server.lose_data();
        }
        eventually("it is noticed", async || !app.registry.store_status().unwrap().up).await;
        app.traffic.goes_on().await;
        server.start_again().await;
        let store = server.store();
        let after = app.settled(&store).await;
        assert_eq!((after.state, after.generation), (State::Open, before.generation));
        let told = actions(&store).await;
        assert_eq!(told.len(), usize::from(kept), "the audit is as durable as Redis is: {told:?}");
        app.is_found_open(server.store()).await;
        app.end().await;
    }
}

#[tokio::test]
async fn a_flush_closes_no_circuit_and_the_record_returns_unchanged() {
    let server = Redis::start().await;
    let app = App::restored(server.store(), "a").await;
    fail(&app.circuit, 5);
    let store = server.store();
    let before = app.settled(&store).await;
    let other = App::restored(server.store(), "b").await;
    server.cli::<()>(&["FLUSHALL"]).await;
    eventually("the key is back", async || stored(&store).await.is_some()).await;
    let after = app.settled(&store).await;
    assert_eq!((after.state, after.generation, after.until), (State::Open, before.generation, before.until));
    for app in [app, other] {
        assert_eq!(state(&app.circuit), State::Open);
        app.end().await;
    }
}

#[tokio::test]
async fn a_pause_of_redis_costs_no_call_and_doubles_no_row() {
    let server = Redis::start().await;
    let app = App::restored(server.store(), "a").await;
    server.cli::<()>(&["CLIENT", "PAUSE", "3000", "ALL"]).await;
    fail(&app.circuit, 5);
    app.traffic.goes_on().await;
    eventually("it is noticed", async || !app.registry.store_status().unwrap().up).await;
    let store = server.store();
    let record = app.settled(&store).await;
    assert_eq!((record.state, record.total_failures), (State::Open, 5));
    assert_eq!(actions(&store).await, ["opened"]);
    app.end().await;
}

#[tokio::test]
async fn a_password_that_is_corrected_lets_everything_be_written() {
    let server = Redis::start_with(&["--requirepass", "first"]).await;
    let store = || RedisStore::new(&server.url().replace("//", "//:second@")).unwrap();
    let app = App::opened_without_a_store(store()).await;
    let told = app.registry.store_status().unwrap().last_error.unwrap();
    assert!(!told.contains("second"), "{told}");
    server.cli::<()>(&["CONFIG", "SET", "requirepass", "second"]).await;
    assert_eq!(app.settled(&store()).await.state, State::Open);
    assert_eq!(actions(&store()).await, ["opened"]);
    app.end().await;
}

#[tokio::test]
async fn writes_refused_by_a_demoted_master_succeed_after_its_promotion() {
    let server = Redis::start().await;
    let master = Redis::start_with(&["--repl-diskless-sync-delay", "0"]).await;
    let app = App::restored(server.store(), "a").await;
    fail(&app.circuit, 5);
    let store = server.store();
    let before = app.settled(&store).await;
    server.cli::<()>(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]).await;
    app.circuit.trip(&alice(), None);
    eventually("it is refused", async || app.registry.store_status().unwrap().last_error.is_some()).await;
    app.traffic.goes_on().await;
    assert!(app.registry.store_status().unwrap().unsaved > 0, "it says what waits");
    server.cli::<()>(&["REPLICAOF", "NO", "ONE"]).await;
    eventually("the act is written", async || stored(&store).await.is_some_and(|record| record.operator.is_some()))
        .await;
    let after = app.settled(&store).await;
    assert_eq!((after.generation, after.operator.unwrap().mode), (before.generation, Mode::ForcedOpen));
    let told = actions(&store).await;
    assert_eq!(told.iter().filter(|action| *action == "trip").count(), 1, "{told:?}");
    app.end().await;
}

#[tokio::test]
async fn writes_lost_in_a_black_hole_are_repeated_on_new_connections() {
    let server = Redis::start().await;
    let proxy = Proxy::to(server.port()).await;
    let app = App::restored(RedisStore::new(&proxy.url()).unwrap(), "a").await;
    proxy.set(Network::BlackHole);
    fail(&app.circuit, 5);
    app.traffic.goes_on().await;
    eventually("it is noticed", async || !app.registry.store_status().unwrap().up).await;
    // The connections there were stay dead.
    proxy.set(Network::Works);
    let store = server.store();
    assert_eq!(app.settled(&store).await.state, State::Open);
    assert_eq!(actions(&store).await, ["opened"]);
    app.end().await;
}
