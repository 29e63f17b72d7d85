//! The judge of the language: counts words in the comments of `src` that make a comment hard to read.
//!
//! A word alone is no fault, and no list of words proves that a comment is plain. Therefore the judge compares rates over
//! all sources with limits, and leaves single sentences to the reviewer. Only the first words of a module are checked one
//! by one.
//!
//! Line comments count, with documentation. Blocks of code, spans of code and URLs do not.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::lexer::{Kind, pieces};
use super::rust_files;

#[test]
fn comments_in_the_sources_keep_the_limits_of_plain_english() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &Path| {
        let name = file.strip_prefix(root).expect("found below the root").display().to_string().replace('\\', "/");
        Comments::of(name, &fs::read_to_string(file).expect("a source file is readable"))
    };
    let files: Vec<_> = rust_files(&root.join("src")).iter().map(|file| read(file)).collect();
    assert!(files.iter().any(|file| !file.words.is_empty()), "no comment below {}", root.display());
    let faults = faults(&files);
    assert!(faults.is_empty(), "CONTRIBUTING.md, Words, has the rules of language:\n{}", faults.join("\n"));
}

#[test]
fn a_planted_fault_of_language_is_caught() {
    for (source, expected) in [
        ("// Keeps what\n// the store has.", "\"what\": 200.0 in 1 000 words"),
        ("/// Wakes everybody.\nfn f() {}", "anonymous people: 500.0 in 1 000 words"),
        ("let a = 1; // Nobody's cell.", "anonymous people: 500.0 in 1 000 words"),
        ("// The store is told.", "\"tell\": 250.0 in 1 000 words"),
        ("//! Locks the cell.\n//! It's cold.", "\"it\": 200.0 in 1 000 words"),
        ("//! Who polls the store.", "src/planted.rs:1: the documentation of the module begins with \"Who\""),
        (
            "\n//! Whether the cell is free.",
            "src/planted.rs:2: the documentation of the module begins with \"Whether\"",
        ),
    ] {
        let faults = faults(&[planted(source)]);
        assert_eq!(faults.len(), 1, "planted: {source}, found: {faults:?}");
        assert!(faults[0].starts_with(expected), "planted: {source}, found: {}", faults[0]);
    }
}

#[test]
fn plain_comments_code_and_urls_are_no_faults_of_language() {
    for source in [
        "//! The seat of a thread.\n\n/// Returns the number of the seat.\nfn f() {} // A seat is reused.",
        // A literal is no comment, and a URL is no prose.
        r##"f("// what", "https://what.it", r#"// "it" // nobody "#, '"', "// told");"##,
        "// See https://example.com/what/it and [the page](https://example.com/it).",
        "let it = what(told); // The answer.",
        // A block of code and a span of code, also over the end of a line.
        "/// Example:\n///\n/// ```\n/// // Tell nobody what it is.\n/// ```\n/// The end.",
        "// The words `what` and [`it`] and ``a ` what`` and `what\n// it` are code.",
        // Longer words are other words.
        "// Whatever its limits are, item, somewhat, nobodys, a teller, retold, what_is and it_is are other words.",
        // Only the first line of a module counts, and only its first word.
        "//! The file.\n//! How the file is read.\n\n// Whole files.\n/// Who.",
        "//! However long the file is.",
    ] {
        assert_eq!(faults(&[planted(source)]), Vec::<String>::new(), "nothing is wrong with {source}");
    }
}

#[test]
fn prose_begins_anew_behind_code_and_in_each_comment() {
    for (source, expected) in [
        ("/// ```\n/// it\n/// ```\n/// It\n", vec![4]),
        ("/// ```\n/// it\nfn f() {}\n// It", vec![4]),
        ("//! ```\n//! it\n/// It", vec![3]),
        ("// A quote ` alone.\n//\n// It", vec![3]),
        ("f(\"// it\"); // It", vec![1]),
        ("/* It */ // It", vec![1]),
    ] {
        let lines: Vec<_> = planted(source).hits(&["it"]).collect();
        assert_eq!(lines, expected, "in {source}");
    }
}

#[test]
fn a_limit_of_language_counts_over_all_files() {
    let file = |hits: usize| {
        let source = format!("{}// {}", "// what what\n".repeat(hits / 2), "word ".repeat(500 - hits));
        Comments { file: format!("src/{hits}.rs"), ..planted(&source) }
    };
    let three = planted(&format!("// {}{}", "what ".repeat(3), "word ".repeat(997)));
    assert_eq!(faults(&[three]), Vec::<String>::new(), "the limit itself is allowed");
    assert_eq!(faults(&[file(2), file(0)]), Vec::<String>::new(), "a file alone can have more than the limit");
    assert_eq!(faults(&[file(2), file(2)]).len(), 1, "four in 1 000 words are too many");
    let files: Vec<_> = (0..12).map(|hits| file(2 * hits)).collect();
    let faults = faults(&files);
    let lines: Vec<_> = faults[0].lines().collect();
    assert_eq!(lines[0], "\"what\": 22.0 in 1 000 words (132 in 6000), at most 3");
    assert_eq!(lines[1], "  src/22.rs: 22, in lines 1, 2, 3, 4, 5 ..");
    assert_eq!((lines.len(), lines[10]), (11, "  src/4.rs: 4, in lines 1, 2"));
}

/// Returns the broken rules, each with the files that have most of the faults.
fn faults(files: &[Comments]) -> Vec<String> {
    let rates = LIMITS.iter().filter_map(|limit| limit.fault(files));
    rates.chain(files.iter().filter_map(Comments::opening)).collect()
}

fn planted(source: &str) -> Comments {
    Comments::of("src/planted.rs".to_owned(), source)
}

/// The comments of one file.
struct Comments {
    file: String,
    /// The words in lower case, each with its line.
    words: Vec<(usize, String)>,
    /// The first line of the documentation of the module.
    first: Option<(usize, String)>,
}

impl Comments {
    fn of(file: String, source: &str) -> Self {
        let mut comments = Self { file, words: Vec::new(), first: None };
        let mut block = Block::default();
        for piece in pieces(source).into_iter().filter(|piece| piece.kind == Kind::Comment) {
            let Some((marker, text)) = split_marker(piece.text) else { continue };
            if block.marker != marker || block.line + 1 != piece.line {
                block = Block { marker, ..Block::default() };
            }
            block.line = piece.line;
            if marker == "//!" {
                comments.first.get_or_insert_with(|| (piece.line, text.to_owned()));
            }
            comments.words.extend(words(&block.prose(text)).map(|word| (piece.line, word)));
        }
        comments
    }

    /// The lines where one of the words occurs.
    fn hits(&self, words: &[&str]) -> impl Iterator<Item = usize> {
        self.words.iter().filter(|(_, word)| words.contains(&stem(word))).map(|(line, _)| *line)
    }

    fn opening(&self) -> Option<String> {
        let (line, text) = self.first.as_ref()?;
        let begins = words(text).next()?;
        let word = OPENINGS.iter().find(|word| word.to_lowercase() == stem(&begins))?;
        Some(format!("{}:{line}: the documentation of the module begins with \"{word}\"", self.file))
    }
}

/// A limit for a group of words.
struct Limit {
    name: &'static str,
    words: &'static [&'static str],
    per_thousand: f64,
}

impl Limit {
    fn fault(&self, files: &[Comments]) -> Option<String> {
        let mut found: Vec<(&Comments, Vec<usize>)> =
            files.iter().map(|file| (file, file.hits(self.words).collect())).collect();
        let words = files.iter().map(|file| file.words.len()).sum();
        let hits = found.iter().map(|(_, lines)| lines.len()).sum();
        let rate = 1000.0 * as_float(hits) / as_float(words).max(1.0);
        if rate <= self.per_thousand {
            return None;
        }
        found.sort_by_key(|(_, lines)| std::cmp::Reverse(lines.len()));
        let Self { name, per_thousand, .. } = self;
        let mut fault = format!("{name}: {rate:.1} in 1 000 words ({hits} in {words}), at most {per_thousand}");
        for (file, lines) in found.iter().filter(|(_, lines)| !lines.is_empty()).take(SHOWN_FILES) {
            let mut places: Vec<_> = lines.iter().map(ToString::to_string).collect();
            places.dedup();
            let more = if places.len() > SHOWN_LINES { " .." } else { "" };
            places.truncate(SHOWN_LINES);
            write!(fault, "\n  {}: {}, in lines {}{more}", file.file, lines.len(), places.join(", "))
                .expect("a string takes all text");
        }
        Some(fault)
    }
}

fn as_float(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("the sources have fewer words"))
}

/// Adjacent line comments with the same marker. Code can go over several lines of a block, and ends with the block.
#[derive(Default)]
struct Block {
    marker: &'static str,
    line: usize,
    fenced: bool,
    /// The number of backticks that opened the span of code, or 0 outside of a span.
    span: usize,
}

impl Block {
    /// Returns a line without its code.
    fn prose(&mut self, line: &str) -> String {
        let fence = line.trim_start().starts_with("```");
        self.fenced ^= fence;
        if fence || self.fenced {
            return String::new();
        }
        if line.trim().is_empty() {
            // A paragraph ends here, and Markdown ends no span in another paragraph.
            self.span = 0;
        }
        let (mut prose, mut rest) = (String::new(), line);
        while !rest.is_empty() {
            let (text, behind) = rest.split_at(rest.find('`').unwrap_or(rest.len()));
            if self.span == 0 {
                prose.push_str(text);
            }
            rest = behind.trim_start_matches('`');
            self.span = match (self.span, behind.len() - rest.len()) {
                (0, opens) => opens,
                (open, closes) if open == closes => 0,
                (open, _) => open,
            };
        }
        prose
    }
}

/// Splits a line comment into its marker and its text. Returns `None` for `/* .. */`.
fn split_marker(comment: &str) -> Option<(&'static str, &str)> {
    ["//!", "///", "//"].into_iter().find_map(|marker| Some((marker, comment.strip_prefix(marker)?)))
}

/// The words of a text without URLs, in lower case. A number is no word.
fn words(text: &str) -> impl Iterator<Item = String> {
    let without_url = |part: &'_ str| {
        part.split_once("://").map_or(part.len(), |(before, _)| before.trim_end_matches(char::is_alphanumeric).len())
    };
    let parts = text.split_whitespace().map(move |part| &part[..without_url(part)]);
    let words = parts.flat_map(|part| part.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '\''));
    words.map(|word| word.trim_matches('\'')).filter(|word| word.contains(char::is_alphabetic)).map(str::to_lowercase)
}

/// A word without an ending such as that of "it's".
fn stem(word: &str) -> &str {
    word.split('\'').next().unwrap_or(word)
}

const SHOWN_FILES: usize = 10;
const SHOWN_LINES: usize = 5;

/// The limits lie above the highest rates of tower, tokio, governor and other crates that read well, so that a good
/// comment is never changed for a count. In 1 000 words these crates have "what" 0.1 to 1.4 times, anonymous people 0 to
/// 0.1 times, "tell" 0 to 0.3 times and "it" 4 to 8 times. With 14.4, 3.7, 3.3 and 27, the comments of this crate were
/// not understood without the code.
const LIMITS: &[Limit] = &[
    // A clause with "what" stands in the place of a noun, and the reader has to find the noun.
    Limit { name: "\"what\"", words: &["what"], per_thousand: 3.0 },
    // A person without a name hides the subject, which is the caller, the operator, this instance or another thread.
    Limit {
        name: "anonymous people",
        words: &["whoever", "nobody", "somebody", "anybody", "everybody", "someone", "anyone", "everyone"],
        per_thousand: 0.5,
    },
    // "Tell" hides the kind of the message: a circuit notifies, reports, logs or records.
    Limit { name: "\"tell\"", words: &["tell", "tells", "told", "telling"], per_thousand: 0.5 },
    // "It" is right where the sentence has one candidate. A higher rate means that nouns are missing.
    Limit { name: "\"it\"", words: &["it"], per_thousand: 12.0 },
];

/// A module that begins with a question does not say what the module is.
const OPENINGS: &[&str] = &["What", "Whether", "How", "Who"];
