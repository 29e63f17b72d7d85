//! Exit codes and sentences, where something is missing.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use serde_json::json;
use tower_circuit_breaker::store::{FileStore, Hint, Store, Write};

use super::{Circuitctl, files, said, sqlite};
use crate::servers::postgres::Postgres;

#[test]
fn wrong_or_missing_arguments_end_with_code_2_and_write_nothing() {
    let (_folder, ctl) = files();
    for wrong in [
        &["trip", "payments"][..],
        &["trip", "payments", "--reason", ""],
        &["trip", "payments", "--reason", " "],
        &["trip", "payments", "--reason", "x", "--user", ""],
        &["trip", "payments", "--reason", "x", "--for", "10"],
        &["trip", "payments", "--reason", "x", "--for", "0s"],
        &["trip", "payments", "--reason", "x", "--for", "366d", "--create"],
        &["trip", "payments", "--reason", "x", "--id", "two words", "--create"],
        &["disable", "payments", "--reason", "x"],
        &["disable", "payments", "--reason", "x", "--for", "1h", "--indefinitely"],
        &["reset", "payments", "--reason", "x", "--to", "open"],
        &["resume", "payments", "--reason", "x", "--seen", "now"],
        &["audit", "--since", "yesterday"],
        &["stauts"],
        &[],
    ] {
        let said = ctl.run(wrong);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{wrong:?}: {said:?}");
        assert!(!said.err.is_empty(), "{wrong:?}");
        let (code, document) = ctl.document(wrong);
        let error = &document["error"];
        assert_eq!((code, &error["code"], &error["kind"]), (2, &json!(2), &json!("usage")), "{wrong:?}: {document}");
        let message = error["message"].as_str().unwrap();
        assert!(
            !message.is_empty() && !message.contains('\n') && !message.starts_with("error"),
            "{wrong:?}: {message}"
        );
    }
    let (_, missing) = ctl.document(&["trip", "payments"]);
    assert!(missing["error"]["message"].as_str().unwrap().contains("--reason <REASON>"), "{missing}");
    let after = ctl.run(&["trip", "payments", "--json"]);
    assert!(after.code == 2 && after.out.starts_with("{\"error\""), "{after:?}");
    let value = ctl.run(&["stauts", "--", "--json"]);
    assert_eq!((value.code, value.out.as_str()), (2, ""));
    assert!(ctl.run(&["stauts"]).err.contains("'status'"));
    assert_eq!(ctl.document(&["status"]).1["circuits"], json!([]), "nothing was written");
}

#[test]
fn without_a_login_name_the_user_must_be_given() {
    let (_folder, ctl) = files();
    let trip = ["trip", "payments", "--reason", "x", "--create"];
    let as_whom = |variables: &[(&str, &str)]| {
        said(ctl.command(&trip).env_remove("USER").envs(variables.iter().copied()).output().unwrap())
    };
    for nobody in [&[][..], &[("USER", "")], &[("USER", " "), ("LOGNAME", "")]] {
        let said = as_whom(nobody);
        assert!(said.code == 2 && said.err.contains("--user NAME"), "{said:?}");
    }
    for unreadable in ["SUDO_USER", "USER", "LOGNAME"] {
        let value: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(vec![0xff]);
        let mut command = ctl.command(&trip);
        command.env_remove("USER").env(unreadable, value);
        if unreadable == "SUDO_USER" {
            command.env("USER", "root");
        }
        let said = said(command.output().unwrap());
        assert!(
            said.code == 2 && said.err.contains(&format!("{unreadable} is not UTF-8: use --user NAME")),
            "{said:?}"
        );
    }
    for (login, user) in [
        (&[("USER", "root"), ("SUDO_USER", "carl")][..], "carl"),
        (&[("USER", "ana"), ("LOGNAME", "eve")], "ana"),
        (&[("LOGNAME", "eve")], "eve"),
    ] {
        assert_eq!(as_whom(login).code, 0);
        assert_eq!(ctl.document(&["show", "payments"]).1["user"], user);
    }
}

#[test]
fn an_absent_store_is_not_created() {
    let (folder, _) = files();
    let nowhere = folder.path().join("nowhere");
    let none = Circuitctl::on("").run(&["status"]);
    assert!(none.code == 2 && none.err.contains("CIRCUIT_BREAKER_STORE"), "{none:?}");
    for (store, sentence) in [
        (format!("file:{}", nowhere.display()), "there is no folder"),
        (format!("sqlite://{}", nowhere.display()), "there is no file"),
        ("redis://127.0.0.1:1".to_owned(), "the store is unavailable: cannot connect to redis at 127.0.0.1:1"),
        ("postgres://127.0.0.1:1/x".to_owned(), "the store is unavailable: the database cannot be reached"),
    ] {
        let ctl = Circuitctl::on(store);
        for command in [
            &["status"][..],
            &["show", "a"],
            &["is-tripped", "a"],
            &["audit"],
            &["audit", "--since", "1h"],
            &["members"],
            &["members", "orders"],
            &["watch"],
        ] {
            let said = ctl.run(command);
            assert_eq!((said.code, said.out.as_str()), (4, ""), "{command:?} {said:?}");
        }
        let said = ctl.run(&["status"]);
        assert!(said.err.starts_with(&format!("circuitctl: {sentence}")), "{said:?}");
        let (code, trip) = ctl.document(&["trip", "a", "--reason", "x", "--create"]);
        assert_eq!((code, &trip["error"]["kind"]), (4, &json!("store_away")), "{trip}");
        assert!(!nowhere.exists(), "nothing is made");
    }
}

#[tokio::test]
async fn missing_tables_are_named_and_not_made() {
    let (folder, _) = files();
    let empty = folder.path().join("empty.db");
    std::fs::write(&empty, "").unwrap();
    let server = Postgres::start().await;
    for store in [format!("sqlite://{}", empty.display()), server.url()] {
        let said = Circuitctl::on(store).run(&["status"]);
        assert_eq!(said.code, 4, "{said:?}");
        assert!(said.err.contains("has no table `circuit_breaker_states`"), "{said:?}");
        assert!(said.err.contains("docs/schema has the definitions"), "{said:?}");
    }
    assert_eq!(std::fs::metadata(&empty).unwrap().len(), 0);
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_panic() {
    let (_folder, ctl) = sqlite().await;
    for name in ["a", "b", "c"] {
        ctl.does(&["trip", name, "--reason", "x", "--create"]);
    }
    for command in [&["status"][..], &["audit"], &["--help"], &["is-tripped", "a"], &["members"], &["watch"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let said = said(ctl.command(command).stdout(Stdio::from(writer)).output().unwrap());
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{command:?}");
    }
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let said = said(ctl.command(&["status"]).stdout(full).output().unwrap());
    assert!(said.code == 7 && said.err.contains("could not be written"), "{said:?}");
}

#[tokio::test]
async fn a_watched_name_without_a_record_is_reported_with_the_nearest_name() {
    let (_folder, ctl) = sqlite().await;
    ctl.does(&["trip", "payments", "--reason", "maintenance", "--create"]);
    let mut watching = ctl.command(&["watch", "paymnts", "payments"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(watching.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let says = "circuitctl: the watch continues, but the store has no record of `paymnts`; did you mean `payments`?";
    assert_eq!(line.trim_end(), says);
    watching.kill().unwrap();
    watching.wait().unwrap();
}

#[tokio::test]
async fn a_pattern_in_place_of_a_name_is_explained() {
    let (_folder, ctl) = sqlite().await;
    ctl.does(&["trip", "host:a", "--reason", "maintenance", "--create"]);
    let shown = ctl.run(&["show", "host:*"]);
    assert_eq!(shown.code, 5);
    assert!(shown.err.contains("`host:*`, and a pattern is no name: `status` lists all circuits"), "{shown:?}");
    for more in [&["--create"][..], &[]] {
        let tripped = ctl.run(&[&["trip", "host:*", "--reason", "x"], more].concat());
        let says = "circuitctl: `host:*` is a pattern, and an order is for one circuit\n";
        assert_eq!((tripped.code, tripped.err.as_str()), (2, says), "{tripped:?}");
    }
}

#[tokio::test]
async fn watch_prints_each_change_in_a_line_until_an_interrupt() {
    let (_folder, ctl) = sqlite().await;
    ctl.does(&["trip", "payments", "--reason", "maintenance", "--create"]);
    ctl.does(&["trip", "orders", "--reason", "maintenance", "--create"]);
    let mut watching = ctl.command(&["watch", "payments"]).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    let first = next();
    assert!(first.ends_with("  payments  forced_open until a reset: tripped by ana: maintenance"), "{first}");
    ctl.does(&["resume", "payments", "--reason", "over"]);
    let second = next();
    assert!(second.contains("  payments  closed"), "{second}");
    ctl.does(&["forget", "payments", "--reason", "gone"]);
    assert_eq!(next().trim(), "payments  forgotten");
    let pid = watching.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert!(watching.wait().unwrap().success(), "an interrupt ends it well");
    let mut rest = String::new();
    watching.stderr.take().unwrap().read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");

    let mut watching = ctl.command(&["--json", "watch", "ord*"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(watching.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let document: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&document["name"], &document["state"]), (&json!("orders"), &json!("forced_open")));
    watching.kill().unwrap();
    watching.wait().unwrap();
}

#[test]
fn an_id_of_another_act_is_refused_also_when_other_acts_came_since() {
    let (_folder, ctl) = files();
    let trip = ["trip", "p", "--reason", "a", "--for", "10m", "--create", "--id", "OPS-12"];
    assert_eq!(ctl.document(&trip).1["repeated"], json!(false));
    let refused = |arguments: &[&str]| {
        let (code, refused) = ctl.document(&[arguments, &["--id", "OPS-12"]].concat());
        assert_eq!((code, &refused["error"]["kind"]), (3, &json!("id_used")), "{arguments:?}: {refused}");
    };
    refused(&["resume", "p", "--reason", "a"]);
    refused(&["trip", "p", "--reason", "b", "--for", "10m"]);
    refused(&["trip", "p", "--reason", "a", "--for", "11m"]);
    refused(&["trip", "p", "--reason", "a"]);
    refused(&["trip", "p", "--reason", "a", "--for", "10m", "--user", "bob"]);
    refused(&["forget", "p", "--reason", "a"]);
    let repeated = ctl.does(&trip);
    assert!(repeated.contains("carried out before") && !repeated.contains("is tripped"), "{repeated}");
    ctl.does(&["resume", "p", "--reason", "b"]);
    refused(&["disable", "p", "--reason", "a", "--for", "10m"]);
    let (code, again) = ctl.document(&trip);
    assert_eq!((code, &again["repeated"]), (0, &json!(true)));
    assert_eq!(ctl.document(&["show", "p"]).1["state"], "closed");
}

#[test]
fn another_act_with_a_forgotten_id_is_done_and_audited() {
    let (_folder, ctl) = files();
    ctl.does(&["trip", "p", "--reason", "a", "--create", "--id", "OPS-12"]);
    for _ in 0..4 {
        ctl.does(&["resume", "p", "--reason", "b"]);
        ctl.does(&["disable", "p", "--reason", "b", "--for", "10m"]);
    }
    let (code, done) = ctl.document(&["resume", "p", "--reason", "a", "--id", "OPS-12"]);
    assert_eq!((code, &done["repeated"]), (0, &json!(false)), "the store knows the last 8 ids");
    assert_eq!(ctl.document(&["show", "p"]).1["state"], "closed");
    let (_, audit) = ctl.document(&["audit"]);
    assert_eq!(audit["rows"].as_array().map(Vec::len), Some(10), "{audit}");
    assert_eq!(audit["rows"][0]["action"], "resume");
}

#[test]
fn an_unaudited_act_prints_the_id_for_the_repetition() {
    let (folder, ctl) = files();
    // No file can be written there.
    let in_the_way = folder.path().join("audit.jsonl");
    std::fs::create_dir(&in_the_way).unwrap();
    let tripped = ctl.run(&["trip", "payments", "--reason", "maintenance", "--create"]);
    assert_eq!(tripped.code, 6, "{tripped:?}");
    assert!(tripped.out.starts_with("`payments` is tripped until a reset"), "{tripped:?}");
    let id = tripped.err.trim().rsplit_once("--id ").expect("it is said").1.to_owned();
    std::fs::remove_dir(&in_the_way).unwrap();
    let (_, before) = ctl.document(&["show", "payments"]);
    for _ in 0..2 {
        ctl.does(&["trip", "payments", "--reason", "maintenance", "--create", "--id", &id]);
    }
    assert_eq!(ctl.document(&["show", "payments"]).1["generation"], before["generation"]);
    assert_eq!(ctl.document(&["audit"]).1["rows"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_store_that_hangs_is_given_up_in_time() {
    // It accepts, and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    for store in [format!("redis://{address}"), format!("postgres://ana@{address}/x")] {
        let (code, given_up) = Circuitctl::on(store).document(&["--timeout", "150ms", "status"]);
        assert_eq!((code, &given_up["error"]["kind"]), (4, &json!("store_away")), "{given_up}");
        assert!(given_up["error"]["message"].as_str().unwrap().contains("150ms"), "{given_up}");
    }
}

#[tokio::test]
async fn a_record_of_a_later_release_is_shown_but_not_overwritten() {
    let (folder, ctl) = files();
    let store = FileStore::new(folder.path());
    for (name, record) in [
        ("strange", r#"{"version":2,"service":"strange","state":"molten"}"#),
        ("known", r#"{"version":2,"service":"known","state":"open","generation":7,"reason":"it was hot"}"#),
    ] {
        let write = Write { name: name.to_owned(), expected: None, bytes: record.into(), ttl: None, hint: Hint::Any };
        store.compare_and_set(&write).await.unwrap();
        let tripped = ctl.run(&["trip", name, "--reason", "x"]);
        assert!(tripped.code == 3 && tripped.err.contains("which a later release wrote"), "{tripped:?}");
    }
    let status = ctl.does(&["status"]);
    assert!(status.contains("strange  unreadable") && status.contains("it was hot"), "{status}");
    assert_eq!(ctl.run(&["is-tripped", "strange"]).code, 3);
    assert_eq!(ctl.run(&["is-tripped", "known"]).code, 0);
}

#[test]
fn the_help_describes_every_argument() {
    let (_folder, ctl) = files();
    for command in
        ["status", "show", "is-tripped", "trip", "reset", "disable", "resume", "forget", "audit", "members", "watch"]
    {
        let help = ctl.does(&[command, "--help"]);
        let bare = |line: &&str| line.starts_with("  ") && line.trim().ends_with('>') && !line.contains("Usage");
        let lines: Vec<_> = help.lines().collect();
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| bare(line)) {
            let next = lines.get(at + 1).map_or("", |next| next.trim());
            assert!(!next.is_empty() && !next.starts_with('-'), "{command}: {line}");
        }
    }
}
