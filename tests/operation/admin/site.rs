//! The origins and hosts that belong to the page, behind proxies and against pages of other sites.

use axum::Router;
use axum::body::Body;
use http::Request;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_circuit_breaker::Registry;
use tower_circuit_breaker::admin::{self, AdminRouter, User};

use super::rig::{TOKEN, app, authorized, circuit};

pub(super) type Headers<'a> = &'a [(&'a str, &'a str)];

/// A router that knows its user without a secret of the browser, as behind a sidecar.
pub(super) fn by_network(registry: &Registry) -> AdminRouter {
    admin::router(registry).authorize(|_| Ok(User::new("sidecar").unwrap()))
}

pub(super) fn registry() -> Registry {
    let registry = Registry::new();
    circuit(&registry, "payments");
    registry
}

/// Sends a request by hand, because a client would set the host itself.
pub(super) async fn send(app: &Router, method: &str, path: &str, headers: Headers<'_>) -> (u16, Value) {
    let mut request = Request::builder().method(method).uri(format!("/circuits{path}"));
    for (name, value) in [("content-type", "application/json")].iter().chain(headers) {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(r#"{"reason": "maintenance"}"#)).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

pub(super) async fn trip(app: &Router, headers: Headers<'_>) -> (u16, Value) {
    send(app, "POST", "/api/trip?circuit=payments", headers).await
}

#[tokio::test]
async fn an_origin_is_that_of_its_host_in_every_spelling() {
    let app = app(by_network(&registry()));
    for (host, origin) in [
        ("ops.internal", "http://ops.internal"),
        ("ops.internal:80", "http://ops.internal"),
        ("ops.internal", "http://ops.internal:80"),
        ("ops.internal:", "http://ops.internal"),
        ("ops.example", "https://ops.example"),
        ("ops.example:443", "https://ops.example"),
        ("ops.example", "https://ops.example:443"),
        ("ops.internal:8080", "http://ops.internal:8080"),
        ("OPS.Internal", "HTTP://ops.INTERNAL"),
        ("ops.internal.", "http://ops.internal"),
        ("ops.internal", "http://ops.internal."),
        ("ops.internal.:80", "http://ops.internal"),
        ("[::1]", "http://[::1]"),
        ("[::1]:80", "http://[::1]"),
        ("[0:0:0:0:0:0:0:1]:3000", "http://[::1]:3000"),
        ("[2001:DB8::A]:443", "https://[2001:db8::a]"),
        ("127.0.0.1:3000", "http://127.0.0.1:3000"),
    ] {
        let (status, answer) = trip(&app, &[("host", host), ("origin", origin)]).await;
        assert_eq!(status, 200, "{host} and {origin}: {answer}");
    }
}

#[tokio::test]
async fn another_host_or_port_is_another_site() {
    let app = app(by_network(&registry()));
    for (host, origin) in [
        ("ops.internal", "http://evil.example"),
        ("ops.internal", "http://ops.internal:8080"),
        ("ops.internal:8080", "http://ops.internal"),
        ("ops.internal:443", "http://ops.internal"),
        ("ops.internal:80", "https://ops.internal"),
        ("ops.internal", "http://ops.internal.evil.example"),
        ("ops.internal", "http://evil.example#ops.internal"),
        ("ops.internal", "http://ops.internal@evil.example"),
        ("ops.internal", "http://evil.example@ops.internal"),
        ("ops.internal", "http://ops.internal.."),
        ("ops.internal", "ftp://ops.internal"),
        ("ops.internal", "ops.internal"),
        ("ops.internal", "null"),
        ("ops.internal", "*"),
        ("ops.internal", ""),
        ("null", "null"),
        ("", "http://"),
        ("*", "http://*"),
        ("[::1]", "http://[::2]"),
        ("ops.internal:99999", "http://ops.internal:99999"),
    ] {
        let (status, problem) = trip(&app, &[("host", host), ("origin", origin)]).await;
        assert_eq!((status, &problem["kind"]), (403, &json!("cross_origin")), "{host} and {origin}: {problem}");
        let (status, _) = send(&app, "GET", "/api/circuits", &[("host", host), ("origin", origin)]).await;
        assert_eq!(status, 403, "{host} and {origin}");
    }
    let two = [("host", "ops.internal"), ("host", "evil.example"), ("origin", "http://evil.example")];
    assert_eq!(trip(&app, &two).await.0, 403, "each host is compared");
    assert_eq!(trip(&app, &[("origin", "http://ops.internal")]).await.0, 403, "without a host no origin fits");
}

#[tokio::test]
async fn forwarded_headers_are_never_trusted() {
    let app = app(by_network(&registry()).hosts(["127.0.0.1"]).unwrap());
    for (name, value) in [
        ("x-forwarded-host", "ops.internal"),
        ("forwarded", "host=ops.internal;proto=http"),
        ("x-original-host", "ops.internal"),
        ("x-forwarded-proto", "http"),
    ] {
        let (status, problem) =
            trip(&app, &[("host", "127.0.0.1:3000"), ("origin", "http://ops.internal"), (name, value)]).await;
        assert_eq!((status, &problem["kind"]), (403, &json!("cross_origin")), "{name}");
        let (status, problem) = trip(&app, &[("host", "ops.internal"), (name, "127.0.0.1")]).await;
        assert_eq!((status, &problem["kind"]), (403, &json!("foreign_host")), "{name}");
    }
}

#[tokio::test]
async fn a_trusted_origin_acts_and_reads_behind_any_host() {
    let router = by_network(&registry()).trusted_origin("http://ops.internal").unwrap();
    let app = app(router.trusted_origin("HTTPS://Portal.Example.:443").unwrap());
    let accepted: &[Headers<'_>] = &[
        &[("host", "127.0.0.1:3000"), ("origin", "http://ops.internal")],
        &[("host", "127.0.0.1:3000"), ("origin", "http://ops.internal:80")],
        &[("host", "127.0.0.1:3000"), ("origin", "https://portal.example"), ("sec-fetch-site", "cross-site")],
        &[("host", "127.0.0.1:3000"), ("origin", "https://portal.example"), ("sec-fetch-site", "same-site")],
    ];
    for headers in accepted {
        assert_eq!(trip(&app, headers).await.0, 200, "{headers:?}");
        assert_eq!(send(&app, "GET", "/api/circuits", headers).await.0, 200, "{headers:?}");
    }
    let refused: &[Headers<'_>] = &[
        &[("host", "127.0.0.1:3000"), ("origin", "https://ops.internal")],
        &[("host", "127.0.0.1:3000"), ("origin", "http://ops.internal:8080")],
        &[("host", "127.0.0.1:3000"), ("origin", "http://portal.example")],
        &[("host", "127.0.0.1:3000"), ("origin", "https://evil.example"), ("sec-fetch-site", "same-site")],
        &[("host", "127.0.0.1:3000"), ("sec-fetch-site", "same-site")],
    ];
    for headers in refused {
        assert_eq!(trip(&app, headers).await.0, 403, "{headers:?}");
    }
}

#[tokio::test]
async fn a_user_of_a_token_acts_behind_a_proxy_that_changes_the_host() {
    let app = app(authorized(&registry()));
    let token = format!("Bearer {TOKEN}");
    let headers = [("host", "127.0.0.1:3000"), ("origin", "http://ops.internal"), ("authorization", &*token)];
    assert_eq!(trip(&app, &headers).await.0, 200, "no other site can send the token");
    for site in ["cross-site", "same-site"] {
        let reported = [&headers[..], &[("sec-fetch-site", site)]].concat();
        assert_eq!(trip(&app, &reported).await.0, 403, "a proxy may have added the token: {site}");
    }
    let cookies = by_network(&registry());
    assert_eq!(trip(&super::rig::app(cookies), &headers).await.0, 403, "the authoriser has not looked at the token");
}

#[tokio::test]
async fn a_page_after_dns_rebinding_neither_reads_nor_acts() {
    let registry = registry();
    let app = app(by_network(&registry).hosts(["ops.internal", "127.0.0.1:8080", "[::1]", "ops.example:443"]).unwrap());
    let rebound: Headers<'_> =
        &[("host", "evil.test:8080"), ("origin", "http://evil.test:8080"), ("sec-fetch-site", "same-origin")];
    let reads =
        ["", "/api/circuits", "/api/status?circuit=payments", "/api/transitions?circuit=payments", "/api/audit"];
    for path in reads.into_iter().chain(["/api/events"]) {
        let (status, problem) = send(&app, "GET", path, rebound).await;
        assert_eq!((status, &problem["kind"]), (403, &json!("foreign_host")), "{path}: {problem}");
    }
    for act in ["trip", "reset", "disable", "resume"] {
        let (status, problem) = send(&app, "POST", &format!("/api/{act}?circuit=payments"), rebound).await;
        assert_eq!((status, &problem["kind"]), (403, &json!("foreign_host")), "{act}: {problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("`evil.test:8080`") && !detail.contains("ops.internal"), "{detail}");
    }
    assert!(registry.status("payments").unwrap().transitions.is_empty());
    for host in ["ops.internal", "OPS.internal.:9", "127.0.0.1:8080", "[::1]:3000", "ops.example", "ops.example:443"] {
        for path in reads {
            assert_eq!(send(&app, "GET", path, &[("host", host)]).await.0, 200, "{host} {path}");
        }
    }
    // HTTP/2 sends the host in the address, and so does a request in the absolute form.
    let absolute = Request::get("http://evil.test/circuits/api/circuits").header("host", "ops.internal");
    assert_eq!(app.clone().oneshot(absolute.body(Body::empty()).unwrap()).await.unwrap().status(), 403);
    let absolute = Request::get("https://ops.internal/circuits/api/circuits").body(Body::empty()).unwrap();
    assert_eq!(app.clone().oneshot(absolute).await.unwrap().status(), 200);
    for hosts in [
        &["127.0.0.1:8081"][..],
        &["127.0.0.1"],
        &["ops.example:8443"],
        &["[::2]"],
        &["ops.internal.evil.test"],
        &["evil@ops.internal"],
        &["ops.internal", "evil.test"],
        &["*"],
        &[""],
        &[],
    ] {
        let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        assert_eq!(send(&app, "GET", "/api/circuits", &headers).await.0, 403, "{hosts:?}");
    }
}

#[test]
fn an_origin_or_host_that_cannot_be_one_is_refused_by_name() {
    let registry = Registry::new();
    let router = || admin::router(&registry);
    for origin in [
        "",
        "ops.example",
        "//ops.example",
        "ftp://ops.example",
        "https://",
        "https://ops.example/",
        "https://ops.example/circuits",
        "https://ops.example?a",
        "https://ops.example:99999",
        "https://*.example",
        "https://[::1",
        "https://öps.example",
        " https://ops.example",
        "null",
        "*",
    ] {
        let refused = router().trusted_origin(origin).unwrap_err();
        assert_eq!((refused.field, &*refused.value), ("trusted_origin", origin));
        let text = refused.to_string();
        assert!(text.starts_with("trusted_origin is `") && text.contains("`, allowed is `http` or `https`"), "{text}");
    }
    for host in
        ["", "https://ops.example", "ops.example/", "*.example", "*", "ana@h", "::1", "[::1", "h:99999", "h:x", "ö"]
    {
        let refused = router().hosts(["ops.internal", host]).unwrap_err();
        assert_eq!((refused.field, &*refused.value), ("hosts", host));
        assert!(refused.to_string().contains("`, allowed is one name or address or more"), "{refused}");
    }
    // Browsers send one form of an address, no empty part of a name, and no empty port.
    for host in [
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "999.1.1.1",
        "1.2.3.4.5",
        "ops.1",
        "127.0.0.1..",
        "ops..",
        "..",
        "a..b",
        ".ops",
        "ops:",
        "[::1]:",
    ] {
        let refused = router().hosts([host]).unwrap_err();
        assert_eq!((refused.field, &*refused.value), ("hosts", host));
        let origin = format!("http://{host}");
        assert_eq!(
            router().trusted_origin(&origin).err().map(|refused| refused.field),
            Some("trusted_origin"),
            "{origin}"
        );
    }
    for host in ["127.0.0.1", "127.0.0.1.", "ops.internal.", "1.example", "0x7f.example", "node-1", "n1.2e", "ops_1"] {
        assert!(router().hosts([host]).is_ok() && router().trusted_origin(&format!("http://{host}")).is_ok(), "{host}");
    }
    assert_eq!(router().hosts([""; 0]).unwrap_err().field, "hosts", "no host would refuse every request");
    let credentials = router().trusted_origin("https://ana:s3cret@ops.example").unwrap_err();
    assert!(!format!("{credentials} {credentials:?}").contains("s3cret"), "{credentials}");
    // The masked text could be a password.
    for origin in ["https://ops.example:x", "https://::1"] {
        assert!(router().trusted_origin(origin).unwrap_err().value.ends_with(":***"), "{origin}");
    }
    let endless = router().trusted_origin(&"x".repeat(1 << 20)).unwrap_err().to_string();
    assert!(endless.len() < 1_000, "{} bytes", endless.len());
}
