//! The command-line arguments of `circuitctl`. The documentation of each item is the text of `--help`.

#![expect(clippy::doc_markdown, reason = "a terminal shows the text without Markdown")]

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tower_circuit_breaker::state::Generation;
use tower_circuit_breaker::{Config, Registry};

use crate::address::Address;
use crate::time::{Since, duration};

/// Shows circuit breakers in their store, and operates them on every instance of the application that uses this store.
#[derive(Parser)]
#[command(name = "circuitctl", version, after_help = AFTER, max_term_width = 110)]
pub(crate) struct Arguments {
    /// The address of the store: file:FOLDER, sqlite://PATH,
    /// postgres://USER:PASSWORD@HOST/DATABASE?sslmode=verify-full, rediss://HOST?ca=FILE (TLS),
    /// redis://HOST/DATABASE?prefix=PREFIX, redis-sentinel://HOST,HOST/MASTER, redis-cluster://HOST,HOST or
    /// unix:///SOCKET
    #[arg(long, global = true, value_name = "URL", env = "CIRCUIT_BREAKER_STORE", hide_env_values = true)]
    pub(crate) store: Option<Address>,
    /// The address of the Redis cache in front of the store, if the instances use a cache. Orders are then written to
    /// both. Use `false` if the cache was removed, but the store still has entries of instances that used the cache
    #[arg(long, global = true, value_name = "URL", env = "CIRCUIT_BREAKER_CACHE", hide_env_values = true)]
    pub(crate) cache: Option<Address>,
    /// Print one JSON document, also for a refusal
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The limit for each answer of the store
    #[arg(long, global = true, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub(crate) timeout: Duration,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A command.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the circuits. If there are more than --limit, the circuits that are not closed come first
    Status {
        /// At most this number of circuits
        #[arg(long, value_name = "CIRCUITS", default_value = "1000", value_parser = limit)]
        limit: usize,
    },
    /// Show one circuit: its state, the reason and the time of its last transition, the counts of each instance
    Show {
        /// The circuit
        #[arg(value_parser = name)]
        name: String,
    },
    /// Report by the exit code whether a circuit is tripped: open, half-open or forced open
    IsTripped {
        /// The circuit
        #[arg(value_parser = name)]
        name: String,
    },
    /// Force a circuit open, so that every call is rejected until a reset or for the time of --for
    Trip {
        #[command(flatten)]
        order: OrderArguments,
        #[command(flatten)]
        create: Create,
        /// End the hold after this time: 90s, 10m, 2h, 1d
        #[arg(long = "for", value_name = "TIME", value_parser = duration)]
        hold: Option<Duration>,
    },
    /// End every override and the open state. The circuit then probes, or is closed at once with `--to closed`
    Reset {
        #[command(flatten)]
        order: OrderArguments,
        #[command(flatten)]
        create: Create,
        /// The state after the reset
        #[arg(long, value_enum, default_value_t = Target::HalfOpen)]
        to: Target,
        /// Reset even within 60 s after the trip
        #[arg(long)]
        force: bool,
    },
    /// Let every call through without counting; nothing protects the service meanwhile
    Disable {
        #[command(flatten)]
        order: OrderArguments,
        #[command(flatten)]
        create: Create,
        #[command(flatten)]
        hold: Hold,
    },
    /// End an override, so that the circuit decides by itself again. Undoes a mistaken trip
    Resume {
        #[command(flatten)]
        order: OrderArguments,
    },
    /// Delete the record of a circuit that no instance has any more
    Forget {
        #[command(flatten)]
        order: OrderArguments,
    },
    /// Print the acts of operators and the transitions of circuits, the newest first. The user of a row is not verified
    Audit {
        /// Only rows of this circuit
        #[arg(long, value_name = "NAME", value_parser = name)]
        service: Option<String>,
        /// Only acts of this operator
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Only rows since this time: 2h (ago), 2026-11-21, 2026-11-21T07:30 (UTC), or milliseconds since 1970
        #[arg(long, value_name = "TIME")]
        since: Option<Since>,
        /// At most this number of rows
        #[arg(long, value_name = "ROWS", default_value = "100", value_parser = limit)]
        limit: usize,
    },
    /// List the members of fleets, with the time of their last heartbeat. An instance with the sharing "quorum" or
    /// "follow" writes a heartbeat every 10 s
    Members {
        /// Only the members of this fleet
        #[arg(value_name = "FLEET", value_parser = fleet)]
        fleet: Option<String>,
        /// At most this number of members
        #[arg(long, value_name = "MEMBERS", default_value = "1000", value_parser = limit)]
        limit: usize,
    },
    /// Print a line for each change, until Ctrl-C
    Watch {
        /// Only these circuits. A pattern such as 'host:*' stands for all circuits whose names begin with host:
        #[arg(value_name = "NAME", value_parser = name)]
        names: Vec<String>,
        /// The largest number of lines for one query of the store. The first query prints a line for every circuit
        #[arg(long, value_name = "LINES", default_value = "1000", value_parser = limit)]
        limit: usize,
    },
}

/// The arguments of every order.
#[derive(Args)]
pub(crate) struct OrderArguments {
    /// The circuit
    #[arg(value_parser = name)]
    pub(crate) name: String,
    /// The reason. The audit keeps the reason, and each rejected call has it in its error
    #[arg(long)]
    pub(crate) reason: String,
    /// The user who gives the order. Default: the first of SUDO_USER, USER and LOGNAME that is set. Required if none is
    /// set. The name is not verified. If the name differs from the default, the column INSTANCE of the audit shows the
    /// default
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// The id of the order. An order that is repeated with the same id takes effect only once. A new order needs a new
    /// id
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// Refuse the order if the circuit has changed since this generation, which `show` prints
    #[arg(long, value_name = "GENERATION", value_parser = generation)]
    pub(crate) seen: Option<Generation>,
}

/// The option of orders that may create the first record of a circuit.
#[derive(Args)]
pub(crate) struct Create {
    /// Carry out the order even if the store has no record of this name. A circuit that never failed has no record, and
    /// a misspelt name has none either. The store itself must exist: the folder, the file, the server and the tables of
    /// the database
    #[arg(long)]
    pub(crate) create: bool,
}

/// The duration of disabling. One of the options is required.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Hold {
    /// Enable the circuit again after this time: 90s, 10m, 2h, 1d
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) hold: Option<Duration>,
    /// Disable the circuit until a resume or a reset
    #[arg(long)]
    pub(crate) indefinitely: bool,
}

/// The state after a reset.
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

fn fleet(text: &str) -> Result<String, String> {
    Registry::builder().fleet(text).build().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn limit(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=MOST).contains(number));
    number.ok_or_else(|| format!("allowed is 1 to {MOST}"))
}

/// The largest number of rows of one answer, so that the memory for an answer has a limit.
const MOST: usize = 100_000;

fn generation(text: &str) -> Result<Generation, std::num::ParseIntError> {
    text.parse().map(Generation::new)
}

const AFTER: &str = "\
Exit codes:
  0  done; `is-tripped`: the circuit is tripped
  1  `is-tripped`: the circuit is not tripped
  2  the command is invalid
  3  refused: too early, stale, superseded, the id of another act, nothing to resume, no usable record, or the
     address of a cache is missing
  4  the store is unavailable or cannot be used: no tables, no permission
  5  no such circuit in the store
  6  done, but not in the audit, or in the cache only: repeat the order with the --id that is printed
  7  done, but the answer could not be printed

An act with the exit code 0 is stored with its row of the audit. Its answer says how many instances were seen to have it.

If the address has a password, use CIRCUIT_BREAKER_STORE, because other users of the host can read arguments.

Examples:
  circuitctl status
  circuitctl trip payments --reason 'maintenance of the provider' --for 30m
  circuitctl reset payments --reason 'the provider says that it is back'
  circuitctl audit --service payments --since 2h";
