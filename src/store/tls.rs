//! The certificate files and the TLS errors of all stores that connect to a server.
//!
//! A refused certificate and an unusable file are problems that last until an operator corrects them. Therefore the
//! kind of the error is `Refused`, and the error names the file.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::store::StoreError;

/// A file in PEM format, which is named by a parameter of an address or by an environment variable.
#[derive(Debug, Clone)]
pub(super) struct Pem {
    name: &'static str,
    path: PathBuf,
    content: Content,
}

/// The content that a file must have.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content {
    /// The certificates that verify the server.
    Ca,
    /// The certificate of this client.
    Certificate,
    /// The private key of this client.
    Key,
}

impl Pem {
    pub(super) fn new(name: &'static str, path: impl Into<PathBuf>, content: Content) -> Self {
        Self { name, path: path.into(), content }
    }

    #[cfg(feature = "postgres")]
    pub(super) const fn content(&self) -> Content {
        self.content
    }

    /// Returns the content of the file.
    ///
    /// # Errors
    ///
    /// [`Refused`](super::StoreErrorKind::Refused) if the file cannot be read, or does not have the expected content.
    pub(super) fn read(&self) -> Result<Vec<u8>, StoreError> {
        let refused = |problem: &str| StoreError::refused(format!("{self} {problem}"));
        let mut bytes = Vec::new();
        // The type of the file is checked first, because opening a pipe would wait for a writer.
        let read = std::fs::metadata(&self.path).and_then(|metadata| {
            if !metadata.is_file() {
                return Err(std::io::Error::other("it is not a regular file"));
            }
            File::open(&self.path)?.take(LONGEST).read_to_end(&mut bytes)
        });
        read.map_err(|error| refused(&format!("cannot be read: {error}")))?;
        let (mark, missing) = match self.content {
            Content::Ca | Content::Certificate => ("-----BEGIN CERTIFICATE-----", "has no certificate in PEM format"),
            Content::Key => ("PRIVATE KEY-----", "has no private key in PEM format"),
        };
        if !bytes.windows(mark.len()).any(|window| window == mark.as_bytes()) {
            return Err(refused(missing));
        }
        Ok(bytes)
    }
}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the file `{}` of `{}`", self.path.display(), self.name)
    }
}

/// Returns a description of the error if a certificate was refused, and `None` for any other error. `store` is the name
/// of the server. `ca` is the file with the CA that verifies the certificate of the server.
#[cfg(feature = "tls-rustls")]
pub(super) fn refusal(store: &str, ca: Option<&Pem>, error: &(dyn std::error::Error + 'static)) -> Option<String> {
    use std::sync::Arc;

    use rustls::{AlertDescription, Error};

    let mut next = Some(error);
    while let Some(error) = next {
        // An error of the crate `redis` holds its cause in an `Arc`, and `source` returns this `Arc` instead of the
        // cause.
        if let Some(shared) = error.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>() {
            next = Some(&**shared);
            continue;
        }
        let of_io = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let of_tls = error.downcast_ref::<Error>().or_else(|| of_io.and_then(|inner| inner.downcast_ref::<Error>()));
        match of_tls {
            Some(Error::InvalidCertificate(reason)) => {
                let roots = ca.map_or("the public CAs".to_owned(), ToString::to_string);
                return Some(format!("the certificate of {store} is refused: {reason} (verified with {roots})"));
            }
            Some(Error::AlertReceived(
                alert @ (AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied),
            )) => {
                return Some(format!("{store} refuses the client certificate, or the lack of one: {alert:?}"));
            }
            _ => {}
        }
        next = error.source();
    }
    None
}

/// Returns `None`, because this build has no TLS.
#[cfg(not(feature = "tls-rustls"))]
pub(super) fn refusal(_: &str, _: Option<&Pem>, _: &(dyn std::error::Error + 'static)) -> Option<String> {
    None
}

/// Logs a warning that the password goes to another host whose certificate is not verified.
pub(super) fn warn_of_password(store: &str, remedy: &str) {
    crate::telemetry::lines::warn(format_args!(
        "the password for {store} goes to another host whose certificate is not verified: use {remedy}"
    ));
}

/// Returns true if the host in an address is the machine of this process.
pub(super) fn is_this_host(host: &str) -> bool {
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.is_empty()
        || host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || ip.is_ok_and(|ip| ip.is_loopback())
}

/// The largest number of bytes that are read from a file. A bundle of all public CAs is shorter.
const LONGEST: u64 = 4 << 20;
