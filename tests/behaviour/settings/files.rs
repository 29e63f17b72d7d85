//! What is a file at all.

use tower_circuit_breaker::settings::Settings;

use super::{payments, refused, same};

/// A file of its own for a test, gone with it.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("tower-circuit-breaker-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

#[test]
fn a_file_is_toml_or_json_by_its_end_or_its_beginning() {
    let json = br#" {"circuits": {"payments": {"probes": 2}}}"#;
    for (name, bytes) in [("a.toml", &b"circuits.payments.probes = 2"[..]), ("b.json", json), ("c.conf", json)] {
        let file = Scratch::new(name, bytes);
        same(payments(&Settings::from_file(&file.0).unwrap()), |c| c.probes(2), name);
        let config = [("CIRCUIT_BREAKER_CONFIG", file.0.as_os_str())];
        same(payments(&Settings::default().with_vars(config).unwrap()), |c| c.probes(2), name);
    }
}

#[test]
fn an_unusable_settings_file_is_refused_with_its_path() {
    let large = vec![b'#'; (1 << 20) + 1];
    for (name, bytes, says) in [
        ("large.toml", &large[..], "is too large, allowed are up to 1 MiB"),
        ("latin1.toml", b"# gr\xfc\xdfe", "is not valid UTF-8 from byte 4 on"),
        ("broken.json", b"[1", "is not valid JSON: EOF while parsing a list at line 1 column 2"),
    ] {
        let file = Scratch::new(name, bytes);
        let error = Settings::from_file(&file.0).unwrap_err();
        assert_eq!(error.to_string(), format!("{}: {says}", file.0.display()));
    }
    drop(Settings::from_file(&Scratch::new("full.toml", &large[1..]).0).unwrap());
    let error = Settings::from_file("/no/such/file.toml").unwrap_err();
    assert!(error.to_string().starts_with("/no/such/file.toml: cannot be read: "), "{error}");
    assert!(Settings::from_file(std::env::temp_dir()).is_err(), "a folder");
}

#[test]
fn a_refused_key_of_a_toml_file_is_named_with_its_line() {
    let text = "[defaults]\nprobes = 2\n\n[circuits.\"/a/{b}\"]\n[circuits.x]\n";
    for (more, line, key) in [
        ("probes = 0", 6, "circuits.x.probes"),
        ("min_calls = 5\nopen_for = { base = '5 s', max = '1 s' }", 7, "circuits.x.open_for"),
        ("prbes = 1", 6, "circuits.x.prbes"),
        // The value is the default, so that the line is that of the table.
        ("window = { calls = 5 }", 5, "circuits.x.min_calls"),
        ("[circuits.'a?']\nprobes = 1", 6, "circuits.\"a?\""),
    ] {
        let file = Scratch::new(&format!("line-{line}-{}.toml", key.len()), format!("{text}{more}\n").as_bytes());
        let error = Settings::from_file(&file.0).unwrap_err();
        assert_eq!((error.line(), error.key()), (Some(line), Some(key)), "{error}");
        assert!(error.to_string().starts_with(&format!("{}, line {line}: ", file.0.display())), "{error}");
    }
    let json = Scratch::new("line.json", br#"{"defaults": {"probes": 0}}"#);
    let error = Settings::from_file(&json.0).unwrap_err();
    assert_eq!((error.line(), error.key()), (None, Some("defaults.probes")));
}

#[test]
fn a_name_as_long_as_the_file_is_refused_quickly() {
    let long = "x".repeat(500_000);
    for (text, says) in [
        (format!("[circuits.'{long}*']\n[circuits.'{long}']"), "is not a valid name"),
        (format!("[circuits.'a*']\n[circuits.'{long}']"), "is not a valid name"),
        (format!("[groups.'{long}']"), "is not a valid name"),
        (format!("[circuits.a]\ngroup = '{long}'"), "which is no group"),
        (format!("[circuits.'{long}?']"), "has a `?`"),
    ] {
        let error = refused(&text);
        assert!(error.contains(says) && error.len() < 1_000, "{error}");
    }
}

#[test]
fn a_deep_document_is_refused_and_overflows_no_stack() {
    const DEPTH: usize = 200_000;
    for text in [
        format!("x = {}", "[".repeat(DEPTH)),
        format!("x = {}", "{a=".repeat(DEPTH)),
        format!("{}a = 1", "a.".repeat(DEPTH)),
        format!("[{}a]", "a.".repeat(DEPTH)),
        format!("circuits.x = {}{}", "[".repeat(DEPTH), "]".repeat(DEPTH)),
    ] {
        refused(&text);
    }
    assert!(Settings::from_json(&"[".repeat(DEPTH)).is_err());
    assert!(Settings::from_json(&"{\"a\":".repeat(DEPTH)).is_err());
}
