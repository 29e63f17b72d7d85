//! The arguments. What is written here for people is what `--help` says.

#![expect(clippy::doc_markdown, reason = "a terminal shows it as it stands")]

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tower_circuit_breaker::Config;
use tower_circuit_breaker::state::Generation;

use crate::address::Address;
use crate::time::{Since, duration};

/// Looks at circuit breakers in their store, and operates them: every instance on that store follows.
#[derive(Parser)]
#[command(name = "circuitctl", version, after_help = AFTER, max_term_width = 110)]
pub(crate) struct Arguments {
    /// Where the circuits are kept: file:FOLDER, sqlite://PATH, postgres://USER:PASSWORD@HOST/DATABASE or redis://HOST
    #[arg(long, global = true, value_name = "URL", env = "CIRCUIT_BREAKER_STORE", hide_env_values = true)]
    pub(crate) store: Option<Address>,
    /// The Redis in front of it, where instances have one: both are reached then
    #[arg(long, global = true, value_name = "URL", env = "CIRCUIT_BREAKER_CACHE", hide_env_values = true)]
    pub(crate) cache: Option<Address>,
    /// Print one JSON document, also of a refusal
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How long the store may take for each answer
    #[arg(long, global = true, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub(crate) timeout: Duration,
    #[command(subcommand)]
    pub(crate) what: What,
}

/// What is asked for.
#[derive(Subcommand)]
pub(crate) enum What {
    /// List every circuit
    Status,
    /// Show one circuit: why, since when, what each instance counts
    Show {
        #[arg(value_parser = name)]
        name: String,
    },
    /// Say by the exit code whether a circuit is tripped: open, half-open or forced open
    IsTripped {
        #[arg(value_parser = name)]
        name: String,
    },
    /// Force a circuit open: every call is rejected until a reset, or for as long as --for says
    Trip {
        #[command(flatten)]
        order: Given,
        #[command(flatten)]
        create: Create,
        /// Ends by itself after so long: 90s, 10m, 2h, 1d
        #[arg(long = "for", value_name = "TIME", value_parser = duration)]
        hold: Option<Duration>,
    },
    /// End every override and the opening: probe, or close at once
    Reset {
        #[command(flatten)]
        order: Given,
        #[command(flatten)]
        create: Create,
        /// Where it leads
        #[arg(long, value_enum, default_value_t = Target::HalfOpen)]
        to: Target,
        /// Also within 60 s of the trip
        #[arg(long)]
        force: bool,
    },
    /// Let every call through, uncounted: nothing protects the service then
    Disable {
        #[command(flatten)]
        order: Given,
        #[command(flatten)]
        create: Create,
        #[command(flatten)]
        hold: Hold,
    },
    /// Take an override away: what is beneath decides again. Undoes a trip by mistake
    Resume {
        #[command(flatten)]
        order: Given,
    },
    /// Delete what the store keeps of a circuit that nobody has any more
    Forget {
        #[command(flatten)]
        order: Given,
    },
    /// Print who did what and why, and what circuits did themselves, the newest first
    Audit {
        /// Only of that circuit
        #[arg(long, value_name = "NAME", value_parser = name)]
        service: Option<String>,
        /// Only what that operator did
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Only since then: 2h (ago), 2026-11-21, 2026-11-21T07:30 (UTC), or milliseconds since 1970
        #[arg(long, value_name = "TIME")]
        since: Option<Since>,
        /// At most so many rows
        #[arg(long, value_name = "ROWS", default_value_t = 100)]
        limit: usize,
    },
    /// Print a line for each change as it happens, until Ctrl-C
    Watch {
        /// Only these circuits
        #[arg(value_name = "NAME", value_parser = name)]
        names: Vec<String>,
    },
}

/// What every act is given.
#[derive(Args)]
pub(crate) struct Given {
    /// The circuit
    #[arg(value_parser = name)]
    pub(crate) name: String,
    /// Why: it is shown to everybody whose call is rejected, and kept in the audit
    #[arg(long)]
    pub(crate) reason: String,
    /// Who acts. Otherwise SUDO_USER, USER or LOGNAME of the environment
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Name the order: given again with the same ID, it is done once
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// Do it only if nothing has happened since that generation, which `show` prints
    #[arg(long, value_name = "GENERATION", value_parser = generation)]
    pub(crate) seen: Option<Generation>,
}

/// What acts have that may be the first of a circuit.
#[derive(Args)]
pub(crate) struct Create {
    /// Also if the store has no record of that name: a circuit that never failed has none
    #[arg(long)]
    pub(crate) create: bool,
}

/// For how long a circuit is disabled: it must be said.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Hold {
    /// Ends by itself after so long: 90s, 10m, 2h, 1d
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) hold: Option<Duration>,
    /// Until somebody resumes or resets it
    #[arg(long)]
    pub(crate) indefinitely: bool,
}

/// Where a reset leads.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Target {
    /// Probes decide
    HalfOpen,
    /// Every call goes through at once
    Closed,
}

fn name(text: &str) -> Result<String, String> {
    Config::new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn generation(text: &str) -> Result<Generation, std::num::ParseIntError> {
    text.parse().map(Generation::new)
}

const AFTER: &str = "\
Exit codes:
  0  done; `is-tripped`: it is tripped
  1  `is-tripped`: it is not tripped
  2  the command makes no sense as it was written
  3  refused: too early, stale, overtaken, nothing to resume, no usable record
  4  the store is away, or is none: no tables, no permission
  5  no such circuit in the store
  6  done and binding, but not in the audit: repeat it with the --id that is printed
  7  done, but the answer could not be printed

Give the address by CIRCUIT_BREAKER_STORE where it has a password: others on the host can read arguments.

Examples:
  circuitctl status
  circuitctl trip payments --reason 'maintenance of the provider' --for 30m
  circuitctl reset payments --reason 'the provider says that it is back'
  circuitctl audit --service payments --since 2h";
