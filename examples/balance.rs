//! Three servers behind one balancer, one of which dies: `cargo run --features full --example balance`.
//!
//! A server that fails fast looks idle, so that a balancer by load sends it more calls. With a circuit that pends while it is open,
//! the balancer takes the endpoint out of rotation. With a circuit that rejects, errors become rejections, and are as many.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PendingRequests};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, OpenDuration, WhenOpen};

/// How long a circuit stays open, here.
const OPEN_FOR: Duration = Duration::from_millis(500);
const REQUESTS: usize = 120;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (pending, recovered) = one_dies(WhenOpen::Pend).await?;
    let (rejecting, recovered_too) = one_dies(WhenOpen::Reject).await?;
    println!(
        "errors with Pend: {pending}, with Reject: {rejecting}; after the recovery: {recovered} and {recovered_too}"
    );
    if pending > 10 || rejecting < 30 || recovered + recovered_too > 0 {
        return Err("that is not what this example is to show".into());
    }
    Ok(())
}

/// Returns how many of 120 requests failed while one of three servers was dead, and how many when it was back.
async fn one_dies(when_open: WhenOpen) -> Result<(usize, usize), BoxError> {
    let mut servers = Vec::new();
    let mut circuits = Vec::new();
    let mut endpoints = Vec::new();
    for name in ["first", "second", "third"] {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let open_for = OpenDuration::fixed(OPEN_FOR);
        // Five in a row are enough at any traffic: the other servers take the calls.
        let circuit = Circuit::new(Config::builder(name).consecutive_failures(5).open_for(open_for).probes(1).build()?);
        // The load is outermost: what the balancer compares.
        let client = ServiceBuilder::new()
            .layer(CircuitBreakerLayer::new(&circuit).when_open(when_open))
            .service(service_fn(move |()| ask(address)));
        endpoints.push(PendingRequests::new(client.boxed(), CompleteOnResponse::default()));
        servers.push((address, serve(listener)));
        circuits.push(circuit);
    }
    let mut balance = Balance::new(ServiceList::new(endpoints));

    println!("\n{when_open:?}: three servers are up");
    send(&mut balance).await?;
    let (address, mut server) = servers.remove(0);
    server.shutdown().await;
    println!("{when_open:?}: the first server dies");
    let dead = send(&mut balance).await?;
    println!("{when_open:?}: its circuit is {}", circuits[0].status().state);

    servers.push((address, serve(TcpListener::bind(address).await?)));
    println!("{when_open:?}: the first server is back");
    sleep(OPEN_FOR).await;
    send(&mut balance).await?;
    let before = circuits[0].status().totals.successes;
    let recovered = send(&mut balance).await?;
    let share = circuits[0].status().totals.successes - before;
    println!("{when_open:?}: its circuit is {}, {share} of {REQUESTS} go there", circuits[0].status().state);
    Ok((dead, recovered))
}

/// Sends the requests, one every millisecond, and returns how many failed.
async fn send<S>(balance: &mut S) -> Result<usize, BoxError>
where
    S: Service<(), Error = BoxError, Future: Send + 'static, Response: Send + 'static>,
{
    let mut under_way = JoinSet::new();
    for _ in 0..REQUESTS {
        // With every endpoint open it would pend: a deadline, or `load_shed`, belongs around a balancer.
        let ready = timeout(Duration::from_secs(2), balance.ready()).await??;
        under_way.spawn(ready.call(()));
        sleep(Duration::from_millis(1)).await;
    }
    let failed = under_way.join_all().await.iter().filter(|answer| answer.is_err()).count();
    println!("    {failed} of {REQUESTS} requests fail");
    Ok(failed)
}

async fn ask(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.read_exact(&mut [0]).await?;
    Ok(())
}

/// A server that takes 10 ms for an answer, until it is dropped.
fn serve(listener: TcpListener) -> JoinSet<()> {
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut answering = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            answering.spawn(async move {
                sleep(Duration::from_millis(10)).await;
                stream.write_all(&[0]).await.ok();
            });
        }
    });
    server
}
