//! Bodies whose length says where they end, and what may follow all the same.

use super::*;

#[test]
fn a_body_dropped_after_its_content_length_has_ended_but_not_before() {
    const HTTP_1: Version = Version::HTTP_11;
    for (version, length, told) in [
        (HTTP_1, "6", SUCCESS),
        (HTTP_1, "5", SUCCESS),
        (HTTP_1, "7", CANCELLED),
        (HTTP_1, "many", CANCELLED),
        // Behind a proxy the reader may be HTTP/1.1 all the same, and counts.
        (Version::HTTP_2, "6", SUCCESS),
        (Version::HTTP_2, "7", CANCELLED),
    ] {
        let (circuit, (judge, _words)) = (circuit(&MockClock::new()), channel());
        let mut request = ok([Step::Data("one"), Step::Data("two")]);
        let response = request.body_mut().as_mut().unwrap();
        *response.version_mut() = version;
        response.headers_mut().insert("content-length", length.parse().unwrap());
        let mut body = head(&mut service(&circuit, &judge), request).into_body();
        assert!(frame(&mut body).is_ready() && frame(&mut body).is_ready());
        assert_eq!(counted(&circuit), UNTOLD, "it may still fail");
        drop(body);
        assert_eq!(counted(&circuit), told, "{version:?}, length {length}");
    }
}

#[test]
fn a_body_dropped_while_its_trailers_are_waited_for_has_not_ended() {
    for trailer in [false, true] {
        let (circuit, (judge, _words)) = (circuit(&MockClock::new()), channel());
        let mut request = ok([Step::Data("one"), Step::Pending, Step::Trailers("0")]);
        let response = request.body_mut().as_mut().unwrap();
        *response.version_mut() = Version::HTTP_2;
        response.headers_mut().insert("content-length", "3".parse().unwrap());
        if trailer {
            response.headers_mut().insert("trailer", "grpc-status".parse().unwrap());
        }
        let mut body = head(&mut service(&circuit, &judge), request).into_body();
        assert!(frame(&mut body).is_ready());
        if !trailer {
            assert!(frame(&mut body).is_pending(), "who counts bytes would not have asked");
        }
        drop(body);
        assert_eq!(counted(&circuit), CANCELLED, "announced: {trailer}");
    }
}

#[test]
fn a_grpc_message_of_known_length_ends_only_with_its_trailers() {
    let circuit = circuit(&MockClock::new());
    let mut service = CircuitBreakerLayer::new(&circuit).classifier(GrpcClassifier::new()).tracked_bodies().layer(
        service_fn(|_: http::Request<()>| {
            let head = Response::builder().header("content-type", "application/grpc").header("content-length", "3");
            std::future::ready(Ok::<_, io::Error>(head.body(Script::new([Step::Data("one")])).unwrap()))
        }),
    );
    let request = http::Request::post("/").header("content-type", "application/grpc").body(()).unwrap();
    let mut body = head(&mut service, request).into_body();
    assert!(frame(&mut body).is_ready());
    drop(body);
    assert_eq!(counted(&circuit), CANCELLED, "it was the reader who did not wait for the status");
}

#[test]
fn trailers_of_grpc_web_count_after_the_announced_end() {
    /// As tonic-web's client has it: the end of the stream below, whose last bytes are a message and the trailers.
    struct Translated(Script, bool);

    impl Body for Translated {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            self.1 = true;
            Pin::new(&mut self.0).poll_frame(context)
        }

        fn is_end_stream(&self) -> bool {
            self.1
        }
    }

    for (status, told) in [(Some("0"), SUCCESS), (Some("14"), FAILURE), (None, FAILURE)] {
        let circuit = circuit(&MockClock::new());
        let answer = move |_: http::Request<()>| {
            let steps = [Step::Data("one")].into_iter().chain(status.map(Step::Trailers));
            let head = Response::builder().header("content-type", "application/grpc-web+proto");
            std::future::ready(Ok::<_, io::Error>(head.body(Translated(Script::new(steps), false)).unwrap()))
        };
        let layer = CircuitBreakerLayer::new(&circuit).classifier(GrpcClassifier::new()).tracked_bodies();
        let request = http::Request::post("/").header("content-type", "application/grpc").body(()).unwrap();
        let mut body = head(&mut layer.layer(service_fn(answer)), request).into_body();
        assert!(frame(&mut body).is_ready());
        assert_eq!(counted(&circuit), UNTOLD, "{status:?}");
        if status.is_some() {
            assert!(frame(&mut body).is_ready());
        }
        drop(body);
        assert_eq!(counted(&circuit), told, "{status:?}");
    }
}

#[test]
fn a_length_beside_a_transfer_coding_counts_nothing() {
    let (circuit, (judge, _words)) = (circuit(&MockClock::new()), channel());
    let mut request = ok([Step::Data("one"), Step::Data("two")]);
    let headers = request.body_mut().as_mut().unwrap().headers_mut();
    headers.insert("content-length", "3".parse().unwrap());
    headers.insert("transfer-encoding", "chunked".parse().unwrap());
    let mut body = head(&mut service(&circuit, &judge), request).into_body();
    assert!(frame(&mut body).is_ready());
    drop(body);
    assert_eq!(counted(&circuit), CANCELLED, "RFC 9112, 6.3: the coding overrides it");
}
