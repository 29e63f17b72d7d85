//! Where circuits are kept, if they are.

use std::path::Path;
use std::time::Duration;

use tower_circuit_breaker::settings::{SchemaMode, Sharing, StoreKind};

use super::{refused, toml};
use crate::rig::{millis, secs};

#[test]
fn without_a_store_and_the_persistence_flag_nothing_is_stored() {
    let off = "[persistence]\nenabled = false\nstore = 'file:data'";
    for text in ["", "[persistence]", "[persistence]\nenabled = false", off] {
        assert!(toml(text).persistence().is_none(), "{text}");
        let on = toml(text).with_vars([("CIRCUIT_BREAKER_PERSISTENCE", "true")]).unwrap();
        assert!(on.persistence().is_some(), "{text}");
    }
    let off = toml("[persistence]\nenabled = true").with_vars([("CIRCUIT_BREAKER_PERSISTENCE", "false")]).unwrap();
    assert!(off.persistence().is_none());
    // What is switched off must still be right: somebody will switch it on when there is no time to mend it.
    assert!(refused("[persistence]\nstore = 'x'").contains("persistence.store is \"x\", allowed is file:FOLDER"));
}

#[test]
fn a_store_without_the_persistence_flag_is_enabled() {
    let from_file = toml("[persistence]\nstore = 'redis://db'");
    assert_eq!(from_file.persistence().unwrap().store().as_str(), "redis://db");
    let from_variable = toml("").with_vars([("CIRCUIT_BREAKER_STORE", "redis://db")]).unwrap();
    assert_eq!(from_variable.persistence().unwrap().store().as_str(), "redis://db");
    let vars = [("CIRCUIT_BREAKER_STORE", "redis://db"), ("CIRCUIT_BREAKER_PERSISTENCE", "false")];
    assert!(toml("").with_vars(vars).unwrap().persistence().is_none(), "the flag switches a store off");
}

#[test]
fn a_key_of_persistence_without_a_store_is_refused_when_it_is_used() {
    for (key, value) in [
        ("cache", "'redis://:s3cret@db'"),
        ("sharing", "'follow'"),
        ("instance", "'host-7'"),
        ("fleet", "'orders'"),
        ("quorum_at_least", "3"),
        ("quorum_share", "0.5"),
        ("schema", "'verify'"),
        ("first_call_waits", "'1 s'"),
        ("audit_kept", "'1 d'"),
        ("ttl_open", "'1 h'"),
        ("ttl_other", "'1 h'"),
    ] {
        let settings = toml(&format!("[persistence]\n{key} = {value}"));
        let error = settings.registry().unwrap_err().to_string();
        let says = format!("the TOML text: persistence.{key} has no effect without a store: set persistence.store");
        assert!(error.starts_with(&says) && !error.contains("s3cret"), "{error}");
        for (variable, value) in [("CIRCUIT_BREAKER_STORE", "file:data"), ("CIRCUIT_BREAKER_PERSISTENCE", "false")] {
            let settings = settings.clone().with_vars([(variable, value)]).unwrap();
            assert!(settings.registry().is_ok(), "{variable} decides about {key}");
        }
    }
    let error = toml("").with_vars([("CIRCUIT_BREAKER_CACHE", "redis://db")]).unwrap().registry().unwrap_err();
    assert_eq!(error.key(), Some("persistence.cache"));
    assert!(error.origin().contains("CIRCUIT_BREAKER_CACHE"), "{error}");
}

#[test]
fn persistence_settings_come_from_the_file_or_the_defaults() {
    let settings = toml("persistence.enabled = true");
    let kept = settings.persistence().unwrap();
    assert_eq!(kept.store().as_str(), "sqlite://data/circuit_breaker.db");
    assert_eq!(kept.store().path(), Some(Path::new("data/circuit_breaker.db")));
    assert_eq!((kept.cache(), kept.instance(), kept.first_call_waits()), (None, None, Duration::ZERO));
    assert_eq!((kept.sharing(), kept.schema()), (Sharing::Advise, SchemaMode::Create));
    assert_eq!((kept.fleet(), kept.quorum_at_least(), kept.quorum_share()), (None, 2, 0.1));
    assert_eq!((kept.ttl_open("x"), kept.ttl_other("x")), (secs(24 * 3600), secs(3600)));

    let settings = toml(
        "[persistence]\nenabled = true\nstore = 'postgresql://db/x'\ncache = 'rediss://:s3cret@db'\nsharing = 'follow'\n\
         schema = 'verify'\ninstance = 'host-7'\nfirst_call_waits = '250 ms'\nttl_open = '2 d'\nttl_other = '10 min'\n\
         [defaults]\nttl_other = '20 min'\n[circuits.payments]\nttl_open = '3 d'\n[circuits.orders]\nttl_other = '5 min'",
    );
    let kept = settings.persistence().unwrap();
    assert_eq!((kept.store().kind(), kept.store().path()), (StoreKind::Postgres, None));
    let cache = kept.cache().unwrap();
    assert_eq!((cache.kind(), cache.as_str()), (StoreKind::Redis, "rediss://:s3cret@db"));
    assert_eq!((kept.sharing(), kept.schema()), (Sharing::Follow, SchemaMode::Verify));
    assert_eq!((kept.instance(), kept.first_call_waits()), (Some("host-7"), millis(250)));
    let settings = settings.with_vars([("CIRCUIT_BREAKER_FLEET", "orders"), ("CIRCUIT_BREAKER_QUORUM_AT_LEAST", "3")]);
    let settings = settings.unwrap().with_vars([("CIRCUIT_BREAKER_QUORUM_SHARE", "1")]).unwrap();
    let kept = settings.persistence().unwrap();
    assert_eq!((kept.fleet(), kept.quorum_at_least(), kept.quorum_share()), (Some("orders"), 3, 1.0));
    let ttls = |name| (kept.ttl_open(name).as_secs() / 3600, kept.ttl_other(name).as_secs() / 60);
    assert_eq!([ttls("payments"), ttls("orders"), ttls("other")], [(72, 20), (48, 5), (48, 20)]);
}

#[test]
fn a_store_has_an_address_of_a_known_kind() {
    for (url, kind, path) in [
        ("file:data", StoreKind::File, Some("data")),
        ("file:///var/lib/x", StoreKind::File, Some("/var/lib/x")),
        ("sqlite:///var/lib/x.db?mode=rwc", StoreKind::Sqlite, Some("/var/lib/x.db")),
        ("sqlite:x.db", StoreKind::Sqlite, Some("x.db")),
        ("postgres://ana:s3cret@db:5432/x", StoreKind::Postgres, None),
        ("redis://127.0.0.1:6379/0?prefix=orders:eu", StoreKind::Redis, None),
    ] {
        let settings = toml(&format!("[persistence]\nenabled = true\nstore = '{url}'"));
        let store = settings.persistence().unwrap().store();
        assert_eq!((store.kind(), store.path(), store.as_str()), (kind, path.map(Path::new), url));
    }
    for url in [
        "",
        "data.db",
        "mysql://db/x",
        "redis:db",
        "postgres:db://x",
        "redis://",
        "file:",
        "sqlite://",
        "REDIS://db",
        " redis://db",
        "redis://db\\n",
    ] {
        let error = refused(&format!("[persistence]\nstore = \"{url}\""));
        assert!(
            error.contains("persistence.store is ") && error.contains("allowed is file:FOLDER, sqlite://PATH"),
            "{error}"
        );
    }
    for (key, value, says) in [
        ("cache", "'sqlite://x.db'", "\"sqlite://x.db\", allowed is redis://…, or false for none"),
        ("cache", "true", "true, allowed is redis://…, or false for none"),
        (
            "cache",
            "'redis://db/1?prefix=a*'",
            "\"redis://db/1?prefix=a*\": the parameter `prefix` is \"a*\" and must be",
        ),
        ("store", "7", "7, allowed is file:FOLDER"),
        ("sharing", "'both'", "\"both\", allowed is \"advise\" or \"quorum\" or \"follow\""),
        ("schema", "'drop'", "\"drop\", allowed is \"create\" or \"verify\" or \"assume\""),
        ("instance", "'two words'", "\"two words\", allowed is 1 to 100 bytes"),
        ("instance", "'host#2'", "\"host#2\", allowed is 1 to 100 bytes"),
        ("instance", "''", "\"\", allowed is 1 to 100 bytes"),
        ("fleet", "'two words'", "\"two words\", allowed is 1 to 100 bytes of printable text without spaces and `//`"),
        ("fleet", "''", "\"\", allowed is 1 to 100 bytes"),
        ("quorum_at_least", "0", "0, allowed is a whole number from 1 to 10"),
        ("quorum_at_least", "11", "11, allowed is a whole number from 1 to 10"),
        ("quorum_at_least", "2.5", "2.5, allowed is a whole number from 1 to 10"),
        ("quorum_share", "1.1", "1.1, allowed is a number from 0 to 1"),
        ("quorum_share", "-0.1", "-0.1, allowed is a number from 0 to 1"),
        ("quorum_share", "nan", "NaN, allowed is a number from 0 to 1"),
        ("quorum_share", "'0.5'", "\"0.5\", allowed is a number from 0 to 1"),
        ("first_call_waits", "'61 s'", "\"61 s\", allowed is 0 s to 60 s"),
        ("audit_kept", "'59 min'", "\"59 min\", allowed is 1 h to 36500 d"),
        ("ttl_open", "'0 s'", "\"0 s\", allowed is 1 s to 365 d"),
        ("enabled", "'yes'", "\"yes\", allowed is true or false"),
    ] {
        let error = refused(&format!("[persistence]\n{key} = {value}"));
        assert!(error.starts_with(&format!("the TOML text: persistence.{key} is {says}")), "{error}");
    }
}
