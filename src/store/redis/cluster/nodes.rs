//! The nodes of a cluster, which are learnt from the first node that answers and does not report the cluster as down.
//! Without this condition, a node that was cut off from the other nodes could name former masters. The nodes are learnt
//! again after a node has failed or has redirected an operation to another node.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, Value};

use crate::clock::{Clock, MonotonicClock, Tick};
use crate::random;
use crate::store::redis::address::Source;
use crate::store::redis::connection::Connection;
use crate::store::redis::error::{Access, NoAnswer};
use crate::store::redis::slots::{Place, Slots, read};
use crate::store::redis::together::together;
use crate::sync::Mutex;

pub(super) struct Nodes {
    source: Source,
    address: Arc<str>,
    clock: MonotonicClock,
    /// The places (hosts and ports) of the nodes that the address names. These nodes are kept even if the cluster no
    /// longer names these nodes. Therefore the cluster is found again after all of its other nodes were replaced.
    seeds: Vec<Place>,
    /// The nodes that are known, by their places.
    all: Mutex<BTreeMap<Place, Arc<Node>>>,
    known: Mutex<Known>,
    /// Held while the nodes are learnt, so that operations that begin together send one query.
    learning: tokio::sync::Mutex<()>,
}

/// A node of the cluster.
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) connection: Arc<Connection>,
}

type Map = Arc<Slots<Arc<Node>>>;

/// The nodes of the slots, as they were learnt last.
#[derive(Default)]
struct Known {
    map: Option<Map>,
    /// The time at which the map was learnt.
    since: Tick,
    /// True if the map may be old, because a node has failed or has redirected an operation to another node.
    is_stale: bool,
}

impl Nodes {
    pub(super) fn new(source: Source) -> Self {
        let address = source.described().into();
        let mut nodes = Self {
            source,
            address,
            clock: MonotonicClock::new(),
            seeds: Vec::new(),
            all: Mutex::default(),
            known: Mutex::default(),
            learning: tokio::sync::Mutex::default(),
        };
        for seed in nodes.source.nodes().into_iter().flatten() {
            if let ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } = seed.addr() {
                let place = (host.clone(), *port);
                nodes.keep(place.clone(), seed.clone());
                nodes.seeds.push(place);
            }
        }
        nodes
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Returns the connection to one node, for a watch. Increasing `attempt` by one selects the next node.
    pub(super) fn any(&self, attempt: usize) -> Arc<Connection> {
        let nodes = self.all.lock();
        let node = nodes.values().nth(attempt.checked_rem(nodes.len()).unwrap_or_default());
        let unknown = || Arc::new(Connection::new(self.source.clone(), self.address.to_string()));
        node.map_or_else(unknown, |node| Arc::clone(&node.connection))
    }

    /// Notes that the known nodes may be out of date, so that a later operation learns them again.
    pub(super) fn doubt(&self) {
        self.known.lock().is_stale = true;
    }

    /// Returns the map from slots to nodes, and learns the nodes first if the map may be old. If no node answers, the
    /// old map is returned, so that each operation fails with the error of its own node.
    pub(super) async fn map(&self) -> Result<Map, NoAnswer> {
        let (present, is_current) = self.present();
        match present {
            Some(map) if is_current => Ok(map),
            Some(map) => Ok(self.learnt().await.unwrap_or(map)),
            None => self.learnt().await,
        }
    }

    /// Learns the nodes again, unless they were learnt less than [`LEARNT_AGAIN`] ago. After a fault of one node, `Ok`
    /// shows that another node answers, or answered within that time.
    ///
    /// # Errors
    ///
    /// If no node answers, or if each node that answers reports the cluster as down.
    pub(super) async fn fresh(&self) -> Result<Map, NoAnswer> {
        self.doubt();
        self.learnt().await
    }

    /// Returns the known map, if there is one, and true if the nodes need not be learnt again.
    fn present(&self) -> (Option<Map>, bool) {
        let known = self.known.lock();
        let is_young = self.clock.now().saturating_since(known.since) < LEARNT_AGAIN;
        (known.map.clone(), !known.is_stale || is_young)
    }

    /// Learns the nodes of the slots, unless they were learnt less than [`LEARNT_AGAIN`] ago.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the next operation learns the nodes.
    async fn learnt(&self) -> Result<Map, NoAnswer> {
        let _alone = self.learning.lock().await;
        if let (Some(map), true) = self.present() {
            return Ok(map);
        }
        let asked: Vec<_> = {
            let nodes = self.all.lock();
            // The first queried node is random, because a fixed node could be down each time.
            let first = usize::from(random::bits().to_le_bytes()[0]).checked_rem(nodes.len()).unwrap_or_default();
            nodes.values().cycle().skip(first).take(nodes.len().min(ASKED_AT_ONCE)).cloned().collect()
        };
        let mut fault = None;
        let questions: Vec<_> = asked.iter().map(|node| self.ranges(node)).collect();
        let ranges = together(questions, |_, ranges| match ranges {
            Ok(ranges) => ControlFlow::Break(ranges),
            Err(error) => {
                fault = Some(error);
                ControlFlow::Continue(())
            }
        })
        .await;
        let Some(ranges) = ranges else {
            return Err(fault.unwrap_or_else(|| NoAnswer::unserved(&self.address)));
        };
        let mut slots = Slots::default();
        let mut named = Vec::new();
        for (first, last, place) in ranges {
            let node = self.at(place)?;
            named.push(node.place.clone());
            slots.insert(first, last, node);
        }
        self.all.lock().retain(|place, _| named.contains(place) || self.seeds.contains(place));
        let map = Arc::new(slots);
        *self.known.lock() = Known { map: Some(Arc::clone(&map)), since: self.clock.now(), is_stale: false };
        Ok(map)
    }

    /// Loads the ranges of slots from a node. Also queries whether a key exists, because a node that regards the
    /// cluster as down still answers `CLUSTER SLOTS`, but answers `EXISTS` with an error.
    async fn ranges(&self, node: &Node) -> Result<Vec<(u16, u16, Place)>, NoAnswer> {
        let mut questions = redis::pipe();
        questions.cmd("CLUSTER").arg("SLOTS").cmd("EXISTS").arg(self.source.keys().audit());
        let answers = node.connection.send(&questions, Access::Read).await?;
        let fault = |answer: Option<&Value>| match answer {
            Some(Value::ServerError(error)) => Some(node.connection.fault(Access::Read, error.clone().into())),
            _ => None,
        };
        if let Some(fault) = fault(answers.first()) {
            return Err(fault);
        }
        if let Some(fault) = fault(answers.get(1)).filter(NoAnswer::is_of_the_cluster) {
            return Err(fault);
        }
        let ranges = answers.first().and_then(|answer| read(answer, &node.place)).filter(|ranges| !ranges.is_empty());
        ranges.ok_or_else(|| NoAnswer::unserved(&self.address))
    }

    /// Returns the node at a place (host and port) that another node has named.
    pub(super) fn at(&self, place: Place) -> Result<Arc<Node>, NoAnswer> {
        let server = self.source.server_at(place.0.clone(), place.1);
        self.keep(place, server).ok_or_else(|| NoAnswer::unserved(&self.address))
    }

    fn keep(&self, place: Place, server: ConnectionInfo) -> Option<Arc<Node>> {
        let mut nodes = self.all.lock();
        if let Some(node) = nodes.get(&place) {
            return Some(Arc::clone(node));
        }
        let source = self.source.of(server).ok()?;
        let described = source.described();
        let connection = Arc::new(Connection::new(source, described).remembering(REMEMBERED_FOR));
        let node = Arc::new(Node { place: place.clone(), connection });
        nodes.insert(place, Arc::clone(&node));
        Some(node)
    }
}

/// The number of nodes that are queried for the slots at the same time.
const ASKED_AT_ONCE: usize = 8;
/// The shortest time between two queries for the slots.
const LEARNT_AGAIN: Duration = Duration::from_millis(200);
/// For this time after a failed attempt to connect, each operation gets the error of that attempt at once. Otherwise a
/// load of many names from a dead node would wait for a new connection once for each name.
const REMEMBERED_FOR: Duration = Duration::from_secs(1);
