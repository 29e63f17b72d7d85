//! Random operations: what callers, time and operators do to a circuit.

use std::time::Duration;

use proptest::option;
use proptest::prelude::*;
use tower_circuit_breaker::circuit::To;

#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    /// Some calls, each of which ends at once.
    Calls {
        times: u32,
        ending: Ending,
        thread: usize,
    },
    /// A call that begins, and ends later.
    Begin {
        thread: usize,
    },
    /// The end of one of the calls that have begun.
    End {
        permit: usize,
        ending: Ending,
    },
    /// Milliseconds pass.
    Wait(u64),
    /// Time passes until something falls due, or a millisecond less or more.
    WaitUntilDue {
        which: usize,
        offset: i8,
    },
    Trip {
        hold: Option<u64>,
    },
    Disable {
        hold: Option<u64>,
    },
    Shadow,
    Resume,
    Reset(To),
    /// Many eras in no time: as many as the tags of the evidence tell apart, and more than the circuit remembers.
    ManyEras(u32),
    /// Another instance's record says what the circuit already is.
    AdoptEqual {
        restored: bool,
    },
    /// Another circuit of the group begins, if there is a group.
    Join,
    /// Another circuit of the group is dropped, or a call of it fails, or an operator resets it.
    Neighbour {
        which: usize,
        act: Neighbourly,
    },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Neighbourly {
    Leave,
    Fail,
    Reset,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Ending {
    Success,
    Failure {
        hundredths: u32,
        retry_after: Option<Duration>,
    },
    Ignored,
    /// The caller gives up.
    Dropped,
    /// The permit is dropped behind an error.
    Unrecorded,
    /// A deadline of the caller ends the call. In milliseconds.
    Deadline(u64),
}

pub(super) fn operation() -> impl Strategy<Value = Operation> {
    let thread = || prop_oneof![4 => Just(0_usize), 1 => 1_usize..=2];
    let times = prop_oneof![3 => Just(1_u32), 1 => 1_u32..=12];
    let hold = || option::of(0_u64..=3_000);
    let wait = prop_oneof![3 => 1_u64..=50, 2 => 50_u64..=2_000, 1 => 2_000_u64..=400_000];
    // The first is what the circuit itself waits for.
    let which = prop_oneof![Just(0_usize), 0_usize..8];
    let to = prop::sample::select(vec![To::HalfOpen, To::Closed]);
    prop_oneof![
        90 => (times, ending(), thread()).prop_map(|(times, ending, thread)| Operation::Calls { times, ending, thread }),
        50 => thread().prop_map(|thread| Operation::Begin { thread }),
        50 => (0_usize..8, ending()).prop_map(|(permit, ending)| Operation::End { permit, ending }),
        30 => wait.prop_map(Operation::Wait),
        60 => (which, -1_i8..=1).prop_map(|(which, offset)| Operation::WaitUntilDue { which, offset }),
        4 => hold().prop_map(|hold| Operation::Trip { hold }),
        4 => hold().prop_map(|hold| Operation::Disable { hold }),
        3 => Just(Operation::Shadow),
        6 => Just(Operation::Resume),
        6 => to.prop_map(Operation::Reset),
        1 => (1_u32..=300).prop_map(Operation::ManyEras),
        6 => any::<bool>().prop_map(|restored| Operation::AdoptEqual { restored }),
        10 => Just(Operation::Join),
        25 => (0_usize..8, neighbourly()).prop_map(|(which, act)| Operation::Neighbour { which, act }),
    ]
}

fn neighbourly() -> impl Strategy<Value = Neighbourly> {
    prop_oneof![1 => Just(Neighbourly::Leave), 4 => Just(Neighbourly::Fail), 3 => Just(Neighbourly::Reset)]
}

fn ending() -> impl Strategy<Value = Ending> {
    let weight = prop_oneof![3 => Just(100_u32), 2 => Just(50_u32), 1 => 1_u32..=100];
    prop_oneof![
        6 => Just(Ending::Success),
        8 => (weight, option::weighted(0.15, retry_after()))
            .prop_map(|(hundredths, retry_after)| Ending::Failure { hundredths, retry_after }),
        2 => Just(Ending::Ignored),
        3 => Just(Ending::Dropped),
        3 => Just(Ending::Unrecorded),
        2 => prop_oneof![0_u64..=100, 0_u64..=2_000].prop_map(Ending::Deadline),
    ]
}

/// Short ones, some around the cap of five minutes, and nonsense.
fn retry_after() -> impl Strategy<Value = Duration> {
    prop_oneof![
        4 => (0_u64..=5_000).prop_map(Duration::from_millis),
        1 => (299_999_u64..=300_001).prop_map(Duration::from_millis),
        1 => Just(Duration::MAX),
    ]
}
