//! The price of a call, measured in interleaved rounds: each round runs every case for a moment, so that what disturbs the
//! machine for a second disturbs all cases alike. Criterion runs one case after the other, and would blame one.

use std::time::Instant;

use crate::cli::{Options, quantile};

/// The cases of one table; the first is what the others are compared with.
#[derive(Default)]
pub(crate) struct Rounds(Vec<Case>);

struct Case {
    name: String,
    run: Box<dyn FnMut(u64)>,
    /// So many that they take a slice of a round.
    calls: u64,
    is_fixed: bool,
    nanos: Vec<f64>,
}

/// What one call of a case costs, in nanoseconds.
#[derive(Debug)]
pub(crate) struct Price {
    pub(crate) name: String,
    pub(crate) least: f64,
    pub(crate) median: f64,
    /// Of nine rounds in ten it was more than this.
    pub(crate) p10: f64,
    pub(crate) p90: f64,
    /// The median, less that of the first case.
    pub(crate) added: f64,
}

impl Rounds {
    /// Adds a case: a closure that makes so many calls.
    pub(crate) fn case(&mut self, name: &str, run: impl FnMut(u64) + 'static) {
        self.case_of(name, None, run);
    }

    /// Adds a case that makes that many calls in a round, where it matters how often each round calls the same circuit.
    pub(crate) fn case_of(&mut self, name: &str, calls: Option<u64>, run: impl FnMut(u64) + 'static) {
        let (calls, is_fixed) = (calls.unwrap_or(1), calls.is_some());
        self.0.push(Case { name: name.to_owned(), run: Box::new(run), calls, is_fixed, nanos: Vec::new() });
    }

    pub(crate) fn measure(self, options: &Options) -> Vec<Price> {
        let mut number = 0;
        let mut cases: Vec<Case> = self.0;
        cases.retain(|case| {
            number += 1;
            number == 1 || options.wants(&case.name)
        });
        for case in &mut cases {
            while !case.is_fixed && case.time() < SLICE {
                case.calls *= 2;
            }
        }
        for _ in 0..options.rounds {
            for case in &mut cases {
                let nanos = case.time();
                case.nanos.push(nanos / count(case.calls));
            }
        }
        let mut bare = None;
        let price = |case: &mut Case| {
            let [least, p10, median, p90] = [0.0, 0.1, 0.5, 0.9].map(|share| quantile(&mut case.nanos, share));
            let added = median - *bare.get_or_insert(median);
            Price { name: case.name.clone(), least, median, p10, p90, added }
        };
        cases.iter_mut().map(price).collect()
    }
}

impl Case {
    fn time(&mut self) -> f64 {
        let start = Instant::now();
        (self.run)(self.calls);
        start.elapsed().as_secs_f64() * 1e9
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few million calls")]
fn count(calls: u64) -> f64 {
    calls as f64
}

/// The usual table of prices: a header, and a row each.
pub(crate) fn price_rows(prices: &[Price]) -> Vec<Vec<String>> {
    let row = |price: &Price| {
        let Price { name, least, median, p10, p90, added } = price;
        let [added, least, median] = [added, least, median].map(|nanos| format!("{nanos:.1}"));
        vec![name.clone(), added, least, median, format!("{p10:.1} – {p90:.1}")]
    };
    prices.iter().map(row).collect()
}

pub(crate) const PRICE_HEADER: [&str; 5] = ["ns a call", "added", "least", "median", "p10 – p90"];
/// How many nanoseconds each case takes of a round, or up to twice as many: few, so that most slices are not interrupted.
const SLICE: f64 = 250_000.0;
