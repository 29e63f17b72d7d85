//! Eight processes and one Redis that behave as one breaker, under `Sharing::Quorum`, and an outage under `Sharing::Follow`.
//!
//! The service counts its calls, so that most assertions are about numbers of calls. The limits in time are those of the
//! design: a lease of 10 s, and a fallback timeout of 5 s.

use std::time::Duration;

use tower_circuit_breaker::State;
use tower_circuit_breaker::record::{CircuitRecord, Fleet};
use tower_circuit_breaker::store::RedisStore;

use super::processes::{Edge, Plan, Totals, Worker, all_become, command_all, edges, start};
use super::service::{Call, Mode, Service, most_at_once};
use super::took;
use super::worker::micros;
use crate::rig::{millis, record, secs};
use crate::servers::proxy::{Network, Proxy};
use crate::servers::redis::Redis;

const WORKERS: usize = 8;
/// The longest time from the recovery, or from the death of the prober, until all circuits are closed.
const LONGEST: Duration = Duration::from_secs(15);

fn plan(server: &Redis, service: &Service) -> Plan {
    Plan { store: server.url(), sharing: "quorum", service: service.port(), open_for: secs(2) }
}

async fn wait(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Starts a fleet whose calls have succeeded for a while.
async fn warm(plan: &Plan) -> Vec<Worker> {
    let mut fleet = start(plan, WORKERS).await;
    command_all(&mut fleet, "rate 20");
    wait(secs(2)).await;
    fleet
}

/// Lets the service fail until all circuits are open. Returns the time of the first failure.
async fn outage(fleet: &mut [Worker], service: &Service) -> u64 {
    let began = service.set(Mode::Fails);
    all_become(fleet, "open", began).await;
    began
}

async fn decision(store: &RedisStore) -> Fleet {
    let record = record(store, "payments").await.unwrap();
    record.fleet.unwrap_or_else(|| panic!("the fleet has decided"))
}

/// Waits until the record has a state, and returns the record.
async fn recorded(store: &RedisStore, state: State) -> CircuitRecord {
    let mut last = None;
    for _ in 0..600 {
        let found = record(store, "payments").await;
        if let Some(found) = found.as_ref().filter(|found| found.state == state) {
            return found.clone();
        }
        last = found;
        wait(millis(50)).await;
    }
    panic!("the record is not {state} after 30 s: {last:#?}");
}

/// Returns the time of the first closing.
fn closed_at(edges: &[Edge]) -> u64 {
    edges.iter().find(|edge| edge.to == "closed").expect("a circuit has closed").at
}

/// Checks that three probes have closed the fleet, one at a time, and that all circuits have closed in time.
fn judge_recovery(probes: &[Call], edges: &[Edge], from: u64) {
    assert_eq!(probes.len(), 3, "three probes close the fleet: {probes:#?} {edges:#?}");
    assert_eq!(most_at_once(probes), 1, "{probes:#?}");
    let last = edges.last().expect("a circuit has closed");
    assert!(took(from, last.at) <= LONGEST, "the last circuit closed after {:?}: {edges:#?}", took(from, last.at));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_costs_few_calls_and_three_probes_close_eight_processes() {
    for sharing in ["quorum", "follow"] {
        outage_of(sharing).await;
    }
}

async fn outage_of(sharing: &'static str) {
    let server = Redis::start().await;
    let service = Service::start(millis(30)).await;
    let mut fleet = warm(&Plan { sharing, ..plan(&server, &service) }).await;
    let began = outage(&mut fleet, &service).await;
    let all_open = micros();
    // A round that fails: the fleet opens for 2 s and then for 4 s.
    wait(secs(4)).await;
    let recovered = service.set(Mode::Works);
    let edges = all_become(&mut fleet, "closed", recovered).await;
    let (lost, before) = (service.calls(began, recovered), service.calls(began, all_open).len());
    println!(
        "fleet: {sharing}: {} calls reached the dead service, {before} until all were open; all closed {:?} after the recovery",
        lost.len(),
        took(recovered, edges.last().unwrap().at)
    );
    assert!(lost.len() <= 60, "{} calls reached the dead service", lost.len());
    let probes = service.calls(all_open, recovered);
    assert!(most_at_once(&probes) <= 1, "{probes:#?}");
    judge_recovery(&service.calls(recovered, closed_at(&edges)), &edges, recovered);
    let decision = decision(&server.store()).await;
    assert_eq!((decision.state, decision.reason.as_str()), (State::Closed, "3 probes of the fleet succeeded"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_whose_prober_is_killed_closes_after_its_lease() {
    let server = Redis::start().await;
    let service = Service::start(millis(30)).await;
    let mut fleet = warm(&plan(&server, &service)).await;
    outage(&mut fleet, &service).await;
    let hangs = service.set(Mode::Hangs);
    let prober = service.caller(hangs).await;
    let prober = fleet.iter().position(|worker| worker.id == prober).unwrap();
    fleet.remove(prober).kill9();
    let recovered = service.set(Mode::Works);
    let edges = all_become(&mut fleet, "closed", recovered).await;
    println!("fleet: quorum: all closed {:?} after the death of the prober", took(recovered, edges.last().unwrap().at));
    judge_recovery(&service.calls(recovered, closed_at(&edges)), &edges, recovered);
}

/// Takes the store away when the service recovers, and brings the store back.
async fn without_store_at_the_recovery(
    take_away: impl AsyncFnOnce(&mut Redis),
    bring_back: impl AsyncFnOnce(&mut Redis),
) {
    let mut server = Redis::start().await;
    let service = Service::start(millis(30)).await;
    let mut fleet = warm(&plan(&server, &service)).await;
    outage(&mut fleet, &service).await;
    take_away(&mut server).await;
    let recovered = service.set(Mode::Works);
    let closing = all_become(&mut fleet, "closed", recovered).await;
    let last = closing.last().unwrap().at;
    println!("fleet: quorum: all closed {:?} after the recovery without the store", took(recovered, last));
    assert!(took(recovered, last) <= LONGEST, "{closing:#?}");
    // Each process probes by itself, as without a fleet.
    let probes = service.calls(recovered, closed_at(&closing)).len();
    assert!(probes <= 3 * WORKERS, "{probes} probes");
    bring_back(&mut server).await;
    let back = micros();
    let record = recorded(&server.store(), State::Closed).await;
    wait(secs(3)).await;
    assert!(record.fleet.as_ref().is_none_or(|fleet| fleet.state == State::Closed), "{record:#?}");
    let after = edges(&fleet, back);
    assert!(after.is_empty(), "a store that is back changes no circuit: {after:#?}");
    for worker in &fleet {
        assert_eq!(worker.state(), "closed", "{}", worker.id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_closes_while_redis_hangs_and_is_one_afterwards() {
    without_store_at_the_recovery(async |server| server.hang(), async |server| server.go_on()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_closes_while_redis_is_dead_and_is_one_afterwards() {
    without_store_at_the_recovery(async |server| server.kill9(), async |server| server.start_again().await).await;
}

/// Lets each worker make so many calls, none of which may be lost.
async fn lose_nothing(fleet: &mut [Worker], each: u32, rate: u32) {
    let began = micros();
    let mut before = Vec::new();
    for worker in fleet.iter_mut() {
        before.push(worker.totals().await);
    }
    command_all(fleet, &format!("calls {rate} {each}"));
    for (worker, before) in fleet.iter_mut().zip(before) {
        assert_eq!(worker.answer().await, "done");
        let Totals { successes, failures, rejected } = worker.totals().await;
        assert_eq!((failures, rejected), (0, 0), "{} lost calls: {:?}", worker.id, worker.error());
        assert!(successes - before.successes >= u64::from(each), "{}: {successes} after {before:?}", worker.id);
    }
    let seen = edges(fleet, began);
    assert!(seen.is_empty(), "{seen:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_are_cut_off_cost_the_others_no_call() {
    let server = Redis::start().await;
    let service = Service::start(Duration::ZERO).await;
    let proxies = [Proxy::to(service.port()).await, Proxy::to(service.port()).await];
    let plan = plan(&server, &service);
    let cut = proxies.each_ref().map(|proxy| Plan { service: proxy.port(), ..plan.clone() });
    let mut first = Worker::start(&cut[0], "cut-1");
    let mut fleet = start(&plan, WORKERS - 2).await;
    fleet.push(Worker::start(&cut[1], "cut-2"));
    for worker in fleet.iter_mut().chain([&mut first]) {
        worker.ready().await;
        worker.command("rate 20");
    }
    wait(secs(1)).await;
    proxies[0].set(Network::Refuses);
    first.becomes("open").await;
    // 10 000 calls of seven processes.
    lose_nothing(&mut fleet, 1_429, 140).await;
    assert_ne!(first.state(), "closed");
    let found = record(&server.store(), "payments").await.unwrap();
    assert!(found.fleet.is_none(), "one instance decides nothing: {found:#?}");

    // Two votes open the fleet, and the others decline.
    let mut second = fleet.pop().unwrap();
    second.command("rate 20");
    proxies[1].set(Network::Refuses);
    second.becomes("open").await;
    lose_nothing(&mut fleet, 400, 50).await;
    assert!(decision(&server.store()).await.attempt > 0, "the fleet has opened");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_an_open_fleet_never_closes_it_early() {
    let server = Redis::start().await;
    let service = Service::start(millis(30)).await;
    let plan = plan(&server, &service);
    let mut fleet = warm(&plan).await;
    let began = outage(&mut fleet, &service).await;
    let all_open = micros();
    let mut restarts = Vec::new();
    for number in 1..=WORKERS {
        // The oldest of the fleet. Half of them end in order, and half of them have new names afterwards.
        let old = fleet.remove(0);
        let id = if number % 4 < 2 { old.id.clone() } else { format!("{}-again", old.id) };
        restarts.extend(old.edges(began));
        if number % 2 == 0 {
            old.stop().await;
        } else {
            old.kill9();
        }
        let mut new = Worker::start(&plan, &id);
        assert_ne!(
            new.ready().await,
            "closed",
            "{id} comes back closed: {:#?}",
            record(&server.store(), "payments").await
        );
        new.command("rate 20");
        fleet.push(new);
        // The restarts last longer than two rounds.
        wait(millis(800)).await;
    }
    let recovered = service.set(Mode::Works);
    restarts.extend(edges(&fleet, began));
    restarts.retain(|edge| edge.to == "closed" && edge.at < recovered);
    assert!(restarts.is_empty(), "closed before the recovery: {restarts:#?}");
    let reached = service.calls(all_open, recovered);
    println!(
        "fleet: quorum: {} calls reached the dead service in {:?} of restarts",
        reached.len(),
        took(all_open, recovered)
    );
    // At most two probes for each round, and a round takes at least the first open duration.
    let rounds = 1 + took(all_open, recovered).as_millis() / plan.open_for.as_millis();
    assert!(reached.len() as u128 <= 2 * rounds, "{} calls in {rounds} rounds: {reached:#?}", reached.len());
    let edges = all_become(&mut fleet, "closed", recovered).await;
    let probes = service.calls(recovered, closed_at(&edges));
    assert!(most_at_once(&probes) <= 1, "{probes:#?}");
    assert_eq!(decision(&server.store()).await.state, State::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_loses_its_data_does_not_close_an_open_fleet() {
    let mut server = Redis::start().await;
    let service = Service::start(millis(30)).await;
    let mut fleet = warm(&plan(&server, &service)).await;
    let began = outage(&mut fleet, &service).await;
    let all_open = micros();
    server.kill9();
    server.start_again().await;
    recorded(&server.store(), State::Open).await;
    wait(secs(4)).await;
    let recovered = service.set(Mode::Works);
    let mut early = edges(&fleet, began);
    early.retain(|edge| edge.to == "closed" && edge.at < recovered);
    assert!(early.is_empty(), "closed before the recovery: {early:#?}");
    let reached = service.calls(all_open, recovered);
    println!("fleet: quorum: {} calls reached the dead service after the loss of the data", reached.len());
    let edges = all_become(&mut fleet, "closed", recovered).await;
    let probes = service.calls(recovered, closed_at(&edges));
    println!(
        "fleet: quorum: {} probes, all closed after {:?}",
        probes.len(),
        took(recovered, edges.last().unwrap().at)
    );
    assert!(probes.len() <= 6, "{probes:#?}");
    recorded(&server.store(), State::Closed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prober_that_stands_still_counts_as_dead_and_joins_the_fleet_afterwards() {
    let server = Redis::start().await;
    let service = Service::start(millis(30)).await;
    let mut fleet = warm(&plan(&server, &service)).await;
    outage(&mut fleet, &service).await;
    let hangs = service.set(Mode::Hangs);
    let prober = service.caller(hangs).await;
    let prober = fleet.iter().position(|worker| worker.id == prober).unwrap();
    let mut prober = fleet.remove(prober);
    prober.stand_still();
    let recovered = service.set(Mode::Works);
    let edges = all_become(&mut fleet, "closed", recovered).await;
    println!(
        "fleet: quorum: all others closed {:?} after the stop of the prober",
        took(recovered, edges.last().unwrap().at)
    );
    judge_recovery(&service.calls(recovered, closed_at(&edges)), &edges, recovered);
    let back = micros();
    prober.go_on();
    prober.becomes("closed").await;
    wait(secs(2)).await;
    let opened: Vec<_> = super::processes::edges(&fleet, back)
        .into_iter()
        .chain(prober.edges(back))
        .filter(|edge| edge.to == "open")
        .collect();
    assert!(opened.is_empty(), "{opened:#?}");
    recorded(&server.store(), State::Closed).await;
}
