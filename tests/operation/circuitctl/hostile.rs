//! What somebody may type, or write into the store, to do harm.

use tower_circuit_breaker::store::{FileStore, Hint, Store, Write};

use super::{Circuitctl, Said, files, sqlite};
use crate::servers::postgres::Postgres;
use crate::servers::redis::Redis;

const REASONS: [&str; 6] = [
    "'; DROP TABLE circuit_breaker_states; --",
    "\"]] redis.call('FLUSHALL') --[[",
    "$(rm -rf /) `id` ${HOME} %s %n {0} {}",
    "<script>alert(1)</script>",
    "../../../../etc/passwd",
    "é 漢字 🦀 \\ \" '",
];

/// What is kept is what was typed, byte for byte, and nothing else has changed.
fn texts_are_texts(ctl: &Circuitctl) {
    for (number, text) in REASONS.into_iter().enumerate() {
        let name = format!("{}-{number}", text.replace(char::is_whitespace, "_"));
        let tripped = ctl.run(&["trip", &name, "--reason", text, "--user", text, "--create"]);
        assert_eq!(tripped.code, 0, "{tripped:?}");
        let (_, shown) = ctl.document(&["show", &name]);
        assert_eq!((&shown["name"], &shown["user"]), (&name.as_str().into(), &text.into()));
        let (_, audit) = ctl.document(&["audit", "--service", &name, "--user", text]);
        assert_eq!(audit["rows"][0]["reason"], text, "{audit}");
    }
    assert_eq!(ctl.document(&["status"]).1["circuits"].as_array().map(Vec::len), Some(REASONS.len()));
}

#[tokio::test]
async fn metacharacters_are_text_in_every_store() {
    texts_are_texts(&files().1);
    texts_are_texts(&sqlite().await.1);
    let redis = Redis::start().await;
    texts_are_texts(&Circuitctl::on(redis.url()));
    let postgres = Postgres::start().await;
    tower_circuit_breaker::store::PostgresStore::new(&postgres.url()).unwrap().ensure_schema().await.unwrap();
    texts_are_texts(&Circuitctl::on(postgres.url()));
}

#[test]
fn texts_that_forge_a_line_or_are_endless_are_refused() {
    let (_folder, ctl) = files();
    let long = "x".repeat(10_000);
    for text in ["a\nb", "\u{1b}[2J", "\u{202e}evil", "a\rb", "", &long] {
        let refused = ctl.run(&["trip", "payments", "--reason", text, "--create"]);
        assert_eq!(refused.code, 2, "{refused:?}");
        let refused = ctl.run(&["trip", text, "--reason", "x", "--create"]);
        assert_eq!(refused.code, 2, "{refused:?}");
        let Said { err, .. } = ctl.run(&["show", text]);
        assert!(!err.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{err:?}");
    }
    assert_eq!(ctl.does(&["status"]).lines().count(), 1, "nothing was written");
}

#[tokio::test]
async fn control_characters_from_the_store_do_not_reach_the_terminal() {
    let (folder, ctl) = files();
    ctl.does(&["trip", "payments", "--reason", "maintenance", "--create"]);
    let store = FileStore::new(folder.path());
    let garbage = Write {
        name: "bad".to_owned(),
        expected: None,
        bytes: b"garbage \x1b[2J".to_vec(),
        ttl: None,
        hint: Hint::Any,
    };
    store.compare_and_set(&garbage).await.unwrap();
    let evil = tower_circuit_breaker::store::AuditRow {
        id: "evil".to_owned(),
        service: "pay\u{1b}]0;x\u{7}".to_owned(),
        action: "trip\n2026".to_owned(),
        reason: "\u{202e}gnp.exe\u{9b}2J".to_owned(),
        user: Some("root\r".to_owned()),
        timestamp: tower_circuit_breaker::record::Timestamp::from_millis(u64::MAX),
        generation: 0,
        instance: String::new(),
    };
    store.append_audit(&[evil]).await.unwrap();
    for command in [&["status"][..], &["audit"]] {
        let out = ctl.does(command);
        assert_eq!(out.lines().count(), 3, "a line for each: {out:?}");
        assert!(!out.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{out:?}");
    }
    // `--json` is read by people, too: U+009B begins a command to a terminal as ESC [ does.
    let (_, audit) = ctl.document(&["audit"]);
    assert_eq!(audit["rows"][0]["reason"], "\u{202e}gnp.exe\u{9b}2J", "a program reads what was written");
    let out = ctl.does(&["--json", "audit"]);
    assert!(!out.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{out:?}");
    let shown = ctl.does(&["show", "bad"]);
    assert!(shown.contains("state        unreadable"), "{shown}");
    let trip = ctl.run(&["trip", "bad", "--reason", "x"]);
    assert!(trip.code == 3 && trip.err.contains("forget the circuit to begin anew"), "{trip:?}");
    assert_eq!(ctl.run(&["is-tripped", "bad"]).code, 3, "nobody knows");
    ctl.does(&["forget", "bad", "--reason", "garbage"]);
    assert_eq!(ctl.does(&["status"]).lines().count(), 2);
}

/// Characters of each kind in the list of the library.
const FORGING: &str = "\u{85}\u{ad}\u{34f}\u{61c}\u{115f}\u{180e}\u{200b}\u{200d}\u{200f}\u{2028}\u{202e}\u{2060}\u{2066}\u{206f}\u{2800}\u{3164}\u{fe0f}\
    \u{feff}\u{ffa0}\u{fff9}\u{1d159}\u{e0041}";

#[tokio::test]
async fn the_terminal_and_names_refuse_the_same_characters() {
    let (folder, ctl) = files();
    let rows = FORGING.chars().enumerate().map(|(number, c)| tower_circuit_breaker::store::AuditRow {
        id: format!("row-{number}"),
        service: format!("pay{c}ments"),
        action: format!("trip{c}"),
        reason: format!("a{c}b"),
        user: Some(format!("ali{c}ce")),
        timestamp: tower_circuit_breaker::record::Timestamp::from_millis(1_790_000_000_000),
        generation: 0,
        instance: format!("a{c}"),
    });
    FileStore::new(folder.path()).append_audit(&rows.collect::<Vec<_>>()).await.unwrap();
    for arguments in [&["audit"][..], &["--json", "audit"]] {
        let out = ctl.does(arguments);
        assert_eq!(out.chars().find(|c| FORGING.contains(*c)), None, "{out}");
    }
    let (_, audit) = ctl.document(&["audit"]);
    let reasons = audit["rows"].as_array().unwrap().iter().map(|row| row["reason"].as_str().unwrap());
    assert!(reasons.clone().any(|reason| reason == "a\u{e0041}b") && reasons.count() == FORGING.chars().count());
    for c in FORGING.chars() {
        let refused = ctl.run(&["show", &format!("pay{c}ments")]);
        assert!(refused.code == 2 && !refused.err.contains(c), "{refused:?}");
    }
}

#[test]
fn one_wide_row_does_not_widen_the_other_rows() {
    let (folder, ctl) = files();
    let row = |number: usize| {
        let text = if number == 50 { "x".repeat(50_000) } else { "payments".to_owned() };
        let row = serde_json::json!({"id": number.to_string(), "service": text, "action": text, "reason": text, "user": text,
            "timestamp": 1_790_000_000_000_u64, "generation": 1, "instance": text});
        format!("{row}\n")
    };
    std::fs::write(folder.path().join("audit.jsonl"), (0..100).map(row).collect::<String>()).unwrap();
    for arguments in [&["audit", "--limit", "100"][..], &["--json", "audit", "--limit", "100"]] {
        let out = ctl.does(arguments);
        assert!(out.contains("payments") && out.len() < 150_000, "{} bytes", out.len());
    }
}

#[test]
fn a_list_beyond_its_limit_shows_first_the_circuits_that_are_not_closed() {
    let (_folder, ctl) = files();
    for name in ["a", "b", "c", "z"] {
        ctl.does(&["trip", name, "--reason", "maintenance", "--create"]);
    }
    for name in ["a", "b", "c"] {
        ctl.does(&["reset", name, "--to", "closed", "--force", "--reason", "the service is back"]);
    }
    let out = ctl.does(&["status", "--limit", "2"]);
    let lines: Vec<_> = out.lines().collect();
    assert!(lines.len() == 4 && lines[1].starts_with('z') && lines[2].starts_with('a'), "{out}");
    assert_eq!(lines[3], "2 more circuits: --limit shows more");
    let (_, status) = ctl.document(&["status", "--limit", "2"]);
    assert_eq!((status["circuits"].as_array().map(Vec::len), &status["left_out"]), (Some(2), &2.into()), "{status}");
    assert_eq!(ctl.document(&["status"]).1["left_out"], 0);
}

#[test]
fn an_endless_argument_is_repeated_in_part_only() {
    let (_folder, ctl) = files();
    let long = "x".repeat(100_000);
    for arguments in [&["show", &*long][..], &["audit", "--since", &long], &["audit", "--limit", &long], &[&long]] {
        let said = ctl.run(arguments);
        assert!(said.code == 2 && said.err.len() < 5_000, "{} bytes", said.err.len());
    }
}

#[test]
fn a_password_with_escaped_characters_is_never_printed() {
    let none = Circuitctl::on("file:.");
    for store in ["redis://:s3\\cr3t@h", "redis://:s3\"cr3t@h", "redis:s3\\cr3t@h", "redis://ana:?s3cr3t"] {
        for arguments in
            [&["watch", store][..], &["show", store], &["--json", "show", store], &["audit", "--service", store]]
        {
            let mut command = none.command(arguments);
            // The store has no record of the name, so that the name is repeated.
            let (folder, _) = files();
            command.env("CIRCUIT_BREAKER_STORE", format!("file:{}", folder.path().display()));
            if arguments[0] == "watch" {
                command.env("CIRCUIT_BREAKER_STORE", "file:/nowhere");
            }
            let said = super::said(command.output().unwrap());
            assert!(!said.out.contains("cr3t") && !said.err.contains("cr3t"), "{arguments:?}: {said:?}");
        }
    }
}

#[test]
fn a_password_is_never_printed() {
    let secret = "s3cr3t";
    for store in [
        format!("redis://:{secret}@127.0.0.1:1"),
        format!("postgres://ana:{secret}@127.0.0.1:1/x"),
        format!("postgres://ana@127.0.0.1:1/x?password={secret}"),
        format!("postgres://ana:{secret}@127.0.0.1:port/x"),
        format!("sqlite:memory:{secret}@x"),
        format!("mysql://ana:{secret}@127.0.0.1/x"),
        format!("redis:/ana:{secret}@127.0.0.1"),
        format!("file:/nowhere/ana:{secret}@x"),
    ] {
        let by_environment = Circuitctl::on(store.clone());
        let none = Circuitctl::on("file:.");
        let option = format!("--store={store}");
        let misspelt = format!("--stroe={store}");
        let limit = format!("--limit={store}");
        for said in [
            by_environment.run(&["status"]),
            by_environment.run(&["--json", "status"]),
            by_environment.run(&["--help"]),
            by_environment.run(&["trip", "--help"]),
            by_environment.run(&["nonsense"]),
            none.run(&["--store", &store, "show", "a"]),
            none.run(&[&option, "watch"]),
            none.run(&[&misspelt, "status"]),
            none.run(&["audit", &limit]),
            none.run(&[&store]),
            none.run(&["status", &store]),
            none.run(&["--cache", &store, "status"]),
            none.run(&["show", &store]),
        ] {
            assert!(!said.out.contains(secret) && !said.err.contains(secret), "{store}: {said:?}");
        }
    }
}

#[tokio::test]
async fn output_is_coloured_only_on_a_terminal_without_no_color() {
    let (_folder, ctl) = sqlite().await;
    ctl.does(&["trip", "payments", "--reason", "maintenance", "--create"]);
    assert!(!ctl.does(&["status"]).contains('\u{1b}'), "not into a pipe");
    // `script` gives it a terminal.
    let on_terminal = |no_color: &str| {
        let command = format!("{} status", env!("CARGO_BIN_EXE_circuitctl"));
        let mut script = std::process::Command::new("script");
        script.args(["-qec", &command, "/dev/null"]).env("CIRCUIT_BREAKER_STORE", &ctl.store).env("TERM", "xterm");
        script.env("NO_COLOR", no_color).stdin(std::process::Stdio::null());
        String::from_utf8(script.output().expect("`script` is of util-linux").stdout).unwrap()
    };
    assert!(on_terminal("").contains("\u{1b}[31mforced_open\u{1b}[0m"), "{:?}", on_terminal(""));
    assert!(!on_terminal("1").contains('\u{1b}'), "{:?}", on_terminal("1"));
}

#[test]
fn a_misspelt_parameter_of_an_address_is_refused_before_a_password_is_sent() {
    let ctl = Circuitctl::on("postgres://ana:s3cret@127.0.0.1:1/x?sslMode=verify-full");
    let refused = ctl.run(&["status"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("`sslMode`, did you mean `sslmode`?"), "{refused:?}");
    assert!(!refused.err.contains("s3cret"), "{refused:?}");
}

#[test]
fn a_password_for_another_host_without_a_verified_certificate_is_warned_about_once() {
    for store in ["redis://:s3cret@db.invalid", "postgres://ana:s3cret@db.invalid/x?sslmode=require"] {
        let warned = Circuitctl::on(store).run(&["status", "--timeout", "1s"]);
        assert_eq!(warned.err.matches("is not verified").count(), 1, "{warned:?}");
        assert!(!warned.err.contains("s3cret"), "{warned:?}");
    }
    let local = Circuitctl::on("redis://:s3cret@127.0.0.1:1").run(&["status"]);
    assert!(!local.err.contains("is not verified"), "{local:?}");
}

#[test]
fn a_link_a_pipe_or_a_folder_in_place_of_a_record_is_unreadable() {
    for kind in ["link", "pipe", "folder", "locked"] {
        let (folder, ctl) = files();
        let ctl = ctl.bound_by_permissions();
        ctl.does(&["trip", "healthy", "--reason", "x", "--create"]);
        let path = folder.path().join("p.json");
        match kind {
            "link" => std::os::unix::fs::symlink(folder.path().join("healthy.json"), &path).unwrap(),
            "pipe" => assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success()),
            "folder" => std::fs::create_dir(&path).unwrap(),
            _ => {
                std::fs::write(&path, "{}").unwrap();
                std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
            }
        }
        let (_, status) = ctl.document(&["status"]);
        let listed: Vec<_> = status["circuits"]
            .as_array()
            .unwrap()
            .iter()
            .map(|circuit| (&circuit["name"], &circuit["state"]))
            .collect();
        assert_eq!(
            serde_json::json!(listed),
            serde_json::json!([["healthy", "forced_open"], ["p", "unreadable"]]),
            "{kind}"
        );
        let (code, shown) = ctl.document(&["show", "p"]);
        assert_eq!(code, 0, "{kind}: {shown}");
        let problem = shown["problem"].as_str().unwrap();
        let why = match kind {
            "link" => "a link",
            "locked" => "denied",
            _ => "not a file",
        };
        assert!(problem.contains("p.json") && problem.contains(why), "{problem}");
        assert_eq!(ctl.run(&["is-tripped", "p"]).code, 3, "{kind}");
        for act in [
            &["trip", "p", "--reason", "x"][..],
            &["trip", "p", "--reason", "x", "--create"],
            &["reset", "p", "--reason", "x"],
        ] {
            let (code, refused) = ctl.document(act);
            assert_eq!((code, &refused["error"]["kind"]), (3, &serde_json::json!("corrupt")), "{kind}: {refused}");
            assert!(!refused["error"]["message"].as_str().unwrap().contains("forget the circuit"), "{refused}");
        }
        assert_eq!(ctl.run(&["forget", "p", "--reason", "x"]).code, 4, "{kind}");
        assert!(path.symlink_metadata().is_ok(), "{kind}");
    }
}

#[test]
fn a_record_under_an_invalid_name_is_not_listed_as_a_circuit() {
    let (folder, ctl) = files();
    ctl.does(&["trip", "p", "--reason", "x", "--create"]);
    for file in [".json", "%0A.json", "%20.json", "a%20b.json", "a%E2%80%AEb.json"] {
        std::fs::write(folder.path().join(file), r#"{"version": 1, "state": "closed", "generation": 1}"#).unwrap();
    }
    let (_, status) = ctl.document(&["status"]);
    let listed = status["circuits"].as_array().unwrap();
    assert!(listed.iter().all(|circuit| circuit["name"] == "p" || circuit["state"] == "unreadable"), "{status}");
    assert!(
        listed
            .iter()
            .any(|circuit| circuit["problem"].as_str().is_some_and(|why| why.contains("no name of a circuit"))),
        "{status}"
    );
}
