//! An old version of this crate beside the new one, in one process: what a call adds to the bare service, and what two threads
//! make together of what one makes alone.
//!
//! `scripts/bench-versions` prints the tables. Only rounds of one process are compared, as machines are shared and clocks change.
//! But where the stack and the heap of a process lie changes a row by up to 1 ns, so the tables are medians over several
//! processes, with the least and the most.

#[path = "../../harness/calls.rs"]
mod calls;
#[path = "../../harness/cli.rs"]
mod cli;
#[expect(dead_code, reason = "the tables here are others")]
#[path = "../../harness/rounds.rs"]
mod rounds;
#[expect(dead_code, reason = "the tables here are others")]
#[path = "../../harness/threads.rs"]
mod threads;

mod cases;
mod recorder;
mod report;

use std::process::Command;

use cases::{new, old};
use cli::Options;
use rounds::{Price, Rounds};
use threads::{Contest, Throughput};

fn main() {
    let options = Options::from_args();
    if std::env::var_os(CHILD).is_some() {
        return measure(&options);
    }
    let processes = std::env::var("PROCESSES").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let program = std::env::current_exe().expect("a bench knows where it is");
    let outputs: Vec<String> = (0..processes)
        .map(|_| {
            let mut child = Command::new(&program);
            let output = child.args(std::env::args().skip(1)).env(CHILD, "1").output().expect("a bench starts itself");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).expect("it prints text")
        })
        .collect();
    report::print(&outputs);
}

/// Measures in this process, and prints a line for each number.
fn measure(options: &Options) {
    metrics::set_global_recorder(recorder::Counting).expect("it is the first");
    let mut rounds = Rounds::default();
    let mut service = calls::inner(calls::answer);
    rounds.case(BARE, move |calls| calls::call_through(&mut service, calls));
    old::prices(&mut rounds);
    new::prices(&mut rounds);
    let prices = rounds.measure(options);
    let bare = prices.first().map_or(0.0, |price| price.least);
    for Price { name, least, .. } in prices.iter().skip(1) {
        println!("added\t{name}\t{}", least - bare);
    }

    let mut contest = Contest::default();
    contest.case(BARE, || {
        let mut service = calls::inner(calls::answer);
        move |calls| calls::call_through(&mut service, calls)
    });
    old::contests(&mut contest);
    new::contests(&mut contest);
    for Throughput { name, one, two, .. } in contest.measure(options) {
        println!("threads\t{name}\t{}\t{one}", two / one);
    }
}

const CHILD: &str = "BENCH_VERSIONS_CHILD";
const BARE: &str = "bare service";
