//! PostgreSQL away, killed, restarted, unreachable.

use tower_circuit_breaker::State;
use tower_circuit_breaker::state::Mode;
use tower_circuit_breaker::store::PostgresStore;

use super::{App, actions, eventually};
use crate::rig::{alice, fail, state};
use crate::servers::postgres::Postgres;
use crate::servers::proxy::{Network, Proxy};

fn store(server: &Postgres) -> PostgresStore {
    PostgresStore::new(&server.url()).unwrap()
}

#[tokio::test]
async fn an_app_starts_without_postgres_and_stores_its_state_later() {
    let mut server = Postgres::start().await;
    server.stop();
    let app = App::opened_without_a_store(store(&server)).await;
    server.start_again().await;
    assert_eq!(app.settled(&store(&server)).await.state, State::Open);
    assert_eq!(actions(&store(&server)).await, ["opened"]);
    app.is_found_open(store(&server)).await;
    app.end().await;
}

#[tokio::test]
async fn a_killed_and_restarted_postgres_has_written_and_waiting_changes() {
    let mut server = Postgres::start().await;
    let app = App::restored(store(&server), "a").await;
    fail(&app.circuit, 5);
    let before = app.settled(&store(&server)).await;
    server.kill9();
    eventually("it is noticed", async || !app.registry.store_status().unwrap().up).await;
    app.traffic.goes_on().await;
    server.start_again().await;
    let after = app.settled(&store(&server)).await;
    assert_eq!((after.state, after.generation), (State::Open, before.generation));
    app.circuit.trip(&alice(), None);
    server.restart_immediately().await;
    app.settled(&store(&server)).await;
    let other = App::restored(store(&server), "b").await;
    assert_eq!(other.circuit.status().mode, Mode::ForcedOpen);
    assert_eq!(actions(&store(&server)).await, ["opened", "trip"]);
    app.end().await;
}

#[tokio::test]
async fn a_trip_is_seen_elsewhere_although_the_listener_was_terminated() {
    let server = Postgres::start().await;
    let app = App::restored(store(&server), "a").await;
    let other = App::restored(store(&server), "b").await;
    server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'").await;
    app.circuit.trip(&alice(), None);
    eventually("it binds there", async || other.circuit.status().mode == Mode::ForcedOpen).await;
    app.settled(&store(&server)).await;
    assert_eq!(actions(&store(&server)).await, ["trip"]);
    app.end().await;
    other.end().await;
}

#[tokio::test]
async fn a_password_that_is_corrected_lets_everything_be_written() {
    let server = Postgres::start().await;
    server.execute("CREATE ROLE app LOGIN PASSWORD 'first'; GRANT ALL ON SCHEMA public TO app").await;
    // The test looks as the same role: whoever comes first makes the tables, and they are theirs.
    let store = || PostgresStore::new(&server.url_of("app:second")).unwrap();
    let app = App::opened_without_a_store(store()).await;
    let told = app.registry.store_status().unwrap().last_error.unwrap();
    assert!(!told.contains("second"), "{told}");
    server.execute("ALTER ROLE app PASSWORD 'second'").await;
    assert_eq!(app.settled(&store()).await.state, State::Open);
    assert_eq!(actions(&store()).await, ["opened"]);
    app.end().await;
}

#[tokio::test]
async fn writes_lost_in_a_black_hole_are_repeated_on_new_connections() {
    let server = Postgres::start().await;
    let port = |url: &str| url.rsplit(':').next().unwrap().split('/').next().unwrap().parse::<u16>().unwrap();
    let proxy = Proxy::to(port(&server.url())).await;
    let through = format!("postgres://postgres@127.0.0.1:{}/postgres", port(&proxy.url()));
    let app = App::restored(PostgresStore::new(&through).unwrap(), "a").await;
    proxy.set(Network::BlackHole);
    fail(&app.circuit, 5);
    app.traffic.goes_on().await;
    eventually("it is noticed", async || !app.registry.store_status().unwrap().up).await;
    // The connections there were stay dead.
    proxy.set(Network::Works);
    assert_eq!(app.settled(&store(&server)).await.state, State::Open);
    assert_eq!(actions(&store(&server)).await, ["opened"]);
    assert_eq!(state(&app.circuit), State::Open);
    app.end().await;
}
