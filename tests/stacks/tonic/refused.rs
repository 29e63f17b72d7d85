//! HTTP/2 servers that refuse a stream before they process it, as a graceful restart does.

use http::uri::PathAndQuery;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tonic_prost::ProstCodec;
use tower_circuit_breaker::classify::{Classifier, HttpClassifier, ReqwestClassifier};
use tower_circuit_breaker::outcome::Weight;
use tower_circuit_breaker::{BoxError, Outcome};

use super::*;

/// SETTINGS without settings, which each peer sends first.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// `RST_STREAM` of stream 1 with the code `REFUSED_STREAM`.
const REFUSED: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7];
/// `RST_STREAM` of stream 1 with the code `INTERNAL_ERROR`.
const RESET: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 2];
/// GOAWAY with the code `NO_ERROR`, whose last stream is 0.
const GOAWAY: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// GOAWAY with the code `ENHANCE_YOUR_CALM`, whose last stream is 0.
const CALM: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];

const HEADERS: u8 = 1;

/// Answers the first request of each connection with that frame. The task ends with the set.
async fn peer(frame: &'static [u8]) -> (Endpoint, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut preface = [0; 24];
                stream.read_exact(&mut preface).await.unwrap();
                stream.write_all(SETTINGS).await.unwrap();
                // Frames have a head of nine bytes: length, type, flags, stream.
                let mut head = [0; 9];
                while stream.read_exact(&mut head).await.is_ok() {
                    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
                    let mut payload = vec![0; length];
                    stream.read_exact(&mut payload).await.unwrap();
                    if head[3] == HEADERS {
                        stream.write_all(frame).await.unwrap();
                    }
                }
            });
        }
    });
    (endpoint, tasks)
}

#[tokio::test]
async fn a_stream_that_the_server_did_not_process_weighs_as_a_timeout() {
    let not_processed = Failure::new(Weight::TIMEOUT).with_kind(FailureKind::Named("not_processed"));
    for (name, frame, expected) in [
        ("REFUSED_STREAM", REFUSED, not_processed),
        ("GOAWAY", GOAWAY, not_processed),
        ("INTERNAL_ERROR", RESET, Failure::hard()),
        ("ENHANCE_YOUR_CALM", CALM, Failure::hard()),
    ] {
        let (endpoint, _tasks) = peer(frame).await;
        let (circuit, log) = watched();
        Client::new(client_layer(&circuit).layer(endpoint.connect_lazy())).get("apples").await.unwrap_err();
        assert_eq!(log.take(), [Ended::Failure(expected)], "{name}");
    }
}

#[tokio::test]
async fn a_stream_that_was_not_processed_is_known_to_each_classifier_in_boxed_errors() {
    for frame in [REFUSED, GOAWAY] {
        let (endpoint, _tasks) = peer(frame).await;
        let error = async || -> BoxError {
            let mut client = tonic::client::Grpc::new(endpoint.connect_lazy());
            client.ready().await.unwrap();
            let (path, codec) = (PathAndQuery::from_static("/shop.Inventory/Get"), ProstCodec::<(), ()>::default());
            client.unary(tonic::Request::new(()), path, codec).await.unwrap_err().into()
        };
        let weight = |outcome: Outcome| outcome.as_failure().map(Failure::weight);
        type Page = http::Response<String>;
        let http =
            Classifier::<http::Request<()>, Page, _>::finish(&HttpClassifier::new(), (), Err(&error().await), ZERO);
        assert_eq!(weight(http), Some(Weight::TIMEOUT));
        let reqwest = ReqwestClassifier::new().error(error().await.as_ref());
        assert_eq!(weight(reqwest), Some(Weight::TIMEOUT));
        let boxed = HttpClassifier::new();
        let ready = Classifier::<http::Request<()>, Page, _>::ready_error(&boxed, &error().await);
        assert_eq!(weight(ready), Some(Weight::TIMEOUT));
    }
}

const ZERO: Duration = Duration::ZERO;
