//! The registry that the settings describe.

use std::path::PathBuf;
use std::time::Duration;

use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::record::CircuitRecord;
use tower_circuit_breaker::settings::{Settings, SettingsError};
use tower_circuit_breaker::store::{AnyStore, RedisStore, Store};
use tower_circuit_breaker::{By, Registry};

use super::toml;
use crate::rig::secs;

fn registry(text: &str) -> Registry {
    let builder = toml(text).registry().unwrap_or_else(|error| panic!("{error}\n{text}"));
    builder.build().unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn refused(text: &str) -> SettingsError {
    toml(text).registry().expect_err(text)
}

/// A folder of one test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        Self(std::env::temp_dir().join(format!("breaker-settings-{test}-{}", std::process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

#[test]
fn without_a_store_and_the_flag_there_is_no_store() {
    let off = "[persistence]\nenabled = false\nstore = 'file:data'";
    for text in ["", off, "[persistence]\nenabled = false\ncache = 'redis://db'"] {
        assert_eq!(registry(text).store_status(), None, "{text}");
    }
}

#[test]
fn the_store_matches_the_address_and_is_not_opened() {
    for (url, kind) in [
        ("file:no/such/folder", "file"),
        ("sqlite://no/such/folder/x.db", "sqlite"),
        ("postgres://ana:s3cret@no.such.host/x", "postgres"),
        ("redis://:s3cret@no.such.host", "redis"),
    ] {
        let status = registry(&format!("[persistence]\nenabled = true\nstore = '{url}'")).store_status().unwrap();
        assert_eq!((status.store, status.running), (kind, false), "{url}");
    }
    assert!(!PathBuf::from("no").exists());
}

#[test]
fn each_key_is_the_method_of_the_builder() {
    let settings = toml(
        "[persistence]\nenabled = true\nstore = 'sqlite://data/x.db'\nsharing = 'follow'\ninstance = 'host-7'\n\
         fleet = 'orders'\nquorum_at_least = 3\nquorum_share = 0.25\n\
         first_call_waits = '250 ms'\naudit_kept = '90 d'\nttl_open = '2 d'\nttl_other = '10 min'\n\
         [defaults]\nttl_other = '20 min'\n[circuits.payments]\nttl_open = '3 d'",
    );
    let (day, minute) = (24 * 3600, 60);
    let builder = Registry::builder()
        .store(AnyStore::open("sqlite://data/x.db").unwrap())
        .sharing(Sharing::Follow)
        .instance("host-7")
        .fleet("orders")
        .quorum(3, 0.25)
        .first_call_waits(Duration::from_millis(250))
        .audit_kept(secs(90 * day))
        .ttl(secs(2 * day), secs(20 * minute))
        .ttl_of("payments", secs(3 * day), secs(20 * minute));
    assert_eq!(format!("{:?}", settings.registry().unwrap()), format!("{builder:?}"));
    let plain = Registry::builder().store(AnyStore::open("sqlite://data/x.db").unwrap());
    let settings = toml("[persistence]\nenabled = true\nstore = 'sqlite://data/x.db'");
    assert_eq!(format!("{:?}", settings.registry().unwrap()), format!("{plain:?}"), "all else is the default");
}

#[test]
fn settings_of_a_reserved_name_make_no_circuit() {
    let error = Settings::from_toml("[circuits.'@fleet:orders']").unwrap_err();
    assert!(error.to_string().contains("which names the members of a fleet"), "{error}");
    assert!(toml("").circuit("@fleet:orders").is_err());
}

#[tokio::test]
async fn the_store_settings_of_the_file_take_effect() {
    let folder = Folder::new("holds");
    let url = format!("file:{}", folder.0.display());
    let text = format!("[persistence]\nenabled = true\nstore = '{url}'\ninstance = 'host-7'\n[circuits.payments]");
    let (settings, registry) = (toml(&text), registry(&text));
    let circuit = registry.circuit(settings.circuit("payments").unwrap()).unwrap();
    assert!(registry.restore(secs(5)).await.unwrap().is_complete());
    circuit.trip(&By::new("ana", "maintenance").unwrap(), None);
    assert!(registry.shutdown(secs(5)).await.is_complete());
    let store = AnyStore::open(&url).unwrap();
    let loaded = store.load_many(&["payments".to_owned()]).await.unwrap();
    let record = CircuitRecord::decode("payments", &loaded.entries[0].as_ref().unwrap().bytes, loaded.now).unwrap();
    assert!(record.operator.is_some() && record.instances.contains_key("host-7"), "{record:?}");
}

#[tokio::test]
async fn the_mode_for_the_tables_reaches_the_store() {
    let folder = Folder::new("tables");
    let url = format!("sqlite://{}/x.db", folder.0.display());
    for (schema, complete) in [("verify", false), ("assume", false), ("create", true), ("verify", true)] {
        let text = format!("[persistence]\nenabled = true\nstore = '{url}'\nschema = '{schema}'\n[circuits.payments]");
        let (settings, registry) = (toml(&text), registry(&text));
        registry.circuit(settings.circuit("payments").unwrap()).unwrap();
        let report = registry.restore(if complete { secs(5) } else { Duration::from_millis(200) }).await.unwrap();
        assert_eq!(report.is_complete(), complete, "{schema}: {report}");
    }
}

#[test]
fn an_unusable_address_is_refused_with_its_key_and_without_its_password() {
    for (url, says) in [
        ("redis://:s3cret@host:port", "not an address of redis"),
        ("postgres://ana:s3cret@host:port/x", "the address of the database cannot be used"),
        ("sqlite::memory:", "names no file; use `MemoryStore` for records in memory"),
    ] {
        let error = refused(&format!("[persistence]\nenabled = true\nstore = '{url}'"));
        assert_eq!(error.key(), Some("persistence.store"), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("the TOML text: persistence.store is \"") && text.contains(says), "{text}");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }
    let from_env = [("CIRCUIT_BREAKER_PERSISTENCE", "true"), ("CIRCUIT_BREAKER_STORE", "redis://h:port")];
    let error = Settings::default().with_vars(from_env).unwrap().registry().unwrap_err();
    assert_eq!(error.origin(), "environment variable CIRCUIT_BREAKER_STORE");
}

#[test]
fn an_address_is_refused_by_settings_for_the_same_reason_as_by_its_store() {
    for (url, says) in [
        ("sqlite://x.db?password=s3cret", "unknown parameter `password`: allowed are mode"),
        ("postgres://ana:s3cret@db/x?sslMode=verify-full", "`sslMode`, did you mean `sslmode`?"),
        ("redis://:s3cret@db?ca=ca.crt", "needs an address that begins with `rediss://`"),
        ("file:~/s3cret", "cannot begin with `~`"),
    ] {
        let read = Settings::from_toml(&format!("[persistence]\nenabled = true\nstore = '{url}'")).unwrap_err();
        let opened = AnyStore::open(url).unwrap_err();
        assert_eq!(read.key(), Some("persistence.store"), "{read}");
        for text in [read.to_string(), opened.to_string()] {
            assert!(text.contains(says), "{text}");
        }
        assert!(url.starts_with("file") || !format!("{read:?}{opened:?}").contains("s3cret"), "{read:?}");
    }
}

#[test]
fn settings_and_stores_accept_the_same_schemes() {
    for url in [
        "valkey://db",
        "redis+unix:///run/x.sock",
        "valkey+unix:///run/x.sock",
        "unix:///run/x.sock?db=1",
        "redis-sentinel://:s3cret@a:1,b/m/1?sentinel_pass=x",
        "valkey-sentinel://a,b:2/m",
        "redis-cluster://:s3cret@a:1,b/0?prefix=x",
        "valkey-cluster://a",
    ] {
        let kept = toml(&format!("[persistence]\nenabled = true\nstore = '{url}'\ncache = '{url}'"));
        assert_eq!(kept.persistence().unwrap().store().kind().as_str(), "redis", "{url}");
        assert!(kept.registry().is_ok(), "{url}");
        assert!(RedisStore::new(url).is_ok() && AnyStore::open(url).is_ok(), "{url}");
    }
}

#[test]
fn a_cache_lies_in_front_of_the_store() {
    let text = "[persistence]\nenabled = true\nstore = 'file:data'\ncache = 'redis://:s3cret@db'";
    let registry = Settings::from_toml(text).unwrap().registry().unwrap().build().unwrap();
    assert_eq!(registry.store_status().unwrap().store, "tiered");
}

#[test]
fn the_ttl_of_a_pattern_reaches_the_store() {
    let settings = toml(
        "[persistence]\nenabled = true\nstore = 'sqlite://data/x.db'\nttl_open = '2 h'\n[circuits.'host:*']\nttl_open = '3 h'\n\
         [circuits.'host:a']\nttl_other = '4 h'",
    );
    let kept = settings.persistence().unwrap();
    let hours = |name| (kept.ttl_open(name).as_secs() / 3600, kept.ttl_other(name).as_secs() / 3600);
    assert_eq!([hours("host:a"), hours("host:b"), hours("host")], [(3, 4), (3, 1), (2, 1)]);
    let builder =
        Registry::builder().store(AnyStore::open("sqlite://data/x.db").unwrap()).ttl(secs(2 * 3600), secs(3600));
    let builder = builder.ttl_of("host:*", secs(3 * 3600), secs(3600)).ttl_of("host:a", secs(3 * 3600), secs(4 * 3600));
    assert_eq!(format!("{:?}", settings.registry().unwrap()), format!("{builder:?}"));
}

#[test]
fn a_ttl_takes_a_name_or_one_pattern() {
    for name in ["host:*", "payments", "host:[::1]:80"] {
        drop(Registry::builder().ttl_of(name, secs(60), secs(60)).build().unwrap());
    }
    for name in ["*", "ho*st", "host?"] {
        let error = Registry::builder().ttl_of(name, secs(60), secs(60)).build().unwrap_err();
        assert!(error.to_string().starts_with(&format!("ttl_of is `{name}`, allowed is a name of")), "{error}");
    }
}
