//! Tests of an application that has a circuit: `cargo test --features test-util --example testing`.
//!
//! The feature `test-util` of this crate helps such tests. Name the feature in `[dev-dependencies]`.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use tower_circuit_breaker::{Circuit, Config, Error, WithinError};

/// The application: prices of a service, with the prices of yesterday while the service is down.
struct Prices {
    circuit: Circuit,
    yesterday: HashMap<u32, u32>,
}

impl Prices {
    async fn price(&self, item: u32, service: impl Future<Output = io::Result<u32>>) -> Result<u32, Error<io::Error>> {
        match self.circuit.call_within(Duration::from_secs(1), service).await {
            Ok(price) => Ok(price),
            Err(WithinError::Rejected(rejected)) => self.yesterday.get(&item).copied().ok_or(rejected.into()),
            Err(WithinError::Elapsed(elapsed)) => Err(Error::Inner(io::Error::new(io::ErrorKind::TimedOut, elapsed))),
            Err(WithinError::Inner(error)) => Err(Error::Inner(error)),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let prices = Prices { circuit: Circuit::new(Config::new("prices")?), yesterday: HashMap::from([(1, 100)]) };
    println!("Item 1 costs {}.", prices.price(1, async { Ok(101) }).await?);
    println!("The tests of this file run with `cargo test --features test-util --example testing`.");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tower_circuit_breaker::State;
    use tower_circuit_breaker::clock::TokioClock;
    use tower_circuit_breaker::testing::{Recorder, rejected};

    use super::*;

    /// Paused time of tokio moves the circuit only with tokio's clock.
    fn prices(recorder: &Recorder) -> Prices {
        let config = Config::classic("prices").clock(TokioClock::new()).observer(recorder.clone()).build();
        Prices { circuit: Circuit::new(config.expect("it is valid")), yesterday: HashMap::from([(1, 100)]) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_price_of_yesterday_is_shown_while_the_service_is_down() {
        let prices = prices(&Recorder::new());
        prices.circuit.fail_until_open();
        assert_eq!(prices.price(1, pending()).await.expect("it is known"), 100);
        assert!(matches!(prices.price(2, pending()).await, Err(Error::Rejected(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_hangs_opens_the_circuit_and_one_that_answers_closes_it() {
        let recorder = Recorder::new();
        let prices = prices(&recorder);
        while prices.circuit.state() == State::Closed {
            assert!(matches!(prices.price(2, pending()).await, Err(Error::Inner(_))));
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(prices.price(2, async { Ok(7) }).await.expect("the probe succeeds"), 7);
        assert_eq!(recorder.standings(), ["open", "half_open", "closed"]);
    }

    #[test]
    fn a_rejection_is_shown_with_its_wait() {
        let error: Error<io::Error> = rejected("prices", Duration::from_secs(5)).into();
        assert!(error.to_string().ends_with("it lets a probe through in 5 s"), "{error}");
    }
}
