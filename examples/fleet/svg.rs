//! The picture: a band for each night over one time axis, with a row for each instance, written as SVG by hand.

use std::fmt::{Result, Write};
use std::ops::Range;
use std::time::Duration;

use tower_circuit_breaker::State;

use crate::night::Night;
use crate::record::What;
use crate::{CALLS_PER_SECOND, INSTANCES};

const LEFT: f64 = 72.0;
const WIDTH: f64 = 1100.0;
const TOP: f64 = 96.0;
const ACTS: f64 = 24.0;
const ROW: f64 = 15.0;
const BAND: f64 = 44.0 + ACTS + ROW * 8.0;

/// Draws the nights.
pub(crate) fn draw(nights: &[Night]) -> String {
    let longest = nights.iter().map(|night| span(night).end.saturating_sub(span(night).start)).max();
    let mut picture = Picture { text: String::new(), longest: longest.unwrap_or_default() };
    picture.all(nights).expect("a String takes everything");
    picture.text
}

struct Picture {
    text: String,
    longest: Duration,
}

impl Picture {
    fn all(&mut self, nights: &[Night]) -> Result {
        let bands = nights.iter().fold(0.0, |height, _| height + BAND);
        let (width, height) = (LEFT + WIDTH + 24.0, TOP + bands + 24.0);
        writeln!(
            self.text,
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"
  font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="12" fill="#263238">
<rect width="100%" height="100%" fill="white"/>
<text x="{LEFT}" y="34" font-size="20" font-weight="bold">A night of {INSTANCES} instances, by the way of sharing</text>
<text x="{LEFT}" y="52">Real processes, {CALLS_PER_SECOND} calls a second each. A line is a request that reached the service.</text>"##
        )?;
        let legend =
            [(Some(State::Closed), "closed"), (Some(State::Open), "open"), (Some(State::HalfOpen), "half-open")];
        for ((state, text), x) in legend.into_iter().chain([(None, "killed")]).zip([0.0, 90.0, 170.0, 280.0]) {
            let x = LEFT + x;
            writeln!(
                self.text,
                r##"<rect x="{x}" y="66" width="14" height="14" rx="3" fill="{}" stroke="#90a4ae"/><text x="{}" y="78">{text}</text>"##,
                colour_of(state),
                x + 20.0
            )?;
        }
        let mut y = TOP;
        for night in nights {
            self.band(night, y)?;
            y += BAND;
        }
        for second in (0..=self.longest.as_secs()).step_by(5) {
            let x = self.x(Duration::from_secs(second));
            writeln!(self.text, r#"<text x="{x:.1}" y="{y}" text-anchor="middle">{second} s</text>"#)?;
        }
        writeln!(self.text, "</svg>")
    }

    fn band(&mut self, night: &Night, y: f64) -> Result {
        let start = span(night).start;
        let title = format!("sharing = &quot;{}&quot;", night.sharing);
        writeln!(self.text, r#"<text x="{LEFT}" y="{}" font-weight="bold">{title}</text>"#, y + 14.0)?;
        let y = y + 20.0;
        for act in &night.acts {
            let (x, width) = self.extent(&act.time, start);
            let (colour, ink) = if act.is_bad { ("#455a64", "white") } else { ("#cfd8dc", "#263238") };
            let name =
                if width > 7.0 * f64::from(u16::try_from(act.name.len()).unwrap_or(u16::MAX)) { act.name } else { "" };
            writeln!(
                self.text,
                r#"<rect x="{x:.1}" y="{y}" width="{width:.1}" height="20" fill="{colour}"/><text x="{:.1}" y="{}" fill="{ink}" text-anchor="middle">{name}</text>"#,
                x + width / 2.0,
                y + 14.0
            )?;
        }
        let mut y = y + ACTS;
        for instance in 0..INSTANCES {
            self.row(night, instance, y)?;
            y += ROW;
        }
        Ok(())
    }

    /// Draws the states of the circuit of an instance, and its requests above them.
    fn row(&mut self, night: &Night, instance: usize, y: f64) -> Result {
        let Range { start, end } = span(night);
        writeln!(
            self.text,
            r##"<text x="{}" y="{}" font-size="11" text-anchor="end" fill="#546e7a">orders-{}</text>"##,
            LEFT - 8.0,
            y + 11.0,
            instance + 1
        )?;
        for (time, state) in night.log.states(instance, end) {
            let (x, width) = self.extent(&time, start);
            let (width, colour) = (width.max(0.5), colour_of(state));
            writeln!(self.text, r#"<rect x="{x:.1}" y="{y}" width="{width:.1}" height="13" fill="{colour}"/>"#)?;
        }
        let requests = night.log.notes.iter().filter(|note| note.instance == instance && note.what == What::Reached);
        // Each step is relative to the end of the line before, so that the picture stays small.
        let (mut path, mut last) = (format!("M0 {}", y + 1.0), 0.0);
        for note in requests.filter(|note| note.at >= start) {
            let x = self.x(note.at.saturating_sub(start)).round();
            write!(path, "m{} {}v11", x - last, if last > 0.0 { "-11" } else { "0" })?;
            last = x;
        }
        writeln!(self.text, r##"<path d="{path}" fill="none" stroke="#102027"/>"##)
    }

    /// Returns the left edge and the width of a time in a night that began at `start`.
    fn extent(&self, time: &Range<Duration>, start: Duration) -> (f64, f64) {
        let x = self.x(time.start.saturating_sub(start));
        (x, self.x(time.end.saturating_sub(start)) - x)
    }

    fn x(&self, at: Duration) -> f64 {
        LEFT + WIDTH * at.as_secs_f64() / self.longest.as_secs_f64()
    }
}

/// Returns the time of the acts of a night.
fn span(night: &Night) -> Range<Duration> {
    let start = night.acts.first().map_or(Duration::ZERO, |act| act.time.start);
    start..night.acts.last().map_or(start, |act| act.time.end)
}

const fn colour_of(state: Option<State>) -> &'static str {
    match state {
        Some(State::Closed) => "#c8e6c9",
        Some(State::Open) => "#ef9a9a",
        Some(State::HalfOpen) => "#ffcc80",
        None => "#eceff1",
    }
}
