//! How a circuit calls the coordinator: a waker of its own, that says which one it was.

use std::sync::Arc;
use std::task::Wake;

use super::shared::Shared;

/// The waker of one circuit.
#[derive(Debug)]
pub(super) struct Bell {
    pub(super) desk: usize,
    pub(super) shared: Arc<Shared>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.shared.ring(self.desk);
    }
}
