//! Bodies in and out: JSON, and never more than fits.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use http::StatusCode;
use http_body::Body as _;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// Reads what was ordered: JSON whose every field is known.
pub(super) async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    // A client that sends a byte a minute would be served for days.
    let late = |_| Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body did not come within 10 s"));
    let bytes = tokio::time::timeout(PATIENCE, collect(body)).await.unwrap_or_else(late)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let (status, kind) = if error.is_data() {
            (StatusCode::UNPROCESSABLE_ENTITY, "invalid")
        } else {
            (StatusCode::BAD_REQUEST, "no_json")
        };
        Problem::new(status, kind, format!("the body is not what was expected: {error}"))
    })
}

async fn collect(mut body: Body) -> Result<Vec<u8>, Problem> {
    let too_long = || {
        let detail = format!("the body is longer than {LONGEST} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_long", detail)
    };
    // What is announced too long need not be sent.
    if body.size_hint().lower() > LONGEST as u64 {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let cut = |_| Problem::new(StatusCode::BAD_REQUEST, "cut_short", "the body ended before it was complete");
        // Trailers say nothing about an order.
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
