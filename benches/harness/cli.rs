//! What a bench is asked on its command line, and the table it answers with.

/// How long to measure, and which cases.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) rounds: usize,
    filter: Option<String>,
}

impl Options {
    /// Reads `--rounds N`, `--quick` and a filter; quick unless `cargo bench` (or `--rounds`) asks for numbers.
    pub(crate) fn from_args() -> Self {
        let mut args = std::env::args().skip(1);
        let (mut rounds, mut measures, mut filter) = (None, false, None);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--rounds" => rounds = args.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0),
                "--quick" => rounds = Some(QUICK),
                "--bench" => measures = true,
                // A test runner asks for names first; there are no tests here.
                "--list" => std::process::exit(0),
                flag if flag.starts_with('-') => {}
                name => filter = Some(name.to_owned()),
            }
        }
        let rounds = rounds.unwrap_or(if measures { FULL } else { QUICK });
        Self { rounds, filter }
    }

    pub(crate) fn wants(&self, case: &str) -> bool {
        self.filter.as_ref().is_none_or(|part| case.contains(part.as_str()))
    }
}

/// Prints a table that can be read as it is and pasted as Markdown. The first column is text, the others numbers.
pub(crate) fn print_table(header: &[&str], rows: &[Vec<String>]) {
    let header: Vec<String> = header.iter().map(|title| (*title).to_owned()).collect();
    let all = || std::iter::once(&header).chain(rows);
    let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &[String]| {
        for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            if column == 0 { print!("| {cell:<width$} ") } else { print!("| {cell:>width$} ") }
        }
        println!("|");
    };
    line(&header);
    for (column, width) in widths.iter().enumerate() {
        if column == 0 { print!("|{:-<1$}", "", width + 2) } else { print!("|{:->1$}", ":", width + 2) }
    }
    println!("|");
    rows.iter().for_each(|row| line(row));
    println!();
}

/// Returns the value below which that share of the sorted `values` lies.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index into a few hundred rounds"
    )]
    let index = ((values.len() - 1) as f64 * share).round() as usize;
    values[index]
}

const FULL: usize = 201;
const QUICK: usize = 11;
