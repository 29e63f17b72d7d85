//! Who looks at the load, and when: one call at a time, never the others.

use std::sync::{Barrier, mpsc};
use std::thread;

use super::*;

#[test]
fn the_load_is_looked_at_once_in_250_ms() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let load = Load::of(0.1);
    let service = service(&circuit, load.clone());
    for look in 1..=5 {
        for _ in 0..10 {
            assert!(!is_shed(&service, ("ping", 1)));
        }
        clock.advance(LOOK - Duration::from_nanos(1));
        assert!(!is_shed(&service, ("ping", 1)));
        assert_eq!(load.looks(), look);
        clock.advance(Duration::from_nanos(1));
    }
}

#[test]
fn shedding_begins_above_one_limit_and_ends_below_another() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let load = Load::default();
    let service = service(&circuit, load.clone());
    for (now, shed) in [
        (Some(0.85), false),
        (Some(0.851), true),
        (Some(0.82), true),
        (Some(0.801), true),
        (Some(0.79), false),
        (Some(0.84), false),
        (Some(0.9), true),
        (None, false),
        // It ended where nobody knew, so it has to begin again.
        (Some(0.84), false),
    ] {
        load.set(now);
        assert_eq!(is_shed(&service, ("report", 500)), shed, "at {now:?}");
        clock.advance(LOOK);
    }
}

#[test]
fn a_clock_that_goes_back_does_not_stop_the_looking() {
    use tower_circuit_breaker::clock::Tick;

    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let load = Load::of(0.9);
    let service = service(&circuit, load.clone());
    assert!(is_shed(&service, ("report", 500)));
    load.set(0.1);
    clock.set(Tick::from_nanos(5));
    assert!(!is_shed(&service, ("report", 500)));
}

#[test]
fn of_many_callers_one_looks() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let load = Load::of(0.9);
    let service = service(&circuit, load.clone());
    let (callers, rounds) = (8, 200);
    let barrier = Barrier::new(callers);
    thread::scope(|scope| {
        for _ in 0..callers {
            let (service, barrier, clock) = (service.clone(), &barrier, &clock);
            scope.spawn(move || {
                for _ in 0..rounds {
                    barrier.wait();
                    // Who comes while another looks for the first time goes by the load before: it may pass.
                    is_shed(&service, ("report", 500));
                    if barrier.wait().is_leader() {
                        clock.advance(LOOK);
                    }
                }
            });
        }
    });
    assert_eq!(load.looks(), rounds, "one look in each interval");
    let totals = circuit.totals();
    assert_eq!(totals.load_shed + totals.successes, (callers * rounds) as u64, "each call was shed or made");
    assert!(totals.successes < callers as u64, "after the first look all are shed");
}

#[test]
fn a_probe_that_hangs_keeps_only_its_caller() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let (began, has_begun) = mpsc::channel();
    let (end, ended) = mpsc::channel::<f64>();
    #[expect(clippy::disallowed_types, reason = "a test's own, no part of what loom looks at")]
    let ended = std::sync::Mutex::new(ended);
    let probe = move || {
        began.send(()).unwrap();
        ended.lock().unwrap().recv().unwrap()
    };
    let service = service(&circuit, probe);
    let look = |end_with| {
        let looking = thread::spawn({
            let service = service.clone();
            move || is_shed(&service, ("report", 500))
        });
        has_begun.recv().unwrap();
        (looking, end_with)
    };

    // A first look that ends, and sees a busy machine.
    let (looking, load) = look(0.9);
    assert!(!is_shed(&service, ("report", 500)), "nobody knows the load yet");
    end.send(load).unwrap();
    assert!(looking.join().unwrap(), "who looks goes by what it sees");
    assert!(is_shed(&service, ("report", 500)));

    // A second one that does not: the others go by the first, until that is too old.
    clock.advance(LOOK);
    let (looking, load) = look(0.1);
    assert!(is_shed(&service, ("report", 500)));
    clock.advance(Duration::from_secs(2));
    for _ in 0..100 {
        assert!(!is_shed(&service, ("report", 500)), "two seconds after a look was due nobody knows");
    }
    end.send(load).unwrap();
    assert!(!looking.join().unwrap());
    assert!(has_begun.try_recv().is_err(), "nobody else has looked");
}

#[test]
fn a_probe_that_panics_knows_nothing_and_is_asked_again() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let load = Load::of(0.9);
    let asked = load.clone();
    let service = service(&circuit, move || {
        let load = asked.load().unwrap();
        assert!(load < 2.0, "a fault of the probe");
        load
    });
    assert!(is_shed(&service, ("report", 500)));
    load.set(2.0);
    clock.advance(LOOK);
    assert!(!is_shed(&service, ("report", 500)), "unknown");
    load.set(0.9);
    clock.advance(LOOK);
    assert!(is_shed(&service, ("report", 500)));
}

#[test]
fn an_estimate_is_asked_only_while_the_machine_is_busy() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let (load, asked) = (Load::of(0.1), Count::default());
    let counted = asked.clone();
    let layer = LoadSheddingLayer::new(&circuit, load.clone())
        .operation(move |work: &Work| {
            counted.add();
            *work
        })
        .build()
        .unwrap();
    let service = layer.layer(service_fn(work));
    assert!(!is_shed(&service, ("ping", 1)));
    assert_eq!(asked.get(), 0);
    load.set(0.9);
    clock.advance(LOOK);
    assert!(!is_shed(&service, ("ping", 1)));
    assert_eq!(asked.get(), 1);
}

#[test]
fn layers_may_share_a_probe() {
    let circuit = circuit(&MockClock::new());
    let probe = Arc::new(Load::of(0.9));
    let [one, other] = [(); 2].map(|()| service(&circuit, Arc::clone(&probe)));
    assert!(is_shed(&one, ("report", 500)));
    assert!(is_shed(&other, ("report", 500)));
    assert_eq!(probe.looks(), 2, "each layer has its own look");
}

#[test]
fn layers_of_one_circuit_each_have_their_own_load() {
    let circuit = circuit(&MockClock::new());
    let busy = service(&circuit, Load::of(0.9));
    let idle = service(&circuit, Load::of(0.1));
    assert!(is_shed(&busy, ("report", 500)));
    assert!(!is_shed(&idle, ("report", 500)));
}
