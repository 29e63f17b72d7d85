//! The output of each `circuitctl` command. The output is text for people or, with `--json`, a JSON document from the
//! module `document`.

use std::time::Duration;

use serde_json::json;
use tower_circuit_breaker::operation::{Done, Kept, Order, Reach};
use tower_circuit_breaker::record::{CircuitRecord, Timestamp};
use tower_circuit_breaker::state::{Act, Mode};
use tower_circuit_breaker::store::AuditRow;

use crate::document;
use crate::table::{Colour, Table, painted, plain};
use crate::time::{brief, utc};
use crate::view::{End, Instances, View, colour, end_of, word};

/// The form of the output: JSON, or text with or without colours.
pub(crate) struct Page {
    pub(crate) json: bool,
    pub(crate) colour: bool,
}

impl Page {
    /// Returns the output of `status`: one row for each view, and the number of further circuits that are left out.
    pub(crate) fn status(&self, views: &[View<'_>], left_out: usize) -> String {
        if self.json {
            let circuits: Vec<_> = views.iter().map(document::circuit).collect();
            let now = views.first().map(|view| view.now);
            return document::line(&json!({ "circuits": circuits, "now": now, "left_out": left_out }));
        }
        if views.is_empty() && left_out == 0 {
            return "the store has no record, because a circuit that never failed has none\n".to_owned();
        }
        // If no circuit has a fleet, the table has no FLEET column.
        let fleet = if views.iter().any(|view| view.fleet.is_some()) { &["FLEET"][..] } else { &[] };
        let mut table = Table::new(&[&["CIRCUIT", "STATE", "UNTIL"], fleet, &["INSTANCES", "AGE", "REASON"]].concat());
        for view in views {
            let mut row = vec![
                (view.name.to_owned(), Colour::None),
                (view.words(), view.colour()),
                (until(view.end()), Colour::None),
            ];
            row.extend(fleet.iter().map(|_| (or_dash(view.fleet_words()), Colour::None)));
            row.extend([
                (instances(view), Colour::None),
                (age(view.since(), view.now), Colour::None),
                (or_dash(view.reason()), Colour::None),
            ]);
            table.row(row);
        }
        let more = if left_out > 0 { format!("{left_out} more circuits: --limit shows more\n") } else { String::new() };
        table.lines(0, self.colour) + &more
    }

    pub(crate) fn show(&self, view: &View<'_>) -> String {
        if self.json {
            return document::line(&document::shown(view));
        }
        let mut text = format!("{}\n", plain(view.name));
        let mut line = |key: &str, value: &str| text.push_str(&format!("  {key:<12} {value}\n"));
        let state = painted(&view.words(), if self.colour { view.colour() } else { Colour::None });
        let Ok(record) = view.record else {
            line("state", &state);
            line("problem", &plain(&view.reason()));
            return text;
        };
        line(
            "state",
            &match until(view.end()).as_str() {
                "-" => state,
                until => format!("{state}, until {until}"),
            },
        );
        let ago = |at: Timestamp| format!("{} UTC, {} ago", utc(at), brief(view.now.since(at)));
        line("since", &view.since().map_or_else(|| "the circuit has never changed".to_owned(), ago));
        line("reason", &plain(&or_dash(view.reason())));
        if view.mode() != Some(Mode::Automatic) {
            let because = if record.reason.is_empty() { String::new() } else { format!(": {}", plain(&record.reason)) };
            line("beneath", &format!("{}{because}", record.state));
        }
        match &record.operator {
            Some(last) => {
                let to = if last.act == Act::Reset { format!(" to {}", last.to) } else { String::new() };
                let act = format!("{}{to} by {}: {}; {}", last.act, last.user, last.reason, ago(last.at));
                line("last act", &plain(&act));
            }
            None => line("last act", "none"),
        }
        if record.half_open_attempts > 0 {
            line("openings", &format!("{} in a row", record.half_open_attempts));
        }
        if let Some(fleet) = &view.fleet {
            let end = match until(view.end_of_fleet()).as_str() {
                "-" => String::new(),
                until => format!(", until {until}"),
            };
            line("fleet", &format!("{}{end}", view.fleet_words()));
            if let Some(decided_for) = fleet.decided_for {
                let decided = format!("{}, by {}, {} ago", fleet.reason, fleet.instance, brief(decided_for));
                line("decision", &plain(&decided));
            }
        }
        line("calls", &format!("{} failed, {} succeeded", record.total_failures, record.total_successes));
        line("last failure", &record.last_failure_at.map_or_else(|| "none".to_owned(), ago));
        line("generation", &record.latest().to_string());
        if !record.instances.is_empty() {
            text.push('\n');
            let fleet = if view.fleet.is_some() { &["VOTES", "LEASE"][..] } else { &[] };
            let first = &["INSTANCE", "STATE", "UNTIL"][..];
            let rest = &["IN A ROW", "IN THE WINDOW", "WRITTEN", "OPENED BECAUSE"];
            let mut table = Table::new(&[first, fleet, rest].concat());
            // An operator's hold applies to every instance at once. Therefore the mode of each instance comes from the
            // record of the circuit. The entry of an instance can still have the mode from before the hold.
            let mode = view.mode().unwrap_or(Mode::Automatic);
            for (id, entry) in &record.instances {
                let (word, shown) = match word(record.state_of(entry), mode) {
                    _ if entry.is_gone(view.now) => ("gone", format!("gone, was {}", entry.state)),
                    word if entry.is_silent(view.now) => (word, format!("{word}, silent")),
                    word => (word, word.to_owned()),
                };
                let end = if word == "gone" { End::None } else { end_of(record, entry, mode, view.now) };
                let window = format!("{:.1} failed of {}", entry.score, entry.calls);
                let slow = if entry.slow > 0 { format!(", {} slow", entry.slow) } else { String::new() };
                let mut row = vec![
                    (id.clone(), Colour::None),
                    (shown, if word == "gone" { Colour::None } else { colour(word) }),
                    (until(end), Colour::None),
                ];
                if view.fleet.is_some() {
                    row.extend([(vote(view, id), Colour::None), (lease(view, id), Colour::None)]);
                }
                row.extend([
                    (format!("{:.1} failed", entry.run), Colour::None),
                    (window + &slow, Colour::None),
                    (format!("{} ago", brief(view.now.since(entry.updated_at))), Colour::None),
                    (or_dash(entry.opening().map_or_else(String::new, |opening| opening.reason.clone())), Colour::None),
                ]);
                table.row(row);
            }
            text.push_str(&table.lines(2, self.colour));
            if record.instances.len() >= CircuitRecord::MAX_INSTANCES {
                text.push_str(&format!("  a record keeps the latest {} instances\n", CircuitRecord::MAX_INSTANCES));
            }
        }
        text
    }

    pub(crate) fn is_tripped(&self, view: &View<'_>, tripped: bool) -> String {
        if self.json {
            return document::line(&json!({ "name": view.name, "tripped": tripped, "state": view.word() }));
        }
        let is = if tripped { "is" } else { "is not" };
        format!("{} {is} tripped: {}\n", plain(view.name), view.words())
    }

    pub(crate) fn done(
        &self,
        name: &str,
        order: &Order,
        done: &Done,
        hold: Option<Duration>,
        reach: Option<Reach>,
    ) -> String {
        if self.json {
            return document::line(&document::done(name, order, done, reach));
        }
        let name = plain(name);
        if done.repeated {
            let act = order.act().as_str();
            return format!(
                "nothing was done now, because the same {act} of `{name}` was carried out before; `show` has the state\n"
            );
        }
        if order.act() == Act::Forget {
            return format!("`{name}` is forgotten; an instance that still has the circuit writes a new record\n");
        }
        let until = match (order.act(), hold) {
            (_, Some(hold)) => format!(" for {}", brief(hold)),
            (Act::Trip, None) => " until a reset".to_owned(),
            (Act::Disable, None) => " until a resume".to_owned(),
            _ => String::new(),
        };
        // The texts for `Unaudited` and `Cached` leave out the cause, because `act.rs` writes the cause to stderr.
        let kept = match done.kept {
            Kept::Unaudited { .. } => "the act is stored without its row of the audit".to_owned(),
            Kept::Cached { .. } => "the act is in the cache only".to_owned(),
            Kept::Nowhere | Kept::Stored { .. } | Kept::Here { .. } | _ => done.kept.to_string(),
        };
        let reach = reach.map_or_else(|| "the instances were not seen".to_owned(), |reach| reach.to_string());
        format!("`{name}` is {}{until}: {kept}; {reach}\n", order.act())
    }

    /// Returns the output of `audit`. `more` is true if the audit has older rows that match the filter.
    pub(crate) fn audit(&self, rows: &[AuditRow], more: bool) -> String {
        if self.json {
            return document::line(&document::audit(rows, more));
        }
        if rows.is_empty() {
            return "no row of the audit matches\n".to_owned();
        }
        let mut table = Table::new(&["TIME (UTC)", "CIRCUIT", "ACTION", "USER", "INSTANCE", "REASON"]);
        for row in rows {
            let cells = [&utc(row.timestamp), &row.service, &row.action, row.user.as_deref().unwrap_or("-")];
            let cells = cells.into_iter().chain([row.instance.as_str(), row.reason.as_str()]);
            table.row(cells.map(|text| (or_dash(text.to_owned()), Colour::None)).collect());
        }
        let older = if more { "older rows are left out: --limit shows more\n" } else { "" };
        table.lines(0, self.colour) + older
    }

    /// Returns the line that `watch` prints if one query found more changes than the limit. The line has the number of
    /// changes that are left out.
    pub(crate) fn changes_left_out(&self, left_out: usize) -> String {
        if self.json {
            return document::line(&json!({ "left_out": left_out }));
        }
        format!(
            "{left_out} more changes: --limit shows more, and names or a pattern such as 'host:*' select circuits\n"
        )
    }

    /// Returns the line that `watch` prints for a changed circuit. Without a view, the line reports that the record was
    /// deleted.
    pub(crate) fn change(&self, name: &str, view: Option<&View<'_>>) -> String {
        let Some(view) = view else {
            return if self.json {
                document::line(&json!({ "name": name, "forgotten": true }))
            } else {
                format!("{:8}  {}  forgotten\n", "", plain(name))
            };
        };
        if self.json {
            let mut circuit = document::circuit(view);
            circuit["now"] = json!(view.now);
            return document::line(&circuit);
        }
        let at = utc(view.now);
        let state = painted(&view.words(), if self.colour { view.colour() } else { Colour::None });
        let until = match until(view.end()).as_str() {
            "-" => String::new(),
            until => format!(" until {until}"),
        };
        let instances = match instances(view).as_str() {
            "-" => String::new(),
            instances => format!(" ({instances})"),
        };
        let reason = match view.reason().as_str() {
            "" => String::new(),
            reason => format!(": {}", plain(reason)),
        };
        format!("{}  {}  {state}{until}{instances}{reason}\n", &at[11..], plain(view.name))
    }
}

/// Describes the event that ends a state, in words that fit behind "until".
fn until(end: End) -> String {
    match end {
        End::None => "-".to_owned(),
        End::At { left, at } => format!("{} (in {})", &utc(at)[11..], brief(left)),
        End::NextCall => "the next call".to_owned(),
        End::Reset => "a reset".to_owned(),
        End::Resume => "a resume".to_owned(),
    }
}

/// Returns the vote of an instance with the time until the vote ends, or a dash if the instance has no vote.
fn vote(view: &View<'_>, id: &str) -> String {
    view.vote(id).map_or_else(|| "-".to_owned(), |left| format!("yes, {} left", brief(left)))
}

/// Describes the lease of an instance (the right to send probes) with the results of the probes, or returns a dash if
/// the instance has no lease.
fn lease(view: &View<'_>, id: &str) -> String {
    let Some(lease) = view.lease(id) else { return "-".to_owned() };
    let left = lease.left.map(|left| format!("{} left", brief(left)));
    let passed = (lease.passed > 0).then(|| format!("{} passed", lease.passed));
    let failed = lease.failed.then(|| "failed".to_owned());
    or_dash([left, passed, failed].into_iter().flatten().collect::<Vec<_>>().join(", "))
}

fn instances(view: &View<'_>) -> String {
    let Instances { known, tripped, silent, .. } = view.instances();
    match view.mode() {
        _ if known == 0 => "-".to_owned(),
        Some(Mode::ForcedOpen | Mode::Disabled) => format!("{known} of {known} held"),
        // The number of silent instances (closed, and no write for 15 minutes) is shown only if other instances are
        // tripped. In that case the service may be down for the silent instances too.
        _ if tripped > 0 && silent > 0 => format!("{tripped} of {known} tripped, {silent} silent"),
        _ => format!("{tripped} of {known} tripped"),
    }
}

fn age(since: Option<Timestamp>, now: Timestamp) -> String {
    since.map_or_else(|| "-".to_owned(), |since| brief(now.since(since)))
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}
