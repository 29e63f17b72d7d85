//! What retries cost, who pays for it, and that they are spread.

use super::*;

#[tokio::test(start_paused = true)]
async fn rejections_and_waits_for_the_circuit_cost_no_budget() {
    let (circuit, server) = (circuit(), Server::up());
    trip(&circuit);
    // Nothing is ever deposited, and it holds ten retries.
    let budget = Arc::new(TpsBudget::new(MS * 10_000, 1, 0.0));
    let retries = exact().shared_budget(Arc::clone(&budget)).build().unwrap().wait_for_circuit(MINUTE * 2, 3);
    let mut service = boxed(&circuit, &server, retries);
    for _ in 0..50 {
        assert!(service.ready().await.unwrap().call(()).now_or_never().is_none(), "it waits for the circuit");
    }
    assert_eq!(circuit.status().totals.rejected, 50);
    assert_eq!((0..99).filter(|_| budget.withdraw()).count(), 10, "all are left");
    // Without any left, the wait is as good as before.
    service.ready().await.unwrap().call(()).await.unwrap();
    assert_eq!((server.calls(), state(&circuit)), (1, State::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_ends_the_retries_of_all_sharing_services() {
    let (circuit, server) = (Circuit::new(never_trips()), Server::down());
    let retries = exact().attempts(4).retry_ratio(0.0).min_retries_per_second(1).build().unwrap();
    let service = boxed(&circuit, &server, retries);
    let failed = join_all((0..20).map(|_| service.clone().oneshot(()))).await;
    assert!(failed.iter().all(Result::is_err));
    assert_eq!(server.calls(), 20 + 10, "one retry a second, on an average over ten");
    tokio::time::advance(MS * 20_000).await;
    assert!(service.oneshot(()).await.is_err());
    assert_eq!(server.calls(), 30 + 4, "and the budget fills up again");
}

#[tokio::test(start_paused = true)]
async fn successes_pay_for_retries() {
    let (circuit, server) = (Circuit::new(never_trips()), Server::up());
    let retries = exact().attempts(99).retry_ratio(0.5).min_retries_per_second(0).build().unwrap();
    let mut service = boxed(&circuit, &server, retries);
    for _ in 0..8 {
        service.ready().await.unwrap().call(()).await.unwrap();
    }
    server.go_down();
    assert!(service.ready().await.unwrap().call(()).await.is_err());
    assert_eq!(server.calls(), 8 + 1 + 4, "eight successes pay for four retries");
}

#[tokio::test(start_paused = true)]
async fn retries_of_calls_that_failed_together_are_spread() {
    let (circuit, server) = (Circuit::new(never_trips()), Server::down());
    let service = boxed(&circuit, &server, RetryPolicy::builder().attempts(2).jitter(1.0).build().unwrap());
    let began = now();
    join_all((0..20).map(|_| service.clone().oneshot(()))).await;
    let mut retried = server.asked_at(began).split_off(20);
    assert!(retried.iter().all(|at| (MS * 100..=MS * 201).contains(at)), "{retried:?}");
    retried.dedup();
    assert!(retried.len() > 5, "tower's own source of randomness would give each the same wait: {retried:?}");
}
