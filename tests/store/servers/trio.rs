//! A master, a replica and three sentinels, each a server of its own.

use std::time::Duration;

use tower_circuit_breaker::store::RedisStore;

use super::redis::Redis;

#[derive(Debug)]
pub(crate) struct Trio {
    /// The first one is the master at the start.
    pub(crate) servers: [Redis; 2],
    pub(crate) sentinels: Vec<Redis>,
}

impl Trio {
    /// Starts them, and waits until the sentinels know each other and the replica.
    pub(crate) async fn start() -> Self {
        let master = Redis::start().await;
        let replica = follower(&master).await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(watcher(master.port(), 2, &[]).await);
        }
        let trio = Self { servers: [master, replica], sentinels };
        for sentinel in &trio.sentinels {
            eventually("the sentinels know each other and the replica", async || {
                let others: Vec<redis::Value> = sentinel.cli(&["SENTINEL", "SENTINELS", MASTER]).await;
                let replicas: Vec<redis::Value> = sentinel.cli(&["SENTINEL", "REPLICAS", MASTER]).await;
                others.len() == 2
                    && replicas.len() == 1
                    && sentinel.try_cli(&["SENTINEL", "CKQUORUM", MASTER]).await.is_ok()
            })
            .await;
        }
        trio
    }

    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> = self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port())).collect();
        format!("redis-sentinel://{}/{MASTER}", hosts.join(","))
    }

    pub(crate) fn store(&self) -> RedisStore {
        RedisStore::new(&self.url()).unwrap()
    }

    /// Waits until every sentinel names this server.
    pub(crate) async fn master_is(&self, server: &Redis) {
        for sentinel in &self.sentinels {
            eventually("the sentinels name the new master", async || {
                let (_, port): (String, u16) = sentinel.cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]).await;
                port == server.port()
            })
            .await;
        }
    }
}

/// Starts a replica, and waits until it follows.
pub(crate) async fn follower(master: &Redis) -> Redis {
    let of = format!("127.0.0.1 {}", master.port());
    let replica = Redis::start_with(&["--replicaof", &of, "--repl-diskless-sync-delay", "0"]).await;
    eventually("the replica follows", async || {
        replica.cli::<String>(&["INFO", "replication"]).await.contains("master_link_status:up")
    })
    .await;
    replica
}

/// Starts a sentinel of the master at a port, which half a second without an answer makes look for another one.
pub(crate) async fn watcher(port: u16, quorum: u8, options: &[&str]) -> Redis {
    let lines = format!(
        "sentinel monitor {MASTER} 127.0.0.1 {port} {quorum}\nsentinel down-after-milliseconds {MASTER} 500\n\
         sentinel failover-timeout {MASTER} 3000\n"
    );
    Redis::sentinel(&lines, options).await
}

pub(crate) async fn eventually(rule: &str, arrives: impl AsyncFn() -> bool) {
    for _ in 0..1500 {
        if arrives().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {rule}");
}

pub(crate) const MASTER: &str = "mymaster";
