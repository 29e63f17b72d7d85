//! Shows the admin page with circuits in every state: `cargo run --features full --example admin`.
//!
//! Open the address that the program prints. The program ends after a minute. With `-- --once` the program reads its own page as
//! other programs do, prints the answers, and ends.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tower_circuit_breaker::admin::{self, User};
use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::{BoxError, By, Circuit, Config, Failure, Outcome, Registry};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // In earnest a long secret of the environment, one for each person: the audit has who it was.
    let token = std::env::var("CIRCUIT_ADMIN_TOKEN").unwrap_or_else(|_| "only-an-example".to_owned());
    let registry = Registry::new();
    let busy = circuits(&registry)?;
    let allowed = admin::bearer(&[(&token, User::new("alice")?)])?;
    let app: Router = Router::new().nest("/circuits", admin::router(&registry).authorize(allowed).build());

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/circuits", listener.local_addr()?);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { Ok(axum::serve(listener, app).await?) });
    if std::env::args().any(|argument| argument == "--once") {
        return once(&url, &token).await;
    }
    println!("Open {url} and enter the token {token}. It ends in a minute.");
    tasks.spawn(traffic(busy));
    match timeout(Duration::from_secs(60), tasks.join_next()).await {
        // The minute is over.
        Err(_) => Ok(()),
        Ok(ended) => ended.ok_or("there are two tasks")??,
    }
}

/// Makes a circuit in each state, and returns the one that has traffic.
fn circuits(registry: &Registry) -> Result<Circuit, BoxError> {
    let circuit = |name: &str| Ok::<_, BoxError>(registry.circuit(Config::new(name)?)?);
    let busy = circuit("inventory")?;
    while let Ok(permit) = circuit("payments")?.try_acquire() {
        permit.record(Outcome::Failure(Failure::timeout()));
    }
    circuit("mail")?.trip(&By::new("bob", "the provider announced a maintenance")?, Some(Duration::from_secs(1800)));
    circuit("legacy")?.disable(&By::new("carol", "its clients retry by themselves")?, None);
    circuit("search")?.trip(&By::new("bob", "a new index")?, None);
    circuit("search")?.reset(&By::new("bob", "the index is there")?, To::HalfOpen);
    Ok(busy)
}

/// Now and then a call fails.
async fn traffic(circuit: Circuit) -> Result<(), BoxError> {
    let mut every = interval(Duration::from_millis(50));
    for call in 0_u64.. {
        every.tick().await;
        let outcome = if call % 5 == 4 { Outcome::Failure(Failure::hard()) } else { Outcome::Success };
        circuit.try_acquire()?.record(outcome);
    }
    Ok(())
}

/// Asks as a program does; without the token, too.
async fn once(url: &str, token: &str) -> Result<(), BoxError> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = || Request::get(format!("{url}/api/circuits"));
    let refused = client.request(request().body(Body::empty())?).await?.status();
    println!("without a token: {refused}");
    let request = request().header("authorization", format!("Bearer {token}"));
    let answer = client.request(request.body(Body::empty())?).await?;
    println!("with the token: {}", answer.status());
    let json = answer.into_body().collect().await?.to_bytes();
    let json = std::str::from_utf8(&json)?;
    println!("{json}");
    let states = ["closed", "open", "half_open", "forced_open", "disabled"];
    let shown = states.iter().all(|state| json.contains(&format!("\"standing\":\"{state}\"")));
    if refused == 401 && shown { Ok(()) } else { Err("not every state was shown, or anybody may look".into()) }
}
