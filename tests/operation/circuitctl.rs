//! `circuitctl` as a program: what it prints, how it ends, and what it does to a service in another process.

mod answers;
mod bounds;
mod fleet;
mod hostile;
mod members;
mod quorum;
mod root;
mod runbook;
mod stores;

use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tower_circuit_breaker::store::SqliteStore;

use crate::servers::folder::Folder;
use crate::servers::users;

/// The program with that store, as `ana`, in an environment that says nothing else.
struct Circuitctl {
    store: String,
    /// True if permissions bind the program, also if root runs the tests.
    bound: bool,
}

/// What it said, and how it ended.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Circuitctl {
    fn on(store: impl Into<String>) -> Self {
        Self { store: store.into(), bound: false }
    }

    fn bound_by_permissions(self) -> Self {
        Self { bound: true, ..self }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_circuitctl"));
        if self.bound {
            command = users::bound_by_permissions();
            command.arg(env!("CARGO_BIN_EXE_circuitctl"));
        }
        command.env_clear().env("PATH", std::env::var("PATH").unwrap());
        command.env("CIRCUIT_BREAKER_STORE", &self.store).env("USER", "ana");
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        said(self.command(arguments).output().unwrap())
    }

    /// Runs it, and expects that it does what it was told.
    #[track_caller]
    fn does(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{arguments:?}: {said:?}");
        said.out
    }

    /// Runs it with `--json`, and reads the document, of which there is one whatever happens.
    #[track_caller]
    fn document(&self, arguments: &[&str]) -> (i32, Value) {
        let said = self.run(&[&["--json"], arguments].concat());
        let document = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"));
        (said.code, document)
    }
}

fn said(output: Output) -> Said {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// A file with its tables, which `circuitctl` itself never makes.
async fn sqlite() -> (Folder, Circuitctl) {
    let folder = Folder::new();
    let file = folder.path().join("circuit_breaker.db");
    SqliteStore::new(&file).ensure_schema().await.unwrap();
    let program = Circuitctl::on(format!("sqlite://{}", file.display()));
    (folder, program)
}

fn files() -> (Folder, Circuitctl) {
    let folder = Folder::new();
    let program = Circuitctl::on(format!("file:{}", folder.path().display()));
    (folder, program)
}
