//! The builder of a configuration, and the checks that make it one.
//!
//! Long, as each setting is a method with its range and its default.

use std::sync::Arc;
use std::time::Duration;

use super::open::{LONGEST, SHORTEST};
use super::{Config, ConfigError, OpenDuration, Probing, Recovery, Rules};
use crate::clock::{AnyClock, Clock, MonotonicClock};
use crate::event::Observer;
use crate::window::{Shape, Window};

/// Settings of a circuit that are not checked yet. Each method says its range and default.
#[derive(Debug, Clone)]
#[must_use = "settings do nothing until `build` makes a `Config` of them"]
pub struct ConfigBuilder {
    config: Config,
    slow_call_rate: Option<f64>,
    slower_than: Option<Duration>,
}

impl ConfigBuilder {
    pub(super) fn new(name: &str) -> Self {
        Self {
            config: Config {
                name: name.into(),
                rules: Rules {
                    failure_rate: Some(0.4),
                    min_calls: 20,
                    consecutive_failures: Some(5),
                    always: false,
                    failure_score: None,
                    slow_call_rate: None,
                },
                window: Window::default(),
                open: OpenDuration::default(),
                recovery: Recovery::Automatic,
                probes: Probing {
                    successes: 3,
                    in_flight: 1,
                    failures_tolerated: 0,
                    deadline: Duration::from_secs(30),
                    quiet_after: Duration::from_secs(60),
                },
                cancelled_counts_after: Some(Duration::from_secs(1)),
                trip_on_any_outcome: false,
                sharded: false,
                durations: false,
                shadow: false,
                reset_cooldown: RESET_COOLDOWN,
                seed: None,
                clock: AnyClock::Monotonic(MonotonicClock::new()),
                observers: Vec::new(),
                shipped_observers: true,
                label: None,
            },
            slow_call_rate: None,
            slower_than: None,
        }
    }

    /// Trips when the weights of the failures in the window sum up to that share of its calls, or more.
    ///
    /// Range: more than 0, at most 1. Default: 0.4, so that timeouts alone (weight 0.5) can reach it. It waits for
    /// [`min_calls`](Self::min_calls), and with a time window for the first bucket of an era to be over.
    #[doc(alias = "failureRateThreshold")]
    pub const fn failure_rate(mut self, rate: f64) -> Self {
        self.config.rules.failure_rate = Some(rate);
        self
    }

    /// Turns the failure rate rule off.
    pub const fn without_failure_rate(mut self) -> Self {
        self.config.rules.failure_rate = None;
        self
    }

    /// Sets how many calls must be in the window before a rate means anything. Default: 20.
    ///
    /// Range: at least 1; beside a rate rule, at most the calls that a call window holds.
    #[doc(alias = "minimumNumberOfCalls", alias = "MinimumThroughput")]
    pub const fn min_calls(mut self, calls: u32) -> Self {
        self.config.rules.min_calls = calls;
        self
    }

    /// Trips when the weights of the failures since the last success sum up to `n`. At least 1; default 5.
    ///
    /// Beside a rate rule, once the window holds [`min_calls`](Self::min_calls), the run must reach the larger of `n` and
    /// `min_calls`: at 1 000 calls a second, five failures in a row are chance. [`always`](Self::always) lifts that.
    pub const fn consecutive_failures(mut self, n: u32) -> Self {
        self.config.rules.consecutive_failures = Some(n);
        self
    }

    /// Lets [`consecutive_failures`](Self::consecutive_failures) trip at `n` at any traffic, beside a rate rule too.
    pub const fn always(mut self) -> Self {
        self.config.rules.always = true;
        self
    }

    /// Turns the rule of consecutive failures off.
    pub const fn without_consecutive_failures(mut self) -> Self {
        self.config.rules.consecutive_failures = None;
        self
    }

    /// Trips when the weights of the failures in the window sum up to `score`. Off by default.
    ///
    /// Range: more than 0, at most the calls that a call window holds.
    pub const fn failure_score(mut self, score: f64) -> Self {
        self.config.rules.failure_score = Some(score);
        self
    }

    /// Trips when that share of the calls in the window took [`slower_than`](Self::slower_than) or longer.
    ///
    /// Range: more than 0, at most 1. Off by default: it costs a call a reading of the precise clock, and a second one if the
    /// call took nearly as long as `slower_than`, or longer.
    #[doc(alias = "slowCallRateThreshold")]
    pub const fn slow_call_rate(mut self, rate: f64) -> Self {
        self.slow_call_rate = Some(rate);
        self
    }

    /// Sets how long a slow call takes. Range: 1 ms to 365 days; goes with [`slow_call_rate`](Self::slow_call_rate).
    #[doc(alias = "slowCallDurationThreshold")]
    pub const fn slower_than(mut self, duration: Duration) -> Self {
        self.slower_than = Some(duration);
        self
    }

    /// Sets which calls the rules look at. Default: `Window::time` of 10 s.
    #[doc(alias = "SamplingDuration")]
    pub const fn window(mut self, window: Window) -> Self {
        self.config.window = window;
        self
    }

    /// Sets how long the circuit stays open. Default: 5 s, doubling to 60 s, with a jitter of 10 %.
    #[doc(alias = "waitDurationInOpenState", alias = "BreakDuration")]
    pub fn open_for(mut self, open: OpenDuration) -> Self {
        self.config.open = open;
        self
    }

    /// Sets who ends an opening. Default: the circuit itself.
    pub const fn recovery(mut self, recovery: Recovery) -> Self {
        self.config.recovery = recovery;
        self
    }

    /// Sets how many probes must succeed to close. Range: 1 to 10 000; default 3.
    #[doc(alias = "successThreshold", alias = "permittedNumberOfCallsInHalfOpenState")]
    pub const fn probes(mut self, successes: u32) -> Self {
        self.config.probes.successes = successes;
        self
    }

    /// Sets how many probes may be under way at once. Range: 1 to 1 000; default 1.
    pub const fn probes_in_flight(mut self, probes: u32) -> Self {
        self.config.probes.in_flight = probes;
        self
    }

    /// Sets how many probes may fail before the circuit reopens. Range: 0 to 10 000; default 0, the first one reopens it.
    pub const fn probe_failures_tolerated(mut self, failures: u32) -> Self {
        self.config.probes.failures_tolerated = failures;
        self
    }

    /// Sets how long a probe may take, before it counts as failed and reopens. Range: 1 ms to 365 days; default 30 s.
    ///
    /// A circuit that has been half-open for as long without one success reopens as well.
    pub const fn probe_deadline(mut self, deadline: Duration) -> Self {
        self.config.probes.deadline = deadline;
        self
    }

    /// Sets after how long half-open a success suffices, if no probe failed: for services too quiet to fill the probes.
    /// Range: 1 ms to 365 days; default 60 s.
    pub const fn quiet_after(mut self, duration: Duration) -> Self {
        self.config.probes.quiet_after = duration;
        self
    }

    /// Counts a call that is dropped this long after it began as a failure of weight 0.5. Default: 1 s.
    ///
    /// Range: 0 to 365 days. Keep it below every timeout outside the breaker, or those hide every hang from it. A shorter
    /// deadline that the caller set for the call itself weighs in proportion, see [`Failure::deadline`](crate::Failure::deadline).
    pub const fn cancelled_counts_after(mut self, duration: Duration) -> Self {
        self.config.cancelled_counts_after = Some(duration);
        self
    }

    /// Never counts a dropped call, nor a deadline that the caller set for the call itself. A service that hangs is then only seen by a timeout inside the breaker.
    pub const fn cancelled_never_counts(mut self) -> Self {
        self.config.cancelled_counts_after = None;
        self
    }

    /// Lets a success trip the circuit too, if it completes the evidence. Default: `false`, the next failure will.
    pub const fn trip_on_any_outcome(mut self, any: bool) -> Self {
        self.config.trip_on_any_outcome = any;
        self
    }

    /// Spreads the circuit over the threads from the start. Default: a circuit is spread once several threads call it often, which is
    /// 256 times within a second, twice in a row.
    ///
    /// In circuits that are spread, as many threads of the process have counts of their own as the machine has cores, and one more, 33
    /// at most. These are the first threads that called any circuit that is spread, each until it ends. All other threads share the
    /// window, at the cost of waiting for each other. The decisions are the same either way. With the default rules and window, a
    /// circuit that is spread takes up to 4 KiB on 8 cores. A call window stays shared.
    pub const fn sharded(mut self) -> Self {
        self.config.sharded = true;
        self
    }

    /// Measures how long each call took, for `circuit_breaker_call_duration_seconds`. Off by default: it costs a call two
    /// readings of the precise clock.
    pub const fn measure_durations(mut self) -> Self {
        self.config.durations = true;
        self
    }

    /// Sets for how long after the circuit left closed, or was tripped by hand, a registry refuses to reset it: whoever resets
    /// too early sends the calls back to a service that is down. [`Order::force`](crate::operation::Order::force) skips it.
    ///
    /// It counts once, not from each reopening. Range: up to 365 days; zero never refuses. Default: 60 s.
    pub const fn reset_cooldown(mut self, cooldown: Duration) -> Self {
        self.config.reset_cooldown = cooldown;
        self
    }

    /// Starts in shadow: the circuit changes as it would, but every call goes through, and what would have been rejected is
    /// counted.
    pub const fn shadow(mut self) -> Self {
        self.config.shadow = true;
        self
    }

    /// Fixes the jitter, for tests. Default: another seed in each process.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.config.seed = Some(seed);
        self
    }

    /// Sets the clock. Default: [`MonotonicClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.config.clock = AnyClock::Other(Arc::new(clock));
        self
    }

    /// Adds an observer.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.config.observers.push(Arc::new(observer));
        self
    }

    /// Leaves out the observers that the features `metrics` and `tracing` bring.
    pub const fn without_shipped_observers(mut self) -> Self {
        self.config.shipped_observers = false;
        self
    }

    /// Sets the name, whatever it was, and what metrics call it.
    #[cfg(feature = "keyed")]
    pub(crate) fn named(mut self, name: &str, label: Option<Arc<str>>) -> Self {
        (self.config.name, self.config.label) = (name.into(), label);
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first field that can never work, its value and what is allowed.
    pub fn build(mut self) -> Result<Config, ConfigError> {
        check_name(&self.config.name)?;
        self.config.rules.slow_call_rate = self.slow_rule()?;
        let Config { rules, window, open, probes, .. } = &self.config;
        check_rules(rules, *window)?;
        if let Some((field, value, allowed)) = open.fault() {
            return Err(ConfigError::new(field, value, allowed));
        }
        check_count("probes", probes.successes, 1, 10_000)?;
        check_count("probes_in_flight", probes.in_flight, 1, 1_000)?;
        check_count("probe_failures_tolerated", probes.failures_tolerated, 0, 10_000)?;
        check_duration("probe_deadline", probes.deadline, SHORTEST)?;
        check_duration("quiet_after", probes.quiet_after, SHORTEST)?;
        check_duration("reset_cooldown", self.config.reset_cooldown, Duration::ZERO)?;
        if let Some(duration) = self.config.cancelled_counts_after {
            check_duration("cancelled_counts_after", duration, Duration::ZERO)?;
        }
        Ok(self.config)
    }

    fn slow_rule(&self) -> Result<Option<(f64, Duration)>, ConfigError> {
        match (self.slow_call_rate, self.slower_than) {
            (None, None) => Ok(None),
            (Some(rate), Some(slower_than)) => {
                check_duration("slower_than", slower_than, SHORTEST)?;
                Ok(Some((rate, slower_than)))
            }
            (Some(_), None) => Err(ConfigError::new("slower_than", "not set", "a duration, beside slow_call_rate")),
            (None, Some(_)) => Err(ConfigError::new("slow_call_rate", "not set", "a rate, beside slower_than")),
        }
    }
}

fn check_name(name: &str) -> Result<(), ConfigError> {
    if name.chars().all(is_printable) && (1..=LONGEST_NAME).contains(&name.len()) {
        return Ok(());
    }
    let shown: String = name.chars().take(40).collect();
    let value = format!("{shown:?} ({} bytes)", name.len());
    Err(ConfigError::new("name", value, "1 to 200 bytes of printable text without spaces"))
}

/// Whether a name may contain that character.
pub(crate) fn is_printable(c: char) -> bool {
    !c.is_control() && !c.is_whitespace() && !is_hidden(c)
}

/// Whether a character takes no room or turns the text around: two names that look the same must be the same.
const fn is_hidden(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn check_rules(rules: &Rules, window: Window) -> Result<(), ConfigError> {
    match window.0 {
        Shape::Time { length, buckets } => {
            if !(Duration::from_millis(100)..=Duration::from_secs(24 * 3600)).contains(&length) {
                return Err(ConfigError::new("window", format!("{length:?}"), "100ms to 24 hours"));
            }
            check_count("window.buckets", buckets, 2, 60)?;
        }
        Shape::Calls { calls } => check_count("window.calls", calls, 1, 1 << 24)?,
    }
    for (field, rate) in
        [("failure_rate", rules.failure_rate), ("slow_call_rate", rules.slow_call_rate.map(|rule| rule.0))]
    {
        if rate.is_some_and(|rate| !(rate > 0.0 && rate <= 1.0)) {
            return Err(ConfigError::new(field, rate.unwrap_or_default(), "more than 0 and at most 1"));
        }
    }
    let most = match window.0 {
        Shape::Time { .. } => u32::MAX,
        Shape::Calls { calls } => calls,
    };
    check_count("min_calls", rules.min_calls, 1, if rules.has_rate() { most } else { u32::MAX })?;
    if let Some(n) = rules.consecutive_failures {
        check_count("consecutive_failures", n, 1, u32::MAX)?;
    }
    match rules.failure_score {
        Some(score) if !(score > 0.0 && score <= f64::from(most)) => {
            Err(ConfigError::new("failure_score", score, format!("more than 0 and at most {most}")))
        }
        _ => Ok(()),
    }
}

fn check_count(field: &'static str, value: u32, least: u32, most: u32) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::new(field, value, format!("{least} to {most}")))
    }
}

fn check_duration(field: &'static str, value: Duration, least: Duration) -> Result<(), ConfigError> {
    if (least..=LONGEST).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::new(field, format!("{value:?}"), format!("{least:?} to 365 days")))
    }
}

pub(crate) const RESET_COOLDOWN: Duration = Duration::from_secs(60);
/// In bytes.
pub(crate) const LONGEST_NAME: usize = 200;
