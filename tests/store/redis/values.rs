//! The reading of values, and the etags, which all versions of the crate on one server share.

use tower_circuit_breaker::operation::{Operator, Order};
use tower_circuit_breaker::record::CircuitRecord;
use tower_circuit_breaker::state::Mode;
use tower_circuit_breaker::store::{AnyStore, Etag, RedisStore, Store, StoreErrorKind, Written};
use tower_circuit_breaker::{Config, Registry};

use super::{fresh, get, put, write};
use crate::rig::{alice, secs};
use crate::servers::redis::Redis;

const KEY: &str = "circuit_breaker:a:state";
const LONGEST: usize = CircuitRecord::MAX_BYTES;

#[tokio::test]
async fn an_etag_is_the_sha1_that_older_versions_compute_on_the_server() {
    let (server, store) = fresh().await;
    let older = "return redis.sha1hex(redis.call('GET', KEYS[1]))";
    let mut etag = None;
    for length in [1, 63, 64, 450, LONGEST - 1, LONGEST] {
        let asked = write("a", etag.as_ref(), &vec![b'x'; length]);
        let written = store.compare_and_set(&asked).await.unwrap();
        let Written::Applied { etag: new, .. } = written else { panic!("{length}: {written:?}") };
        let theirs: String = server.cli(&["EVAL", older, "1", KEY]).await;
        assert_eq!(new.as_str(), theirs, "the write of {length} bytes");
        let found = get(&store, "a").await.unwrap().unwrap();
        assert_eq!((found.etag.as_str(), found.bytes.len()), (&*theirs, length), "the load");
        etag = Some(new);
    }
}

#[tokio::test]
async fn a_load_runs_no_script() {
    let (server, store) = fresh().await;
    put(&store, "a", b"1").await;
    server.cli::<()>(&["CONFIG", "RESETSTAT"]).await;
    let names: Vec<_> = ["a", "b"].map(str::to_owned).into();
    assert_eq!(store.load_many(&names).await.unwrap().entries.len(), 2);
    let stats: String = server.cli(&["INFO", "commandstats"]).await;
    assert!(stats.contains("cmdstat_getrange:calls=2,") && !stats.contains("cmdstat_eval"), "{stats}");
}

/// Returns the bytes that the server has sent to all clients.
async fn sent(server: &Redis) -> u64 {
    let stats: String = server.cli(&["INFO", "stats"]).await;
    let line = stats.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:"));
    line.unwrap().trim().parse().unwrap()
}

/// Sets a value of this length, whose bytes after the first are zero.
async fn grow(server: &Redis, first: &str, length: usize) {
    server.cli::<()>(&["SET", KEY, first]).await;
    server.cli::<()>(&["SETRANGE", KEY, &(length - 1).to_string(), "x"]).await;
}

#[tokio::test]
async fn a_value_longer_than_a_record_is_never_transferred_whole() {
    let (server, store) = fresh().await;
    put(&store, "b", b"b").await;
    for length in [LONGEST + 1, LONGEST + 2, 100 * 1024 * 1024] {
        grow(&server, "{}", length).await;
        let before = sent(&server).await;
        let loaded = store.load_many(&["a".to_owned(), "b".to_owned()]).await.unwrap();
        assert_eq!(loaded.entries[1].as_ref().unwrap().bytes, b"b");
        let found = loaded.entries[0].clone().unwrap();
        CircuitRecord::decode("a", &found.bytes, loaded.now).expect_err("the value counts as damaged");
        // A conflict, a write and a deletion compare the etag of the same bytes.
        let conflict = store.compare_and_set(&write("a", None, b"1")).await.unwrap();
        assert!(matches!(&conflict, Written::Conflict { current: Some(current), .. } if *current == found), "{length}");
        let written = store.compare_and_set(&write("a", Some(&found.etag), b"1")).await.unwrap();
        assert!(matches!(written, Written::Applied { .. }), "{length}: {written:?}");
        grow(&server, "{}", length).await;
        assert!(!store.delete("a", &Etag::new("0")).await.unwrap());
        assert!(store.delete("a", &found.etag).await.unwrap(), "{length}");
        let bytes = sent(&server).await - before;
        assert!(bytes < 200_000, "{bytes} bytes were sent for two answers with at most {LONGEST} bytes and some more");
    }
}

#[tokio::test]
async fn the_beginning_of_a_value_that_is_too_long_has_no_meaning() {
    let (server, store) = fresh().await;
    for first in ["unreadable: ", r#"{"version":99}"#] {
        grow(&server, first, LONGEST + 1).await;
        let loaded = store.load_many(&["a".to_owned()]).await.unwrap();
        let found = loaded.entries[0].clone().unwrap();
        let error = CircuitRecord::decode("a", &found.bytes, loaded.now).unwrap_err().to_string();
        assert!(error.contains("has 65537 bytes"), "{first}: {error}");
    }
}

#[tokio::test]
async fn an_empty_value_counts_as_no_value_for_every_operation() {
    let (server, store) = fresh().await;
    server.cli::<()>(&["SET", KEY, ""]).await;
    assert_eq!(get(&store, "a").await.unwrap(), None);
    let empty = Etag::new("da39a3ee5e6b4b0d3255bfef95601890afd80709");
    let conflict = store.compare_and_set(&write("a", Some(&empty), b"1")).await.unwrap();
    assert!(matches!(conflict, Written::Conflict { current: None, .. }), "{conflict:?}");
    assert!(!store.delete("a", &empty).await.unwrap());
    let error = store.compare_and_set(&write("a", None, b"")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
    put(&store, "a", b"1").await;
}

#[tokio::test]
async fn a_refused_key_keeps_no_other_circuit_from_its_record() {
    let (server, store) = fresh().await;
    Operator::new(AnyStore::new(store)).operate("a", &Order::trip(&alice()).create()).await.unwrap();
    let user = ["ACL", "SETUSER", "breaker", "on", ">secret", "~circuit_breaker:a:*", "+getrange", "+time"];
    server.cli::<()>(&user).await;
    let limited = RedisStore::new(&server.url().replace("//", "//breaker:secret@")).unwrap();
    let error = limited.load_many(&["a".to_owned(), "b".to_owned()]).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
    assert!(error.to_string().contains("names the rights"), "{error}");
    let registry = Registry::builder().store(limited).build().unwrap();
    let circuits = ["b", "a"].map(|name| registry.circuit(Config::new(name).unwrap()).unwrap());
    let report = registry.restore(secs(1)).await.unwrap();
    assert!(!report.is_complete(), "the record of `b` is refused: {report}");
    assert_eq!(circuits[1].status().mode, Mode::ForcedOpen);
}
