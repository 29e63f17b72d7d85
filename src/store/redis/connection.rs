//! One connection, made when it is needed and thrown away when it is of no use any more.
//!
//! The stock manager keeps a connection for ever whose password was wrong, whose master was demoted or that nobody answers,
//! and lets each operation wait for seconds while the server is down. Here the rule is: whatever is wrong with a connection,
//! the next operation makes a new one, and that resolves the name and sends the password again.
//!
//! There is at most one attempt to connect, in a task of its own, and all who need it wait for it. It belongs to none of them:
//! an operation that is dropped neither ends it nor leaves it half made, and a slow handshake succeeds although each of those who
//! waited had less patience. When it has failed, its error is the answer to everybody for a moment.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, RedisError, Value};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::no_answer::{Access, NoAnswer};
use crate::clock::{Clock, MonotonicClock, Tick};
use crate::store::{StoreError, StoreErrorKind};
use crate::sync::{AtomicU32, Mutex, Relaxed};

pub(super) struct Connection {
    client: Client,
    address: Arc<str>,
    clock: MonotonicClock,
    /// The last attempt, under way or done. `None`: there is no connection.
    attempt: Mutex<Option<watch::Receiver<Option<Ended>>>>,
}

/// How an attempt to connect ended, and when if it failed.
type Ended = Result<Arc<Live>, (NoAnswer, Tick)>;

struct Live {
    connection: MultiplexedConnection,
    /// The operations since the last answer that nobody answered.
    unanswered: AtomicU32,
}

impl Connection {
    pub(super) fn new(client: Client) -> Self {
        let address = client.get_connection_info().addr().to_string().into();
        Self { client, address, clock: MonotonicClock::new(), attempt: Mutex::default() }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// What the server's error means.
    pub(super) fn fault(&self, access: Access, error: RedisError) -> NoAnswer {
        NoAnswer::answering(&self.address, access, error)
    }

    /// Asks all at once, and returns an answer for each, which may be an error of the server.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the commands are carried out or not. If it had waited for a while, that counts as unanswered: its caller may
    /// have less patience than the connection, and a dead one must be noticed all the same.
    pub(super) async fn ask(&self, commands: &Pipeline, access: Access) -> Result<Vec<Value>, NoAnswer> {
        let live = self.live().await?;
        let mut waiting = Waiting { connection: self, live: &live, since: self.clock.now(), answered: false };
        let answers = live.connection.clone().send_packed_commands(commands, 0, commands.len()).await;
        waiting.answered = answers.is_ok();
        drop(waiting);
        let answers = answers.map_err(|error| self.fault(access, error));
        let useless = match &answers {
            Ok(answers) => answers.iter().any(|answer| {
                matches!(answer, Value::ServerError(error) if self.fault(access, error.clone().into()).makes_useless())
            }),
            Err(fault) => fault.makes_useless(),
        };
        if useless {
            self.throw_away(&live);
        }
        answers
    }

    /// Asks, and takes an error of the server for one.
    ///
    /// # Cancel safety
    ///
    /// As [`ask`](Self::ask).
    pub(super) async fn ask_one(&self, command: Cmd, access: Access) -> Result<Value, NoAnswer> {
        let mut commands = redis::pipe();
        commands.add_command(command);
        match self.ask(&commands, access).await?.pop() {
            Some(Value::ServerError(error)) => Err(self.fault(access, error.into())),
            answer => Ok(answer.unwrap_or(Value::Nil)),
        }
    }

    /// Reads an answer whose form a script or a command has fixed.
    pub(super) fn decode<T: FromRedisValue>(&self, answer: Value) -> Result<T, StoreError> {
        redis::from_redis_value(answer).map_err(|error| {
            let message = format!("redis at {} answered something else than it was asked", self.address);
            StoreError::new(StoreErrorKind::Corrupt, message).with_source(error)
        })
    }

    /// Returns the connection there is, or waits for the one that is being made, or has one made.
    ///
    /// # Cancel safety
    ///
    /// Dropped while waiting, the attempt goes on, and whoever comes next has what it made.
    async fn live(&self) -> Result<Arc<Live>, NoAnswer> {
        let mut attempt = self.attempt()?;
        let ended = match attempt.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone(),
            Err(_) => None,
        };
        match ended {
            Some(Ok(live)) => Ok(live),
            Some(Err((fault, _))) => Err(fault),
            // The runtime ended under it, or it panicked. Whoever comes next makes another.
            None => Err(NoAnswer::abandoned(&self.address)),
        }
    }

    fn attempt(&self) -> Result<watch::Receiver<Option<Ended>>, NoAnswer> {
        let mut last = self.attempt.lock();
        if let Some(attempt) = last.as_ref() {
            // Asked before the value is looked at: an attempt that ended in between has left one.
            let over = attempt.has_changed().is_err();
            let again = match &*attempt.borrow() {
                None => over,
                Some(Ok(_)) => false,
                Some(Err((_, at))) => self.clock.now().saturating_since(*at) >= REMEMBERED_FOR,
            };
            if !again {
                return Ok(attempt.clone());
            }
        }
        if Handle::try_current().is_err() {
            return Err(NoAnswer::without_runtime());
        }
        let (sender, attempt) = watch::channel(None);
        let (client, address, clock) = (self.client.clone(), Arc::clone(&self.address), self.clock);
        #[expect(clippy::disallowed_methods, reason = "one attempt at a time, which ends by itself")]
        tokio::spawn(async move {
            let ended = match client.get_multiplexed_async_connection_with_config(&settings()).await {
                Ok(connection) => Ok(Arc::new(Live { connection, unanswered: AtomicU32::new(0) })),
                Err(error) => Err((NoAnswer::connecting(&address, error), clock.now())),
            };
            // Nobody may be left who wants to know.
            sender.send(Some(ended)).ok();
        });
        *last = Some(attempt.clone());
        Ok(attempt)
    }

    /// Forgets this connection, unless there is another already.
    fn throw_away(&self, useless: &Arc<Live>) {
        let mut last = self.attempt.lock();
        let same = last
            .as_ref()
            .is_some_and(|attempt| matches!(&*attempt.borrow(), Some(Ok(live)) if Arc::ptr_eq(live, useless)));
        if same {
            *last = None;
        }
    }
}

/// Shows where it leads, and nothing that is secret.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Settles on drop whether the connection still answers, so that it is settled whoever ends the waiting.
struct Waiting<'a> {
    connection: &'a Connection,
    live: &'a Arc<Live>,
    since: Tick,
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.answered {
            // Relaxed: a count, publishes nothing.
            self.live.unanswered.store(0, Relaxed);
            return;
        }
        if self.connection.clock.now().saturating_since(self.since) < PATIENCE {
            return;
        }
        // Relaxed: a count, publishes nothing.
        if self.live.unanswered.fetch_add(1, Relaxed) + 1 >= MAX_UNANSWERED {
            self.connection.throw_away(self.live);
        }
    }
}

fn settings() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECTED_WITHIN))
        .set_response_timeout(Some(ANSWERED_WITHIN))
}

/// From resolving the name to the answer to the password.
pub(super) const CONNECTED_WITHIN: Duration = Duration::from_secs(1);
pub(super) const ANSWERED_WITHIN: Duration = Duration::from_millis(500);
/// Long enough to be shared by operations that come together, short against every backoff.
const REMEMBERED_FOR: Duration = Duration::from_millis(100);
/// A network swallows packets without a word: only what is missing shows it. One or two may be a pause of the server.
const MAX_UNANSWERED: u32 = 3;
/// Dropped sooner, an operation says nothing about the connection.
const PATIENCE: Duration = Duration::from_millis(100);
