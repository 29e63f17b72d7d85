//! The judge of the documents: the tests, paths and names that they mention exist, and their links lead somewhere.
//!
//! A span of code such as `store waits::the_first_call_waits_…` names a test: a test binary, modules, and the name of a
//! function or its beginning. A span with a slash names a path. Every word of any other span in the map of the requirements must
//! occur in the sources.

use std::fs;
use std::path::{Path, PathBuf};

use super::{HEIGHTS, rust_files};

#[test]
fn the_map_of_requirements_names_only_existing_items() {
    let sources = Sources::read();
    let map = sources.text("docs/requirements.md");
    let mut faults = Vec::new();
    for (line, row) in (1..).zip(map.lines()).filter(|(_, line)| line.starts_with("| ")) {
        let shown_by = row.rsplit(" | ").next().unwrap_or_default();
        faults.extend(spans(shown_by).filter_map(|span| Some(format!("{line}: {}", sources.fault(span)?))));
    }
    assert!(faults.is_empty(), "docs/requirements.md:\n{}", faults.join("\n"));
    assert!(map.lines().filter(|line| line.starts_with("| ")).count() >= 40, "the map has lost its rows");
}

#[test]
fn a_planted_wrong_row_is_caught() {
    let sources = Sources::read();
    for (span, expected) in [
        ("store requirements::c1_…", "`tests/store/requirements.rs` has no test `c1_…`"),
        ("store requirements::an_open_circuit", "`tests/store/requirements.rs` has no test `an_open_circuit`"),
        ("store requirements::start", "`tests/store/requirements.rs` has no test `start`"),
        ("behaviour demands::", "there is no module `tests/behaviour/demands.rs`"),
        ("tests/demands", "there is no `tests/demands`"),
        ("Config::classical", "no source has the word `classical`"),
        ("circuit_breaker_trips_total", "no source has the word `circuit_breaker_trips_total`"),
    ] {
        assert_eq!(sources.fault(span).as_deref(), Some(expected), "planted: {span}");
    }
    for span in [
        "layering the_tree_keeps_its_heights",
        "store requirements::telemetry::the_log_says_…",
        "behaviour eras::open_duration::",
        "examples/outage",
        "examples/custom_store",
        "Registry::{status, is_tripped}",
    ] {
        assert_eq!(sources.fault(span), None, "nothing is wrong with {span}");
    }
}

#[test]
fn tests_that_a_page_names_exist() {
    let sources = Sources::read();
    let mut faults = Vec::new();
    for page in pages(&sources.root) {
        let text = sources.text(&page);
        let tests = spans(&text).filter(|span| Sources::as_test(span).is_some());
        faults.extend(tests.filter_map(|span| Some(format!("{page}: {}", sources.fault(span)?))));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn source_files_that_a_page_names_exist() {
    let sources = Sources::read();
    let is_there = |file: &str| ["", "src"].iter().any(|folder| sources.root.join(folder).join(file).is_file());
    let mut faults = Vec::new();
    for page in pages(&sources.root) {
        let text = sources.text(&page);
        let files = spans(&text).filter(|span| span.ends_with(".rs") && !span.contains([' ', '*']));
        faults.extend(files.filter(|file| !is_there(file)).map(|file| format!("{page}: there is no `{file}`")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(is_there("circuit/trip_rules.rs") && !is_there("circuit/record.rs"), "planted: a file that has moved");
}

#[test]
fn the_names_behind_a_source_file_occur_in_that_file() {
    let sources = Sources::read();
    let mut faults = Vec::new();
    for (page, heading) in [("CONTRIBUTING.md", "## Recipes"), ("docs/architecture.md", "#")] {
        let text = sources.text(page);
        let (_, part) = text.split_once(heading).expect("the page has the heading");
        let items = items(part);
        assert!(items.len() > 30, "{page}: {} items", items.len());
        faults.extend(items.iter().flat_map(|item| sources.absent(item)));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let planted = sources.absent("`circuit/trip_rules.rs` (`trips`, `untrips`)");
    assert_eq!(planted, ["`untrips` is not in src/circuit/trip_rules.rs"]);
}

#[test]
fn links_between_pages_lead_somewhere() {
    let sources = Sources::read();
    let mut faults = Vec::new();
    for page in pages(&sources.root) {
        let text = sources.text(&page);
        faults.extend(links(&text).filter_map(|link| Some(format!("{page}: {}", sources.broken(&page, link)?))));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let planted = |link| sources.broken("docs/stores.md", link);
    assert_eq!(planted("runbook.md#thresholds"), None);
    assert_eq!(planted("runbook.md#limits").as_deref(), Some("`docs/runbook.md` has no heading `#limits`"));
    assert_eq!(planted("stock.md").as_deref(), Some("there is no `docs/stock.md`"));
}

/// A package registry shows README and changelog without the files beside them, and no address of a repository is known.
#[test]
fn a_page_of_the_registry_has_no_link_that_needs_a_repository() {
    let sources = Sources::read();
    let mut faults = Vec::new();
    for page in ["README.md", "CHANGELOG.md"] {
        let text = sources.text(page);
        faults.extend(links(&text).filter_map(|link| Some(format!("{page}: {}", sources.dead(&text, link)?))));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let planted = |link: &str| sources.dead("## Features", link);
    let guide = |page: &str| planted(&format!("{GUIDE}{page}"));
    let source = |file: &str| planted(&format!("{SOURCE}{file}"));
    for dead in
        ["docs/stores.md", "/docs/stores.md", "./LICENSE-MIT", "CHANGELOG.md", "#feature", "http://docs.rs/tower"]
    {
        assert!(planted(dead).is_some(), "planted: {dead}");
    }
    assert_eq!(guide("stock/index.html").as_deref(), Some("the guide has no page `stock`"));
    assert_eq!(guide("stores/index.html#right").as_deref(), Some("`docs/stores.md` has no heading `#right`"));
    assert_eq!(source("docs/stock.md").as_deref(), Some("there is no `docs/stock.md`"));
    for link in ["#features", "https://docs.rs/tower"] {
        assert_eq!(planted(link), None);
    }
    assert_eq!((guide("index.html"), guide("stores/index.html#rights"), source("examples/")), (None, None, None));
}

/// The text of an error or of a rejection names rules, causes and hosts.
#[test]
fn no_page_or_example_answers_strangers_with_the_text_of_an_error() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut faults = Vec::new();
    let examples = rust_files(&root.join("examples")).into_iter().map(|path| path.display().to_string());
    for name in pages(root).into_iter().chain(examples) {
        let text = fs::read_to_string(root.join(&name)).expect("the file is readable");
        let leaks = |line: &&str| {
            let formats = ["error.to_string()", "rejected.to_string()", "{error", "{rejected"];
            line.contains("StatusCode::") && formats.iter().any(|format| line.contains(format))
        };
        faults.extend(text.lines().filter(leaks).map(|line| format!("{name}: {line}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// GitHub reads the definitions of a page's links in its file, and rustdoc those before the file.
#[test]
fn each_page_of_the_guide_defines_its_links_for_rustdoc() {
    let sources = Sources::read();
    let guide = sources.text("src/guide.rs");
    for page in guide.split("pub mod ").skip(1) {
        let (_, file) = page.split_once("include_str!(\"../").expect("a page includes its file");
        let (file, _) = file.split_once('"').expect("the path ends");
        let text = sources.text(file);
        for (label, _) in text.lines().filter_map(definition) {
            assert!(page.contains(&format!("//! [{label}]: ")), "src/guide.rs does not define [{label}] of {file}");
        }
        let inline = links(&text).find(|link| text.contains(&format!("]({link})")) && !link.starts_with(['#', 'h']));
        assert_eq!(inline, None, "{file}: rustdoc needs a link with a label");
    }
}

#[test]
fn the_architecture_page_has_the_heights_of_the_judge() {
    let text = Sources::read().text("docs/architecture.md");
    let block = text.split("```text").find(|block| block.contains("sync")).map(|block| block.split("```").next());
    let block = block.flatten().expect("the page has a block with the heights");
    let shown: Vec<Vec<&str>> = block.split('<').map(|height| height.split_whitespace().collect()).collect();
    let expected: Vec<_> = HEIGHTS.iter().filter(|height| **height != ["bin"]).map(|height| height.to_vec()).collect();
    assert_eq!(shown, expected);
}

/// The files of the repository that documents mention.
struct Sources {
    root: PathBuf,
    /// The text in which a name of the API, of a metric or of a setting must occur.
    words: String,
}

impl Sources {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).to_owned();
        let mut files = rust_files(&root.join("src"));
        files.extend(
            ["Cargo.toml", "deploy/prometheus/rules.yml", "examples/config_file.toml"].map(|file| root.join(file)),
        );
        let words = files.iter().map(|file| fs::read_to_string(file).expect("a source is readable")).collect();
        Self { root, words }
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    /// Returns what is wrong with a span of code.
    fn fault(&self, span: &str) -> Option<String> {
        if let Some((binary, path)) = Self::as_test(span) {
            return self.missing_test(binary, path);
        }
        if span.contains('/') && !span.contains(' ') {
            let there = self.root.join(span).exists() || self.root.join(format!("{span}.rs")).exists();
            return (!there).then(|| format!("there is no `{span}`"));
        }
        let mut words = span.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
        let missing = words.find(|word| !self.has_word(word) && !self.root.join(span).exists())?;
        Some(format!("no source has the word `{missing}`"))
    }

    /// Returns the faults of an item that names source files and, behind them, words that these files should have.
    fn absent(&self, item: &str) -> Vec<String> {
        let (mut files, mut texts, mut faults) =
            (Vec::new(), Self { root: self.root.clone(), words: String::new() }, Vec::new());
        for span in spans(item) {
            let file = ["", "src/"]
                .iter()
                .map(|folder| format!("{folder}{span}"))
                .find(|file| span.ends_with(".rs") && self.root.join(file).is_file());
            if let Some(file) = file {
                texts.words += &self.text(&file);
                files.push(file);
            } else if !files.is_empty() && span.chars().all(is_part_of_a_name) && !texts.has_word(span) {
                faults.push(format!("`{span}` is not in {}", files.join(", ")));
            }
        }
        faults
    }

    /// Returns binary and path of a test, if the span names one.
    fn as_test(span: &str) -> Option<(&str, &str)> {
        span.split_once(' ').filter(|(binary, path)| BINARIES.contains(binary) && !path.contains(' '))
    }

    fn missing_test(&self, binary: &str, path: &str) -> Option<String> {
        let (modules, name) = path.rsplit_once("::").unwrap_or(("", path));
        let modules: Vec<&str> = modules.split("::").filter(|module| !module.is_empty()).collect();
        let file = match modules.join("/") {
            none if none.is_empty() => format!("tests/{binary}.rs"),
            module => format!("tests/{binary}/{module}.rs"),
        };
        let Ok(text) = fs::read_to_string(self.root.join(&file)) else {
            return Some(format!("there is no module `{file}`"));
        };
        let exists = match name.strip_suffix('…') {
            _ if name.is_empty() => true,
            Some(beginning) => tests(&text).any(|test| test.starts_with(beginning)),
            None => tests(&text).any(|test| test == name),
        };
        (!exists).then(|| format!("`{file}` has no test `{name}`"))
    }

    fn has_word(&self, word: &str) -> bool {
        let is_part = |c: Option<char>| c.is_some_and(is_part_of_a_name);
        let stands_alone = |at: usize| {
            let (before, behind) = (&self.words[..at], &self.words[at + word.len()..]);
            !is_part(before.chars().next_back()) && !is_part(behind.chars().next())
        };
        self.words.match_indices(word).any(|(at, _)| stands_alone(at))
    }

    /// Returns the reason why a link on a page with this text leads nowhere, if only docs.rs has the files of the package.
    fn dead(&self, text: &str, link: &str) -> Option<String> {
        if let Some(anchor) = link.strip_prefix('#') {
            return (!headings(text).any(|heading| heading == anchor)).then(|| format!("there is no heading `{link}`"));
        }
        if let Some(file) = link.strip_prefix(SOURCE) {
            return self.broken("", file);
        }
        let Some(page) = link.strip_prefix(GUIDE) else {
            return (!link.starts_with("https://")).then(|| format!("`{link}` is a file of the repository"));
        };
        let (page, anchor) = page.split_once("index.html").unwrap_or((page, ""));
        let page = page.trim_end_matches('/');
        if !page.is_empty() && !self.text("src/guide.rs").contains(&format!("pub mod {page} {{")) {
            return Some(format!("the guide has no page `{page}`"));
        }
        if anchor.is_empty() { None } else { self.broken("", &format!("docs/{page}.md{anchor}")) }
    }

    /// Returns what is wrong with a link on a page.
    fn broken(&self, page: &str, link: &str) -> Option<String> {
        if link.starts_with("https://") {
            return None;
        }
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let folder = page.rsplit_once('/').map_or("", |(folder, _)| folder);
        let file = match (path, folder) {
            ("", _) => page.to_owned(),
            (_, "") => path.to_owned(),
            _ => path.strip_prefix("../").map_or_else(|| format!("{folder}/{path}"), ToOwned::to_owned),
        };
        if !self.root.join(&file).exists() {
            return Some(format!("there is no `{file}`"));
        }
        let is_there = anchor.is_empty() || headings(&self.text(&file)).any(|heading| heading == anchor);
        (!is_there).then(|| format!("`{file}` has no heading `#{anchor}`"))
    }
}

/// The documents, from the root of the repository.
fn pages(root: &Path) -> Vec<String> {
    let docs = fs::read_dir(root.join("docs")).expect("the folder is readable");
    let names = docs.map(|entry| format!("docs/{}", entry.expect("the entry is readable").file_name().display()));
    let mut pages: Vec<_> = names.filter(|name| name.ends_with(".md")).collect();
    pages
        .extend(["README.md", "CONTRIBUTING.md"].into_iter().filter(|page| root.join(page).exists()).map(String::from));
    pages.sort();
    pages
}

/// The spans of code in a text. Blocks are left out.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    prose(text).flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The rows of tables and the items of numbered lists in a text, each with the lines that belong to the item.
fn items(text: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for line in prose(text) {
        if line.starts_with("| ") || line.starts_with(|c: char| c.is_ascii_digit()) {
            items.push(line.to_owned());
        } else if let Some(item) = items.last_mut().filter(|_| line.starts_with("   ")) {
            item.push_str(line);
        }
    }
    items
}

fn is_part_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The lines outside of blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !fence && !inside
    })
}

/// The targets of the links in a text.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let inline = |line| str::split(line, "](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    prose(text).flat_map(inline).chain(text.lines().filter_map(definition).map(|(_, target)| target))
}

/// The label and the target of `[label]: target`.
fn definition(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix('[')?.split_once("]: ").filter(|(label, target)| !label.contains(']') && !target.contains(' '))
}

/// The anchors of the headings, as GitHub and rustdoc make them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let titles = prose(text).filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    titles.map(|title| {
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
    })
}

/// The names of the tests in a file: functions below an attribute that ends in `test`.
fn tests(source: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    source.lines().map(str::trim_start).filter_map(move |line| {
        if let Some(attribute) = line.strip_prefix("#[") {
            let path = attribute.split(['(', ']']).next().unwrap_or_default();
            is_test |= path.rsplit("::").next() == Some("test");
            return None;
        }
        let function = line.trim_start_matches("async ").strip_prefix("fn ");
        let name = function.and_then(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next());
        name.filter(|_| std::mem::take(&mut is_test))
    })
}

const BINARIES: &[&str] =
    &["allocations", "behaviour", "composition", "layering", "operation", "package", "stacks", "store"];

/// The pages and the files of the package, as docs.rs shows them.
const GUIDE: &str = "https://docs.rs/tower-circuit-breaker/latest/tower_circuit_breaker/guide/";
const SOURCE: &str = "https://docs.rs/crate/tower-circuit-breaker/latest/source/";
