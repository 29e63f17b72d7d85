//! The tables: medians over the processes, beside the goals.

use std::collections::BTreeMap;

use crate::cli::{print_table, quantile};

/// Each number of each process, under the words before it.
type Numbers = BTreeMap<String, Vec<f64>>;

pub(crate) fn print(outputs: &[String]) {
    let processes = if outputs.len() == 1 { "1 process".to_owned() } else { format!("{} processes", outputs.len()) };
    println!("{}, {processes}\n", processor());
    let (mut numbers, mut order) = (Numbers::new(), Vec::new());
    for line in outputs.iter().flat_map(|output| output.lines()) {
        let (words, number) = line.rsplit_once('\t').expect("a line ends in a number");
        let (words, number) = match number.parse() {
            Ok(number) => (words, number),
            Err(_) => continue,
        };
        if !numbers.contains_key(words) {
            order.push(words.to_owned());
        }
        numbers.entry(words.to_owned()).or_default().push(number);
    }
    prices(&numbers, &order);
    threads(outputs);
}

fn prices(numbers: &Numbers, order: &[String]) {
    let cases = order.iter().filter_map(|words| words.strip_prefix("added\t")?.strip_suffix("\told"));
    let row = |case: &str| {
        let of = |version: &str| &numbers[&format!("added\t{case}\t{version}")];
        let mut ratios: Vec<f64> = of("new").iter().zip(of("old")).map(|(new, old)| new / old).collect();
        let [least, median, most] = [0.0, 0.5, 1.0].map(|share| quantile(&mut ratios, share));
        let nanos = |version| format!("{:.1}", quantile(&mut of(version).clone(), 0.5));
        let limit = goal(&MOST, case);
        let asked = limit.map_or(String::new(), |limit| format!("≤ {limit:.2} {}", mark(median <= limit)));
        let spread = format!("{least:.3} – {most:.3}");
        vec![case.to_owned(), nanos("old"), nanos("new"), format!("{median:.3}"), spread, asked]
    };
    let header = ["ns added to a call, minimum", "old", "new", "new : old", "least – most", "goal"];
    print_table(&header, &cases.map(row).collect::<Vec<_>>());
}

fn threads(outputs: &[String]) {
    // Two numbers a line here: the ratio, and what one thread makes.
    let (mut ratios, mut alone, mut order) = (Numbers::new(), Numbers::new(), Vec::new());
    for line in outputs.iter().flat_map(|output| output.lines()).filter_map(|line| line.strip_prefix("threads\t")) {
        let mut parts = line.rsplitn(3, '\t');
        let mut number = || parts.next().and_then(|number| number.parse::<f64>().ok()).expect("a number");
        let (one, ratio) = (number(), number());
        let words = parts.next().expect("the case").to_owned();
        if !ratios.contains_key(&words) {
            order.push(words.clone());
        }
        ratios.entry(words.clone()).or_default().push(ratio);
        alone.entry(words).or_default().push(one);
    }
    let row = |words: &String| {
        let (case, version) = words.split_once('\t').unwrap_or((words, ""));
        let mut of = ratios[words].clone();
        let [least, median, most] = [0.0, 0.5, 1.0].map(|share| quantile(&mut of, share));
        let limit = goal(&LEAST, case).filter(|_| version == "new");
        let asked = limit.map_or(String::new(), |limit| format!("≥ {limit:.1} {}", mark(median >= limit)));
        let one = quantile(&mut alone[words].clone(), 0.5);
        let [one, two] = [one, one * median].map(|rate| format!("{rate:.1}"));
        let name = format!("{case}{}{version}", if version.is_empty() { "" } else { ", " });
        vec![name, one, two, format!("{median:.2}"), format!("{least:.2} – {most:.2}"), asked]
    };
    let header = ["million calls a second", "1 thread", "2 threads", "2 : 1", "least – most", "goal"];
    print_table(&header, &order.iter().map(row).collect::<Vec<_>>());
}

/// Returns the goal of a case, if the old version is the one that the goals name.
fn goal(goals: &[(&str, f64)], case: &str) -> Option<f64> {
    std::env::var_os("BENCH_VERSIONS_GOALS")?;
    goals.iter().find(|(name, _)| *name == case).map(|(_, limit)| *limit)
}

const fn mark(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |key: &str| Some(info.lines().find(|line| line.starts_with(key))?.split_once(": ")?.1.to_owned());
    let model = value("model name").unwrap_or_else(|| "an unknown processor".to_owned());
    let family = value("cpu family").map_or(String::new(), |family| format!(", family {family}"));
    format!("{model}{family}, {} cores", std::thread::available_parallelism().map_or(0, usize::from))
}

/// What the new version may add at most of what the old one adds.
const MOST: [(&str, f64); 13] = [
    ("closed, default rules", 0.66),
    ("closed, run rule only", 0.70),
    ("closed, default rules, shipped observers and a recorder", 0.52),
    ("closed, slow calls", 0.65),
    ("closed, ring of 100 calls", 1.02),
    ("rejected, typed", 0.57),
    ("rejected, boxed", 0.68),
    ("rejected, half-open", 0.55),
    ("`try_acquire` and success, default rules", 0.65),
    ("`try_acquire` and success, run rule only", 0.65),
    ("every third call fails, default window", 1.02),
    ("every third call fails, run rule only", 1.02),
    ("keyed, 1 000 keys", 0.65),
];
/// What two threads must make together of what one makes alone.
const LEAST: [(&str, f64); 5] = [
    ("default rules", 1.9),
    ("run rule only", 1.9),
    ("rejections", 1.9),
    ("default rules, shipped observers and a recorder", 1.8),
    ("keyed, 1 000 keys", 1.4),
];
