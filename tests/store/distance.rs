//! Slow stores, for example behind a network with a round trip of 250 ms, which work if the user allows the time.

use std::time::Duration;

use sqlx::Connection;
use tower_circuit_breaker::operation::{Operator, Order};
use tower_circuit_breaker::store::{AnyStore, AuditFilter, PostgresStore, RedisStore, StoreErrorKind};
use tower_circuit_breaker::{By, Config, Registry};

use crate::servers::certificates::Certificates;
use crate::servers::folder::Folder;
use crate::servers::postgres::Postgres;
use crate::servers::proxy::{Network, Proxy};
use crate::servers::redis::{Redis, free_port};

/// Half of the round trip, in each direction.
const HALF: Duration = Duration::from_millis(125);
const AMPLE: Duration = Duration::from_secs(20);

async fn distant(port: u16) -> Proxy {
    let proxy = Proxy::to(port).await;
    proxy.set(Network::Slow(HALF));
    proxy
}

/// Operates a circuit, restores a registry, and fails for lack of time with a shorter limit.
async fn works(open: impl Fn() -> AnyStore) {
    let operator = Operator::new(open()).timeout(AMPLE);
    let by = By::new("ana", "maintenance").unwrap();
    operator.operate("payments", &Order::trip(&by).create()).await.unwrap();
    assert_eq!(operator.list().await.unwrap().len(), 1);
    assert_eq!(operator.audit(&AuditFilter::new()).await.unwrap().len(), 1);
    assert!(operator.now().await.unwrap().as_millis() > 0);

    let registry = Registry::builder().store(open()).store_timeout(AMPLE).build().unwrap();
    registry.circuit(Config::new("payments").unwrap()).unwrap();
    let restored = registry.restore(AMPLE).await.unwrap();
    assert!(restored.is_complete(), "{restored}");

    let short = Operator::new(open()).timeout(HALF).list().await.unwrap_err();
    assert!(matches!(short.kind(), StoreErrorKind::Unavailable | StoreErrorKind::TimedOut), "{}", short.chain());
}

#[tokio::test]
async fn a_postgres_250_ms_away_works_within_the_timeout_of_the_user() {
    let files = Certificates::new();
    let mut server = Postgres::start().await;
    server.enable_tls(files.folder()).await;
    let proxy = distant(server.port()).await;
    let (port, ca) = (proxy.port(), files.text("ca.crt"));
    let url = format!("postgres://postgres@localhost:{port}/postgres?sslmode=verify-full&sslrootcert={ca}");
    works(|| AnyStore::open(&url).unwrap()).await;
    let short = Operator::new(AnyStore::open(&url).unwrap()).timeout(HALF).list().await.unwrap_err();
    assert_eq!(short.kind(), StoreErrorKind::Unavailable, "{}", short.chain());
    assert!(short.to_string().contains("a distant server needs a larger one"), "{short}");
}

#[tokio::test]
async fn a_redis_250_ms_away_works_within_the_timeout_of_the_user() {
    let files = Certificates::new();
    let port = free_port();
    let (number, ca, certificate, key) =
        (port.to_string(), files.text("ca.crt"), files.text("server.crt"), files.text("server.key"));
    let tls = ["--tls-port", &number, "--tls-ca-cert-file", &ca, "--tls-cert-file", &certificate];
    let options: Vec<&str> = tls.into_iter().chain(["--tls-key-file", &key, "--tls-auth-clients", "no"]).collect();
    let _server = Redis::start_with(&options).await;
    let proxy = distant(port).await;
    let url = format!("rediss://localhost:{}?ca={ca}", proxy.port());
    works(|| AnyStore::open(&url).unwrap()).await;
}

#[tokio::test]
async fn an_answer_may_take_as_long_as_the_timeout_of_the_user() {
    let redis = Redis::start().await;
    let operator = Operator::new(AnyStore::new(redis.store())).timeout(AMPLE);
    operator.now().await.unwrap();
    redis.cli::<()>(&["CLIENT", "PAUSE", "2500", "ALL"]).await;
    operator.now().await.expect("the answer comes later than by default");

    let postgres = Postgres::start().await;
    let store = PostgresStore::new(&postgres.url()).unwrap();
    let operator = Operator::new(AnyStore::new(store)).timeout(AMPLE);
    operator.list().await.unwrap();
    let locked = postgres.execute("BEGIN; LOCK TABLE circuit_breaker_states; SELECT pg_sleep(2.5); COMMIT");
    let (listed, ()) = tokio::join!(operator.list(), locked);
    listed.expect("the statement may wait for longer than by default");
}

#[tokio::test]
async fn a_locked_sqlite_file_is_waited_for_within_the_timeout_of_the_user() {
    let folder = Folder::new();
    let url = format!("sqlite://{}", folder.path().join("x.db").display());
    let operator = Operator::new(AnyStore::open(&url).unwrap()).timeout(AMPLE);
    operator.list().await.unwrap();
    let mut other = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let by = By::new("ana", "maintenance").unwrap();
    let order = Order::trip(&by).create();
    let (operated, ()) = tokio::join!(operator.operate("payments", &order), async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    });
    operated.expect("the lock may be held for longer than by default");
}

#[tokio::test]
async fn both_tiers_follow_the_timeout_of_the_user() {
    let (postgres, redis) = (Postgres::start().await, Redis::start().await);
    let (database, cache) = (distant(postgres.port()).await, distant(redis.port()).await);
    let tiered = || {
        let durable =
            PostgresStore::new(&format!("postgres://postgres@127.0.0.1:{}/postgres", database.port())).unwrap();
        let fast = RedisStore::new(&cache.url()).unwrap();
        AnyStore::new(tower_circuit_breaker::store::TieredStore::new(fast, durable))
    };
    let operator = Operator::new(tiered()).timeout(AMPLE);
    let by = By::new("ana", "maintenance").unwrap();
    operator.operate("payments", &Order::trip(&by).create()).await.unwrap();
    assert_eq!(operator.list().await.unwrap().len(), 1);
    let durable = Operator::new(AnyStore::open(&postgres.url()).unwrap()).list().await.unwrap();
    assert_eq!(durable.len(), 1, "the durable tier has the act");
}
