//! The sentence of a rejection for HTTP and gRPC responses, at one of three levels of detail.
//!
//! HTTP and gRPC use the same levels and the same default, because strangers can receive both kinds of response.

use std::fmt::Write;

use super::http::seconds;
use crate::error::Rejected;
use crate::state::RejectReason;

/// The level of detail that a response discloses about a rejection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Detail {
    Nothing,
    #[default]
    Name,
    Everything,
}

/// Writes the rejection as one sentence.
pub(super) fn sentence(rejected: &Rejected, detail: Detail) -> String {
    let name = rejected.circuit();
    let mut text = match (detail, rejected.reason()) {
        (Detail::Everything, _) => return rejected.to_string(),
        (Detail::Nothing, _) => "the service is unavailable for now".to_owned(),
        (Detail::Name, RejectReason::Tripped) => format!("circuit `{name}` is open"),
        (Detail::Name, RejectReason::HalfOpen) if rejected.waits_for_health_probe() => {
            format!("circuit `{name}` is half-open and waits for a health probe")
        }
        (Detail::Name, RejectReason::HalfOpen) => {
            format!("circuit `{name}` is half-open and admits no further probe now")
        }
        (Detail::Name, RejectReason::Ramp) => {
            format!("circuit `{name}` has closed and admits only a growing share of the calls")
        }
        (Detail::Name, RejectReason::Throttled) => {
            format!("circuit `{name}` admits only a share of the calls")
        }
        (Detail::Name, RejectReason::LoadShed) => {
            format!("the system's load is high, and a heavy operation of `{name}` was shed")
        }
    };
    text.push_str(", and this attempt went no further");
    if let Some(wait) = rejected.retry_after() {
        write!(text, "; try again in {} s", seconds(wait)).expect("a string takes every word");
    }
    text
}
