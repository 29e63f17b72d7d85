//! PostgreSQL with a private CA: right, wrong and missing certificates, on both sides.

use tower_circuit_breaker::store::{PostgresStore, Store, StoreError, StoreErrorKind};

use crate::servers::certificates::Certificates;
use crate::servers::postgres::Postgres;
use crate::sqlite::put;

/// Returns a server with TLS, and its address for `localhost` without parameters.
async fn with_tls(files: &Certificates) -> (Postgres, String) {
    let mut server = Postgres::start().await;
    server.enable_tls(files.folder()).await;
    let url = server.url().replace("127.0.0.1", "localhost");
    (server, url)
}

/// Returns the refusal of an operation and of the watch, which must be the same.
async fn refusal(url: &str) -> String {
    let store = PostgresStore::new(url).unwrap();
    let refused: [StoreError; 2] = [store.list().await.unwrap_err(), store.watch().await.unwrap_err()];
    for error in &refused {
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{url}: {}", error.chain());
    }
    assert_eq!(refused[0].to_string(), refused[1].to_string());
    refused[0].to_string()
}

#[tokio::test]
async fn a_private_ca_of_postgres_is_verified_with_its_file() {
    let files = Certificates::new();
    let (server, url) = with_tls(&files).await;
    let ca = files.text("ca.crt");
    for mode in ["verify-full", "verify-ca"] {
        let store = PostgresStore::new(&format!("{url}?sslmode={mode}&sslrootcert={ca}")).unwrap();
        put(&store, mode, None, b"1").await;
        assert!(store.watch().await.unwrap().is_some(), "the listener verifies with the same file");
    }
    let missing = refusal(&format!("{url}?sslmode=verify-full")).await;
    assert!(missing.contains("certificate") && missing.contains("the public CAs"), "{missing}");
    let other = files.text("other.crt");
    let wrong = refusal(&format!("{url}?sslmode=verify-full&sslrootcert={other}")).await;
    assert!(wrong.contains("certificate") && wrong.contains("other.crt"), "{wrong}");
    let host = refusal(&format!("{}?sslmode=verify-full&sslrootcert={ca}", server.url())).await;
    assert!(host.contains("not valid for") && host.contains("ca.crt"), "{host}");
    let store = PostgresStore::new(&format!("{}?sslmode=verify-ca&sslrootcert={ca}", server.url())).unwrap();
    assert!(store.list().await.is_ok(), "`verify-ca` accepts any host name");
}

#[tokio::test]
async fn postgres_that_requires_a_client_certificate_accepts_that_of_the_address() {
    let files = Certificates::new();
    let (server, _) = with_tls(&files).await;
    server.execute("CREATE ROLE ana SUPERUSER LOGIN").await;
    let url = server.url_of("ana").replace("127.0.0.1", "localhost");
    let ca = format!("{url}?sslmode=verify-full&sslrootcert={}", files.text("ca.crt"));
    let url = format!("{ca}&sslcert={}&sslkey={}", files.text("client.crt"), files.text("client.key"));
    put(&PostgresStore::new(&url).unwrap(), "orders", None, b"1").await;
    let missing = refusal(&ca).await;
    assert!(missing.contains("certificate"), "{missing}");
}

#[tokio::test]
async fn a_file_that_disappears_is_refused_with_its_name() {
    let files = Certificates::new();
    let (_server, url) = with_tls(&files).await;
    let store = PostgresStore::new(&format!("{url}?sslmode=verify-full&sslrootcert={}", files.text("ca.crt"))).unwrap();
    std::fs::remove_file(files.path("ca.crt")).unwrap();
    let gone = store.list().await.unwrap_err();
    assert_eq!(gone.kind(), StoreErrorKind::Refused, "{gone}");
    assert!(gone.to_string().contains("ca.crt") && gone.to_string().contains("`sslrootcert`"), "{gone}");
}
