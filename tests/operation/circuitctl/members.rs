//! The members of fleets on the command line.

use std::time::Duration;

use serde_json::json;
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::store::{AnyStore, FileStore, Hint, Store, Write};
use tower_circuit_breaker::{Circuit, Config, Registry};

use super::{Circuitctl, files};

/// An instance of a fleet, whose first heartbeat is in the store.
async fn member(ctl: &Circuitctl, fleet: &str, id: &str) -> (Registry, Circuit) {
    let store = AnyStore::open(&ctl.store).unwrap();
    let builder = Registry::builder().store(store).sharing(Sharing::Quorum).fleet(fleet).instance(id);
    let registry = builder.build().unwrap();
    let circuit = registry.circuit(Config::new("payments").unwrap()).unwrap();
    assert!(registry.restore(Duration::from_secs(5)).await.unwrap().is_complete());
    for _ in 0..400 {
        if registry.members().iter().any(|member| member.id == id && member.live) {
            return (registry, circuit);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no heartbeat of {id}: {:?}", registry.members());
}

async fn put(ctl: &Circuitctl, name: &str, bytes: &[u8]) {
    let store = FileStore::new(ctl.store.strip_prefix("file:").unwrap());
    let write = Write { name: name.to_owned(), expected: None, bytes: bytes.to_vec(), ttl: None, hint: Hint::None };
    store.compare_and_set(&write).await.unwrap();
}

#[tokio::test]
async fn members_lists_the_instances_of_each_fleet() {
    let (_folder, ctl) = files();
    assert_eq!(ctl.does(&["members"]), "the store has seen no instance of any fleet within the last hour\n");
    let (one, circuit) = member(&ctl, "orders", "orders-1").await;
    let _two = member(&ctl, "orders", "orders-2").await;
    let _other = member(&ctl, "billing", "billing-1").await;
    let shutdown = one.shutdown(Duration::from_secs(5)).await;
    assert!(shutdown.is_complete(), "{shutdown:?}");
    drop(circuit);
    let all = ctl.does(&["members"]);
    let rows: Vec<Vec<_>> =
        all.lines().map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect();
    assert_eq!(rows[0], ["FLEET", "INSTANCE", "STATE", "SEEN", "STARTED", "VERSION"], "{all}");
    let starts: Vec<_> = rows[1..].iter().map(|row| row[..3].to_vec()).collect();
    let expected =
        [["billing", "billing-1", "live"], ["orders", "orders-1", "stopped"], ["orders", "orders-2", "live"]];
    assert_eq!(starts, expected, "{all}");
    assert!(rows[1..].iter().all(|row| row[5] == env!("CARGO_PKG_VERSION") && row[3].ends_with(" ago")), "{all}");

    let orders = ctl.does(&["members", "orders"]);
    assert!(orders.lines().count() == 3 && !orders.contains("billing"), "{orders}");
    let (code, document) = ctl.document(&["members", "orders"]);
    let fleet = &document["fleets"][0];
    assert_eq!(
        (code, &fleet["fleet"], &fleet["problem"], &document["left_out"]),
        (0, &json!("orders"), &json!(null), &json!(0))
    );
    let states: Vec<_> = fleet["members"].as_array().unwrap().iter().map(|member| &member["state"]).collect();
    assert_eq!(states, ["stopped", "live"]);
    let live = &fleet["members"][1];
    assert!(
        live["since"].as_u64() <= live["last_seen"].as_u64() && live["last_seen"].as_u64() <= document["now"].as_u64()
    );
    assert_eq!((&live["live"], &live["version"]), (&json!(true), &json!(env!("CARGO_PKG_VERSION"))));
    assert_eq!(
        ctl.does(&["members", "ordres"]),
        "the store has seen no instance of the fleet `ordres` within the last hour\n"
    );
    assert_eq!(ctl.document(&["members", "ordres"]).1["fleets"], json!([]));

    let bounded = ctl.does(&["members", "--limit", "2"]);
    assert!(bounded.contains("orders-2") && bounded.ends_with("1 more members: --limit shows more\n"), "{bounded}");
    assert_eq!(ctl.document(&["members", "--limit", "2"]).1["left_out"], 1);
}

#[tokio::test]
async fn no_list_of_circuits_has_the_members_of_fleets() {
    let (_folder, ctl) = files();
    let _one = member(&ctl, "orders", "orders-1").await;
    assert_eq!(ctl.does(&["status"]).lines().count(), 1, "no circuit");
    for command in [
        &["show", "@fleet:orders"][..],
        &["is-tripped", "@fleet:orders"],
        &["trip", "@fleet:orders", "--reason", "x", "--create"],
        &["forget", "@fleet:orders", "--reason", "x"],
        &["watch", "@fleet:*"],
    ] {
        let refused = ctl.run(command);
        assert!(refused.code == 2 && refused.err.contains("which names the members of a fleet"), "{refused:?}");
    }
    let nearest = ctl.run(&["show", "fleet:orders"]);
    assert!(nearest.code == 5 && !nearest.err.contains("did you mean"), "{nearest:?}");
    for fleet in ["", "two words", "redis://:s3cret@db"] {
        let refused = ctl.run(&["members", fleet]);
        assert!(
            refused.code == 2 && refused.err.contains("fleet is ") && !refused.err.contains("s3cret"),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn hostile_memberships_do_not_reach_the_terminal() {
    let (_folder, ctl) = files();
    let version = "9.9\u{1b}[2J".repeat(100);
    let evil = json!({"service": "@fleet:evil", "state": "closed", "instances": {
        "a\u{1b}[2J": {"sequence": 1, "state": "closed"},
        "b\u{202e}": {"sequence": 1, "state": "closed"},
        "c": {"sequence": 1, "state": "closed", "updated_at": u64::MAX, "since": u64::MAX, "version": version},
        "d": {"sequence": 1, "state": "closed", "stopped": 1},
    }});
    put(&ctl, "@fleet:evil", evil.to_string().as_bytes()).await;
    put(&ctl, "@fleet:garbage", b"\x1b[2J").await;
    put(&ctl, "@fleet:later", br#"{"version":2,"service":"@fleet:later","state":"molten"}"#).await;
    put(&ctl, "@fleet:other", br#"{"service":"payments","state":"open"}"#).await;
    put(&ctl, "@fleet:", br#"{"service":"@fleet:","state":"closed"}"#).await;
    let text = ctl.does(&["members"]);
    assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
    assert!(text.lines().all(|line| line.chars().count() < 400), "{text}");
    assert!(text.contains("evil  ") && text.contains("  gone  ") && text.contains("  stopped  "), "{text}");
    assert!(!text.contains("9.9"), "a version is a version: {text}");
    assert!(text.contains("is of version 2, which a later release wrote"), "{text}");
    assert_eq!(text.matches("unreadable").count(), 3, "{text}");
    let (code, document) = ctl.document(&["members"]);
    assert_eq!((code, document["fleets"].as_array().map(Vec::len)), (0, Some(5)), "{document}");
    assert!(document["fleets"][2]["members"].is_null() && document["fleets"][2]["problem"].is_string(), "{document}");
}
