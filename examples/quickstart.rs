//! A circuit opens, probes and closes again: `cargo run --example quickstart`.

use std::io;
use std::time::Duration;

use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_circuit_breaker::config::OpenDuration;
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, Config};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let open_for = OpenDuration::fixed(Duration::from_millis(200));
    let config = Config::builder("orders").open_for(open_for).build()?;
    println!("{}", config.explain());

    // Any tower service will do. This one is down as long as it is told so.
    let circuit = Circuit::new(config);
    let mut orders =
        ServiceBuilder::new().layer(CircuitBreakerLayer::new(&circuit)).service(service_fn(|down: bool| async move {
            if down { Err(io::Error::other("no answer")) } else { Ok("an order") }
        }));

    for down in [false, true, true, true, true, true, true, false, false, false, false] {
        if circuit.status().retry_after.is_some() && !down {
            println!("... 200 ms later, the service is up again");
            tokio::time::sleep(Duration::from_millis(210)).await;
        }
        match orders.ready().await?.call(down).await {
            Ok(answer) => println!("{:<9} {answer}", circuit.status().state),
            Err(error) => println!("{:<9} {error}", circuit.status().state),
        }
    }

    println!("\nWhat happened, and why:");
    for edge in &circuit.status().transitions {
        println!("{} -> {}: {}", edge.from, edge.to, edge.reason);
    }
    Ok(())
}
