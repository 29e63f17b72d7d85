//! The settings of a circuit, such as its rules, window and open duration, which are checked when the configuration is
//! built.
//!
//! Every [`Config`] is usable, because [`ConfigBuilder::build`] refuses settings that can never work. The error names
//! the field, its value and the allowed range. A configuration also contains the clock and the observers of its
//! circuit. [`Config::explain`] describes the effect of the settings in sentences. The module `circuit` makes the
//! decisions.

mod builder;
mod explain;
mod health;
mod open;
mod spelling;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::AnyClock;
use crate::event::Observer;
use crate::group::Group;
use crate::state::Mode;
use crate::telemetry::Label;
pub use crate::window::Window;
pub use builder::ConfigBuilder;
use builder::FAILURE_RATE;
pub(crate) use builder::HEALTH_DEADLINE;
#[cfg(any(feature = "keyed", feature = "settings", feature = "store"))]
pub(crate) use builder::LONGEST_NAME;
#[cfg(feature = "keyed")]
pub(crate) use builder::check_share;
#[cfg(feature = "store")]
pub(crate) use builder::{RESET_COOLDOWN, check_name};
#[cfg(feature = "health")]
pub(crate) use health::{HealthAddress, Protocol};
pub(crate) use health::{HealthSettings, check_times};
pub(crate) use open::LONGEST_RETRY_AFTER;
pub use open::{OpenDuration, Recovery};

/// The checked settings of one circuit.
#[derive(Clone)]
pub struct Config {
    pub(crate) name: Arc<str>,
    pub(crate) rules: Rules,
    pub(crate) window: Window,
    pub(crate) open: OpenDuration,
    pub(crate) recovery: Recovery,
    pub(crate) probes: Probing,
    /// The settings that few circuits have. `None` if the circuit has no such setting.
    pub(crate) rare: Option<Box<RareSettings>>,
    pub(crate) cancelled_counts_after: Option<Duration>,
    pub(crate) trip_on_any_outcome: bool,
    pub(crate) sharded: bool,
    pub(crate) durations: bool,
    pub(crate) shadow: bool,
    pub(crate) reset_cooldown: Duration,
    pub(crate) seed: Option<u64>,
    pub(crate) clock: AnyClock,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
    pub(crate) shipped_observers: bool,
    /// The label of a keyed circuit in metrics. `None` if the circuit has no key, so that the label is the name of the
    /// circuit.
    pub(crate) label: Option<Arc<Label>>,
}

/// The rules by which a closed circuit trips. A circuit trips as soon as one of its rules is met.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rules {
    pub(crate) failure_rate: Option<f64>,
    pub(crate) min_calls: u32,
    pub(crate) consecutive_failures: Option<u32>,
    /// True if the limit of failures in a row rises to `min_calls` once the window holds `min_calls` calls.
    /// Without a rate rule the limit never rises.
    pub(crate) raised_at_traffic: bool,
    pub(crate) failure_score: Option<f64>,
    pub(crate) slow_call_rate: Option<(f64, Duration)>,
    /// True if the circuit has a throttle, which needs the window.
    pub(crate) is_throttled: bool,
}

/// The settings that few circuits have: ramp, throttle, health address, and group.
#[derive(Debug, Clone)]
pub(crate) struct RareSettings {
    /// The duration of the ramp after a closing. With `None`, the ramp lasts [`RAMP_IN_FLEET`] if the fleet has decided
    /// to close the circuit, and there is no ramp after any other closing.
    pub(crate) ramp: Option<Duration>,
    /// The factor `k` of the throttle, which admits about `k` requests for each call that did not fail.
    pub(crate) throttle: Option<f64>,
    /// The address for the health probes, and the times of the probes. `None` if the circuit has no such address.
    pub(crate) health: Option<HealthSettings>,
    /// The group of the circuit. `None` if the circuit is in no group.
    pub(crate) group: Option<Group>,
}

impl Rules {
    /// Returns true if a rule or the throttle judges the calls in the window.
    pub(crate) const fn need_window(&self) -> bool {
        self.has_rate() || self.failure_score.is_some() || self.is_throttled
    }

    /// Returns the limit for the share of failed calls, or the default limit if the rule is off. While another instance
    /// advises to open the circuit, a statistical test decides if the failures of this instance can be chance. In that
    /// test, a usual error rate of the circuit above half of the limit counts as half of the limit. Therefore the test
    /// needs a limit even if the rule is off.
    pub(crate) fn rate_limit(&self) -> f64 {
        self.failure_rate.unwrap_or(FAILURE_RATE)
    }

    /// Returns true if a rule compares a share of calls with a limit.
    pub(crate) const fn has_rate(&self) -> bool {
        self.failure_rate.is_some() || self.slow_call_rate.is_some()
    }
}

/// The settings of the probes, whose successes and failures decide if a half-open circuit closes or reopens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probing {
    pub(crate) successes: u32,
    pub(crate) in_flight: u32,
    pub(crate) failures_tolerated: u32,
    pub(crate) deadline: Duration,
    pub(crate) quiet_after: Duration,
}

impl Config {
    /// Returns the default settings for the service with the given name.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the name is not 1 to 200 bytes of printable text without spaces, or begins with `@fleet:`,
    /// which is reserved for the members of fleets.
    pub fn new(name: &str) -> Result<Self, ConfigError> {
        Self::builder(name).build()
    }

    /// Returns a builder with the default settings.
    pub fn builder(name: &str) -> ConfigBuilder {
        ConfigBuilder::new(name)
    }

    /// Returns a builder with the settings of a classic circuit breaker. 5 hard failures or 10 timeouts in a row open
    /// the circuit for 60 s, and one successful probe closes the circuit.
    pub fn classic(name: &str) -> ConfigBuilder {
        Self::builder(name)
            .without_failure_rate()
            .consecutive_failures(5)
            .open_for(OpenDuration::fixed(Duration::from_secs(60)))
            .probes(1)
    }

    /// Returns a builder with the settings of a classic circuit breaker that counts the failures in a window
    /// of time. A failure score of 10 within 60 s opens the circuit for 60 s.
    pub fn classic_score(name: &str) -> ConfigBuilder {
        Self::classic(name)
            .without_consecutive_failures()
            .failure_score(10.0)
            .window(Window::time(Duration::from_secs(60)))
    }

    /// Returns the name of the circuit, as it appears in errors, logs, metrics and stores.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the mode of a new circuit, which is valid until an operator sets another mode.
    pub(crate) const fn first_mode(&self) -> Mode {
        if self.shadow { Mode::Shadow } else { Mode::Automatic }
    }

    /// Returns the duration of the ramp after a closing that is not a decision of the fleet. Zero by default.
    pub(crate) fn ramp_alone(&self) -> Duration {
        self.ramp().unwrap_or(Duration::ZERO)
    }

    /// Returns the duration of the ramp after the fleet has decided to close the circuit. 10 s by default.
    pub(crate) fn ramp_in_fleet(&self) -> Duration {
        self.ramp().unwrap_or(RAMP_IN_FLEET)
    }

    /// Returns the configured duration of the ramp. `None` means the defaults of `ramp_alone` and `ramp_in_fleet`.
    pub(crate) fn ramp(&self) -> Option<Duration> {
        self.rare.as_ref()?.ramp
    }

    /// Returns the address for the health probes, and the times of the probes. `None` if no address is set.
    pub(crate) fn health(&self) -> Option<&HealthSettings> {
        self.rare.as_ref()?.health.as_ref()
    }

    /// Returns the factor of the throttle, if a throttle is set.
    pub(crate) fn throttle(&self) -> Option<f64> {
        self.rare.as_ref()?.throttle
    }

    /// Returns the group, if the circuit is in a group.
    pub(crate) fn group(&self) -> Option<&Group> {
        self.rare.as_ref()?.group.as_ref()
    }

    /// Returns the same settings without a group. The settings are for the circuit at which the services of a keyed
    /// layer wait for a restore. This circuit has no other purpose. No call passes through this circuit, so it must not
    /// count as a member of the group.
    #[cfg(all(feature = "keyed", feature = "store"))]
    pub(crate) fn without_group(mut self) -> Self {
        if let Some(rare) = &mut self.rare {
            rare.group = None;
        }
        self
    }

    /// Returns sentences that describe the effect of these settings.
    ///
    /// ```
    /// let config = tower_circuit_breaker::Config::new("payments")?;
    /// println!("{}", config.explain());
    /// # Ok::<(), tower_circuit_breaker::config::ConfigError>(())
    /// ```
    #[must_use]
    pub fn explain(&self) -> String {
        explain::explain(self)
    }
}

/// The default duration of the ramp after the fleet has closed the circuit. Without a ramp, all instances of the fleet
/// would send all their calls at the same moment.
const RAMP_IN_FLEET: Duration = Duration::from_secs(10);

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Config");
        debug.field("name", &self.name);
        for (field, value) in spelling::values(self) {
            debug.field(field, &format_args!("{value}"));
        }
        debug.field("clock", &self.clock).field("observers", &self.observers).finish()
    }
}

/// The error for a setting that can never work. The error names the field, the value and the allowed range.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError {
    field: &'static str,
    value: String,
    allowed: String,
}

impl ConfigError {
    pub(crate) fn new(field: &'static str, value: impl fmt::Display, allowed: impl Into<String>) -> Self {
        Self { field, value: value.to_string(), allowed: allowed.into() }
    }

    /// Returns the name of the field, which is the name of the builder's method, such as `min_calls`. If only a part of
    /// the value is wrong, the name of this part follows after a point, as in `open_for.max`.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        self.field
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, allowed is {}", self.field, self.value, self.allowed)
    }
}

/// Writes the same sentence as `Display`, because Rust prints the `Debug` form of an error that `main` returns.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ConfigError {}
