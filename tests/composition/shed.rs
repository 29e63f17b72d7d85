//! Load shedding: what is refused, what is not, and what it is called.
//!
//! The file is longer than others, because all tests share the load and the work that are defined at its top.

mod cpu;
mod looks;
#[cfg(feature = "metrics")]
mod metrics;
mod surge;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::shed::{LoadProbe, LoadSheddingBuilder, LoadSheddingLayer};
use tower_circuit_breaker::state::RejectReason;
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, Error, Rejected, State};

use crate::parts::{Count, MINUTE, circuit, operator, rejection, state, take_probe, trip};

/// An operation and its estimated load.
pub(super) type Work = (&'static str, u64);

/// A load that the test sets, in per cent; `None` at first.
#[derive(Clone, Default)]
pub(super) struct Load {
    percent: Arc<std::sync::RwLock<Option<f64>>>,
    looks: Count,
}

impl Load {
    pub(super) fn of(load: f64) -> Self {
        let known = Self::default();
        known.set(load);
        known
    }

    pub(super) fn set(&self, load: impl Into<Option<f64>>) {
        *self.percent.write().unwrap() = load.into();
    }

    /// Returns how often it was asked.
    pub(super) fn looks(&self) -> usize {
        self.looks.get()
    }
}

impl LoadProbe for Load {
    fn load(&self) -> Option<f64> {
        self.looks.add();
        *self.percent.read().unwrap()
    }
}

pub(super) fn operation(work: &Work) -> (&str, u64) {
    *work
}

pub(super) type Operation = fn(&Work) -> (&str, u64);

pub(super) fn builder(circuit: &Circuit, probe: impl LoadProbe) -> LoadSheddingBuilder<Operation> {
    let operation: Operation = operation;
    LoadSheddingLayer::new(circuit, probe).operation(operation)
}

async fn work(_: Work) -> Result<&'static str, BoxError> {
    Ok("done")
}

/// Shedding around a breaker around a service that always answers.
pub(super) fn service<P: LoadProbe>(
    circuit: &Circuit,
    probe: P,
) -> impl Service<Work, Response = &'static str, Error = BoxError, Future: Send> + Clone + Send + use<P> {
    let breaker = CircuitBreakerLayer::new(circuit).layer(service_fn(work));
    builder(circuit, probe).build().unwrap().layer(breaker)
}

/// Makes a whole call; `None`: it was let through.
#[track_caller]
pub(super) fn call<S>(service: &S, work: Work) -> Option<Rejected>
where
    S: Service<Work, Response = &'static str, Error = BoxError> + Clone,
{
    let answer = service.clone().oneshot(work).now_or_never();
    if matches!(answer, Some(Ok(_))) { None } else { Some(rejection(answer)) }
}

#[track_caller]
pub(super) fn is_shed<S>(service: &S, work: Work) -> bool
where
    S: Service<Work, Response = &'static str, Error = BoxError> + Clone,
{
    call(service, work).is_some_and(|rejected| {
        assert_eq!(rejected.reason(), RejectReason::LoadShed, "{rejected}");
        true
    })
}

#[test]
fn a_call_is_shed_above_both_limits_and_at_neither() {
    for (load, operation_load, shed) in
        [(0.85, 101, false), (0.86, 100, false), (0.86, 101, true), (0.0, u64::MAX, false), (7.5, 101, true)]
    {
        let circuit = circuit(&MockClock::new());
        let service = service(&circuit, Load::of(load));
        assert_eq!(is_shed(&service, ("report", operation_load)), shed, "load {load}, operation {operation_load}");
    }
}

#[test]
fn limits_can_be_set() {
    let circuit = circuit(&MockClock::new());
    let breaker = CircuitBreakerLayer::new(&circuit).layer(service_fn(work));
    let layer = builder(&circuit, || 0.31).above(0.3).for_operations_over(0).build().unwrap();
    let service = layer.layer(breaker);
    assert!(is_shed(&service, ("report", 1)));
    assert!(!is_shed(&service, ("report", 0)));
}

#[test]
fn an_unknown_load_never_sheds() {
    for unknown in [None, Some(f64::NAN), Some(f64::INFINITY), Some(-2.0)] {
        let circuit = circuit(&MockClock::new());
        assert!(!is_shed(&service(&circuit, move || unknown), ("report", u64::MAX)), "{unknown:?}");
    }
}

#[test]
fn without_an_estimate_nothing_is_shed() {
    let circuit = circuit(&MockClock::new());
    let load = Load::of(5.0);
    let breaker = CircuitBreakerLayer::new(&circuit).layer(service_fn(work));
    let layer = LoadSheddingLayer::new(&circuit, load.clone()).for_operations_over(0).build().unwrap();
    assert!(!is_shed(&layer.layer(breaker), ("report", 1_000)));
    assert_eq!(load.looks(), 1, "the load is shown all the same");
}

#[test]
fn a_shed_call_is_no_failure_and_no_call() {
    let circuit = circuit(&MockClock::new());
    let service = service(&circuit, Load::of(0.9));
    for _ in 0..50 {
        assert!(is_shed(&service, ("report", 500)));
    }
    let status = circuit.status();
    assert_eq!((status.state, status.tally.calls()), (State::Closed, 0));
    assert!(status.run.abs() < 1e-9, "no failure in a row: {}", status.run);
    let totals = status.totals;
    assert_eq!((totals.load_shed, totals.rejected, totals.failures, totals.ignored), (50, 0, 0, 0));
    assert!(!is_shed(&service, ("ping", 1)), "light operations go on");
    assert_eq!(circuit.totals().successes, 1);
}

#[test]
fn a_shed_rejection_has_the_operation_and_the_reason() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let load = Load::of(0.912);
    let service = service(&circuit, load.clone());
    let rejected = call(&service, ("report", 250)).unwrap();
    assert_eq!(
        rejected.to_string(),
        "circuit `payments` shed a call: the system's load is 91.2 %, the limit is 85 %, and operation `report` weighs 250, \
         the limit is 100; try again in 1 s"
    );
    assert_eq!((rejected.circuit(), rejected.why()), ("payments", None));
    assert_eq!(rejected.retry_after(), Some(Duration::from_secs(1)));
    let shed = rejected.shed().unwrap();
    assert_eq!((&*shed.operation, shed.operation_load, shed.operations_over), ("report", 250, 100));
    load.set(0.82);
    clock.advance(LOOK);
    assert_eq!(
        call(&service, ("a\nb", 250)).unwrap().to_string(),
        "circuit `payments` shed a call: the system's load is 82 %, it was above 85 % and is not below 80 % yet, and operation \
         `a\\nb` weighs 250, the limit is 100; try again in 1 s"
    );
}

#[test]
fn a_priority_is_shed_below_its_own_limit_without_talk_of_weights() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let load = Load::of(0.7);
    // 0 is the highest priority and never shed, 1 is shed above 80 %, 2 above 50 %.
    let layer = |name, above, lowest: u64| {
        LoadSheddingLayer::new(&circuit, load.clone())
            .above(above)
            .for_operations_over(0)
            .operation(move |(_, priority): &Work| (name, u64::from(*priority >= lowest)))
            .build()
            .unwrap()
    };
    let service = layer("low", 0.5, 2).layer(layer("normal", 0.8, 1).layer(service_fn(work)));
    let answers = |at: f64| {
        load.set(at);
        clock.advance(LOOK);
        [0, 1, 2].map(|priority| call(&service, ("work", priority)).map(|rejected| rejected.to_string()))
    };
    let low = "circuit `payments` shed a call: the system's load is 70 %, the limit is 50 %, and operation `low` is one of \
               those that are shed first; try again in 1 s";
    assert_eq!(answers(0.7), [None, None, Some(low.to_owned())]);
    let [high, normal, low] = answers(0.9);
    assert!(high.is_none() && normal.is_some() && low.is_some());
    assert_eq!(answers(0.4), [None, None, None]);
}

#[test]
fn a_long_name_is_cut_where_a_character_ends() {
    let circuit = circuit(&MockClock::new());
    let name: &'static str = Box::leak(format!("{}é{}", "x".repeat(199), "y".repeat(9_000)).into_boxed_str());
    let rejected = call(&service(&circuit, Load::of(0.9)), (name, 500)).unwrap();
    assert_eq!(*rejected.shed().unwrap().operation, "x".repeat(199));
}

#[test]
fn a_tripped_circuit_rejects_as_tripped() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let service = service(&circuit, Load::of(0.9));
    trip(&circuit);
    let reason = |work| call(&service, work).map(|rejected| rejected.reason());
    assert_eq!(reason(("report", 500)), Some(RejectReason::Tripped));
    circuit.trip(&operator(), None);
    assert_eq!(reason(("report", 500)), Some(RejectReason::Tripped), "forced");
    assert_eq!(circuit.totals().load_shed, 0);
}

#[test]
fn a_heavy_call_takes_no_probe() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let service = service(&circuit, Load::of(0.9));
    trip(&circuit);
    clock.advance(MINUTE);
    assert!(is_shed(&service, ("report", 500)), "past the deadline, a probe would be admitted");
    assert_eq!(state(&circuit), State::Open, "and nobody has probed");
    let probe = take_probe(&circuit);
    assert_eq!(call(&service, ("report", 500)).unwrap().reason(), RejectReason::HalfOpen, "its probes are taken");
    drop(probe);
    assert!(is_shed(&service, ("report", 500)), "the slot is free again");
    assert!(!is_shed(&service, ("ping", 1)), "the probe");
    assert_eq!(state(&circuit), State::Closed);
}

#[test]
fn a_disabled_circuit_sheds_nothing() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let service = service(&circuit, Load::of(0.9));
    circuit.disable(&operator(), Some(MINUTE));
    assert!(!is_shed(&service, ("report", 500)));
    clock.advance(MINUTE);
    assert!(is_shed(&service, ("report", 500)), "the hold is over");
}

#[test]
fn a_circuit_in_shadow_only_counts() {
    let circuit = circuit(&MockClock::new());
    let service = service(&circuit, Load::of(0.9));
    circuit.shadow(&operator());
    assert!(!is_shed(&service, ("report", 500)));
    let totals = circuit.totals();
    assert_eq!((totals.would_reject, totals.load_shed, totals.successes), (1, 0, 1));
}

#[test]
fn a_reset_is_no_end_of_shedding() {
    let circuit = circuit(&MockClock::new());
    let service = service(&circuit, Load::of(0.9));
    circuit.reset(&operator(), To::Closed);
    assert!(is_shed(&service, ("report", 500)));
}

#[test]
fn limits_that_cannot_work_are_refused_by_name() {
    let circuit = circuit(&MockClock::new());
    let fault = |above: f64, below: Option<f64>| {
        let builder = builder(&circuit, || 0.0).above(above);
        let builder = match below {
            Some(below) => builder.until_below(below),
            None => builder,
        };
        builder.build().map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(fault(0.0, None).unwrap_err(), "above is 0, allowed is more than 0");
    assert!(fault(f64::NAN, None).unwrap_err().starts_with("above is NaN"));
    assert!(fault(f64::INFINITY, None).is_err());
    let expected = "until_below is 0.9, allowed is more than 0 and at most `above`, 0.85";
    assert_eq!(fault(0.85, Some(0.9)).unwrap_err(), expected);
    assert!(fault(0.85, Some(0.0)).is_err());
    assert_eq!(fault(0.85, Some(0.85)), Ok(()));
    assert_eq!(fault(0.02, None), Ok(()), "the default below it is above 0");
}

#[test]
fn shedding_answers_and_errors_match_the_breaker() {
    let circuit = circuit(&MockClock::new());
    let heavy = ("report", 500);
    let typed = builder(&circuit, || 0.9).typed_errors().build().unwrap().layer(service_fn(work));
    match typed.oneshot(heavy).now_or_never().unwrap() {
        Err(Error::Rejected(rejected)) => assert_eq!(rejected.reason(), RejectReason::LoadShed),
        other => panic!("not shed: {other:?}"),
    }
    let answering = builder(&circuit, || 0.9).respond_with(|_| "busy").build().unwrap().layer(service_fn(work));
    assert_eq!(answering.oneshot(heavy).now_or_never().unwrap().unwrap(), "busy");
}

#[test]
fn a_shed_call_leaves_the_inner_service_ready() {
    let circuit = circuit(&MockClock::new());
    let calls = Count::default();
    let counted = calls.clone();
    let inner = service_fn(move |_: Work| {
        counted.add();
        async { Ok::<_, BoxError>("done") }
    });
    // One place: what is reserved for a call that was shed must serve the next one.
    let limited = tower::limit::ConcurrencyLimit::new(inner, 1);
    let mut service = builder(&circuit, || 0.9).build().unwrap().layer(limited);
    for _ in 0..3 {
        let ready = service.ready().now_or_never().expect("the place is free").unwrap();
        assert!(ready.call(("report", 500)).now_or_never().unwrap().is_err());
    }
    let ready = service.ready().now_or_never().expect("the place is free").unwrap();
    assert!(ready.call(("ping", 1)).now_or_never().unwrap().is_ok());
    assert_eq!(calls.get(), 1);
}

#[test]
fn a_layer_applied_anew_for_each_call_still_knows_the_load() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let load = Load::of(0.9);
    let layer = builder(&circuit, load.clone()).build().unwrap();
    let anew = || layer.clone().layer(service_fn(work));
    assert!(is_shed(&anew(), ("report", 500)));
    load.set(0.82);
    clock.advance(LOOK);
    assert!(is_shed(&anew(), ("report", 500)), "that shedding had begun is known to the next one");
    assert_eq!(load.looks(), 2);
}

#[tokio::test]
async fn a_router_sheds_heavy_routes_only() {
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use axum::response::IntoResponse;
    use axum::routing::get;

    let circuit = circuit(&MockClock::new());
    let shedding = LoadSheddingLayer::new(&circuit, || 0.9)
        .operation(|request: &Request<Body>| match request.uri().path() {
            path @ "/report" => (path, 500),
            path => (path, 1),
        })
        .respond_with(|rejected| (StatusCode::SERVICE_UNAVAILABLE, rejected.to_string()).into_response())
        .build()
        .unwrap();
    let app = axum::Router::new()
        .route("/report", get(|| async { "long" }))
        .route("/ping", get(|| async { "pong" }))
        .layer(shedding);
    let status = async |path| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        app.clone().oneshot(request).await.unwrap().status()
    };
    assert_eq!(status("/report").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(status("/ping").await, StatusCode::OK);
    assert_eq!(circuit.totals().load_shed, 1);
}

/// As often as the load is looked at.
pub(super) const LOOK: Duration = Duration::from_millis(250);
