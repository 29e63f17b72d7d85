//! What others may try, each tried: it is refused, or harmless.
//!
//! The file is longer than others, because a reader should see in one list which attacks were tried.

use std::net::SocketAddr;

use axum::body::Body;
use reqwest::Method;
use serde_json::json;
use tower_circuit_breaker::admin::{self, Denied, User};
use tower_circuit_breaker::store::{AuditFilter, AuditRow, Etag, Loaded, Store, StoreError, Write, Written};
use tower_circuit_breaker::{Config, Registry};

use super::rig::{Served, TOKEN, answer, app, authorized, circuit};

const ROUTES: [(Method, &str); 11] = [
    (Method::GET, ""),
    (Method::GET, "/api/circuits"),
    (Method::GET, "/api/status?circuit=payments"),
    (Method::GET, "/api/transitions?circuit=payments"),
    (Method::GET, "/api/audit"),
    (Method::GET, "/api/events"),
    (Method::POST, "/api/trip?circuit=payments"),
    (Method::POST, "/api/reset?circuit=payments"),
    (Method::POST, "/api/disable?circuit=payments"),
    (Method::POST, "/api/resume?circuit=payments"),
    (Method::POST, "/api/trip?circuit=unknown"),
];

#[tokio::test]
async fn every_route_is_refused_with_401_until_an_authoriser_is_set() {
    let registry = Registry::new();
    let payments = circuit(&registry, "payments");
    let served = Served::start(app(admin::router(&registry))).await;
    for (method, path) in ROUTES {
        let request = served.request(method.clone(), path).header("content-type", "application/json");
        let response = request.body(r#"{"reason": "a", "indefinitely": true}"#).send().await.unwrap();
        // RFC 9110, 15.5.2: a 401 has a challenge.
        assert_eq!(response.headers()["www-authenticate"], "Bearer", "{method} {path}");
        let (status, problem) = answer(response).await;
        assert_eq!((status, &problem["kind"]), (401, &json!("unauthorized")), "{method} {path}");
        assert!(!problem.to_string().contains("payments"), "it tells no names: {problem}");
    }
    assert!(payments.status().transitions.is_empty());
}

/// A registry whose store fails with the text of a driver.
async fn failing() -> Registry {
    let store = Failing;
    let registry =
        Registry::builder().store(store).store_timeout(std::time::Duration::from_millis(100)).build().unwrap();
    circuit(&registry, "payments");
    let report = registry.restore(std::time::Duration::from_millis(200)).await.unwrap();
    assert!(report.error.unwrap().contains("s3cret"), "an application logs the text");
    registry
}

#[derive(Debug, Clone)]
struct Failing;

fn failure() -> StoreError {
    StoreError::unavailable("no password for \"breaker\" at breaker:s3cret@db.internal").with_source("/etc/s3cret")
}

impl Store for Failing {
    fn kind(&self) -> &'static str {
        "failing"
    }
    async fn load_many(&self, _: &[String]) -> Result<Loaded, StoreError> {
        Err(failure())
    }
    async fn compare_and_set(&self, _: &Write) -> Result<Written, StoreError> {
        Err(failure())
    }
    async fn delete(&self, _: &str, _: &Etag) -> Result<bool, StoreError> {
        Err(failure())
    }
    async fn list(&self) -> Result<Vec<String>, StoreError> {
        Err(failure())
    }
    async fn append_audit(&self, _: &[AuditRow]) -> Result<(), StoreError> {
        Err(failure())
    }
    async fn audit(&self, _: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        Err(failure())
    }
}

#[tokio::test]
async fn readers_receive_the_kind_of_a_stores_error_and_users_who_act_the_text() {
    let registry = failing().await;
    // A user who may read only, and a user who may act.
    let by_method = admin::router(&registry).authorize(|parts| match parts.headers.get("authorization") {
        Some(token) if token == format!("Bearer {TOKEN}").as_str() => Ok(User::new("alice").unwrap()),
        _ if parts.method == Method::GET => Ok(User::new("guest").unwrap()),
        _ => Err(Denied::forbidden("guests only read")),
    });
    for router in [admin::router(&registry).read_only_without_auth(), by_method] {
        let served = Served::start(app(router)).await;
        for path in ["/api/circuits", "/api/audit", "/api/status?circuit=payments", "/api/transitions?circuit=payments"]
        {
            let (_, read) = answer(served.bare(Method::GET, path).send().await.unwrap()).await;
            assert!(
                !read.to_string().contains("s3cret") && !read.to_string().contains("db.internal"),
                "{path}: {read}"
            );
        }
        let mut events = served.bare(Method::GET, "/api/events").send().await.unwrap();
        let by = tower_circuit_breaker::By::new("bob", "maintenance").unwrap();
        let payments = registry.get("payments").unwrap();
        payments.trip(&by, None);
        payments.reset(&by, tower_circuit_breaker::circuit::To::Closed);
        let mut text = String::new();
        while !text.contains("\"to\":\"closed\"") {
            text.push_str(std::str::from_utf8(&events.chunk().await.unwrap().unwrap()).unwrap());
        }
        assert!(!text.contains("s3cret") && !text.contains("db.internal"), "{text}");
        let (_, list) = answer(served.bare(Method::GET, "/api/circuits").send().await.unwrap()).await;
        assert_eq!(list["store"]["error_kind"], "unavailable", "{list}");
        assert_eq!(list["store"]["error"], "the store cannot be reached", "{list}");
    }
    let served = Served::start(app(authorized(&registry))).await;
    let (_, list) = served.get("/api/circuits").await;
    assert!(list["store"]["error"].as_str().unwrap().contains("s3cret"), "{list}");
    let (status, audit) = served.get("/api/audit").await;
    assert!(status == 503 && audit["detail"].as_str().unwrap().contains("s3cret"), "{audit}");
}

#[tokio::test]
async fn a_problem_repeats_a_bounded_part_of_the_request() {
    let registry = Registry::new();
    circuit(&registry, "payments");
    let router = app(authorized(&registry));
    let long = "x".repeat(1 << 20);
    for path in
        [format!("/api/status?circuit={long}"), format!("/api/audit?{long}=1"), format!("/api/audit?limit={long}")]
    {
        let request = http::Request::get(format!("/circuits{}", &path[..path.len().min(60_000)]));
        let request = request.header("authorization", format!("Bearer {TOKEN}")).body(Body::empty()).unwrap();
        let response = tower::ServiceExt::oneshot(router.clone(), request).await.unwrap();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        assert!(body.len() < 3_000, "{} bytes for {}", body.len(), &path[..20]);
    }
}

#[tokio::test]
async fn every_route_but_the_page_refuses_a_wrong_or_missing_token() {
    let registry = Registry::new();
    let payments = circuit(&registry, "payments");
    let served = Served::start(app(authorized(&registry))).await;
    let nearly = format!("Bearer {}", &TOKEN[..TOKEN.len() - 1]);
    let tokens = ["", "Bearer", "Bearer ", "Bearer wrong", &nearly, "Basic YTpi", TOKEN];
    for (method, path) in ROUTES.into_iter().skip(1) {
        for token in tokens {
            let request = served.bare(method.clone(), path).header("authorization", token);
            let (status, problem) = answer(request.send().await.unwrap()).await;
            assert_eq!(status, 401, "{method} {path} with {token:?}: {problem}");
        }
    }
    assert!(payments.status().transitions.is_empty());
    let page = served.bare(Method::GET, "").send().await.unwrap();
    assert_eq!(
        (page.status().as_u16(), &page.headers()["content-type"]),
        (200, &"text/html; charset=utf-8".parse().unwrap())
    );
    assert!(!page.text().await.unwrap().contains("payments"), "the page holds nothing about circuits");
}

#[tokio::test]
async fn an_empty_token_is_refused() {
    let registry = Registry::new();
    let nobody = admin::bearer(&[("", User::new("nobody").unwrap())]);
    let served = Served::start(app(admin::router(&registry).authorize(nobody))).await;
    let request = served.bare(Method::GET, "/api/circuits").header("authorization", "Bearer ");
    assert_eq!(request.send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn read_only_without_auth_allows_reads_and_no_acts() {
    let registry = Registry::new();
    let payments = circuit(&registry, "payments");
    let served = Served::start(app(admin::router(&registry).read_only_without_auth())).await;
    for (method, path) in ROUTES {
        let request = served.bare(method.clone(), path).header("content-type", "application/json");
        let status = request.body(r#"{"reason": "a", "indefinitely": true}"#).send().await.unwrap().status();
        assert_eq!(status, if method == Method::GET { 200 } else { 403 }, "{method} {path}");
    }
    assert!(payments.status().transitions.is_empty());
    assert_eq!(served.get("/api/circuits").await.1["writes"], json!(false));
}

#[tokio::test]
async fn the_authoriser_may_allow_reads_and_deny_writes() {
    let registry = Registry::new();
    let payments = circuit(&registry, "payments");
    let readers = admin::router(&registry).authorize(|parts| {
        if parts.method == Method::POST {
            Err(Denied::forbidden("you may look, not act"))
        } else {
            Ok(User::new("eve").unwrap())
        }
    });
    let served = Served::start(app(readers)).await;
    assert_eq!(served.get("/api/circuits").await.0, 200);
    let (status, problem) = served.post("/api/trip?circuit=payments", r#"{"reason": "a"}"#).await;
    assert_eq!((status, &problem["detail"]), (403, &json!("you may look, not act")));
    assert!(payments.status().transitions.is_empty());
}

#[tokio::test]
async fn requests_of_a_browser_for_another_site_are_refused() {
    let registry = Registry::new();
    let payments = circuit(&registry, "payments");
    // By a cookie, which a browser adds to the requests of every site.
    let by_cookie = admin::router(&registry).authorize(|_| Ok(User::new("alice").unwrap()));
    let served = Served::start(app(by_cookie)).await;
    let own = format!("http://{}", served.address);
    let other_port = format!("http://127.0.0.1:{}", served.address.port() ^ 1);
    let attempts = |method: Method, path| {
        let (own, other_port) = (own.clone(), other_port.clone());
        let served = &served;
        async move {
            let mut answered = Vec::new();
            for (name, value) in [
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-site", "same-site"),
                ("origin", "https://evil.example"),
                ("origin", &*other_port),
                ("origin", "null"),
                ("origin", &*own),
                ("sec-fetch-site", "same-origin"),
            ] {
                let request = served.request(method.clone(), path).header("content-type", "application/json");
                let request = request.header(name, value).body(r#"{"reason": "a"}"#);
                answered.push(request.send().await.unwrap().status().as_u16());
            }
            answered
        }
    };
    let refused = [403; 5];
    assert_eq!(attempts(Method::GET, "/api/circuits").await, [&refused[..], &[200, 200]].concat());
    let before = payments.status().transitions.len();
    assert_eq!(attempts(Method::POST, "/api/trip?circuit=payments").await, [&refused[..], &[200, 200]].concat());
    assert_eq!((before, payments.status().transitions.len()), (0, 2), "only the last two were done");
}

#[tokio::test]
async fn an_order_in_a_content_type_of_forms_is_refused() {
    let registry = Registry::new();
    let payments = circuit(&registry, "payments");
    let served = Served::start(app(authorized(&registry))).await;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp", ""] {
        let request = served.request(Method::POST, "/api/trip?circuit=payments").header("content-type", kind);
        assert_eq!(request.body(r#"{"reason": "a"}"#).send().await.unwrap().status(), 415, "{kind:?}");
    }
    assert!(payments.status().transitions.is_empty());
    let request = served.request(Method::POST, "/api/trip?circuit=payments");
    let request = request.header("content-type", "Application/JSON; charset=utf-8").body(r#"{"reason": "a"}"#);
    assert_eq!(request.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_body_of_ten_megabytes_is_refused_announced_or_not() {
    let registry = Registry::new();
    let payments = circuit(&registry, "payments");
    let served = Served::start(app(authorized(&registry))).await;
    let long = || format!(r#"{{"reason": "{}"}}"#, "x".repeat(10 << 20));
    // By hand: a client may be answered, and cut off, while it still sends.
    for (header, body) in
        [("content-length", long()), ("transfer-encoding", format!("{:x}\r\n{}\r\n0\r\n\r\n", long().len(), long()))]
    {
        let value = if header == "content-length" { body.len().to_string() } else { "chunked".to_owned() };
        let head = format!(
            "POST /circuits/api/trip?circuit=payments HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {TOKEN}\r\n\
             content-type: application/json\r\n{header}: {value}\r\n\r\n",
            served.address
        );
        assert_eq!(first_line(served.address, head, body).await, "HTTP/1.1 413 Payload Too Large", "{header}");
    }
    assert!(payments.status().transitions.is_empty());
    assert_eq!(served.get("/api/circuits").await.0, 200, "it serves on");
}

async fn first_line(address: SocketAddr, head: String, body: String) -> String {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let (read, mut write) = tokio::net::TcpStream::connect(address).await.unwrap().into_split();
    let sending = async {
        write.write_all(head.as_bytes()).await.unwrap();
        // The server may have closed.
        drop(write.write_all(body.as_bytes()).await);
        std::future::pending::<()>().await;
    };
    let mut line = String::new();
    let mut read = BufReader::new(read);
    tokio::select! {
        () = sending => {}
        _ = read.read_line(&mut line) => {}
    }
    line.trim().to_owned()
}

#[tokio::test]
async fn a_name_with_special_characters_addresses_its_own_circuit() {
    let registry = Registry::new();
    let names = ["a/b", "../a", "..", "..%2f", "größe🦀", "<img/src=x>", "\"';--", "a&circuit=b", "a#b?c", "+"];
    for name in names {
        circuit(&registry, name);
    }
    let served = Served::start(app(authorized(&registry))).await;
    for name in names {
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let (status, one) = served.get(&format!("/api/status?circuit={encoded}")).await;
        assert_eq!((status, &one["circuit"]["name"]), (200, &json!(name)));
        let (status, done) = served.post(&format!("/api/trip?circuit={encoded}"), r#"{"reason": "<b>a</b>"}"#).await;
        assert_eq!((status, &done["circuit"]["name"]), (200, &json!(name)));
        assert!(registry.is_tripped(name).unwrap(), "{name}");
    }
    assert_eq!(served.get("/api/audit").await.1["rows"].as_array().unwrap().len(), names.len());
    // In the path they lead nowhere.
    for path in ["/api/status/..%2f..%2fetc%2fpasswd", "/api/%2e%2e/status", "/..%2f"] {
        let status = served.request(Method::GET, path).send().await.unwrap().status();
        assert_eq!(status, 404, "{path}");
    }
}

#[tokio::test]
async fn line_ends_in_names_reach_no_header_and_no_event() {
    let registry = Registry::new();
    assert!(Config::new("a\r\nset-cookie:x").is_err(), "no circuit has such a name");
    let served = Served::start(app(authorized(&registry))).await;
    let response = served.request(Method::GET, "/api/status?circuit=a%0d%0aset-cookie:%20x%3dy").send().await.unwrap();
    assert!(!response.headers().contains_key("set-cookie"));
    let (status, problem) = answer(response).await;
    assert_eq!((status, &problem["detail"]), (404, &json!(r"there is no circuit `a\r\nset-cookie: x=y`")));
    assert!(User::new("root\nlevel=error").is_err());
}

#[tokio::test]
async fn every_answer_has_headers_against_caching_and_framing() {
    let registry = Registry::new();
    let served = Served::start(app(authorized(&registry))).await;
    for (method, path) in ROUTES {
        let response = served.bare(method.clone(), path).send().await.unwrap();
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("x-frame-options", "DENY"),
        ] {
            assert_eq!(response.headers()[name], value, "{method} {path}");
        }
        let policy = response.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    }
}

#[test]
fn debug_output_contains_no_secrets() {
    let secret = "s3cret-of-the-test";
    let allowed = admin::bearer(&[(secret, User::new("alice").unwrap())]);
    let router = admin::router(&Registry::new()).authorize(allowed);
    let shown = format!("{router:?}") + &format!("{:?}", router.build::<()>());
    assert!(shown.contains("Authorised(..)") && !shown.contains(secret), "{shown}");
}

#[tokio::test]
async fn extensions_set_by_the_application_reach_the_authoriser() {
    #[derive(Clone)]
    struct Session(&'static str);

    let registry = Registry::new();
    circuit(&registry, "payments");
    let router = admin::router(&registry).authorize(|parts| match parts.extensions.get::<Session>() {
        Some(Session(name)) => User::new(name).map_err(|_| Denied::unknown("a session without a name")),
        None => Err(Denied::unknown("log in first").challenge("Basic realm=\"circuits\"".parse().unwrap())),
    });
    let asked = async |app: axum::Router| {
        let request = http::Request::get("/circuits/api/circuits").body(Body::empty()).unwrap();
        tower::ServiceExt::oneshot(app, request).await.unwrap()
    };
    let app = app(router);
    let refused = asked(app.clone()).await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["www-authenticate"]),
        (401, &"Basic realm=\"circuits\"".parse().unwrap())
    );
    assert_eq!(asked(app.layer(axum::Extension(Session("carol")))).await.status(), 200);
}
