//! Real stacks: axum, tonic, reqwest and hyper over loopback, keyed circuits, retries. Public API only.
#![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "tests")]
#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

mod axum;
mod bans;
mod bodies;
mod grpc;
mod handlers;
mod health;
mod http;
mod keyed;
mod matrix;
mod reqwest;
mod retry;
mod tonic;
