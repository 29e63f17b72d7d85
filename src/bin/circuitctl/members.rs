//! The command `members`, which lists the members of fleets with the time of each member's last heartbeat.

use serde_json::{Value, json};
use tower_circuit_breaker::operation::{Membership, Operator};
use tower_circuit_breaker::record::Member;

use crate::failure::{Code, Failure};
use crate::page::Page;
use crate::table::{Colour, Table, plain};
use crate::time::brief;
use crate::{Answer, document};

/// Lists the members of one fleet, or of all fleets.
pub(crate) async fn run(operator: &Operator, page: &Page, fleet: Option<&str>, limit: usize) -> Answer {
    let mut fleets = operator.members(fleet).await.map_err(|error| Failure::of_store(&error))?;
    let left_out = bound(&mut fleets, limit);
    let text =
        if page.json { document::line(&shown(&fleets, left_out)) } else { table(page, &fleets, fleet, left_out) };
    Ok((text, Code::Done))
}

/// Cuts the lists of members to at most `limit` members in total, and returns the number of removed members. The first
/// fleets in the list keep their members. If a fleet can keep only some members, live members are kept first.
fn bound(fleets: &mut [Membership], limit: usize) -> usize {
    let (mut room, mut left_out) = (limit, 0);
    for members in fleets.iter_mut().filter_map(|fleet| fleet.members.as_mut().ok()) {
        if members.len() > room {
            members.sort_by_key(|member| !member.live);
            left_out += members.len() - room;
            members.truncate(room);
        }
        room -= members.len();
    }
    left_out
}

fn table(page: &Page, fleets: &[Membership], fleet: Option<&str>, left_out: usize) -> String {
    if fleets.is_empty() {
        let of = fleet.map_or_else(|| "any fleet".to_owned(), |fleet| format!("the fleet `{}`", plain(fleet)));
        return format!("the store has seen no instance of {of} within the last hour\n");
    }
    let mut table = Table::new(&["FLEET", "INSTANCE", "STATE", "SEEN", "STARTED", "VERSION"]);
    for Membership { fleet, members, now, .. } in fleets {
        let members = match members {
            Ok(members) => members,
            Err(problem) => {
                let cells = [fleet.as_str(), "-", "unreadable", "-", "-", &problem.to_string()].map(str::to_owned);
                table.row(cells.map(|cell| (cell, Colour::None)).to_vec());
                continue;
            }
        };
        for member in members {
            let ago = |at| format!("{} ago", brief(now.since(at)));
            let (word, colour) = state(member);
            table.row(vec![
                (fleet.clone(), Colour::None),
                (member.id.clone(), Colour::None),
                (word.to_owned(), colour),
                (ago(member.last_seen), Colour::None),
                (member.since.map_or_else(|| "-".to_owned(), ago), Colour::None),
                (member.version.clone().unwrap_or_else(|| "-".to_owned()), Colour::None),
            ]);
        }
    }
    let more = if left_out > 0 { format!("{left_out} more members: --limit shows more\n") } else { String::new() };
    table.lines(0, page.colour) + &more
}

fn shown(fleets: &[Membership], left_out: usize) -> Value {
    let member = |member: &Member| {
        json!({
            "id": member.id,
            "state": state(member).0,
            "live": member.live,
            "since": member.since,
            "last_seen": member.last_seen,
            "version": member.version,
        })
    };
    let of = |fleet: &Membership| {
        let members = fleet.members.as_ref().ok();
        json!({
            "fleet": fleet.fleet,
            "members": members.map(|members| members.iter().map(member).collect::<Vec<_>>()),
            "problem": fleet.members.as_ref().err().map(ToString::to_string),
        })
    };
    let now = fleets.first().map(|fleet| fleet.now);
    json!({ "fleets": fleets.iter().map(of).collect::<Vec<_>>(), "now": now, "left_out": left_out })
}

/// Returns the state of a member as a word, with a colour. A member that is "gone" has ended without a shutdown, or
/// cannot reach the store.
const fn state(member: &Member) -> (&'static str, Colour) {
    match (member.live, member.stopped) {
        (true, _) => ("live", Colour::Green),
        (false, true) => ("stopped", Colour::None),
        (false, false) => ("gone", Colour::Yellow),
    }
}
