//! The trait of conclusive results, whose `Ok` is a success and whose `Err` is a failure.
//!
//! Most results are conclusive. In some results, an `Ok` can contain a failure. Examples are a nested result, as
//! `tokio::time::timeout` returns, and an HTTP response with status 500. Some errors are good answers of a service,
//! such as the gRPC code `NOT_FOUND`. If `Ok` and `Err` decided about these results, the circuit would count some
//! failures as successes, or some good answers as failures. The mistake could stay unnoticed for months. Therefore
//! [`Circuit::call`](crate::Circuit::call) does not compile with results that are not conclusive.
//!
//! The compiler rejects these results because of an ambiguity. Every result implements the trait [`Conclusive`] with
//! the type parameter [`Itself`]. A result that is not conclusive also implements [`Conclusive`] with a second type
//! parameter. The compiler then cannot infer the type parameter.

/// A result whose `Ok` is a success and whose `Err` is a failure, for [`Circuit::call`](crate::Circuit::call),
/// [`Circuit::call_within`](crate::Circuit::call_within) and [`Circuit::call_blocking`](crate::Circuit::call_blocking).
///
/// The compiler infers `By`. The error "cannot infer type of the type parameter `UseCallWith`" means that `Ok` and
/// `Err` are not enough to judge the result. Use a closure ([`call_with`](crate::Circuit::call_with)) or a classifier
/// ([`call_classified`](crate::Circuit::call_classified)). In place of a timeout inside the future, use the time limit
/// of [`call_within`](crate::Circuit::call_within). The first of the following two calls does not compile, and the
/// second call compiles:
///
/// ```compile_fail,E0283
/// # use std::time::Duration;
/// # use tower_circuit_breaker::Circuit;
/// # async fn query() -> Result<u32, std::io::Error> { Ok(1) }
/// # async fn f(circuit: Circuit) {
/// circuit.call(tokio::time::timeout(Duration::from_secs(1), query())).await; // `Ok(Err(..))` would be a success
/// # }
/// ```
///
/// ```
/// # use std::time::Duration;
/// # use tower_circuit_breaker::Circuit;
/// # async fn query() -> Result<u32, std::io::Error> { Ok(1) }
/// # async fn f(circuit: Circuit) {
/// circuit.call_within(Duration::from_secs(1), query()).await;
/// # }
/// ```
///
/// The result of a spawned task can contain a failure too, and so can a `Vec`, an array, an option or a tuple of
/// results. Calls with these results do not compile either. A tuple is recognised if it has two to twelve elements and
/// begins with a result:
///
/// ```compile_fail,E0283
/// # use tower_circuit_breaker::Circuit;
/// # async fn query() -> Result<u32, std::io::Error> { Ok(1) }
/// # async fn f(circuit: Circuit) {
/// circuit.call(tokio::spawn(query())).await; // `Result<Result<u32, io::Error>, JoinError>`
/// # }
/// ```
///
/// ```compile_fail,E0283
/// # use std::io;
/// # use tower_circuit_breaker::Circuit;
/// # async fn query() -> Result<u32, io::Error> { Ok(1) }
/// # async fn f(circuit: Circuit) {
/// circuit.call(async { Ok::<_, io::Error>(tokio::join!(query(), query())) }).await; // use `try_join!`
/// # }
/// ```
///
/// ```compile_fail,E0283
/// # use std::io;
/// # use tower_circuit_breaker::Circuit;
/// # async fn query() -> Result<u32, io::Error> { Ok(1) }
/// # async fn f(circuit: Circuit) {
/// circuit.call(async { Ok::<_, io::Error>((query().await, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)) }).await; // twelve
/// # }
/// ```
///
/// ```compile_fail,E0283
/// # use std::io;
/// # use tower_circuit_breaker::Circuit;
/// # async fn query() -> Result<u32, io::Error> { Ok(1) }
/// # async fn f(circuit: Circuit) {
/// circuit.call(async { Ok::<_, io::Error>([query().await, query().await]) }).await;
/// # }
/// ```
///
/// ```compile_fail,E0283
/// # use std::io;
/// # use tower_circuit_breaker::Circuit;
/// # async fn query() -> Result<u32, io::Error> { Ok(1) }
/// # async fn f(circuit: Circuit) {
/// circuit.call(async { Ok::<_, io::Error>(vec![query().await, query().await]) }).await;
/// # }
/// ```
///
/// ```compile_fail,E0283
/// # use std::io;
/// # use tower_circuit_breaker::Circuit;
/// # async fn next() -> Option<Result<u32, io::Error>> { None }
/// # async fn f(circuit: Circuit) {
/// circuit.call(async { Ok::<_, io::Error>(next().await) }).await;
/// # }
/// ```
///
/// A future that does not return a `Result` does not compile either. For example, only the caller knows if `None` is a
/// failure:
///
/// ```compile_fail,E0271
/// # use tower_circuit_breaker::Circuit;
/// # async fn find() -> Option<u32> { None }
/// # async fn f(circuit: Circuit) {
/// circuit.call(find()).await;
/// # }
/// ```
pub trait Conclusive<By> {}

/// The marker type with which every result implements [`Conclusive`]. If a result has no further marker type, `Ok` is a
/// success and `Err` is a failure.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a marker without values")]
pub enum Itself {}

/// The marker type of [`Conclusive`] for a result whose `Ok` contains results. The `Ok` is a result, an option, a `Vec`
/// or an array of results, or a tuple of two to twelve elements that begins with a result.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a marker without values")]
pub enum ResultInside {}

/// The marker type of [`Conclusive`] for a result whose `Ok` contains an HTTP status, or a response with an HTTP
/// status.
#[cfg(feature = "http")]
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a marker without values")]
pub enum StatusInside {}

/// The marker type of [`Conclusive`] for a result whose error has a gRPC code. Some codes are good answers of the
/// service.
#[cfg(feature = "tonic")]
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a marker without values")]
pub enum CodeInside {}

impl<T, E> Conclusive<Itself> for Result<T, E> {}
impl<T, Inner, E> Conclusive<ResultInside> for Result<Result<T, Inner>, E> {}
impl<T, Inner, E> Conclusive<ResultInside> for Result<Option<Result<T, Inner>>, E> {}
impl<T, Inner, E> Conclusive<ResultInside> for Result<Vec<Result<T, Inner>>, E> {}
impl<T, Inner, E, const N: usize> Conclusive<ResultInside> for Result<[Result<T, Inner>; N], E> {}

/// Implements [`Conclusive`] for tuples that begin with a result or with a type that has a status.
macro_rules! tuples {
    ($(($($other:ident),+))+) => {$(
        impl<T, Inner, $($other,)+ E> Conclusive<ResultInside> for Result<(Result<T, Inner>, $($other),+), E> {}
        #[cfg(feature = "http")]
        impl<T: HasStatus, $($other,)+ E> Conclusive<StatusInside> for Result<(T, $($other),+), E> {}
    )+};
}

tuples! {
    (A) (A, B) (A, B, C) (A, B, C, D) (A, B, C, D, F) (A, B, C, D, F, G) (A, B, C, D, F, G, H) (A, B, C, D, F, G, H, I)
    (A, B, C, D, F, G, H, I, J) (A, B, C, D, F, G, H, I, J, K) (A, B, C, D, F, G, H, I, J, K, L)
}

/// A response with an HTTP status, or the HTTP status alone. Only this crate implements this trait.
#[cfg(feature = "http")]
#[expect(unnameable_types, reason = "the trait is sealed")]
pub trait HasStatus {}

#[cfg(feature = "http")]
impl<B> HasStatus for http::Response<B> {}
#[cfg(feature = "http")]
impl HasStatus for http::StatusCode {}
#[cfg(feature = "http")]
impl HasStatus for http::response::Parts {}

/// The future of reqwest's `send` does not compile in [`Circuit::call`](crate::Circuit::call):
///
/// ```compile_fail,E0283
/// # use tower_circuit_breaker::Circuit;
/// # async fn f(circuit: Circuit, client: reqwest::Client) {
/// circuit.call(client.get("http://localhost").send()).await; // a 500 would be a success
/// # }
/// ```
#[cfg(feature = "reqwest")]
impl HasStatus for reqwest::Response {}

/// An `http::Response` (as hyper returns) and a `reqwest::Response` do not compile in
/// [`Circuit::call`](crate::Circuit::call), because the status decides if the call has failed. A status without a
/// response does not compile either. The same rule applies to a status or a response inside an option, a `Vec` or an
/// array, or at the beginning of a tuple of two to twelve elements.
///
/// For a response, use [`HttpClassifier`](crate::classify::HttpClassifier) or `ReqwestClassifier` with
/// [`call_classified`](crate::Circuit::call_classified). For a status without a response, use
/// [`call_with`](crate::Circuit::call_with):
///
/// ```compile_fail,E0283
/// # use std::io;
/// # use tower_circuit_breaker::Circuit;
/// # async fn get() -> Result<http::Response<String>, io::Error> { unreachable!() }
/// # async fn f(circuit: Circuit) {
/// circuit.call(get()).await; // a 500 would be a success
/// # }
/// ```
///
/// ```compile_fail,E0283
/// # use std::io;
/// # use tower_circuit_breaker::Circuit;
/// # async fn get() -> Result<(http::StatusCode, String), io::Error> { unreachable!() }
/// # async fn f(circuit: Circuit) {
/// circuit.call(get()).await; // a 500 would be a success
/// # }
/// ```
#[cfg(feature = "http")]
impl<T: HasStatus, E> Conclusive<StatusInside> for Result<T, E> {}
#[cfg(feature = "http")]
impl<T: HasStatus, E> Conclusive<StatusInside> for Result<Option<T>, E> {}
#[cfg(feature = "http")]
impl<T: HasStatus, E> Conclusive<StatusInside> for Result<Vec<T>, E> {}
#[cfg(feature = "http")]
impl<T: HasStatus, E, const N: usize> Conclusive<StatusInside> for Result<[T; N], E> {}

/// The result of a tonic client does not compile in [`Circuit::call`](crate::Circuit::call), because some gRPC codes
/// are good answers. Use [`GrpcClassifier`](crate::classify::GrpcClassifier) with
/// [`call_classified`](crate::Circuit::call_classified):
///
/// ```compile_fail,E0283
/// # use tower_circuit_breaker::Circuit;
/// # async fn get_item() -> Result<tonic::Response<()>, tonic::Status> { unreachable!() }
/// # async fn f(circuit: Circuit) {
/// circuit.call(get_item()).await; // NOT_FOUND would be a failure
/// # }
/// ```
#[cfg(feature = "tonic")]
impl<T> Conclusive<CodeInside> for Result<T, tonic::Status> {}
