//! The cause of a transport error, as a kind for metrics and as a text for people.
//!
//! A refused connection, a name that has no address, and a failed handshake are errors of a dozen libraries,
//! and few of these libraries have a public type for them. Therefore the kind comes from an `io::Error` among
//! the sources, or from the beginning of the text of an error. Finding the kind allocates nothing, because in
//! an outage every call fails.

use std::error::Error as StdError;
use std::fmt::{self, Write};
use std::io;

use crate::outcome::{Failure, FailureKind};
use crate::sources::chain;
use crate::state::text::beginning;

/// Returns a hard failure of the kind that the error and its sources show.
pub(super) fn hard(error: &(dyn StdError + 'static)) -> Failure {
    caused(Failure::hard(), error)
}

/// Returns the failure with the kind that the error and its sources show. If the error shows no kind, the failure keeps
/// its own kind.
///
/// The phase of the call says more than the way in which a connection ended. Therefore a reset while the client
/// connects is of the kind `connect`, and the end of a connection within a body is of the kind `body`.
pub(super) fn caused(failure: Failure, error: &(dyn StdError + 'static)) -> Failure {
    let cause = chain(error).filter_map(cause_of).max();
    cause.map_or(failure, |cause| failure.with_kind(cause.kind()))
}

/// Returns true if this error alone shows that the caller is the cause, and not the service. Either hyper refused to
/// send the request, for example because its URI has no host, or the body of the request failed. In a proxy, the body
/// of a request fails if the client goes away during the upload.
pub(super) fn is_of_caller(error: &(dyn StdError + 'static)) -> bool {
    #[cfg(feature = "http")]
    if let Some(error) = error.downcast_ref::<h2::Error>() {
        // While a response is still awaited, hyper resets the stream only if the body of the request has failed.
        return error.is_reset() && !error.is_remote() && !error.is_library();
    }
    // The text of an `io::Error` is not read, because the text can cost an allocation. An error that the `io::Error`
    // wraps is the next error in the chain, and has the same text.
    if error.is::<io::Error>() {
        return false;
    }
    let head = Head::of(error);
    OF_CALLER.iter().any(|beginning| head.text().starts_with(beginning.as_bytes()))
}

/// Returns the text of the innermost source, which caused all other errors. The texts of the errors around the
/// source repeat this text or are less precise.
pub(super) fn text_of(error: &(dyn StdError + 'static)) -> String {
    let root = chain(error).last().unwrap_or(error);
    #[cfg(feature = "tonic")]
    if let Some(status) = root.downcast_ref::<tonic::Status>() {
        // The text is the message, or the code if there is no message. The details and the metadata of a status are not
        // shown, because they can be secret.
        return if status.message().is_empty() { status.code().to_string() } else { status.message().to_owned() };
    }
    beginning(root)
}

/// The causes of a transport error, from the least precise to the most precise. If a chain of errors shows several
/// causes, the most precise cause decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    Reset,
    Connect,
    Body,
    Tls,
    Dns,
}

impl Cause {
    const fn kind(self) -> FailureKind {
        match self {
            Self::Reset => FailureKind::Reset,
            Self::Connect => FailureKind::Connect,
            Self::Body => FailureKind::Body,
            Self::Tls => FailureKind::Tls,
            Self::Dns => FailureKind::Dns,
        }
    }
}

/// Returns the cause that one error of a chain shows. The sources of the error are not searched.
fn cause_of(error: &(dyn StdError + 'static)) -> Option<Cause> {
    let by_io = error.downcast_ref::<io::Error>().and_then(|error| by_io(error.kind()));
    by_text(error).max(by_io)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "std has many kinds, and the others say nothing about a connection")]
const fn by_io(kind: io::ErrorKind) -> Option<Cause> {
    match kind {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::AddrNotAvailable => Some(Cause::Connect),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected
        | io::ErrorKind::UnexpectedEof => Some(Cause::Reset),
        _ => None,
    }
}

/// Recognises errors of hyper, hyper-util, reqwest, rustls, OpenSSL, hickory and std by the beginning of their text,
/// because the types of these errors are private, or belong to crates on which this module does not depend.
fn by_text(error: &(dyn StdError + 'static)) -> Option<Cause> {
    let head = Head::of(error);
    let head = head.text();
    let begins = |(beginning, _): &&(&str, Cause)| head.starts_with(beginning.as_bytes());
    let is_of_openssl = || head.starts_with(b"error:") && head.windows(4).any(|part| part == b"SSL ");
    BEGINNINGS.iter().find(begins).map(|(_, cause)| *cause).or_else(|| is_of_openssl().then_some(Cause::Tls))
}

const BEGINNINGS: [(&str, Cause); 18] = [
    ("dns error", Cause::Dns),
    ("failed to lookup address information", Cause::Dns),
    ("no record found for", Cause::Dns),
    ("no records found for", Cause::Dns),
    ("invalid peer certificate", Cause::Tls),
    ("received fatal alert", Cause::Tls),
    ("received corrupt message", Cause::Tls),
    ("peer misbehaved", Cause::Tls),
    ("peer is incompatible", Cause::Tls),
    ("peer sent no certificates", Cause::Tls),
    ("tls handshake", Cause::Tls),
    ("client error (Connect)", Cause::Connect),
    ("error trying to connect", Cause::Connect),
    ("tcp connect error", Cause::Connect),
    ("error reading a body from connection", Cause::Body),
    ("error decoding response body", Cause::Body),
    ("request or response body error", Cause::Body),
    ("connection closed before message completed", Cause::Reset),
];

/// The beginnings of the texts of hyper and hyper-util for a failed body of a request, and for a request that these
/// crates did not send.
const OF_CALLER: [&str; 7] = [
    "error from user's Body stream",
    "user body write aborted",
    "user sent CONNECT request with non-zero body",
    "client error (User",
    "invalid URL, scheme is not http",
    "invalid URL, scheme is missing",
    "invalid URL, host is missing",
];

/// The first bytes of a text. Writing fails when the buffer is full.
struct Head {
    bytes: [u8; LONGEST_HEAD],
    length: usize,
}

impl Head {
    fn of(error: &(dyn StdError + 'static)) -> Self {
        let mut head = Self { bytes: [0; LONGEST_HEAD], length: 0 };
        // `write!` fails only if the text is longer than `head`, and the beginning of the text is enough.
        write!(head, "{error}").ok();
        head
    }

    fn text(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Write for Head {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = &mut self.bytes[self.length..];
        let taken = part.len().min(room.len());
        room[..taken].copy_from_slice(&part.as_bytes()[..taken]);
        self.length += taken;
        if taken < part.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// The number of bytes that are compared at the beginning of an error text.
const LONGEST_HEAD: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::outcome_of;
    use crate::error::BoxError;
    use crate::outcome::Outcome;

    /// An error with a text and a source.
    #[derive(Debug)]
    struct Wraps(&'static str, Option<BoxError>);

    impl fmt::Display for Wraps {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl StdError for Wraps {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            self.1.as_ref().map(|source| -> &(dyn StdError + 'static) { source.as_ref() })
        }
    }

    fn io(kind: io::ErrorKind) -> BoxError {
        Box::new(io::Error::from(kind))
    }

    #[test]
    fn the_kind_is_that_of_the_most_telling_source() {
        for (text, source, kind) in [
            ("mine", None, FailureKind::Error),
            ("mine", Some(io(io::ErrorKind::ConnectionRefused)), FailureKind::Connect),
            ("mine", Some(io(io::ErrorKind::BrokenPipe)), FailureKind::Reset),
            ("client error (Connect)", Some(io(io::ErrorKind::ConnectionReset)), FailureKind::Connect),
            ("error reading a body from connection", Some(io(io::ErrorKind::UnexpectedEof)), FailureKind::Body),
            ("client error (Connect)", Some(Wraps("dns error", None).into()), FailureKind::Dns),
            ("mine", Some(io::Error::other("invalid peer certificate: UnknownIssuer").into()), FailureKind::Tls),
            (
                "mine",
                Some(Box::new(io::Error::other(Wraps("x", Some(io(io::ErrorKind::BrokenPipe)))))),
                FailureKind::Reset,
            ),
            ("error:0A000086:SSL routines::certificate verify failed", None, FailureKind::Tls),
            ("error:0A000086:of mine", None, FailureKind::Error),
        ] {
            assert_eq!(hard(&Wraps(text, source)), Failure::hard().with_kind(kind), "{text}");
        }
    }

    /// The body of a request can be the response body of another service. Such a body fails with errors of an HTTP
    /// client.
    #[test]
    fn an_error_below_the_body_of_a_request_says_nothing_about_the_service() {
        let below: Vec<BoxError> = vec![
            io(io::ErrorKind::TimedOut),
            io(io::ErrorKind::ConnectionReset),
            Wraps("client error (Connect)", None).into(),
            crate::call::Elapsed::new(std::time::Duration::ZERO).into(),
            #[cfg(feature = "http")]
            h2::Error::from(h2::Reason::REFUSED_STREAM).into(),
            #[cfg(feature = "tonic")]
            tonic::Status::unavailable("of another service").into(),
            #[cfg(feature = "reqwest")]
            reqwest::Client::new().get("no address").build().unwrap_err().into(),
        ];
        for error in below {
            let text = error.to_string();
            let body = Wraps("error from user's Body stream", Some(error));
            let sent = Wraps("client error (SendRequest)", Some(body.into()));
            assert_eq!(outcome_of(&sent), Outcome::Ignored, "{text}");
        }
        for text in OF_CALLER {
            let sent = Wraps("client error (SendRequest)", Some(Wraps(text, None).into()));
            assert_eq!(outcome_of(&sent), Outcome::Ignored, "{text}");
            assert_eq!(outcome_of(&io::Error::other(sent)), Outcome::Ignored, "{text}");
        }
    }

    #[test]
    fn the_text_is_that_of_the_last_source() {
        let error = Wraps("outer", Some(Box::new(Wraps("middle", Some(io(io::ErrorKind::BrokenPipe))))));
        assert_eq!(text_of(&error), "broken pipe");
        assert_eq!(text_of(&Wraps("alone", None)), "alone");
    }
}
