//! How a circuit calls the coordinator: a waker of its own, that says which one it was.

use std::sync::{Arc, Weak};
use std::task::Wake;

use super::shared::Shared;

/// The waker of one circuit.
#[derive(Debug)]
pub(super) struct Bell {
    pub(super) desk: usize,
    /// Weak, as it hangs on the circuit: else store and circuits would keep each other alive.
    pub(super) shared: Weak<Shared>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if let Some(shared) = self.shared.upgrade() {
            shared.ring(self.desk);
        }
    }
}
