//! Endpoints of one group: at most half of them leave the rotation, so that no call waits for ever.

use tower_circuit_breaker::Group;
use tower_circuit_breaker::circuit::To;

use super::*;
use crate::parts::settings;

/// Endpoints of one group, of which at most half are open.
fn grouped<const N: usize>() -> ([(Endpoint, tokio::sync::watch::Sender<bool>); N], Group) {
    let (clock, group) = (TokioClock::new(), Group::new("endpoints").at_most_open(0.5));
    let endpoints = std::array::from_fn(|_| {
        let (kill, dead) = tokio::sync::watch::channel(false);
        let circuit = Circuit::new(settings(&clock).group(&group).build().unwrap());
        (Endpoint { circuit, asked: Count::default(), dead }, kill)
    });
    (endpoints, group)
}

fn open(endpoints: &[&Endpoint]) -> usize {
    endpoints.iter().filter(|endpoint| state(&endpoint.circuit) == State::Open).count()
}

#[tokio::test(start_paused = true)]
async fn with_three_of_four_endpoints_dead_no_call_pends_for_ever() {
    let ([(first, kill_first), (second, kill_second), (third, kill_third), (alive, _)], group) = grouped();
    let all = [&first, &second, &third, &alive];
    let mut service = balance(&all, WhenOpen::Pend);
    for kill in [&kill_first, &kill_second, &kill_third] {
        kill.send_replace(true);
    }
    for _ in 0..400 {
        let ready = service.ready().now_or_never().expect("half of the endpoints never pend").unwrap();
        ready.call(()).await.ok();
    }
    assert_eq!((open(&all), group.open()), (2, 2), "the third dead endpoint stays in rotation");
    assert_eq!(state(&alive.circuit), State::Closed);
    assert!(alive.asked.get() > 100, "the endpoint that is alive serves: {}", alive.asked.get());
    let suppressed: u64 = all.iter().map(|endpoint| endpoint.circuit.totals().suppressed).sum();
    assert!(suppressed > 0);

    for kill in [&kill_first, &kill_second, &kill_third] {
        kill.send_replace(false);
    }
    tokio::time::advance(MINUTE).await;
    assert_eq!(failed(&mut service, 100, 1).await, 0);
    assert_eq!((open(&all), group.open()), (0, 0), "all endpoints are back");
}

#[tokio::test(start_paused = true)]
async fn with_every_endpoint_dead_calls_fail_instead_of_pending() {
    let ([(first, kill_first), (second, kill_second)], group) = grouped();
    let all = [&first, &second];
    let mut service = balance(&all, WhenOpen::Pend);
    kill_first.send_replace(true);
    kill_second.send_replace(true);
    for _ in 0..50 {
        let ready = service.ready().now_or_never().expect("one endpoint never pends").unwrap();
        assert!(ready.call(()).await.is_err());
    }
    assert_eq!((open(&all), group.open()), (1, 1));
    kill_first.send_replace(false);
    kill_second.send_replace(false);
    assert_eq!(failed(&mut service, 10, 1).await, 0, "the endpoint in rotation serves at once when it is back");
}

#[tokio::test(start_paused = true)]
async fn an_operator_can_still_take_every_endpoint_out_of_rotation() {
    let ([(first, _), (second, _)], group) = grouped();
    let mut service = balance(&[&first, &second], WhenOpen::Pend);
    for endpoint in [&first, &second] {
        endpoint.circuit.trip(&operator(), None);
    }
    assert!(service.ready().now_or_never().is_none(), "an operator has decided so");
    assert_eq!(group.open(), 0);
    second.circuit.reset(&operator(), To::Closed);
    assert_eq!(failed_at_once(&mut service, 2).await, 0);
}
