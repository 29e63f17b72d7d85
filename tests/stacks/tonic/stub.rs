//! A gRPC service and its client, written by hand: what a generator makes of two methods.

#![expect(clippy::disallowed_types, reason = "loom does not run this")]

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use http::uri::PathAndQuery;
use prost::bytes::Bytes;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tonic_types::{ErrorDetails, StatusExt};
use tower::{Service, service_fn};

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Ask {
    #[prost(string, tag = "1")]
    pub(crate) wish: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Answer {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
}

/// The server: does what the wish says, and counts who asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inventory {
    calls: Arc<AtomicUsize>,
    /// What a stream that is to panic waits for.
    pub(crate) panic: Arc<Notify>,
}

impl Inventory {
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

impl NamedService for Inventory {
    const NAME: &'static str = "shop.Inventory";
}

impl Service<http::Request<Body>> for Inventory {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let panic = self.panic.clone();
        let list = service_fn(move |ask| list(ask, panic.clone()));
        let mut grpc = Grpc::new(ProstCodec::<Answer, Ask>::default());
        match request.uri().path() {
            "/shop.Inventory/Get" => async move { Ok(grpc.unary(service_fn(get), request).await) }.boxed(),
            "/shop.Inventory/List" => async move { Ok(grpc.server_streaming(list, request).await) }.boxed(),
            _ => async { Ok(Status::unimplemented("no such method").into_http()) }.boxed(),
        }
    }
}

async fn get(ask: Request<Ask>) -> Result<Response<Answer>, Status> {
    match &*ask.into_inner().wish {
        "hang" => std::future::pending().await,
        "pushback" => {
            let mut status = Status::resource_exhausted("come back");
            status.metadata_mut().insert("grpc-retry-pushback-ms", "42000".parse().unwrap());
            Err(status)
        }
        "details" => {
            let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(42)));
            Err(Status::with_error_details(tonic::Code::Unavailable, "come back", details))
        }
        "unavailable" => Err(Status::unavailable("as asked")),
        "not found" => Err(Status::not_found("as asked")),
        wish => Ok(Response::new(Answer { text: wish.to_owned() })),
    }
}

type Answers = BoxStream<'static, Result<Answer, Status>>;

async fn list(ask: Request<Ask>, panic: Arc<Notify>) -> Result<Response<Answers>, Status> {
    let first = stream::iter([Ok(Answer { text: "one".to_owned() })]);
    let rest: Answers = match &*ask.into_inner().wish {
        "unavailable" => stream::iter([Err(Status::unavailable("midway"))]).boxed(),
        "pushback" => {
            let mut status = Status::unavailable("midway");
            status.metadata_mut().insert("grpc-retry-pushback-ms", "42000".parse().unwrap());
            stream::iter([Err(status)]).boxed()
        }
        "not found" => stream::iter([Err(Status::not_found("midway"))]).boxed(),
        "hang" => stream::pending().boxed(),
        "panic" => stream::once(async move {
            panic.notified().await;
            panic!("as asked")
        })
        .boxed(),
        _ => stream::empty().boxed(),
    };
    Ok(Response::new(first.chain(rest).boxed()))
}

/// The client.
pub(crate) struct Client<T>(tonic::client::Grpc<T>);

impl<T> Client<T>
where
    T: GrpcService<Body, Error: Into<tower_circuit_breaker::BoxError>>,
    T::ResponseBody:
        http_body::Body<Data = Bytes, Error: Into<tower_circuit_breaker::BoxError> + Send> + Send + 'static,
{
    pub(crate) fn new(transport: T) -> Self {
        Self(tonic::client::Grpc::new(transport))
    }

    /// Calls the unary method.
    pub(crate) async fn get(&mut self, wish: &str) -> Result<String, Status> {
        self.send(ask(wish)).await
    }

    /// Calls the unary method with a deadline.
    pub(crate) async fn get_within(&mut self, deadline: Duration, wish: &str) -> Result<String, Status> {
        let mut request = ask(wish);
        request.set_timeout(deadline);
        self.send(request).await
    }

    async fn send(&mut self, request: Request<Ask>) -> Result<String, Status> {
        self.0.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let path = PathAndQuery::from_static("/shop.Inventory/Get");
        let answer = self.0.unary(request, path, ProstCodec::<Ask, Answer>::default()).await?;
        Ok(answer.into_inner().text)
    }

    /// Calls the streaming method.
    pub(crate) async fn list(&mut self, wish: &str) -> Result<Streaming<Answer>, Status> {
        self.0.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let path = PathAndQuery::from_static("/shop.Inventory/List");
        let answers = self.0.server_streaming(ask(wish), path, ProstCodec::<Ask, Answer>::default()).await?;
        Ok(answers.into_inner())
    }
}

fn ask(wish: &str) -> Request<Ask> {
    Request::new(Ask { wish: wish.to_owned() })
}

/// A server in a runtime of its own: dropped, its connections are cut off as if the process had died.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Running {
    /// Runs what `serve` makes of the connections.
    pub(crate) async fn start<F>(serve: impl FnOnce(TcpListenerStream) -> F) -> Self
    where
        F: Future<Output = Result<(), tonic::transport::Error>> + Send + 'static,
    {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let inside = runtime.enter();
        let incoming = TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
        drop(inside);
        runtime.spawn(serve(incoming));
        Self { address, runtime: Some(runtime) }
    }

    pub(crate) fn endpoint(&self) -> tonic::transport::Endpoint {
        tonic::transport::Endpoint::from_shared(format!("http://{}", self.address)).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
