//! Peers that misbehave below HTTP, and one that answers with the status it is asked for.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How many requests a peer was sent.
#[derive(Clone, Default)]
pub(super) struct Count(watch::Sender<usize>);

impl Count {
    fn add(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    pub(super) fn get(&self) -> usize {
        *self.0.borrow()
    }
}

/// What a peer does with each request, which is sent as one small packet.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    /// Says this, and keeps the connection for the next request.
    Whole(&'static str),
    /// Says this, and then nothing more for as long as the client stays.
    Stall(&'static str),
    /// Says this, and resets the connection.
    Reset(&'static str),
}

pub(super) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone";
pub(super) const ERROR: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
/// A head, and half of the body that it announces.
pub(super) const HALF: &str = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf";

/// A server on loopback that stops when it is dropped.
pub(super) struct Peer {
    address: SocketAddr,
    pub(super) requests: Count,
    _tasks: JoinSet<()>,
}

impl Peer {
    /// Answers the n-th request, from 0, as `script` says.
    pub(super) async fn new(script: impl Fn(usize) -> Answer + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, requests) = (listener.local_addr().unwrap(), Count::default());
        let mut tasks = JoinSet::new();
        let counted = requests.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, script.clone(), counted.clone()));
            }
        });
        Self { address, requests, _tasks: tasks }
    }

    /// Answers `GET /503` with that status, and `GET /503/7` with `Retry-After: 7` as well.
    pub(super) async fn statuses() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, requests) = (listener.local_addr().unwrap(), Count::default());
        let counted = requests.clone();
        let answer = move |status: u16, headers: &[(HeaderName, String)]| {
            counted.add();
            let header = |(name, value): &(HeaderName, String)| (name.clone(), HeaderValue::from_str(value).unwrap());
            (StatusCode::from_u16(status).unwrap(), headers.iter().map(header).collect::<HeaderMap>())
        };
        let plain = answer.clone();
        let app = axum::Router::new()
            .route(
                "/{status}",
                get(async move |Path(status)| plain(status, &[(header::LOCATION, format!("/{status}"))])),
            )
            .route(
                "/{status}/{wait}",
                get(async move |Path((status, wait))| answer(status, &[(header::RETRY_AFTER, wait)])),
            );
        let mut tasks = JoinSet::new();
        tasks.spawn(async { axum::serve(listener, app).await.unwrap() });
        Self { address, requests, _tasks: tasks }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn serve(mut stream: TcpStream, script: impl Fn(usize) -> Answer, requests: Count) {
    // Four bytes only: unread ones make the kernel answer the close with a reset.
    while stream.read_exact(&mut [0; 4]).await.is_ok() {
        let number = requests.get();
        requests.add();
        let (Answer::Whole(text) | Answer::Stall(text) | Answer::Reset(text)) = script(number);
        if !matches!(script(number), Answer::Reset(_)) {
            read_head(&mut stream).await;
        }
        stream.write_all(text.as_bytes()).await.unwrap();
        match script(number) {
            Answer::Whole(_) => {}
            // Until the client leaves.
            Answer::Stall(_) => while stream.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {},
            Answer::Reset(_) => return stream.readable().await.unwrap(),
        }
    }
}

async fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
}

/// A port that is taken, and at which nobody listens: connecting to it is refused.
pub(super) struct Nobody {
    pub(super) url: String,
    _socket: TcpSocket,
}

impl Nobody {
    pub(super) fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self { url: format!("http://{}/", socket.local_addr().unwrap()), _socket: socket }
    }
}

/// A listener that accepts nobody, with its queue full: connecting to it takes until somebody gives up.
pub(super) struct Crowded {
    pub(super) url: String,
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl Crowded {
    pub(super) async fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(stream) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            queue.push(stream.unwrap());
            assert!(queue.len() < 1_000, "the queue of a listener fills up");
        }
        Self { url: format!("http://{address}/"), _listener: listener, _queue: queue }
    }
}
