//! The cause of a transport error, as a kind for metrics and as a text for people.
//!
//! A refused connection, a name that has no address, and a failed handshake are errors of a dozen libraries,
//! and few of these libraries have a public type for them. Therefore the kind comes from an `io::Error` among
//! the sources, or from the beginning of the text of an error. Finding the kind allocates nothing, because in
//! an outage every call fails.

use std::error::Error as StdError;
use std::fmt::{self, Write};
use std::io;

use crate::outcome::{Failure, FailureKind, Outcome};
use crate::state::text::beginning;

/// Returns a hard failure of the kind that the error and its sources show.
pub(super) fn hard(error: &(dyn StdError + 'static)) -> Outcome {
    Failure::hard().with_kind(kind_of(error)).into()
}

/// Returns the kind that the error and its sources show, or [`FailureKind::Error`].
///
/// The phase of the call says more than the way in which a connection ended. A reset during the handshake is
/// therefore of the kind `connect`, and the end of a connection within a body is of the kind `body`.
pub(super) fn kind_of(error: &(dyn StdError + 'static)) -> FailureKind {
    let mut found = None;
    let mut next = Some(error);
    for _ in 0..LONGEST_CHAIN {
        let Some(error) = next else { break };
        found = found.max(by_text(error));
        if let Some(error) = error.downcast_ref::<io::Error>() {
            found = found.max(by_io(error.kind()));
            // The wrapped error is examined separately, because the `source` of an `io::Error` skips the
            // error that the `io::Error` wraps. Both errors have the same text but different types.
            let wrapped = error.get_ref().map(|wrapped| kind_of(wrapped));
            found = found.max(wrapped.and_then(Cause::of));
        }
        next = error.source();
    }
    found.map_or(FailureKind::Error, Cause::kind)
}

/// Returns the text of the innermost source, which caused all other errors. The texts of the errors around the
/// source repeat this text or are less precise.
pub(super) fn text_of(error: &(dyn StdError + 'static)) -> String {
    let mut root = error;
    for _ in 0..LONGEST_CHAIN {
        let Some(source) = root.source() else { break };
        root = source;
    }
    #[cfg(feature = "tonic")]
    if let Some(status) = root.downcast_ref::<tonic::Status>() {
        // The text is the message, or the code if there is no message. The details and the metadata of a status are not
        // shown, because they can be secret.
        return if status.message().is_empty() { status.code().to_string() } else { status.message().to_owned() };
    }
    beginning(root)
}

/// The causes, ordered so that a later cause says more and wins.
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

    fn of(kind: FailureKind) -> Option<Self> {
        [Self::Reset, Self::Connect, Self::Body, Self::Tls, Self::Dns].into_iter().find(|cause| cause.kind() == kind)
    }
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

/// Returns true if the caller is the cause of the error. Either hyper refused to send the request, for example because
/// its URI has no host, or the request broke off because its own body failed. In a proxy, such a body belongs to a
/// client that goes away during its upload.
///
/// For a failed body over HTTP/1 hyper reports the failed body, and over HTTP/2 hyper resets the stream. Only a failed body lets hyper
/// reset a stream whose response is still awaited.
pub(super) fn is_of_the_caller(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    for _ in 0..LONGEST_CHAIN {
        let Some(error) = next else { break };
        #[cfg(feature = "http")]
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_reset() && !error.is_remote() && !error.is_library();
        }
        let head = Head::of(error);
        if OF_THE_CALLER.iter().any(|beginning| head.text().starts_with(beginning)) {
            return true;
        }
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if wrapped.is_some_and(|wrapped| is_of_the_caller(wrapped)) {
            return true;
        }
        next = error.source();
    }
    false
}

/// Recognises errors of hyper, hyper-util, rustls, OpenSSL, hickory and std by the beginning of their text, because
/// these errors have no public type.
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

/// The beginnings of the texts of hyper and hyper-util for a failed body of a request, and for a request that they did
/// not send.
const OF_THE_CALLER: [&[u8]; 3] = [b"error from user's Body stream", b"client error (User", b"invalid URL, "];

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

/// The number of bytes at the beginning of a text that are compared.
const LONGEST_HEAD: usize = 64;
/// The largest number of errors of a chain of sources that are examined, because a faulty chain can have no end.
const LONGEST_CHAIN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::BoxError;

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
            assert_eq!(kind_of(&Wraps(text, source)), kind, "{text}");
        }
    }

    #[test]
    fn the_text_is_that_of_the_last_source() {
        let error = Wraps("outer", Some(Box::new(Wraps("middle", Some(io(io::ErrorKind::BrokenPipe))))));
        assert_eq!(text_of(&error), "broken pipe");
        assert_eq!(text_of(&Wraps("alone", None)), "alone");
    }

    #[test]
    fn a_chain_without_an_end_is_left() {
        #[derive(Debug)]
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("again")
            }
        }
        impl StdError for Endless {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                Some(self)
            }
        }
        assert_eq!((kind_of(&Endless), text_of(&Endless)), (FailureKind::Error, "again".to_owned()));
    }
}
