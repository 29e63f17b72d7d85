//! What lies in Redis, and for how long.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value as Json;
use tower_circuit_breaker::record::{CircuitRecord, Timestamp};
use tower_circuit_breaker::state::State;
use tower_circuit_breaker::store::{AuditFilter, Etag, RedisStore, Store, StoreErrorKind, Write, Written};

use super::{fresh, get, put, record, write};
use crate::servers::proxy::{Network, Proxy};
use crate::servers::redis::Redis;

#[tokio::test]
async fn a_person_can_read_the_record_at_the_key_that_people_know() {
    let (server, store) = fresh().await;
    let mut written = CircuitRecord::unknown("payments");
    written.state = State::Open;
    written.opened_at = Some(Timestamp::from_millis(1_790_000_000_123));
    written.half_open_attempts = 2;
    put(&store, "payments", &written.encode().unwrap()).await;
    let text: String = server.cli(&["GET", "circuit_breaker:payments:state"]).await;
    let json: Json = serde_json::from_str(&text).unwrap();
    assert_eq!(json["state"], "open");
    assert_eq!(json["failure_count"], 0.0);
    assert_eq!(json["opened_at"], 1_790_000_000_123_u64);
    assert_eq!(json["half_open_attempts"], 2);
}

#[tokio::test]
async fn a_prefix_is_in_every_key_and_in_every_text() {
    let (server, _) = fresh().await;
    let address = format!("{}/3?prefix=orders&protocol=resp3", server.url());
    let socket = RedisStore::new("unix:///run/redis.sock?db=3&prefix=orders").unwrap();
    let client = RedisStore::from_client(redis::Client::open(format!("{}/3", server.url())).unwrap());
    for store in
        [RedisStore::new(&address).unwrap(), server.store().prefix("x").unwrap(), client.prefix("orders").unwrap()]
    {
        put(&store, "payments", &record("payments")).await;
        store.append_audit(&[super::audit::row(1)]).await.unwrap();
        assert_eq!(store.list().await.unwrap(), ["payments"]);
        assert_eq!(store.audit(&AuditFilter::new()).await.unwrap().len(), 1);
        let found = get(&store, "payments").await.unwrap().unwrap();
        assert!(store.delete("payments", &found.etag).await.unwrap());
    }
    let keys: Vec<String> = server.cli(&["KEYS", "*"]).await;
    assert_eq!(
        BTreeSet::from_iter(keys),
        BTreeSet::from(["x:circuit_breaker:audit", "{x:circuit_breaker:audit}:ids"].map(str::to_owned))
    );
    let named = "database 3, prefix orders";
    let store = RedisStore::new(&address).unwrap();
    assert!(format!("{store:?}").contains(named), "{store:?}");
    assert!(format!("{socket:?}").contains(named), "{socket:?}");
    server
        .cli::<()>(&["EVAL", "redis.call('SELECT', 3) redis.call('RPUSH', 'orders:circuit_breaker:a:state', 'x')", "0"])
        .await;
    let error = store.compare_and_set(&write("a", None, b"a")).await.unwrap_err();
    assert!(error.to_string().contains("the key orders:circuit_breaker:a:state"), "{error}");
    drop(server);
    let error = get(&store, "a").await.unwrap_err();
    assert!(error.to_string().contains(named), "{error}");
}

#[test]
fn a_wrong_prefix_is_refused_with_its_field_its_value_and_the_allowed_values() {
    for wrong in [
        "",
        " ",
        "a*",
        "a?",
        "[a]",
        "{a}",
        "a\\",
        "a\nb",
        "a\0",
        "\u{e4}",
        ":a",
        "a:",
        "circuit_breaker",
        &"x".repeat(101),
    ] {
        let error = RedisStore::new("redis://db").unwrap().prefix(wrong).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Refused);
        let error = error.to_string();
        let begins = "the prefix of redis is \"";
        assert!(
            error.starts_with(begins) && error.contains("must be 1 to 100 letters") && !error.contains('\n'),
            "{error}"
        );
    }
    for right in ["a", "orders-eu.1", "a:b/c_d", &"x".repeat(100)] {
        assert!(RedisStore::new("redis://db").unwrap().prefix(right).is_ok(), "{right}");
    }
}

#[tokio::test]
async fn a_record_lives_as_long_as_asked_or_for_ever() {
    let (server, store) = fresh().await;
    let key = "circuit_breaker:a:state";
    let mut asked = write("a", None, b"1");
    let mut etag = None;
    for (ttl, least, most) in
        [(Some(86_400), 86_390_000, 86_400_000), (None, -1, -1), (Some(3600), 3_590_000, 3_600_000)]
    {
        asked.expected = etag;
        asked.ttl = ttl.map(Duration::from_secs);
        let Ok(Written::Applied { etag: new, .. }) = store.compare_and_set(&asked).await else { panic!("not written") };
        let left: i64 = server.cli(&["PTTL", key]).await;
        assert!((least..=most).contains(&left), "asked for {ttl:?} s, {left} ms are left");
        etag = Some(new);
    }
    asked.expected = etag;
    asked.ttl = Some(Duration::from_millis(50));
    store.compare_and_set(&asked).await.unwrap();
    assert!(get(&store, "a").await.unwrap().is_some(), "it lives for as long as asked");
    tokio::time::sleep(Duration::from_millis(80)).await;
    assert_eq!(get(&store, "a").await.unwrap(), None, "and then goes");
}

#[tokio::test]
async fn of_sixty_four_writers_one_wins() {
    let (_server, store) = fresh().await;
    let writers = (0..64).map(|writer: u8| {
        let store = store.clone();
        async move { (writer, store.compare_and_set(&write("a", None, &[writer])).await.unwrap()) }
    });
    let written = futures_util::future::join_all(writers).await;
    let winners: Vec<_> = written.iter().filter(|(_, written)| matches!(written, Written::Applied { .. })).collect();
    assert_eq!(winners.len(), 1, "{winners:?}");
    let kept = get(&store, "a").await.unwrap().unwrap();
    assert_eq!(kept.bytes, [winners[0].0]);
    for (_, written) in &written {
        if let Written::Conflict { current, .. } = written {
            assert_eq!(current.as_ref(), Some(&kept), "a loser is told what is there");
        }
    }
}

#[tokio::test]
async fn a_value_edited_by_hand_has_an_etag_like_any_other() {
    let (server, store) = fresh().await;
    let etag = put(&store, "a", b"{}").await;
    server.cli::<()>(&["SET", "circuit_breaker:a:state", "by hand"]).await;
    let conflict = store.compare_and_set(&write("a", Some(&etag), b"2")).await.unwrap();
    let Written::Conflict { current: Some(current), .. } = conflict else { panic!("{conflict:?}") };
    assert_eq!(current.bytes, b"by hand");
    let written = store.compare_and_set(&write("a", Some(&current.etag), b"2")).await.unwrap();
    assert!(matches!(written, Written::Applied { .. }), "{written:?}");
}

#[tokio::test]
async fn a_key_of_another_type_affects_no_other_name_and_is_kept() {
    let (server, store) = fresh().await;
    put(&store, "b", b"b").await;
    server.cli::<()>(&["RPUSH", "circuit_breaker:a:state", "x"]).await;
    let loaded = store.load_many(&["a".to_owned(), "b".to_owned()]).await.unwrap();
    assert_eq!(loaded.entries[0], None);
    assert_eq!(loaded.entries[1].as_ref().unwrap().bytes, b"b");
    let error = store.compare_and_set(&write("a", None, b"a")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    assert!(error.to_string().contains("circuit_breaker:a:state"), "{error}");
    let error = store.delete("a", &Etag::new("x")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    let length: u64 = server.cli(&["LLEN", "circuit_breaker:a:state"]).await;
    assert_eq!(length, 1, "what somebody else keeps there is untouched");
}

#[tokio::test]
async fn the_list_has_every_circuit_and_nothing_else() {
    let (server, store) = fresh().await;
    let names: BTreeSet<String> = (0..2500).map(|number| format!("{{x}}:state*[{number}]ä")).collect();
    // One round trip each is slow on a busy machine: by the server itself.
    let script = "for _, name in ipairs(ARGV) do redis.call('SET', 'circuit_breaker:' .. name .. ':state', '{}') end";
    let words: Vec<&str> = ["EVAL", script, "0"].into_iter().chain(names.iter().map(String::as_str)).collect();
    server.cli::<()>(&words).await;
    for other in ["circuit_breaker::state", "circuit_breaker:x:stat", "xcircuit_breaker:x:state", "other"] {
        server.cli::<()>(&["SET", other, "1"]).await;
    }
    assert_eq!(store.list().await.unwrap(), names.iter().cloned().collect::<Vec<_>>());
    let wanted: Vec<_> = names.into_iter().collect();
    let loaded = store.load_many(&wanted).await.unwrap();
    assert!(loaded.entries.iter().all(Option::is_some), "ten round trips have an answer for each");
}

#[tokio::test]
async fn many_names_are_loaded_in_one_round_trip() {
    let (server, _) = fresh().await;
    let proxy = Proxy::to(server.port()).await;
    let store = RedisStore::new(&proxy.url()).unwrap();
    get(&store, "a").await.unwrap();
    // There and back: 200 ms. One after the other, twenty would take four seconds.
    proxy.set(Network::Slow(Duration::from_millis(100)));
    let names: Vec<_> = (0..20).map(|number| number.to_string()).collect();
    let loaded = tokio::time::timeout(Duration::from_secs(1), store.load_many(&names)).await;
    assert_eq!(loaded.expect("one round trip").unwrap().entries.len(), 20);
}

#[tokio::test]
async fn a_flushed_script_cache_is_not_noticed() {
    let (server, store) = fresh().await;
    let etag = put(&store, "a", b"1").await;
    server.cli::<()>(&["SCRIPT", "FLUSH"]).await;
    assert_eq!(get(&store, "a").await.unwrap().unwrap().etag, etag);
    server.cli::<()>(&["SCRIPT", "FLUSH"]).await;
    assert!(store.delete("a", &etag).await.unwrap());
}

#[tokio::test]
async fn a_flush_leaves_nothing_and_the_record_can_be_written_back() {
    let (server, store) = fresh().await;
    let etag = put(&store, "a", &record("a")).await;
    server.cli::<()>(&["FLUSHALL"]).await;
    assert_eq!(get(&store, "a").await.unwrap(), None);
    let written = store.compare_and_set(&write("a", Some(&etag), &record("a"))).await.unwrap();
    assert!(matches!(written, Written::Conflict { current: None, .. }), "{written:?}");
    assert_eq!(put(&store, "a", &record("a")).await, etag, "the same bytes have the same etag");
}

#[tokio::test]
async fn every_script_keeps_to_one_slot_of_a_cluster() {
    let server = Redis::start_with(&["--cluster-enabled", "yes"]).await;
    server.cli::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    for _ in 0..500 {
        if server.cli::<String>(&["CLUSTER", "INFO"]).await.contains("cluster_state:ok") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let store = server.store();
    let etag = put(&store, "a", b"1").await;
    put(&store, "{b}", b"1").await;
    let asked = Write { expected: Some(etag.clone()), ..write("a", None, b"2") };
    assert!(matches!(store.compare_and_set(&asked).await, Ok(Written::Applied { .. })));
    assert!(store.load_many(&["a", "{b}"].map(str::to_owned)).await.unwrap().entries.iter().all(Option::is_some));
    assert!(!store.delete("a", &etag).await.unwrap());
    let slots: (u64, u64) = (
        server.cli(&["CLUSTER", "KEYSLOT", "circuit_breaker:audit"]).await,
        server.cli(&["CLUSTER", "KEYSLOT", "{circuit_breaker:audit}:ids"]).await,
    );
    assert_eq!(slots.0, slots.1);
    store.append_audit(&[super::audit::row(1)]).await.unwrap();
}
