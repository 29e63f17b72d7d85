//! The request bodies of orders, which are JSON of a limited length that must arrive within a limited time.
//!
//! This module sets the limits itself. If an application forgot the limits, one client could use up the memory.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use http::StatusCode;
use http_body::Body as _;
use serde::de::{Deserialize, DeserializeOwned, Deserializer};

use super::problem::Problem;

/// Reads the body of a request as an order. Unknown fields are refused by the types of the orders, so that a misspelt
/// field is not ignored.
pub(super) async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    // Without a time limit, a client that sends one byte a minute would be served for days.
    let late = |_| Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body did not come within 10 s"));
    let bytes = tokio::time::timeout(PATIENCE, collect(body)).await.unwrap_or_else(late)?;
    if matches!(bytes.trim_ascii_start().first(), Some(b'[')) {
        // Without this check, serde would read a list as the values of the fields in the order of their declaration.
        let detail = "the body is not what was expected: a list, expected an object";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail));
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        let (status, kind) = if error.is_data() {
            (StatusCode::UNPROCESSABLE_ENTITY, "invalid")
        } else {
            (StatusCode::BAD_REQUEST, "no_json")
        };
        Problem::new(status, kind, format!("the body is not what was expected: {error}"))
    })
}

/// Reads a field that may be absent but not `null`. If a page computes the duration of a hold wrongly as `NaN`,
/// JavaScript writes this number as `null`. Without this function, the `null` would mean a hold without an end.
pub(super) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

async fn collect(mut body: Body) -> Result<Vec<u8>, Problem> {
    let too_long = || {
        let detail = format!("the body is longer than {LONGEST} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_long", detail)
    };
    // A body with a `Content-Length` beyond the limit is refused before it is read.
    if body.size_hint().lower() > LONGEST as u64 {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let cut = |_| Problem::new(StatusCode::BAD_REQUEST, "cut_short", "the body ended before it was complete");
        // A frame without data contains trailers, which are ignored.
        let Ok(data) = frame.map_err(cut)?.into_data() else { continue };
        if bytes.len() + data.len() > LONGEST {
            return Err(too_long());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

const LONGEST: usize = 16 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);
