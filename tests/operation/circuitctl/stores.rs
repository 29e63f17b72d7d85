//! The same story on every store.

use serde_json::json;

use super::{Circuitctl, files, sqlite};
use crate::servers::postgres::Postgres;
use crate::servers::redis::Redis;

/// Every command once, for people and for programs.
fn every_command_does_what_it_says(ctl: &Circuitctl) {
    assert_eq!(ctl.does(&["status"]), "the store has no record, because a circuit that never failed has none\n");
    let unknown = ctl.run(&["trip", "payments", "--reason", "maintenance"]);
    assert_eq!((unknown.code, unknown.out.as_str()), (5, ""), "{unknown:?}");
    assert!(unknown.err.ends_with("--create makes it\n"), "{unknown:?}");

    let tripped = ctl.does(&["trip", "payments", "--reason", "maintenance", "--for", "10m", "--create"]);
    assert_eq!(
        tripped,
        "`payments` is tripped for 10 m: the act is stored, with its row of the audit; no instance was seen to have it yet\n"
    );
    let status = ctl.does(&["status"]);
    let lines: Vec<&str> = status.lines().collect();
    let columns: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(columns, ["CIRCUIT", "STATE", "UNTIL", "INSTANCES", "AGE", "REASON"]);
    assert_eq!(lines.len(), 2, "{status}");
    assert_eq!(lines[0].find("REASON"), lines[1].find("tripped by ana: maintenance"), "aligned:\n{status}");
    assert!(lines[1].starts_with("payments  forced_open  ") && lines[1].contains(" (in 9 m 5"), "{status}");
    let (code, status) = ctl.document(&["status"]);
    let circuit = &status["circuits"][0];
    assert_eq!((code, &circuit["name"], &circuit["state"]), (0, &json!("payments"), &json!("forced_open")));
    assert_eq!((&circuit["tripped"], &circuit["user"]), (&json!(true), &json!("ana")));
    let left = circuit["until"].as_u64().unwrap() - status["now"].as_u64().unwrap();
    assert!((580_000..=600_000).contains(&left), "{status}");

    assert_eq!(ctl.does(&["is-tripped", "payments"]), "payments is tripped: forced_open\n");
    assert_eq!(
        ctl.document(&["is-tripped", "payments"]),
        (0, json!({ "name": "payments", "state": "forced_open", "tripped": true }))
    );
    let early = ctl.run(&["reset", "payments", "--reason", "it is back"]);
    assert!(early.code == 3 && early.err.contains("wait ") && early.err.contains("--force"), "{early:?}");
    let (code, early) = ctl.document(&["reset", "payments", "--reason", "it is back"]);
    assert_eq!((code, &early["error"]["kind"]), (3, &json!("cooldown")));

    let reset = ctl.does(&["reset", "payments", "--reason", "it is back", "--to", "closed", "--force"]);
    assert_eq!(
        reset,
        "`payments` is reset: the act is stored, with its row of the audit; no instance was seen to have it yet\n"
    );
    let closed = ctl.run(&["is-tripped", "payments"]);
    assert_eq!((closed.code, closed.out.as_str()), (1, "payments is not tripped: closed\n"));
    let nothing = ctl.run(&["resume", "payments", "--reason", "over"]);
    assert_eq!(nothing.err, "circuitctl: circuit `payments` has no override, so that there is nothing to resume\n");
    assert_eq!(nothing.code, 3);

    ctl.does(&["disable", "payments", "--reason", "the breaker is wrong", "--for", "90s", "--user", "bob"]);
    let shown = ctl.does(&["show", "payments"]);
    assert!(shown.contains("state        disabled, until "), "{shown}");
    assert!(shown.contains("last act     disabled by bob: the breaker is wrong; "), "{shown}");
    ctl.does(&["disable", "payments", "--reason", "for longer", "--indefinitely", "--user", "bob"]);
    let (_, shown) = ctl.document(&["show", "payments"]);
    assert_eq!((&shown["state"], &shown["ends"]), (&json!("disabled"), &json!("resume")));
    assert_eq!(shown["instances"], json!([]));
    assert_eq!(ctl.run(&["is-tripped", "payments"]).code, 1);
    let resumed = ctl.does(&["resume", "payments", "--reason", "mended"]);
    assert_eq!(
        resumed,
        "`payments` is resumed: the act is stored, with its row of the audit; no instance was seen to have it yet\n"
    );

    let audit = ctl.does(&["audit"]);
    let actions: Vec<Vec<&str>> =
        audit.lines().skip(1).map(|line| line.split_whitespace().skip(2).take(3).collect()).collect();
    let told = [["resume", "ana"], ["disable", "bob"], ["disable", "bob"], ["reset", "ana"], ["trip", "ana"]];
    for (action, told) in actions.iter().zip(told) {
        assert_eq!(action[1..], told, "{audit}");
    }
    let (_, audit) =
        ctl.document(&["audit", "--service", "payments", "--user", "bob", "--since", "1h", "--limit", "1"]);
    let rows = audit["rows"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["reason"]), (1, &json!("for longer")), "{audit}");
    assert_eq!(ctl.does(&["audit", "--since", "9999-01-01"]), "no row of the audit matches\n");

    let typo = ctl.run(&["show", "paymets"]);
    assert_eq!((typo.code, typo.out.as_str()), (5, ""), "{typo:?}");
    assert_eq!(typo.err, "circuitctl: the store has no record of `paymets`; did you mean `payments`?\n");
    let (code, typo) = ctl.document(&["forget", "paymets", "--reason", "gone"]);
    assert_eq!((code, &typo["error"]["nearest"]), (5, &json!("payments")));
    ctl.does(&["forget", "payments", "--reason", "nobody has it any more"]);
    assert_eq!(ctl.document(&["status"]).1["circuits"], json!([]));
}

/// The same order twice is one, and one that was decided on an old sight is none.
fn an_order_is_done_once_and_not_on_an_old_sight(ctl: &Circuitctl) {
    let trip = ["trip", "orders", "--reason", "maintenance", "--create", "--id", "click-7"];
    let (_, first) = ctl.document(&trip);
    let (code, again) = ctl.document(&trip);
    assert_eq!((code, &again["id"]), (0, &json!("click-7")));
    assert_eq!(first["generation"], again["generation"], "nothing was written");
    assert_eq!(
        ctl.document(&["audit"]).1["rows"]
            .as_array()
            .map(|rows| rows.iter().filter(|row| row["service"] == "orders").count()),
        Some(1)
    );
    let seen = first["generation"].to_string();
    ctl.does(&["resume", "orders", "--reason", "by mistake", "--seen", &seen]);
    let (code, stale) = ctl.document(&["disable", "orders", "--reason", "x", "--indefinitely", "--seen", &seen]);
    assert_eq!((code, &stale["error"]["kind"]), (3, &json!("stale")));
    assert_eq!(ctl.document(&["show", "orders"]).1["state"], "closed");
}

fn all_of_it(ctl: &Circuitctl) {
    every_command_does_what_it_says(ctl);
    an_order_is_done_once_and_not_on_an_old_sight(ctl);
}

#[test]
fn every_command_works_on_files() {
    let (_folder, ctl) = files();
    all_of_it(&ctl);
}

#[tokio::test]
async fn every_command_works_on_sqlite() {
    let (_folder, ctl) = sqlite().await;
    all_of_it(&ctl);
}

#[tokio::test]
async fn every_command_works_on_redis() {
    let server = Redis::start().await;
    all_of_it(&Circuitctl::on(server.url()));
}

#[tokio::test]
async fn every_command_works_on_postgres() {
    let server = Postgres::start().await;
    tower_circuit_breaker::store::PostgresStore::new(&server.url()).unwrap().ensure_schema().await.unwrap();
    all_of_it(&Circuitctl::on(server.url()));
}

#[tokio::test]
async fn both_tiers_are_reached_and_an_absent_tier_is_named() {
    let (_folder, durable) = sqlite().await;
    let mut cache = Redis::start().await;
    let tiered = ["--cache", &cache.url()].map(str::to_owned);
    let with = |arguments: &[&str]| durable.run(&[&[tiered[0].as_str(), &tiered[1]], arguments].concat());
    let tripped = with(&["trip", "payments", "--reason", "maintenance", "--create"]);
    assert_eq!((tripped.code, tripped.err.as_str()), (0, ""), "{tripped:?}");
    for tier in [&durable, &Circuitctl::on(cache.url())] {
        assert_eq!(tier.document(&["show", "payments"]).1["state"], "forced_open", "{}", tier.store);
    }
    cache.kill9();
    let resumed = with(&["resume", "payments", "--reason", "over"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert!(resumed.err.starts_with("circuitctl: the cache does not answer, "), "{resumed:?}");
    assert_eq!(durable.document(&["show", "payments"]).1["state"], "closed");
}
