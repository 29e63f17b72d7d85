//! The decision of a fleet, as `circuitctl` reads it from the store.

use std::path::Path;

use serde_json::{Value, json};
use tower_circuit_breaker::clock::{Clock, MonotonicClock};
use tower_circuit_breaker::record::Timestamp;

use super::files;

/// Writes a record of a fleet that votes, probes or is open.
fn write_fleet(folder: &Path, name: &str, fleet: &Value, orders_1: &Value) {
    let now = Timestamp::from(MonotonicClock::default().wall()).as_millis();
    let mut entry = json!({ "sequence": 1, "state": "open", "updated_at": now, "run": 5.0 });
    entry.as_object_mut().unwrap().extend(orders_1.as_object().unwrap().clone());
    let entries = json!({ "orders-1": entry, "orders-2": { "sequence": 1, "state": "closed", "updated_at": now } });
    let record = json!({ "version": 1, "service": name, "state": "closed", "generation": 7, "until": null,
        "fleet": fleet, "instances": entries });
    std::fs::write(folder.join(format!("{name}.json")), record.to_string()).unwrap();
}

#[test]
fn circuitctl_shows_the_decision_the_votes_and_the_leases_of_a_fleet() {
    let (folder, ctl) = files();
    let now = Timestamp::from(MonotonicClock::default().wall()).as_millis();
    let folder = folder.path();
    std::fs::create_dir_all(folder).unwrap();
    let reason = "2 of 6 instances opened, first orders-3: failures in a row weighed 5.0, the limit is 5.0";
    let open = json!({ "state": "open", "generation": 7, "since": now - 3_000, "until": now + 60_000, "open_ms": 63_000,
        "attempt": 1, "votes": 2, "needed": 2, "reason": reason, "instance": "orders-3" });
    write_fleet(folder, "open", &open, &json!({}));
    let round = json!({ "state": "half_open", "generation": 7, "since": now, "attempt": 1 });
    let lease = json!({ "lease": { "round": 7, "until": now + 9_000, "passed": 1 } });
    write_fleet(folder, "probing", &round, &lease);
    let closed = json!({ "state": "closed", "generation": 7, "since": now });
    write_fleet(folder, "voting", &closed, &json!({ "vote": { "on": 7, "until": now + 9_000 } }));

    let status = ctl.does(&["status"]);
    for (name, words) in [("open", "open, 2 votes"), ("probing", "probing, 1 passed"), ("voting", "closed, 1 vote ")] {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line.contains(words), "{status}");
    }
    assert!(status.lines().next().unwrap().contains("  FLEET "), "{status}");
    let (_, document) = ctl.document(&["status"]);
    assert_eq!(document["circuits"][0]["fleet"]["opened_by"], 2, "{document}");

    let shown = ctl.does(&["show", "open"]);
    assert!(shown.contains("  fleet        open, 2 votes, until "), "{shown}");
    assert!(shown.contains(&format!("  decision     {reason}, by orders-3, ")), "{shown}");
    assert!(shown.contains("VOTES") && shown.contains("LEASE"), "{shown}");
    let (_, document) = ctl.document(&["show", "open"]);
    let fleet = &document["fleet"];
    assert_eq!((&fleet["state"], &fleet["needed"], &fleet["reason"]), (&json!("open"), &json!(2), &json!(reason)));
    assert_eq!((&fleet["until"], &fleet["openings_in_a_row"]), (&json!(now + 60_000), &json!(1)), "{document}");

    let shown = ctl.does(&["show", "probing"]);
    let line = shown.lines().find(|line| line.trim_start().starts_with("orders-1")).unwrap();
    assert!(line.contains(" left, 1 passed"), "{shown}");
    let (_, document) = ctl.document(&["show", "probing"]);
    assert_eq!((&document["leases"][0]["instance"], &document["leases"][0]["passed"]), (&json!("orders-1"), &json!(1)));
    assert_eq!(document["leases"][0]["until"], now + 9_000);
    assert_eq!(document["instances"][0]["lease_until"], now + 9_000);

    let shown = ctl.does(&["show", "voting"]);
    assert!(shown.lines().any(|line| line.contains("orders-1") && line.contains("yes, ")), "{shown}");
    let (_, document) = ctl.document(&["show", "voting"]);
    assert_eq!(document["votes"], json!([{ "instance": "orders-1", "until": now + 9_000 }]), "{document}");
    assert_eq!(document["instances"][1]["vote_until"], json!(null));
}

#[test]
fn a_circuit_without_a_fleet_is_shown_as_ever() {
    let (_folder, ctl) = files();
    ctl.does(&["trip", "payments", "--reason", "the first makes the record", "--create"]);
    assert!(!ctl.does(&["status"]).contains("FLEET"));
    let shown = ctl.does(&["show", "payments"]);
    assert!(!shown.contains("  fleet ") && !shown.contains("LEASE"), "{shown}");
    assert_eq!(ctl.document(&["show", "payments"]).1["fleet"], json!(null));
}

#[test]
fn a_circuit_that_all_its_instances_opened_alone_is_tripped() {
    let (folder, ctl) = files();
    let now = Timestamp::from(MonotonicClock::default().wall()).as_millis();
    std::fs::create_dir_all(folder.path()).unwrap();
    let entry = |id: &str, updated_at: u64| json!({ id: { "sequence": 1, "state": "open", "updated_at": updated_at, "until": now + 60_000 } });
    let write = |name: &str, fleet: &Value, instances: &Value| {
        let record = json!({ "version": 1, "service": name, "state": "closed", "generation": 7, "fleet": fleet,
            "instances": instances });
        std::fs::write(folder.path().join(format!("{name}.json")), record.to_string()).unwrap();
    };
    let closed = json!({ "state": "closed", "generation": 7, "since": now - 5_000 });
    write("alone", &closed, &entry("orders-1", now));
    // The instance has not written its entry since the closing.
    write("late", &closed, &entry("orders-1", now - 6_000));
    let status = ctl.does(&["status"]);
    let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(line("alone").contains("closed (1 of 1 tripped alone)"), "{status}");
    assert!(!line("late").contains("tripped alone"), "{status}");
    assert!(ctl.does(&["is-tripped", "alone"]).starts_with("alone is tripped: closed (1 of 1 tripped alone)"));
    assert_eq!(ctl.run(&["is-tripped", "late"]).code, 1);
}
