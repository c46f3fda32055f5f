//! Files that the documents name exist.

use std::fs;
use std::path::{Path, PathBuf};

/// Documents that say where things are. CHANGELOG.md says where they were.
const DOCUMENTS: [&str; 3] = ["README.md", "CONTRIBUTING.md", "docs"];
/// Folders whose files and subfolders may be named from anywhere below the root: `server/mod.rs`.
const ROOTS: [&str; 3] = ["src", "tests", "fuzz"];

/// Folders that are packages of their own: a packed crate does not have them.
const OTHER_PACKAGES: [&str; 2] = ["fuzz/", "tests/bench/tokio-server/"];

#[test]
fn documents_name_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let known: Vec<PathBuf> = ROOTS.iter().flat_map(|folder| below(&root.join(folder))).collect();
    let mut missing = Vec::new();
    for document in DOCUMENTS.iter().flat_map(|name| below(&root.join(name))) {
        if document.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = fs::read_to_string(&document).unwrap();
        let is_left_out = |path: &str| {
            OTHER_PACKAGES.iter().any(|other| path.starts_with(other) && !root.join(other).is_dir())
        };
        for path in paths(&text).into_iter().filter(|path| !is_left_out(path)) {
            if !known.iter().any(|file| file.ends_with(path)) {
                missing.push(format!("{}: {path}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn paths_are_found_in_backticks_outside_of_blocks() {
    let text =
        "`a/b.rs` and `src/c/`, `tests/x`; `cargo test`, d.rs\n```\n`e.rs`\n```\n`x y.rs`: `f.rs`";
    assert_eq!(paths(text), ["a/b.rs", "src/c/", "tests/x", "y.rs", "f.rs"]);
}

/// Words in backticks that end in `.rs` or begin with the name of a folder.
fn paths(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    let spans = prose.flat_map(|prose| prose.split('`').skip(1).step_by(2));
    let words = spans.flat_map(str::split_whitespace);
    let is_path = |word: &&str| {
        let in_root = word.split_once('/').is_some_and(|(first, _)| ROOTS.contains(&first));
        word.ends_with(".rs") || in_root && !word.contains(|c: char| c.is_ascii_uppercase())
    };
    words.filter(is_path).collect()
}

/// A file, or everything in a folder but what is built there.
fn below(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    if path.is_dir() && !path.ends_with("target") {
        for entry in fs::read_dir(path).unwrap() {
            found.extend(below(&entry.unwrap().path()));
        }
    }
    found
}
