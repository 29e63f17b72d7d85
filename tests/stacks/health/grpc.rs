//! A gRPC health service of tonic, and servers without one.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use super::{fails, passes};

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// The health service. The status of a service is in its name, and the whole server is serving.
#[derive(Debug, Clone)]
struct Health;

impl NamedService for Health {
    const NAME: &'static str = "grpc.health.v1.Health";
}

impl Service<http::Request<Body>> for Health {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut grpc = Grpc::new(ProstCodec::<HealthCheckResponse, HealthCheckRequest>::default());
        match request.uri().path() {
            "/grpc.health.v1.Health/Check" => {
                assert!(request.headers()["grpc-timeout"] == "5000m" && request.headers()["te"] == "trailers");
                async move { Ok(grpc.unary(service_fn(check), request).await) }.boxed()
            }
            _ => async { Ok(Status::unimplemented("no such method").into_http()) }.boxed(),
        }
    }
}

async fn check(request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
    let status = match &*request.into_inner().service {
        "" | "acme.Serving" => 1,
        "acme.Down" => 2,
        "acme.Unclear" => 0,
        _ => return Err(Status::not_found("unknown service")),
    };
    Ok(Response::new(HealthCheckResponse { status }))
}

/// A gRPC service that is no health service.
#[derive(Debug, Clone)]
struct Other;

impl NamedService for Other {
    const NAME: &'static str = "acme.Other";
}

impl Service<http::Request<Body>> for Other {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        std::future::ready(Ok(Status::internal("never called").into_http()))
    }
}

async fn serve(router: tonic::transport::server::Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    format!("grpc://{address}")
}

#[tokio::test]
async fn a_grpc_service_is_healthy_if_it_answers_serving() {
    let server = serve(Server::builder().add_service(Health)).await;
    passes(&server).await;
    passes(&format!("{server}/acme.Serving")).await;
    fails(&format!("{server}/acme.Down"), "NOT_SERVING").await;
    fails(&format!("{server}/acme.Unclear"), "UNKNOWN").await;
    fails(&format!("{server}/acme.Missing"), "does not know the service").await;
}

#[tokio::test]
async fn a_server_without_a_health_service_is_not_healthy() {
    let server = serve(Server::builder().add_service(Other)).await;
    fails(&server, "has no health service").await;
    // A server of HTTP/1 at the address.
    let http = super::raw_http().await;
    let (state, health) = super::first_result(&http).await;
    assert_eq!((state, health.passed), (tower_circuit_breaker::State::Open, 0), "{health:?}");
}
