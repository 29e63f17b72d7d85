//! The cases of names. A store must distinguish all names that circuits can have.

use super::Failure;
use super::trial::{Trial, record};
use crate::store::{AnyStore, Store};

pub(super) async fn list(trial: &Trial<'_, '_>) -> Result<(), Failure> {
    let store = &trial.open().await;
    let mut names: Vec<_> = ["b", "a-b", "C", "a", "a.b", "_", "ä", "c", "gone"].map(|part| trial.name(part)).into();
    let mut etag = None;
    for name in &names {
        etag = Some(trial.create(store, name, &record(name, 1)).await?);
    }
    let gone = names.pop().zip(etag).expect("there is a last name");
    trial.same("deleting one", &trial.delete(store, &gone.0, &gone.1).await?, &true)?;
    names.sort();
    let found = trial.list(store).await?;
    let ours: Vec<_> = found.iter().filter(|name| name.starts_with(&trial.name(""))).cloned().collect();
    trial.same("the names of this case", &ours, &names)?;
    let mut sorted = found.clone();
    sorted.sort();
    sorted.dedup();
    trial.same("all names", &found, &sorted)
}

pub(super) async fn names(trial: &Trial<'_, '_>) -> Result<(), Failure> {
    let store = &trial.open().await;
    let names = awkward(&trial.name(""));
    clear(trial, store, &names).await?;
    for (number, name) in (0..).zip(&names) {
        trial.create(store, name, &record(name, number)).await?;
    }
    let loaded = trial.run("load_many", || store.load_many(&names)).await?;
    trial.same("the number of entries", &loaded.entries.len(), &names.len())?;
    let mut etags = Vec::new();
    for ((number, name), found) in (0..).zip(&names).zip(loaded.entries) {
        etags.push(trial.holds(&format!("under `{name}`"), found, &record(name, number))?);
    }
    let listed = trial.list(store).await?;
    if let Some(name) = names.iter().find(|name| !listed.contains(name)) {
        return Err(trial.failure(format!("expected `{name}` to be listed, found that it is not")));
    }
    for (name, etag) in names.iter().zip(&etags).step_by(2) {
        trial.same(&format!("deleting `{name}`"), &trial.delete(store, name, etag).await?, &true)?;
    }
    let loaded = trial.run("load_many", || store.load_many(&names)).await?;
    for ((number, name), found) in (0..).zip(&names).zip(loaded.entries) {
        let what = format!("under `{name}`, after every second was deleted");
        if number % 2 == 0 {
            trial.nothing(&what, found.as_ref())?;
        } else {
            trial.holds(&what, found, &record(name, number))?;
        }
    }
    clear(trial, store, &names).await
}

/// Deletes the records of the names. A name without the random prefix may still have a record from an earlier run.
async fn clear(trial: &Trial<'_, '_>, store: &AnyStore, names: &[String]) -> Result<(), Failure> {
    let loaded = trial.run("load_many", || store.load_many(names)).await?;
    for (name, found) in names.iter().zip(loaded.entries) {
        if let Some(found) = found {
            trial.delete(store, name, &found.etag).await?;
        }
    }
    Ok(())
}

/// Returns names that a store could confuse with each other because of escapes, folders, patterns, quotes or
/// collations.
fn awkward(prefix: &str) -> Vec<String> {
    const PARTS: &[&str] = &[
        "a",
        "A",
        "a/",
        "a/b",
        "a%2Fb",
        "a%2fb",
        "a%252Fb",
        "a_2Fb",
        "a\\b",
        "a:b",
        "a|b",
        "%",
        "%25",
        "%00",
        "_",
        "-",
        "--",
        "~",
        ".",
        "..",
        "/..",
        "/../..",
        "a.",
        "a.json",
        "a.json.lock",
        "a.json.corrupt",
        "a.json.tmp",
        "a.lock",
        "'",
        "''",
        "\"",
        "`",
        "';--",
        "$1",
        "?1",
        "?",
        "*",
        "[a]",
        "{a}",
        "{}",
        "{",
        "}",
        ":state",
        "{a}:state",
        "#",
        "&",
        "<a>",
        "\u{e9}",
        "e\u{301}",
        "ß",
        "ss",
        "SS",
        "i",
        "I",
        "ı",
        "İ",
        "\u{1f980}",
        "\u{fe0f}",
        "日本",
        "con",
        "NUL",
        "0",
        "00",
        "1e1",
        "true",
        "null",
        "a,b",
        "a;b",
        "a=b",
        "a@b",
        "a+b",
        "a!b",
        "(a)",
        "^a$",
    ];
    const VERBATIM: &[&str] = &[".", "..", "/", "%2F", "%2E", "-", "*"];
    let filled = |unit: &str, end: &str| {
        let mut name = prefix.to_owned();
        while name.len() + unit.len() + end.len() <= 200 {
            name.push_str(unit);
        }
        name + end
    };
    let mut names: Vec<String> = PARTS.iter().map(|part| format!("{prefix}{part}")).collect();
    names.extend(VERBATIM.iter().map(|&name| name.to_owned()));
    names.push("/".repeat(200));
    names.extend(
        [("x", "a"), ("x", "b"), ("x", "A"), ("x", ""), ("/", ""), ("\"", ""), ("\u{1f980}", "")]
            .map(|(unit, end)| filled(unit, end)),
    );
    // The next name is a proper prefix of the names that are filled with `x`. A store that compares only the beginnings
    // of names fails this case.
    let short = filled("x", "a");
    names.push(short[..short.len() - 1].to_owned());
    names
}
