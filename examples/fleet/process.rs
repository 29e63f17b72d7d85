//! The process of an instance, as the parent holds the process.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use reqwest::Url;
use tower_circuit_breaker::{BoxError, State};

use crate::instance::Part;
use crate::record::{Notes, What};

/// A process of this example, which is killed when the parent drops the value.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    addresses: ChildStdin,
}

impl Process {
    /// Starts the instance with that number, whose reports become notes.
    pub(crate) fn start(number: usize, part: &Part, notes: Notes) -> Result<Self, BoxError> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.args(part.arguments()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let addresses = child.stdin.take().ok_or("an instance has no input")?;
        let reports = child.stdout.take().ok_or("an instance has no output")?;
        // The thread ends with the process.
        std::thread::spawn(move || {
            for line in BufReader::new(reports).lines().map_while(Result::ok) {
                if let Some(what) = read(&line) {
                    notes.add(number, what);
                }
            }
            notes.add(number, What::Changed(None));
        });
        Ok(Self { child, addresses })
    }

    /// Makes the instance call that address from now on.
    pub(crate) fn call(&mut self, address: &Url) -> Result<(), BoxError> {
        Ok(writeln!(self.addresses, "{address}")?)
    }

    /// Kills the process as `kill -9` does, so that the process writes nothing more.
    pub(crate) fn kill(&mut self) -> Result<(), BoxError> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill().ok();
    }
}

fn read(line: &str) -> Option<What> {
    Some(match line {
        "ready" => What::Ready,
        "ok" => What::Succeeded,
        "failed" => What::Failed,
        "rejected" => What::Rejected,
        "probe" => What::Probed,
        state => {
            let states = [State::Closed, State::Open, State::HalfOpen];
            What::Changed(Some(states.into_iter().find(|known| known.as_str() == state)?))
        }
    })
}
