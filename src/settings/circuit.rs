//! The keys of a circuit, each with its reader and its method of the builder.
//!
//! A key has one row in `KEYS` and one arm in `apply`. The list of allowed keys, the environment variables and the
//! tests use the same table.

use std::time::Duration;

use super::error::SettingsError;
use super::field::Field;
use crate::config::{ConfigBuilder, OpenDuration, Recovery};
use crate::window::Window;

/// One setting of a circuit. The value has the right type, and the builder checks its range.
#[derive(Debug, Clone)]
pub(super) enum Setting {
    FailureRate(Option<f64>),
    MinCalls(u32),
    ConsecutiveFailures(Option<u32>),
    ConsecutiveFailuresRaisedAtTraffic(u32),
    FailureScore(Option<f64>),
    SlowCallRate(Option<f64>),
    SlowerThan(Duration),
    Window(Window),
    OpenFor(OpenDuration),
    Recovery(Recovery),
    Probes(u32),
    ProbesInFlight(u32),
    ProbeFailuresTolerated(u32),
    ProbeDeadline(Duration),
    QuietAfter(Duration),
    CancelledCountsAfter(Option<Duration>),
    TripOnAnyOutcome(bool),
    Sharded(bool),
    MeasureDurations(bool),
    Shadow(bool),
    ResetCooldown(Duration),
    TtlOpen(Duration),
    TtlOther(Duration),
}

type Read = fn(&Field) -> Result<Setting, SettingsError>;

/// The keys of a circuit and of the defaults, each with its reader.
pub(super) const KEYS: [(&str, Read); 22] = [
    ("failure_rate", |field| field.number_or_off().map(Setting::FailureRate)),
    ("min_calls", |field| field.count().map(Setting::MinCalls)),
    ("consecutive_failures", consecutive_failures),
    ("failure_score", |field| field.number_or_off().map(Setting::FailureScore)),
    ("slow_call_rate", |field| field.number_or_off().map(Setting::SlowCallRate)),
    ("slower_than", |field| field.duration().map(Setting::SlowerThan)),
    ("window", |field| window(field).map(Setting::Window)),
    ("open_for", |field| open_for(field).map(Setting::OpenFor)),
    ("recovery", |field| {
        let choices = [("automatic", Recovery::Automatic), ("manual", Recovery::Manual)];
        field.choice(&choices).map(Setting::Recovery)
    }),
    ("probes", |field| field.count().map(Setting::Probes)),
    ("probes_in_flight", |field| field.count().map(Setting::ProbesInFlight)),
    ("probe_failures_tolerated", |field| field.count().map(Setting::ProbeFailuresTolerated)),
    ("probe_deadline", |field| field.duration().map(Setting::ProbeDeadline)),
    ("quiet_after", |field| field.duration().map(Setting::QuietAfter)),
    ("cancelled_counts_after", |field| match field.text() {
        Some("never") => Ok(Setting::CancelledCountsAfter(None)),
        _ => Ok(Setting::CancelledCountsAfter(Some(field.duration_or(", or \"never\"")?))),
    }),
    ("trip_on_any_outcome", |field| field.switch().map(Setting::TripOnAnyOutcome)),
    ("sharded", |field| field.switch().map(Setting::Sharded)),
    ("measure_durations", |field| field.switch().map(Setting::MeasureDurations)),
    ("shadow", |field| field.switch().map(Setting::Shadow)),
    ("reset_cooldown", |field| field.duration().map(Setting::ResetCooldown)),
    ("ttl_open", |field| field.duration_within("1 s", "365 d").map(Setting::TtlOpen)),
    ("ttl_other", |field| field.duration_within("1 s", "365 d").map(Setting::TtlOther)),
];

/// Reads `5`, `false` or `{ raised_at_traffic = 5 }`.
fn consecutive_failures(field: &Field) -> Result<Setting, SettingsError> {
    if field.entries().is_err() {
        return field.count_or_off_or(", or { raised_at_traffic = 5 }").map(Setting::ConsecutiveFailures);
    }
    match &field.table(&["raised_at_traffic"])?[..] {
        [(_, n)] => n.count().map(Setting::ConsecutiveFailuresRaisedAtTraffic),
        _ => Err(field.refuse("a whole number, false for no such rule, or { raised_at_traffic = 5 }")),
    }
}

/// Reads `"10 s"`, `{ time = "10 s", buckets = 10 }` or `{ calls = 100 }`.
fn window(field: &Field) -> Result<Window, SettingsError> {
    const ALLOWED: &str = "a duration like \"10 s\", { time = \"10 s\", buckets = 10 } or { calls = 100 }";
    if field.text().is_some() {
        return field.duration_or(", { time = \"10 s\", buckets = 10 } or { calls = 100 }").map(Window::time);
    }
    let Ok(entries) = field.entries() else { return Err(field.refuse(ALLOWED)) };
    field.table(&["time", "buckets", "calls"])?;
    let find = |key| entries.iter().find(|(name, _)| name == key).map(|(_, field)| field);
    match (find("time"), find("buckets"), find("calls")) {
        (None, None, Some(calls)) => calls.count().map(Window::calls),
        (Some(time), None, None) => time.duration().map(Window::time),
        (Some(time), Some(buckets), None) => Ok(Window::time(time.duration()?).buckets(buckets.count()?)),
        _ => Err(field.refuse(ALLOWED)),
    }
}

/// Reads `"60 s"`, `{ fixed = "60 s", jitter = 0.1 }` or `{ base = "5 s", max = "60 s", jitter = 0.1 }`.
fn open_for(field: &Field) -> Result<OpenDuration, SettingsError> {
    const ALLOWED: &str = "a duration like \"60 s\", { base = \"5 s\", max = \"60 s\", jitter = 0.1 } \
        or { fixed = \"60 s\", jitter = 0.1 }";
    if field.text().is_some() {
        return field.duration_or(", or { base = \"5 s\", max = \"60 s\", jitter = 0.1 }").map(OpenDuration::fixed);
    }
    let Ok(entries) = field.entries() else { return Err(field.refuse(ALLOWED)) };
    field.table(&["base", "max", "fixed", "jitter"])?;
    let find = |key| entries.iter().find(|(name, _)| name == key).map(|(_, field)| field);
    let open_for = match (find("base"), find("max"), find("fixed")) {
        (Some(base), Some(max), None) => OpenDuration::exponential(base.duration()?, max.duration()?),
        (None, None, Some(fixed)) => OpenDuration::fixed(fixed.duration()?),
        _ => return Err(field.refuse(ALLOWED)),
    };
    find("jitter").map_or(Ok(open_for.clone()), |jitter| Ok(open_for.jitter(jitter.number()?)))
}

/// Applies the settings to the builder.
pub(super) fn build(settings: &[Setting], builder: ConfigBuilder) -> ConfigBuilder {
    // A rule that is switched off may still have `slower_than` in its table or in the defaults, which the builder would
    // refuse.
    let no_slow_rule = settings.iter().any(|setting| matches!(setting, Setting::SlowCallRate(None)));
    let set = settings.iter().filter(|setting| !(no_slow_rule && matches!(setting, Setting::SlowerThan(_))));
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
            Self::Window(window) => to.window(*window),
            Self::OpenFor(open) => to.open_for(open.clone()),
            Self::Recovery(recovery) => to.recovery(*recovery),
            Self::Probes(probes) => to.probes(*probes),
            Self::ProbesInFlight(probes) => to.probes_in_flight(*probes),
            Self::ProbeFailuresTolerated(failures) => to.probe_failures_tolerated(*failures),
            Self::ProbeDeadline(deadline) => to.probe_deadline(*deadline),
            Self::QuietAfter(duration) => to.quiet_after(*duration),
            Self::CancelledCountsAfter(Some(duration)) => to.cancelled_counts_after(*duration),
            Self::CancelledCountsAfter(None) => to.cancelled_never_counts(),
            Self::TripOnAnyOutcome(any) => to.trip_on_any_outcome(*any),
            Self::Sharded(true) => to.sharded(),
            Self::MeasureDurations(true) => to.measure_durations(),
            Self::Shadow(true) => to.shadow(),
            Self::ResetCooldown(cooldown) => to.reset_cooldown(*cooldown),
            // These rules are off in a new builder. The TTLs are settings of the store and not of a circuit.
            Self::FailureScore(None)
            | Self::SlowCallRate(None)
            | Self::Sharded(false)
            | Self::MeasureDurations(false)
            | Self::Shadow(false)
            | Self::TtlOpen(_)
            | Self::TtlOther(_) => to,
        }
    }
}
