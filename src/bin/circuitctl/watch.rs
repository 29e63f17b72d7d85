//! Changes, a line each, as they happen.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use tower_circuit_breaker::operation::{Change, Operator};

use crate::failure::{Code, Failure};
use crate::page::Page;
use crate::table::plain;
use crate::view::View;
use crate::{Answer, address, complain, say};

/// What a line says, but for how long it still lasts.
type Said = (String, String, (usize, usize), Option<tower_circuit_breaker::state::Generation>);

pub(crate) async fn run(operator: &Operator, page: &Page, names: &[String]) -> Answer {
    let mut changes = operator.watch();
    let mut said: BTreeMap<String, Said> = BTreeMap::new();
    let (mut heard, mut away) = (false, false);
    loop {
        let change = tokio::select! {
            change = changes.next() => change,
            // A person who has seen enough.
            _ = tokio::signal::ctrl_c() => return Ok((String::new(), Code::Done)),
        };
        match change {
            Ok(change) => {
                if away {
                    complain("circuitctl: the store answers again");
                }
                (heard, away) = (true, false);
                let wanted = names.is_empty() || names.contains(&change.name);
                let Some(line) = told(page, &change, &mut said).filter(|_| wanted) else { continue };
                match say(&line) {
                    Ok(()) => {}
                    // Nobody reads any more.
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok((String::new(), Code::Done)),
                    Err(error) => {
                        return Err(Failure::new(Code::Unsaid, "unsaid", format!("it could not be written: {error}")));
                    }
                }
            }
            // At the start it is more likely a wrong address than an outage.
            Err(error) if !heard => return Err(Failure::of_store(&error)),
            Err(error) => {
                if !away {
                    let why = plain(&address::hide(&error.chain()));
                    complain(&format!("circuitctl: the store is away, and is asked again: {why}"));
                }
                away = true;
            }
        }
    }
}

/// Returns the line of a change, if it says something new: counts alone do not.
fn told(page: &Page, change: &Change, said: &mut BTreeMap<String, Said>) -> Option<String> {
    let Some(shown) = &change.shown else {
        said.remove(&change.name);
        return Some(page.change(&change.name, None));
    };
    let view = View::of(shown);
    let generation = view.record.as_ref().ok().map(|record| record.latest());
    let now = (view.words(), view.reason(), view.instances(), generation);
    let is_new = said.get(&change.name) != Some(&now);
    said.insert(change.name.clone(), now);
    is_new.then(|| page.change(&change.name, Some(&view)))
}
