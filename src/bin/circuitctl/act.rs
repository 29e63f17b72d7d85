//! One order to one circuit.

use std::time::Duration;

use tower_circuit_breaker::By;
use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::operation::{Kept, Operator, Order};

use crate::args::{Given, Target, What};
use crate::failure::{Code, Failure};
use crate::page::Page;
use crate::table::plain;
use crate::{Answer, complain};

pub(crate) async fn run(operator: &Operator, page: &Page, what: &What) -> Answer {
    let (given, order, hold) = ordered(what)?;
    let done = operator.operate(&given.name, &order).await;
    let done = done.map_err(|refused| Failure::of_order(&refused, &order))?;
    let mut code = Code::Done;
    if let Kept::Unaudited { why, .. } = &done.kept {
        let (why, id) = (plain(why), order.command_id());
        complain(&format!("circuitctl: it is done, but not in the audit: {why}; repeat it with --id {id}"));
        code = Code::Unaudited;
    }
    Ok((page.done(&given.name, &order, &done, hold), code))
}

/// Returns the order, and how long it holds by itself.
fn ordered(what: &What) -> Result<(&Given, Order, Option<Duration>), Failure> {
    let (given, mut order, create, hold) = match what {
        What::Trip { order, create, hold } => {
            let mut trip = Order::trip(&by(order)?);
            if let Some(hold) = hold {
                trip = trip.hold(*hold);
            }
            (order, trip, create.create, *hold)
        }
        What::Reset { order, create, to, force } => {
            let to = match to {
                Target::HalfOpen => To::HalfOpen,
                Target::Closed => To::Closed,
            };
            let reset = Order::reset(&by(order)?, to);
            (order, if *force { reset.force() } else { reset }, create.create, None)
        }
        What::Disable { order, create, hold } => {
            let disable = Order::disable(&by(order)?);
            let disable = match hold.hold {
                Some(hold) => disable.hold(hold),
                None => disable.indefinitely(),
            };
            (order, disable, create.create, hold.hold)
        }
        What::Resume { order } => (order, Order::resume(&by(order)?), false, None),
        What::Forget { order } => (order, Order::forget(&by(order)?), false, None),
        What::Status | What::Show { .. } | What::IsTripped { .. } | What::Audit { .. } | What::Watch { .. } => {
            unreachable!("these are no acts")
        }
    };
    if let Some(id) = &given.id {
        order = order.id(id);
    }
    if let Some(seen) = given.seen {
        order = order.seen(seen);
    }
    if create {
        order = order.create();
    }
    Ok((given, order, hold))
}

/// Who is asked for: an audit that says `unknown` would help nobody.
fn by(given: &Given) -> Result<By, Failure> {
    let login = || ["SUDO_USER", "USER", "LOGNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
    let user = given.user.clone().or_else(|| login().find(|user| !user.trim().is_empty()));
    let Some(user) = user else {
        return Err(Failure::new(Code::Usage, "usage", "nobody knows who you are: say it by --user NAME"));
    };
    By::new(&user, &given.reason).map_err(|error| Failure::new(Code::Usage, "usage", error.to_string()))
}
