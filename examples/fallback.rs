//! Other answers while a circuit is open, with and without tower: `cargo run --example fallback`.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, Config, Error};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let [eu, us] = ["eu", "us"].map(|name| Circuit::new(Config::new(name).expect("the name is valid")));
    let cache = Arc::new(HashMap::from([(1, "the title of yesterday".to_owned())]));

    // The last endpoint of the chain answers from the cache while its circuit is open.
    let second = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(&us).fallback({
            let cache = Arc::clone(&cache);
            move |rejected, id: u32| cache.get(&id).cloned().ok_or_else(|| rejected.into())
        }))
        .service(service_fn(title));
    // The first endpoint hands rejected requests to the second.
    let mut first = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(&eu).fallback_async(move |_, id: u32| second.clone().oneshot(id)))
        .service(service_fn(title));

    for turn in 1..=12 {
        match first.ready().await?.call(1).await {
            Ok(answer) => println!("request {turn:>2}: {answer}"),
            Err(error) => println!("request {turn:>2}: {error}"),
        }
    }
    let missing = first.ready().await?.call(2).await.expect_err("it is not in the cache");
    println!("another id: {missing}");

    // Without tower it is a match.
    let answer = match eu.call(title(1)).await {
        Ok(answer) => answer,
        Err(Error::Rejected(_)) => cache[&1].clone(),
        Err(Error::Inner(error)) => return Err(error.into()),
    };
    println!("without tower: {answer}");
    Ok(())
}

/// Both endpoints are down.
async fn title(_: u32) -> io::Result<String> {
    Err(io::Error::other("no answer"))
}
