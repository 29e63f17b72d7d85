//! Redis with a private CA: right, wrong and missing certificates, on both sides.

use std::fs;
use std::time::Duration;

use redis::{Client, TlsCertificates};
use tower_circuit_breaker::store::{AnyStore, RedisStore, Store, StoreError, StoreErrorKind, WatchEvent};

use super::{get, put, recovers};
use crate::lines::Lines;
use crate::servers::certificates::Certificates;
use crate::servers::redis::{Redis, free_port};

/// Returns a server with TLS, and its port for TLS. `clients` is `yes` if the server requires client certificates.
async fn with_tls(files: &Certificates, clients: &str) -> (Redis, u16) {
    let port = free_port();
    let (number, ca, certificate, key) =
        (port.to_string(), files.text("ca.crt"), files.text("server.crt"), files.text("server.key"));
    let tls =
        ["--tls-port", &number, "--tls-ca-cert-file", &ca, "--tls-cert-file", &certificate, "--tls-key-file", &key];
    let options: Vec<&str> = tls.into_iter().chain(["--tls-auth-clients", clients]).collect();
    (Redis::start_with(&options).await, port)
}

async fn refusal(url: &str) -> StoreError {
    let error = get(&RedisStore::new(url).unwrap(), "a").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{url}: {}", error.chain());
    error
}

#[tokio::test]
async fn a_private_ca_of_redis_is_verified_with_its_file() {
    let files = Certificates::new();
    let (_server, port) = with_tls(&files, "no").await;
    let store = RedisStore::new(&format!("rediss://localhost:{port}/0?ca={}", files.text("ca.crt"))).unwrap();
    put(&store, "a", b"1").await;
    let mut watch = store.watch().await.unwrap().unwrap();
    let first = tokio::time::timeout(Duration::from_secs(5), watch.next()).await.unwrap();
    assert_eq!(first, Some(WatchEvent::Gap), "the watch verifies with the same file");

    let missing = refusal(&format!("rediss://localhost:{port}")).await.to_string();
    assert!(missing.contains("certificate") && missing.contains("the public CAs"), "{missing}");
    let wrong = refusal(&format!("valkeys://localhost:{port}?ca={}", files.text("other.crt"))).await.to_string();
    assert!(wrong.contains("certificate") && wrong.contains("other.crt"), "{wrong}");
    let host = refusal(&format!("rediss://127.0.0.1:{port}?ca={}", files.text("ca.crt"))).await.to_string();
    assert!(host.contains("not valid for") && host.contains("ca.crt"), "{host}");
}

#[tokio::test]
async fn redis_that_requires_a_client_certificate_accepts_that_of_the_address() {
    let files = Certificates::new();
    let (_server, port) = with_tls(&files, "yes").await;
    let ca = format!("rediss://localhost:{port}?ca={}", files.text("ca.crt"));
    let url = format!("{ca}&cert={}&key={}", files.text("client.crt"), files.text("client.key"));
    put(&RedisStore::new(&url).unwrap(), "a", b"1").await;
    let missing = refusal(&ca).await.to_string();
    assert!(missing.contains("client certificate"), "{missing}");
}

#[tokio::test]
async fn a_renewed_file_of_redis_is_used_without_a_restart() {
    let files = Certificates::new();
    let (_server, port) = with_tls(&files, "no").await;
    let file = files.path("present.crt");
    fs::copy(files.path("other.crt"), &file).unwrap();
    let store = RedisStore::new(&format!("rediss://localhost:{port}?ca={}", file.display())).unwrap();
    assert_eq!(get(&store, "a").await.unwrap_err().kind(), StoreErrorKind::Refused);
    fs::remove_file(&file).unwrap();
    let mut gone = get(&store, "a").await.unwrap_err().to_string();
    // For a moment the earlier failure is still the answer.
    while !gone.contains("cannot be read") {
        tokio::time::sleep(Duration::from_millis(20)).await;
        gone = get(&store, "a").await.unwrap_err().to_string();
    }
    assert!(gone.contains("present.crt"), "{gone}");
    fs::copy(files.path("ca.crt"), &file).unwrap();
    recovers(&store).await;
}

#[tokio::test]
async fn a_redis_client_with_certificates_makes_a_store() {
    let files = Certificates::new();
    let (_server, port) = with_tls(&files, "no").await;
    let root_cert = Some(fs::read(files.path("ca.crt")).unwrap());
    let certificates = TlsCertificates { client_tls: None, root_cert };
    let client = Client::build_with_tls(format!("rediss://localhost:{port}"), certificates).unwrap();
    let store = RedisStore::from_client(client);
    put(&store, "a", b"1").await;
    assert!(!store.exposes_password());
}

#[test]
fn a_file_of_an_address_that_cannot_be_used_is_refused_with_its_name() {
    let files = Certificates::new();
    let folder = files.path("ca.crt").parent().unwrap().display().to_string();
    let (ca, key, csr) = (files.text("ca.crt"), files.text("client.key"), files.text("client.csr"));
    for (url, names) in [
        ("rediss://db?ca=/no/ca.crt".to_owned(), ["`/no/ca.crt`", "`ca`"]),
        (format!("rediss://db?ca={folder}"), ["regular file", "`ca`"]),
        (format!("rediss://db?ca={csr}"), ["no certificate", "client.csr"]),
        (format!("rediss://db?ca={ca}&cert={ca}&key={csr}"), ["no private key", "client.csr"]),
        ("postgres://db/x?sslmode=verify-full&sslrootcert=/no/ca.crt".to_owned(), ["`/no/ca.crt`", "`sslrootcert`"]),
        (format!("postgres://db/x?sslmode=verify-ca&ssl-ca={key}"), ["no certificate", "`sslrootcert`"]),
        (format!("postgres://db/x?sslcert={ca}&sslkey=/no/key"), ["`/no/key`", "`sslkey`"]),
    ] {
        let error = AnyStore::open(&url).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{url}");
        assert!(names.iter().all(|name| error.to_string().contains(name)), "{url}: {error}");
    }
}

#[test]
fn a_password_without_a_verified_certificate_is_warned_about_once() {
    let lines = Lines::collect();
    for url in [
        "redis://:s3cret@db.internal/0",
        "postgres://ana:s3cret@db.internal/x",
        "postgres://ana:s3cret@db.internal/x?sslmode=require",
    ] {
        let store = AnyStore::open(url).unwrap();
        drop(store.clone());
        let logged = lines.with("is not verified");
        assert!(logged.len() == 1 && logged[0].contains("db.internal"), "{url}: {logged:?}");
        assert!(!logged[0].contains("s3cret"), "{logged:?}");
    }
    for url in [
        "redis://:s3cret@127.0.0.1/0",
        "rediss://:s3cret@db.internal/0",
        "redis://db.internal/0",
        "unix:///run/redis.sock?pass=s3cret",
        "postgres://ana:s3cret@localhost/x",
        "postgres://ana:s3cret@db.internal/x?sslmode=verify-full",
    ] {
        AnyStore::open(url).unwrap();
        assert_eq!(lines.with("is not verified"), [""; 0], "{url}");
    }
}
