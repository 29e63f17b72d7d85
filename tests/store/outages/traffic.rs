//! Calls that go on during a whole test, from a thread that knows nothing of the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tower_circuit_breaker::state::{Mode, Standing};
use tower_circuit_breaker::{Circuit, Outcome, State};

/// Ends when it is dropped, and fails the test then if a call had an answer that was not the circuit's own.
pub(super) struct Traffic {
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    caller: Option<JoinHandle<u64>>,
}

impl Traffic {
    pub(super) fn through(circuit: &Circuit) -> Self {
        let (circuit, answered, stop) = (circuit.clone(), Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (count, ended) = (Arc::clone(&answered), Arc::clone(&stop));
        let caller = std::thread::spawn(move || {
            let mut tried = 0;
            while !ended.load(Ordering::Relaxed) {
                tried += 1;
                call(&circuit);
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
            tried
        });
        Self { answered, stop, caller: Some(caller) }
    }

    /// Waits until a hundred more calls have had their answer: none of them waits for what is out of order now.
    pub(super) async fn goes_on(&self) {
        let before = self.answered.load(Ordering::Relaxed);
        super::eventually("a hundred calls go through", async || self.answered.load(Ordering::Relaxed) >= before + 100)
            .await;
    }
}

/// Makes one call that changes nothing.
fn call(circuit: &Circuit) {
    let before = circuit.status().standing();
    let admitted = circuit.try_acquire().map(|permit| permit.record(Outcome::Ignored)).is_ok();
    let after = circuit.status().standing();
    // In between it may have been either.
    if before == after {
        assert_eq!(admitted, admits(after), "the circuit is {after}");
    }
}

fn admits(standing: Standing) -> bool {
    match standing.mode {
        Mode::Automatic => standing.state != State::Open,
        Mode::ForcedOpen => false,
        Mode::Disabled | Mode::Shadow => true,
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.caller.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            let tried = ended.unwrap().expect("each call is answered by the circuit");
            assert_eq!(tried, self.answered.load(Ordering::Relaxed), "each call was answered");
        }
    }
}
