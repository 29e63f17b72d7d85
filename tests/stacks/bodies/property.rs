//! Whatever a body does and whoever drops it when: one outcome is told, and one word is the last.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};

use http::{Request, Response, StatusCode};
use proptest::prelude::*;
use tower_circuit_breaker::Circuit;
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::event::{Event, Observer};

use super::parts::*;

/// Tells of every call that ended.
#[derive(Debug)]
struct Finished(Sender<()>);

impl Observer for Finished {
    fn on_event(&self, _: &str, event: &Event<'_>) {
        if let Event::Finished { .. } = event {
            self.0.send(()).ok();
        }
    }

    fn wants_calls(&self) -> bool {
        true
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Data("data")),
        3 => Just(Step::Pending),
        1 => Just(Step::Trailers("0")),
        1 => Just(Step::Trailers("14")),
        1 => Just(Step::Fail(io::ErrorKind::ConnectionReset)),
        1 => Just(Step::Panic),
    ]
}

proptest! {
    #[test]
    fn exactly_one_outcome_is_recorded_for_any_behaviour_of_a_body(
        steps in prop::collection::vec(step(), 0..8),
        knows_its_end: bool,
        status in prop::sample::select(vec![200, 204, 404, 500]),
        length in prop::option::of(0_usize..12),
        polls in 0_usize..12,
        millis in 0_u64..2_000,
        taken_out: bool,
    ) {
        let (clock, (judge, words), (tell, told)) = (MockClock::new(), channel(), channel());
        let config = settings(&clock).consecutive_failures(1_000).observer(Finished(tell)).build().unwrap();
        let circuit = Circuit::new(config);
        let script = Script::new(steps);
        let script = if knows_its_end { script.that_knows_its_end() } else { script };
        let mut response = Response::new(script);
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Some(length) = length {
            response.headers_mut().insert("content-length", length.into());
        }
        let mut body = head(&mut service(&circuit, &judge), Request::new(Ok(response))).into_body();
        for _ in 0..polls {
            clock.advance(std::time::Duration::from_millis(millis));
            let panicked = catch_unwind(AssertUnwindSafe(|| frame(&mut body).is_ready())).is_err();
            if panicked {
                break;
            }
        }
        if taken_out { drop(body.into_inner()) } else { drop(body) }
        prop_assert_eq!(told.try_iter().count(), 1, "told to the observer");
        prop_assert_eq!(counted_by(&circuit), 1, "counted");
        prop_assert_eq!(words.try_iter().count(), 1, "words of the classifier");
    }
}

fn counted_by(circuit: &Circuit) -> usize {
    let totals = circuit.totals();
    usize::try_from(totals.successes + totals.failures + totals.ignored + totals.cancelled).unwrap()
}
