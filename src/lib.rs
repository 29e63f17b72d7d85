//! A circuit breaker for tower services.
//!
//! While a service is down, its circuit rejects calls immediately, without calling the service. The error of a rejected
//! call states the reason in one sentence. A few calls, the probes, detect when the service is back. Each failure has a
//! weight. A hard failure weighs 1.0, and a timeout weighs 0.5.
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
//! # Ok::<(), tower_circuit_breaker::ConfigError>(())
//! ```
//!
//! # The life of a call
//!
//! ```text
//! request ─▶ service ─▶ circuit ───────┬─▶ Permit ─▶ inner call ─▶ classifier ─▶ outcome ─▶ window ─▶ rules ─┐
//!                                      └─▶ Rejected                                                          │
//!            observers: metrics, logs, yours ◀────────────── transition, with the numbers that decided ◀─────┘
//! ```
//!
//! # Where to look
//!
//! | to | |
//! |---|---|
//! | set the rules, and see their defaults | [`Config`], [`ConfigBuilder`], [`OpenDuration`], [`Window`] |
//! | define the calls that count as failures | [`CircuitBreakerLayer::classify`], [`classify`], [`Outcome`], [`Failure`] |
//! | answer something else while the circuit is open | [`CircuitBreakerLayer::fallback`], [`fallback`] |
//! | shape rejections | [`CircuitBreakerLayer::typed_errors`], [`respond_with`](CircuitBreakerLayer::respond_with), [`rejection`] |
//! | judge HTTP, gRPC, reqwest; hold the permit to the end of a body | `classify::{HttpClassifier, GrpcClassifier, ReqwestClassifier}`, `body` |
//! | have a circuit for each key | `keyed`, with the feature `keyed` |
//! | recognise a rejection, and its reason | [`Rejected::find`], [`Error`], [`RejectReason`], [`Transition`], [`Reason`] |
//! | retry, and stop at a rejection or wait for the circuit | `retry`, with the feature `retry` |
//! | call without tower | [`Circuit::call`] and its variants, [`Circuit::acquire`], [`Permit::judge`], [`call`] |
//! | observe a circuit, and operate it | [`Circuit::status`], [`trip`](Circuit::trip), [`reset`](Circuit::reset), [`By`], [`To`] |
//! | have several circuits, by name | [`Registry`] |
//! | operate circuits in the whole fleet, with an audit | [`operation`], [`Registry::operate`] |
//! | keep circuits over restarts, and share them between instances | `Registry::builder`, `store`, `coordinator`, with the feature `store` |
//! | read settings from a file and the environment | `settings`, with the feature `settings` |
//! | show circuits on a page, as JSON and as events, and take the orders of operators there | `admin`, with the feature `admin` |
//! | receive events, metrics and logs | [`event`], [`telemetry`] |
//! | shed heavy operations while the machine is busy | `shed`, with the feature `load-shed` |
//! | read the guides: stacks, stores, fleets, operation, the runbook, words | [`guide`] |
//! | test | `testing`, with the feature `test-util`; [`clock`]: `MockClock`, [`TokioClock`](clock::TokioClock) |
//!
//! # Names
//!
//! The crate root exports the types that programs pass, match on and keep. The types that programs only receive are in
//! modules. The parts of a [`Status`] are in [`circuit`], [`state`] and [`window`]. The types that the methods of a
//! [`Registry`] return are in [`operation`], `coordinator` and `store`. The types for the settings of a layer are in
//! [`classify`], [`rejection`], [`fallback`] and `body`.
//!
//! # Features
//!
//! On docs.rs each item names the features that it needs.
//!
//! * `metrics`, `tracing` (both default): metrics and log lines of every circuit, through the crates with these names.
//!   The builder of a circuit can disable the metrics and log lines.
//! * `http`: classifiers and rejections for HTTP and gRPC, and permits that last until the end of a body. `tonic`,
//!   `reqwest`: classifiers for the errors of these two crates, and rejections that answer with a `tonic::Status` or a
//!   `reqwest::Response`.
//! * `keyed`: a circuit for each host, path, method or tenant.
//! * `store`: the trait `Store`, `MemoryStore`, the records of circuits, and the coordinator, which synchronises
//!   circuits with a store. `file`, `sqlite`, `postgres`, `redis`: one store each.
//! * `tls-rustls`: TLS to Postgres and Redis.
//! * `retry`: retries that recognise rejections, for tower's `RetryLayer`.
//! * `settings`: settings from a TOML or JSON file and from the environment.
//! * `admin`: an axum router that shows circuits as JSON, as events and on a page, and that takes orders of operators.
//! * `cli`: the binary `circuitctl`, which shows and changes the circuits in a store.
//! * `health`: health probes for an HTTP or gRPC address in the configuration. Health probes with a closure need no
//!   feature.
//! * `load-shed`: `shed`, a layer that refuses heavy operations while the machine is busy.
//! * `test-util`: helpers for tests in `testing`, `FaultyStore`, a test suite for your own stores, and `MockClock`,
//!   whose time a test sets.
//! * `full`: all features except `test-util`.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

#[cfg(feature = "admin")]
pub mod admin;
#[cfg(feature = "http")]
pub mod body;
mod calendar;
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
pub mod fallback;
mod future;
mod group;
// The module contains only documentation. Therefore the module is compiled only for rustdoc and for the doc tests. The
// doc tests need every feature.
#[cfg(all(doc, any(not(doctest), feature = "full")))]
pub mod guide;
pub mod health;
#[cfg(any(feature = "settings", feature = "store"))]
mod keep;
pub mod keyed;
mod layer;
mod nearest;
pub mod operation;
pub mod outcome;
mod pattern;
mod random;
#[cfg(feature = "store")]
pub mod record;
mod registry;
pub mod rejection;
#[cfg(feature = "retry")]
pub mod retry;
mod roll_call;
#[cfg(any(feature = "settings", feature = "store"))]
mod serialize;
mod service;
#[cfg(feature = "settings")]
pub mod settings;
#[cfg(any(feature = "load-shed", all(test, breaker_loom)))]
pub mod shed;
mod shown;
mod sources;
pub mod state;
#[cfg(feature = "store")]
pub mod store;
mod sync;
pub mod telemetry;
#[cfg(feature = "test-util")]
pub mod testing;
pub mod window;

pub use circuit::{Circuit, Permit, Status, To};
pub use config::{Config, ConfigBuilder, ConfigError, OpenDuration};
pub use error::{BoxError, Error, Rejected, WithinError};
pub use future::ResponseFuture;
pub use group::Group;
pub use layer::CircuitBreakerLayer;
pub use outcome::{Failure, FailureKind, Outcome, Weight};
pub use registry::{Registry, RegistryError};
pub use service::{CircuitBreaker, WhenOpen};
pub use state::{By, Criticality, Mode, Reason, RejectReason, Standing, State, Transition};
pub use window::Window;

/// Includes the README, so that the doc tests compile its code.
#[cfg(all(doctest, feature = "full"))]
#[doc = include_str!("../README.md")]
struct Readme;
