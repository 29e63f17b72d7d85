//! What the example is asked on its command line.

use tower_circuit_breaker::BoxError;

use crate::restart::child::Orders;

/// The embedded default: no server is needed, and it survives the process.
const DEFAULT_STORE: &str = "sqlite://data/circuit_breaker.db";
pub(crate) const USAGE: &str =
    "outage [--store [URL]], where URL is sqlite://PATH (the default), file:FOLDER, postgres://… or redis://…";

/// What this process is here for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// The whole demonstration, with the circuits of its third part in that store.
    Demonstration { store: String },
    /// One of the processes of the third part: the example starts itself.
    Child(Orders),
}

/// Reads the command line.
pub(crate) fn asked(arguments: impl IntoIterator<Item = String>) -> Result<Asked, BoxError> {
    let mut arguments = arguments.into_iter().peekable();
    let mut store = DEFAULT_STORE.to_owned();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            Orders::FLAG => return Orders::read(arguments).map(Asked::Child),
            "--store" => {
                if let Some(url) = arguments.next_if(|next| !next.starts_with("--")) {
                    store = url;
                }
            }
            other => match other.strip_prefix("--store=") {
                Some(url) => url.clone_into(&mut store),
                None => return Err(format!("there is no `{other}`: {USAGE}").into()),
            },
        }
    }
    Ok(Asked::Demonstration { store })
}
