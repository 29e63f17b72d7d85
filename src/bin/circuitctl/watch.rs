//! The command `watch`, which prints a line for each change of a circuit.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use tower_circuit_breaker::operation::{Change, Operator, Refused};

use crate::failure::{Code, Failure};
use crate::page::Page;
use crate::table::plain;
use crate::view::{Instances, View};
use crate::{Answer, address, print, report};

/// The parts of a line that `watch` compares. They are the state, the reason, the numbers of instances, and the
/// generation. If at least one of these parts has changed, `watch` prints a new line for the circuit. A change of the
/// times alone prints no line.
type Content = (String, String, (usize, usize), Option<tower_circuit_breaker::state::Generation>);

/// Prints the changes of the circuits that match `names`, or of all circuits if `names` is empty. If one query of the
/// store finds more than `limit` changes, one more line has the number of changes that are left out.
pub(crate) async fn run(operator: &Operator, page: &Page, names: &[String], limit: usize) -> Answer {
    let mut changes = operator.watch();
    let mut printed: BTreeMap<String, Content> = BTreeMap::new();
    let (mut answered, mut failing) = (false, false);
    for name in names.iter().filter(|name| beginning(name).is_none()) {
        match operator.show(name).await {
            // The command also watches a name without a record, because a circuit that has never failed has no record
            // yet.
            Err(refused @ Refused::NoRecord { .. }) => {
                let sentence = plain(&Failure::of_read(&refused).sentence);
                report(&format!("circuitctl: the watch continues, but {sentence}"));
            }
            Ok(_) => {}
            // The store has failed. The loop below reports the failure.
            Err(_) => break,
        }
    }
    loop {
        let change = tokio::select! {
            change = changes.next() => change,
            // The user ends the command with Ctrl-C.
            _ = tokio::signal::ctrl_c() => return Ok((String::new(), Code::Done)),
        };
        match change {
            Ok(change) => {
                if failing {
                    report("circuitctl: the store answers again");
                }
                (answered, failing) = (true, false);
                let mut lines = Lines { page, printed: &mut printed, names, listed: Vec::new() };
                lines.add(&change);
                while let Some(change) = changes.ready() {
                    lines.add(&change);
                }
                let text = lines.text(limit);
                if text.is_empty() {
                    continue;
                }
                match print(&text) {
                    Ok(()) => {}
                    // The reader has closed the pipe, as `| head -1` does.
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok((String::new(), Code::Done)),
                    Err(error) => {
                        return Err(Failure::new(
                            Code::Unprinted,
                            "unsaid",
                            format!("the line could not be written: {error}"),
                        ));
                    }
                }
            }
            // The store has never answered. The address is probably wrong, so the command ends.
            Err(error) if !answered => return Err(Failure::of_store(&error)),
            Err(error) => {
                if !failing {
                    let cause = plain(&address::hide(&error.chain()));
                    report(&format!("circuitctl: the store is unavailable and is tried again: {cause}"));
                }
                failing = true;
            }
        }
    }
}

/// Returns the text before the `*` at the end of a pattern, or `None` for the name of one circuit.
fn beginning(name: &str) -> Option<&str> {
    name.strip_suffix('*')
}

fn covers(name: &str, circuit: &str) -> bool {
    name == circuit || beginning(name).is_some_and(|beginning| circuit.starts_with(beginning))
}

/// Collects the lines for the changes that one query of the store finds. For the first query, all records are changes.
struct Lines<'a> {
    page: &'a Page,
    printed: &'a mut BTreeMap<String, Content>,
    names: &'a [String],
    /// The lines to print, each with a flag that is true if the circuit of the line needs attention.
    listed: Vec<(bool, String)>,
}

impl Lines<'_> {
    fn add(&mut self, change: &Change) {
        let wanted = self.names.is_empty() || self.names.iter().any(|name| covers(name, &change.name));
        let Some(line) = line(self.page, change, self.printed).filter(|_| wanted) else { return };
        let needs_attention = change.shown.as_ref().is_some_and(|shown| View::of(shown).needs_attention());
        self.listed.push((needs_attention, line));
    }

    /// Returns the lines as one text. If there are more than `limit` lines, the circuits that need attention come
    /// first, the lines after the first `limit` are left out, and a last line says how many are left out.
    fn text(mut self, limit: usize) -> String {
        let left_out = self.listed.len().saturating_sub(limit);
        if left_out > 0 {
            self.listed.sort_by_key(|(needs_attention, _)| !needs_attention);
            self.listed.truncate(limit);
            self.listed.push((false, self.page.changes_left_out(left_out)));
        }
        self.listed.into_iter().map(|(_, line)| line).collect()
    }
}

/// Returns the line for a change, or `None` if only the counts of calls in the record have changed. Each write of an
/// instance changes these counts, and a line for each write would hide the important changes.
fn line(page: &Page, change: &Change, printed: &mut BTreeMap<String, Content>) -> Option<String> {
    let Some(shown) = &change.shown else {
        printed.remove(&change.name);
        return Some(page.change(&change.name, None));
    };
    let view = View::of(shown);
    let generation = view.record.as_ref().ok().map(|record| record.latest());
    let Instances { tripped, known, .. } = view.instances();
    let now = (view.words(), view.reason(), (tripped, known), generation);
    let is_new = printed.get(&change.name) != Some(&now);
    printed.insert(change.name.clone(), now);
    is_new.then(|| page.change(&change.name, Some(&view)))
}
