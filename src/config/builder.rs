//! The builder of a configuration, with the range, the default and the check of each setting.
//!
//! The file is longer than others, because each setting is a method with its documentation.

use std::sync::Arc;
use std::time::Duration;

use super::open::{LONGEST, SHORTEST};
use super::{Config, ConfigError, HealthSettings, OpenDuration, Probing, RareSettings, Recovery, Rules};
use crate::clock::{AnyClock, Clock, MonotonicClock};
use crate::event::Observer;
use crate::group::Group;
pub(crate) use crate::pattern::LONGEST_NAME;
use crate::pattern::{UNRESERVED, is_reserved};
use crate::shown::{forges, is_printable, quoted};
use crate::state::Exact;
#[cfg(feature = "keyed")]
use crate::telemetry::Label;
use crate::window::{Shape, Window};

/// Settings of a circuit that are not checked yet. Each method states the range and the default of its
/// setting.
#[derive(Debug, Clone)]
#[must_use = "settings do nothing until `build` makes a `Config` of them"]
pub struct ConfigBuilder {
    config: Config,
    slow_call_rate: Option<f64>,
    slower_than: Option<Duration>,
    ramp: Option<Duration>,
    throttle: Option<f64>,
    throttled_failure_rate: f64,
    health: HealthParts,
    group: Option<Group>,
}

/// The settings of health probes before `build` checks and combines them. The caller can set them in any order.
#[derive(Debug, Clone, Default)]
struct HealthParts {
    address: Option<String>,
    every: Option<Duration>,
    deadline: Option<Duration>,
    required: bool,
}

impl ConfigBuilder {
    pub(super) fn new(name: &str) -> Self {
        Self {
            config: Config {
                name: name.into(),
                rules: Rules {
                    failure_rate: Some(FAILURE_RATE),
                    min_calls: 20,
                    consecutive_failures: Some(5),
                    raised_at_traffic: true,
                    failure_score: None,
                    slow_call_rate: None,
                    is_throttled: false,
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
                rare: None,
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
            ramp: None,
            throttle: None,
            throttled_failure_rate: THROTTLED_FAILURE_RATE,
            health: HealthParts::default(),
            group: None,
        }
    }

    /// Trips the circuit when the weights of the failures in the window reach this share of the calls in the window.
    ///
    /// Range: more than 0, at most 1. Default: 0.4, so that timeouts alone (weight 0.5) can reach the share. The rule
    /// waits until the window has [`min_calls`](Self::min_calls) calls. With a time window, the rule also waits until
    /// the circuit has been closed for the length of one bucket of the window, but at most 1 s.
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

    /// Sets the number of calls in the window that a rate rule needs. Default: 20.
    ///
    /// Range: at least 1. With a rate rule and a call window, the number must not exceed the number of calls that the
    /// window holds.
    #[doc(alias = "minimumNumberOfCalls", alias = "MinimumThroughput")]
    pub const fn min_calls(mut self, calls: u32) -> Self {
        self.config.rules.min_calls = calls;
        self
    }

    /// Trips the circuit when the weights of the failures since the last success add up to `n`. The number of calls in
    /// the window does not matter. Range: at least 1.
    ///
    /// Default: [`consecutive_failures_raised_at_traffic(5)`](Self::consecutive_failures_raised_at_traffic).
    #[doc(alias = "failureThreshold")]
    pub const fn consecutive_failures(mut self, n: u32) -> Self {
        self.config.rules.consecutive_failures = Some(n);
        self.config.rules.raised_at_traffic = false;
        self
    }

    /// Trips the circuit when the weights of the failures since the last success add up to `n`. Once the
    /// window has [`min_calls`](Self::min_calls) calls, the limit is the larger of `n` and `min_calls`.
    /// Range: at least 1. Default: 5.
    ///
    /// The limit is raised because at 1 000 calls a second with 10 % errors, five failures in a row happen by chance.
    /// Once the window has `min_calls` calls, the rate rule detects an outage instead. Without a rate rule the limit
    /// stays `n`.
    pub const fn consecutive_failures_raised_at_traffic(mut self, n: u32) -> Self {
        self.config.rules.consecutive_failures = Some(n);
        self.config.rules.raised_at_traffic = true;
        self
    }

    /// Turns the rule of consecutive failures off.
    pub const fn without_consecutive_failures(mut self) -> Self {
        self.config.rules.consecutive_failures = None;
        self
    }

    /// Trips the circuit when the weights of the failures in the window add up to `score`. This rule is off
    /// by default.
    ///
    /// Range: more than 0. With a call window, the score must not exceed the number of calls that the window holds.
    pub const fn failure_score(mut self, score: f64) -> Self {
        self.config.rules.failure_score = Some(score);
        self
    }

    /// Trips the circuit when this share of the calls in the window took [`slower_than`](Self::slower_than) or longer.
    ///
    /// Range: more than 0, at most 1. This rule is off by default, because each call must then read the precise clock.
    /// A call that takes nearly as long as `slower_than`, or longer, reads the precise clock twice. Like
    /// [`failure_rate`](Self::failure_rate), the rule waits until the window has enough calls.
    ///
    /// A call counts as slow once it has been under way for `slower_than`, even before its end. Therefore a service
    /// that hangs can open the circuit before the first timeout. Such a hanging call counts for the length of the
    /// window (10 s if the window counts calls), but no longer than until the call ends or the circuit changes its
    /// state. In a time window, successes before the outage count for the length of the window. At constant traffic,
    /// the circuit opens about `slower_than + rate × (window − slower_than)` after the outage has begun, where `rate`
    /// is the share that this method sets. In a call window, the hanging calls replace the oldest calls.
    ///
    /// A call that lasts longer than `slower_than` plus the length of the window, such as a long poll, counts twice.
    /// The call counts first for the length of the window after the call has become slow, and then again when the call
    /// ends. If a share `s` of the calls of a healthy service takes longer than `slower_than`, and these calls may
    /// count twice, choose a rate above `2s ÷ (1 + s)`, or give such calls a circuit of their own.
    ///
    /// The first call in each interval checks for hanging calls. The interval lasts a tenth of `slower_than` or a
    /// hundredth of the window, whichever is longer, and at least 1 ms. [`status`](crate::Circuit::status),
    /// [`refresh_metrics`](crate::Circuit::refresh_metrics) and the runner of a health probe check for hanging calls
    /// too. The task of a registry with a store checks once a second. A permit that is leaked counts as a hanging call,
    /// and so does a call of a layer whose future is not polled. A call whose body is tracked counts as hanging only
    /// until its response comes. The rule costs one more atomic exchange at the start and at the end of each call.
    ///
    /// While the rule is on, a probe that takes `slower_than` or longer fails.
    #[doc(alias = "slowCallRateThreshold")]
    pub const fn slow_call_rate(mut self, rate: f64) -> Self {
        self.slow_call_rate = Some(rate);
        self
    }

    /// Sets the duration from which a call is slow. Range: 1 ms to 365 days. Needs
    /// [`slow_call_rate`](Self::slow_call_rate).
    #[doc(alias = "slowCallDurationThreshold")]
    pub const fn slower_than(mut self, duration: Duration) -> Self {
        self.slower_than = Some(duration);
        self
    }

    /// Rejects a share of the calls, instead of all calls, while the service accepts less than one in `k` requests.
    /// This setting is off by default.
    ///
    /// The throttle rejects the share `(requests - k × accepts) ÷ (requests + 1)` of the calls, if this share is more
    /// than 0. The reason is [`RejectReason::Throttled`](crate::RejectReason::Throttled). `requests` and `accepts` are
    /// counted in the window. The requests are the admitted calls and the calls that the throttle rejected. The accepts
    /// are the admitted calls that did not fail. The weight of a failure does not matter. No rule counts the rejections
    /// of the throttle as failures. The share is 0 until the window has [`min_calls`](Self::min_calls) requests. So an
    /// overloaded service gets at most `k` times the calls that it accepts. At the usual `k` of 2, no call is rejected
    /// if the service answers 60 % of the calls. The formula comes from Google's *Site Reliability Engineering*,
    /// chapter "Handling Overload".
    ///
    /// Range of `k`: 1.1 to 100, usually 2. With a higher `k`, the circuit rejects fewer calls and detects the recovery
    /// earlier. Needs a time window.
    ///
    /// While the throttle is on, the failure rate opens the circuit only at
    /// [`throttled_failure_rate`](Self::throttled_failure_rate). The other rules, such as failures in a row, open the
    /// circuit as always, so that a dead service gets no calls.
    ///
    /// The throttle does not reject a caller that waits for admission, see [`ramp`](Self::ramp). Each instance of a
    /// fleet throttles by its own calls.
    #[doc(alias = "adaptive throttling", alias = "client-side throttling")]
    pub const fn throttle(mut self, k: f64) -> Self {
        self.throttle = Some(k);
        self
    }

    /// Sets the share of failed calls that opens the circuit while a [`throttle`](Self::throttle) is set. The share is
    /// ignored if [`failure_rate`](Self::failure_rate) is higher or off.
    ///
    /// Range: more than 0, at most 1. Default: 0.95, which timeouts alone never reach, because each timeout weighs 0.5.
    /// Without [`throttle`](Self::throttle) this setting has no effect.
    pub const fn throttled_failure_rate(mut self, rate: f64) -> Self {
        self.throttled_failure_rate = rate;
        self
    }

    /// Sets the window, which contains the calls that the rules judge. The window holds either the last calls or the
    /// calls of the last seconds. Default: `Window::time` of 10 s.
    #[doc(alias = "SamplingDuration")]
    pub const fn window(mut self, window: Window) -> Self {
        self.config.window = window;
        self
    }

    /// Sets the open duration. Default: 5 s, doubling to 60 s, with a jitter of 10 %.
    #[doc(alias = "waitDurationInOpenState", alias = "BreakDuration")]
    pub fn open_for(mut self, open: OpenDuration) -> Self {
        self.config.open = open;
        self
    }

    /// Sets the way in which an open circuit returns to closed. Default: [`Recovery::Automatic`].
    pub const fn recovery(mut self, recovery: Recovery) -> Self {
        self.config.recovery = recovery;
        self
    }

    /// Sets the number of probes that must succeed to close the circuit. Range: 1 to 10 000. Default: 3.
    #[doc(alias = "successThreshold", alias = "permittedNumberOfCallsInHalfOpenState")]
    pub const fn probes(mut self, successes: u32) -> Self {
        self.config.probes.successes = successes;
        self
    }

    /// Sets the number of probes that can be under way at the same time. Range: 1 to 1 000. Default: 1.
    ///
    /// A half-open circuit admits only as many probes as the decision to close or to reopen needs, which is at most the
    /// sum of `probes` and the tolerated failures. After a probe has ended without a verdict, one more probe than
    /// `probes_in_flight` can be under way. The reason is hedged calls, which send two requests and cancel the slower
    /// one. If only the first request can be a probe, the circuit rejects the second request, this rejection is the
    /// first answer, and the hedge cancels the probe. This probe ends without a verdict. In the next hedged call, both
    /// requests can be probes.
    pub const fn probes_in_flight(mut self, probes: u32) -> Self {
        self.config.probes.in_flight = probes;
        self
    }

    /// Sets the number of probes that may fail without reopening the circuit. Range: 0 to 10 000. Default: 0, so that
    /// the first failure reopens the circuit. A failure that [`trips_at_once`](crate::Failure::trips_at_once) is never
    /// tolerated.
    ///
    /// In a fleet, the number limits the failed probes of all instances together, in each half-open phase. After a
    /// fleet has been half-open for `quiet_after`, the fleet tolerates no failure.
    pub const fn probe_failures_tolerated(mut self, failures: u32) -> Self {
        self.config.probes.failures_tolerated = failures;
        self
    }

    /// Sets the time after which a probe gives its slot to another call. Range: 1 ms to 365 days. Default: 30 s.
    ///
    /// A probe that is overdue does not count as a failure. The later result of the probe still counts while the
    /// circuit is half-open, so that a service whose calls take longer than the deadline recovers too. If a probe is
    /// overdue, and the circuit has been half-open for twice the deadline without a success, the circuit opens again.
    /// Each such opening doubles the time for which the circuit next stays half-open, up to 64 times the deadline. A
    /// closing, or an opening because a probe failed, resets this time to twice the deadline. Therefore a service whose
    /// calls take longer than 64 deadlines, which is 32 minutes by default, never recovers. Set a longer deadline for
    /// such calls.
    ///
    /// A circuit that has been half-open for `probe_deadline` closes if three probes in a row have ended without a
    /// verdict, because their callers give up early or the classifier ignores their results. This rule holds only while
    /// no probe succeeds, fails or is overdue. The circuit closes and does not open, because a closed circuit can judge
    /// by more calls. The circuit closes before `probe_deadline` if a closed circuit would have counted these probes as
    /// failures with a total weight of 1.5 or more, as with three dropped permits. Such probes free their slots at
    /// once. Without the early closing, almost every call would reach the service until `probe_deadline`. A closed
    /// circuit counts such failures, and can open again.
    ///
    /// A circuit that closed without a verdict opens again if failures with a total weight of 0.5 or more come before
    /// the first success. This limit is checked before the rules. The circuit then opens for the next longer open
    /// duration.
    pub const fn probe_deadline(mut self, deadline: Duration) -> Self {
        self.config.probes.deadline = deadline;
        self
    }

    /// Sets the time in the half-open state after which one success closes the circuit if no probe has failed. With
    /// this setting, a circuit that has too few calls for all [`probes`](Self::probes) can close. Range: 1 ms to 365
    /// days. Default: 60 s.
    pub const fn quiet_after(mut self, duration: Duration) -> Self {
        self.config.probes.quiet_after = duration;
        self
    }

    /// Sets the duration of the ramp, which is the time after a closing in which the circuit admits only a share of the
    /// calls. The share grows linearly to all calls, and is a tenth at least. Without a ramp, all calls at once could
    /// overload a service that has just recovered.
    ///
    /// Range: 0 to 1 h, where 0 means no ramp. Default: no ramp if this instance alone decides to close, and 10 s if a
    /// fleet (`Sharing::Quorum` or `Sharing::Follow`) decides to close, because all instances of the fleet close at the
    /// same moment.
    ///
    /// A call that is not admitted is rejected with [`RejectReason::Ramp`](crate::RejectReason::Ramp), and its
    /// `retry_after` is the rest of the ramp, at most 1 s. At a constant rate of calls, 49.5 % of the calls during a
    /// ramp are rejected. While the ramp lasts, `min_calls` and `consecutive_failures` are a quarter of the configured
    /// values, rounded up and at least 2, so that the circuit opens early if the service fails again. The reason is
    /// then [`Reason::Relapsed`](crate::Reason::Relapsed).
    ///
    /// A ramp follows each closing by probes or by a fleet. A reset by an operator has no ramp. The ramp does not
    /// reject a caller that waits for admission, as in [`Circuit::acquire`](crate::Circuit::acquire) and in a service
    /// with [`WhenOpen::Pend`](crate::WhenOpen::Pend). For such a caller, only the lower `min_calls` and
    /// `consecutive_failures` matter.
    #[doc(alias = "slowStart", alias = "slow_start")]
    pub const fn ramp(mut self, ramp: Duration) -> Self {
        self.ramp = Some(ramp);
        self
    }

    /// Sets the address at which the service reports its health, `http://HOST[:PORT]/PATH` or
    /// `grpc://HOST:PORT[/SERVICE]` (`grpc.health.v1.Health/Check`). Default: no address. Needs the feature `health`.
    ///
    /// The task of a registry with a store checks the address while the circuit is not closed. The first success makes
    /// an open circuit half-open. Without such a task, spawn [`Circuit::health_probe`](crate::Circuit::health_probe).
    /// The status 2xx and `SERVING` are successes. Redirects are not followed.
    ///
    /// Range: up to 1000 visible ASCII characters, without TLS and without credentials. For another check, use
    /// [`Circuit::probe_with`](crate::Circuit::probe_with).
    pub fn health(mut self, address: &str) -> Self {
        self.health.address = Some(address.to_owned());
        self
    }

    /// Sets the interval from the end of a check of [`health`](Self::health) to the beginning of the next check. The
    /// first check begins one interval after the circuit has opened. Each interval varies by up to 20 %. The instances
    /// of a fleet wait longer, so that the fleet makes about one check in each interval. Range: 10 ms to 1 h. Default:
    /// 1 s. Needs [`health`](Self::health).
    pub const fn health_every(mut self, every: Duration) -> Self {
        self.health.every = Some(every);
        self
    }

    /// Sets the longest duration of a check of [`health`](Self::health). A check that takes longer fails. Range: 1 ms
    /// to 60 s. Default: 1 s. Needs [`health`](Self::health).
    pub const fn health_deadline(mut self, deadline: Duration) -> Self {
        self.health.deadline = Some(deadline);
        self
    }

    /// Sets whether a check of [`health`](Self::health) must succeed after an opening, before the circuit admits calls
    /// as probes. [`HealthProbe::required`](crate::health::HealthProbe::required) describes the limits of this setting.
    /// Default: `false`. Needs [`health`](Self::health).
    pub const fn health_required(mut self, required: bool) -> Self {
        self.health.required = required;
        self
    }

    /// Puts the circuits of this configuration into a group, of which only a share may be open at the same time.
    /// Default: no group.
    ///
    /// Two circuits of one configuration are two members of the group. A circuit that meets a rule stays closed while
    /// the largest allowed share of its group is open or half-open. This holds for every automatic opening, even for a
    /// failure that [trips at once](crate::Failure::trips_at_once) and has a `retry_after`. Therefore do not put a
    /// circuit into a group if its service must get no calls during its `Retry-After`. See [`Group`].
    pub fn group(mut self, group: &Group) -> Self {
        self.group = Some(group.clone());
        self
    }

    /// Sets the time after which a dropped call counts as a failure of weight 0.5. The time begins with the call.
    /// Default: 1 s.
    ///
    /// Range: 0 to 365 days. Choose a shorter time than every timeout outside the breaker. Otherwise such a timeout
    /// drops every hanging call before a drop counts as a failure. If the caller set a shorter deadline for the call
    /// itself, the failure weighs in proportion to the time that the call waited, see
    /// [`Failure::deadline`](crate::Failure::deadline).
    pub const fn cancelled_counts_after(mut self, duration: Duration) -> Self {
        self.config.cancelled_counts_after = Some(duration);
        self
    }

    /// Never counts a dropped call, and never counts an exceeded deadline that the caller had set for the call itself.
    /// Only a timeout inside the breaker then detects a service that hangs.
    pub const fn cancelled_never_counts(mut self) -> Self {
        self.config.cancelled_counts_after = None;
        self
    }

    /// Lets a success trip the circuit too, if a rule is met after the success. Default: `false`, so that only a
    /// failure trips the circuit.
    pub const fn trip_on_any_outcome(mut self, any: bool) -> Self {
        self.config.trip_on_any_outcome = any;
        self
    }

    /// Spreads the counts of the circuit over the threads from the start. By default a circuit is spread once threads
    /// have updated its shared counts 256 times within a second.
    ///
    /// In a spread circuit, some threads of the process have counts of their own. The number of these threads is the
    /// number of cores plus one, but at least 3 and at most 33. The first threads that call a spread circuit get counts
    /// of their own, and keep them until the thread ends. All other threads share the window, and wait for each other.
    /// A spread circuit makes the same decisions as other circuits. With the default rules and window, a spread circuit
    /// takes up to 4 KiB on 8 cores. The counts of a call window are never spread.
    pub const fn sharded(mut self) -> Self {
        self.config.sharded = true;
        self
    }

    /// Measures the duration of each call, for `circuit_breaker_call_duration_seconds`. This setting is off by default,
    /// because each call must then read the precise clock twice.
    pub const fn measure_durations(mut self) -> Self {
        self.config.durations = true;
        self
    }

    /// Sets the time for which a registry refuses to reset the circuit after the circuit has left the closed state, or
    /// after an operator has tripped the circuit. An early reset would send calls to a service that is still down.
    /// [`Order::force`](crate::operation::Order::force) resets the circuit nevertheless.
    ///
    /// A return from half-open to open does not restart this time. Range: up to 365 days, where zero means no cooldown.
    /// Default: 60 s.
    pub const fn reset_cooldown(mut self, cooldown: Duration) -> Self {
        self.config.reset_cooldown = cooldown;
        self
    }

    /// Starts the circuit in shadow mode. The circuit changes its state as always, but every call goes through, and the
    /// circuit counts the calls that it would have rejected.
    pub const fn shadow(mut self) -> Self {
        self.config.shadow = true;
        self
    }

    /// Sets the seed of the random numbers for the jitter, the ramp and the throttle, for tests. Default: a random seed
    /// for each circuit.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.config.seed = Some(seed);
        self
    }

    /// Sets the clock. Default: [`MonotonicClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.config.clock = AnyClock::Other(Arc::new(clock));
        self
    }

    /// Adds an observer, which receives the events of the circuit.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.config.observers.push(Arc::new(observer));
        self
    }

    /// Creates the circuit without the observers that the features `metrics` and `tracing` add by default.
    pub const fn without_shipped_observers(mut self) -> Self {
        self.config.shipped_observers = false;
        self
    }

    /// Replaces the name of the circuit, and sets its label in metrics. Only keyed circuits need this function.
    #[cfg(feature = "keyed")]
    pub(crate) fn named(mut self, name: &str, label: Arc<Label>) -> Self {
        (self.config.name, self.config.label) = (name.into(), Some(label));
        self
    }

    /// Returns the configuration if every setting is allowed.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first setting that can never work, with its value and the allowed range.
    pub fn build(mut self) -> Result<Config, ConfigError> {
        check_name(&self.config.name)?;
        if is_reserved(&self.config.name) {
            return Err(ConfigError::new("name", format_args!("\"{}\"", quoted(&self.config.name)), UNRESERVED));
        }
        self.config.rules.slow_call_rate = self.slow_rule()?;
        self.config.rare = self.rare()?;
        self.throttle_rules();
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

    fn rare(&self) -> Result<Option<Box<RareSettings>>, ConfigError> {
        let Self { ramp, throttle, throttled_failure_rate: rate, .. } = *self;
        if let Some(ramp) = ramp.filter(|ramp| *ramp > LONGEST_RAMP) {
            return Err(ConfigError::new("ramp", Exact(ramp), "0 to 1 hour"));
        }
        if !(rate > 0.0 && rate <= 1.0) {
            return Err(ConfigError::new("throttled_failure_rate", rate, "more than 0 and at most 1"));
        }
        if let Some(k) = throttle {
            if !(1.1..=100.0).contains(&k) {
                return Err(ConfigError::new("throttle", k, "1.1 to 100"));
            }
            if let Shape::Calls { .. } = self.config.window.0 {
                return Err(ConfigError::new("window", "a number of calls", "a time, beside throttle"));
            }
        }
        let health = self.health_settings()?;
        let group = self.group.clone();
        if let Some(group) = &group {
            check_group(group)?;
        }
        let is_set = ramp.is_some() || throttle.is_some() || health.is_some() || group.is_some();
        Ok(is_set.then(|| Box::new(RareSettings { ramp, throttle, health, group })))
    }

    /// Raises the limit of the failure rate of a throttled circuit to `throttled_failure_rate`. If a service fails only
    /// some of its calls, the throttle already reduces the load, so the circuit need not open.
    fn throttle_rules(&mut self) {
        let Rules { failure_rate, is_throttled, .. } = &mut self.config.rules;
        *is_throttled = self.throttle.is_some();
        // An impossible rate stays unchanged, so that `check_rules` refuses the rate.
        if let (true, Some(rate)) = (*is_throttled, failure_rate)
            && *rate > 0.0
            && *rate < self.throttled_failure_rate
        {
            *rate = self.throttled_failure_rate;
        }
    }

    fn health_settings(&self) -> Result<Option<HealthSettings>, ConfigError> {
        let HealthParts { address, every, deadline, required } = &self.health;
        let Some(address) = address.clone() else {
            return if every.is_some() || deadline.is_some() || *required {
                Err(ConfigError::new("health", "not set", "an address, beside the other settings of health probes"))
            } else {
                Ok(None)
            };
        };
        let (every, deadline) = (every.unwrap_or(HEALTH_EVERY), deadline.unwrap_or(HEALTH_DEADLINE));
        let settings = HealthSettings { address, every, deadline, required: *required };
        settings.check()?;
        Ok(Some(settings))
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

pub(crate) fn check_name(name: &str) -> Result<(), ConfigError> {
    if name.chars().all(is_printable) && (1..=LONGEST_NAME).contains(&name.len()) {
        return Ok(());
    }
    let value = format!("\"{}\" ({} bytes)", quoted(name), name.len());
    Err(ConfigError::new("name", value, "1 to 200 bytes of printable text without spaces"))
}

fn check_group(group: &Group) -> Result<(), ConfigError> {
    let name = group.name();
    let is_shown = name.chars().all(|c| !forges(c)) && name.chars().any(is_printable);
    if !is_shown || name.len() > LONGEST_NAME {
        let value = format!("\"{}\" ({} bytes)", quoted(name), name.len());
        return Err(ConfigError::new("group", value, "1 to 200 bytes of printable text"));
    }
    check_share("at_most_open", group.share())
}

/// Checks that a share of circuits is more than 0 and at most 1.
pub(crate) fn check_share(field: &'static str, share: f64) -> Result<(), ConfigError> {
    if share > 0.0 && share <= 1.0 { Ok(()) } else { Err(ConfigError::new(field, share, "more than 0 and at most 1")) }
}

fn check_rules(rules: &Rules, window: Window) -> Result<(), ConfigError> {
    match window.0 {
        Shape::Time { length, buckets } => {
            if !(Duration::from_millis(100)..=Duration::from_secs(24 * 3600)).contains(&length) {
                return Err(ConfigError::new("window", Exact(length), "100 ms to 24 hours"));
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
        Err(ConfigError::new(field, Exact(value), format!("{} to 365 days", Exact(least))))
    }
}

/// The default limit of the failure rate while a throttle is set.
const THROTTLED_FAILURE_RATE: f64 = 0.95;

/// The longest duration that the user can set for a ramp.
const LONGEST_RAMP: Duration = Duration::from_secs(3600);

/// The default time for which a registry refuses a reset after the circuit has opened.
pub(crate) const RESET_COOLDOWN: Duration = Duration::from_secs(60);

/// The default time between two checks of a health address.
const HEALTH_EVERY: Duration = Duration::from_secs(1);
/// The default deadline of a check of a health address.
pub(crate) const HEALTH_DEADLINE: Duration = Duration::from_secs(1);

/// The default limit for the share of failed calls. [`Rules::rate_limit`] returns this limit, too, if the rule is off.
pub(super) const FAILURE_RATE: f64 = 0.4;
