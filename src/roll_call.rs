//! The names that settings expect circuits to have, and the report of names that no circuit has.
//!
//! A setting for a misspelt name has no effect, and the circuit silently has other settings. The circuits of a process
//! are not known in advance. Therefore a thread collects the expected names and the circuits that are created, until
//! ten seconds after the first circuit. Then the thread logs the expected names that no circuit has.
//!
//! Later expectations are not checked, because the circuits that were created before are not known.

mod roll;

use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::clock::{Clock, MonotonicClock, Tick};
use crate::telemetry;
use roll::Roll;

/// A name or a pattern that some circuit should have, or a circuit that may have an expected name.
#[derive(Debug)]
#[cfg_attr(
    not(all(feature = "settings", feature = "keyed")),
    expect(dead_code, reason = "features create the variants")
)]
pub(crate) enum Call {
    /// A name of a variable that is a list with commas.
    Listed { name: String, variable: &'static str },
    /// A name with a setting, which is shown as in `circuits.payments of app.toml`.
    Set { name: String, kind: Kind, setting: String },
    /// A name for which settings were requested.
    Requested(String),
    /// The name of a new circuit.
    Created(String),
    /// The beginning of names of circuits that come with requests, and thus perhaps later.
    Keyed(String),
}

/// The kind of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "store"), expect(dead_code, reason = "features create the variants"))]
pub(crate) enum Kind {
    /// A table of the settings.
    Table,
    /// A time to live of a registry.
    Ttl,
}

/// Expects the names, and starts the thread with the first one.
pub(crate) fn expect(names: impl IntoIterator<Item = Call>) {
    for name in names {
        let roll = ROLL.get_or_init(|| {
            let (sender, calls) = channel();
            let check = move || collect(&calls, WAIT).lines().iter().for_each(|line| telemetry::warn(line));
            // If the thread cannot be started, the names are not checked. No setting needs the thread.
            let thread = std::thread::Builder::new().name("circuit names".to_owned()).spawn(check);
            thread.is_ok().then_some(sender)
        });
        send(roll.as_ref(), name);
    }
}

/// Notes circuits, or drops the note if no name is expected yet.
pub(crate) fn note(circuits: impl FnOnce() -> Call) {
    if let Some(roll) = ROLL.get() {
        send(roll.as_ref(), circuits());
    }
}

fn send(roll: Option<&Sender<Call>>, call: Call) {
    if let Some(sender) = roll {
        // After the check the thread has ended, and the send fails.
        sender.send(call).ok();
    }
}

static ROLL: OnceLock<Option<Sender<Call>>> = OnceLock::new();

/// Returns the calls that are received until this time has passed since the first circuit.
fn collect(calls: &Receiver<Call>, wait: Duration) -> Roll {
    let clock = MonotonicClock::new();
    let (mut roll, mut until) = (Roll::default(), None::<Tick>);
    loop {
        let call = match until {
            None => calls.recv().ok(),
            Some(until) => calls.recv_timeout(until.saturating_since(clock.now())).ok(),
        };
        let Some(call) = call else { return roll };
        if until.is_none() && matches!(call, Call::Created(_)) {
            until = Some(clock.now().saturating_add(wait));
        }
        roll.add(call);
    }
}

/// The time after the first circuit in which the circuits of a process should be created.
const WAIT: Duration = Duration::from_secs(10);

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_circuits_are_collected_until_the_time_is_over() {
        let (sender, calls) = channel();
        for name in ["a", "b", "a"] {
            sender.send(Call::Created(name.to_owned())).unwrap();
        }
        assert_eq!(collect(&calls, Duration::from_millis(1)).created(), 2);
        drop(sender);
        assert!(collect(&calls, Duration::from_secs(3600)).created() == 0, "no circuit can come any more");
    }
}
