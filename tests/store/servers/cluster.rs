//! A Redis Cluster of three masters, with a replica of the first one.

use tower_circuit_breaker::store::RedisStore;

use super::redis::Redis;
use super::trio::eventually;

#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) masters: Vec<Redis>,
    /// A replica of the first master.
    pub(crate) replica: Option<Redis>,
}

impl Cluster {
    /// Starts three masters, which serve their slots also while another master is down.
    pub(crate) async fn start() -> Self {
        let mut masters = Vec::new();
        for (number, slots) in ["0 5460", "5461 10922", "10923 16383"].into_iter().enumerate() {
            let master = node().await;
            let (first, last) = slots.split_once(' ').unwrap();
            master.cli::<()>(&["CLUSTER", "ADDSLOTSRANGE", first, last]).await;
            master.cli::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]).await;
            masters.push(master);
        }
        let cluster = Self { masters, replica: None };
        cluster.meets(&cluster.masters[1..]).await;
        cluster
    }

    /// Starts three masters and the replica.
    pub(crate) async fn start_with_replica() -> Self {
        let mut cluster = Self::start().await;
        let replica = node().await;
        cluster.meets(std::slice::from_ref(&replica)).await;
        let first = id(&cluster.masters[0]).await;
        eventually("the replica knows its master", async || {
            replica.try_cli(&["CLUSTER", "REPLICATE", &first]).await.is_ok()
        })
        .await;
        eventually("the replica follows", async || {
            replica.cli::<String>(&["INFO", "replication"]).await.contains("master_link_status:up")
        })
        .await;
        for master in &cluster.masters {
            eventually("the masters know the replica", async || {
                master.cli::<String>(&["CLUSTER", "NODES"]).await.contains("slave")
            })
            .await;
        }
        cluster.replica = Some(replica);
        cluster
    }

    /// Adds a master without slots.
    pub(crate) async fn grow(&mut self) {
        let master = node().await;
        self.meets(std::slice::from_ref(&master)).await;
        self.masters.push(master);
    }

    /// Makes the other nodes known to all nodes.
    async fn meets(&self, others: &[Redis]) {
        for other in others {
            self.masters[0].cli::<()>(&["CLUSTER", "MEET", "127.0.0.1", &other.port().to_string()]).await;
        }
        for node in self.masters.iter().chain(others) {
            eventually("the nodes agree", async || {
                let nodes: String = node.cli(&["CLUSTER", "NODES"]).await;
                let knows = |other: &Redis| nodes.contains(&format!(":{}@", other.port()));
                let slots = ["0-5460", "5461-10922", "10923-16383"];
                let info: String = node.cli(&["CLUSTER", "INFO"]).await;
                info.contains("cluster_state:ok")
                    && slots.iter().all(|range| nodes.contains(range))
                    && others.iter().chain(&self.masters).all(knows)
            })
            .await;
        }
    }

    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> = self.masters.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis-cluster://{}", hosts.join(","))
    }

    pub(crate) fn store(&self) -> RedisStore {
        RedisStore::new(&self.url()).unwrap()
    }

    /// Returns the slot of a circuit, and the place of its master among the masters.
    pub(crate) async fn home(&self, name: &str) -> (String, usize) {
        let key = format!("circuit_breaker:{name}:state");
        let slot: u32 = self.masters[2].cli(&["CLUSTER", "KEYSLOT", &key]).await;
        (slot.to_string(), [5460, 10922].into_iter().filter(|last| slot > *last).count())
    }

    /// Returns a name that the master at this place has.
    pub(crate) async fn name_at(&self, place: usize) -> String {
        for number in 0.. {
            let name = format!("circuit-{number}");
            if self.home(&name).await.1 == place {
                return name;
            }
        }
        unreachable!("each master has names")
    }

    /// Begins to move a slot from a master to another one.
    pub(crate) async fn begin_move(&self, slot: &str, from: usize, to: usize) {
        let (from, to) = (&self.masters[from], &self.masters[to]);
        to.cli::<()>(&["CLUSTER", "SETSLOT", slot, "IMPORTING", &id(from).await]).await;
        from.cli::<()>(&["CLUSTER", "SETSLOT", slot, "MIGRATING", &id(to).await]).await;
    }

    /// Lets two masters name each other for a slot of the first of them.
    pub(crate) async fn disown(&self, slot: &str, from: usize, to: usize) {
        let (from, to) = (&self.masters[from], &self.masters[to]);
        for (node, other) in [(to, from), (from, to)] {
            node.cli::<()>(&["CLUSTER", "SETSLOT", slot, "NODE", &id(other).await]).await;
        }
    }

    /// Moves the keys of a slot.
    pub(crate) async fn move_keys(&self, slot: &str, from: usize, to: usize) {
        let keys: Vec<String> = self.masters[from].cli(&["CLUSTER", "GETKEYSINSLOT", slot, "100"]).await;
        let port = self.masters[to].port().to_string();
        let words = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        let words: Vec<&str> = words.into_iter().chain(keys.iter().map(String::as_str)).collect();
        self.masters[from].cli::<()>(&words).await;
    }

    /// Ends the move of a slot.
    pub(crate) async fn end_move(&self, slot: &str, from: usize, to: usize) {
        let owner = id(&self.masters[to]).await;
        for node in [&self.masters[to], &self.masters[from]].into_iter().chain(&self.masters) {
            node.cli::<()>(&["CLUSTER", "SETSLOT", slot, "NODE", &owner]).await;
        }
    }
}

async fn node() -> Redis {
    let coverage = ["--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0"];
    let cluster = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--appendonly", "yes"];
    Redis::start_with(&[&cluster[..], &coverage].concat()).await
}

async fn id(node: &Redis) -> String {
    node.cli(&["CLUSTER", "MYID"]).await
}
