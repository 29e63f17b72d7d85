//! The commands `trip`, `reset`, `disable`, `resume` and `forget`, which send an order to one circuit.

use std::env::VarError;
use std::time::Duration;

use tower_circuit_breaker::By;
use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::operation::{Kept, Operator, Order};
use tower_circuit_breaker::state::Act;

use crate::args::{Command, OrderArguments, Target};
use crate::failure::{Code, Failure};
use crate::page::Page;
use crate::table::plain;
use crate::{Answer, report};

pub(crate) async fn run(operator: &Operator, page: &Page, command: &Command) -> Answer {
    let (given, order, hold) = ordered(command)?;
    let done = operator.operate(&given.name, &order).await;
    let done = done.map_err(|refused| Failure::of_order(&refused, &order))?;
    let mut code = Code::Done;
    let id = order.command_id();
    match &done.kept {
        Kept::Unaudited { why, .. } => {
            let why = plain(why);
            report(&format!("circuitctl: the order is done, but not in the audit: {why}; repeat it with --id {id}"));
            code = Code::Unaudited;
        }
        Kept::Cached { durable, why, .. } => {
            let why = plain(why);
            report(&format!(
                "circuitctl: the order is in the cache, but not in {durable}: {why}; repeat it with --id {id}"
            ));
            code = Code::Unaudited;
        }
        Kept::Nowhere | Kept::Stored { .. } | Kept::Here { .. } | _ => {}
    }
    // The order is done. Therefore the command succeeds even if the reach (the number of instances that have applied
    // the order) cannot be loaded.
    let is_forgotten = order.act() == Act::Forget;
    let reach = if is_forgotten { None } else { operator.reach(&given.name, &order, PATIENCE).await.ok().flatten() };
    Ok((page.done(&given.name, &order, &done, hold, reach), code))
}

/// The longest time that a command waits for the instances to apply an order.
const PATIENCE: Duration = Duration::from_secs(2);

/// Returns the arguments of the command, the order to send, and the duration of the order's hold. The duration is
/// `None` for an order without a time limit.
fn ordered(command: &Command) -> Result<(&OrderArguments, Order, Option<Duration>), Failure> {
    let (given, mut order, create, hold) = match command {
        Command::Trip { order, create, hold } => {
            let mut trip = Order::trip(&by(order)?);
            if let Some(hold) = hold {
                trip = trip.hold(*hold);
            }
            (order, trip, create.create, *hold)
        }
        Command::Reset { order, create, to, force } => {
            let to = match to {
                Target::HalfOpen => To::HalfOpen,
                Target::Closed => To::Closed,
            };
            let reset = Order::reset(&by(order)?, to);
            (order, if *force { reset.force() } else { reset }, create.create, None)
        }
        Command::Disable { order, create, hold } => {
            let disable = Order::disable(&by(order)?);
            let disable = match hold.hold {
                Some(hold) => disable.hold(hold),
                None => disable.indefinitely(),
            };
            (order, disable, create.create, hold.hold)
        }
        Command::Resume { order } => (order, Order::resume(&by(order)?), false, None),
        Command::Forget { order } => (order, Order::forget(&by(order)?), false, None),
        Command::Status { .. }
        | Command::Show { .. }
        | Command::IsTripped { .. }
        | Command::Audit { .. }
        | Command::Members { .. }
        | Command::Watch { .. } => {
            unreachable!("`main` runs these commands, because they send no order")
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

/// If the user in `--user` differs from the login name, appends the login name to the instance name of this program.
/// The audit lists this program as an instance with that name. The program cannot verify the name in `--user`, so the
/// audit shows the login name too. The program cannot verify the login name either, because a person can set the
/// environment variables.
pub(crate) fn as_login(operator: Operator, command: &Command) -> Operator {
    let (Command::Trip { order, .. }
    | Command::Reset { order, .. }
    | Command::Disable { order, .. }
    | Command::Resume { order }
    | Command::Forget { order }) = command
    else {
        return operator;
    };
    match (&order.user, login()) {
        (Some(user), Ok(Some(login))) if user.trim() != login.trim() => operator.login(&login),
        _ => operator,
    }
}

/// Returns the login name. The name is the first value of `SUDO_USER`, `USER` and `LOGNAME` that is set and not blank.
///
/// # Errors
///
/// The name of a variable whose value is not UTF-8. The function does not try the next variable, because the next
/// variable could name another person.
fn login() -> Result<Option<String>, &'static str> {
    for name in ["SUDO_USER", "USER", "LOGNAME"] {
        match std::env::var(name) {
            Ok(user) if !user.trim().is_empty() => return Ok(Some(user)),
            Ok(_) | Err(VarError::NotPresent) => {}
            Err(VarError::NotUnicode(_)) => return Err(name),
        }
    }
    Ok(None)
}

/// Returns the user and the reason of an order. An order without a known user is refused, because the audit must show
/// who has given each order.
fn by(given: &OrderArguments) -> Result<By, Failure> {
    let unknown =
        |why: &str| Failure::new(Code::Usage, "usage", format!("the user is unknown, because {why}: use --user NAME"));
    let user = match (&given.user, login()) {
        (Some(user), _) => user.clone(),
        (None, Ok(Some(login))) => login,
        (None, Ok(None)) => return Err(unknown("SUDO_USER, USER and LOGNAME are not set")),
        (None, Err(variable)) => return Err(unknown(&format!("{variable} is not UTF-8"))),
    };
    By::new(&user, &given.reason).map_err(|error| Failure::new(Code::Usage, "usage", error.to_string()))
}
