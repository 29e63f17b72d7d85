//! The time from the first to the last of twenty idle processes that adopt one opening.
//!
//! The gate plays a few rounds and checks a generous limit. `scripts/fleet` plays more rounds and prints the times.

use std::time::Duration;

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::operation::{Operator, Order};
use tower_circuit_breaker::store::AnyStore;

use super::processes::{Plan, all_become, start};
use super::worker::micros;
use super::{rounds, took};
use crate::rig::{alice, record, secs};
use crate::servers::redis::Redis;

const WORKERS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_processes_adopt_an_opening_soon_after_each_other() {
    let server = Redis::start().await;
    let store = server.store();
    let plan = Plan { store: server.url(), sharing: "quorum", service: 0, open_for: secs(60) };
    let mut fleet = start(&plan, WORKERS).await;
    let operator = Operator::new(AnyStore::open(&server.url()).unwrap()).reset_cooldown(Duration::ZERO);
    let (mut spreads, mut delays, mut waits) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds() {
        // Each process writes an entry after the start and after the reset. The votes must not wait for these writes.
        tokio::time::sleep(secs(1)).await;
        let began = micros();
        // Two other processes vote in each round.
        let voters = [2 * round % WORKERS, (2 * round + 1) % WORKERS];
        for voter in voters {
            fleet[voter].command("fail");
            fleet[voter].becomes("open").await;
        }
        let voted = micros();
        all_become(&mut fleet, "open", began).await;
        let decision = record(&store, "payments").await.unwrap().fleet.expect("the fleet has decided");
        assert_eq!(decision.votes, Some(2), "{decision:#?}");
        // The voters have opened by themselves, before the fleet.
        let others = fleet.iter().enumerate().filter(|(at, _)| !voters.contains(at));
        let mut opened: Vec<_> = others.map(|(_, worker)| worker.edges(began)[0].at).collect();
        opened.sort_unstable();
        let (first, last) = (opened[0], opened[opened.len() - 1]);
        spreads.push(took(first, last));
        delays.push(took(decision.since.as_millis() * 1_000, last));
        waits.push(took(voted, first));
        let reset = micros();
        operator.operate("payments", &Order::reset(&alice(), To::Closed).create()).await.unwrap();
        all_become(&mut fleet, "closed", reset).await;
    }
    println!(
        "fleet: quorum: {WORKERS} processes, {} rounds: first to last instance open: {}; decision to last: {}; second vote to first: {}",
        rounds(),
        shown(&mut spreads),
        shown(&mut delays),
        shown(&mut waits)
    );
    assert!(spreads.iter().all(|spread| *spread < secs(1)), "{spreads:?}");
}

/// Sorts the times, and returns the median, the 99th percentile and the longest.
fn shown(times: &mut [Duration]) -> String {
    times.sort();
    let at = |share: usize| times[(times.len() * share).div_ceil(100).max(1) - 1];
    format!("median {:?}, p99 {:?}, longest {:?}", at(50), at(99), at(100))
}
