//! How many calls a second one thread makes, and how many two make together on the same circuit.

use std::sync::Barrier;
use std::time::Duration;
use std::time::Instant;

use crate::cli::{Options, quantile};

/// Makes the calls of one thread.
pub(crate) type Caller = Box<dyn FnMut(u64) + Send>;

/// The cases of one table. Each makes a new caller of the same circuit for every thread.
#[derive(Default)]
pub(crate) struct Contest(Vec<(String, Box<dyn Fn() -> Caller>)>);

/// Millions of calls a second, the median of the rounds that nothing disturbed.
#[derive(Debug)]
pub(crate) struct Throughput {
    pub(crate) name: String,
    pub(crate) one: f64,
    pub(crate) two: f64,
    pub(crate) two_p10: f64,
    pub(crate) two_p90: f64,
    /// How many rounds counted for `two`.
    pub(crate) rounds: usize,
}

impl Contest {
    pub(crate) fn case<C: FnMut(u64) + Send + 'static>(&mut self, name: &str, caller: impl Fn() -> C + 'static) {
        self.0.push((name.to_owned(), Box::new(move || Box::new(caller()))));
    }

    /// Runs short rounds, interleaved, until each case has as many as asked for that no other process disturbed.
    pub(crate) fn measure(mut self, options: &Options) -> Vec<Throughput> {
        self.0.retain(|(name, _)| options.wants(name));
        let wanted = options.rounds.min(MOST_ROUNDS);
        let mut seen: Vec<[Vec<f64>; 2]> = self.0.iter().map(|_| [Vec::new(), Vec::new()]).collect();
        for _ in 0..wanted * PATIENCE {
            for ((_, caller), seen) in self.0.iter().zip(&mut seen) {
                for (threads, rates) in [1, 2].into_iter().zip(seen) {
                    if rates.len() < wanted {
                        rates.extend(together((0..threads).map(|_| caller()).collect()));
                    }
                }
            }
        }
        let median = |(name, [mut one, mut two]): (String, [Vec<f64>; 2])| {
            // On a machine that is never quiet there is nothing to tell.
            let of = |rates: &mut Vec<f64>, share| if rates.is_empty() { f64::NAN } else { quantile(rates, share) };
            let (two_p10, two_p90) = (of(&mut two, 0.1), of(&mut two, 0.9));
            Throughput { name, one: of(&mut one, 0.5), two: of(&mut two, 0.5), two_p10, two_p90, rounds: two.len() }
        };
        self.0.into_iter().map(|(name, _)| name).zip(seen).map(median).collect()
    }
}

/// The usual table of throughputs: a header, and a row each.
pub(crate) fn throughput_rows(throughputs: &[Throughput]) -> Vec<Vec<String>> {
    let row = |throughput: &Throughput| {
        let Throughput { name, one, two, two_p10, two_p90, rounds } = throughput;
        let spread = format!("{two_p10:.1} – {two_p90:.1}");
        let ratio = format!("{:.2}", two / one);
        vec![name.clone(), format!("{one:.1}"), format!("{two:.1}"), spread, ratio, rounds.to_string()]
    };
    throughputs.iter().map(row).collect()
}

pub(crate) const THROUGHPUT_HEADER: [&str; 6] =
    ["million calls a second", "1 thread", "2 threads", "p10 – p90", "2 : 1", "rounds"];

/// Runs each caller on a thread of its own. `None` if one of them had to wait for a core, or started late.
fn together(callers: Vec<Caller>) -> Option<f64> {
    let start = Barrier::new(callers.len());
    let runs: Vec<Run> = std::thread::scope(|scope| {
        let threads: Vec<_> = callers.into_iter().map(|caller| scope.spawn(|| alone(caller, &start))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no call panics")).collect()
    });
    let first = runs.iter().map(|run| run.begin).min()?;
    let disturbed = |run: &Run| run.waited + run.begin.duration_since(first) > ROUND / 20;
    (!runs.iter().any(disturbed)).then(|| runs.iter().map(|run| run.rate).sum())
}

struct Run {
    begin: Instant,
    waited: Duration,
    rate: f64,
}

fn alone(mut caller: Caller, start: &Barrier) -> Run {
    caller(BATCH);
    start.wait();
    let (begin, before, mut batches) = (Instant::now(), waited_for_a_core(), 0.0);
    while begin.elapsed() < ROUND {
        caller(BATCH);
        batches += 1.0;
    }
    let rate = batches * f64::from(BATCH_U32) / begin.elapsed().as_secs_f64() / 1e6;
    Run { begin, waited: waited_for_a_core().saturating_sub(before), rate }
}

/// How long the kernel let this thread wait although it could have run. Zero where it does not say.
fn waited_for_a_core() -> Duration {
    let line = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(line.split(' ').nth(1).and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

const ROUND: Duration = Duration::from_millis(4);
/// How many rounds to try for one that is not disturbed.
const PATIENCE: usize = 20;
const MOST_ROUNDS: usize = 41;
const BATCH_U32: u32 = 256;
const BATCH: u64 = BATCH_U32 as u64;
