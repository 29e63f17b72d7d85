//! A circuit around a gRPC service in a tonic server: `cargo run --features full --example tonic_server`.
//!
//! While the database of the service is down, callers get UNAVAILABLE immediately, with the time at which they may come back.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use futures_util::future::{BoxFuture, ready};
use http::uri::PathAndQuery;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, server::NamedService};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;
use tower::{Service, service_fn};
use tower_circuit_breaker::classify::GrpcClassifier;
use tower_circuit_breaker::rejection::GrpcRejection;
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, OpenDuration};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stock = Stock::default();
    let config = Config::builder("stock").consecutive_failures(3).open_for(OpenDuration::fixed(WAIT)).probes(1);
    let layer = CircuitBreakerLayer::new(&Circuit::new(config.build()?))
        .classifier(GrpcClassifier::for_handlers())
        .rejection(GrpcRejection::new().with_details());
    let address = serve(stock.clone(), layer).await?;

    // Any gRPC client; this one is tonic's.
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let mut client = tonic::client::Grpc::new(channel);
    println!("healthy: {} in stock", count(&mut client).await?);

    stock.down.store(true, Relaxed);
    for _ in 0..3 {
        let status = count(&mut client).await.err().ok_or("the database is down")?;
        println!("down: {:?}, {}", status.code(), status.message());
    }

    // Relaxed, because the server has answered, and the counts are compared with themselves.
    let asked = stock.asked.load(Relaxed);
    let status = count(&mut client).await.err().ok_or("the circuit is open")?;
    let info = status.get_details_error_info().ok_or("it says why")?;
    let wait = status.get_details_retry_info().and_then(|info| info.retry_delay).ok_or("it says when to come back")?;
    println!("rejected: {:?}, {}", status.code(), status.message());
    println!("details: {} of {}, metadata {:?}", info.reason, info.domain, info.metadata);
    assert_eq!(status.code(), Code::Unavailable, "a generated client knows this code");
    assert_eq!(stock.asked.load(Relaxed), asked, "a rejected call must not reach the handler");
    println!("the handler was not asked");

    stock.down.store(false, Relaxed);
    tokio::time::sleep(wait + Duration::from_millis(50)).await;
    println!("recovered: {} in stock", count(&mut client).await?);
    Ok(())
}

const WAIT: Duration = Duration::from_millis(500);

async fn serve(stock: Stock, layer: CircuitBreakerLayer<GrpcClassifier, GrpcRejection>) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    // Around the whole server; `add_service(layer.layer(stock))` guards one service.
    let server = Server::builder().layer(layer).add_service(stock);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    Ok(address)
}

/// The code that a generator makes of `rpc Count(Empty) returns (Number)`.
async fn count(client: &mut tonic::client::Grpc<Channel>) -> Result<u32, Status> {
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let (path, codec) = (PathAndQuery::from_static("/shop.Stock/Count"), ProstCodec::<(), Number>::default());
    Ok(client.unary(Request::new(()), path, codec).await?.into_inner().count)
}

#[derive(Clone, PartialEq, prost::Message)]
struct Number {
    #[prost(uint32, tag = "1")]
    count: u32,
}

#[derive(Clone, Default)]
struct Stock {
    down: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl NamedService for Stock {
    const NAME: &'static str = "shop.Stock";
}

impl Service<http::Request<Body>> for Stock {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        Ok(()).into()
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        // Relaxed, because the count and the switch publish no other data.
        self.asked.fetch_add(1, Relaxed);
        let answer =
            if self.down.load(Relaxed) { Err(Status::unavailable("no database")) } else { Ok(Number { count: 7 }) };
        let count = service_fn(move |_: Request<()>| ready(answer.clone().map(Response::new)));
        let mut grpc = tonic::server::Grpc::new(ProstCodec::<Number, ()>::default());
        Box::pin(async move { Ok(grpc.unary(count, request).await) })
    }
}
