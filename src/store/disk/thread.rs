//! The thread on which a store does its work on the disk. A disk that hangs blocks only this thread of the application.
//!
//! A timeout ends a wait, but cannot end a system call. On tokio's blocking pool, each operation that was given up (its
//! future was dropped) would occupy a thread of the application. The end of the runtime would wait for all these
//! threads. Therefore a store has a thread of its own and one operation at a time. The disk counts as hanging if the
//! work of an operation runs for too long. The limit is shorter if the operation was given up. Further operations then
//! fail at once.
//!
//! The thread begins with the first operation. The thread ends when the last clone of the store was dropped and the
//! work under way has ended. Neither the end of the program nor the end of a runtime waits for work on the disk.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak, mpsc};
use std::time::Duration;

use tokio::sync::{Mutex as Queue, oneshot};

use crate::clock::{Clock, MonotonicClock, Tick, TokioClock};
use crate::store::StoreError;
use crate::sync::Mutex;

/// Runs work on the thread of a store. Clones share the thread.
#[derive(Clone)]
pub(in crate::store) struct DiskThread {
    name: &'static str,
    /// The file or the folder of the store, for the texts of errors.
    place: PathBuf,
    /// The running time of an operation's work after which the disk counts as hanging, if the operation was given up.
    patience: Duration,
    clock: MonotonicClock,
    /// The sender of work to the thread, or `None` before the first operation. Each operation locks this field until
    /// the work of the operation has ended.
    jobs: Arc<Queue<Option<mpsc::Sender<Job>>>>,
    current: Current,
}

type Job = Box<dyn FnOnce() + Send>;
/// The work under way, or `None` while the thread is idle.
type Current = Arc<Mutex<Option<Work>>>;

struct Work {
    began: Tick,
    /// Refers to a value that the future of the operation owns. The value is dropped together with the future, and the
    /// operation is then given up.
    wanted: Weak<()>,
}

impl DiskThread {
    /// Creates the thread's handle. The thread itself begins with the first operation.
    pub(in crate::store) fn new(name: &'static str, place: &Path) -> Self {
        Self {
            name,
            place: place.to_owned(),
            patience: PATIENCE,
            clock: MonotonicClock::new(),
            jobs: Arc::default(),
            current: Arc::default(),
        }
    }

    /// Runs the work on the thread, after the work of earlier operations.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::store::StoreErrorKind::Unavailable) at once if the work of an earlier operation has run
    /// for 10 s, or for 500 ms if the future of that operation was dropped. Also `Unavailable` if the thread cannot be
    /// started, or has ended. Every other error is an error that the work has returned.
    ///
    /// # Panics
    ///
    /// If the work panics.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before its turn, the work is not done. If the future is dropped later, the work is
    /// still done completely.
    pub(in crate::store) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if let Some(since) = self.hangs() {
            return Err(StoreError::unavailable(format!(
                "`{}` hangs, because an operation has run for {} ms",
                self.place.display(),
                since.as_millis()
            )));
        }
        let mut turn = Arc::clone(&self.jobs).lock_owned().await;
        let jobs = match &*turn {
            Some(jobs) => jobs.clone(),
            None => turn.insert(self.start()?).clone(),
        };
        let (wanted, held) = (Arc::new(()), hold_paused_time());
        let (sender, answer) = oneshot::channel();
        *self.current.lock() = Some(Work { began: self.clock.now(), wanted: Arc::downgrade(&wanted) });
        let current = Arc::clone(&self.current);
        let job = move || {
            let done = catch_unwind(AssertUnwindSafe(work));
            *current.lock() = None;
            // Lets the next operation begin. The lock is held until now, even if the operation of this work was given
            // up earlier.
            drop(turn);
            sender.send(done).ok();
            drop(held);
        };
        let sent = jobs.send(Box::new(job));
        drop(jobs);
        let answer = match sent {
            Ok(()) => answer.await.ok(),
            Err(_) => None,
        };
        drop(wanted);
        match answer {
            Some(Ok(done)) => done,
            Some(Err(panic)) => resume_unwind(panic),
            None => Err(StoreError::unavailable("the thread of the store has ended, and the disk was not touched")),
        }
    }

    /// Returns a function that the work calls from time to time. If the function returns true, the work should end
    /// early. The function returns true if the operation was given up, or if the work has run for longer than
    /// `longest`.
    #[cfg(feature = "sqlite")]
    pub(in crate::store) fn should_end(&self, longest: Duration) -> impl Fn() -> bool + Send + use<> {
        let (current, clock) = (Arc::clone(&self.current), self.clock);
        move || {
            let current = current.lock();
            current.as_ref().is_some_and(|work| {
                work.wanted.strong_count() == 0 || clock.now().saturating_since(work.began) > longest
            })
        }
    }

    /// Returns the running time of the work under way if the disk counts as hanging, and otherwise `None`.
    fn hangs(&self) -> Option<Duration> {
        let current = self.current.lock();
        let work = current.as_ref()?;
        let limit = if work.wanted.strong_count() == 0 { self.patience } else { self.patience.max(LONGEST_WAIT) };
        let age = self.clock.now().saturating_since(work.began);
        (age >= limit).then_some(age)
    }

    fn start(&self) -> Result<mpsc::Sender<Job>, StoreError> {
        let (sender, jobs) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new().name(self.name.to_owned());
        let started = thread.spawn(move || jobs.into_iter().for_each(|job| job()));
        started
            .map(|_| sender)
            .map_err(|error| StoreError::unavailable("no thread for the disk can be started").with_source(error))
    }
}

impl fmt::Debug for DiskThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskThread").field("name", &self.name).field("hangs", &self.hangs()).finish_non_exhaustive()
    }
}

/// Prevents the paused clock of a runtime from advancing until the returned value is dropped. Returns `None` if the
/// clock is not paused, as outside of tests, or if there is no runtime.
///
/// A paused clock jumps to the next timer when its runtime is idle. The deadline of an operation on the disk would then
/// pass at once. Tokio prevents the jump only during work on its blocking pool. Therefore a thread of this pool waits
/// until the returned value is dropped.
fn hold_paused_time() -> Option<mpsc::Sender<()>> {
    let runtime = tokio::runtime::Handle::try_current().ok()?;
    let (paused, real) = (TokioClock::new(), MonotonicClock::new());
    let (before, began) = (paused.precise(), real.precise());
    // The loop lasts longer than a tick of the precise clock of any system. If the clock of the runtime has not moved
    // after the loop, that clock is paused.
    while real.precise().saturating_since(began) < Duration::from_micros(1) {}
    if paused.precise() != before {
        return None;
    }
    let (sender, ended) = mpsc::channel();
    drop(runtime.spawn_blocking(move || ended.recv().ok()));
    Some(sender)
}

/// The default of [`patience`](DiskThread::patience). This time is longer than a write to a healthy disk takes, and
/// shorter than the usual deadline of an operation.
const PATIENCE: Duration = Duration::from_millis(500);
/// The running time of work after which the disk counts as hanging, if the operation still waits for the work.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::cell::RefCell;
    use std::task::{Context, Waker};

    use super::*;
    use crate::store::StoreErrorKind;

    /// Returns the number of threads of this process with this name.
    fn threads(name: &str) -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").expect("linux has the folder").flatten();
        tasks.filter(|task| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|n| n.trim() == name)).count()
    }

    fn impatient(name: &'static str) -> DiskThread {
        DiskThread { patience: Duration::ZERO, ..DiskThread::new(name, Path::new("/srv/breakers")) }
    }

    #[tokio::test]
    async fn a_disk_that_hangs_costs_one_thread_and_then_refuses_at_once() {
        let disk = impatient("test-hangs");
        let (release, hang) = mpsc::channel::<()>();
        let (begun, begins) = oneshot::channel();
        let mut stuck = Box::pin(disk.run(move || {
            begun.send(()).ok();
            hang.recv().ok();
            Ok(())
        }));
        let mut context = Context::from_waker(Waker::noop());
        assert!(stuck.as_mut().poll(&mut context).is_pending());
        begins.await.unwrap();
        let mut waiting = Box::pin(disk.run(|| Ok(7)));
        assert!(waiting.as_mut().poll(&mut context).is_pending(), "work that is wanted is waited for");
        drop(stuck);
        for _ in 0..600 {
            let error = disk.run(|| -> Result<(), StoreError> { panic!("the disk was used") }).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Unavailable);
            assert!(error.to_string().contains("`/srv/breakers` hangs"), "{error}");
        }
        assert_eq!(threads("test-hangs"), 1, "600 operations on a disk that hangs");
        drop(release);
        assert_eq!(waiting.await.unwrap(), 7, "the disk answers again");
    }

    #[tokio::test]
    async fn work_whose_future_is_dropped_is_finished_or_never_begun() {
        let disk = DiskThread::new("test-dropped", Path::new("x"));
        let (done, ended) = mpsc::channel();
        let (mut context, mut futures) = (Context::from_waker(Waker::noop()), Vec::new());
        for number in 0..2 {
            let (done, hang) = (done.clone(), number == 0);
            let (release, wait) = mpsc::channel::<()>();
            let mut run = Box::pin(disk.run(move || {
                if hang {
                    wait.recv().ok();
                }
                done.send(number).ok();
                Ok(())
            }));
            assert!(run.as_mut().poll(&mut context).is_pending());
            futures.push((run, release));
        }
        futures.reverse();
        drop(futures);
        disk.run(|| Ok(())).await.unwrap();
        assert_eq!(ended.try_iter().collect::<Vec<_>>(), [0], "the first had begun, and the second waited");
    }

    #[tokio::test]
    async fn the_thread_ends_after_the_store_was_dropped() {
        let disk = impatient("test-ends");
        std::thread_local!(static LOCAL: RefCell<Option<oneshot::Sender<()>>> = const { RefCell::new(None) });
        let (alive, ended) = oneshot::channel::<()>();
        let keep = move || {
            LOCAL.with(|local| local.replace(Some(alive)));
            Ok(())
        };
        disk.run(keep).await.unwrap();
        drop(disk);
        assert!(ended.await.is_err(), "the locals of the thread are gone");
    }

    #[tokio::test]
    async fn a_panic_reaches_the_caller_and_leaves_the_thread_usable() {
        let disk = impatient("test-panics");
        let clone = disk.clone();
        let mut panics = tokio::task::JoinSet::new();
        panics.spawn(async move { clone.run(|| -> Result<(), StoreError> { panic!("boo") }).await });
        let panicked = panics.join_next().await.expect("it was spawned");
        assert!(panicked.is_err_and(|error| error.is_panic()));
        assert_eq!(disk.run(|| Ok(3)).await.unwrap(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn paused_time_does_not_pass_during_work_on_the_disk() {
        let disk = impatient("test-paused");
        let (release, hang) = mpsc::channel::<()>();
        let work = disk.run(move || {
            hang.recv().ok();
            Ok(())
        });
        let released = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            drop(release);
        });
        tokio::time::timeout(Duration::from_secs(1), work).await.expect("no time has passed").unwrap();
        released.join().unwrap();
    }
}
