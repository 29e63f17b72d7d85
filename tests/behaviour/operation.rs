//! Orders to a registry without a store: cooldown, force, what was seen, ids, and who is told.

use std::task::{Context, Waker};

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::operation::{Kept, Order, Refused, What};
use tower_circuit_breaker::state::{Generation, Mode, Reason};
use tower_circuit_breaker::{Circuit, Config, OpenDuration, Registry, State};

use crate::rig::{alice, fail, millis, secs, state, succeed};

/// A registry with one circuit, and the clock that moves it.
fn payments() -> (Registry, Circuit, MockClock) {
    let clock = MockClock::new();
    let open_for = OpenDuration::fixed(secs(5));
    let config = Config::builder("payments").clock(clock.clone()).open_for(open_for).build().unwrap();
    let registry = Registry::new();
    let circuit = registry.circuit(config).unwrap();
    (registry, circuit, clock)
}

fn reset() -> Order {
    Order::reset(&alice(), To::Closed)
}

#[tokio::test]
async fn a_reset_is_refused_for_a_minute_after_leaving_closed_only() {
    let (registry, circuit, clock) = payments();
    fail(&circuit, 5);
    clock.advance(secs(20));
    let refused = registry.operate("payments", &reset()).await.unwrap_err();
    assert!(matches!(refused, Refused::Cooldown { left, .. } if left == secs(40)), "{refused:?}");
    assert_eq!(
        refused.to_string(),
        "the circuit was tripped too recently to be reset: wait 40 s, or force the reset if you know that the service is back"
    );
    assert_eq!((state(&circuit), circuit.status().reset_in), (State::Open, Some(secs(40))));
    // A probe fails: it reopens, and the minute goes on.
    fail(&circuit, 1);
    clock.advance(secs(39));
    assert_eq!((state(&circuit), circuit.status().tripped_for), (State::Open, Some(secs(59))));
    assert!(registry.operate("payments", &reset()).await.is_err());
    clock.advance(secs(1));
    assert_eq!(circuit.status().reset_in, None);
    let done = registry.operate("payments", &reset()).await.unwrap();
    let sentence = done.to_string();
    assert!(
        sentence.starts_with("open to closed: ")
            && sentence.ends_with("; the act applies to this process only, because there is no store"),
        "{sentence}"
    );
    assert_eq!((done.kept, state(&circuit)), (Kept::Nowhere, State::Closed));
    assert_eq!(circuit.status().tripped_for, None);
}

#[tokio::test]
async fn force_skips_the_cooldown_and_nothing_else() {
    let (registry, circuit, _clock) = payments();
    let before = circuit.status().latest;
    fail(&circuit, 5);
    let stale = reset().force().seen(before);
    let refused = registry.operate("payments", &stale).await.unwrap_err();
    assert!(matches!(refused, Refused::Stale { seen, now, .. } if seen == before && now > seen), "{refused:?}");
    assert_eq!(state(&circuit), State::Open);
    let fresh = reset().force().seen(circuit.status().latest);
    assert_eq!(registry.operate("payments", &fresh).await.unwrap().transition.unwrap().to.state, State::Closed);
}

#[tokio::test]
async fn a_trip_by_hand_restarts_the_cooldown_and_resume_undoes_the_trip() {
    let (registry, circuit, clock) = payments();
    registry.trip("payments", &alice(), None).await.unwrap();
    clock.advance(secs(59));
    registry.trip("payments", &alice(), None).await.unwrap();
    clock.advance(secs(59));
    let refused = registry.reset("payments", &alice(), To::Closed, false).await.unwrap_err();
    assert!(matches!(refused, Refused::Cooldown { left, .. } if left == secs(1)), "{refused:?}");
    registry.resume("payments", &alice()).await.unwrap();
    assert_eq!(circuit.status().standing().as_str(), "closed");
    let nothing = registry.resume("payments", &alice()).await.unwrap_err();
    assert_eq!(nothing.to_string(), "circuit `payments` has no override, so that there is nothing to resume");
}

#[tokio::test]
async fn disabling_an_open_circuit_does_not_restart_its_cooldown() {
    let (registry, circuit, clock) = payments();
    fail(&circuit, 5);
    clock.advance(secs(50));
    registry.disable("payments", &alice(), secs(600)).await.unwrap();
    registry.resume("payments", &alice()).await.unwrap();
    clock.advance(secs(10));
    registry.reset("payments", &alice(), To::Closed, false).await.unwrap();
    assert_eq!(state(&circuit), State::Closed);
}

#[tokio::test]
async fn a_self_closed_circuit_is_reset_without_a_cooldown() {
    let (registry, circuit, clock) = payments();
    fail(&circuit, 5);
    clock.advance(secs(5));
    succeed(&circuit, 3);
    let refused = registry.reset("payments", &alice(), To::Closed, false).await.unwrap_err();
    assert!(matches!(refused, Refused::NothingToReset { .. }), "not the cooldown: {refused}");
    assert_eq!(state(&circuit), State::Closed);
}

#[tokio::test]
async fn a_reset_leaves_a_circuit_that_is_closed_and_not_held_as_it_is() {
    let (registry, circuit, _clock) = payments();
    fail(&circuit, 3);
    let before = circuit.status();
    for to in [To::HalfOpen, To::Closed] {
        for force in [false, true] {
            let refused = registry.reset("payments", &alice(), to, force).await.unwrap_err();
            assert_eq!(
                refused.to_string(),
                "circuit `payments` is closed and no operator holds it, so that a reset changes nothing"
            );
        }
    }
    assert_eq!(circuit.status(), before, "its evidence, too");
    // A hold over a closed circuit is something to reset, and so is a shadow that the settings do not ask for.
    registry.disable("payments", &alice(), secs(600)).await.unwrap();
    registry.reset("payments", &alice(), To::Closed, true).await.unwrap();
    circuit.shadow(&alice());
    registry.reset("payments", &alice(), To::Closed, true).await.unwrap();
    assert_eq!(circuit.status().standing().to_string(), "closed");
}

#[tokio::test]
async fn the_same_order_is_carried_out_once() {
    let (registry, circuit, _clock) = payments();
    let trip = Order::trip(&alice()).id("click-1");
    let edge = registry.operate("payments", &trip).await.unwrap().transition.unwrap();
    assert_eq!(edge.order.as_deref(), Some("click-1"));
    registry.resume("payments", &alice()).await.unwrap();
    let again = registry.operate("payments", &trip).await.unwrap();
    assert_eq!((again.transition, circuit.status().mode), (None, Mode::Automatic));
    let kept = Order::trip(&alice());
    registry.operate("payments", &kept).await.unwrap();
    assert_eq!(
        registry.operate("payments", &kept.clone()).await.unwrap().transition,
        None,
        "without an id of one's own"
    );
}

#[tokio::test]
async fn an_invalid_order_is_refused_without_effect() {
    let (registry, circuit, _clock) = payments();
    for order in [
        reset().hold(secs(1)),
        Order::trip(&alice()).hold(millis(0)),
        Order::trip(&alice()).id(""),
        Order::trip(&alice()).id(&"x".repeat(65)),
        Order::trip(&alice()).id("a b"),
        Order::disable(&alice()).hold(secs(366 * 24 * 3600)),
    ] {
        let refused = registry.operate("payments", &order).await.unwrap_err();
        assert!(matches!(refused, Refused::Invalid { .. }), "{refused:?}");
    }
    assert_eq!(circuit.status().era, 1);
}

#[tokio::test]
async fn an_unknown_name_is_refused_with_the_nearest_name() {
    let (registry, ..) = payments();
    let refused = registry.trip("paymnets", &alice(), None).await.unwrap_err();
    assert_eq!(refused.to_string(), "there is no circuit `paymnets`; did you mean `payments`?");
    assert_eq!(registry.is_tripped("x\ny").unwrap_err().to_string(), "there is no circuit `x\\ny`");
    assert_eq!(registry.is_tripped("payments"), Ok(false));
    assert_eq!(registry.status("payments").unwrap().latest, Generation::new(0));
}

#[tokio::test]
async fn an_act_happens_at_the_first_poll_and_survives_a_drop() {
    let (registry, circuit, _clock) = payments();
    let trip = Order::trip(&alice());
    {
        let mut unpolled = Box::pin(registry.operate("payments", &trip));
        assert_eq!(circuit.status().mode, Mode::Automatic, "nothing happens before");
        assert!(unpolled.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }
    assert_eq!(circuit.status().mode, Mode::ForcedOpen);
}

#[tokio::test]
async fn forgetting_lets_a_circuit_begin_anew() {
    let (registry, circuit, clock) = payments();
    fail(&circuit, 5);
    clock.advance(secs(5));
    fail(&circuit, 1);
    registry.trip("payments", &alice(), None).await.unwrap();
    registry.forget("payments", &alice()).await.unwrap();
    let status = circuit.status();
    assert_eq!((status.standing().as_str(), status.attempt, status.tripped_for), ("closed", 0, None));
}

#[tokio::test]
async fn a_subscriber_receives_events_of_all_circuits_and_the_missed_count() {
    let (registry, circuit, _clock) = payments();
    let mut news = registry.subscribe();
    registry.circuit(Config::new("orders").unwrap()).unwrap();
    registry.trip("payments", &alice(), None).await.unwrap();
    let first = news.next().await.unwrap();
    assert_eq!(first.to_string(), "circuit `orders` is new");
    assert_eq!((first.circuit.as_str(), first.what), ("orders", What::Introduced));
    let second = news.next().await.unwrap();
    assert!(
        matches!(&second.what, What::Transition(edge) if matches!(edge.reason, Reason::Operator { .. })),
        "{second:?}"
    );
    assert!(second.to_string().starts_with("circuit `payments`: closed to forced_open: "), "{second}");
    for _ in 0..1030 {
        circuit.trip(&alice(), None);
    }
    let missed = news.next().await.unwrap();
    assert!(matches!(missed.what, What::Missed { events: 6, .. }), "{missed:?}");
    drop((registry, circuit));
    let mut rest = 0;
    while news.next().await.is_some() {
        rest += 1;
    }
    assert_eq!(rest, 1024, "and then it ends");
}

#[cfg(feature = "store")]
mod audit {
    use tower_circuit_breaker::store::AuditFilter;

    use super::*;

    #[tokio::test]
    async fn without_a_store_the_audit_is_the_memory_of_circuits_newest_first() {
        let (registry, circuit, clock) = payments();
        fail(&circuit, 5);
        clock.advance(secs(1));
        registry.trip("payments", &alice(), None).await.unwrap();
        clock.advance(secs(1));
        let bob = tower_circuit_breaker::By::new("bob", "it was the wrong one").unwrap();
        registry.resume("payments", &bob).await.unwrap();
        let told = |rows: Vec<tower_circuit_breaker::store::AuditRow>| {
            rows.iter().map(|row| format!("{} {}", row.action, row.user.as_deref().unwrap_or("-"))).collect::<Vec<_>>()
        };
        let rows = registry.audit(&AuditFilter::new()).await.unwrap();
        assert_eq!(told(rows), ["resume bob", "trip alice", "opened -"]);
        let rows = registry.audit(&AuditFilter::new().user("alice").service("payments")).await.unwrap();
        assert_eq!(told(rows), ["trip alice"]);
        assert_eq!(registry.audit(&AuditFilter::new().limit(2)).await.unwrap().len(), 2);
    }
}
