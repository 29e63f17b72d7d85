//! What a person reads in the stores when the coordinator has written there.

use serde_json::Value as Json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Row};
use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::store::{PostgresStore, SqliteStore, Store};

use super::{App, builder, eventually, settings, stored};
use crate::rig::{alice, fail, secs};
use crate::servers::folder::Folder;
use crate::servers::postgres::Postgres;
use crate::servers::redis::Redis;

#[tokio::test]
async fn a_person_reads_an_open_circuit_and_its_ttl_in_redis() {
    let server = Redis::start().await;
    let registry =
        builder(server.store(), "a").ttl_of("brief", secs(7_200), secs(60)).ttl_of("host:*", secs(900), secs(600));
    let registry = registry.build().unwrap();
    for (name, failures) in [("payments", 5), ("quiet", 2), ("brief", 5), ("brief-too", 2), ("host:a", 2)] {
        fail(&registry.circuit(settings(name)).unwrap(), failures);
    }
    registry.start().unwrap();
    let ttl = async |name: &str| server.cli::<i64>(&["TTL", &format!("circuit_breaker:{name}:state")]).await;
    eventually("all are written", async || {
        let mut written = true;
        for name in ["payments", "quiet", "brief", "brief-too", "host:a"] {
            written &= ttl(name).await > 0;
        }
        written
    })
    .await;
    let read = async |name: &str| -> Json {
        let text: String = server.cli(&["GET", &format!("circuit_breaker:{name}:state")]).await;
        serde_json::from_str(&text).unwrap()
    };
    let open = read("payments").await;
    assert_eq!((open["state"].as_str(), open["total_failures"].as_u64()), (Some("open"), Some(5)), "{open}");
    assert!(open["opened_at"].as_u64().is_some_and(|at| at > 1_700_000_000_000), "{open}");
    assert!(open["half_open_attempts"].is_u64() && open["reason"].is_string(), "{open}");
    // The run of failures is evidence of the era: it begins anew when the circuit opens.
    let closed = read("quiet").await;
    assert_eq!((closed["state"].as_str(), closed["failure_count"].as_f64()), (Some("closed"), Some(2.0)), "{closed}");
    for (name, asked) in
        [("payments", 86_400), ("quiet", 3_600), ("brief", 7_200), ("brief-too", 3_600), ("host:a", 600)]
    {
        let left = ttl(name).await;
        assert!((asked - 30..=asked).contains(&left), "`{name}` is kept for {left} s, asked were {asked}");
    }
    assert!(registry.shutdown(secs(5)).await.is_complete());
}

/// Opens, is reset, and is tripped.
async fn lives(store: impl Store, look: &impl Store) {
    let app = App::restored(store, "a").await;
    fail(&app.circuit, 5);
    app.settled(look).await;
    app.circuit.reset(&alice(), To::Closed);
    app.settled(look).await;
    app.circuit.trip(&alice(), None);
    eventually("the trip is written", async || {
        stored(look).await.is_some_and(|record| record.operator.is_some_and(|operated| operated.act.as_str() == "trip"))
    })
    .await;
    app.end().await;
}

const STATES: &str = "SELECT service || ' ' || state || ' ' || total_failures || ' ' || total_successes || ' '
    || (last_failure_at IS NOT NULL) || ' ' || (last_state_change IS NOT NULL) || ' ' || (updated_at IS NOT NULL)
    FROM circuit_breaker_states";
const AUDIT: &str = "SELECT string_agg(action || ' by ' || coalesce(\"user\", '-') || ' for ' || reason || ' '
    || (\"timestamp\" IS NOT NULL), '; ' ORDER BY \"timestamp\", id) FROM circuit_breaker_audit WHERE service = 'payments'";

/// Rows are dated by an estimate of the store's time, so that their order is not sure to a few milliseconds.
fn has_three_rows(audit: &str, dated: &str) {
    let mut rows: Vec<_> = audit.split("; ").collect();
    rows.sort_unstable();
    let [opened, reset, trip] = rows[..] else { panic!("{audit}") };
    assert!(opened.starts_with("opened by - for ") && opened.ends_with(dated), "{audit}");
    assert_eq!(reset, format!("reset by alice for maintenance {dated}"));
    assert_eq!(trip, format!("trip by alice for maintenance {dated}"));
}

#[tokio::test]
async fn a_person_reads_both_tables_of_postgres() {
    let server = Postgres::start().await;
    let store = || PostgresStore::new(&server.url()).unwrap();
    lives(store(), &store()).await;
    let states = server.value(STATES).await.unwrap();
    assert_eq!(states, "payments closed 5 0 true true true");
    let audit = server.value(AUDIT).await.unwrap();
    has_three_rows(&audit, "true");
}

#[tokio::test]
async fn a_person_reads_both_tables_of_sqlite() {
    let folder = Folder::new();
    let file = folder.path().join("data").join("circuit_breaker.db");
    lives(SqliteStore::new(&file), &SqliteStore::new(&file)).await;
    let mut connection = SqliteConnectOptions::new().filename(&file).connect().await.unwrap();
    let mut value = async |sql: &'static str| -> String {
        let row = sqlx::query(sql).fetch_one(&mut connection).await.unwrap();
        row.try_get_unchecked(0).unwrap()
    };
    assert_eq!(value(STATES).await, "payments closed 5 0 1 1 1");
    let audit = value(AUDIT).await;
    has_three_rows(&audit, "1");
}
