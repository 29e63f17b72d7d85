//! No password is shown, whatever is broken, and nothing panics.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tower_circuit_breaker::settings::Settings;

use super::{SAMPLE, toml};

const SECRETS: &str = "[persistence]\nenabled = true\nstore = \"postgres://ana:s3cret@db:5432/x?sslmode=require\"\n\
    cache = \"redis://:s3cret@127.0.0.1/0\"\n[circuits.payments]\nprobes = 2\n";

#[test]
fn a_password_is_shown_by_as_str_only() {
    let settings = toml(SECRETS);
    let kept = settings.persistence().unwrap();
    assert!(kept.store().as_str().contains("s3cret") && kept.cache().unwrap().as_str().contains("s3cret"));
    assert_eq!(kept.store().to_string(), "postgres://ana:***@db:5432/x?sslmode=require");
    for shown in [format!("{settings:?}"), format!("{settings:#?}"), format!("{kept:?}"), format!("{:?}", kept.cache())]
    {
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}

#[test]
fn an_address_under_the_key_of_the_instance_is_refused_and_masked() {
    for address in ["redis://:s3cret@db.internal", "redis//:s3cret@db", "postgres://ana:s3cret@db/x"] {
        let variables = [("CIRCUIT_BREAKER_PERSISTENCE", "true"), ("CIRCUIT_BREAKER_INSTANCE", address)];
        let error = Settings::default().with_vars(variables).unwrap_err().to_string();
        assert!(error.contains("`//`") && !error.contains("s3cret"), "{error}");
        #[cfg(feature = "store")]
        {
            use tower_circuit_breaker::{Registry, store::MemoryStore};
            let error = Registry::builder().store(MemoryStore::new()).instance(address).build().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        }
    }
}

#[test]
fn a_password_that_begins_like_the_end_of_a_port_is_masked() {
    for address in
        ["redis://ana:?s3cret", "redis://ana:/s3cret", "postgres://ana:p@ss/s3cret@db/x", "postgres:///:s3cret@db"]
    {
        let settings = Settings::default().with_vars([("CIRCUIT_BREAKER_STORE", address)]);
        let enabled = Settings::default()
            .with_vars([("CIRCUIT_BREAKER_STORE", address), ("CIRCUIT_BREAKER_PERSISTENCE", "true")]);
        assert!(!format!("{settings:?} {enabled:?}").contains("s3cret"), "{address}");
        #[cfg(feature = "full")]
        if let Ok(settings) = enabled {
            let opened = format!("{:?}", settings.registry());
            assert!(!opened.contains("s3cret"), "{opened}");
        }
    }
}

#[test]
fn no_error_shows_a_password() {
    let texts = [
        "[persistence]\nstore = \"mysql://ana:s3cret@db\"",
        "[persistence]\ncache = \"postgres://ana:s3cret@db\"",
        "[persistence]\nstore = \"postgres://ana:s3cret@db",
        "[persistence]\nstore = postgres://ana:s3cret@db",
        "[persistence]\nsharing = \"postgres://ana:s3cret@db\"",
        "[persistence]\nstore = \"host=db password=s3cret\"",
        "[persistence]\n\"postgres://ana:s3cret@db\" = 1",
        "\"postgres://ana:s3cret@db\" = 1\n\"postgres://ana:s3cret@db\" = 1",
        "[circuits.\"https://ana:s3cret@db\"]\nprobes = 0",
        "[circuits.\"https://ana:s3cret@db/ \"]",
        "[circuits.payments]\nwindow = \"redis://:s3cret@db\"",
    ];
    for text in texts {
        let error = Settings::from_toml(text).expect_err(text);
        let laid = Settings::default().with_vars([("CIRCUIT_BREAKER_CONFIG", text)]).expect_err(text);
        for shown in [format!("{error}"), format!("{error:?}"), format!("{laid}"), format!("{laid:?}")] {
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }
    for (name, value) in [
        ("CIRCUIT_BREAKER_STORE", "mysql://ana:s3cret@db"),
        ("CIRCUIT_BREAKER_CONFIG", "redis://:s3cret@db"),
        ("CIRCUIT_BREAKER_PERSISTENCE", "redis://:s3cret@db"),
        ("CIRCUIT_BREAKER_STORES", "redis://:s3cret@db"),
        ("CIRCUIT_BREAKER_CACHE", "{ url = \"redis://:s3cret@db\" }"),
        ("CIRCUIT_BREAKER_CACHE", "{ url = redis://:s3cret@db"),
    ] {
        let error = Settings::default().with_vars([(name, value)]).expect_err(value);
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    }
}

#[test]
fn a_file_that_ends_anywhere_never_panics() {
    for text in [SAMPLE, SECRETS] {
        for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
            drop(shown(&text[..end]));
            drop(shown(&text[end..]));
        }
    }
}

#[test]
fn a_slip_anywhere_shows_no_password() {
    for at in 0..SECRETS.len() {
        for slip in ["", "x", "7", " ", "\"", "'", "@", ":", "/", "=", "\n"] {
            let text = [&SECRETS[..at], slip, &SECRETS[at + 1..]].concat();
            let shown = shown(&text);
            assert!(!shown.contains("s3cret"), "{shown}");
        }
        assert!(!shown(&SECRETS[..at]).contains("s3cret"), "{}", shown(&SECRETS[..at]));
    }
}

/// Loads it as everything it might be, and returns all that can be seen of it.
fn shown(text: &str) -> String {
    let config = [("CIRCUIT_BREAKER_CONFIG", text), ("CIRCUIT_BREAKER_DEFAULT_WINDOW", text)];
    let results = [Settings::from_toml(text), Settings::from_json(text), Settings::default().with_vars(config)];
    let shown = results.map(|result| match result {
        Ok(settings) => {
            // Names of each kind: with a table, with a pattern, with neither, and impossible ones.
            let names = ["payments", "host:a", "host:*", "other", "", "two words", "*", "\u{feff}"];
            let named = names.into_iter().filter_map(|name| settings.circuit(name).ok());
            let explained: Vec<String> = settings.circuits().chain(named).map(|config| config.explain()).collect();
            format!("{settings:?} {}", explained.concat())
        }
        Err(error) => format!("{error} {error:?}"),
    });
    shown.join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn a_garbled_file_never_panics(slips in vec((any::<Index>(), "[ -~\n\u{80}-\u{ff}]{0,2}"), 1..6)) {
        let mut text: Vec<String> = SAMPLE.chars().map(String::from).collect();
        for (at, slip) in slips {
            let at = at.index(text.len());
            text[at] = slip;
        }
        drop(shown(&text.concat()));
    }

    #[test]
    fn any_text_is_refused_or_read(text in any::<String>(), name in "CIRCUIT_BREAKER_[A-Z_]{0,20}") {
        drop(shown(&text));
        drop(Settings::default().with_vars([(name, text)]));
    }
}
