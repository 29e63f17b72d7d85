//! `HttpRejection`, and that it fits the bodies of every stack.

use super::*;

#[tokio::test]
async fn a_rejection_is_a_503_with_the_seconds_rounded_up() {
    let clock = MockClock::new();
    let (circuit, mut wait) = (opened(&clock), Vec::new());
    for millis in [0, 1, 3_999, 1, 900] {
        clock.advance(Duration::from_millis(millis));
        let response: Response<Body> = reject(&circuit, &HttpRejection::new(), &[]);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        wait.push(response.headers()[header::RETRY_AFTER].to_str().unwrap().to_owned());
    }
    // 5 s, 4.999, 1, 0.999, 0.099
    assert_eq!(wait, ["5", "5", "1", "1", "1"]);
}

#[tokio::test]
async fn an_unknown_wait_is_left_out_of_the_rejection() {
    let circuit = circuit(&MockClock::new());
    circuit.trip(&by("an incident"), None);
    let response: Response<Body> = reject(&circuit, &HttpRejection::new(), &[]);
    assert_eq!(response.headers().get(header::RETRY_AFTER), None);
    let problem = problem(response).await;
    assert_eq!(problem.get("retry_after_ms"), None);
    assert_eq!(problem["detail"], "circuit `orders` is open, and this attempt went no further");

    circuit.reset(&by("it is over"), To::HalfOpen);
    let probe = circuit.try_acquire().unwrap();
    let response: Response<Body> = reject(&circuit, &HttpRejection::new(), &[]);
    assert_eq!(response.headers().get(header::RETRY_AFTER), None, "the probe {probe:?} takes its time");
    let problem = self::problem(response).await;
    assert_eq!((&problem["reason"], problem.get("retry_after_ms")), (&json!("half_open"), None));
}

#[tokio::test]
async fn the_problem_names_the_circuit_and_no_internals() {
    let response: Response<Body> = reject(&opened(&MockClock::new()), &HttpRejection::new(), &[]);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    let expected = json!({
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "circuit `orders` is open, and this attempt went no further; try again in 5 s",
        "circuit": "orders",
        "reason": "tripped",
        "retry_after_ms": 5000,
    });
    assert_eq!(problem(response).await, expected);
}

/// Behind retries, earlier attempts may have reached the service.
#[tokio::test]
async fn a_rejection_speaks_of_this_attempt_and_not_of_the_request() {
    let circuit = opened(&MockClock::new());
    for rejection in [HttpRejection::new(), HttpRejection::new().anonymous()] {
        let problem = problem(reject(&circuit, &rejection, &[])).await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("this attempt went no further") && !detail.contains("request"), "{detail}");
    }
}

#[tokio::test]
async fn a_handler_answers_a_rejection_as_the_layer_would() {
    let circuit = opened(&MockClock::new());
    let rejected = circuit.try_acquire().unwrap_err();
    for rejection in [HttpRejection::new(), HttpRejection::new().explained(), HttpRejection::new().anonymous()] {
        let by_layer: Response<Body> = reject(&circuit, &rejection, &[]);
        let by_handler: Response<Body> = rejection.response(&rejected);
        assert_eq!(by_handler.status(), by_layer.status());
        assert_eq!(by_handler.headers(), by_layer.headers());
        assert_eq!(Rejected::find_in(by_handler.extensions()).map(Rejected::circuit), Some("orders"));
        assert_eq!(problem(by_handler).await, problem(by_layer).await);
    }
    let bare: Response<()> = HttpRejection::new().headers_only().response(&rejected);
    assert_eq!(bare.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(bare.headers()[header::RETRY_AFTER], "5");
}

#[tokio::test]
async fn an_anonymous_rejection_says_only_for_how_long() {
    let response: Response<Body> = reject(&opened(&MockClock::new()), &HttpRejection::new().anonymous(), &[]);
    let expected = json!({
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "the service is unavailable for now, and this attempt went no further; try again in 5 s",
        "retry_after_ms": 5000,
    });
    assert_eq!(problem(response).await, expected);
}

#[tokio::test]
async fn an_explained_rejection_has_the_whole_sentence_with_special_characters() {
    let config = Config::builder(r#""a\b"{id}"#).clock(MockClock::new()).build().unwrap();
    let circuit = Circuit::new(config);
    circuit.trip(&by("größer \"als\" \\ 🦀"), None);
    let sentence = circuit.try_acquire().unwrap_err().to_string();
    assert!(sentence.contains("größer"), "{sentence}");
    let response: Response<Body> = reject(&circuit, &HttpRejection::new().explained(), &[]);
    let problem = problem(response).await;
    assert_eq!((&problem["detail"], &problem["circuit"]), (&json!(sentence), &json!(r#""a\b"{id}"#)));

    let response: Response<Body> =
        reject(&circuit, &HttpRejection::new().explained(), &[(header::ACCEPT, "text/plain")]);
    assert_eq!(text(response).await, sentence + "\n");
}

#[tokio::test]
async fn a_caller_that_accepts_text_gets_the_sentence_as_text() {
    let accept = [(header::ACCEPT, "application/json;q=0.2, text/*;q=0.9")];
    let response: Response<Body> = reject(&opened(&MockClock::new()), &HttpRejection::new(), &accept);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    assert_eq!(text(response).await, "circuit `orders` is open, and this attempt went no further; try again in 5 s\n");
}

#[tokio::test]
async fn a_head_gets_the_headers_of_a_get_alone() {
    let circuit = opened(&MockClock::new());
    let request = |method| Request::builder().method(method).uri("/").body(()).unwrap();
    let answer = |method| -> Response<Full<Bytes>> {
        let rejected = circuit.try_acquire().unwrap_err();
        let result: Result<_, Infallible> = HttpRejection::new().reject(rejected, request(method));
        result.unwrap()
    };
    let (head, get) = (answer(Method::HEAD), answer(Method::GET));
    assert_eq!(head.headers(), get.headers());
    let length = get.headers()[header::CONTENT_LENGTH].to_str().unwrap().to_owned();
    assert_eq!(get.into_body().collect().await.unwrap().to_bytes().len().to_string(), length);
    assert!(head.into_body().collect().await.unwrap().to_bytes().is_empty());
}

#[tokio::test]
async fn bodies_of_every_stack_fit_without_a_word_on_their_type() {
    async fn status<R, B>(rejection: R, body: fn() -> B) -> StatusCode
    where
        R: Rejection<Request<()>, Response<B>, Infallible, Error = Infallible> + Clone,
    {
        let circuit = opened(&MockClock::new());
        let service = ServiceBuilder::new()
            .layer(CircuitBreakerLayer::new(&circuit).classifier(HttpClassifier::new()).rejection(rejection))
            .service(service_fn(move |_: Request<()>| std::future::ready(Ok(Response::new(body())))));
        let response = service.oneshot(Request::new(())).await.unwrap_or_else(|never| match never {});
        assert!(response.extensions().get::<Rejected>().is_some());
        response.status()
    }
    let (texts, headers) = (HttpRejection::new(), HttpRejection::new().headers_only());
    let answers = [
        status(texts, Body::empty).await,
        status(texts, Full::<Bytes>::default).await,
        status(texts, String::new).await,
        status(texts, reqwest::Body::default).await,
        status(headers, tonic::body::Body::empty).await,
        status(headers, Empty::<Bytes>::new).await,
        status(headers, UnsyncBoxBody::<Bytes, BoxError>::default).await,
        status(headers, Body::empty).await,
    ];
    assert_eq!(answers, [StatusCode::SERVICE_UNAVAILABLE; 8]);
}

#[tokio::test]
async fn headers_alone_say_when_to_come_again() {
    let response: Response<Empty<Bytes>> =
        reject(&opened(&MockClock::new()), &HttpRejection::new().headers_only(), &[]);
    assert_eq!((response.status(), response.headers().len()), (StatusCode::SERVICE_UNAVAILABLE, 1));
    assert_eq!(response.headers()[header::RETRY_AFTER], "5");
    assert_eq!(response.extensions().get::<Rejected>().unwrap().circuit(), "orders");
}

#[tokio::test]
async fn the_errors_of_the_service_stay_unchanged() {
    #[derive(Debug, PartialEq)]
    struct Own(u8);
    let circuit = circuit(&MockClock::new());
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(&circuit).classifier(HttpClassifier::new()).rejection(HttpRejection::new()))
        .service(service_fn(async |_: Request<()>| Err::<Response<Body>, _>(Own(7))));
    for _ in 0..5 {
        assert_eq!(service.clone().oneshot(Request::new(())).await.unwrap_err(), Own(7));
    }
    assert_eq!(circuit.status().state, State::Open);
    assert_eq!(service.oneshot(Request::new(())).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_limited_circuit_says_when_to_come_back() {
    for (rejected, reason, detail) in [
        (
            limited(|settings| settings.ramp(Duration::from_secs(10))),
            "ramp",
            "circuit `orders` has closed and admits only a growing share of the calls",
        ),
        (
            limited(|settings| settings.ramp(Duration::ZERO).throttle(2.0)),
            "throttled",
            "circuit `orders` admits only a share of the calls",
        ),
    ] {
        let response: Response<Body> = HttpRejection::new().response(&rejected);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        let problem = problem(response).await;
        assert_eq!(problem["reason"], reason);
        assert_eq!(problem["detail"], format!("{detail}, and this attempt went no further; try again in 1 s"));
    }
}
