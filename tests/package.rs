//! The package as its users get it: its files, the oldest Rust and the native libraries of each feature.
//!
//! The tests ask cargo about the manifest and the lock file. They build nothing: the step `package` of `scripts/test` builds the crate
//! from its package.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[test]
fn the_package_has_the_files_of_users_and_no_others() {
    let list = cargo(&["package", "--list", "--allow-dirty"]);
    let files: BTreeSet<&str> = list.lines().collect();
    let strangers: Vec<_> = files.iter().filter(|file| !is_for_users(file)).collect();
    assert!(strangers.is_empty(), "not for users: {strangers:?}");

    let guide = text("src/guide.rs");
    let pages: Vec<_> = guide.split("include_str!(\"../").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let readme = text("README.md");
    let linked = readme.lines().filter_map(|line| line.split_once("/latest/source/")).map(|(_, file)| file);
    let needed = pages.iter().copied().chain(linked).filter(|file| !file.ends_with('/'));
    let missing: Vec<_> = needed.filter(|file| !files.contains(file)).collect();
    assert!(missing.is_empty(), "the guide or the README names: {missing:?}");

    let shown = pages.iter().copied().chain(["CHANGELOG.md"]);
    for page in shown {
        let text = text(page);
        let outside = code(&text).find(|span| {
            let folder = ["tests/", "benches/", "scripts/", "docs/"].iter().any(|folder| span.starts_with(folder));
            folder && !span.contains([' ', '…']) && !files.iter().any(|file| file.starts_with(span))
        });
        assert_eq!(outside, None, "{page} names a file that users do not have");
    }

    let sources = below("src").chain(below("examples"));
    let missing: Vec<_> = sources.filter(|file| !files.contains(file.as_str())).collect();
    assert!(missing.is_empty(), "not in the package: {missing:?}");
    assert!(!is_for_users("docs/requirements.md") && !is_for_users("deploy/prometheus/tests.yml"), "planted");
}

/// Files that cargo adds count as files of users.
fn is_for_users(file: &str) -> bool {
    const FOLDERS: &[&str] = &["src/", "examples/", "docs/schema/", "deploy/grafana/"];
    const FILES: &[&str] = &[
        ".cargo_vcs_info.json",
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "Cargo.toml.orig",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "SECURITY.md",
        "deploy/prometheus/alertmanager.yml",
        "deploy/prometheus/rules.yml",
        "docs/admin.png",
        "docs/fleet.md",
        "docs/fleet.svg",
        "docs/health-probes.md",
        "docs/operation.md",
        "docs/outage.svg",
        "docs/recovery.md",
        "docs/runbook.md",
        "docs/stacks.md",
        "docs/stores.md",
        "docs/surge.svg",
        "docs/troubleshooting.md",
        "docs/words.md",
    ];
    FILES.contains(&file) || FOLDERS.iter().any(|folder| file.starts_with(folder))
}

#[test]
fn the_readme_has_the_oldest_rust_of_each_feature() {
    let crates = Crates::read();
    let mut expected = BTreeMap::<Rust, BTreeSet<String>>::new();
    for feature in crates.features() {
        let rust = crates.brought_by(&feature).filter_map(rust).max().unwrap_or_default();
        expected.entry(rust.max(crates.own_rust())).or_default().insert(feature);
    }
    expected.remove(&crates.own_rust()).expect("a feature needs no newer Rust than the crate");

    let readme = text("README.md");
    let (_, table) = readme.split_once("| features | oldest Rust |\n|---|---|\n").expect("the README has the table");
    let mut shown = BTreeMap::<Rust, BTreeSet<String>>::new();
    let mut others = None;
    for row in table.lines().take_while(|line| line.starts_with('|')) {
        let [features, number] = row.trim_matches('|').split('|').collect::<Vec<_>>()[..] else {
            panic!("two columns: {row}")
        };
        let number = Rust::parse(number.trim().split(',').next().unwrap_or_default());
        match features.trim() {
            "all others" => others = Some(number),
            features => drop(shown.insert(number, code(features).map(ToOwned::to_owned).collect())),
        }
    }
    assert_eq!(shown, expected, "left the README, right the dependencies");
    assert_eq!(others, Some(crates.own_rust()), "the row of all others has the `rust-version` of Cargo.toml");
}

/// Cargo lets an application have one package for a `links` key.
#[test]
fn the_readme_names_the_native_libraries_of_features() {
    let crates = Crates::read();
    let readme = text("README.md");
    for feature in crates.features() {
        for package in crates.brought_by(&feature) {
            let (name, links) = (package["name"].as_str().unwrap_or_default(), package["links"].as_str());
            // Ring puts its version into the key, so that versions do not exclude each other.
            let Some(key) = links.filter(|key| !key.starts_with("ring_core_")) else { continue };
            let named = readme.split("\n\n").any(|part| {
                part.contains(&format!("`{name}`")) && part.contains(&format!("`{feature}`")) && !part.starts_with('|')
            });
            assert!(named, "README.md does not say that `{feature}` brings `{name}` with the key {key}");
        }
    }
}

#[test]
fn examples_have_no_exceptions_from_lints() {
    for file in below("examples").filter(|file| file.ends_with(".rs")) {
        let source = text(&file);
        for word in ["clippy::", "#[allow", "#[expect", "#![allow", "#![expect", "#![warn"] {
            assert!(!source.contains(word), "{file} has `{word}`, which a reader would copy");
        }
    }
}

/// A reader copies the command from the first line.
#[test]
fn the_command_of_each_example_has_the_features_that_it_requires() {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version=1"])).expect("JSON");
    let targets = metadata["packages"][0]["targets"].as_array().expect("targets");
    let examples: Vec<_> = targets.iter().filter(|target| target["kind"][0] == "example").collect();
    assert!(examples.len() >= 18, "{} examples", examples.len());
    for example in examples {
        let (name, path) = (example["name"].as_str().expect("a name"), example["src_path"].as_str().expect("a path"));
        let source = fs::read_to_string(path).expect("an example is readable");
        let command =
            code(source.lines().next().unwrap_or_default()).find(|span| span.starts_with("cargo ")).unwrap_or_default();
        assert!(command.contains(&format!("--example {name}")), "{name} does not say how to start it: `{command}`");
        let mut words = command.split(' ').skip_while(|word| *word != "--features");
        let given: Vec<_> = words.nth(1).unwrap_or_default().split(',').collect();
        let required = example["required-features"].as_array().map_or(&[][..], Vec::as_slice);
        let missing = required.iter().find(|feature| !given.iter().any(|given| *feature == given));
        assert_eq!(missing, None, "`{command}` lacks a feature");
    }
}

/// The packages of the lock file, as cargo describes them.
struct Crates {
    root: Value,
    /// By name and version.
    packages: BTreeMap<String, Value>,
}

impl Crates {
    fn read() -> Self {
        let platform = "--filter-platform=x86_64-unknown-linux-gnu";
        let json = cargo(&["metadata", "--all-features", "--format-version=1", platform]);
        let mut metadata: Value = serde_json::from_str(&json).expect("cargo writes JSON");
        let Value::Array(packages) = metadata["packages"].take() else { panic!("cargo lists packages") };
        let name = |package: &Value| {
            format!("{} v{}", package["name"].as_str().unwrap_or(""), package["version"].as_str().unwrap_or(""))
        };
        let root =
            packages.iter().find(|package| package["name"] == env!("CARGO_PKG_NAME")).expect("the crate").clone();
        Self { root, packages: packages.into_iter().map(|package| (name(&package), package)).collect() }
    }

    fn features(&self) -> Vec<String> {
        self.root["features"].as_object().expect("the crate has features").keys().cloned().collect()
    }

    fn own_rust(&self) -> Rust {
        rust(&self.root).expect("the crate has a `rust-version`")
    }

    /// The packages that an application builds for this feature. `cargo tree` leaves out the features that tests turn on.
    fn brought_by(&self, feature: &str) -> impl Iterator<Item = &Value> {
        let target = "--target=x86_64-unknown-linux-gnu";
        let tree = ["tree", "-e=normal,build", "--prefix=none", "--no-default-features", target, "--features", feature];
        let lines = cargo(&tree);
        let names: BTreeSet<_> = lines.lines().map(|line| line.split(" (").next().unwrap_or(line).to_owned()).collect();
        let packages = names.into_iter().map(|name| &self.packages[&name]);
        packages.filter(|package| package["name"] != self.root["name"])
    }
}

/// A version of Rust: major and minor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Rust(u32, u32);

impl Rust {
    fn parse(text: &str) -> Self {
        let mut parts = text.split('.').map(|part| part.parse().unwrap_or_else(|_| panic!("no version: {text}")));
        Self(parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    }
}

fn rust(package: &Value) -> Option<Rust> {
    package["rust_version"].as_str().map(Rust::parse)
}

/// Runs cargo on the manifest, with the lock file as it is and without network.
fn cargo(arguments: &[&str]) -> String {
    let cargo =
        Command::new(env!("CARGO")).args(arguments).args(["--locked", "--offline"]).current_dir(root()).output();
    let output = cargo.expect("cargo starts");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

/// The files below a folder of the crate, by their paths.
fn below(folder: &str) -> impl Iterator<Item = String> {
    let (mut folders, mut files) = (vec![root().join(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the folder is readable") {
            let path = entry.expect("the entry is readable").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.into_iter().map(|file| file.strip_prefix(root()).expect("below").display().to_string().replace('\\', "/"))
}

fn text(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The spans of code in a text.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
