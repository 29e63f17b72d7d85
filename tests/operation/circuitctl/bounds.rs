//! The number of rows of each answer, whatever the store holds.

use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::json;

use tower_circuit_breaker::clock::{Clock, MonotonicClock};
use tower_circuit_breaker::record::Timestamp;

use super::{Circuitctl, files};

/// Writes a record by hand, as another program could.
fn write_record(folder: &Path, name: &str, state: &str, instances: usize) {
    // A record drops entries that are too old.
    let now = Timestamp::from(MonotonicClock::default().wall()).as_millis();
    let entries: serde_json::Map<_, _> = (0..instances)
        .map(|number| {
            // Only the last instance is tripped.
            let state = if number + 1 == instances { "open" } else { "closed" };
            let entry = json!({ "sequence": 1, "state": state, "updated_at": now });
            (format!("orders-{number:04}"), entry)
        })
        .collect();
    let record =
        json!({ "version": 1, "service": name, "state": state, "generation": 1, "until": null, "instances": entries });
    std::fs::write(folder.join(format!("{name}.json")), record.to_string()).unwrap();
}

/// 1500 circuits, of which the last by name is open.
fn many(folder: &Path) {
    for number in 0..1_499 {
        write_record(folder, &format!("circuit-{number:04}"), "closed", 0);
    }
    write_record(folder, "zebra", "open", 0);
}

/// Reads the first lines of a `watch`, up to the line that says what is left out.
fn first_lines(ctl: &Circuitctl, arguments: &[&str], end: &str) -> Vec<String> {
    let mut watching = ctl.command(arguments).spawn().unwrap();
    let mut lines = Vec::new();
    for line in BufReader::new(watching.stdout.take().unwrap()).lines().map_while(Result::ok) {
        let is_last = line.contains(end);
        lines.push(line);
        if is_last {
            break;
        }
    }
    watching.kill().unwrap();
    watching.wait().unwrap();
    lines
}

#[test]
fn status_and_watch_print_at_most_a_thousand_circuits_and_name_the_rest() {
    let (folder, ctl) = files();
    many(folder.path());
    let out = ctl.does(&["status"]);
    let lines: Vec<_> = out.lines().collect();
    assert_eq!((lines.len(), lines[1001]), (1002, "500 more circuits: --limit shows more"));
    assert!(lines[1].starts_with("zebra"), "{}", lines[1]);

    let lines = first_lines(&ctl, &["watch"], "more changes");
    let more = "500 more changes: --limit shows more, and names or a pattern such as 'host:*' select circuits";
    assert_eq!((lines.len(), lines[1000].as_str()), (1001, more));
    assert!(lines[0].contains("zebra"), "{}", lines[0]);
    let lines = first_lines(&ctl, &["--json", "watch", "--limit", "2", "circuit-*"], "left_out");
    assert_eq!((lines.len(), lines[2].as_str()), (3, r#"{"left_out":1497}"#));
}

#[test]
fn show_prints_at_most_the_instances_that_a_record_keeps() {
    let (folder, ctl) = files();
    write_record(folder.path(), "payments", "open", 500);
    let out = ctl.does(&["show", "payments"]);
    assert_eq!(out.matches("  orders-0").count(), 100);
    assert!(out.contains("orders-0499  open") && out.ends_with("  a record keeps the latest 100 instances\n"), "{out}");
    assert_eq!(ctl.document(&["show", "payments"]).1["instances"].as_array().map(Vec::len), Some(100));
    write_record(folder.path(), "payments", "open", 99);
    assert!(!ctl.does(&["show", "payments"]).contains("a record keeps"), "these are all instances");
}

#[test]
fn audit_says_that_older_rows_are_left_out() {
    let (folder, ctl) = files();
    let row = |number: u64| {
        let row = json!({ "id": number.to_string(), "service": "payments", "action": "opened", "reason": format!("row {number}"),
            "user": null, "timestamp": 1_790_000_000_000_u64 + number, "generation": number, "instance": "orders-1" });
        format!("{row}\n")
    };
    std::fs::write(folder.path().join("audit.jsonl"), (0..101).map(row).collect::<String>()).unwrap();
    let out = ctl.does(&["audit"]);
    assert_eq!(out.lines().count(), 102);
    assert!(out.ends_with("older rows are left out: --limit shows more\n") && !out.contains("row 0\n"), "{out}");
    assert!(!ctl.does(&["audit", "--limit", "101"]).contains("left out"), "these are all rows");
    let (_, audit) = ctl.document(&["audit", "--limit", "100"]);
    assert_eq!((audit["rows"].as_array().map(Vec::len), &audit["more"]), (Some(100), &json!(true)));
    assert_eq!(ctl.document(&["audit", "--limit", "101"]).1["more"], false);
}

#[test]
fn a_limit_of_rows_outside_its_range_is_refused() {
    let (_folder, ctl) = files();
    for limit in ["0", "100001", "-1", "many", "18446744073709551615", ""] {
        for command in [&["status"][..], &["audit"], &["watch"]] {
            let refused = ctl.run(&[command, &["--limit", limit]].concat());
            assert_eq!(refused.code, 2, "{command:?} {limit}: {refused:?}");
        }
        let refused = ctl.run(&["audit", &format!("--limit={limit}")]);
        assert!(refused.err.contains("allowed is 1 to 100000") || limit.is_empty(), "{limit}: {refused:?}");
    }
}

#[test]
fn a_login_name_stands_beside_the_user_that_replaced_it() {
    let (_folder, ctl) = files();
    let row = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = ctl.command(&["trip", "payments", "--reason", "x", "--create"]);
        assert!(command.args(arguments).envs(variables.iter().copied()).status().unwrap().success());
        let (_, audit) = ctl.document(&["audit", "--limit", "1"]);
        let text = |field: &str| audit["rows"][0][field].as_str().unwrap().to_owned();
        (text("user"), text("instance"))
    };
    let (user, instance) = row(&["--user", "the boss"], &[]);
    assert!(user == "the boss" && instance.starts_with("operator@") && instance.ends_with(" login ana"), "{instance}");
    let (_, instance) = row(&["--user", "the boss"], &[("SUDO_USER", "carl")]);
    assert!(instance.ends_with(" login carl"), "{instance}");
    for (arguments, user) in [(&[][..], "ana"), (&["--user", "ana"], "ana"), (&["--user", " ana "], "ana")] {
        let (recorded, instance) = row(arguments, &[]);
        assert!(recorded.trim() == user && !instance.contains("login"), "{arguments:?}: {instance}");
    }
    let forging = format!("a\n\u{202e}\u{1b}{}", "x".repeat(5_000));
    let (_, instance) = row(&["--user", "eve"], &[("USER", &forging)]);
    assert!(instance.chars().count() <= 100 && instance.contains(" login a   xxx"), "{instance:?}");
    assert!(ctl.run(&["trip", "--help"]).out.contains("not verified"), "the help says that the user is not checked");
}
