//! The picture: the five runs over one time axis, written as SVG by hand.

use std::fmt::{Result, Write};
use std::ops::Range;
use std::time::Duration;

use crate::record::{How, Record, per};
use crate::report::Runs;
use crate::traffic::{AFTER, DURING, NORMAL, SURGE, Setup};

const BUCKET: Duration = Duration::from_millis(250);
const LEFT: f64 = 64.0;
const WIDTH: f64 = 1100.0;
const PANEL: f64 = 150.0;
/// In the order of `Setup::EACH`.
const COLOURS: [&str; Setup::EACH.len()] = ["#e65100", "#6a1b9a", "#c2185b", "#2e7d32", "#1565c0"];

/// Draws the whole picture.
pub(crate) fn draw(runs: &Runs) -> String {
    let mut picture = Picture { text: String::new(), runs };
    picture.all().expect("a String takes everything");
    picture.text
}

struct Picture<'a> {
    text: String,
    runs: &'a Runs,
}

impl Picture<'_> {
    fn all(&mut self) -> Result {
        let (width, height) = (LEFT + WIDTH + 24.0, 960.0);
        writeln!(
            self.text,
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"
  font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="12" fill="#263238">
<rect width="100%" height="100%" fill="white"/>
<text x="{LEFT}" y="34" font-size="20" font-weight="bold">Fifty times the normal load</text>
<text x="{LEFT}" y="52">{NORMAL} calls a second, {SURGE} in the shaded ten seconds, to a server that collapses under them.</text>"##
        )?;
        let (x, end) = (x(DURING.start), x(DURING.end));
        writeln!(self.text, r##"<rect x="{x:.1}" y="96" width="{:.1}" height="820" fill="#fbeceb"/>"##, end - x)?;
        self.legend()?;
        let seconds = |count: usize| per(count, 1) / BUCKET.as_secs_f64();
        self.panel(136.0, "Light operations that succeeded, of those begun then, per second", |record, time| {
            Some(seconds(record.count(time, |call| call.is_light && call.how == How::Ok)))
        })?;
        self.panel(346.0, "Share of the calls begun then that succeeded, per cent", |record, time| {
            let all = record.count(time, |_| true);
            Some(per(record.count(time, |call| call.how == How::Ok), all) * 100.0)
        })?;
        self.panel(556.0, "Requests that reached the server, per second", |record, time| {
            Some(seconds(record.reached(time)))
        })?;
        self.panel(766.0, "Longest wait of 99 of 100 callers who came then, in milliseconds", |record, time| {
            record.p99(time, |_| true).map(|wait| wait.as_secs_f64() * 1e3)
        })?;
        for second in (0..=AFTER.end.as_secs()).step_by(3) {
            let x = self::x(Duration::from_secs(second));
            writeln!(self.text, r#"<text x="{x:.1}" y="940" text-anchor="middle">{second} s</text>"#)?;
        }
        writeln!(self.text, "</svg>")
    }

    fn legend(&mut self) -> Result {
        for (n, (colour, setup)) in (0_u8..).zip(COLOURS.into_iter().zip(Setup::EACH)) {
            let (x, name) = (LEFT + 190.0 * f64::from(n), setup.title());
            writeln!(
                self.text,
                r#"<path d="M{x} 76h26" stroke="{colour}" stroke-width="3"/><text x="{}" y="80">{name}</text>"#,
                x + 33.0
            )?;
        }
        Ok(())
    }

    /// Draws one quantity of all runs, in its own scale.
    fn panel(&mut self, y: f64, title: &str, value: impl Fn(&Record, &Range<Duration>) -> Option<f64>) -> Result {
        let series: Vec<_> = self.runs.iter().map(|record| points(record, &value)).collect();
        let most = series.iter().flatten().map(|(_, value)| *value).fold(1.0, f64::max);
        let step =
            [25.0, 50.0, 100.0, 250.0, 500.0, 1000.0].into_iter().find(|step| most / step <= 5.0).unwrap_or(most);
        let top = (most / step).ceil() * step;
        writeln!(self.text, r#"<text x="{LEFT}" y="{}" font-weight="bold">{title}</text>"#, y - 12.0)?;
        let mut line = 0.0;
        while line <= top {
            let at = y + PANEL * (1.0 - line / top);
            writeln!(
                self.text,
                r##"<text x="{}" y="{:.1}" text-anchor="end" fill="#546e7a">{line}</text><path d="M{LEFT} {at:.1}h{WIDTH}" stroke="#b0bec5" stroke-width="0.6"/>"##,
                LEFT - 8.0,
                at + 4.0
            )?;
            line += step;
        }
        // The first runs are wider, so that they are seen below the others where all are the same.
        for ((colour, points), width) in COLOURS.into_iter().zip(series).zip([6.0, 5.0, 4.0, 3.0, 1.5]) {
            let points: Vec<_> =
                points.iter().map(|(x, value)| format!("{x:.1},{:.1}", y + PANEL * (1.0 - value / top))).collect();
            writeln!(
                self.text,
                r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linejoin="round"/>"#,
                points.join(" ")
            )?;
        }
        Ok(())
    }
}

fn points(record: &Record, value: &impl Fn(&Record, &Range<Duration>) -> Option<f64>) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    let mut start = Duration::ZERO;
    while start < AFTER.end {
        if let Some(value) = value(record, &(start..start + BUCKET)) {
            points.push((x(start + BUCKET / 2), value));
        }
        start += BUCKET;
    }
    points
}

fn x(at: Duration) -> f64 {
    LEFT + WIDTH * at.as_secs_f64() / AFTER.end.as_secs_f64()
}
