//! Requests that are repeated, because a repetition does no harm, and requests that are sent once.

use tower_circuit_breaker::retry::idempotent;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_request_that_must_not_be_repeated_is_sent_once() {
    for (method, calls) in
        [(Method::GET, 3), (Method::PUT, 3), (Method::DELETE, 3), (Method::POST, 1), (Method::PATCH, 1)]
    {
        let (circuit, server) = (circuit(), Server::down());
        let called = server.clone();
        let retries = exact().repeat(idempotent::<()>).build().unwrap();
        let service = ServiceBuilder::new()
            .layer(RetryLayer::new(retries))
            .layer(CircuitBreakerLayer::new(&circuit))
            .service(service_fn(move |_: Request<()>| called.clone().answer()));
        let request = Request::builder().method(&method).body(()).unwrap();
        assert!(service.oneshot(request).await.is_err());
        assert_eq!(server.calls(), calls, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_of_reqwest_is_repeated_only_if_idempotent_and_copyable() {
    for (method, calls) in
        [(Method::GET, 3), (Method::PUT, 3), (Method::DELETE, 3), (Method::POST, 1), (Method::PATCH, 1)]
    {
        let (circuit, server) = (circuit(), Server::down());
        let called = server.clone();
        let retries = exact().repeat(idempotent_reqwest).build().unwrap();
        let service = ServiceBuilder::new()
            .layer(RetryLayer::new(retries))
            .layer(CircuitBreakerLayer::new(&circuit))
            .service(service_fn(move |_: reqwest::Request| called.clone().answer()));
        let mut request = reqwest::Request::new(method.clone(), "http://localhost/".parse().unwrap());
        *request.body_mut() = Some("a body in memory".into());
        assert!(service.oneshot(request).await.is_err());
        assert_eq!(server.calls(), calls, "{method}");
    }
    let mut stream = reqwest::Request::new(Method::PUT, "http://localhost/".parse().unwrap());
    let body = http_body_util::Full::new(axum::body::Bytes::from("a stream"));
    *stream.body_mut() = Some(reqwest::Body::wrap(body));
    assert!(idempotent_reqwest(&stream).is_none(), "a stream is read once");
}
