//! A circuit around tonic's `Channel`: `cargo run --features full --example tonic_client`.
//!
//! Streams that end in UNAVAILABLE open the circuit. Then no call reaches the server.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use futures_util::future::{BoxFuture, ready};
use futures_util::stream;
use http::uri::PathAndQuery;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, server::NamedService};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;
use tower::{Layer, Service, service_fn};
use tower_circuit_breaker::body::TrackedBodies;
use tower_circuit_breaker::classify::GrpcClassifier;
use tower_circuit_breaker::rejection::GrpcRejection;
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, OpenDuration};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let prices = Prices::default();
    let address = serve(prices.clone()).await?;

    let config = Config::builder("prices").consecutive_failures(3).open_for(OpenDuration::fixed(WAIT)).probes(1);
    let layer = CircuitBreakerLayer::new(&Circuit::new(config.build()?))
        .classifier(GrpcClassifier::tonic())
        .rejection(GrpcRejection::new().with_details())
        .tracked_bodies(); // the status of a stream comes at its end
    // The timeout bounds a call, and does not bound a connect that hangs.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?.timeout(Duration::from_secs(2));
    let channel = endpoint.connect_timeout(Duration::from_secs(1)).connect_lazy();
    let mut client = Grpc::new(layer.layer(channel));

    println!("healthy: {} prices", watch(&mut client).await?);

    prices.down.store(true, Relaxed);
    for _ in 0..3 {
        let status = watch(&mut client).await.err().ok_or("the server is down")?;
        println!("down: {:?}, {}", status.code(), status.message());
    }

    // Relaxed, because the server has answered, and the counts are compared with themselves.
    let asked = prices.asked.load(Relaxed);
    let status = watch(&mut client).await.err().ok_or("the circuit is open")?;
    let wait = status.get_details_retry_info().and_then(|info| info.retry_delay).ok_or("it says when to come back")?;
    println!("rejected: {:?}, {}", status.code(), status.message());
    assert_eq!(prices.asked.load(Relaxed), asked, "a rejected call must not reach the server");
    println!("the server was not asked");
    prices.down.store(false, Relaxed);
    tokio::time::sleep(wait + Duration::from_millis(50)).await;
    println!("recovered: {} prices", watch(&mut client).await?);
    Ok(())
}

const WAIT: Duration = Duration::from_millis(500);

/// The code that a generator makes of `rpc Watch(Empty) returns (stream Price)`, and a loop that counts.
async fn watch(client: &mut Grpc<TrackedBodies<Channel, GrpcClassifier, GrpcRejection>>) -> Result<usize, Status> {
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let (path, codec) = (PathAndQuery::from_static("/shop.Prices/Watch"), ProstCodec::<(), Price>::default());
    let mut prices = client.server_streaming(Request::new(()), path, codec).await?.into_inner();
    let mut count = 0;
    while prices.message().await?.is_some() {
        count += 1;
    }
    Ok(count)
}

#[derive(Clone, PartialEq, prost::Message)]
struct Price {
    #[prost(uint32, tag = "1")]
    cents: u32,
}

/// Streams two prices; while it is down, it breaks off after the first.
#[derive(Clone, Default)]
struct Prices {
    down: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl NamedService for Prices {
    const NAME: &'static str = "shop.Prices";
}

impl Service<http::Request<Body>> for Prices {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        Ok(()).into()
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        // Relaxed, because the count and the switch publish no other data.
        self.asked.fetch_add(1, Relaxed);
        let second =
            if self.down.load(Relaxed) { Err(Status::unavailable("no prices")) } else { Ok(Price { cents: 2 }) };
        let prices = stream::iter([Ok(Price { cents: 1 }), second]);
        let watch = service_fn(move |_: Request<()>| ready(Ok::<_, Status>(Response::new(prices.clone()))));
        let mut grpc = tonic::server::Grpc::new(ProstCodec::<Price, ()>::default());
        Box::pin(async move { Ok(grpc.server_streaming(watch, request).await) })
    }
}

async fn serve(prices: Prices) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(Server::builder().add_service(prices).serve_with_incoming(TcpListenerStream::new(listener)));
    Ok(address)
}
