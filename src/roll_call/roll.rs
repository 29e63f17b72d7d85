//! The comparison of the expected names with the names of circuits, and the sentences for the log about misspelt names.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::{Call, Kind};
use crate::nearest::Work;
use crate::pattern::{beginning, covers, misused};
use crate::shown::quoted;

/// The names that the thread has collected, which are the expected names and the names of circuits.
#[derive(Debug, Default)]
pub(super) struct Roll {
    /// The expected names from environment variables, each with its variable.
    listed: BTreeMap<String, &'static str>,
    /// The expected names from settings, each with the first setting of the name and the kind of that setting.
    set: BTreeMap<String, (Kind, String)>,
    requested: BTreeSet<String>,
    created: BTreeSet<String>,
    keyed: BTreeSet<String>,
}

impl Roll {
    #[cfg(all(test, not(breaker_loom)))]
    pub(super) fn created(&self) -> usize {
        self.created.len()
    }

    /// Adds the name in a message, up to [`MOST`] names of each kind. The number is limited, because there can be
    /// millions of keyed circuits.
    pub(super) fn add(&mut self, call: Call) {
        let set = |names: &mut BTreeSet<String>, name| names.len() < MOST && names.insert(name);
        match call {
            Call::Listed { name, variable } if self.listed.len() < MOST => drop(self.listed.insert(name, variable)),
            Call::Set { name, kind, setting } if self.set.len() < MOST => {
                self.set.entry(name).or_insert((kind, setting));
            }
            Call::Listed { .. } | Call::Set { .. } => {}
            Call::Requested(name) => {
                set(&mut self.requested, name);
            }
            Call::Created(name) => {
                set(&mut self.created, name);
            }
            Call::Keyed(prefix) => {
                set(&mut self.keyed, prefix);
            }
        }
    }

    /// Returns the sentences about expected names that no circuit has.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut work = Work::of_report();
        let listed = self.listed.iter().filter(|(name, _)| !self.is_created(name)).take(MOST_COMPARED);
        let mut lines: Vec<_> = listed.map(|(name, variable)| self.line_of_list(name, variable, &mut work)).collect();
        lines.extend(self.lines_of_settings(&mut work));
        let requested = self.requested.iter().take(MOST_COMPARED);
        lines.extend(requested.filter_map(|name| self.line_of_request(name, &mut work)));
        lines
    }

    /// Returns a sentence for each setting that no circuit uses and whose name resembles the name of a circuit. All
    /// other unused settings share one sentence. There may be many such settings, because one file may contain the
    /// settings of several programs.
    fn lines_of_settings(&self, work: &mut Work) -> Vec<String> {
        let (mut lines, mut alone) = (Vec::new(), Vec::new());
        let unused = self.set.iter().filter(|(name, _)| !self.is_created(name) && !self.may_come(name));
        for (name, (kind, setting)) in unused.take(MOST_COMPARED) {
            // A circuit is not suggested if a setting of the same kind (table or time to live) has exactly the name of
            // the circuit. Such a circuit already has its setting, so the misspelt setting is for a different circuit.
            match self.nearest(name, work, |circuit| self.set.get(circuit).is_none_or(|(other, _)| other != kind)) {
                Some(near) => lines.push(format!(
                    "{} has no effect, because no circuit has been created with that name so far; did you mean the \
                     circuit `{}`?",
                    shown(setting),
                    shown(&near)
                )),
                None => alone.push(shown(setting)),
            }
        }
        if !alone.is_empty() {
            let more = alone.len().saturating_sub(MOST_SHOWN);
            alone.truncate(MOST_SHOWN);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            lines.push(format!(
                "settings have no effect, because no circuit has been created with their names so far: {}{more}",
                alone.join(", ")
            ));
        }
        lines
    }

    /// Returns a sentence about the circuit `name` if the settings contain neither this name nor a pattern that covers
    /// this name, but a table of the settings has a similar name. The program probably meant the settings in this
    /// table. The table is suggested only under two conditions. Another circuit has the name of the table. The program
    /// has never requested the settings of this other circuit by name. The program then probably created the other
    /// circuit in a loop over all tables, and does not use the other circuit. `lines_of_settings` reports the tables
    /// without a circuit.
    fn line_of_request(&self, name: &str, work: &mut Work) -> Option<String> {
        let has_settings = || self.set.keys().any(|set| covers(set, name));
        if !self.created.contains(name) || self.may_come(name) || has_settings() {
            return None;
        }
        let idle = |(name, (kind, _)): &(&String, &(Kind, String))| {
            *kind == Kind::Table && self.created.contains(*name) && !self.requested.contains(*name)
        };
        let near = work.nearest(name, self.set.iter().filter(idle).map(|(name, _)| name.as_str()))?;
        Some(format!("the circuit `{}` has the defaults; did you mean {}?", shown(name), shown(&self.set[&near].1)))
    }

    fn line_of_list(&self, name: &str, variable: &str, work: &mut Work) -> String {
        let is_separator = |c: char| matches!(c, ';' | '|' | ':') || c.is_whitespace();
        let mut parts = name.split(is_separator).filter(|part| *part != name);
        let hint = if parts.any(|part| self.created.contains(part)) {
            "; commas separate names".to_owned()
        } else if let Some(meant) = self.nearest(name, work, |_| true) {
            format!("; did you mean `{}`?", shown(&meant))
        } else if misused(name).is_some() {
            "; only a `*` at its end makes a name stand for several circuits".to_owned()
        } else {
            String::new()
        };
        format!("{variable} names `{}`, and no circuit has been created with that name so far{hint}", shown(name))
    }

    /// Returns true if a circuit has the name. For a pattern, returns true if the pattern covers a circuit, or can
    /// cover keyed circuits.
    fn is_created(&self, name: &str) -> bool {
        // In the sorted set, no other name is between the text `begins` and the names that begin with this text.
        // Therefore only the first name that is equal to `begins` or sorted after `begins` is checked.
        let covered = |begins: &str| {
            let mut from = self.created.range::<str, _>((Bound::Included(begins), Bound::Unbounded));
            from.next().is_some_and(|circuit| circuit.starts_with(begins))
        };
        self.created.contains(name) || beginning(name).is_some_and(|begins| self.is_keyed(begins) || covered(begins))
    }

    /// Returns true if the pattern that consists of `begins` and a `*` can cover keyed circuits, which are created by
    /// requests.
    fn is_keyed(&self, begins: &str) -> bool {
        self.keyed.iter().any(|prefix| prefix.starts_with(begins) || begins.starts_with(&**prefix))
    }

    /// Returns true if a request can still create a keyed circuit with the name.
    fn may_come(&self, name: &str) -> bool {
        self.keyed.iter().any(|prefix| name.starts_with(&**prefix))
    }

    /// Returns the name of a circuit that is most similar to `name`, for a suggestion. If `name` is a pattern, its
    /// beginning is compared with the equally long beginnings of the names of circuits, and with the prefixes of keyed
    /// circuits. The result is then a pattern of the most similar beginning. Only circuits for which `may_be` returns
    /// true are compared.
    fn nearest(&self, name: &str, work: &mut Work, may_be: impl Fn(&str) -> bool) -> Option<String> {
        let circuits = self.created.iter().map(String::as_str).filter(|circuit| may_be(circuit));
        let Some(begins) = beginning(name) else { return work.nearest(name, circuits) };
        let length = begins.chars().count();
        let starts = circuits.map(|circuit| {
            let end = circuit.char_indices().nth(length).map_or(circuit.len(), |(at, _)| at);
            &circuit[..end]
        });
        let near =
            work.nearest(begins, starts.chain(self.keyed.iter().map(String::as_str)).filter(|start| !start.is_empty()));
        near.map(|near| format!("{near}*"))
    }
}

/// Returns a name as the log shows it, escaped and shortened. Quotes are not escaped, because the names of
/// settings contain quotes.
fn shown(name: &str) -> String {
    quoted(name).replace("\\\"", "\"").replace("\\'", "'")
}

/// The largest number of names of each kind that a `Roll` stores.
const MOST: usize = 10_000;
/// The largest number of names of each kind that are compared with all circuits. The number is limited, because a
/// comparison takes long.
const MOST_COMPARED: usize = 1_000;
/// The largest number of settings in one line.
const MOST_SHOWN: usize = 20;

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;

    const VARIABLE: &str = "CIRCUIT_BREAKER_DISABLED";

    fn created() -> impl Iterator<Item = Call> {
        ["payments", "search", "host:a.example"].into_iter().map(|name| Call::Created(name.to_owned()))
    }

    fn lines(calls: impl IntoIterator<Item = Call>) -> Vec<String> {
        let mut roll = Roll::default();
        created().chain(calls).for_each(|call| roll.add(call));
        roll.lines()
    }

    fn listed(names: &str) -> Vec<String> {
        lines(names.split(',').map(|name| Call::Listed { name: name.trim().to_owned(), variable: VARIABLE }))
    }

    #[test]
    fn listed_names_that_a_circuit_has_are_not_reported() {
        for right in ["payments", "payments, search", "*", "*,payments", "host:*", "pay*"] {
            assert_eq!(listed(right), [""; 0], "{right:?}");
        }
    }

    #[test]
    fn a_listed_name_that_no_circuit_has_is_reported_with_the_meant_one() {
        for (wrong, hint) in [
            ("Payments", "`Payments`, and no circuit has been created with that name so far; did you mean `payments`?"),
            ("payment", "did you mean `payments`?"),
            (
                "payments;search",
                "`payments;search`, and no circuit has been created with that name so far; commas separate names",
            ),
            ("payments search", "commas separate names"),
            ("payments|x", "commas separate names"),
            ("hots:*", "did you mean `host:*`?"),
            ("ho*st", "; only a `*` at its end makes a name stand for several circuits"),
            ("billing", "`billing`, and no circuit has been created with that name so far"),
        ] {
            let sentences = listed(&format!("search, {wrong}"));
            assert!(
                matches!(&sentences[..], [sentence] if sentence.ends_with(hint) && sentence.starts_with(VARIABLE)),
                "{sentences:?}"
            );
        }
        assert_eq!(listed("Payments,serch").len(), 2);
    }

    #[test]
    fn hostile_names_are_shortened_and_escaped() {
        let [sentence] = &listed(&format!("a\u{1b}[2J{}", "x".repeat(5_000)))[..] else { panic!("one") };
        assert!(sentence.len() < 400 && !sentence.contains('\u{1b}'), "{sentence}");
    }

    #[test]
    fn an_address_in_a_list_of_names_is_shown_without_its_password() {
        let [sentence] = &listed("redis://:s3cret@db")[..] else { panic!("one") };
        assert!(sentence.contains("redis://:***@db") && !sentence.contains("s3cret"), "{sentence}");
    }

    #[cfg(all(feature = "settings", feature = "store"))]
    mod settings {
        use super::*;

        fn set(names: &[&str]) -> Vec<Call> {
            let call = |name: &&str| Call::Set {
                name: (*name).to_owned(),
                kind: Kind::Table,
                setting: format!("circuits.{name} of a.toml"),
            };
            names.iter().map(call).collect()
        }

        #[test]
        fn a_setting_for_a_misspelt_name_is_reported_with_the_near_circuit() {
            assert_eq!(lines(set(&["payments", "host:*", "host:a.example"])), [""; 0]);
            for (wrong, near) in [("paymnts", "payments"), ("Search", "search"), ("hots:*", "host:*")] {
                let sentence = format!(
                    "circuits.{wrong} of a.toml has no effect, because no circuit has been created with that name so \
                     far; did you mean the circuit `{near}`?"
                );
                assert_eq!(lines(set(&[wrong])), [sentence]);
            }
        }

        #[test]
        fn settings_far_from_every_circuit_share_a_line() {
            // `payments` has settings of its own, so it is not suggested for `payment`.
            let names: Vec<_> = (0..30).map(|n| format!("service-{n}")).collect();
            let mut names: Vec<_> = names.iter().map(String::as_str).collect();
            names.extend(["payment", "payments"]);
            let [line] = &lines(set(&names))[..] else { panic!("one line") };
            assert!(line.contains("so far: circuits.payment of a.toml, circuits.service-0 of a.toml,"), "{line}");
            assert!(line.ends_with(" and 11 more"), "{line}");
        }

        #[test]
        fn a_request_near_to_settings_that_were_never_requested_is_reported() {
            let requested = |names: &[&str]| {
                let calls = names.iter().map(|name| Call::Requested((*name).to_owned()));
                lines(
                    set(&["payments", "search*"]).into_iter().chain(calls).chain([Call::Created("paymnts".to_owned())]),
                )
            };
            let line = "the circuit `paymnts` has the defaults; did you mean circuits.payments of a.toml?";
            assert_eq!(requested(&["paymnts"]), [line]);
            // Both names are circuits of the program, so neither name is misspelt.
            assert_eq!(requested(&["paymnts", "payments"]), [""; 0]);
            assert_eq!(requested(&["search-2", "never-created"]), [""; 0]);
        }

        #[cfg(feature = "keyed")]
        #[test]
        fn a_setting_for_a_circuit_that_comes_with_requests_is_not_reported() {
            let with = |name| lines(set(&[name]).into_iter().chain([Call::Keyed("tenant:".to_owned())]));
            assert_eq!(with("tenant:a"), [""; 0]);
            assert_eq!(with("tenant:*"), [""; 0]);
            assert_eq!(with("tenant:a*"), [""; 0]);
            assert_eq!(with("ten*"), [""; 0]);
            assert!(with("tennant:*")[0].ends_with("did you mean the circuit `tenant:*`?"));
            assert_eq!(with("tenants").len(), 1);
        }

        #[test]
        fn a_setting_of_another_kind_does_not_hide_the_near_circuit() {
            let ttl = Call::Set { name: "paymnts".to_owned(), kind: Kind::Ttl, setting: "`ttl_of`".to_owned() };
            let lines = lines(set(&["payments"]).into_iter().chain([ttl]));
            assert!(lines.len() == 1 && lines[0].ends_with("did you mean the circuit `payments`?"), "{lines:?}");
        }

        #[test]
        fn a_name_with_two_settings_is_reported_once() {
            let twice = ["circuits.x of a.toml", "ttl_of of a registry"];
            let calls =
                twice.map(|setting| Call::Set { name: "x".to_owned(), kind: Kind::Table, setting: setting.to_owned() });
            assert!(matches!(&lines(calls)[..], [line] if line.contains("circuits.x") && !line.contains("ttl_of")));
        }
    }
}
