//! A circuit opens, probes and closes again: `cargo run --example quickstart`.

use std::io;
use std::time::Duration;

use tokio::time::sleep;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_circuit_breaker::{BoxError, Circuit, CircuitBreakerLayer, Config, OpenDuration};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let open_for = OpenDuration::fixed(Duration::from_millis(200));
    let config = Config::builder("orders").open_for(open_for).build()?;
    println!("{}", config.explain());

    let circuit = Circuit::new(config);
    // Any tower service will do. This one is down for whoever asks it to be.
    let mut orders =
        ServiceBuilder::new().layer(CircuitBreakerLayer::new(&circuit)).service(service_fn(async |down: bool| {
            sleep(Duration::from_millis(10)).await;
            if down { Err(io::Error::other("no answer")) } else { Ok("an order") }
        }));

    for down in [false, true, true, true, true, true, true, false, false, false, false] {
        if let (false, Some(wait)) = (down, circuit.status().retry_after) {
            println!("           the service is up again, and the circuit will notice in {wait:.0?}");
            sleep(wait + Duration::from_millis(10)).await;
        }
        let answer = orders.ready().await?.call(down).await;
        let state = circuit.status().state.as_str();
        match answer {
            Ok(order) => println!("{state:>9}: {order}"),
            Err(error) => println!("{state:>9}: {error}"),
        }
    }

    println!("\nWhat happened, and why:");
    for edge in &circuit.status().transitions {
        println!("{} -> {}: {}", edge.from, edge.to, edge.reason);
    }
    Ok(())
}
