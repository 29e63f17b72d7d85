//! `circuitctl`, the command line for operators. The program shows the circuits in a store and writes orders to the
//! store. All instances that use the store apply the orders.
//!
//! The program has no circuits itself. Each command loads records or sends an order through [`Operator`], and reports
//! the result as a sentence, as an exit code and, with `--json`, as a document. The rules for orders are in the
//! library, so that every caller follows the same rules.

#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

#[path = "circuitctl/act.rs"]
mod act;
#[path = "circuitctl/address.rs"]
mod address;
#[path = "circuitctl/args.rs"]
mod args;
#[path = "../calendar.rs"]
mod calendar;
#[path = "circuitctl/document.rs"]
mod document;
#[path = "circuitctl/failure.rs"]
mod failure;
#[path = "circuitctl/members.rs"]
mod members;
#[path = "circuitctl/page.rs"]
mod page;
#[path = "../shown.rs"]
#[cfg_attr(not(test), expect(dead_code, reason = "the library uses the rest of the file"))]
mod shown;
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

use clap::Parser;
use tower_circuit_breaker::operation::Operator;
use tower_circuit_breaker::store::AuditFilter;

use address::Stores;
use args::{Arguments, Command};
use failure::{Code, Failure};
use view::View;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // The user has requested the help or the version. A failure to print the text is ignored, for example a closed
        // pipe.
        Err(help) if !help.use_stderr() => {
            help.print().ok();
            return Code::Done.into();
        }
        Err(invalid) => {
            let text = address::hide(&invalid.render().to_string());
            report(text.lines().map(table::plain).collect::<Vec<_>>().join("\n").trim_end());
            if asks_for_json() {
                print(&document::failed(&Failure::of_arguments(&invalid))).ok();
            }
            return Code::Usage.into();
        }
    };
    let json = arguments.json;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime of one thread needs a few file descriptors");
    let answer = runtime.block_on(run(arguments));
    // The runtime is not dropped, because the drop would wait for a file operation on a disk that hangs.
    runtime.shutdown_background();
    let (text, code) = match answer {
        Ok(answer) => answer,
        Err(failure) => {
            report(&format!("circuitctl: {}", table::plain(&address::hide(&failure.sentence))));
            (if json { document::failed(&failure) } else { String::new() }, failure.code)
        }
    };
    match print(&text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            report(&format!("circuitctl: the answer could not be written: {error}"));
            Code::Unprinted.into()
        }
        // The text was printed, or the reader has closed the pipe, as `| head -1` does. A closed pipe does not undo an
        // order, so the program returns the exit code of the command.
        _ => code.into(),
    }
}

/// The result of a command: the text to print and the exit code, or a failure.
type Answer = Result<(String, Code), Failure>;

async fn run(arguments: Arguments) -> Answer {
    let Arguments { json, timeout, command, .. } = &arguments;
    let Stores { store, cache, no_cache } = address::open(arguments.store.as_ref(), arguments.cache.as_ref())?;
    if let Some(cache) = cache
        && let Err(error) = Operator::new(cache).timeout(*timeout).now().await
    {
        let cause = table::plain(&address::hide(&error.chain()));
        report(&format!("circuitctl: the cache does not answer, so instances that use it may miss an order: {cause}"));
    }
    let operator = Operator::new(store).timeout(*timeout);
    let operator = act::as_login(operator, command);
    let operator = if no_cache { operator.ignore_tiers() } else { operator };
    let page = page::Page { json: *json, colour: table::colour() };
    match command {
        Command::Status { limit } => {
            let shown = operator.list().await.map_err(|error| Failure::of_store(&error))?;
            let mut views: Vec<_> = shown.iter().map(View::of).collect();
            let left_out = views.len().saturating_sub(*limit);
            if left_out > 0 {
                // Circuits that need attention come first, so that the limit first cuts off circuits without problems.
                // The sort is stable, so the circuits that need attention stay sorted by name.
                views.sort_by_key(|view| !view.needs_attention());
                views.truncate(*limit);
            }
            Ok((page.status(&views, left_out), Code::Done))
        }
        Command::Show { name } => {
            let shown = operator.show(name).await.map_err(|refused| Failure::of_read(&refused))?;
            Ok((page.show(&View::of(&shown)), Code::Done))
        }
        Command::IsTripped { name } => {
            let shown = operator.show(name).await.map_err(|refused| Failure::of_read(&refused))?;
            let view = View::of(&shown);
            let tripped = view.tripped()?;
            Ok((page.is_tripped(&view, tripped), if tripped { Code::Done } else { Code::NotTripped }))
        }
        Command::Audit { service, user, since, limit } => {
            let since = match since {
                Some(since) => Some(since.from(operator.now().await.map_err(|error| Failure::of_store(&error))?)),
                None => None,
            };
            // The query loads one row more than the command prints. If the extra row exists, there are older rows.
            let mut filter = AuditFilter::new().limit(limit + 1);
            (filter.service, filter.user, filter.since) = (service.clone(), user.clone(), since);
            let mut rows = operator.audit(&filter).await.map_err(|error| Failure::of_store(&error))?;
            let more = rows.len() > *limit;
            rows.truncate(*limit);
            Ok((page.audit(&rows, more), Code::Done))
        }
        Command::Members { fleet, limit } => members::run(&operator, &page, fleet.as_deref(), *limit).await,
        Command::Watch { names, limit } => watch::run(&operator, &page, names, *limit).await,
        Command::Trip { .. }
        | Command::Reset { .. }
        | Command::Disable { .. }
        | Command::Resume { .. }
        | Command::Forget { .. } => act::run(&operator, &page, command).await,
    }
}

/// Returns true if the command line contains `--json`. This function is called only if the arguments are invalid.
/// Invalid arguments have no parsed form, so this function searches their texts.
fn asks_for_json() -> bool {
    std::env::args_os().skip(1).take_while(|argument| argument != "--").any(|argument| argument == "--json")
}

/// Prints the text to stdout and flushes, so that a write error is noticed before the process ends.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes a line to stderr. A write error is ignored, because the program has no other place to report the error.
fn report(line: &str) {
    writeln!(io::stderr().lock(), "{line}").ok();
}

/// Returns true if stdout is a terminal, and not a file or a pipe.
fn is_terminal() -> bool {
    io::stdout().is_terminal()
}
