//! A circuit breaker for tower services.
//!
//! When the service behind it is down, calls are rejected at once, before they happen, with one sentence that says why; when
//! it is back, a few probes find out. Failures count by weight: a hard failure 1.0, a timeout 0.5.
//!
//! **Open means rejecting. Closed means letting calls through.**
//!
//! ```
//! use std::time::Duration;
//! use tower::{ServiceBuilder, timeout::TimeoutLayer};
//! use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config};
//!
//! # let client = tower::service_fn(|_: u32| async { Ok::<_, std::io::Error>(1) });
//! let circuit = Circuit::new(Config::new("payments")?);
//! let service = ServiceBuilder::new()
//!     .layer(CircuitBreakerLayer::new(&circuit))
//!     .layer(TimeoutLayer::new(Duration::from_secs(2)))
//!     .service(client);
//! # fn usable<S: tower::Service<u32>>(_: S) {} usable(service);
//! # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
//! ```
//!
//! # The life of a call
//!
//! ```text
//! request ─▶ service ─▶ circuit: word ─┬─▶ Permit ─▶ inner call ─▶ classifier ─▶ outcome ─▶ window ─▶ rules ─┐
//!                                      └─▶ Rejected                                                          │
//!            observers: metrics, logs, yours ◀────────────── transition, with the numbers that decided ◀─────┘
//! ```
//!
//! # Where to look
//!
//! | to | |
//! |---|---|
//! | set the rules, see their defaults | [`Config`], [`ConfigBuilder`](config::ConfigBuilder), [`OpenDuration`], [`Window`] |
//! | say what counts as a failure | [`CircuitBreakerLayer::classify`], [`classify`], [`Outcome`], [`Failure`] |
//! | shape rejections | [`CircuitBreakerLayer::typed_errors`], [`respond_with`](CircuitBreakerLayer::respond_with), [`rejection`] |
//! | judge HTTP, gRPC, reqwest; hold the permit to the end of a body | `classify::{HttpClassifier, GrpcClassifier, ReqwestClassifier}`, `body` |
//! | have a circuit per key | `keyed`, with the feature `keyed` |
//! | know a rejection | [`Rejected::find`], [`Error`] |
//! | retry, and stop at a rejection or wait for the circuit | `retry`, with the feature `retry` |
//! | call without tower | [`Circuit::call`], [`Circuit::try_acquire`], [`call`] |
//! | look at a circuit, and operate it | [`Circuit::status`], [`trip`](Circuit::trip), [`reset`](Circuit::reset), [`By`], [`To`](circuit::To) |
//! | have several circuits, by name | [`Registry`] |
//! | give orders to them, for the whole fleet, with an audit | [`operation`], [`Registry::operate`] |
//! | keep them over restarts, and share them | `Registry::builder`, `store`, `coordinator`, with the feature `store` |
//! | read settings from a file and the environment | `settings`, with the feature `settings` |
//! | show them on a page, as JSON and as events, and take orders there | `admin`, with the feature `admin` |
//! | be told | [`event`], [`telemetry`] |
//! | shed heavy operations while the machine is busy | `shed`, with the feature `load-shed` |
//! | read how to use it: stacks, stores, operation, what to do at night, words | [`guide`] |
//! | test | [`clock`]: `MockClock`, [`TokioClock`](clock::TokioClock) |
//!
//! # Features
//!
//! * `metrics`, `tracing` (both default): observers for these facades on every circuit, unless its builder says otherwise.
//! * `http`: classifiers and rejections for HTTP and gRPC, bodies that are tracked to their end; `tonic`, `reqwest`: what the errors of
//!   those crates mean.
//! * `keyed`: a circuit per host, path, method or tenant.
//! * `store`: records, the trait of stores, the coordinator and `MemoryStore`; `file`, `sqlite`, `postgres`, `redis`: a store each.
//! * `tls-rustls`: TLS to Postgres and Redis.
//! * `retry`: retries that know rejections, for tower's `RetryLayer`.
//! * `settings`: settings from a TOML or JSON file and from the environment.
//! * `admin`: a router of axum's with JSON, events and one page.
//! * `cli`: the binary `circuitctl`, which operates circuits through their store.
//! * `load-shed`: `shed`, a layer that refuses heavy operations while the machine is busy.
//! * `test-util`: `MockClock`, which a test moves by hand, `FaultyStore`, and the conformance suite of stores.
//! * `full`: everything but `test-util`.

#[cfg(feature = "admin")]
pub mod admin;
#[cfg(feature = "http")]
pub mod body;
pub mod call;
pub mod circuit;
pub mod classify;
pub mod clock;
pub mod config;
#[cfg(feature = "store")]
pub mod coordinator;
#[cfg(feature = "store")]
mod digest;
mod error;
pub mod event;
mod future;
// Only text: compiled for the documentation, and for the tests of its code, which need every feature.
#[cfg(all(doc, any(not(doctest), feature = "full")))]
pub mod guide;
#[cfg(any(feature = "settings", feature = "store"))]
mod keep;
pub mod keyed;
mod layer;
mod nearest;
pub mod operation;
pub mod outcome;
mod random;
#[cfg(feature = "store")]
pub mod record;
mod registry;
pub mod rejection;
#[cfg(feature = "retry")]
pub mod retry;
mod service;
#[cfg(feature = "settings")]
pub mod settings;
#[cfg(any(feature = "load-shed", all(test, breaker_loom)))]
pub mod shed;
pub mod state;
#[cfg(feature = "store")]
pub mod store;
mod sync;
pub mod telemetry;
pub mod window;

pub use circuit::{Circuit, Permit, Status};
pub use config::{Config, OpenDuration};
pub use error::{BoxError, Error, Rejected};
pub use future::ResponseFuture;
pub use layer::CircuitBreakerLayer;
pub use outcome::{Failure, Outcome};
pub use registry::{Registry, RegistryError};
pub use service::{CircuitBreaker, WhenOpen};
pub use state::{By, Mode, State};
pub use window::Window;

/// The README's code is compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
