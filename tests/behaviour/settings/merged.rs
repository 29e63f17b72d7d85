//! Tables that lie over each other: defaults, groups, patterns, circuits, documents and variables.
//!
//! The file is longer than others, because a table of cases is easier to check than the same cases in several files.

use std::time::Duration;

use proptest::array::uniform5;
use proptest::option;
use proptest::prelude::*;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::settings::Settings;
use tower_circuit_breaker::{Config, OpenDuration, Registry, Window};

use super::{payments, refused, same, toml};
use crate::rig::secs;

/// Asserts that the settings of a circuit are those that the builder makes.
#[track_caller]
fn is(settings: &Settings, name: &str, change: impl FnOnce(ConfigBuilder) -> ConfigBuilder) {
    let (read, built) = (settings.circuit(name).unwrap(), change(Config::builder(name)).build().unwrap());
    assert_eq!(read.explain(), built.explain());
    let registry = Registry::new();
    registry.circuit(read).unwrap();
    registry.circuit(built).unwrap();
}

#[test]
fn a_pattern_sets_every_circuit_whose_name_begins_so() {
    let settings = toml("[defaults]\nprobes = 9\n[circuits.'host:*']\nprobes = 1\n[circuits.'hosts']");
    is(&settings, "host:a.example", |c| c.probes(1));
    is(&settings, "host:[::1]:443", |c| c.probes(1));
    is(&settings, "host", |c| c.probes(9));
    is(&settings, "hosts", |c| c.probes(9));
    let names: Vec<_> = settings.circuits().map(|config| config.name().to_owned()).collect();
    assert_eq!(names, ["hosts"], "a pattern is no circuit");
    let error = settings.circuit("host:*").unwrap_err();
    assert_eq!(error.to_string(), "name is \"host:*\", allowed is the name of one circuit, not a pattern");
}

#[test]
fn the_most_specific_table_wins_key_by_key() {
    let settings = toml(
        "[defaults]\nprobes = 2\nmin_calls = 20\nquiet_after = '2 s'\nprobe_deadline = '2 s'\n\
         [circuits.'host:*']\nprobes = 3\nmin_calls = 30\nquiet_after = '3 s'\n\
         [circuits.'host:eu-*']\nprobes = 4\nmin_calls = 40\n\
         [circuits.'host:eu-1']\nprobes = 5",
    );
    let all = |c: ConfigBuilder| c.probe_deadline(secs(2)).quiet_after(secs(3));
    is(&settings, "host:eu-1", |c| all(c).probes(5).min_calls(40));
    is(&settings, "host:eu-2", |c| all(c).probes(4).min_calls(40));
    is(&settings, "host:us-1", |c| all(c).probes(3).min_calls(30));
}

#[test]
fn a_group_lies_directly_below_the_table_that_names_the_group() {
    let settings = toml(
        "[defaults]\nprobes = 2\nmin_calls = 20\nquiet_after = '2 s'\n\
         [groups.touchy]\nprobes = 1\nmin_calls = 5\n[groups.calm]\nprobes = 7\n\
         [circuits.a]\ngroup = 'touchy'\n[circuits.b]\ngroup = 'touchy'\nmin_calls = 6\n\
         [circuits.'host:*']\ngroup = 'touchy'\nquiet_after = '3 s'\n\
         [circuits.'host:b']\nmin_calls = 8\n[circuits.'host:c']\ngroup = 'calm'\n[circuits.'host:d']\ngroup = false",
    );
    is(&settings, "a", |c| c.probes(1).min_calls(5).quiet_after(secs(2)));
    is(&settings, "b", |c| c.probes(1).min_calls(6).quiet_after(secs(2)));
    is(&settings, "host:a", |c| c.probes(1).min_calls(5).quiet_after(secs(3)));
    is(&settings, "host:b", |c| c.probes(1).min_calls(8).quiet_after(secs(3)));
    // A circuit has one group, so that the group of its pattern does not apply beside its own.
    is(&settings, "host:c", |c| c.probes(7).min_calls(20).quiet_after(secs(3)));
    is(&settings, "host:d", |c| c.probes(2).min_calls(20).quiet_after(secs(3)));
    is(&settings, "other", |c| c.probes(2).min_calls(20).quiet_after(secs(2)));
}

#[test]
fn groups_and_patterns_are_the_same_in_json_and_variables() {
    let json = r#"{"groups": {"touchy": {"probes": 1}}, "circuits": {"host:*": {"group": "touchy"}, "a": {}}}"#;
    let settings = Settings::from_json(json).unwrap();
    is(&settings, "host:a", |c| c.probes(1));
    let settings = settings
        .with_vars([
            ("CIRCUIT_BREAKER_GROUP_TOUCHY_PROBES", "2"),
            ("CIRCUIT_BREAKER_CIRCUIT_HOST_MIN_CALLS", "30"),
            ("CIRCUIT_BREAKER_CIRCUIT_A_GROUP", "touchy"),
        ])
        .unwrap();
    is(&settings, "host:a", |c| c.probes(2).min_calls(30));
    is(&settings, "a", |c| c.probes(2));
    let config = "groups.touchy.probes = 3\ncircuits.'host:*'.quiet_after = '3 s'";
    let settings = Settings::from_json(json).unwrap().with_vars([("CIRCUIT_BREAKER_CONFIG", config)]).unwrap();
    is(&settings, "host:a", |c| c.probes(3).quiet_after(secs(3)));
    let error = toml("[circuits.host]\n[circuits.'host:*']")
        .with_vars([("CIRCUIT_BREAKER_CIRCUIT_HOST_PROBES", "1")])
        .unwrap_err()
        .to_string();
    assert!(error.contains("may mean circuits.\"host:*\".probes or circuits.host.probes"), "{error}");
}

#[test]
fn other_signs_of_patterns_are_refused_with_the_allowed_form() {
    for (name, sign) in [("*host", '*'), ("ho*st", '*'), ("host**", '*'), ("host?", '?'), ("db[0-9]", '['), ("[a", '[')]
    {
        assert_eq!(
            refused(&format!("[circuits.'{name}']")),
            format!(
                "the TOML text: circuits.\"{name}\" has a `{sign}`, allowed is a name of 1 to 200 bytes, or the beginning of names with \
                 one `*` at its end, as in \"host:*\""
            )
        );
    }
    assert_eq!(
        refused("[circuits.'*']"),
        "the TOML text: circuits.\"*\" would be every circuit, and the table of every circuit is [defaults]"
    );
    is(&toml("[circuits.'host:[::1]:443']\nprobes = 1"), "host:[::1]:443", |c| c.probes(1));
}

#[test]
fn an_unknown_group_is_refused_with_the_nearest_group() {
    assert_eq!(
        refused("[groups.touchy]\n[groups.calm]\n[circuits.a]\ngroup = 'tuchy'"),
        "the TOML text: circuits.a.group is \"tuchy\", which is no group, did you mean `touchy`? allowed is \"calm\" or \
         \"touchy\""
    );
    assert_eq!(
        refused("[circuits.a]\ngroup = 'touchy'"),
        "the TOML text: circuits.a.group is \"touchy\", which is no group, allowed is a group with a table below groups, \
         and there is none"
    );
    assert_eq!(
        refused("[circuits.a]\ngroup = 7"),
        "the TOML text: circuits.a.group is 7, allowed is the name of a group, or false for none"
    );
    assert!(refused("[defaults]\ngroup = 'a'").contains("unknown key `group` in defaults, allowed are failure_rate"));
    assert!(refused("[groups.a]\ngroup = 'a'").contains("unknown key `group` in groups.a, allowed are failure_rate"));
    assert!(refused("[group.a]").contains("unknown key `group`, did you mean `groups`?"));
    assert_eq!(refused("[groups.a]\nprobes = 0"), "the TOML text: groups.a.probes is 0, allowed is 1 to 10000");
    assert!(refused("[groups.'two words']").contains("groups.\"two words\" is not a valid name"));
    assert!(refused("[circuits.'a*']\nprobes = 0").contains("circuits.\"a*\".probes is 0, allowed is 1 to 10000"));
}

#[test]
fn a_table_changes_only_the_parts_that_it_names() {
    let open = |over: &str| format!("[circuits.payments]\nopen_for = {over}");
    let below = |below: &str, over: &str| toml(&format!("[defaults]\nopen_for = {below}\n{}", open(over)));
    let doubling = "{ base = '1 s', max = '8 s', jitter = 0.2 }";
    let (exponential, fixed) = (OpenDuration::exponential, OpenDuration::fixed);
    for (settings, open_for, how) in [
        (toml(&open("{ max = '2 min' }")), exponential(secs(5), secs(120)), "of the default"),
        (toml(&open("{ base = '2 s' }")), exponential(secs(2), secs(60)), "of the default"),
        (toml(&open("{ jitter = 0.3 }")), OpenDuration::default().jitter(0.3), "of the default"),
        (below(doubling, "{ max = '9 s' }"), exponential(secs(1), secs(9)).jitter(0.2), "max"),
        (below(doubling, "{ base = '2 s' }"), exponential(secs(2), secs(8)).jitter(0.2), "base"),
        (below(doubling, "{ jitter = 0 }"), exponential(secs(1), secs(8)).jitter(0.0), "jitter"),
        (below(doubling, "{ fixed = '7 s' }"), fixed(secs(7)).jitter(0.2), "another shape keeps the jitter"),
        (below(doubling, "'7 s'"), fixed(secs(7)), "a text replaces all parts"),
        (below("'90 s'", "{ max = '2 min' }"), exponential(secs(90), secs(120)), "a fixed duration is the base"),
        (below("'90 s'", "{ base = '2 s' }"), exponential(secs(2), secs(90)), "a fixed duration is the largest"),
        (below("'90 s'", "{ jitter = 0.2 }"), fixed(secs(90)).jitter(0.2), "jitter of a fixed duration"),
    ] {
        is(&settings, "payments", |c| c.open_for(open_for));
        assert!(settings.circuits().count() == 1, "{how}");
    }
    let window = |below: &str, over: &str| {
        toml(&format!("[defaults]\nmin_calls = 5\nwindow = {below}\n[circuits.payments]\nwindow = {over}"))
    };
    let parts = "{ time = '30 s', buckets = 6 }";
    for (settings, window) in [
        (window(parts, "{ time = '1 min' }"), Window::time(secs(60)).buckets(6)),
        (window(parts, "{ buckets = 3 }"), Window::time(secs(30)).buckets(3)),
        (window(parts, "'1 min'"), Window::time(secs(60))),
        (window("'30 s'", "{ buckets = 3 }"), Window::time(secs(30)).buckets(3)),
        (window(parts, "{ calls = 70 }"), Window::calls(70)),
        (window("{ calls = 70 }", "{ time = '30 s' }"), Window::time(secs(30))),
    ] {
        is(&settings, "payments", |c| c.min_calls(5).window(window));
    }
    is(&toml("[circuits.payments]\nwindow = { buckets = 3 }"), "payments", |c| c.window(Window::default().buckets(3)));
    assert_eq!(
        refused("[defaults]\nwindow = { calls = 70 }\n[circuits.payments]\nwindow = { buckets = 3 }"),
        "the TOML text: circuits.payments.window.buckets needs circuits.payments.window.time beside it, because \
         defaults.window.calls makes a window of calls, which has no buckets"
    );
}

#[test]
fn a_variable_and_a_document_change_parts_too() {
    let file = "[defaults]\nopen_for = { base = '1 s', max = '8 s', jitter = 0.2 }\n[circuits.payments]";
    let change = |c: ConfigBuilder| c.open_for(OpenDuration::exponential(secs(1), secs(9)).jitter(0.2));
    for (name, value) in [
        ("CIRCUIT_BREAKER_DEFAULT_OPEN_FOR", "{ max = '9 s' }"),
        ("CIRCUIT_BREAKER_CIRCUIT_PAYMENTS_OPEN_FOR", "{ max = '9 s' }"),
        ("CIRCUIT_BREAKER_CONFIG", "defaults.open_for.max = '9 s'"),
        ("CIRCUIT_BREAKER_CONFIG", "{\"circuits\": {\"payments\": {\"open_for\": {\"max\": \"9 s\"}}}}"),
    ] {
        same(payments(&toml(file).with_vars([(name, value)]).unwrap()), change, value);
    }
    let twice = toml(file).with_vars([("CIRCUIT_BREAKER_DEFAULT_OPEN_FOR", "{ max = '7 s' }")]).unwrap();
    let twice = twice.with_vars([("CIRCUIT_BREAKER_DEFAULT_OPEN_FOR", "{ max = '9 s' }")]).unwrap();
    same(payments(&twice), change, "the last variable wins");
}

#[test]
fn merged_values_that_are_impossible_together_name_the_table_of_each() {
    for (text, says) in [
        (
            "[defaults]\nopen_for = { base = '9 s', max = '1 min' }\n[circuits.a]\nopen_for = { max = '5 s' }",
            "circuits.a.open_for.base is 9 s, allowed is 1 ms to 5 s; the value comes from defaults.open_for.base and the \
             limit comes from circuits.a.open_for.max",
        ),
        (
            "[groups.g]\nopen_for = '9 s'\n[circuits.a]\ngroup = 'g'\nopen_for = { max = '5 s' }",
            "circuits.a.open_for.base is 9 s, allowed is 1 ms to 5 s; the value comes from groups.g.open_for and the limit \
             comes from circuits.a.open_for.max",
        ),
        (
            "[circuits.'a*']\nopen_for = { max = '5 s' }\n[circuits.a]\nopen_for = { base = '9 s' }",
            "circuits.a.open_for.base is 9 s, allowed is 1 ms to 5 s; the limit comes from circuits.\"a*\".open_for.max",
        ),
        (
            "[circuits.a]\nopen_for = { base = '90 s' }",
            "circuits.a.open_for.base is 90 s, allowed is 1 ms to 60 s; the limit is the default",
        ),
        (
            "[circuits.a]\nopen_for = { max = '1 s' }",
            "circuits.a.open_for.base is 5 s, allowed is 1 ms to 1 s; the value is the default and the limit comes from \
             circuits.a.open_for.max",
        ),
        (
            "[groups.g]\nwindow = { calls = 50 }\n[circuits.a]\ngroup = 'g'\nmin_calls = 60",
            "circuits.a.min_calls is 60, allowed is 1 to 50; the limit comes from groups.g.window.calls",
        ),
        (
            "[groups.g]\nopen_for = { jitter = 0.9 }\n[circuits.a]\ngroup = 'g'",
            "groups.g.open_for.jitter is 0.9, allowed is 0 to 0.5",
        ),
    ] {
        assert_eq!(refused(text), format!("the TOML text: {says}"));
    }
    let error = toml("[circuits.a]\nopen_for = { base = '9 s' }")
        .with_vars([("CIRCUIT_BREAKER_CIRCUIT_A_OPEN_FOR", "{ max = '5 s' }")])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the TOML text: circuits.a.open_for.base is 9 s, allowed is 1 ms to 5 s; the limit comes from \
         circuits.a.open_for.max, environment variable CIRCUIT_BREAKER_CIRCUIT_A_OPEN_FOR"
    );
}

/// The parts of one table, as a person would write them.
#[derive(Debug, Clone, Default)]
struct Written {
    probes: Option<u32>,
    open: Option<Open>,
    window: Option<Win>,
}

#[derive(Debug, Clone)]
enum Open {
    Text(u64),
    Fixed(u64, Option<u8>),
    Doubling { base: Option<u64>, max: Option<u64>, jitter: Option<u8> },
}

#[derive(Debug, Clone)]
enum Win {
    Text(u64),
    Time { time: Option<u64>, buckets: Option<u32> },
    Calls(u32),
}

fn written() -> impl Strategy<Value = Written> {
    let (seconds, jitter) = (1_u64..9, option::of(0_u8..5));
    let some = option::of(1_u64..9);
    let open = prop_oneof![
        seconds.clone().prop_map(Open::Text),
        (seconds.clone(), jitter.clone()).prop_map(|(fixed, jitter)| Open::Fixed(fixed, jitter)),
        (some.clone(), some.clone(), jitter).prop_map(|(base, max, jitter)| Open::Doubling { base, max, jitter }),
    ];
    let window = prop_oneof![
        seconds.prop_map(Win::Text),
        (some, option::of(2_u32..9)).prop_map(|(time, buckets)| Win::Time { time, buckets }),
        (20_u32..90).prop_map(Win::Calls),
    ];
    let tables = (option::of(1_u32..9), option::of(open), option::of(window));
    tables.prop_map(|(probes, open, window)| Written { probes, open, window })
}

/// Returns the keys of a table with the spelling of their values, in TOML or JSON.
fn spelled(table: &Written, json: bool) -> Vec<(&'static str, String)> {
    let parts = |parts: Vec<(&str, Option<String>)>| {
        let given: Vec<_> = parts.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        let spelled = |(key, value): &(&str, String)| {
            if json { format!("\"{key}\": {value}") } else { format!("{key} = {value}") }
        };
        (!given.is_empty()).then(|| format!("{{ {} }}", given.iter().map(spelled).collect::<Vec<_>>().join(", ")))
    };
    let text = |seconds: u64| format!("\"{seconds} s\"");
    let share = |jitter: Option<u8>| jitter.map(|jitter| format!("0.{jitter}"));
    let open = table.open.as_ref().and_then(|open| match open {
        Open::Text(fixed) => Some(text(*fixed)),
        Open::Fixed(fixed, jitter) => parts(vec![("fixed", Some(text(*fixed))), ("jitter", share(*jitter))]),
        Open::Doubling { base, max, jitter } => {
            parts(vec![("base", base.map(text)), ("max", max.map(text)), ("jitter", share(*jitter))])
        }
    });
    let window = table.window.as_ref().and_then(|window| match window {
        Win::Text(time) => Some(text(*time)),
        Win::Time { time, buckets } => {
            parts(vec![("time", time.map(text)), ("buckets", buckets.map(|buckets| buckets.to_string()))])
        }
        Win::Calls(calls) => parts(vec![("calls", Some(calls.to_string()))]),
    });
    let probes = table.probes.map(|probes| probes.to_string());
    [("probes", probes), ("open_for", open), ("window", window)]
        .into_iter()
        .filter_map(|(k, v)| Some((k, v?)))
        .collect()
}

/// Merges the tables one after the other by hand. `None` if they are impossible together.
fn by_hand(tables: &[&Written]) -> Option<Config> {
    let mut probes = 3;
    let (mut base, mut max, mut fixed, mut jitter) = (5, 60, None, None);
    let (mut time, mut buckets, mut calls) = (10, 10, None);
    for table in tables {
        probes = table.probes.unwrap_or(probes);
        match &table.open {
            Some(Open::Text(d)) => (fixed, jitter) = (Some(*d), None),
            Some(Open::Fixed(d, j)) => (fixed, jitter) = (Some(*d), j.or(jitter)),
            Some(Open::Doubling { base: b, max: m, jitter: j }) => {
                if b.or(*m).is_some()
                    && let Some(fixed) = fixed.take()
                {
                    (base, max) = (fixed, fixed);
                }
                (base, max, jitter) = (b.unwrap_or(base), m.unwrap_or(max), j.or(jitter));
            }
            None => {}
        }
        match &table.window {
            Some(Win::Text(t)) => (time, buckets, calls) = (*t, 10, None),
            Some(Win::Time { time: None, buckets: None }) | None => {}
            Some(Win::Time { time: t, buckets: b }) => {
                if calls.take().is_some() {
                    (*t)?;
                    buckets = 10;
                }
                (time, buckets) = (t.unwrap_or(time), b.unwrap_or(buckets));
            }
            Some(Win::Calls(n)) => calls = Some(*n),
        }
    }
    let open = match fixed {
        Some(fixed) => OpenDuration::fixed(secs(fixed)),
        None => OpenDuration::exponential(secs(base), secs(max)),
    };
    let open = jitter.map_or(open.clone(), |jitter| open.jitter(f64::from(jitter) / 10.0));
    let window = calls.map_or(Window::time(Duration::from_secs(time)).buckets(buckets), Window::calls);
    Config::builder("host:a").probes(probes).open_for(open).window(window).build().ok()
}

/// The tables in the order of their precedence.
const TABLES: [&str; 5] = ["defaults", "groups.g", "circuits.\"h*\"", "circuits.\"host:*\"", "circuits.\"host:a\""];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn merged_tables_equal_settings_that_are_built_by_hand(tables in uniform5(written())) {
        let mut text = String::from("groups.g.quiet_after = \"60 s\"\ncircuits.\"h*\".group = \"g\"\n");
        let mut whole = serde_json::json!({"defaults": {}, "groups": {"g": {}}, "circuits": {"h*": {"group": "g"}, "host:*": {}, "host:a": {}}});
        for (at, table) in TABLES.iter().zip(&tables) {
            for (key, value) in spelled(table, false) {
                text.push_str(&format!("{at}.{key} = {value}\n"));
            }
            let path: Vec<_> = at.splitn(2, '.').map(|key| key.trim_matches('"')).collect();
            for (key, value) in spelled(table, true) {
                let place = path.iter().fold(&mut whole, |table, key| &mut table[*key]);
                place[key] = serde_json::from_str(&value).unwrap();
            }
        }
        let (toml, json) = (Settings::from_toml(&text), Settings::from_json(&whole.to_string()));
        let tables: Vec<_> = tables.iter().collect();
        match (&toml, &json) {
            (Ok(toml), Ok(json)) => {
                let built = by_hand(&tables).expect("accepted by both");
                for settings in [toml, json] {
                    let read = settings.circuit("host:a").unwrap();
                    prop_assert_eq!(read.explain(), built.explain(), "{}", text);
                    let registry = Registry::new();
                    registry.circuit(read).unwrap();
                    prop_assert!(registry.circuit(built.clone()).is_ok(), "{}", text);
                }
            }
            (Err(toml), Err(json)) => {
                let (toml, json) = (toml.to_string(), json.to_string());
                prop_assert_eq!(toml.replacen("TOML", "JSON", 1), json);
                // A part of the tables may be refused, while all of them together are right.
                let parts = [&tables[..1], &tables[..2], &tables[..3], &tables[..4], &tables[..]];
                prop_assert!(parts.iter().any(|part| by_hand(part).is_none()), "{}\n{}", toml, text);
            }
            _ => prop_assert!(false, "{toml:?}\n{json:?}\n{text}"),
        }
    }
}

#[cfg(feature = "keyed")]
#[test]
fn keyed_circuits_have_the_settings_of_their_pattern_and_their_own() {
    use tower_circuit_breaker::keyed::Keyed;

    let settings = toml("[circuits.'host:*']\nprobes = 1\nmin_calls = 30\n[circuits.'host:b']\nprobes = 2");
    let template = settings.clone();
    let per_host = Keyed::builder(&Registry::new(), move |name| template.circuit_builder(name));
    let per_host = per_host.prefix("host:").by(|host: &String| Some(host.as_str().into())).unwrap();
    for (key, probes) in [("a", 1), ("b", 2)] {
        let name = format!("host:{key}");
        let built = Config::builder(&name).probes(probes).min_calls(30).build().unwrap();
        assert_eq!(per_host.circuit(key).unwrap().config().explain(), built.explain());
    }
}
