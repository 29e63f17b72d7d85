//! Several applications on one server, which do not affect each other, and messages of strangers.

mod limits;
mod rights;

use std::time::Duration;

use tower_circuit_breaker::operation::{Kept, Operator, Refused};
use tower_circuit_breaker::record::CircuitRecord;
use tower_circuit_breaker::state::Mode;
use tower_circuit_breaker::store::{
    AnyStore, AuditFilter, FaultyStore, MemoryStore, Operation, PostgresStore, RedisStore, Store, TieredStore,
    WatchEvent,
};
use tower_circuit_breaker::{Config, Registry};

use crate::rig::{alice, millis, secs};
use crate::servers::postgres::Postgres;
use crate::servers::redis::Redis;

/// An instance that almost never polls, so that it hears of others only by pushes.
pub(crate) async fn instance(store: impl Store, id: &str) -> Registry {
    let builder = Registry::builder().store(store).instance(id).poll_every(secs(3600), secs(3600));
    let registry = builder.store_timeout(secs(10)).build().unwrap();
    for name in ["payments", "first", "second"] {
        registry.circuit(Config::new(name).unwrap()).unwrap();
    }
    let restored = registry.restore(secs(20)).await.unwrap();
    assert!(restored.is_complete(), "{restored}");
    registry
}

pub(crate) fn mode(registry: &Registry, name: &str) -> Mode {
    registry.get(name).unwrap().status().mode
}

async fn trip(registry: &Registry, name: &str) {
    let done = registry.trip(name, &alice(), None).await.unwrap();
    assert!(matches!(done.kept, Kept::Stored { .. }), "{done:?}");
}

/// Trips a circuit until another instance hears of that, because the watch of the other instance may begin a little
/// later.
pub(crate) async fn reaches(from: &Registry, to: &Registry, name: &str) {
    let heard = async {
        while mode(to, name) == Mode::Automatic {
            trip(from, name).await;
            for _ in 0..50 {
                if mode(to, name) != Mode::Automatic {
                    return;
                }
                tokio::time::sleep(millis(10)).await;
            }
        }
    };
    assert!(tokio::time::timeout(secs(30), heard).await.is_ok(), "{name} is pushed");
}

/// An act in one store reaches the instances of that store, and shows nowhere in the other store.
async fn are_separate(ours: impl Store + Clone, theirs: impl Store + Clone) {
    let (one, two) = (instance(ours.clone(), "one").await, instance(ours.clone(), "two").await);
    let foreign = instance(theirs.clone(), "one").await;
    reaches(&two, &one, "first").await;
    let mut watch = ours.watch().await.unwrap().expect("the store pushes");
    assert_eq!(watch.next().await, Some(WatchEvent::Gap), "the watch has begun");
    trip(&foreign, "payments").await;
    // A push of the other store would arrive before this later one of the own store.
    reaches(&two, &one, "second").await;
    while let Some(event) = watch.next().await {
        if matches!(&event, WatchEvent::Changed { name, .. } if name == "second") {
            break;
        }
        assert!(!format!("{event:?}").contains("payments"), "the other store is not heard: {event:?}");
    }
    for registry in [&one, &two] {
        assert_eq!(mode(registry, "payments"), Mode::Automatic, "an act in the other store");
    }
    assert_eq!(mode(&foreign, "first"), Mode::Automatic);

    let (ours, theirs) = (Operator::new(AnyStore::new(ours)), Operator::new(AnyStore::new(theirs)));
    let names = async |operator: &Operator| -> Vec<String> {
        operator.list().await.unwrap().into_iter().map(|shown| shown.name).collect()
    };
    assert_eq!(names(&ours).await, ["first", "second"]);
    assert_eq!(names(&theirs).await, ["payments"]);
    let rows = ours.audit(&AuditFilter::new()).await.unwrap();
    assert!(!rows.is_empty() && rows.iter().all(|row| row.service != "payments"), "{rows:?}");
    let rows = theirs.audit(&AuditFilter::new()).await.unwrap();
    assert!(!rows.is_empty() && rows.iter().all(|row| row.service == "payments"), "{rows:?}");
    let refused = theirs.forget("first", &alice()).await.unwrap_err();
    assert!(matches!(refused, Refused::NoRecord { .. }), "{refused}");
    theirs.forget("payments", &alice()).await.unwrap();
    assert_eq!(names(&ours).await, ["first", "second"]);
}

fn redis(server: &Redis, rest: &str) -> RedisStore {
    RedisStore::new(&format!("{}/{rest}", server.url())).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_databases_of_one_redis_are_separate() {
    let server = Redis::start().await;
    are_separate(redis(&server, "0"), redis(&server, "1")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_prefixes_in_one_redis_database_are_separate() {
    for (ours, theirs) in [("0?prefix=a", "0?prefix=a:b"), ("2?prefix=a:b", "2?prefix=a"), ("3", "3?prefix=a")] {
        let server = Redis::start().await;
        are_separate(redis(&server, ours), redis(&server, theirs)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tiered_stores_on_one_redis_are_separate() {
    let server = Redis::start().await;
    let tiered = |fast: &str| {
        let durable = FaultyStore::new(MemoryStore::new());
        durable.faults().drop_events();
        let store = TieredStore::new(redis(&server, fast), durable);
        AnyStore::new(store)
    };
    are_separate(tiered("0"), tiered("1")).await;
    are_separate(tiered("4?prefix=a"), tiered("4?prefix=a:b")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_schemas_and_two_databases_of_one_postgres_are_separate() {
    let server = Postgres::start().await;
    server.execute("CREATE SCHEMA ours; CREATE SCHEMA theirs").await;
    server.execute("CREATE DATABASE other").await;
    let schema = |name: &str| PostgresStore::new(&format!("{}?options[search_path]={name}", server.url())).unwrap();
    are_separate(schema("ours"), schema("theirs")).await;
    let other = PostgresStore::new(&format!("{}?dbname=other", server.url())).unwrap();
    are_separate(PostgresStore::new(&server.url()).unwrap(), other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_or_replayed_message_of_redis_changes_no_record() {
    let server = Redis::start().await;
    let (one, two) = (instance(server.store(), "one").await, instance(server.store(), "two").await);
    reaches(&two, &one, "first").await;
    // The record of a forced opening, as if the circuit were another one.
    let loaded = server.store().load_many(&["first".to_owned()]).await.unwrap();
    let found = loaded.entries[0].clone().unwrap();
    let mut record = CircuitRecord::decode("first", &found.bytes, loaded.now).unwrap();
    "payments".clone_into(&mut record.service);
    let record = String::from_utf8(record.encode().unwrap()).unwrap();
    let digest = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
    for forged in [
        format!("1 8 {digest} 1790000000000\npayments{record}"),
        format!("8 {digest}\npayments{record}"),
        "8 -\npayments".to_owned(),
        format!("5 {}\nfirst", found.etag.as_str()),
        "5 -\nfirst".to_owned(),
    ] {
        for channel in ["circuit_breaker:changes", "circuit_breaker:changes:0"] {
            server.cli::<()>(&["PUBLISH", channel, &forged]).await;
        }
    }
    reaches(&two, &one, "second").await;
    for registry in [&one, &two] {
        assert_eq!(mode(registry, "payments"), Mode::Automatic);
        assert_eq!(mode(registry, "first"), Mode::ForcedOpen);
    }
    assert_eq!(server.store().list().await.unwrap(), ["first", "second"], "no record is written because of a message");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_or_replayed_notification_of_postgres_changes_no_record() {
    let server = Postgres::start().await;
    let store = || PostgresStore::new(&server.url()).unwrap();
    let (one, two) = (instance(store(), "one").await, instance(store(), "two").await);
    reaches(&two, &one, "first").await;
    server
        .execute(
            "DO $$ DECLARE channel text := 'circuit_breaker:' || 'circuit_breaker_states'::regclass::oid; etag text; BEGIN
                SELECT s.etag INTO etag FROM circuit_breaker_states s WHERE service = 'first';
                PERFORM pg_notify(c, p) FROM unnest(ARRAY[channel, 'circuit_breaker']) c,
                    unnest(ARRAY['payments', '- payments', 'x payments', etag || ' payments', etag || ' first', '- first', '',
                        ' ', repeat('x', 7000), '- ' || repeat('x', 7000), repeat('x', 7000) || ' first']) p;
            END $$",
        )
        .await;
    reaches(&two, &one, "second").await;
    for registry in [&one, &two] {
        assert_eq!(mode(registry, "payments"), Mode::Automatic);
        assert_eq!(mode(registry, "first"), Mode::ForcedOpen);
    }
    assert_eq!(store().list().await.unwrap(), ["first", "second"], "no record is written because of a notification");
}

/// The loads that a flood of messages causes until a push of the own store arrives.
async fn loads_of<S: Store + Clone>(store: S, flood: impl AsyncFnOnce()) -> u64 {
    let counted = FaultyStore::new(store.clone());
    let (one, two) = (instance(counted.clone(), "one").await, instance(store, "two").await);
    reaches(&two, &one, "first").await;
    let before = counted.faults().operations(Operation::Load);
    flood().await;
    reaches(&two, &one, "second").await;
    counted.faults().operations(Operation::Load) - before
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_messages_causes_few_loads() {
    // A load takes 50 ms of the flood, which lasts for a second or two.
    const FEW: u64 = 200;
    let server = Redis::start().await;
    let redis = loads_of(server.store(), async || {
        let flood = "for i = 1, 40000 do redis.call('PUBLISH', 'circuit_breaker:changes:0', '8 -\\npayments') end";
        server.cli::<()>(&["EVAL", flood, "0"]).await;
    });
    let redis = redis.await;
    assert!(redis <= FEW, "{redis} loads for 40000 messages");
    let server = Postgres::start().await;
    let postgres = loads_of(PostgresStore::new(&server.url()).unwrap(), async || {
        // A transaction reports equal notifications once.
        server
            .execute(
                "DO $$ BEGIN FOR i IN 1..2000 LOOP
                    PERFORM pg_notify('circuit_breaker:' || 'circuit_breaker_states'::regclass::oid, 'e' || i || n || ' payments')
                        FROM generate_series(1, 20) n;
                    COMMIT;
                END LOOP; END $$",
            )
            .await;
    });
    let postgres = postgres.await;
    assert!(postgres <= FEW, "{postgres} loads for 40000 notifications");
}

/// Waits until it holds, at most for twenty seconds.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(secs(20), waiting).await.is_ok(), "not in time: {what}");
}
