//! How the breaker composes: with tower's middleware, with axum, and with services of every kind. Public API only.
#![expect(clippy::unwrap_used, reason = "tests")]
#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

mod balance;
mod calls;
mod cancellation;
mod classifiers;
mod criticality;
mod fallbacks;
mod hanging;
mod panics;
mod parts;
mod pend;
mod per_request;
mod progress;
mod ramp;
mod readiness;
mod rejections;
mod services;
#[cfg(feature = "load-shed")]
mod shed;
mod sizes;
mod spellings;
mod stacks;
mod timeouts;
mod types;
mod unready;
mod waits;
