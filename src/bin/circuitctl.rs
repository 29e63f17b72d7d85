//! Operates circuits through their store, from a command line: the whole fleet follows.
//!
//! It has no circuits itself. It reads what instances have written, gives orders by [`Operator`], and says what came of it in one
//! sentence, by one exit code, and with `--json` in one document. What is not here: which acts are allowed, and what they mean.

#[path = "circuitctl/act.rs"]
mod act;
#[path = "circuitctl/address.rs"]
mod address;
#[path = "circuitctl/args.rs"]
mod args;
#[path = "circuitctl/document.rs"]
mod document;
#[path = "circuitctl/failure.rs"]
mod failure;
#[path = "../keep/mask.rs"]
mod mask;
#[path = "circuitctl/page.rs"]
mod page;
#[path = "circuitctl/table.rs"]
mod table;
#[path = "circuitctl/time.rs"]
mod time;
#[path = "circuitctl/view.rs"]
mod view;
#[path = "circuitctl/watch.rs"]
mod watch;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tower_circuit_breaker::operation::Operator;
use tower_circuit_breaker::record::Timestamp;
use tower_circuit_breaker::store::{AnyStore, AuditFilter, Store, StoreError};

use address::Stores;
use args::{Arguments, What};
use failure::{Code, Failure};
use view::View;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // Help and version; a pipe that nobody reads from is no failure.
        Err(asked) if !asked.use_stderr() => {
            asked.print().ok();
            return Code::Done.into();
        }
        Err(wrong) => {
            let text = address::hide(&wrong.render().to_string());
            complain(text.lines().map(table::plain).collect::<Vec<_>>().join("\n").trim_end());
            return Code::Usage.into();
        }
    };
    let json = arguments.json;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime of one thread needs a few file descriptors");
    let answer = runtime.block_on(run(arguments));
    // A disk that hangs must not keep the process.
    runtime.shutdown_background();
    let (text, code) = match answer {
        Ok(answer) => answer,
        Err(failure) => {
            complain(&format!("circuitctl: {}", table::plain(&address::hide(&failure.sentence))));
            (if json { document::failed(&failure) } else { String::new() }, failure.code)
        }
    };
    match say(&text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            complain(&format!("circuitctl: the answer could not be written: {error}"));
            Code::Unsaid.into()
        }
        // Nobody reads any more, `| head -1`: what was to be done is done.
        _ => code.into(),
    }
}

/// What is to be printed, and how it ended.
type Answer = Result<(String, Code), Failure>;

async fn run(arguments: Arguments) -> Answer {
    let Arguments { json, timeout, what, .. } = &arguments;
    let Stores { store, cache } = address::open(arguments.store.as_ref(), arguments.cache.as_ref())?;
    if let Some(cache) = cache
        && let Err(error) = asked(&cache, *timeout).await
    {
        let why = table::plain(&address::hide(&error.chain()));
        complain(&format!(
            "circuitctl: the cache does not answer, so instances that reach it may not hear of this: {why}"
        ));
    }
    let operator = Operator::new(store.clone()).timeout(*timeout);
    let page = page::Page { json: *json, colour: table::colour() };
    match what {
        What::Status => {
            let shown = operator.list().await.map_err(|error| Failure::of_store(&error))?;
            let views: Vec<_> = shown.iter().map(View::of).collect();
            Ok((page.status(&views), Code::Done))
        }
        What::Show { name } => {
            let shown = operator.show(name).await.map_err(|refused| Failure::of_look(&refused))?;
            Ok((page.show(&View::of(&shown)), Code::Done))
        }
        What::IsTripped { name } => {
            let shown = operator.show(name).await.map_err(|refused| Failure::of_look(&refused))?;
            let view = View::of(&shown);
            let tripped = view.tripped()?;
            Ok((page.is_tripped(&view, tripped), if tripped { Code::Done } else { Code::NotTripped }))
        }
        What::Audit { service, user, since, limit } => {
            let since = match since {
                Some(since) => {
                    Some(since.from(asked(&store, *timeout).await.map_err(|error| Failure::of_store(&error))?))
                }
                None => None,
            };
            let mut filter = AuditFilter::new().limit(*limit);
            (filter.service, filter.user, filter.since) = (service.clone(), user.clone(), since);
            let rows = operator.audit(&filter).await.map_err(|error| Failure::of_store(&error))?;
            Ok((page.audit(&rows), Code::Done))
        }
        What::Watch { names } => watch::run(&operator, &page, names).await,
        What::Trip { .. } | What::Reset { .. } | What::Disable { .. } | What::Resume { .. } | What::Forget { .. } => {
            act::run(&operator, &page, what).await
        }
    }
}

/// Asks a store for its time.
async fn asked(store: &AnyStore, timeout: Duration) -> Result<Timestamp, StoreError> {
    // Of some name, as a store may answer nothing to nothing.
    let names = ["circuitctl".to_owned()];
    match tokio::time::timeout(timeout, store.load_many(&names)).await {
        Ok(loaded) => Ok(loaded?.now),
        Err(_) => Err(StoreError::no_answer_within(timeout)),
    }
}

/// Prints at once and as a whole.
fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Says a line to whoever reads errors; whether anybody does changes nothing.
fn complain(line: &str) {
    writeln!(io::stderr().lock(), "{line}").ok();
}

/// Whether a person looks at it.
fn is_terminal() -> bool {
    io::stdout().is_terminal()
}
