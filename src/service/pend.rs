//! The wait of a service in `poll_ready` until its circuit lets calls through again, or until the circuit is restored.

use std::task::{Context, Poll, ready};

use crate::call::Wait;
use crate::circuit::{Circuit, Peek};

/// The wait of one service for its circuit. `None` while the service does not wait.
#[derive(Debug)]
pub(super) struct Pend(Option<Wait>);

impl Pend {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// Waits until the circuit lets a call pass. Ready immediately if a call may pass now.
    ///
    /// # Cancel safety
    ///
    /// If the task stops polling, the circuit wakes the task at most once more. If the service is dropped, the circuit
    /// drops the waker of the task.
    pub(super) fn poll(&mut self, circuit: &Circuit, context: &mut Context<'_>) -> Poll<()> {
        if circuit.peek() != Peek::MayPass {
            ready!(self.0.get_or_insert_with(|| Wait::new(circuit)).poll(context));
        }
        self.0 = None;
        Poll::Ready(())
    }

    /// Waits until the circuit is restored from the store. Returns the decision of the circuit about a call that would
    /// come now.
    ///
    /// # Cancel safety
    ///
    /// If the task stops polling, the circuit wakes the task at most once more. If the service is dropped, the circuit
    /// drops the waker of the task.
    pub(super) fn poll_restored(&mut self, circuit: &Circuit, context: &mut Context<'_>) -> Poll<Peek> {
        // Perhaps `poll_ready` does not call this function again after the restore. Then `self.0` may keep the finished
        // wait until the service is dropped. This does no harm, because the restore has already removed the waker of
        // the wait from the circuit.
        let peek = ready!(self.0.get_or_insert_with(|| Wait::new(circuit)).poll_restored(context));
        self.0 = None;
        Poll::Ready(peek)
    }
}

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use std::sync::Arc;
    use std::task::{Wake, Waker};

    use tower::{Layer, Service};
    use tower_test::mock::{self, Handle, Spawn};

    use super::*;
    use crate::circuit::To;
    use crate::config::Config;
    use crate::layer::CircuitBreakerLayer;
    use crate::service::{CircuitBreaker, WhenOpen};
    use crate::state::By;

    type Mock = mock::Mock<(), ()>;

    const BOTH: [WhenOpen; 2] = [WhenOpen::Reject, WhenOpen::Pend];

    fn circuit() -> Circuit {
        Circuit::new(Config::classic("orders").build().expect("they are valid"))
    }

    /// Returns a service whose inner service is ready for one call.
    fn service(circuit: &Circuit, when_open: WhenOpen) -> (CircuitBreaker<Mock>, Handle<(), ()>) {
        let (inner, mut handle) = mock::pair();
        handle.allow(1);
        (CircuitBreakerLayer::new(circuit).when_open(when_open).layer(inner), handle)
    }

    fn by() -> By {
        By::new("alice", "a test").expect("it is valid")
    }

    #[test]
    fn the_restore_wakes_a_service_that_has_not_polled_its_inner_service() {
        for when_open in BOTH {
            let circuit = circuit();
            circuit.await_restore();
            let (service, mut handle) = service(&circuit, when_open);
            // If the inner service is polled too early, `poll_ready` returns this error.
            handle.send_error("polled too early");
            let mut service = Spawn::new(service);
            for _ in 0..3 {
                assert!(service.poll_ready::<()>().is_pending(), "{when_open:?}");
            }
            assert!(!service.is_woken(), "{when_open:?}");
            circuit.restored();
            assert!(service.is_woken(), "{when_open:?}");
            let ready = service.poll_ready::<()>();
            assert!(matches!(ready, Poll::Ready(Err(_))), "{when_open:?}: now the inner service is polled");
            assert_eq!((circuit.totals().rejected, circuit.totals().failures), (0, 1));
        }
    }

    #[test]
    fn a_service_waits_for_the_restore_though_the_circuit_trips_meanwhile() {
        for when_open in BOTH {
            let circuit = circuit();
            circuit.await_restore();
            let mut service = Spawn::new(service(&circuit, when_open).0);
            assert!(service.poll_ready::<()>().is_pending());
            circuit.trip(&by(), None);
            assert!(service.is_woken(), "a transition wakes, as ever");
            assert!(service.poll_ready::<()>().is_pending(), "{when_open:?}");
            circuit.restored();
            assert!(service.is_woken());
            assert_eq!(service.poll_ready::<()>().is_ready(), when_open == WhenOpen::Reject, "open, as it would be");
        }
    }

    #[tokio::test]
    async fn a_service_that_pends_is_woken_by_a_grant() {
        let circuit = circuit();
        let (service, mut handle) = service(&circuit, WhenOpen::Pend);
        let mut service = Spawn::new(service);
        circuit.lease_probes(std::time::Duration::from_secs(3600));
        circuit.reset(&by(), To::HalfOpen);
        assert!(service.poll_ready::<()>().is_pending());
        let (era, _) = circuit.era_and_standing();
        assert!(circuit.grant(era));
        assert!(service.is_woken());
        assert!(service.poll_ready::<()>().is_ready());
        let call = service.call(());
        assert!(service.poll_ready::<()>().is_pending(), "the grant is used");
        handle.next_request().await.expect("the probe is on its way").1.send_response(());
        call.await.expect("the probe succeeds");
        assert_eq!((circuit.totals().successes, circuit.totals().rejected), (1, 0));
    }

    #[tokio::test]
    async fn a_call_without_readiness_is_rejected_without_waiting_for_the_restore() {
        let circuit = circuit();
        let mut waits = service(&circuit, WhenOpen::Reject).0;
        circuit.await_restore();
        assert!(waits.call(()).await.is_err());
        assert_eq!(circuit.totals().rejected, 1);
    }

    #[test]
    fn a_service_that_stops_waiting_for_a_restore_leaves_no_task_behind() {
        struct Task;

        impl Wake for Task {
            fn wake(self: Arc<Self>) {}
        }

        let task = Arc::new(Task);
        for when_open in BOTH {
            let circuit = circuit();
            circuit.await_restore();
            for _ in 0..10 {
                let (mut service, _handle) = service(&circuit, when_open);
                let waker = Waker::from(Arc::clone(&task));
                assert!(Service::<()>::poll_ready(&mut service, &mut Context::from_waker(&waker)).is_pending());
            }
            assert_eq!(Arc::strong_count(&task), 1, "{when_open:?}");
            let (mut waits, _handle) = service(&circuit, when_open);
            let waker = Waker::from(Arc::clone(&task));
            assert!(Service::<()>::poll_ready(&mut waits, &mut Context::from_waker(&waker)).is_pending());
            drop(waker);
            circuit.restored();
            assert_eq!(Arc::strong_count(&task), 1, "{when_open:?}: woken, and forgotten");
        }
    }
}
