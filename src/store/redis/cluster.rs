//! A cluster of Redis servers, in which the slot of a record's key decides which node has the record.
//!
//! Each node has a [`Connection`], as a single server has. The connection notices that its node has died, and the next
//! operation connects again. The cluster client of the crate `redis` is not used. Each of its pipelines is limited to
//! one slot, and a load has names of all slots. `cluster/nodes.rs` learns the nodes.
//!
//! If a node fails, only operations on the keys of its slots fail. While another node answers, the store reports such a
//! failure as a refusal of these keys, because callers split refused batches and continue with other keys. A write
//! without an answer may have been made, so its failure stays a timeout. This timeout is marked as the failure of one
//! part of the store. If no node answers, or if all nodes say that the cluster is down, the store is unavailable.
//!
//! If a slot is moved while all keys are listed, the keys of this slot may be missing in the list.

mod nodes;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use redis::{Cmd, Pipeline, Value};

use super::address::Source;
use super::connection::Connection;
use super::error::{Access, NoAnswer};
use super::keys::Keys;
use super::servers::{Answers, load};
use super::slots::{Place, Redirection, slot};
use super::together::together;
use super::value;
use crate::clock::{Clock, MonotonicClock};
use crate::record::Timestamp;
use crate::store::time_limit;
use nodes::{Node, Nodes};

pub(super) struct Cluster {
    nodes: Nodes,
    clock: MonotonicClock,
}

impl Cluster {
    pub(super) fn new(source: Source) -> Self {
        Self { nodes: Nodes::new(source), clock: MonotonicClock::new() }
    }

    pub(super) fn source(&self) -> &Source {
        self.nodes.source()
    }

    pub(super) fn address(&self) -> &str {
        self.nodes.address()
    }

    /// Sends one command to the node of its key, and follows redirections to other nodes. An error of the server is
    /// returned as an error.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the command may or may not take effect.
    pub(super) async fn send_one(&self, key: &str, command: Cmd, access: Access) -> Result<Value, NoAnswer> {
        let slot = slot(key);
        let mut node = self.node_of(slot).await?;
        let mut asks = false;
        let mut again = true;
        for _ in 0..REDIRECTIONS {
            let answer = node.connection.send(&commands(&command, asks), access).await.map(decisive);
            if let Some(Redirection { place, asks: only_this }) =
                answer.as_ref().ok().and_then(|answer| Redirection::of(answer, &node.place))
            {
                asks = only_this;
                // After `ASK` the nodes need not be learnt again, because the slot stays at its present node until the
                // move is over.
                if !only_this {
                    self.nodes.doubt();
                }
                node = self.nodes.at(place)?;
                continue;
            }
            let answer =
                answer.and_then(|answer| answer.extract_error().map_err(|error| node.connection.fault(access, error)));
            let fault = match answer {
                Ok(answer) => return Ok(answer),
                Err(fault) if fault.is_refusal() => return Err(fault),
                Err(fault) => fault,
            };
            let Ok(map) = self.nodes.fresh().await else { return Err(fault) };
            let next = map.node(slot).cloned().filter(|next| !Arc::ptr_eq(next, &node));
            match next {
                // Nothing was changed, and another node serves the slot now, so the command is sent to that node.
                Some(next) if again && fault.has_no_effect() => {
                    (node, asks, again) = (next, false, false);
                }
                _ => return Err(fault.of_one_node(access)),
            }
        }
        Err(NoAnswer::redirected(self.address()).of_one_node(access))
    }

    /// Reads the records of names. All nodes that have some of these records are queried in parallel.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub(super) async fn load(&self, keys: &Keys, names: &[String]) -> Result<Answers, NoAnswer> {
        let mut found = vec![Value::BulkString(Vec::new()); names.len()];
        // The indexes of the names for which a node has returned an error, such as a redirection. Each of these names
        // is loaded alone afterwards.
        let mut elsewhere = Vec::new();
        let mut now: Option<Timestamp> = None;
        let began = self.clock.now();
        let mut wanted: Vec<usize> = (0..names.len()).collect();
        let mut again = true;
        loop {
            let batches = self.batches(keys, names, &wanted).await?;
            let mut loads = Vec::with_capacity(batches.len());
            for (node, batch) in &batches {
                loads.push(load(&node.connection, keys, batch.iter().map(|at| &*names[*at]).collect()));
            }
            let (mut failed, mut last) = (Vec::new(), None);
            together(loads, |batch, loaded: Result<Answers, NoAnswer>| {
                let (_, batch) = &batches[batch];
                match loaded {
                    Ok((answers, time)) => {
                        // The earliest time of all nodes is returned, because a later time could end the opening of a
                        // circuit too early.
                        now = Some(now.map_or(time, |now| now.min(time)));
                        // A load without names needs only the time of any node.
                        if names.is_empty() {
                            return ControlFlow::Break(());
                        }
                        for (at, answer) in batch.iter().zip(answers) {
                            if matches!(&answer, Value::ServerError(error) if error.code() != "WRONGTYPE") {
                                elsewhere.push(*at);
                            } else {
                                found[*at] = answer;
                            }
                        }
                    }
                    Err(fault) => {
                        failed.extend_from_slice(batch);
                        last = Some(fault);
                    }
                }
                ControlFlow::Continue(())
            })
            .await;
            let Some(fault) = last else { break };
            if names.is_empty() && now.is_some() {
                break;
            }
            // A node that hangs has left no time for another attempt. The failure of this node is returned before the
            // caller gives up. Otherwise the caller would treat the whole cluster as down.
            let is_late = self.clock.now().saturating_since(began) > time_limit::limit() / 10;
            if !again || is_late || !fault.has_no_effect() {
                return Err(self.of_one_node(fault).await);
            }
            if self.nodes.fresh().await.is_err() {
                return Err(fault);
            }
            (wanted, again) = (failed, false);
        }
        let mut singles = Vec::with_capacity(elsewhere.len());
        for at in &elsewhere {
            singles.push(self.load_one(keys, &names[*at]));
        }
        let fault = together(singles, |place, answer| match answer {
            Ok(answer) => {
                found[elsewhere[place]] = answer;
                ControlFlow::Continue(())
            }
            Err(fault) if fault.is_wrong_type() => ControlFlow::Continue(()),
            Err(fault) => ControlFlow::Break(fault),
        })
        .await;
        match (fault, now) {
            (Some(fault), _) => Err(fault),
            (None, Some(now)) => Ok((found, now)),
            (None, None) => Err(NoAnswer::unserved(self.address())),
        }
    }

    async fn load_one(&self, keys: &Keys, name: &str) -> Result<Value, NoAnswer> {
        self.send_one(&keys.record(name), value::load(keys, name), Access::Read).await
    }

    /// Splits `wanted`, a list of indexes into `names`, into one batch for each node that serves some of these names.
    /// If there are no names, each node has an empty batch, because any node can return the time.
    async fn batches(
        &self,
        keys: &Keys,
        names: &[String],
        wanted: &[usize],
    ) -> Result<Vec<(Arc<Node>, Vec<usize>)>, NoAnswer> {
        let map = self.nodes.map().await?;
        let mut batches: BTreeMap<&Place, (Arc<Node>, Vec<usize>)> = BTreeMap::new();
        if names.is_empty() {
            batches.extend(map.nodes().map(|node| (&node.place, (Arc::clone(node), Vec::new()))));
        }
        for at in wanted {
            let Some(node) = map.node(slot(&keys.record(&names[*at]))) else {
                self.nodes.doubt();
                return Err(NoAnswer::unserved(self.address()).of_one_node(Access::Read));
            };
            batches.entry(&node.place).or_insert_with(|| (Arc::clone(node), Vec::new())).1.push(*at);
        }
        Ok(batches.into_values().collect())
    }

    /// Returns a connection to each master that serves slots.
    pub(super) async fn masters(&self) -> Result<Vec<Arc<Connection>>, NoAnswer> {
        // The nodes are learnt again, because the caller lists the names of all records. A node that has joined since
        // the last query may have some of these records.
        let map = self.nodes.fresh().await?;
        let masters: BTreeMap<_, _> = map.nodes().map(|node| (&node.place, &node.connection)).collect();
        Ok(masters.into_values().cloned().collect())
    }

    /// Returns the connection to one node, for a watch. Increasing `attempt` by one selects the next node.
    pub(super) fn any(&self, attempt: usize) -> Arc<Connection> {
        self.nodes.any(attempt)
    }

    async fn node_of(&self, slot: u16) -> Result<Arc<Node>, NoAnswer> {
        let node = self.nodes.map().await?.node(slot).cloned();
        node.ok_or_else(|| {
            self.nodes.doubt();
            NoAnswer::unserved(self.address()).of_one_node(Access::Read)
        })
    }

    /// Converts a fault of a read at one node into the fault that the store reports. If any node of the cluster
    /// answers, the result is a refusal, so that callers continue with the records on other nodes.
    pub(super) async fn of_one_node(&self, fault: NoAnswer) -> NoAnswer {
        if self.nodes.fresh().await.is_ok() { fault.of_one_node(Access::Read) } else { fault }
    }
}

/// Shows the address only, because the rest contains the password.
impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("address", &self.address()).finish_non_exhaustive()
    }
}

/// Returns the first error in the answers to [`commands`], or the last answer if there is no error.
fn decisive(answers: Vec<Value>) -> Value {
    let mut decisive = Value::Nil;
    for answer in answers {
        decisive = answer;
        if matches!(decisive, Value::ServerError(_)) {
            break;
        }
    }
    decisive
}

/// Returns the pipeline that runs a command. If `asks` is true, the pipeline begins with `ASKING`. A node to which the
/// slot is being moved runs a command only after `ASKING`.
fn commands(command: &Cmd, asks: bool) -> Pipeline {
    let mut commands = redis::pipe();
    if asks {
        commands.cmd("ASKING");
    }
    commands.add_command(command.clone());
    commands
}

/// The largest number of times that one command is sent, because nodes may redirect each other in a circle.
const REDIRECTIONS: usize = 5;
