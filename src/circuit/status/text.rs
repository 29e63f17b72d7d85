//! The `Display` of a status and of totals. A program can print these sentences for operators.
//!
//! The sentence of a status has the same parts as the sentence of a rejection. `state/because.rs` writes the cause in
//! both sentences.

use std::fmt;
use std::time::Duration;

use super::{NextCall, Status, Totals};
use crate::state::{Brief, Mode, Percent, State, opening};

/// Writes one sentence for operators, as in ``circuit `payments` is open: failures in a row weighed 5.0, the limit is
/// 5.0; it lets a probe through in 4.9 s; calls: 12 succeeded, 5 failed, 3 rejected``.
///
/// The sentence has the name, the standing with its cause, the next probe or the end of a hold, and the counts since
/// the circuit was created. Show the sentence only to operators, because the cause can contain the text of an error.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "circuit `{}`", self.name)?;
        if self.mode == Mode::Shadow {
            f.write_str(" (shadow)")?;
        }
        if self.bypassed {
            f.write_str(" lets every call through, whatever its state, because CIRCUIT_BREAKER_DISABLED names it")?;
        } else {
            self.write_standing(f)?;
            self.write_next(f)?;
        }
        if self.hanging > 0 {
            let calls = if self.hanging == 1 { "call is" } else { "calls are" };
            write!(f, "; {} slow {calls} still under way", self.hanging)?;
        }
        write!(f, "; calls: {}", self.totals)
    }
}

impl Status {
    fn write_standing(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match (self.mode, self.state) {
            (Mode::ForcedOpen, _) => "forced open",
            (Mode::Disabled, _) => "disabled",
            // The cause of the half-open state is usually the end of the open duration, which explains nothing.
            // Therefore the sentence has the cause of the opening.
            (Mode::Automatic | Mode::Shadow, State::HalfOpen) => {
                f.write_str(" is half-open")?;
                return opening(self.transitions.iter().rev()).map_or(Ok(()), |edge| edge.write_opening(f));
            }
            (Mode::Automatic | Mode::Shadow, State::Closed | State::Open) => self.state.as_str(),
        };
        f.write_str(" is ")?;
        match self.transitions.last() {
            Some(edge) => edge.write_standing(word, f),
            None => f.write_str(word),
        }
    }

    fn waits_for_health(&self) -> bool {
        self.health.as_ref().is_some_and(|health| health.holds_back)
    }

    fn write_next(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.held_for {
            // A hold whose time has passed ends only with the next call, so the sentence continues with the answer to
            // that call.
            Some(Duration::ZERO) => f.write_str("; the hold is over")?,
            Some(left) => return write!(f, "; the hold ends in {}", Brief(left)),
            None if self.mode.is_hold() => return f.write_str("; it stays so until an operator ends it"),
            None => {}
        }
        if let Some(suppressed) = &self.suppressed {
            write!(f, "; {suppressed}")?;
        }
        match (self.next_call, self.state, self.retry_after) {
            (NextCall::Admitted, State::Closed, _) => match self.ramp_left {
                Some(left) => {
                    write!(
                        f,
                        "; its ramp admits {} of the calls, and all in {}",
                        Percent(self.admitted_share),
                        Brief(left)
                    )
                }
                None if self.throttled_share > 0.0 => {
                    write!(f, "; its throttle rejects {} of the calls", Percent(self.throttled_share))
                }
                None => Ok(()),
            },
            (NextCall::Admitted, State::Open | State::HalfOpen, _) => f.write_str("; calls go through all the same"),
            (NextCall::Probe, ..) => f.write_str("; the next call is a probe"),
            (NextCall::Rejected, State::Open | State::HalfOpen, _) if self.waits_for_health() => {
                f.write_str("; its next probe waits for a health probe")
            }
            (NextCall::Rejected, State::HalfOpen, _) if self.probes.in_flight == 0 => {
                f.write_str("; its next probe waits for a lease")
            }
            (NextCall::Rejected, State::HalfOpen, _) => f.write_str("; it admits no further probe now"),
            (NextCall::Rejected, _, Some(wait)) => write!(f, "; it lets a probe through in {}", Brief(wait)),
            (NextCall::Rejected, _, None) => f.write_str("; it stays open until an operator resets it"),
        }
    }
}

/// Writes the three main counts. Then writes the counts of shed, throttled, ignored, cancelled and shadowed calls,
/// except counts that are zero, as in `12 succeeded, 5 failed, 3 rejected, 1 cancelled`.
impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} succeeded, {} failed, {} rejected", self.successes, self.failures, self.rejected)?;
        let others = [
            (self.load_shed, "shed"),
            (self.throttled, "throttled"),
            (self.ignored, "ignored"),
            (self.cancelled, "cancelled"),
            (self.would_reject, "only rejected in shadow"),
        ];
        others.iter().filter(|(count, _)| *count > 0).try_for_each(|(count, word)| write!(f, ", {count} {word}"))
    }
}
