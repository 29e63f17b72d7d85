//! The connection to one server of Redis. The first operation opens the connection, and a connection that has become
//! useless is replaced.
//!
//! The connection manager of the crate `redis` never gives up a connection, not even after a wrong password, the
//! demotion of a master or a missing answer. That manager also lets each operation wait for seconds while the server is
//! down. In this module, the next operation connects again after a fault that makes the connection useless. The new
//! attempt resolves the host name or asks the sentinels again, and sends the password again.
//!
//! There is at most one attempt to connect at a time, in a separate task. All operations that need the connection wait
//! for that attempt. A dropped operation does not end the attempt. Therefore a slow handshake can succeed even if each
//! waiting operation has a shorter deadline. After a failed attempt, all operations get the error of that attempt at
//! once for 100 ms, or for 1 s at a node of a cluster.
//!
//! A connection that replaces a useless connection may lead to another server. The connection of the watch may still
//! lead to the old server. Therefore the watch is notified of the replacement and subscribes again. If the old
//! connection refused writes, the watch is notified only after the new connection has answered a write without such a
//! refusal. Otherwise each new connection to a demoted master, which answers reads and refuses writes, would make the
//! watch subscribe again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisError, Value};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;

use super::address::Source;
use super::error::{Access, NoAnswer};
use super::opening;
use crate::clock::{Clock, MonotonicClock, Tick};
use crate::store::time_limit;
use crate::sync::{AtomicU32, Mutex, Relaxed};

pub(super) struct Connection {
    source: Source,
    address: Arc<str>,
    clock: MonotonicClock,
    /// After a failed attempt to connect, further operations get the error of that attempt at once for this time.
    remembered_for: Duration,
    attempts: Mutex<Attempts>,
    /// The number of connections that have replaced a useless connection, for the notification of the watch.
    replaced: watch::Sender<u64>,
}

#[derive(Default)]
struct Attempts {
    /// The last attempt to connect, which may still be under way. `None` before the first attempt and after a
    /// connection was discarded.
    last: Option<watch::Receiver<Option<Ended>>>,
    /// Before the watch is notified of a replacement, an operation of this kind must get an answer on the new
    /// connection. `None` if no useless connection was discarded since the last notification.
    missing: Option<Access>,
}

impl Attempts {
    /// Returns true if `live` is the present connection.
    fn has(&self, live: &Arc<Live>) -> bool {
        let Some(last) = &self.last else { return false };
        matches!(&*last.borrow(), Some(Ok(present)) if Arc::ptr_eq(present, live))
    }
}

/// The result of an attempt to connect. A failure includes the time at which the attempt failed.
type Ended = Result<Arc<Live>, (NoAnswer, Tick)>;

struct Live {
    connection: MultiplexedConnection,
    /// The number of operations without an answer since the last answer.
    unanswered: AtomicU32,
}

impl Connection {
    /// Creates the handle of a connection, which the first operation opens. Errors and logs name the server as
    /// `described`.
    pub(super) fn new(source: Source, described: String) -> Self {
        Self {
            source,
            address: described.into(),
            clock: MonotonicClock::new(),
            remembered_for: REMEMBERED_FOR,
            attempts: Mutex::default(),
            replaced: watch::Sender::default(),
        }
    }

    /// Sets the time for which each operation after a failed attempt to connect gets the error of that attempt at once.
    pub(super) fn remembering(self, remembered_for: Duration) -> Self {
        Self { remembered_for, ..self }
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Returns a receiver that is notified of each later replacement of a useless connection.
    pub(super) fn replaced(&self) -> watch::Receiver<u64> {
        self.replaced.subscribe()
    }

    /// Checks that the caller runs in a tokio runtime. Outside of a runtime every timer would panic, so an error is
    /// returned there.
    pub(super) fn check_runtime() -> Result<(), NoAnswer> {
        Handle::try_current().map(drop).map_err(|_| NoAnswer::without_runtime())
    }

    /// Classifies an error that the server has returned.
    pub(super) fn fault(&self, access: Access, error: RedisError) -> NoAnswer {
        NoAnswer::answering(&self.address, access, error)
    }

    /// Sends all commands at once. Returns an answer for each command, which may be an error of the server.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the commands may or may not take effect. A future that is dropped after 100 ms or more
    /// is counted as an operation without an answer. Therefore a dead connection is noticed even if each caller has a
    /// shorter deadline than the connection.
    pub(super) async fn send(&self, commands: &Pipeline, access: Access) -> Result<Vec<Value>, NoAnswer> {
        Self::check_runtime()?;
        let limit = time_limit::for_connection();
        let live = timeout(limit, self.live()).await;
        let live = live.unwrap_or_else(|_| Err(NoAnswer::unconnected(&self.address, &time_limit::described(limit))))?;
        let mut waiting = Waiting { connection: self, live: &live, since: self.clock.now(), answered: false };
        let limit = time_limit::for_operation();
        let mut connection = live.connection.clone();
        let answers = timeout(limit, connection.send_packed_commands(commands, 0, commands.len())).await;
        waiting.answered = matches!(answers, Ok(Ok(_)));
        drop(waiting);
        let answers = match answers {
            Ok(answers) => answers.map_err(|error| self.fault(access, error)),
            Err(_) => Err(NoAnswer::late(&self.address, limit)),
        };
        let is_useless = |answer: &Value| {
            let Value::ServerError(error) = answer else { return false };
            self.fault(access, error.clone().into()).makes_useless()
        };
        match &answers {
            // The server answers, but refuses this kind of operation, as a replica refuses writes.
            Ok(answers) if answers.iter().any(is_useless) => self.discard(&live, access),
            Ok(_) => self.answered(&live, access),
            Err(fault) if fault.makes_useless() => self.discard(&live, Access::Read),
            Err(_) => {}
        }
        answers
    }

    /// Sends one command. An error of the server is returned as an error.
    ///
    /// # Cancel safety
    ///
    /// As for [`send`](Self::send).
    pub(super) async fn send_one(&self, command: Cmd, access: Access) -> Result<Value, NoAnswer> {
        let mut commands = redis::pipe();
        commands.add_command(command);
        match self.send(&commands, access).await?.pop() {
            Some(Value::ServerError(error)) => Err(self.fault(access, error.into())),
            answer => Ok(answer.unwrap_or(Value::Nil)),
        }
    }

    /// Returns the present connection. Without a connection, waits for the attempt under way, or begins an attempt and
    /// waits for its end.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the attempt continues, and the next operation uses the connection of that attempt.
    async fn live(&self) -> Result<Arc<Live>, NoAnswer> {
        let mut attempt = self.attempt()?;
        let ended = match attempt.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone(),
            Err(_) => None,
        };
        match ended {
            Some(Ok(live)) => Ok(live),
            Some(Err((fault, _))) => Err(fault),
            // The runtime of the attempt has ended, or the attempt panicked. The next operation begins another attempt.
            None => Err(NoAnswer::abandoned(&self.address)),
        }
    }

    /// Returns the attempt that operations wait for. A new attempt begins if there is no attempt, or if the last
    /// attempt was abandoned. After a failed attempt, a new attempt begins once the time `remembered_for` has passed.
    fn attempt(&self) -> Result<watch::Receiver<Option<Ended>>, NoAnswer> {
        let mut attempts = self.attempts.lock();
        if let Some(attempt) = attempts.last.as_ref() {
            // The end of the attempt is checked before its value is read. If the value were read first, an attempt that
            // ends between the two steps would look abandoned although it has left a value.
            let over = attempt.has_changed().is_err();
            let again = match &*attempt.borrow() {
                None => over,
                Some(Ok(_)) => false,
                Some(Err((_, at))) => self.clock.now().saturating_since(*at) >= self.remembered_for,
            };
            if !again {
                return Ok(attempt.clone());
            }
        }
        let (sender, attempt) = watch::channel(None);
        let (source, address, clock) = (self.source.clone(), Arc::clone(&self.address), self.clock);
        let limit = connected_within();
        let within = time_limit::described(limit);
        #[expect(clippy::disallowed_methods, reason = "one attempt at a time, which ends by itself")]
        tokio::spawn(async move {
            let settings = settings();
            let connected = opening::open(&source, &address, limit, &settings, None);
            let ended = match timeout(limit, connected).await {
                Ok(Ok(connection)) => Ok(Arc::new(Live { connection, unanswered: AtomicU32::new(0) })),
                Ok(Err(fault)) => Err((fault, clock.now())),
                Err(_) => Err((NoAnswer::unconnected(&address, &within), clock.now())),
            };
            // The send fails if no operation waits any more, which is no error.
            sender.send(Some(ended)).ok();
        });
        attempts.last = Some(attempt.clone());
        Ok(attempt)
    }

    /// Removes the connection `useless`, unless another connection has replaced it already. The watch is notified of
    /// the replacement after an operation of the kind `missing` has got an answer on the new connection. If `missing`
    /// is `Read`, an answer to any operation is enough.
    fn discard(&self, useless: &Arc<Live>, missing: Access) {
        let mut attempts = self.attempts.lock();
        if attempts.has(useless) {
            *attempts = Attempts { last: None, missing: Some(missing) };
        }
    }

    /// Notes that an operation got its answer. Notifies the watch of a replacement if the notification has waited for
    /// this answer.
    fn answered(&self, live: &Arc<Live>, access: Access) {
        let mut attempts = self.attempts.lock();
        let is_enough = |missing| missing == Access::Read || access == Access::Write;
        if attempts.missing.is_some_and(is_enough) && attempts.has(live) {
            attempts.missing = None;
            self.replaced.send_modify(|replaced| *replaced += 1);
        }
    }
}

/// Shows the address only, because the rest contains the password.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Updates the count of unanswered operations on drop, because an operation may also end by being dropped.
struct Waiting<'a> {
    connection: &'a Connection,
    live: &'a Arc<Live>,
    since: Tick,
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.answered {
            // Relaxed, because the count publishes no other data.
            self.live.unanswered.store(0, Relaxed);
            return;
        }
        if self.connection.clock.now().saturating_since(self.since) < PATIENCE {
            return;
        }
        // Relaxed, because the count publishes no other data.
        if self.live.unanswered.fetch_add(1, Relaxed) + 1 >= MAX_UNANSWERED {
            self.connection.discard(self.live, Access::Read);
        }
    }
}

/// Returns the settings of a connection without time limits, because each operation and each attempt to connect has a
/// limit of its own.
fn settings() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None)
}

/// Returns the time limit of an attempt to connect, which includes the resolution of the name and the answer to the
/// password. The limit is at least 1 s. An attempt can outlive an operation with a shorter limit, and then serves the
/// next operation.
pub(super) fn connected_within() -> Duration {
    time_limit::for_connection().max(Duration::from_secs(1))
}

/// After a failed attempt to connect, further operations get the error of that attempt at once for this time. The time
/// is long enough for operations that begin together, and short compared with every backoff.
const REMEMBERED_FOR: Duration = Duration::from_millis(100);
/// The number of unanswered operations after which a connection is replaced. If a network drops packets silently, only
/// missing answers show that a connection is dead. One or two missing answers can be due to a pause of the server.
const MAX_UNANSWERED: u32 = 3;
/// The shortest time after which a dropped operation counts as unanswered. An operation that was dropped sooner is no
/// evidence about the connection.
const PATIENCE: Duration = Duration::from_millis(100);
