//! Logs refused requests. The lines show operators that a client guesses tokens, that a foreign page sends requests, or
//! that a proxy changes the host.
//!
//! Each kind of refusal has at most one line a minute, so that a flood of one kind neither fills the log nor hides the
//! other kinds. No line contains a token. A refusal of the kind `unauthorized` is not logged if the request has no
//! `Authorization` header, because the page sends such requests before a person signs in.

use http::header;
use http::request::Parts;

use crate::clock::{Clock, MonotonicClock};
use crate::shown::{cut, quoted};
use crate::sync::Mutex;
use crate::telemetry::lines::{Lines, Omitted, warn};

#[derive(Debug, Default)]
pub(super) struct Refusals {
    clock: MonotonicClock,
    lines: Mutex<[Lines; KINDS.len()]>,
}

impl Refusals {
    /// Logs a refusal if this module logs refusals of the kind, and if the last line for the kind is at least a minute
    /// old.
    pub(super) fn note(&self, parts: &Parts, kind: &str, sentence: &str) {
        let Some(at) = KINDS.iter().position(|known| *known == kind) else { return };
        if kind == "unauthorized" && !parts.headers.contains_key(header::AUTHORIZATION) {
            return;
        }
        let now = self.clock.now();
        let Some(omitted) = self.lines.lock()[at].next(now) else { return };
        let (method, path) = (cut(parts.method.as_str(), 20), quoted(parts.uri.path()));
        // The number of omitted lines stands before the sentence, because the end of a long line is cut off.
        let more = Omitted(omitted);
        warn(format_args!("the admin router refused {method} {path} ({kind}){more}: {sentence}"));
    }
}

/// The kinds of problems that are logged.
const KINDS: [&str; 5] = ["foreign_host", "cross_origin", "unauthorized", "forbidden", "read_only"];
