//! A server that collapses: a few workers and a queue, and it does not notice that a caller has given up.
//!
//! Offered more than it can do, it works off what nobody waits for any more, and soon nothing else.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::sync::Semaphore;
use tower_circuit_breaker::BoxError;
use tower_circuit_breaker::clock::{Clock, Tick, TokioClock};

use super::record::{Notes, What};
use super::traffic::Operation;

pub(crate) const WORKERS: u32 = 4;
pub(crate) const QUEUE: usize = 1_000;

/// The server, and how busy it is.
#[derive(Debug)]
pub(crate) struct Server {
    clock: TokioClock,
    notes: Notes,
    workers: Semaphore,
    queue: Arc<Semaphore>,
    /// How long workers have worked, all of them together.
    worked: RwLock<Duration>,
    looked: RwLock<(Tick, Duration)>,
}

impl Server {
    pub(crate) fn new(notes: Notes) -> Arc<Self> {
        let clock = TokioClock::new();
        Arc::new(Self {
            clock,
            notes,
            workers: Semaphore::new(WORKERS as usize),
            queue: Arc::new(Semaphore::new(QUEUE)),
            worked: RwLock::default(),
            looked: RwLock::new((clock.now(), Duration::ZERO)),
        })
    }

    /// Does what is asked, once a worker is free; at once says no if too many wait already.
    pub(crate) async fn work(self: Arc<Self>, operation: Operation) -> Result<(), BoxError> {
        self.notes.add(What::Reached);
        let place = Arc::clone(&self.queue).try_acquire_owned().map_err(|_| "the queue is full")?;
        let job = tokio::spawn(async move {
            let worker = self.workers.acquire().await;
            drop(place);
            let began = self.clock.now();
            tokio::time::sleep(operation.takes).await;
            let took = self.clock.now().saturating_since(began);
            *self.worked.write().expect("nobody panics with it") += took;
            drop(worker);
        });
        Ok(job.await?)
    }

    /// Returns the share of its workers that worked since the last look: the probe of load shedding.
    pub(crate) fn load(&self) -> Option<f64> {
        let (now, worked) = (self.clock.now(), *self.worked.read().expect("nobody panics with it"));
        let mut looked = self.looked.write().expect("nobody panics with it");
        let (then, before) = std::mem::replace(&mut *looked, (now, worked));
        let offered = now.saturating_since(then) * WORKERS;
        (!offered.is_zero()).then(|| (worked - before).div_duration_f64(offered))
    }
}
