//! The settings of a circuit as pairs of name and value in the spelling of a settings file, for the differences between
//! two configurations and for the `Debug` of a configuration.
//!
//! Differences are shown with these names and values, because a user knows the settings file and not the fields of this
//! crate.

use std::time::Duration;

use super::{Config, Probing, Recovery, Rules};
use crate::group::Group;
use crate::state::Exact;
use crate::window::{Shape, Window};

impl Config {
    /// Returns the settings that differ between `self` and `other`, each as a name with both values. Clocks and
    /// observers are not compared.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let pairs = values(self).into_iter().zip(values(other));
        let differ = pairs.filter(|(present, requested)| present != requested);
        differ
            .map(|((name, present), (_, requested))| format!("{name} is {present}, requested is {requested}"))
            .collect()
    }
}

/// Returns the value of each setting. Different values have different texts, except for two groups with the same name
/// and share.
pub(super) fn values(config: &Config) -> [(&'static str, String); 28] {
    let Rules { failure_rate, min_calls, consecutive_failures, raised_at_traffic, .. } = config.rules;
    let Rules { failure_score, slow_call_rate, .. } = config.rules;
    let Probing { successes, in_flight, failures_tolerated, deadline, quiet_after } = config.probes;
    let number = |number: Option<f64>| number.map_or_else(off, |number| number.to_string());
    let exact = |duration: Duration| Exact(duration).to_string();
    let health = config.health();
    [
        ("failure_rate", number(failure_rate)),
        ("min_calls", min_calls.to_string()),
        (
            "consecutive_failures",
            match consecutive_failures {
                Some(n) if raised_at_traffic => format!("{{ raised_at_traffic = {n} }}"),
                Some(n) => n.to_string(),
                None => off(),
            },
        ),
        ("failure_score", number(failure_score)),
        ("slow_call_rate", number(slow_call_rate.map(|(rate, _)| rate))),
        ("slower_than", slow_call_rate.map_or_else(off, |(_, slower_than)| exact(slower_than))),
        // This list has no `throttled_failure_rate`, because `build` has already copied that rate into `failure_rate`.
        ("throttle", number(config.throttle())),
        ("window", window(config.window)),
        ("open_for", config.open.setting()),
        (
            "recovery",
            match config.recovery {
                Recovery::Automatic => "automatic".to_owned(),
                Recovery::Manual => "manual".to_owned(),
            },
        ),
        ("probes", successes.to_string()),
        ("probes_in_flight", in_flight.to_string()),
        ("probe_failures_tolerated", failures_tolerated.to_string()),
        ("probe_deadline", exact(deadline)),
        ("quiet_after", exact(quiet_after)),
        ("ramp", config.ramp().map_or_else(|| "default".to_owned(), exact)),
        ("health", health.map_or_else(off, ToString::to_string)),
        ("health_every", health.map_or_else(off, |health| exact(health.every))),
        ("health_deadline", health.map_or_else(off, |health| exact(health.deadline))),
        ("health_required", health.is_some_and(|health| health.required).to_string()),
        ("group", config.group().map_or_else(off, |group| group.name().to_owned())),
        ("at_most_open", number(config.group().map(Group::share))),
        ("cancelled_counts_after", config.cancelled_counts_after.map_or_else(|| "never".to_owned(), exact)),
        ("trip_on_any_outcome", config.trip_on_any_outcome.to_string()),
        ("sharded", config.sharded.to_string()),
        ("measure_durations", config.durations.to_string()),
        ("shadow", config.shadow.to_string()),
        ("reset_cooldown", exact(config.reset_cooldown)),
    ]
}

fn window(window: Window) -> String {
    match window.0 {
        Shape::Time { length, buckets: 10 } => Exact(length).to_string(),
        Shape::Time { length, buckets } => format!("{{ time = {}, buckets = {buckets} }}", Exact(length)),
        Shape::Calls { calls } => format!("{{ calls = {calls} }}"),
    }
}

/// Returns the text for a rule that is not set.
fn off() -> String {
    "off".to_owned()
}
