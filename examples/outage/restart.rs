//! The third part: a process is killed while its circuit is open, and the next one knows.
//!
//! The example starts itself as the processes (`child.rs`), and kills them as the kernel would. The server is dead and counts
//! (`parts.rs`); it says who has reached it, and nobody else does. A third process, without a store, shows what happens
//! otherwise.

pub(crate) mod child;
mod parts;

use std::ops::Range;
use std::time::Duration;

use tower_circuit_breaker::record::CircuitRecord;
use tower_circuit_breaker::store::{AnyStore, AuditFilter, Store};
use tower_circuit_breaker::{BoxError, State};

use child::{Orders, wall};
use parts::{Dead, Process};

/// What is to happen, and where.
#[derive(Debug)]
pub(crate) struct Restart {
    url: String,
    store: AnyStore,
    circuit: String,
}

impl Restart {
    /// Opens the store, and sees that it answers: better now than after half of the demonstration.
    pub(crate) async fn prepare(url: &str) -> Result<Self, BoxError> {
        // A name that nobody has had: what an earlier run left behind proves nothing.
        let circuit = format!("orders-{}-{}", std::process::id(), wall().as_millis());
        let restart = Self { url: url.to_owned(), store: AnyStore::open(url)?, circuit };
        restart.record().await?;
        Ok(restart)
    }

    /// Plays it, prints it, and returns whether no request has reached the server that should not have.
    pub(crate) async fn play(&self) -> Result<bool, BoxError> {
        let kind = self.store.kind();
        println!(
            "3. A process is killed while its circuit is open\n\nThe settings are the defaults, the store is {kind}.\n"
        );
        let told = self.tell().await;
        // Whatever came of it: nobody will ask for this circuit again.
        self.forget().await?;
        told
    }

    async fn tell(&self) -> Result<bool, BoxError> {
        let (began, mut dead, mut other) = (wall(), Dead::start().await?, Dead::start().await?);
        let line = |text: String| println!("{:5.2} s  {text}", wall().saturating_sub(began).as_secs_f64());
        let orders = Orders { store: Some(self.url.clone()), circuit: self.circuit.clone(), server: dead.url.clone() };

        let mut first = Process::start(&orders)?;
        let opened = first.says("opened").await?;
        let (until, why) = opened.split_once(' ').ok_or("it opened and did not say for how long")?;
        let until = Duration::from_micros(until.parse()?);
        let reached = dead.reached(&(began..wall()));
        line(format!("the circuit of a process is open, because {why}; the dead server was reached {reached} times"));
        self.has_it(wall() + PATIENCE).await?;
        line("the store has it".to_owned());
        tokio::time::sleep(BEFORE_THE_KILL).await;
        let killed = wall();
        first.kill()?;
        line(format!("the process is killed; its circuit would have probed {} later", seconds(until, killed)));

        let nothing_kept = Orders { store: None, server: other.url.clone(), ..orders.clone() };
        let (mut second, mut without) = (Process::start(&orders)?, Process::start(&nothing_kept)?);
        line(format!("the next process: {}", second.says("restored").await?));
        let probe = dead.next().await.ok_or("the circuit never probed")?;
        tokio::time::sleep(AFTER_THE_PROBE).await;
        second.kill()?;
        without.kill()?;
        line(format!("it probes, {} after the deadline of the process that was killed", seconds(probe, until)));

        let time = killed..until.saturating_sub(RESOLUTION);
        let wrong = dead.reached(&time);
        let (with, without) = ((second.calls(&time), wrong), (without.calls(&time), other.reached(&time)));
        compare(&time, with, without);
        self.audited().await?;
        Ok(wrong == 0)
    }

    /// Waits until the store has the opening.
    async fn has_it(&self, at_the_latest: Duration) -> Result<(), BoxError> {
        while self.record().await?.is_none_or(|record| record.state != State::Open) {
            if wall() > at_the_latest {
                return Err(format!("the store can be read, but has not taken the opening within {PATIENCE:?}").into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// What the audit says of it.
    async fn audited(&self) -> Result<(), BoxError> {
        println!("What the audit in the store says:");
        for row in self.store.audit(&AuditFilter::new().service(&self.circuit)).await? {
            println!("  {:<12} {}", row.action, row.reason);
        }
        println!();
        Ok(())
    }

    async fn record(&self) -> Result<Option<CircuitRecord>, BoxError> {
        let mut loaded = self.store.load_many(std::slice::from_ref(&self.circuit)).await?;
        let entry = loaded.entries.pop().flatten();
        Ok(entry.map(|entry| CircuitRecord::decode(&self.circuit, &entry.bytes, loaded.now)).transpose()?)
    }

    async fn forget(&self) -> Result<(), BoxError> {
        let mut loaded = self.store.load_many(std::slice::from_ref(&self.circuit)).await?;
        if let Some(entry) = loaded.entries.pop().flatten() {
            self.store.delete(&self.circuit, &entry.etag).await?;
        }
        Ok(())
    }
}

/// Prints what came of it: calls admitted and rejected, and requests that arrived.
fn compare(time: &Range<Duration>, (a, with): ((usize, usize), usize), (b, without): ((usize, usize), usize)) {
    println!("\nFrom the kill to that deadline, {}    with the store   without one", seconds(time.end, time.start));
    println!("  calls that the next process made        {:>10} {:>13}", a.0 + a.1, b.0 + b.1);
    println!("  … of which its circuit rejected         {:>10} {:>13}", a.1, b.1);
    println!("  requests that reached the dead server   {:>10} {:>13}\n", with, without);
}

fn seconds(to: Duration, from: Duration) -> String {
    if to < from {
        return format!("-{:.3} s", (from - to).as_secs_f64());
    }
    format!("{:.3} s", (to - from).as_secs_f64())
}

const BEFORE_THE_KILL: Duration = Duration::from_millis(500);
const AFTER_THE_PROBE: Duration = Duration::from_millis(100);
/// Longer than any store may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// To which the clocks agree: that of a circuit is read to 4 ms, and that of the store is known here as well as its answers are
/// quick, on a machine that is busy with other things.
const RESOLUTION: Duration = Duration::from_millis(50);
