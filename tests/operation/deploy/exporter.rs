//! An application as Prometheus sees one: circuits that are called, fail, are held and kept, and their metrics over HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, ServiceExt};
use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::keyed::Keyed;
use tower_circuit_breaker::shed::LoadSheddingLayer;
use tower_circuit_breaker::store::MemoryStore;
use tower_circuit_breaker::{By, Circuit, Config, Failure, Group, Registry};

/// Serves `/metrics` until it is dropped.
pub(super) struct Exporter {
    address: SocketAddr,
    handle: PrometheusHandle,
    failing: Circuit,
    registry: Registry,
    server: tokio::task::JoinHandle<()>,
}

impl Exporter {
    pub(super) async fn start() -> Self {
        let handle = recorder();
        let registry = Registry::builder().store(MemoryStore::new()).sharing(Sharing::Quorum).build().unwrap();
        let failing = Config::builder("payments").measure_durations().build().unwrap();
        let failing = registry.circuit(failing).unwrap();
        let orders = Config::builder("orders").ramp(Duration::from_secs(10)).group(&full_group());
        let orders = orders.slow_call_rate(0.9).slower_than(Duration::from_secs(60)).build().unwrap();
        registry.circuit(orders).unwrap();
        assert!(registry.restore(Duration::from_secs(5)).await.unwrap().is_complete());
        shed(&registry.get("orders").unwrap()).await;
        leave_no_room(&registry);

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (told, of) = (handle.clone(), registry.clone());
        #[expect(clippy::disallowed_methods, reason = "the server's task, which ends with it")]
        let server = tokio::spawn(async move {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                // A request of Prometheus comes in one piece; whatever it is, there is one answer.
                if connection.read(&mut request).await.is_ok() {
                    of.refresh_metrics();
                    let body = told.render();
                    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\nconnection: close";
                    let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    connection.write_all(answer.as_bytes()).await.ok();
                }
            }
        });
        let exporter = Self { address, handle, failing, registry, server };
        exporter.happen();
        exporter
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn text(&self) -> String {
        self.handle.render()
    }

    /// One of everything.
    fn happen(&self) {
        let by = By::new("alice", "a drill").unwrap();
        let circuit = &self.failing;
        circuit.reset(&by, To::Closed);
        for outcome in 0..4 {
            let permit = circuit.try_acquire().unwrap();
            match outcome {
                0 => permit.success(),
                1 => permit.failure(Failure::hard()),
                2 => permit.failure(Failure::timeout()),
                _ => permit.ignore(),
            }
        }
        while let Ok(permit) = circuit.try_acquire() {
            permit.failure(Failure::hard());
        }
        self.registry.get("orders").unwrap().trip(&by, None);
    }

    /// Lets things happen again and again until it is so.
    pub(super) async fn go_on_until(&self, is_so: impl AsyncFn() -> bool) {
        for _ in 0..300 {
            if is_so().await {
                return;
            }
            self.happen();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("a minute was not enough");
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Sheds a heavy operation, on a machine that is said to be busy.
async fn shed(circuit: &Circuit) {
    let shedding = LoadSheddingLayer::new(circuit, || 0.93).operation(|_: &u32| ("report", 500)).build().unwrap();
    let service = tower::service_fn(async |_: u32| Ok::<_, std::io::Error>(()));
    let refused = ServiceBuilder::new().layer(shedding).service(service).oneshot(1).await;
    assert!(refused.unwrap_err().to_string().contains("report"));
}

/// Returns a group with two members, whose only open slot is taken.
fn full_group() -> Group {
    let group = Group::new("endpoints").at_most_open(0.5);
    let open = Circuit::new(Config::builder("open").group(&group).build().unwrap());
    while let Ok(permit) = open.try_acquire() {
        permit.failure(Failure::hard());
    }
    // The member keeps its slot until the process ends.
    std::mem::forget(open);
    group
}

/// Lets keyed circuits be evicted, and a key find no room.
fn leave_no_room(registry: &Registry) {
    let keyed = Keyed::builder(registry, Config::builder).prefix("host:").max_keys(1);
    let keyed = keyed.by(|_: &()| None).unwrap();
    for host in ["a", "b"] {
        assert!(keyed.circuit(host).is_some_and(|circuit| circuit.try_acquire().is_ok()));
    }
    let held = keyed.circuit("b").unwrap();
    held.trip(&By::new("alice", "a drill").unwrap(), None);
    assert!(keyed.circuit("c").is_none());
}

/// The recorder of this process: there can be one only.
fn recorder() -> PrometheusHandle {
    static RECORDER: std::sync::OnceLock<PrometheusHandle> = std::sync::OnceLock::new();
    let seconds = [0.001, 0.01, 0.1, 1.0];
    let handle = RECORDER.get_or_init(|| {
        PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_duration_seconds".to_owned()), &seconds)
            .unwrap()
            .install_recorder()
            .unwrap()
    });
    handle.clone()
}
