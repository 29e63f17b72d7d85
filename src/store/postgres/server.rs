//! The server of a store: its options, the files of its certificates, and the errors of new connections.
//!
//! sqlx reports a missing file and a refused certificate as errors of the network. Such an error lasts until an
//! operator corrects the file or the certificate. Therefore this module reports the error as `Refused`, with the name
//! of the file.

use std::str::FromStr;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::address::{is_escaped, without_search_path};
use super::error::meaning;
use crate::keep::{Address, StoreKind};
use crate::store::StoreError;
use crate::store::tls::{self, Content, Pem, is_this_host};

#[derive(Clone)]
pub(super) struct Server {
    pub(super) options: PgConnectOptions,
    /// The search path that the address names, if any. The options do not have this search path, because each
    /// transaction sets the search path.
    pub(super) search_path: Option<String>,
    /// The files of certificates and keys that the address or the environment names.
    files: Vec<Pem>,
}

impl Server {
    pub(super) fn from_url(url: &str) -> Result<Self, StoreError> {
        if StoreKind::of(url) != Some(StoreKind::Postgres) {
            return Err(StoreError::refused("the address of the database does not begin with `postgres://`"));
        }
        let address = Address::parse(url)?;
        if !is_escaped(url) {
            return Err(StoreError::refused(
                "the address of the database cannot be used: characters like / ? # and @ in the user or the password \
                 must be percent-encoded",
            ));
        }
        let (url, search_path) = without_search_path(url);
        let options = PgConnectOptions::from_str(&url)
            .map_err(|error| StoreError::refused(format!("the address of the database cannot be used: {error}")))?;
        let named = FILES.map(|(name, _, content)| address.get(name).map(|path| Pem::new(name, path, content)));
        // The files are read here, so that a wrong path is refused at the start.
        for file in named.iter().flatten() {
            file.read()?;
        }
        Ok(Self { search_path, ..Self::new(options, named)? })
    }

    pub(super) fn from_options(options: PgConnectOptions) -> Result<Self, StoreError> {
        Self::new(options, [None, None, None])
    }

    fn new(options: PgConnectOptions, named: [Option<Pem>; 3]) -> Result<Self, StoreError> {
        let mode = options.get_ssl_mode();
        if !cfg!(feature = "tls-rustls")
            && matches!(mode, PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull)
        {
            return Err(StoreError::refused(format!(
                "the address of the database requires TLS (sslmode {mode:?}), which needs the feature `tls-rustls`"
            )));
        }
        // Poolers refuse startup parameters that they do not know, so `extra_float_digits` is not sent. The parameter
        // is not needed, because numbers are read in binary.
        let options = options.extra_float_digits(None).statement_cache_capacity(0).disable_statement_logging();
        let files = named.into_iter().zip(FILES).filter_map(|(file, (_, variable, content))| {
            file.or_else(|| {
                let path = std::env::var(variable).ok().filter(|text| !text.trim_start().starts_with("-----BEGIN"))?;
                Some(Pem::new(variable, path, content))
            })
        });
        let server = Self { files: files.collect(), options, search_path: None };
        if server.exposes_password() {
            tls::warn_of_password(&format!("the database at {}", server.options.get_host()), "`sslmode=verify-full`");
        }
        Ok(server)
    }

    /// Returns the statement that sets the search path of a transaction, or `None` if the address names no search path.
    pub(super) fn set_search_path(&self) -> Option<String> {
        let path = self.search_path.as_ref()?.replace('\\', "\\\\").replace('\'', "''");
        Some(format!("SELECT set_config('search_path', E'{path}', true)"))
    }

    /// Returns the store's error for an error that sqlx returned while a connection was opened.
    pub(super) fn failed(&self, error: &sqlx::Error) -> StoreError {
        if matches!(error, sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Configuration(_)) {
            if let Some(wrong) = self.files.iter().find_map(|file| file.read().err()) {
                return wrong;
            }
            let ca = self.files.iter().find(|file| matches!(file.content(), Content::Ca));
            if let Some(refusal) = tls::refusal("the database", ca, error) {
                return StoreError::refused(refusal);
            }
        }
        meaning(error)
    }

    /// Returns true if a password would be sent over a network to a host whose certificate is not verified.
    pub(super) fn exposes_password(&self) -> bool {
        let verified = matches!(self.options.get_ssl_mode(), PgSslMode::VerifyCa | PgSslMode::VerifyFull);
        let local = self.options.get_socket().is_some() || is_this_host(self.options.get_host());
        !verified && !local && has_password(&self.options)
    }
}

/// Returns true if the options have a password, which may come from the environment or from `.pgpass`.
///
/// The function searches the text of `Debug`, because sqlx has no method that returns the password.
fn has_password(options: &PgConnectOptions) -> bool {
    format!("{options:?}").contains(" password: Some(")
}

/// The parameters of the address that name files. Each parameter has the environment variable that sqlx reads if the
/// parameter is missing, and the kind of content of the file.
const FILES: [(&str, &str, Content); 3] = [
    ("sslrootcert", "PGSSLROOTCERT", Content::Ca),
    ("sslcert", "PGSSLCERT", Content::Certificate),
    ("sslkey", "PGSSLKEY", Content::Key),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_exposed_to_another_host_without_a_verified_certificate() {
        let exposes = |url: &str| Server::from_url(url).map(|server| server.exposes_password()).ok();
        for (url, exposed) in [
            ("postgres://ana:secret@db/x", true),
            ("postgres://ana@db/x?password=secret", true),
            ("postgres://ana:secret@db/x?sslmode=disable", true),
            ("postgres://ana@db/x", false),
            ("postgres://ana:secret@localhost/x", false),
            ("postgres://ana:secret@127.0.0.1/x", false),
            ("postgres://ana:secret@[::1]/x", false),
            ("postgres://ana:secret@db/x?host=/run/postgresql", false),
            ("postgres://ana:secret@localhost/x?host=db", true),
        ] {
            assert_eq!(exposes(url), Some(exposed), "{url}");
        }
        let tls = cfg!(feature = "tls-rustls");
        for (mode, exposed) in [("require", true), ("verify-ca", false), ("verify-full", false)] {
            let url = format!("postgres://ana:secret@db/x?sslmode={mode}");
            assert_eq!(exposes(&url), tls.then_some(exposed), "{url}");
        }
    }

    #[test]
    #[cfg(not(feature = "tls-rustls"))]
    fn an_address_that_asks_for_tls_is_refused_without_the_feature() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let refused = Server::from_url(&format!("postgres://u:secret@h/d?sslmode={mode}")).err().expect(mode);
            let refused = refused.to_string();
            assert!(refused.contains("needs the feature `tls-rustls`") && !refused.contains("secret"), "{refused}");
        }
    }
}
