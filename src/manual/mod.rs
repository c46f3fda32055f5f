//! Man pages, completions and the example configuration: made from the tables that `--help` is made
//! from, so that they cannot say anything else. Compiled for tests alone; the programs do not have it.
//!
//! | module | job |
//! |---|---|
//! | `programs` | the three programs as their tables describe them |
//! | `keys` | what the tables do not say of settings and listener keys: values to show, what a key means |
//! | `man`, `pages/` | man pages: the generated parts, and the prose around them |
//! | `bash`, `zsh`, `fish` | completions |
//! | `example` | the example configuration |
//!
//! After a change of a table: `MYNAH_REWRITE=1 cargo test --lib manual`.
//!
//! The crates for this, clap_mangen and clap_complete, take the command line of a clap parser, which
//! these programs do not have; a second description in clap's terms would have to be kept equal.

mod bash;
mod example;
mod fish;
mod keys;
mod man;
mod programs;
mod zsh;

use std::env;
use std::fs;
use std::path::Path;

use programs::Program;

/// The first line of what is made here, behind the sign of a comment.
const NOTE: &str = "Made from the tables of options by MYNAH_REWRITE=1 cargo test --lib manual.";

/// All files, with their paths below the root.
fn files() -> Vec<(String, String)> {
    let [server, client, load] = programs::all();
    let mut files = vec![
        ("docs/man/mynah.1".to_owned(), man::server(&server)),
        ("docs/man/mynah-cli.1".to_owned(), man::client(&client)),
        ("docs/man/mynah-load.1".to_owned(), man::load(&load)),
        ("docs/man/mynah.conf.5".to_owned(), man::configuration()),
        ("docs/deploy/mynah.conf".to_owned(), example::text()),
    ];
    for program in [&server, &client, &load] {
        let Program { name, .. } = program;
        files.push((format!("docs/completions/{name}.bash"), bash::script(program)));
        files.push((format!("docs/completions/_{name}"), zsh::script(program)));
        files.push((format!("docs/completions/{name}.fish"), fish::script(program)));
    }
    files
}

#[test]
fn shipped_files_say_what_the_tables_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rewrites = env::var_os("MYNAH_REWRITE").is_some();
    let mut stale = Vec::new();
    for (path, text) in files() {
        let file = root.join(&path);
        if fs::read_to_string(&file).is_ok_and(|found| found == text) {
            continue;
        }
        if rewrites {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, text).unwrap();
        } else {
            stale.push(path);
        }
    }
    assert!(stale.is_empty(), "not what the tables say: {stale:?}; MYNAH_REWRITE=1 rewrites them");
}
