//! A circuit for each host, from one layer: `cargo run --features full --example keyed_hosts`.
//!
//! One of three hosts dies, and only its circuit opens. The hosts are real listeners on loopback. The host that dies closes its socket,
//! so that connections are refused. The program prints the answers of each host, and fails if a call to a living host was rejected.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, timeout::TimeoutLayer};
use tower_circuit_breaker::keyed::Keyed;
use tower_circuit_breaker::{CircuitBreakerLayer, Config, OpenDuration, Registry, Rejected, State};

/// Asks a host for its greeting.
#[derive(Clone)]
struct Ask {
    host: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, BoxError> {
    let registry = Registry::new();
    let per_host = Keyed::builder(&registry, |name| {
        Config::builder(name).consecutive_failures(3).open_for(OpenDuration::fixed(Duration::from_millis(300)))
    });
    let per_host = per_host.prefix("host:").max_keys(100).by(|ask: &Ask| Some(Cow::Borrowed(&*ask.host)))?;
    let mut client = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::keyed(per_host.clone()))
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .service_fn(greeting);

    let (one, _one) = host("127.0.0.1:0").await?;
    let (two, dying) = host("127.0.0.1:0").await?;
    let (three, _three) = host("127.0.0.1:0").await?;
    let hosts = [&one, &two, &three].map(String::as_str);
    let met = round(&mut client, &hosts, 5).await?;
    println!("All hosts are well: {}", told(&met, &hosts));

    dying.abort();
    // Its end has closed the socket.
    drop(dying.await);
    let met = round(&mut client, &hosts, 20).await?;
    println!("Host 2 has died: {}", told(&met, &hosts));
    let states = hosts.map(|host| registry.get(&format!("host:{host}")).map(|circuit| circuit.status().state));
    let only_its = met[&*two] == Met { answered: 0, failed: 3, rejected: 17 }
        && [&one, &three].iter().all(|host| met[&***host].answered == 20)
        && states == [Some(State::Closed), Some(State::Open), Some(State::Closed)];

    let (_, _back) = host(&two).await?;
    tokio::time::sleep(Duration::from_millis(350)).await;
    let met = round(&mut client, &hosts, 5).await?;
    println!("Host 2 is back: {}", told(&met, &hosts));
    let back = met[&*two].answered == 5;

    println!("{} circuits for 3 hosts; only that of the dead host opened: {only_its}", per_host.status().keys);
    println!("It closed when its host was back: {back}");
    Ok(if only_its && back { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The answers that the callers of a host got.
#[derive(Debug, Default, PartialEq)]
struct Met {
    answered: u32,
    failed: u32,
    rejected: u32,
}

/// Asks each host that often, in turns.
async fn round<S>(client: &mut S, hosts: &[&str], times: u32) -> Result<BTreeMap<String, Met>, BoxError>
where
    S: Service<Ask, Response = String, Error = BoxError>,
{
    let mut met: BTreeMap<String, Met> = BTreeMap::new();
    for host in hosts.repeat(times as usize) {
        let met = met.entry(host.to_owned()).or_default();
        match client.ready().await?.call(Ask { host: host.to_owned() }).await {
            Ok(_) => met.answered += 1,
            Err(error) if Rejected::find(error.as_ref()).is_some() => met.rejected += 1,
            Err(_) => met.failed += 1,
        }
    }
    Ok(met)
}

fn told(met: &BTreeMap<String, Met>, hosts: &[&str]) -> String {
    let told = hosts.iter().enumerate().map(|(n, host)| {
        let Met { answered, failed, rejected } = &met[*host];
        format!("host {} answered {answered}, failed {failed}, rejected {rejected}", n + 1)
    });
    told.collect::<Vec<_>>().join("; ")
}

async fn greeting(ask: Ask) -> Result<String, std::io::Error> {
    let mut greeting = String::new();
    TcpStream::connect(&ask.host).await?.read_to_string(&mut greeting).await?;
    Ok(greeting)
}

/// Starts a host that greets each connection. Returns its address, and the task, which ends the host.
async fn host(address: &str) -> Result<(String, JoinHandle<()>), std::io::Error> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?.to_string();
    let task = tokio::spawn(async move {
        while let Ok((mut caller, _)) = listener.accept().await {
            caller.write_all(b"hello").await.ok();
        }
    });
    Ok((address, task))
}
