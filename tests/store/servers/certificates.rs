//! Certificates of one test, made with `openssl`: a private CA, a CA that signed nothing, a server and a client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::folder::Folder;

/// `ca.crt`, `other.crt`, `server.crt` and `server.key` for `localhost` only, `client.crt` and `client.key` for `ana`.
pub(crate) struct Certificates(Folder);

impl Certificates {
    pub(crate) fn new() -> Self {
        let made = Self(Folder::new());
        for (authority, subject) in [("ca", "/CN=private CA"), ("other", "/CN=other CA")] {
            made.openssl(&format!("req -x509 {EC} -days 2 -keyout {authority}.key -out {authority}.crt"), subject);
        }
        fs::write(made.0.path().join("server.ext"), "subjectAltName=DNS:localhost").unwrap();
        fs::write(made.0.path().join("client.ext"), "subjectAltName=DNS:ana").unwrap();
        for (name, subject) in [("server", "/CN=localhost"), ("client", "/CN=ana")] {
            made.openssl(&format!("req {EC} -keyout {name}.key -out {name}.csr"), subject);
            let signed = format!("x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2");
            made.openssl(&format!("{signed} -extfile {name}.ext -out {name}.crt"), "");
        }
        made
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Returns the path of a file.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Returns the path of a file as text, for an address.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn openssl(&self, words: &str, subject: &str) {
        let mut command = Command::new("openssl");
        command.args(words.split(' ')).current_dir(self.0.path()).stdin(Stdio::null());
        if !subject.is_empty() {
            command.args(["-subj", subject]);
        }
        let done =
            command.output().expect("`openssl` is missing: run scripts/test, which installs what the tests need");
        assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

const EC: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
