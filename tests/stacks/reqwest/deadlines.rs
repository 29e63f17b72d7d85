//! The weight of `Request::timeout`, which the caller sets, beside the timeouts of the client, in virtual time.

use std::time::Duration;

use futures_util::FutureExt;
use http_body_util::BodyExt;
use reqwest::{Body, Client, Request, Response};
use tower::timeout::TimeoutLayer;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_circuit_breaker::classify::ReqwestClassifier;
use tower_circuit_breaker::clock::TokioClock;
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, Config, Failure, State};

use super::peer::{Answer, HALF, Peer};
use super::{client, counted, get};

const MS: Duration = Duration::from_millis(1);

fn circuit() -> Circuit {
    Circuit::new(Config::classic("payments").clock(TokioClock::new()).build().unwrap())
}

fn layer(circuit: &Circuit) -> CircuitBreakerLayer<ReqwestClassifier> {
    CircuitBreakerLayer::new(circuit).classifier(ReqwestClassifier::new())
}

fn within(timeout: Duration, url: &str) -> Request {
    let mut request = get(url);
    *request.timeout_mut() = Some(timeout);
    request
}

/// A peer that accepts and says nothing.
async fn silent() -> Peer {
    Peer::new(|_| Answer::Stall("")).await
}

#[tokio::test(start_paused = true)]
async fn ten_requests_with_timeouts_of_a_millisecond_weigh_next_to_nothing() {
    let (peer, circuit) = (silent().await, circuit());
    for _ in 0..10 {
        layer(&circuit).layer(client()).oneshot(within(MS, &peer.url("/"))).await.unwrap_err();
    }
    let status = circuit.status();
    assert_eq!(status.state, State::Closed);
    assert!(status.run < 0.1, "{}", status.run);
}

#[tokio::test(start_paused = true)]
async fn a_total_hang_under_timeouts_of_500_ms_opens_by_the_run() {
    let (peer, circuit) = (silent().await, circuit());
    let mut calls = 0;
    while circuit.status().state == State::Closed && calls < 100 {
        layer(&circuit).layer(client()).oneshot(within(500 * MS, &peer.url("/"))).await.unwrap_err();
        calls += 1;
    }
    assert!((19..=20).contains(&calls), "twenty times a quarter: {calls}");
}

#[tokio::test(start_paused = true)]
async fn timeouts_of_the_owner_weigh_half_beside_a_longer_one_of_the_caller() {
    let peer = silent().await;
    let of_the_client = || Client::builder().no_proxy();
    for (client, own) in [
        (of_the_client().timeout(100 * MS).build().unwrap(), None),
        (of_the_client().read_timeout(100 * MS).build().unwrap(), None),
        (of_the_client().read_timeout(100 * MS).build().unwrap(), Some(900 * MS)),
    ] {
        let circuit = circuit();
        let mut request = get(&peer.url("/"));
        *request.timeout_mut() = own;
        layer(&circuit).layer(client).oneshot(request).await.unwrap_err();
        assert_eq!(counted(&circuit), (0, 1, 0.5, 0), "{own:?}");
    }
    let circuit = circuit();
    let limited = ServiceBuilder::new().layer(layer(&circuit)).layer(TimeoutLayer::new(100 * MS)).service(client());
    limited.oneshot(within(900 * MS, &peer.url("/"))).await.unwrap_err();
    assert_eq!(counted(&circuit), (0, 1, 0.5, 0), "a TimeoutLayer below the breaker");
}

#[tokio::test(start_paused = true)]
async fn a_504_under_a_timeout_of_the_caller_weighs_in_proportion_and_others_as_ever() {
    for (status, own, expected) in [
        (504, Some(250 * MS), (0, 1, 0.125, 0)),
        (504, None, (0, 1, 0.5, 0)),
        (408, Some(250 * MS), (0, 1, 0.5, 0)),
        (503, Some(250 * MS), (0, 1, 1.0, 0)),
    ] {
        let circuit = circuit();
        let slow = service_fn(move |_: Request| async move {
            tokio::time::sleep(250 * MS).await;
            let response = http::Response::builder().status(status).body("").unwrap();
            Ok::<_, reqwest::Error>(Response::from(response))
        });
        let mut request = get("http://payments.example/");
        *request.timeout_mut() = own;
        layer(&circuit).layer(slow).oneshot(request).await.unwrap();
        assert_eq!(counted(&circuit), expected, "{status}, {own:?}");

        let set = ReqwestClassifier::new().status(reqwest::StatusCode::GATEWAY_TIMEOUT, Failure::hard());
        let response = Response::from(http::Response::builder().status(504).body("").unwrap());
        let judged = set.for_request(&within(MS, "http://payments.example/")).response(&response);
        assert_eq!(judged, Failure::hard().into(), "what the user set is taken as it is");
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_the_request_that_ends_its_body_weighs_in_proportion() {
    let (peer, circuit) = (Peer::new(|_| Answer::Stall(HALF)).await, circuit());
    // The head is read in real time, which the virtual clock must not overtake.
    tokio::time::resume();
    let service = ServiceBuilder::new()
        .layer(layer(&circuit).tracked_bodies())
        .filter(|request: http::Request<Body>| Request::try_from(request))
        .map_response(http::Response::<Body>::from)
        .service(client());
    let request = http::Request::<Body>::try_from(within(500 * MS, &peer.url("/"))).unwrap();
    let response = service.oneshot(request).await.unwrap();
    tokio::time::pause();
    response.into_body().collect().await.unwrap_err();
    let (_, failures, run, _) = counted(&circuit);
    assert_eq!(failures, 1);
    assert!((0.2..0.4).contains(&run), "{run}");
}

#[tokio::test(start_paused = true)]
async fn a_judgement_outside_tower_knows_the_timeout_of_its_request() {
    let (peer, circuit) = (silent().await, circuit());
    for (own, run) in [(Some(250 * MS), 0.125), (None, 0.625)] {
        let mut request = get(&peer.url("/"));
        *request.timeout_mut() = own;
        let judge = ReqwestClassifier::new().for_request(&request);
        let permit = circuit.try_acquire().unwrap();
        let client = Client::builder().no_proxy().timeout(250 * MS).build().unwrap();
        let error: BoxError = client.execute(request).await.unwrap_err().into();
        permit.record(judge.error(error.as_ref()));
        assert!((circuit.status().run - run).abs() < 0.01, "{}", circuit.status().run);
    }
    assert!(circuit.call(async { Ok::<_, BoxError>(()) }).now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn handlers_ignore_dropped_calls_and_count_every_timeout_inside_them() {
    let (peer, dropped, timed_out, alone) = (silent().await, circuit(), circuit(), circuit());
    let judge = ReqwestClassifier::for_handlers;
    let layer = |circuit: &Circuit| CircuitBreakerLayer::new(circuit).classifier(judge());
    for _ in 0..12 {
        // A user who presses "stop" after 1.2 s, beside a user who waits for the timeout of the request.
        let call = layer(&dropped).layer(client()).oneshot(get(&peer.url("/")));
        tokio::time::timeout(1_200 * MS, call).await.unwrap_err();
    }
    assert_eq!((dropped.status().state, dropped.totals().cancelled), (State::Closed, 12));
    for _ in 0..10 {
        layer(&timed_out).layer(client()).oneshot(within(300 * MS, &peer.url("/"))).await.unwrap_err();
    }
    assert_eq!(timed_out.status().state, State::Open, "ten timeouts of 0.5");
    // The same outside tower.
    let request = within(300 * MS, &peer.url("/"));
    let judge = judge().for_request(&request);
    let permit = alone.try_acquire().unwrap();
    let error = client().execute(request).await.unwrap_err();
    permit.record(judge.error(&error));
    assert_eq!(counted(&alone), (0, 1, 0.5, 0));
}
