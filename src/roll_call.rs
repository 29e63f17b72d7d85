//! The report of configured names that no circuit has and that are therefore probably misspelt. Such names are in the
//! tables of the settings, in the times to live that a registry has for single circuits (`ttl_of`), and in the kill
//! switch (`CIRCUIT_BREAKER_DISABLED`).
//!
//! A setting with a misspelt name has no effect on the intended circuit, and nothing else reports the mistake. The
//! circuits of a process are not known when the settings are read. Therefore a thread collects the expected names and
//! the names of created circuits until ten seconds after the first circuit. Then the thread logs the expected names
//! that no circuit has, and ends. Later names are not checked.

mod roll;

use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::clock::{Clock, MonotonicClock, Tick};
use crate::telemetry;
use roll::Roll;

/// A message to the thread that checks names, with an expected name, or with the name or the prefix of circuits.
#[derive(Debug)]
#[cfg_attr(
    not(all(feature = "settings", feature = "keyed")),
    expect(dead_code, reason = "features create the variants")
)]
pub(crate) enum Call {
    /// An expected name from an environment variable whose value is a list with commas.
    Listed { name: String, variable: &'static str },
    /// The expected name of a setting. `setting` is the text for the log, such as `circuits.payments of app.toml`.
    Set { name: String, kind: Kind, setting: String },
    /// The name of a circuit for which the program requested settings.
    Requested(String),
    /// The name of a new circuit.
    Created(String),
    /// The prefix of the names of keyed circuits. The keys come from requests to the service, so these circuits may be
    /// created at any later time.
    Keyed(String),
}

/// The kind of a setting that names circuits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "store"), expect(dead_code, reason = "features create the variants"))]
pub(crate) enum Kind {
    /// A table of a circuit in the settings.
    Table,
    /// A time to live in the settings of a registry.
    Ttl,
}

/// Adds expected names. The first expected name starts the thread.
pub(crate) fn expect(names: impl IntoIterator<Item = Call>) {
    for name in names {
        let roll = ROLL.get_or_init(|| {
            let (sender, calls) = channel();
            let check = move || collect(&calls, WAIT).lines().iter().for_each(|line| telemetry::warn(line));
            // If the thread cannot be started, the names are not checked. No setting depends on the thread.
            let thread = std::thread::Builder::new().name("circuit names".to_owned()).spawn(check);
            thread.is_ok().then_some(sender)
        });
        send(roll.as_ref(), name);
    }
}

/// Calls `circuits` and sends the returned message to the thread. Does nothing before the first expected name, because
/// there is no thread yet.
pub(crate) fn note(circuits: impl FnOnce() -> Call) {
    if let Some(roll) = ROLL.get() {
        send(roll.as_ref(), circuits());
    }
}

fn send(roll: Option<&Sender<Call>>, call: Call) {
    if let Some(sender) = roll {
        // The send fails if the thread has ended after the check. The message is then dropped.
        sender.send(call).ok();
    }
}

static ROLL: OnceLock<Option<Sender<Call>>> = OnceLock::new();

/// Collects the messages until the time `wait` has passed since the first circuit was created.
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

/// The time after the creation of the first circuit within which a process should have created its other circuits.
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
