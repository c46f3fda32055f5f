//! The man pages, as the programs that read them see them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{has, output, root};

fn pages() -> Vec<PathBuf> {
    let pages = fs::read_dir(root().join("docs/man")).unwrap();
    let mut pages: Vec<PathBuf> = pages.map(|page| page.unwrap().path()).collect();
    pages.sort();
    assert_eq!(pages.len(), 4);
    pages
}

#[test]
fn man_pages_are_clean_for_mandoc() {
    if !has("mandoc") {
        return;
    }
    for page in pages() {
        let lint = output(Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(&page));
        assert_eq!(lint, (String::new(), String::new()), "{}", page.display());
    }
}

#[test]
fn man_pages_are_clean_for_groff() {
    if !has("groff") {
        return;
    }
    for page in pages() {
        let (_, errors) = output(Command::new("groff").args(["-ww", "-man", "-Tutf8"]).arg(&page));
        assert_eq!(errors, "", "{}", page.display());
    }
}

#[test]
fn man_pages_fit_80_columns() {
    if !has("mandoc") {
        return;
    }
    for page in pages() {
        let (text, _) =
            output(Command::new("mandoc").args(["-T", "ascii", "-O", "width=80"]).arg(&page));
        for line in text.lines() {
            // A letter in bold is printed twice, with a backspace between.
            let columns = line.chars().count() - 2 * line.matches('\u{8}').count();
            assert!(columns <= 80, "{}: {line}", page.display());
        }
    }
}
