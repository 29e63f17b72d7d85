//! The client: what an application puts around `reqwest`, with a breaker or without one.

use std::borrow::Cow;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use reqwest::{Request, Response};
use tower::retry::{Policy, RetryLayer};
use tower::timeout::TimeoutLayer;
use tower::util::BoxCloneService;
use tower::{Layer, ServiceBuilder};
use tower_circuit_breaker::keyed::Keyed;
use tower_circuit_breaker::retry::idempotent_reqwest;
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, Outcome, Rejected};

pub(crate) const DEADLINE: Duration = Duration::from_millis(1500);
pub(crate) const PER_ATTEMPT: Duration = Duration::from_millis(250);
pub(crate) const RETRIES: u32 = 3;

pub(crate) type Client = BoxCloneService<Request, Response, BoxError>;

/// What decides whether a call is made.
pub(crate) enum Breaker {
    Nothing,
    One(Circuit),
    PerShard(Keyed<ShardOf>),
}

pub(crate) type ShardOf = for<'a> fn(&'a Request) -> Option<Cow<'a, str>>;

/// The key of a call: the last part of `/orders/2`.
pub(crate) fn shard_of(request: &Request) -> Option<Cow<'_, str>> {
    request.url().path_segments()?.next_back().map(Cow::Borrowed)
}

/// Builds the client, from the caller's side inwards: deadline, retries, breaker, timeout.
///
/// The breaker is inside the retries, so that each attempt is evidence and each attempt can be rejected; it is outside the
/// timeout of an attempt, so that it learns of every call that hangs.
pub(crate) fn client(breaker: Breaker) -> Result<Client, BoxError> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let attempt = TimeoutLayer::new(PER_ATTEMPT).layer(http);
    let attempt = match breaker {
        Breaker::Nothing => BoxCloneService::new(attempt),
        Breaker::One(circuit) => {
            BoxCloneService::new(CircuitBreakerLayer::new(&circuit).classify_response(judge).layer(attempt))
        }
        Breaker::PerShard(circuits) => {
            BoxCloneService::new(CircuitBreakerLayer::keyed(circuits).classify_response(judge).layer(attempt))
        }
    };
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(DEADLINE))
        .layer(RetryLayer::new(Retries::default()))
        .service(attempt);
    Ok(BoxCloneService::new(service))
}

/// Says what an answer means for the circuit: to `reqwest`, and so to the default, a 500 is an answer like any other.
///
/// Errors stay with the default: a timeout weighs 0.5, everything else 1.0.
fn judge(response: &Response) -> Outcome {
    if response.status().is_server_error() { Outcome::failure() } else { Outcome::Success }
}

/// Retries errors and 5xx answers, each time after twice the wait, up to a maximum.
#[derive(Debug, Clone, Default)]
struct Retries {
    made: u32,
}

impl Policy<Request, Response, BoxError> for Retries {
    type Future = tokio::time::Sleep;

    fn retry(&mut self, _: &mut Request, result: &mut Result<Response, BoxError>) -> Option<Self::Future> {
        let worth_it = match result {
            Ok(response) => response.status().is_server_error(),
            // An open circuit stays open for longer than any of our waits: fail at once, the caller may have a plan B.
            Err(error) => Rejected::find(error.as_ref()).is_none(),
        };
        if !worth_it || self.made == RETRIES {
            return None;
        }
        let wait = FIRST_WAIT.saturating_mul(1 << self.made).min(LONGEST_WAIT);
        self.made += 1;
        // Half of it at random, so that callers who failed together do not come back together.
        Some(tokio::time::sleep(wait.mul_f64(0.5 + 0.5 * random())))
    }

    fn clone_request(&mut self, request: &Request) -> Option<Request> {
        idempotent_reqwest(request) // a POST is sent once
    }
}

/// A random number between 0 and 1, without a crate for it: each `RandomState` hashes differently.
fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 32;
    u32::try_from(bits).map_or(0.5, f64::from) / f64::from(u32::MAX)
}

const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_millis(400);
