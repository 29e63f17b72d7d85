//! The answers to refused requests, and their lines in the log.

use super::rig::{app, authorized};
use super::site::{Headers, by_network, registry, send, trip};
use crate::lines::Lines;

#[tokio::test]
async fn a_refusal_says_in_answer_and_log_which_values_were_compared() {
    let lines = Lines::collect();
    let app = app(by_network(&registry()).hosts(["127.0.0.1", "ops.internal"]).unwrap());
    let proxied: Headers<'_> = &[("host", "127.0.0.1:3000"), ("origin", "http://ops.internal")];
    let (_, problem) = trip(&app, proxied).await;
    let compared = "the request comes from another site: its Origin is `http://ops.internal`, and its Host is `127.0.0.1:3000`. \
                    If a proxy changes the Host, let the proxy pass it on. If this origin belongs to the page, name it in `trusted_origin`";
    assert_eq!(problem["detail"], compared);
    let (_, problem) = trip(&app, &[("host", "127.0.0.1"), ("sec-fetch-site", "cross-site")]).await;
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("its Sec-Fetch-Site is `cross-site`, and there is no Origin"), "{detail}");
    let (_, _) = trip(&app, &[("host", "evil.test")]).await;
    assert_eq!(
        lines.with(""),
        [
            format!("the admin router refused POST /api/trip (cross_origin): {compared}"),
            "the admin router refused POST /api/trip (foreign_host): the Host is `evil.test`, which is not one of the `hosts` of \
             this router (127.0.0.1, ops.internal)"
                .to_owned(),
        ],
        "the second refusal of a kind within a minute is not logged"
    );
}

#[tokio::test]
async fn wrong_tokens_are_logged_once_a_minute_without_the_token() {
    let lines = Lines::collect();
    let app = app(authorized(&registry()));
    assert_eq!(send(&app, "GET", "/api/circuits", &[]).await.0, 401);
    assert!(lines.take().is_empty(), "the page asks without a token before its user signs in");
    for guess in 0..1_000 {
        assert_eq!(trip(&app, &[("authorization", &format!("Bearer gu3ss-{guess}"))]).await.0, 401);
    }
    assert_eq!(lines.with(""), ["the admin router refused POST /api/trip (unauthorized): the token is not known"]);
}

#[tokio::test]
async fn a_header_of_any_length_and_content_is_bounded_in_answer_and_log() {
    let lines = Lines::collect();
    let app = app(by_network(&registry()).hosts(["ops.internal"]).unwrap());
    let long = format!("http://{}\u{202e}\t\u{e0041}", "x".repeat(30_000));
    for headers in [&[("host", &*long)][..], &[("host", "ops.internal"), ("origin", &long)]] {
        let (status, problem) = trip(&app, headers).await;
        assert_eq!(status, 403);
        assert!(problem.to_string().len() < 2_000, "{} bytes", problem.to_string().len());
    }
    let lines = lines.with("");
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line.len() < 1_500 && !line.contains(['\t', '\u{202e}'])), "{lines:?}");
}

#[tokio::test]
async fn a_refusal_repeats_a_compared_address_with_its_port() {
    let app = app(by_network(&registry()).hosts(["127.0.0.1"]).unwrap());
    for origin in [
        "http://127.0.0.1:8080",
        "http://127.0.0.1:8080/",
        "http://127.0.0.1:80800",
        "http://127.0.0.1:8080, http://a:1",
    ] {
        let (_, refused) = trip(&app, &[("host", "127.0.0.1:9090"), ("origin", origin)]).await;
        assert!(refused["detail"].as_str().unwrap().contains(&format!("its Origin is `{origin}`")), "{refused}");
    }
    let (_, refused) = trip(&app, &[("host", "127.0.0.1:9090"), ("origin", "http://ana:s3cret@127.0.0.1:8080")]).await;
    assert!(!refused.to_string().contains("s3cret"), "{refused}");
}
