//! Labels are given by use and not by arrival.

use super::*;

#[test]
fn a_stranger_with_one_call_for_each_key_gets_no_label() {
    let read = told(
        "use:",
        |builder| builder.label_budget(4).max_keys(100),
        |by, clock| {
            for n in 0..5_000 {
                clock.advance(Duration::from_millis(1));
                // A burst of one key is one use.
                (0..20).for_each(|_| succeed(by, &format!("stranger-{n}")));
            }
            for key in ["a", "b"] {
                name(by, clock, key);
                succeed(by, key);
            }
        },
    );
    assert_eq!(services(&read), ["use:a", "use:b", "use:other"]);
}

#[test]
fn the_last_labels_stay_for_the_keys_with_the_most_uses() {
    let read = told(
        "rare:",
        |builder| builder.label_budget(4),
        |by, clock| {
            for n in 0..100 {
                name(by, clock, &format!("stranger-{n}"));
                succeed(by, &format!("stranger-{n}"));
            }
            (0..20).for_each(|_| name(by, clock, "real"));
            succeed(by, "real");
        },
    );
    assert_eq!(services(&read), ["rare:other", "rare:real", "rare:stranger-0", "rare:stranger-1"]);
}
