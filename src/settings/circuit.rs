//! The keys of a circuit in a settings file, each with its reader and its method of the builder.
//!
//! Each key has a row in `KEYS` with the function that reads the value as a [`Setting`]. Each `Setting` has an arm in
//! `apply`. The list of allowed keys, the environment variables and the tests use `KEYS` too.

use std::time::Duration;

use super::error::SettingsError;
use super::field::Field;
use super::layers::{Layers, Shape};
use crate::config::{ConfigBuilder, OpenDuration, Recovery};
use crate::group::Group;
use crate::window::Window;

/// One setting of a circuit. The type of the value is checked already, and the builder checks the range of the value.
#[derive(Debug, Clone)]
pub(super) enum Setting {
    FailureRate(Option<f64>),
    MinCalls(u32),
    ConsecutiveFailures(Option<u32>),
    ConsecutiveFailuresRaisedAtTraffic(u32),
    FailureScore(Option<f64>),
    SlowCallRate(Option<f64>),
    SlowerThan(Duration),
    Throttle(Option<f64>),
    ThrottledFailureRate(f64),
    Window(Window),
    OpenFor(OpenDuration),
    Recovery(Recovery),
    Probes(u32),
    ProbesInFlight(u32),
    ProbeFailuresTolerated(u32),
    ProbeDeadline(Duration),
    QuietAfter(Duration),
    Ramp(Duration),
    Health(Option<String>),
    HealthEvery(Duration),
    HealthDeadline(Duration),
    HealthRequired(bool),
    /// The share of the circuits of a group that may be open. `None` for no group.
    AtMostOpen(Option<f64>),
    /// The group that the table with `at_most_open` creates.
    Group(Group),
    CancelledCountsAfter(Option<Duration>),
    TripOnAnyOutcome(bool),
    Sharded(bool),
    MeasureDurations(bool),
    Shadow(bool),
    ResetCooldown(Duration),
    TtlOpen(Duration),
    TtlOther(Duration),
}

type Read = fn(&Layers<'_>) -> Result<Setting, SettingsError>;

/// The keys of a circuit and of the defaults, each with its reader.
pub(super) const KEYS: [(&str, Read); 30] = [
    ("failure_rate", |set| set.top().number_or_off().map(Setting::FailureRate)),
    ("min_calls", |set| set.top().count().map(Setting::MinCalls)),
    ("consecutive_failures", |set| consecutive_failures(set.top())),
    ("failure_score", |set| set.top().number_or_off().map(Setting::FailureScore)),
    ("slow_call_rate", |set| set.top().number_or_off().map(Setting::SlowCallRate)),
    ("slower_than", |set| set.top().duration().map(Setting::SlowerThan)),
    ("throttle", |set| throttle(set.top())),
    ("throttled_failure_rate", |set| set.top().number().map(Setting::ThrottledFailureRate)),
    ("window", |set| window(set).map(Setting::Window)),
    ("open_for", |set| open_for(set).map(Setting::OpenFor)),
    ("recovery", |set| {
        let choices = [("automatic", Recovery::Automatic), ("manual", Recovery::Manual)];
        set.top().choice(&choices).map(Setting::Recovery)
    }),
    ("probes", |set| set.top().count().map(Setting::Probes)),
    ("probes_in_flight", |set| set.top().count().map(Setting::ProbesInFlight)),
    ("probe_failures_tolerated", |set| set.top().count().map(Setting::ProbeFailuresTolerated)),
    ("probe_deadline", |set| set.top().duration().map(Setting::ProbeDeadline)),
    ("quiet_after", |set| set.top().duration().map(Setting::QuietAfter)),
    ("ramp", |set| set.top().duration_within("0 s", "1 h").map(Setting::Ramp)),
    ("health", |set| health(set.top())),
    ("health_every", |set| set.top().duration().map(Setting::HealthEvery)),
    ("health_deadline", |set| set.top().duration().map(Setting::HealthDeadline)),
    ("health_required", |set| set.top().switch().map(Setting::HealthRequired)),
    (AT_MOST_OPEN, |set| set.top().number_or_off().map(Setting::AtMostOpen)),
    ("cancelled_counts_after", |set| match set.top().text() {
        Some("never") => Ok(Setting::CancelledCountsAfter(None)),
        _ => Ok(Setting::CancelledCountsAfter(Some(set.top().duration_or(", or \"never\"")?))),
    }),
    ("trip_on_any_outcome", |set| set.top().switch().map(Setting::TripOnAnyOutcome)),
    ("sharded", |set| set.top().switch().map(Setting::Sharded)),
    ("measure_durations", |set| set.top().switch().map(Setting::MeasureDurations)),
    ("shadow", |set| set.top().switch().map(Setting::Shadow)),
    ("reset_cooldown", |set| set.top().duration().map(Setting::ResetCooldown)),
    ("ttl_open", |set| set.top().duration_within("1 s", "365 d").map(Setting::TtlOpen)),
    ("ttl_other", |set| set.top().duration_within("1 s", "365 d").map(Setting::TtlOther)),
];

/// The key that makes the circuits of a table one group, and limits the share of open circuits.
pub(super) const AT_MOST_OPEN: &str = "at_most_open";

/// Reads the value of `consecutive_failures`, such as `5`, `false` or `{ raised_at_traffic = 5 }`.
fn consecutive_failures(field: &Field) -> Result<Setting, SettingsError> {
    if field.entries().is_err() {
        return field.count_or_off_or(", or { raised_at_traffic = 5 }").map(Setting::ConsecutiveFailures);
    }
    match &field.table(&["raised_at_traffic"])?[..] {
        [(_, n)] => n.count().map(Setting::ConsecutiveFailuresRaisedAtTraffic),
        _ => Err(field.refuse("a whole number, false for no such rule, or { raised_at_traffic = 5 }")),
    }
}

/// Reads the value of `throttle`, which is a factor such as `2.5`, `true` for the usual factor, or `false`.
fn throttle(field: &Field) -> Result<Setting, SettingsError> {
    match field.switch() {
        Ok(true) => Ok(Setting::Throttle(Some(USUAL_THROTTLE))),
        Ok(false) => Ok(Setting::Throttle(None)),
        Err(_) => field.number_or(", true for 2, or false for no throttle").map(|k| Setting::Throttle(Some(k))),
    }
}

/// The factor of the throttle that Google's *Site Reliability Engineering* recommends.
const USUAL_THROTTLE: f64 = 2.0;

/// Reads the address for health probes, or `false` for no health probes.
fn health(field: &Field) -> Result<Setting, SettingsError> {
    match field.text() {
        Some(address) if !field.is_off() => Ok(Setting::Health(Some(address.to_owned()))),
        _ if field.is_off() => Ok(Setting::Health(None)),
        _ => Err(field.refuse("an address like \"http://payments:8080/healthz\", or false for no health probes")),
    }
}

/// The forms of `window`: `"10 s"`, `{ time = "10 s", buckets = 10 }` and `{ calls = 100 }`.
pub(super) const WINDOW: Shape = Shape {
    duration: "time",
    parts: &["time", "buckets", "calls"],
    allowed: "a duration like \"10 s\", { time = \"10 s\", buckets = 10 } or { calls = 100 }",
    others: ", { time = \"10 s\", buckets = 10 } or { calls = 100 }",
    alternatives: (&["time", "buckets"], &["calls"]),
    prepare: |below, parts, field| {
        if parts.contains_key("calls") {
            below.clear();
        } else if let Some(calls) = below.remove("calls")
            && !parts.contains_key("time")
        {
            let says = format!(
                "{0}.buckets needs {0}.time beside it, because {1} makes a window of calls, which has no buckets",
                field.path, calls.path
            );
            return Err(SettingsError::of(&field.origin, &field.path, says));
        }
        Ok(())
    },
};

fn window(set: &Layers<'_>) -> Result<Window, SettingsError> {
    let parts = set.merge(&WINDOW)?;
    if let Some(calls) = parts.get("calls") {
        return calls.count().map(Window::calls);
    }
    let window = parts.get("time").map_or_else(|| Ok(Window::default()), |time| time.duration().map(Window::time))?;
    parts.get("buckets").map_or(Ok(window), |buckets| Ok(window.buckets(buckets.count()?)))
}

/// The forms of `open_for`: `"60 s"`, `{ fixed = "60 s", jitter = 0.1 }` and `{ base = "5 s", max = "60 s", jitter =
/// 0.1 }`.
pub(super) const OPEN_FOR: Shape = Shape {
    duration: "fixed",
    parts: &["base", "max", "fixed", "jitter"],
    allowed: "a duration like \"60 s\", { base = \"5 s\", max = \"60 s\", jitter = 0.1 } \
        or { fixed = \"60 s\", jitter = 0.1 }",
    others: ", or { base = \"5 s\", max = \"60 s\", jitter = 0.1 }",
    alternatives: (&["base", "max"], &["fixed"]),
    prepare: |below, parts, _| {
        if parts.contains_key("fixed") {
            below.retain(|part, _| part == "jitter");
        } else if ["base", "max"].iter().any(|part| parts.contains_key(*part))
            && let Some(fixed) = below.remove("fixed")
        {
            // A fixed duration is equivalent to an equal `base` and `max`. After this conversion a more specific table
            // can change `base` or `max` alone.
            below.insert("base".to_owned(), fixed.clone());
            below.insert("max".to_owned(), fixed);
        }
        Ok(())
    },
};

fn open_for(set: &Layers<'_>) -> Result<OpenDuration, SettingsError> {
    let parts = set.merge(&OPEN_FOR)?;
    let duration = |part, default| parts.get(part).map_or(Ok(default), Field::duration);
    let open_for = match parts.get("fixed") {
        Some(fixed) => OpenDuration::fixed(fixed.duration()?),
        None => OpenDuration::exponential(
            duration("base", OpenDuration::DEFAULT_BASE)?,
            duration("max", OpenDuration::DEFAULT_MAX)?,
        ),
    };
    parts.get("jitter").map_or(Ok(open_for.clone()), |jitter| Ok(open_for.jitter(jitter.number()?)))
}

/// Applies the settings to the builder.
pub(super) fn build(settings: &[Setting], builder: ConfigBuilder) -> ConfigBuilder {
    // `slower_than` is left out if a more specific table switches the slow-call rule off, because the builder would
    // refuse `slower_than` without the rule.
    let no_slow_rule = settings.iter().any(|setting| matches!(setting, Setting::SlowCallRate(None)));
    // Without an address, the other keys of health probes are left out. A table for many circuits can contain these
    // keys for the circuits that have an address. For a circuit without an address, the builder would refuse these
    // keys.
    let has_health = settings.iter().any(|setting| matches!(setting, Setting::Health(Some(_))));
    let is_of_health = |setting: &Setting| {
        matches!(setting, Setting::HealthEvery(_) | Setting::HealthDeadline(_) | Setting::HealthRequired(_))
    };
    let set = settings.iter().filter(|setting| {
        !(no_slow_rule && matches!(setting, Setting::SlowerThan(_)) || !has_health && is_of_health(setting))
    });
    set.fold(builder, |builder, setting| setting.apply(builder))
}

impl Setting {
    /// Calls the method of the builder for this setting.
    fn apply(&self, to: ConfigBuilder) -> ConfigBuilder {
        match self {
            Self::FailureRate(Some(rate)) => to.failure_rate(*rate),
            Self::FailureRate(None) => to.without_failure_rate(),
            Self::MinCalls(calls) => to.min_calls(*calls),
            Self::ConsecutiveFailures(Some(n)) => to.consecutive_failures(*n),
            Self::ConsecutiveFailures(None) => to.without_consecutive_failures(),
            Self::ConsecutiveFailuresRaisedAtTraffic(n) => to.consecutive_failures_raised_at_traffic(*n),
            Self::FailureScore(Some(score)) => to.failure_score(*score),
            Self::SlowCallRate(Some(rate)) => to.slow_call_rate(*rate),
            Self::SlowerThan(duration) => to.slower_than(*duration),
            Self::Throttle(Some(k)) => to.throttle(*k),
            Self::ThrottledFailureRate(rate) => to.throttled_failure_rate(*rate),
            Self::Window(window) => to.window(*window),
            Self::OpenFor(open) => to.open_for(open.clone()),
            Self::Recovery(recovery) => to.recovery(*recovery),
            Self::Probes(probes) => to.probes(*probes),
            Self::ProbesInFlight(probes) => to.probes_in_flight(*probes),
            Self::ProbeFailuresTolerated(failures) => to.probe_failures_tolerated(*failures),
            Self::ProbeDeadline(deadline) => to.probe_deadline(*deadline),
            Self::QuietAfter(duration) => to.quiet_after(*duration),
            Self::Ramp(ramp) => to.ramp(*ramp),
            Self::Health(Some(address)) => to.health(address),
            Self::HealthEvery(every) => to.health_every(*every),
            Self::HealthDeadline(deadline) => to.health_deadline(*deadline),
            Self::HealthRequired(required) => to.health_required(*required),
            Self::Group(group) => to.group(group),
            Self::CancelledCountsAfter(Some(duration)) => to.cancelled_counts_after(*duration),
            Self::CancelledCountsAfter(None) => to.cancelled_never_counts(),
            Self::TripOnAnyOutcome(any) => to.trip_on_any_outcome(*any),
            Self::Sharded(true) => to.sharded(),
            Self::MeasureDurations(true) => to.measure_durations(),
            Self::Shadow(true) => to.shadow(),
            Self::ResetCooldown(cooldown) => to.reset_cooldown(*cooldown),
            // In a new builder these rules are already off, so there is no method to call. The TTLs are settings of the
            // store and not of a circuit. A share of `at_most_open` does not reach this function, because the draft has
            // replaced the share by a `Group`.
            Self::FailureScore(None)
            | Self::SlowCallRate(None)
            | Self::Throttle(None)
            | Self::Health(None)
            | Self::Sharded(false)
            | Self::MeasureDurations(false)
            | Self::Shadow(false)
            | Self::AtMostOpen(_)
            | Self::TtlOpen(_)
            | Self::TtlOther(_) => to,
        }
    }
}
