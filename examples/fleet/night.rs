//! One night: the acts, in their order, and the numbers of each act.

use std::ops::Range;
use std::time::Duration;

use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::{BoxError, State};

use crate::INSTANCES;
use crate::instance::Part;
use crate::place::Place;
use crate::process::Process;
use crate::record::{Log, Notes, What};
use crate::report;
use crate::service::Service;

/// The lengths of the acts whose length is fixed.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) healthy: Duration,
    pub(crate) outage: Duration,
    pub(crate) bad_path: Duration,
}

impl Script {
    pub(crate) const FULL: Self = Self::new(1500, 6, 4);
    pub(crate) const QUICK: Self = Self::new(1000, 3, 3);

    const fn new(healthy_ms: u64, outage_s: u64, bad_path_s: u64) -> Self {
        Self {
            healthy: Duration::from_millis(healthy_ms),
            outage: Duration::from_secs(outage_s),
            bad_path: Duration::from_secs(bad_path_s),
        }
    }
}

/// An act, as it was played.
#[derive(Debug)]
pub(crate) struct Act {
    pub(crate) name: &'static str,
    /// True if the service, or the path of one instance, is down.
    pub(crate) is_bad: bool,
    pub(crate) time: Range<Duration>,
}

/// A night, as it was played.
#[derive(Debug)]
pub(crate) struct Night {
    pub(crate) sharing: Sharing,
    pub(crate) acts: Vec<Act>,
    pub(crate) log: Log,
    pub(crate) numbers: Numbers,
}

/// The numbers of a night.
#[derive(Debug)]
pub(crate) struct Numbers {
    /// The requests that reached the dead service, and the probes among them.
    pub(crate) reached: usize,
    pub(crate) in_vain: usize,
    /// The probes from the recovery until all circuits were closed, and the length of this time.
    pub(crate) probes: usize,
    pub(crate) closed_after: Duration,
    /// All calls of the good instances while one instance was on a bad path, and the calls among them that were rejected or
    /// failed.
    pub(crate) calls: usize,
    pub(crate) lost: usize,
    /// The time from the death of the instance that probed first until all other circuits were closed.
    pub(crate) closed_after_the_kill: Duration,
}

/// Plays the night with that sharing.
pub(crate) async fn play(sharing: Sharing, script: &Script, place: &Place) -> Result<Night, BoxError> {
    let mut stage = Stage::build(sharing, place).await?;
    report::night(sharing);
    let numbers = stage.play(script).await;
    // The instances must have ended, because a running instance would write a deleted record again.
    stage.fleet.clear();
    place.forget(sharing).await?;
    let numbers = numbers.map_err(|error| format!("{sharing}: {error}"))?;
    Ok(Night { sharing, acts: stage.acts, log: stage.log, numbers })
}

/// The service, the instances, and the acts so far.
#[derive(Debug)]
struct Stage {
    fleet: Vec<Process>,
    service: Service,
    notes: Notes,
    log: Log,
    acts: Vec<Act>,
}

impl Stage {
    /// Starts the service and the instances, and waits until all instances are ready.
    async fn build(sharing: Sharing, place: &Place) -> Result<Self, BoxError> {
        let (log, notes) = Log::new();
        let service = Service::start(notes.clone()).await?;
        let mut fleet = Vec::new();
        for number in 0..INSTANCES {
            let part = Part {
                store: place.url.clone(),
                sharing,
                circuit: place.circuit(sharing),
                id: format!("orders-{}", number + 1),
                service: service.url(number)?,
            };
            fleet.push(Process::start(number, &part, notes.clone())?);
        }
        let mut stage = Self { fleet, service, notes, log, acts: Vec::new() };
        let are_ready = |log: &Log| log.notes.iter().filter(|note| note.what == What::Ready).count() == INSTANCES;
        stage.wait("not all instances have started", are_ready).await?;
        Ok(stage)
    }

    async fn play(&mut self, script: &Script) -> Result<Numbers, BoxError> {
        self.begin("healthy", false);
        self.pause(script.healthy).await;

        self.service.set_dead(true);
        self.begin("the service is dead", true);
        self.pause(script.outage).await;
        self.service.set_dead(false);
        let dead = self.begin("back", false);
        let closed_at = self.all_closed(None).await?;
        let back = self.begin("healthy", false);
        self.pause(script.healthy).await;

        self.fleet[BAD].call(&self.service.bad_path()?)?;
        self.begin("one bad path", true);
        self.pause(script.bad_path).await;
        self.fleet[BAD].call(&self.service.url(BAD)?)?;
        let bad = self.begin("repaired", false);
        self.all_closed(None).await?;
        let repaired = self.begin("healthy", false);
        self.pause(script.healthy).await;

        self.service.set_dead(true);
        self.begin("dead again", true);
        self.wait("a circuit stayed closed", |log| instances().all(|n| log.state(n) != Some(State::Closed))).await?;
        self.service.keep_next();
        self.service.set_dead(false);
        self.begin("back, the prober is killed", false);
        self.wait("no instance probed", |log| log.kept().is_some()).await?;
        let (prober, killed_at) = self.log.kept().ok_or("no instance probed")?;
        self.fleet[prober].kill()?;
        let closed_again_at = self.all_closed(Some(prober)).await?;
        self.begin("healthy", false);
        self.pause(script.healthy).await;
        self.end();

        let good = |what| self.log.count(&(bad.start..repaired.end), what, |instance| instance != BAD);
        let lost = good(What::Rejected) + good(What::Failed);
        Ok(Numbers {
            reached: self.log.count(&dead, What::Reached, |_| true),
            in_vain: self.log.count(&dead, What::Probed, |_| true),
            probes: self.log.count(&back, What::Probed, |_| true),
            closed_after: closed_at.saturating_sub(back.start),
            calls: lost + good(What::Succeeded) + good(What::Probed),
            lost,
            closed_after_the_kill: closed_again_at.saturating_sub(killed_at),
        })
    }

    /// Begins an act. Returns the time of the act that ends.
    fn begin(&mut self, name: &'static str, is_bad: bool) -> Range<Duration> {
        let ended = self.end();
        report::act(self.notes.now(), name);
        self.acts.push(Act { name, is_bad, time: ended.end..ended.end });
        ended
    }

    /// Ends the present act, and returns its time.
    fn end(&mut self) -> Range<Duration> {
        let now = self.notes.now();
        self.acts.last_mut().map_or(now..now, |act| {
            act.time.end = now;
            act.time.clone()
        })
    }

    async fn pause(&mut self, time: Duration) {
        self.log.read(time, |_| false).await;
    }

    /// Waits until the notes meet the condition. Returns the time at which the notes met the condition.
    async fn wait(&mut self, otherwise: &str, is_met: impl Fn(&Log) -> bool) -> Result<Duration, BoxError> {
        let at = self.log.read(PATIENCE, is_met).await;
        Ok(at.ok_or_else(|| format!("{otherwise} within {PATIENCE:?}"))?)
    }

    /// Waits until all circuits are closed, except for that of the instance that was killed.
    async fn all_closed(&mut self, killed: Option<usize>) -> Result<Duration, BoxError> {
        let are_closed = |log: &Log| instances().all(|n| Some(n) == killed || log.state(n) == Some(State::Closed));
        let at = self.wait("a circuit was not closed again", are_closed).await?;
        // The last report of another instance can be on its way.
        self.pause(Duration::from_millis(200)).await;
        Ok(at)
    }
}

fn instances() -> Range<usize> {
    0..INSTANCES
}

/// The instance on the bad path.
const BAD: usize = INSTANCES - 1;
/// Longer than each step of a night takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
