//! What is only shown, because the README's code is compiled without stores, too.

const README: &str = include_str!("../../README.md");
const STORES: &str = include_str!("../../docs/stores.md");

#[test]
fn the_readme_code_of_stores_is_compiled_elsewhere() {
    let (_, section) = README.split_once("## State that survives").expect("the section is there");
    let (_, block) = section.split_once("```rust,ignore\n").expect("it has code");
    let (code, _) = block.split_once("```").expect("which ends");
    assert!(STORES.contains(&format!("```rust,no_run\n{code}```")), "docs/stores.md compiles other code than\n{code}");
}
