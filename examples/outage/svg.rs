//! The picture: both runs over one time axis, written as SVG by hand.

use std::fmt::{Result, Write};
use std::ops::Range;
use std::time::Duration;

use tower_circuit_breaker::state::State;

use crate::CALLS_PER_SECOND;
use crate::client::RETRIES;
use crate::record::{Log, Sum};
use crate::report::Phase;
use crate::server::Health;

const BUCKET: Duration = Duration::from_millis(200);
const LEFT: f64 = 64.0;
const WIDTH: f64 = 1100.0;
const PANEL: f64 = 130.0;
const WITH: &str = "#1565c0";
const WITHOUT: &str = "#e65100";

/// Draws the whole picture.
pub(crate) fn draw(phases: &[Phase], with: &Log, without: &Log) -> String {
    let mut picture = Picture { text: String::new(), phases, with, without };
    picture.all().expect("a String takes everything");
    picture.text
}

struct Picture<'a> {
    text: String,
    phases: &'a [Phase],
    with: &'a Log,
    without: &'a Log,
}

impl Picture<'_> {
    fn all(&mut self) -> Result {
        let (width, height) = (LEFT + WIDTH + 24.0, 760.0);
        writeln!(
            self.text,
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"
  font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="12" fill="#263238">
<rect width="100%" height="100%" fill="white"/>
<text x="{LEFT}" y="34" font-size="20" font-weight="bold">Three outages, with a circuit breaker and without</text>
<text x="{LEFT}" y="52">Real HTTP, {CALLS_PER_SECOND} calls a second to each side, at most {RETRIES} retries a call. Shaded: the service is sick.</text>"##
        )?;
        self.legend()?;
        self.shade(96.0, 640.0)?;
        self.service_band(96.0)?;
        self.circuit_band(126.0)?;
        let per_second = |count: usize| number(count) / BUCKET.as_secs_f64();
        self.panel(206.0, "Requests that reached the service, per second", |sum| Some(per_second(sum.reached)))?;
        self.panel(396.0, "Calls that succeeded, of those begun then, per second", |sum| Some(per_second(sum.ok)))?;
        self.panel(586.0, "Median wait of the callers who came then, in milliseconds", |sum| {
            sum.wait(50).map(|wait| wait.as_secs_f64() * 1e3)
        })?;
        self.seconds(742.0)?;
        writeln!(self.text, "</svg>")
    }

    fn legend(&mut self) -> Result {
        for (x, colour, text) in [(LEFT, WITH, "with the breaker"), (LEFT + 150.0, WITHOUT, "without it")] {
            writeln!(
                self.text,
                r#"<path d="M{x} 76h26" stroke="{colour}" stroke-width="3"/><text x="{}" y="80">{text}</text>"#,
                x + 33.0
            )?;
        }
        let states =
            [(State::Closed, "closed"), (State::Open, "open: rejecting"), (State::HalfOpen, "half-open: probing")];
        for ((state, text), x) in states.into_iter().zip([LEFT + 300.0, LEFT + 384.0, LEFT + 520.0]) {
            let colour = colour_of(state);
            writeln!(
                self.text,
                r#"<rect x="{x}" y="69" width="14" height="14" rx="3" fill="{colour}"/><text x="{}" y="80">{text}</text>"#,
                x + 20.0
            )?;
        }
        Ok(())
    }

    /// Shades the times when the service was sick, behind everything.
    fn shade(&mut self, y: f64, height: f64) -> Result {
        for phase in self.phases.iter().filter(|phase| phase.is_sick()) {
            let (x, width) = self.extent(&phase.time);
            writeln!(self.text, r##"<rect x="{x:.1}" y="{y}" width="{width:.1}" height="{height}" fill="#fbeceb"/>"##)?;
        }
        Ok(())
    }

    fn service_band(&mut self, y: f64) -> Result {
        self.label(y + 16.0, "service")?;
        for phase in self.phases {
            let (x, width) = self.extent(&phase.time);
            let colour = match phase.health {
                Health::Healthy => "#cfd8dc",
                Health::Down => "#455a64",
                Health::Slow => "#78909c",
                Health::Failing => "#8d6e63",
            };
            let ink = if phase.is_sick() { "white" } else { "#263238" };
            self.block((x, y, width), colour, ink, phase.name)?;
        }
        Ok(())
    }

    fn circuit_band(&mut self, y: f64) -> Result {
        self.label(y + 16.0, "circuit")?;
        let (probing, settled): (Vec<_>, Vec<_>) =
            self.with.states(&self.whole()).into_iter().partition(|(_, state)| *state == State::HalfOpen);
        // Probing on top, never too narrow to be seen: a refused probe is over in a millisecond.
        for (time, state) in settled.into_iter().chain(probing) {
            let (x, width) = self.extent(&time);
            let name = if width > 40.0 { state.as_str() } else { "" };
            self.block((x, y, width.max(3.0)), colour_of(state), "white", name)?;
        }
        Ok(())
    }

    fn block(&mut self, (x, y, width): (f64, f64, f64), colour: &str, ink: &str, name: &str) -> Result {
        let middle = x + width / 2.0;
        writeln!(self.text, r#"<rect x="{x:.1}" y="{y}" width="{width:.1}" height="24" fill="{colour}"/>"#)?;
        writeln!(self.text, r#"<text x="{middle:.1}" y="{}" fill="{ink}" text-anchor="middle">{name}</text>"#, y + 16.0)
    }

    /// Draws one quantity of both sides, in its own scale.
    fn panel(&mut self, y: f64, title: &str, value: impl Fn(&Sum) -> Option<f64>) -> Result {
        let without = self.series(self.without, &value);
        let with = self.series(self.with, &value);
        let most = without.iter().chain(&with).map(|(_, value)| *value).fold(1.0, f64::max);
        let step = [5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0].into_iter().find(|step| most / step <= 4.0);
        let step = step.unwrap_or(most);
        let top = (most / step).ceil() * step;

        writeln!(self.text, r#"<text x="{LEFT}" y="{}" font-weight="bold">{title}</text>"#, y - 12.0)?;
        let mut line = 0.0;
        while line <= top {
            let at = y + PANEL * (1.0 - line / top);
            self.label(at + 4.0, &line.to_string())?;
            writeln!(self.text, r##"<path d="M{LEFT} {at:.1}h{WIDTH}" stroke="#b0bec5" stroke-width="0.6"/>"##)?;
            line += step;
        }
        for (colour, points) in [(WITHOUT, without), (WITH, with)] {
            let points: Vec<_> =
                points.iter().map(|(x, value)| format!("{x:.1},{:.1}", y + PANEL * (1.0 - value / top))).collect();
            writeln!(
                self.text,
                r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>"#,
                points.join(" ")
            )?;
        }
        Ok(())
    }

    fn series(&self, log: &Log, value: impl Fn(&Sum) -> Option<f64>) -> Vec<(f64, f64)> {
        let Range { mut start, end } = self.whole();
        let mut points = Vec::new();
        while start + BUCKET / 2 < end {
            if let Some(value) = value(&log.begun_in(&[start..start + BUCKET])) {
                points.push((self.x(start + BUCKET / 2), value));
            }
            start += BUCKET;
        }
        points
    }

    fn seconds(&mut self, y: f64) -> Result {
        for second in (0..=(self.whole().end + BUCKET).as_secs()).step_by(2) {
            let x = self.x(Duration::from_secs(second));
            writeln!(self.text, r#"<text x="{x:.1}" y="{y}" text-anchor="middle">{second} s</text>"#)?;
        }
        Ok(())
    }

    fn label(&mut self, y: f64, text: &str) -> Result {
        writeln!(self.text, r##"<text x="{}" y="{y:.1}" text-anchor="end" fill="#546e7a">{text}</text>"##, LEFT - 8.0)
    }

    fn whole(&self) -> Range<Duration> {
        Duration::ZERO..self.phases.last().map_or(Duration::ZERO, |phase| phase.time.end)
    }

    fn extent(&self, time: &Range<Duration>) -> (f64, f64) {
        let x = self.x(time.start);
        (x, self.x(time.end) - x)
    }

    fn x(&self, at: Duration) -> f64 {
        LEFT + WIDTH * at.as_secs_f64() / self.whole().end.as_secs_f64()
    }
}

const fn colour_of(state: State) -> &'static str {
    match state {
        State::Closed => "#388e3c",
        State::Open => "#d32f2f",
        State::HalfOpen => "#ffa000",
    }
}

fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
