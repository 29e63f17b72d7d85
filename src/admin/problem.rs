//! The error responses of the admin interface, which are problem details (RFC 9457) with a sentence for people and a
//! word for programs.
//!
//! The sentences for refused orders come from [`Refused`], so that the page, the API and the command line show the same
//! sentences.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::json::{json_response, millis};
use crate::operation::Refused;
use crate::shown::one_line;

/// The error response to a request that was refused or failed.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    kind: &'static str,
    detail: String,
    challenge: Option<HeaderValue>,
    retry_after: Option<Duration>,
}

impl Problem {
    /// Creates a problem. The detail is cut to one line of at most 1000 characters, because a parser's error can repeat
    /// a long part of the request.
    pub(super) fn new(status: StatusCode, kind: &'static str, detail: impl AsRef<str>) -> Self {
        Self { status, kind, detail: one_line(detail.as_ref(), 1_000), challenge: None, retry_after: None }
    }

    pub(super) const fn kind(&self) -> &'static str {
        self.kind
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    pub(super) fn challenge(mut self, challenge: Option<HeaderValue>) -> Self {
        self.challenge = challenge;
        self
    }

    pub(super) const fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let (status, kind) = match &refused {
            Refused::NoSuchCircuit { .. } | Refused::NoRecord { .. } => (StatusCode::NOT_FOUND, "no_such_circuit"),
            Refused::IdUsed { .. } => (StatusCode::CONFLICT, "id_used"),
            Refused::Cooldown { .. } => (StatusCode::CONFLICT, "cooldown"),
            Refused::Stale { .. } => (StatusCode::CONFLICT, "stale"),
            Refused::Superseded { .. } => (StatusCode::CONFLICT, "superseded"),
            Refused::NothingHeld { .. } => (StatusCode::CONFLICT, "nothing_held"),
            Refused::NothingToReset { .. } => (StatusCode::CONFLICT, "nothing_to_reset"),
            Refused::Expired => (StatusCode::CONFLICT, "expired"),
            Refused::Unwritable { .. } => (StatusCode::CONFLICT, "unwritable"),
            Refused::OneTier { .. } => (StatusCode::CONFLICT, "one_tier"),
            Refused::Corrupt { .. } => (StatusCode::CONFLICT, "corrupt"),
            Refused::OutboxFull { .. } => (StatusCode::SERVICE_UNAVAILABLE, "outbox_full"),
            Refused::Store { .. } => (StatusCode::SERVICE_UNAVAILABLE, "store"),
            Refused::Invalid { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
        };
        let problem = Self::new(status, kind, refused.to_string());
        if let Refused::Cooldown { left } = refused { problem.retry_after(left) } else { problem }
    }
}

pub(super) async fn no_such_path() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_such_path", "this router has no such path")
}

pub(super) async fn method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this path has no such method: `Allow` has the methods")
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, kind, detail, challenge, retry_after } = self;
        let mut body = json!({
            "type": "about:blank",
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": detail,
            "kind": kind,
        });
        if let Some(wait) = retry_after {
            body["retry_after_ms"] = millis(wait).into();
        }
        let mut response = json_response(status, "application/problem+json", body.to_string().into_bytes());
        if let Some(challenge) = challenge {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(wait) = retry_after {
            // `Retry-After` has whole seconds (RFC 9110, 10.2.3). The wait is rounded up, so that a client never
            // retries too early.
            let seconds = wait.as_millis().div_ceil(1000);
            let seconds = HeaderValue::from_str(&seconds.to_string()).expect("digits are a header");
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}
