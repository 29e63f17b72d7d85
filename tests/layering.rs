//! The judge of the layers: who may name whom inside `src`.
//!
//! Modules lie at heights, and a module names only lower ones, or its own. Beside the heights stand a few walls. The judge
//! reads text, not types, so that it needs nothing but std: it sees `use` trees, inline paths and `super::` paths that
//! climb out of their module; it does not see what a macro of another crate expands to.
//!
//! `lib.rs` re-exports and binaries stand outside the library: heights do not bind them, walls do.

#[path = "layering/documents.rs"]
mod documents;
#[path = "layering/lexer.rs"]
mod lexer;
#[path = "layering/prose.rs"]
mod prose;

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

use lexer::{Kind, pieces};

/// Lowest first. Modules of one line do not name each other.
const HEIGHTS: &[&[&str]] = &[
    &["sync", "calendar", "digest", "guide", "nearest", "pattern", "random", "shown", "sources"],
    &["keep", "outcome", "clock"],
    &["group", "window"],
    &["state"],
    &["event"],
    &["telemetry"],
    &["config", "roll_call"],
    &["circuit"],
    &["error", "registry"],
    &["classify"],
    &["call", "health", "serialize", "testing"],
    &["record", "keyed"],
    &["store"],
    &["coordinator"],
    &["settings", "operation"],
    &["rejection", "retry"],
    &["future"],
    &["service"],
    &["layer", "shed"],
    &["body"],
    &["fallback"],
    &["admin"],
    &["bin"],
];

/// Meets persistence at events and circuits only, although it lies higher.
const TOWER_EDGE: &[&str] = &["layer", "service", "future", "rejection", "body", "fallback"];
const PERSISTENCE: &[&str] = &["store", "coordinator"];

/// What decides depends on no runtime, no protocol and no telemetry crate.
const CORE: &[&str] = &["circuit", "window"];
const FOREIGN_TO_CORE: &[&str] = &["tokio", "http", "serde", "metrics", "tracing"];

#[test]
fn the_tree_keeps_its_heights() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = rust_files(&root.join("src"));
    assert!(!files.is_empty(), "no source below {}", root.display());
    let mut violations = Vec::new();
    for file in &files {
        let name = file.strip_prefix(root).expect("found below the root").display().to_string().replace('\\', "/");
        let source = fs::read_to_string(file).expect("a source file is readable");
        violations.extend(judge(&name, &source));
    }
    assert!(violations.is_empty(), "layers are broken:\n{}", violations.join("\n"));
}

#[test]
fn a_planted_violation_is_caught() {
    for (file, source, expected) in [
        ("window", "use std::fmt;\nuse crate::circuit::Circuit;", "2: `window` names `circuit`, which lies higher"),
        ("error", "use crate::registry::Registry;", "1: `error` names `registry`, which lies at the same height"),
        ("state", "use crate::{\n sync::{A},\n body::{\n T as M},\n};", "4: `state` names `body`, which lies higher"),
        ("circuit/word", "f(c == '\"' || crate::registry::g())", "1: `circuit` names `registry`, which lies higher"),
        ("window/time", "use super::T;\nuse super::super::config::C;", "2: `window` names `config`, which lies higher"),
        ("window", "mod a { use super::T; }\nuse super::event::E;", "2: `window` names `event`, which lies higher"),
        ("window", "mod a { use super::super::event::E; }", "1: `window` names `event`, which lies higher"),
        ("layer", "use crate::Circuit;", "1: `layer` names `crate::Circuit`: one name, one place; name its module"),
        ("layer", "use super::*;", "1: `layer` names the crate's root: name the module that is meant"),
        ("layer", "use crate::misc::x;", "1: `layer` names `misc`, which has no height: place it in HEIGHTS"),
        ("misc/deep", "", "1: `misc` has no height: place it in HEIGHTS"),
        ("service", "use crate::store::Store;", "1: `service` names `store`: the tower edge never does"),
        ("circuit/permit", "\ntracing::info!(1);", "2: `circuit` names the crate `tracing`: the core stays free of it"),
        ("circuit", "use {std::fmt, tokio as t};", "1: `circuit` names the crate `tokio`: the core stays free of it"),
        ("keyed", "use std::sync::{Arc, Mutex};", "1: `keyed` names `std::sync::Mutex`: it enters through sync.rs"),
        ("shed", "std::sync::atomic::X()", "1: `shed` names `std::sync::atomic::X`: it enters through sync.rs"),
        ("keyed", "use std::sync::atomic::{self};", "1: `keyed` names `std::sync::atomic`: it enters through sync.rs"),
        ("future", "fn f(at: Instant) {}", "1: `future` names `Instant`: only clock.rs asks for the time"),
        (
            "bin/circuitctl/a",
            "c.is_control()",
            "1: `bin` names `is_control`: the one list of characters that forge is in shown.rs",
        ),
        ("lib", "f(SystemTime::now())", "1: `lib` names `SystemTime::now`: only clock.rs asks for the time"),
    ] {
        let file = format!("src/{file}.rs");
        assert_eq!(judge(&file, source), [format!("{file}:{expected}")], "planted in {file}: {source}");
    }
}

#[test]
fn comments_and_tests_are_not_references() {
    for (file, source) in [
        ("window", "//! [`crate::layer`]\n/// crate::layer\n// crate::layer::X\n/* tokio::spawn\n crate::layer::X */"),
        ("window", r###"f("crate::layer \" Instant", r#"crate::layer " Instant"#, b'"', '\'', 'é', "Instant")"###),
        ("window", "#[cfg(test)]\nmod tests { use crate::layer::X; fn f() { Instant::now(); } }"),
        ("window", "#[cfg(all(test, not(breaker_loom)))]\n#[cold]\nmod tests { use crate::layer::X; }"),
        ("circuit/loom_tests", "use crate::layer::X;"),
        // Down, or inside its own module, however it is spelled.
        ("circuit", "mod word;\nuse self::word::Word;\nuse crate::{circuit::permit, sync::AtomicU64};"),
        ("circuit", "fn f<'a>(metrics: u8) -> u8 { metrics }\nuse crate::telemetry::{metrics, tracing::T};"),
        ("circuit/word", "use super::*;\npub(super) fn f(x: impl Fn() + use<>) {}\npub(in crate::circuit) fn g() {}"),
        ("registry", "pub(super) use std::sync::{Arc, atomic::Ordering};"),
        ("lib", "pub use layer::CircuitBreakerLayer;\nfn f() -> crate::CircuitBreakerLayer {}"),
    ] {
        let file = format!("src/{file}.rs");
        assert_eq!(judge(&file, source), Vec::<String>::new(), "nothing is wrong in {file}: {source}");
    }
}

/// Says what is wrong with one file, a line each.
fn judge(file: &str, source: &str) -> Vec<String> {
    if file.ends_with("/loom_tests.rs") {
        return Vec::new();
    }
    let module: Vec<&str> = file.trim_start_matches("src/").trim_end_matches(".rs").split('/').collect();
    let own = module[0];
    let bound = own != "lib" && own != "bin";
    let mut violations = Vec::new();
    if bound && height(own).is_none() {
        violations.push(format!("{file}:1: `{own}` has no height: place it in HEIGHTS"));
    }
    for reference in references(module.clone(), &lex(source)) {
        let climbs = if bound { against_heights(own, &reference) } else { None };
        if let Some(fault) = climbs.or_else(|| against_walls(own, &reference)) {
            violations.push(format!("{file}:{}: `{own}` names {fault}", reference.line));
        }
    }
    violations
}

fn against_heights(own: &str, reference: &Reference<'_>) -> Option<String> {
    let name = match reference.target.as_deref()? {
        // `pub(crate)` and `pub(super)` mention the root and take nothing from it.
        [] if !reference.import => return None,
        [] | ["*", ..] => return Some("the crate's root: name the module that is meant".to_owned()),
        [name, ..] if *name == own => return None,
        [name, ..] => *name,
    };
    if name.starts_with(char::is_uppercase) {
        return Some(format!("`crate::{name}`: one name, one place; name its module"));
    }
    let Some(theirs) = height(name) else {
        return Some(format!("`{name}`, which has no height: place it in HEIGHTS"));
    };
    match theirs.cmp(&height(own)?) {
        Ordering::Less => None,
        Ordering::Equal => Some(format!("`{name}`, which lies at the same height")),
        Ordering::Greater => Some(format!("`{name}`, which lies higher")),
    }
}

fn against_walls(own: &str, Reference { path, target, import, .. }: &Reference<'_>) -> Option<String> {
    let written = path.join("::");
    if let Some([name, ..]) = target.as_deref()
        && TOWER_EDGE.contains(&own)
        && PERSISTENCE.contains(name)
    {
        return Some(format!("`{name}`: the tower edge never does"));
    }
    // A single word outside `use` is a variable, not a crate.
    if CORE.contains(&own) && FOREIGN_TO_CORE.contains(&path[0]) && (*import || path.len() > 1) {
        return Some(format!("the crate `{}`: the core stays free of it", path[0]));
    }
    let primitive = match path[..] {
        // The module under a name of its own would hide what is taken from it.
        ["std" | "core", "sync"] | ["std" | "core", "sync", "atomic"] => *import,
        ["std" | "core", "sync", "atomic", item, ..] => item != "Ordering",
        ["std" | "core", "sync", item, ..] => item == "Mutex" || item == "*",
        _ => false,
    };
    if primitive && own != "sync" {
        return Some(format!("`{written}`: it enters through sync.rs"));
    }
    // The JSON of a rejection escapes control characters, because RFC 8259 requires that of those and of no others.
    if path.contains(&"is_control") && !["shown", "rejection"].contains(&own) {
        return Some(format!("`{written}`: the one list of characters that forge is in shown.rs"));
    }
    let time = path.contains(&"Instant") || written.contains("SystemTime::now");
    (time && own != "clock").then(|| format!("`{written}`: only clock.rs asks for the time"))
}

fn height(module: &str) -> Option<usize> {
    HEIGHTS.iter().position(|group| group.contains(&module))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is readable") {
        let path = entry.expect("the entry is readable").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// A path as it is written, and from the crate's root if it leads into this crate.
struct Reference<'a> {
    line: usize,
    path: Vec<&'a str>,
    target: Option<Vec<&'a str>>,
    import: bool,
}

/// A line, and a word or a piece of punctuation on it.
type Token<'a> = (usize, &'a str);

fn text<'a>(tokens: &[Token<'a>], at: usize) -> &'a str {
    tokens.get(at).map_or("", |token| token.1)
}

fn references<'a>(mut module: Vec<&'a str>, tokens: &[Token<'a>]) -> Vec<Reference<'a>> {
    let mut found = Vec::new();
    let mut braces = Vec::new(); // true: an inline module's, which `super` counts
    let mut at = 0;
    while at < tokens.len() {
        let start = at;
        let mut paths = Vec::new();
        at += 1;
        match text(tokens, start) {
            "#" => at = behind_test_module(tokens, start).unwrap_or(at),
            // `use<'a>` is a bound.
            "use" if text(tokens, at) != "<" => flatten(tokens, &mut at, &[], &mut paths),
            "mod" if text(tokens, at + 1) == "{" => {
                module.push(text(tokens, at));
                braces.push(true);
                at += 2;
            }
            "{" => braces.push(false),
            "}" if braces.pop() == Some(true) => drop(module.pop()),
            first if is_word(first) => {
                let mut path = vec![first];
                while text(tokens, at) == "::" && is_word(text(tokens, at + 1)) {
                    path.push(text(tokens, at + 1));
                    at += 2;
                }
                paths.push((tokens[start].0, path));
            }
            _ => {}
        }
        let import = text(tokens, start) == "use";
        found.extend(paths.into_iter().map(|(line, path)| {
            let target = resolve(&module, &path);
            Reference { line, path, target, import }
        }));
    }
    found
}

fn resolve<'a>(module: &[&'a str], path: &[&'a str]) -> Option<Vec<&'a str>> {
    let mut target = match path[0] {
        "crate" | "tower_circuit_breaker" => Vec::new(),
        "self" | "super" => module.to_vec(),
        _ => return None,
    };
    for (depth, segment) in path.iter().enumerate() {
        match *segment {
            "super" => drop(target.pop()),
            _ if depth == 0 => {}
            segment => target.push(segment),
        }
    }
    Some(target)
}

/// Turns one `use` tree into a path for each leaf, and moves `at` behind it.
fn flatten<'a>(tokens: &[Token<'a>], at: &mut usize, prefix: &[&'a str], leaves: &mut Vec<(usize, Vec<&'a str>)>) {
    let mut path = prefix.to_vec();
    let line = tokens.get(*at).map_or(0, |token| token.0);
    loop {
        match text(tokens, *at) {
            "," | ";" | "}" | "" => {
                leaves.push((line, path));
                return;
            }
            "{" => {
                *at += 1;
                while !matches!(text(tokens, *at), "}" | ";" | "") {
                    flatten(tokens, at, &path, leaves);
                    *at += usize::from(text(tokens, *at) == ",");
                }
                *at += 1;
                return;
            }
            "as" => *at += 1,
            "::" | "$" => {}
            // In a group, `self` is the prefix.
            "self" if !path.is_empty() => {}
            segment => path.push(segment),
        }
        *at += 1;
    }
}

/// Where `#[cfg(test)] mod … { … }` ends, if it starts here.
fn behind_test_module(tokens: &[Token<'_>], start: usize) -> Option<usize> {
    let mut at = behind_bracket(tokens, start + 1, "[", "]")?;
    let attribute: String = tokens[start..at].iter().map(|token| token.1).collect();
    if attribute != "#[cfg(test)]" && !attribute.starts_with("#[cfg(all(test,") {
        return None;
    }
    while text(tokens, at) == "#" {
        at = behind_bracket(tokens, at + 1, "[", "]")?;
    }
    if text(tokens, at) == "mod" { behind_bracket(tokens, at + 2, "{", "}") } else { None }
}

fn behind_bracket(tokens: &[Token<'_>], start: usize, open: &str, close: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for at in start..tokens.len() {
        depth += usize::from(text(tokens, at) == open);
        depth = depth.checked_sub(usize::from(text(tokens, at) == close))?;
        if depth == 0 {
            return (at > start).then_some(at + 1);
        }
    }
    None
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The tokens of the code, without comments, literals and blanks.
fn lex(source: &str) -> Vec<Token<'_>> {
    let code = pieces(source).into_iter().filter(|piece| piece.kind == Kind::Code);
    code.map(|piece| (piece.line, piece.text)).collect()
}
