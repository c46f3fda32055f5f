//! Holds the layering of `src/lib.rs`: imports point downward, and nobody but `net/` names mio,
//! signal-hook or the real clock.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules with their layer. A module may import those below it, and those beside it where the
/// design says so in [`BESIDE`].
const LAYERS: [(&str, u8); 19] = [
    ("limits", 0),
    ("clock", 0),
    ("conn_id", 0),
    ("address", 0),
    ("memory", 0),
    ("stats", 0),
    ("strerror", 0),
    ("connection_log", 0),
    ("line_limit", 0),
    ("codec", 0),
    ("buffer", 0),
    ("protocol", 1),
    ("session", 1),
    ("server", 2),
    ("net", 3),
    ("cli", 4),
    ("app", 4),
    ("client", 4),
    ("load", 4),
];

/// Imports within a layer: who may import whom.
const BESIDE: [(&str, &str); 15] = [
    ("app", "cli"),
    ("buffer", "clock"),
    ("buffer", "limits"),
    ("buffer", "memory"),
    ("client", "app"),
    ("client", "cli"),
    ("connection_log", "clock"),
    ("connection_log", "conn_id"),
    ("connection_log", "limits"),
    ("connection_log", "line_limit"),
    ("connection_log", "strerror"),
    ("line_limit", "clock"),
    ("load", "cli"),
    ("session", "protocol"),
    ("stats", "clock"),
];

/// Names that belong to one module alone.
const CONFINED: [(&str, &str); 9] = [
    ("mio", "net"),
    ("signal_hook", "net"),
    ("signal_hook_mio", "load"),
    ("socket2", "net"),
    ("getopts", "app"),
    ("nix", "client"),
    ("rustyline", "client"),
    ("mlua", "protocol"),
    ("cap_std", "protocol"),
];

/// Who else may name them: programs of their own beside the server, with their own command lines. The
/// load tester has its own loop too, in which connections connect, ask and measure; in `net/`, which
/// every server links, it would be in the way.
const CONFINED_ALSO: [(&str, &str); 7] = [
    ("nix", "load"),
    ("getopts", "client"),
    ("signal_hook", "client"),
    ("mio", "load"),
    ("signal_hook", "load"),
    ("socket2", "load"),
    ("getopts", "load"),
];

/// The layers that are handed the time instead of reading a clock.
const WITHOUT_CLOCK: [&str; 2] = ["Instant", "SystemTime"];

/// The codec is pure: `core`, `bytes` and itself.
const NOT_IN_CODEC: [&str; 7] =
    ["std::io", "std::net", "std::time", "std::fs", "std::thread", "log::", "std::sync"];

#[test]
fn imports_point_downward() {
    let mut bad = Vec::new();
    for (module, file, code) in sources() {
        for imported in crate_paths(&code) {
            let Some(above) = layer(&imported) else { continue };
            let here = layer(&module).expect("every module has a layer");
            let beside = BESIDE.contains(&(module.as_str(), imported.as_str()));
            if imported != module && above >= here && !beside {
                bad.push(format!("{}: {module} imports {imported}", file.display()));
            }
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn modules_have_a_layer_each() {
    let modules: BTreeSet<String> = sources().into_iter().map(|(module, ..)| module).collect();
    let known: BTreeSet<String> = LAYERS.iter().map(|(module, _)| (*module).to_owned()).collect();
    assert_eq!(modules, known);
}

#[test]
fn system_crates_are_named_in_one_module() {
    let mut bad = Vec::new();
    for (module, file, code) in sources() {
        for (name, home) in CONFINED {
            let allowed = module == home || CONFINED_ALSO.contains(&(name, module.as_str()));
            if !allowed && words(&code).any(|word| word == name) {
                bad.push(format!("{}: {name} belongs to {home}/", file.display()));
            }
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn core_reads_no_clock() {
    for (module, file, code) in sources() {
        if layer(&module).is_some_and(|layer| layer <= 2) {
            for name in WITHOUT_CLOCK {
                assert!(!words(&code).any(|word| word == name), "{} names {name}", file.display());
            }
        }
    }
}

#[test]
fn unsafe_code_is_one_call_in_one_file() {
    for (_, file, code) in sources() {
        let expected = usize::from(file == Path::new("net/heap.rs"));
        let found = words(&code).filter(|word| *word == "unsafe").count();
        assert_eq!(found, expected, "{}", file.display());
    }
}

#[test]
fn codec_only_computes() {
    for (module, file, code) in sources() {
        if module == "codec" {
            for name in NOT_IN_CODEC {
                assert!(!code.contains(name), "{} names {name}", file.display());
            }
        }
    }
}

/// Module, path and code (comments taken out, unit tests too) of every file under `src` but the
/// roots, which see everything.
fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let relative = path.strip_prefix(&root).unwrap();
            let first = relative.iter().next().unwrap().to_str().unwrap();
            let module = first.trim_end_matches(".rs").to_owned();
            if matches!(module.as_str(), "lib" | "main" | "bin") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let code: Vec<&str> =
                code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            found.push((module, relative.to_owned(), code.join("\n")));
        }
    }
    assert!(found.len() > 20, "the sources were found");
    found
}

/// The first segment of every `crate::…` path, and of every `crate::{…}` list.
fn crate_paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, matched) in code.match_indices("crate::") {
        let rest = &code[at + matched.len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let list = list.split(';').next().unwrap();
            paths.extend(words(list).map(str::to_owned));
        } else {
            paths.extend(words(rest).next().map(str::to_owned));
        }
    }
    paths
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}
