//! The picture: the sides of each part over one time axis, written as SVG by hand.

use std::fmt::{Result, Write};
use std::ops::Range;
use std::time::Duration;

use tower_circuit_breaker::state::State;

use crate::client::RETRIES;
use crate::record::Sum;
use crate::server::{Health, LOST, SHARDS};
use crate::side::{CALLS_PER_SECOND, Phase, Side};
use crate::{outages, shards};

const BUCKET: Duration = Duration::from_millis(200);
const LEFT: f64 = 110.0;
const WIDTH: f64 = 1100.0;
const PANEL: f64 = 130.0;
const BAND: f64 = 30.0;
/// In the order of the sides: none, the plain breaker, and the features.
const COLOURS: [&str; 4] = ["#e65100", "#6a1b9a", "#1565c0", "#00838f"];

/// Draws both parts, one below the other.
pub(crate) fn draw(outages: &outages::Played, shards: &shards::Played) -> String {
    let mut picture = Picture { text: String::new(), y: 34.0, phases: &outages.phases, sides: &outages.sides };
    picture.outages().expect("a String takes everything");
    (picture.phases, picture.sides) = (&shards.phases, &shards.sides);
    picture.shards().expect("a String takes everything");
    let (width, height) = (LEFT + WIDTH + 24.0, picture.y);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"
  font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="12" fill="#263238">
<rect width="100%" height="100%" fill="white"/>
{}</svg>
"##,
        picture.text
    )
}

struct Picture<'a> {
    text: String,
    /// Where the next thing is drawn.
    y: f64,
    phases: &'a [Phase],
    sides: &'a [Side],
}

impl Picture<'_> {
    fn outages(&mut self) -> Result {
        self.title("Three outages: no breaker, a breaker, and a breaker with health probe and ramp", 3)?;
        self.panel("Requests that reached the service, per second", |side, time| {
            Some(per_second(side.log.begun_in(time).reached))
        })?;
        self.panel("Calls that succeeded, of those begun then, per second", |side, time| {
            Some(per_second(side.log.begun_in(time).ok))
        })?;
        self.panel("Median wait of the callers who came then, in milliseconds", |side, time| {
            median(&side.log.begun_in(time))
        })?;
        self.seconds(2)
    }

    fn shards(&mut self) -> Result {
        self.y += 50.0;
        self.title(&format!("One of {SHARDS} shards is down: a breaker, a throttle, and a circuit per shard"), 2)?;
        self.panel("Calls for the good shards that succeeded, of those begun then, per second", |side, time| {
            Some(per_second(side.log.begun_for(time, |shard| shard != LOST).ok))
        })?;
        self.panel("Requests for the lost shard that reached the service, per second", |side, time| {
            Some(per_second(side.log.begun_for(time, |shard| shard == LOST).reached))
        })?;
        self.seconds(1)
    }

    /// Draws all that is above the panels, and the shades behind them.
    fn title(&mut self, title: &str, panels: u8) -> Result {
        let y = self.y;
        writeln!(
            self.text,
            r#"<text x="{LEFT}" y="{y}" font-size="20" font-weight="bold">{title}</text>
<text x="{LEFT}" y="{}">Real HTTP, {CALLS_PER_SECOND} calls a second to each side, at most {RETRIES} retries a call. Shaded: the service is sick.</text>"#,
            y + 18.0
        )?;
        self.legend(y + 42.0)?;
        self.y = y + 62.0;
        let with_circuit = self.sides.iter().filter(|side| side.circuit.is_some()).count();
        let bands = BAND * f64::from(1 + u8::try_from(with_circuit).unwrap_or(u8::MAX));
        for phase in self.phases.iter().filter(|phase| phase.is_sick()) {
            let ((x, width), y) = (self.extent(&phase.time), self.y);
            let height = bands + f64::from(panels) * (PANEL + 60.0);
            writeln!(self.text, r##"<rect x="{x:.1}" y="{y}" width="{width:.1}" height="{height}" fill="#fbeceb"/>"##)?;
        }
        self.service_band()?;
        self.sides.iter().try_for_each(|side| side.circuit.map_or(Ok(()), |circuit| self.circuit_band(side, circuit)))
    }

    fn legend(&mut self, y: f64) -> Result {
        let mut x = LEFT;
        for (side, colour) in self.sides.iter().zip(COLOURS) {
            let name = side.name;
            writeln!(
                self.text,
                r#"<path d="M{x} {}h26" stroke="{colour}" stroke-width="3"/><text x="{}" y="{y}">{name}</text>"#,
                y - 4.0,
                x + 33.0
            )?;
            x += 140.0;
        }
        let states =
            [(State::Closed, "closed"), (State::Open, "open: rejecting"), (State::HalfOpen, "half-open: probing")];
        for ((state, text), x) in states.into_iter().zip([LEFT + 580.0, LEFT + 664.0, LEFT + 800.0]) {
            let colour = colour_of(state);
            writeln!(
                self.text,
                r#"<rect x="{x}" y="{}" width="14" height="14" rx="3" fill="{colour}"/><text x="{}" y="{y}">{text}</text>"#,
                y - 11.0,
                x + 20.0
            )?;
        }
        Ok(())
    }

    fn service_band(&mut self) -> Result {
        self.label(self.y + 16.0, "the service")?;
        for phase in self.phases {
            let (x, width) = self.extent(&phase.time);
            let colour = match phase.health {
                Health::Healthy => "#cfd8dc",
                Health::Down => "#455a64",
                Health::Slow => "#78909c",
                Health::Failing | Health::ShardDown => "#8d6e63",
            };
            let ink = if phase.is_sick() { "white" } else { "#263238" };
            self.block(x, width, colour, ink, phase.name)?;
        }
        self.y += BAND;
        Ok(())
    }

    fn circuit_band(&mut self, side: &Side, circuit: &str) -> Result {
        self.label(self.y + 16.0, side.name)?;
        let (probing, settled): (Vec<_>, Vec<_>) =
            side.log.states(&self.whole(), circuit).into_iter().partition(|(_, state)| *state == State::HalfOpen);
        // Probing on top, never too narrow to be seen: a refused probe is over in a millisecond.
        for (time, state) in settled.into_iter().chain(probing) {
            let (x, width) = self.extent(&time);
            let name = if width > 40.0 { state.as_str() } else { "" };
            self.block(x, width.max(3.0), colour_of(state), "white", name)?;
        }
        self.y += BAND;
        Ok(())
    }

    fn block(&mut self, x: f64, width: f64, colour: &str, ink: &str, name: &str) -> Result {
        let (y, middle) = (self.y, x + width / 2.0);
        writeln!(self.text, r#"<rect x="{x:.1}" y="{y}" width="{width:.1}" height="24" fill="{colour}"/>"#)?;
        if name.is_empty() {
            return Ok(());
        }
        writeln!(self.text, r#"<text x="{middle:.1}" y="{}" fill="{ink}" text-anchor="middle">{name}</text>"#, y + 16.0)
    }

    /// Draws one quantity of all sides, in its own scale.
    fn panel(&mut self, title: &str, value: impl Fn(&Side, &[Range<Duration>]) -> Option<f64>) -> Result {
        let series: Vec<_> = self.sides.iter().map(|side| self.series(side, &value)).collect();
        let most = series.iter().flatten().map(|(_, value)| *value).fold(1.0, f64::max);
        let step = [5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0].into_iter().find(|step| most / step <= 4.0);
        let step = step.unwrap_or(most);
        let top = (most / step).ceil() * step;

        let y = self.y + 50.0;
        writeln!(self.text, r#"<text x="{LEFT}" y="{}" font-weight="bold">{title}</text>"#, y - 12.0)?;
        let mut line = 0.0;
        while line <= top {
            let at = y + PANEL * (1.0 - line / top);
            self.label(at + 4.0, &line.to_string())?;
            writeln!(self.text, r##"<path d="M{LEFT} {at:.1}h{WIDTH}" stroke="#b0bec5" stroke-width="0.6"/>"##)?;
            line += step;
        }
        // The first sides are wider, so that they are seen below the others where all are the same.
        for ((colour, points), width) in COLOURS.into_iter().zip(series).zip([5.0, 4.0, 3.0, 1.5]) {
            let points: Vec<_> =
                points.iter().map(|(x, value)| format!("{x:.1},{:.1}", y + PANEL * (1.0 - value / top))).collect();
            writeln!(
                self.text,
                r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linejoin="round"/>"#,
                points.join(" ")
            )?;
        }
        self.y = y + PANEL + 10.0;
        Ok(())
    }

    fn series(&self, side: &Side, value: impl Fn(&Side, &[Range<Duration>]) -> Option<f64>) -> Vec<(f64, f64)> {
        let Range { mut start, end } = self.whole();
        let mut points = Vec::new();
        while start + BUCKET / 2 < end {
            let bucket = start..start + BUCKET;
            if let Some(value) = value(side, std::slice::from_ref(&bucket)) {
                points.push((self.x(start + BUCKET / 2), value));
            }
            start += BUCKET;
        }
        points
    }

    fn seconds(&mut self, step: usize) -> Result {
        let y = self.y + 16.0;
        for second in (0..=(self.whole().end + BUCKET).as_secs()).step_by(step) {
            let x = self.x(Duration::from_secs(second));
            writeln!(self.text, r#"<text x="{x:.1}" y="{y}" text-anchor="middle">{second} s</text>"#)?;
        }
        self.y = y + 20.0;
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

fn median(sum: &Sum) -> Option<f64> {
    sum.wait(50).map(|wait| wait.as_secs_f64() * 1e3)
}

fn per_second(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from) / BUCKET.as_secs_f64()
}
