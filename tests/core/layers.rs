//! Holds the layering of `src/lib.rs`: imports point downward and form no circles, and each name of
//! the system (sockets, signals, the clock) stays in the modules listed here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Modules with their layer. A module may import those below it, and those beside it where the
/// design says so in [`BESIDE`].
const LAYERS: [(&str, u8); 31] = [
    ("limits", 0),
    ("defaults", 0),
    ("clock", 0),
    ("close_reason", 0),
    ("conn_id", 0),
    ("address", 0),
    ("networks", 0),
    ("rates", 0),
    ("memory", 0),
    ("setting", 0),
    ("stats", 0),
    ("strerror", 0),
    ("escape", 0),
    ("os_text", 0),
    ("thousands", 0),
    ("connection_log", 0),
    ("line_limit", 0),
    ("codec", 0),
    ("buffer", 0),
    ("protocol", 1),
    ("session", 1),
    ("cluster", 2),
    ("server", 2),
    ("tls", 3),
    ("accounts", 3),
    ("net", 3),
    ("cli", 4),
    ("app", 4),
    ("client", 4),
    ("load", 4),
    ("manual", 5),
];

/// Imports within a layer: importer and imported module.
const BESIDE: [(&str, &str); 23] = [
    ("app", "cli"),
    ("buffer", "clock"),
    ("buffer", "limits"),
    ("buffer", "memory"),
    ("client", "cli"),
    ("connection_log", "clock"),
    ("connection_log", "conn_id"),
    ("connection_log", "limits"),
    ("connection_log", "line_limit"),
    ("connection_log", "strerror"),
    ("escape", "limits"),
    ("escape", "os_text"),
    ("limits", "defaults"),
    ("line_limit", "clock"),
    ("load", "cli"),
    ("net", "tls"),
    ("networks", "setting"),
    ("rates", "clock"),
    ("server", "cluster"),
    ("session", "protocol"),
    ("setting", "escape"),
    ("stats", "clock"),
    ("stats", "close_reason"),
];

/// Names that belong to one module alone.
const CONFINED: [(&str, &str); 18] = [
    ("argon2", "accounts"),
    ("phc", "accounts"),
    ("zeroize", "protocol"),
    ("compact_str", "protocol"),
    ("postcard", "protocol"),
    ("redis_protocol", "cluster"),
    ("rustls", "tls"),
    ("x509_cert", "tls"),
    ("mio", "net"),
    ("signal_hook", "net"),
    ("socket2", "net"),
    ("getopts", "cli"),
    ("nix", "client"),
    ("rustyline", "client"),
    ("sd_listen_fds", "app"),
    ("sd_notify", "app"),
    ("mlua", "protocol"),
    ("cap_std", "protocol"),
];

/// Further modules that may name them: the programs beside the server, with their own command
/// lines. The load tester's loop connects, asks and measures; `net/` is linked into every server,
/// which does none of that.
const CONFINED_ALSO: [(&str, &str); 11] = [
    ("getopts", "app"),
    ("nix", "load"),
    ("postcard", "cluster"),
    ("nix", "net"),
    ("getopts", "client"),
    ("signal_hook", "client"),
    ("mio", "load"),
    ("signal_hook", "load"),
    ("socket2", "client"),
    ("socket2", "load"),
    ("getopts", "load"),
];

/// Clocks of the system, and the modules that may read one: the loop, which hands the time to the
/// layers below it, and the three programs, for log lines, plugins and timeouts.
const CLOCKS: [&str; 2] = ["Instant", "SystemTime"];
const READS_CLOCK: [&str; 4] = ["net", "app", "client", "load"];

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
fn modules_of_a_folder_have_no_import_cycle() {
    assert_eq!(circles(), [""; 0]);
}

#[test]
fn imports_are_found_in_lists_and_in_code() {
    let here = ["x", "y"].map(str::to_owned);
    let code = "use super::{a::B, c::{D, e as f}};\nfn g() { crate::h::i(super::super::j) }";
    let paths: Vec<String> =
        module_paths_in(code, &here).iter().map(|path| path.join("::")).collect();
    assert_eq!(paths, ["x::a::B", "x::c::D", "x::c::e", "j", "h::i"]);
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
fn clock_is_read_by_the_loop_and_the_programs_only() {
    for (module, file, code) in sources() {
        if !READS_CLOCK.contains(&module.as_str()) {
            for name in CLOCKS {
                assert!(!words(&code).any(|word| word == name), "{} names {name}", file.display());
            }
        }
    }
}

#[test]
fn unsafe_code_is_one_call_in_one_file() {
    for (_, file, code) in sources() {
        let expected = usize::from(file == Path::new("net/heap.rs"));
        // A word of a page's policy (CSP).
        let code = code.replace("'unsafe-inline'", "");
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
            if path.extension().is_none_or(|extension| extension != "rs") {
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

/// Circles among the files and subfolders of each folder under `src`, as `folder: a, b`: each can
/// be reached from each by imports. A folder's `mod.rs` is left out, because it declares them all.
fn circles() -> Vec<String> {
    let sources = sources();
    let module_paths: Vec<Vec<String>> = sources.iter().map(|(_, file, _)| module(file)).collect();
    let mut imports: BTreeMap<Vec<String>, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (path, (_, _, code)) in module_paths.iter().zip(&sources) {
        for imported in module_paths_in(code, path) {
            let shared = path.iter().zip(&imported).take_while(|(a, b)| a == b).count();
            let (Some(here), Some(there)) = (path.get(shared), imported.get(shared)) else {
                continue;
            };
            let is_module =
                module_paths.iter().any(|known| known.starts_with(&imported[..=shared]));
            // Circles among the crate's own modules are what the layers forbid.
            if is_module && shared > 0 {
                let folder = imports.entry(path[..shared].to_vec()).or_default();
                folder.entry(here.clone()).or_default().insert(there.clone());
            }
        }
    }
    let mut circles = Vec::new();
    for (folder, imports) in imports {
        let mut seen = BTreeSet::new();
        for from in imports.keys().filter(|from| !seen.contains(*from)).cloned().collect::<Vec<_>>()
        {
            let reached = reachable(&imports, &from);
            let circle: Vec<String> = reached
                .iter()
                .filter(|to| reachable(&imports, to).contains(&from))
                .cloned()
                .collect();
            if circle.len() > 1 && seen.insert(from) {
                seen.extend(circle.iter().cloned());
                circles.push(format!("{}: {}", folder.join("/"), circle.join(", ")));
            }
        }
    }
    circles
}

/// All that can be reached from `from`, itself only by a circle.
fn reachable(imports: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(module) = next.pop() {
        for to in imports.get(&module).into_iter().flatten() {
            if reached.insert(to.clone()) {
                next.push(to.clone());
            }
        }
    }
    reached
}

/// The path of a file's module: `net/tcp.rs` is `net::tcp`, `net/mod.rs` is `net`.
fn module(file: &Path) -> Vec<String> {
    let file = file.with_extension("");
    let parts = file.iter().map(|part| part.to_str().unwrap().to_owned());
    parts.filter(|part| part != "mod").collect()
}

/// Paths that begin with `super` or `crate`, in a file of the module `here`, as paths from the
/// root. Of a list in braces each element is a path.
fn module_paths_in(code: &str, here: &[String]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for root in ["super::", "crate::"] {
        for (at, _) in code.match_indices(root) {
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':')) {
                continue;
            }
            let mut rest = &code[at..];
            let mut path = here.to_vec();
            while let Some(behind) = rest.strip_prefix("super::") {
                path.pop();
                rest = behind;
            }
            if let Some(behind) = rest.strip_prefix("crate::") {
                path.clear();
                rest = behind;
            }
            expand(rest, &path, &mut paths);
        }
    }
    paths
}

/// Adds the paths that begin with `prefix` and go on as `code` does: names, and lists in braces.
/// Returns the code behind them.
fn expand<'a>(code: &'a str, prefix: &[String], paths: &mut Vec<Vec<String>>) -> &'a str {
    let mut path = prefix.to_vec();
    let mut rest = code.trim_start();
    loop {
        if let Some(mut list) = rest.strip_prefix('{') {
            loop {
                list = expand(list, &path, paths).trim_start();
                list = list.strip_prefix(',').unwrap_or(list).trim_start();
                if list.is_empty() || list.starts_with(['}', ';']) {
                    return list.strip_prefix('}').unwrap_or(list);
                }
            }
        }
        let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if len > 0 {
            path.push(rest[..len].to_owned());
        }
        match rest[len..].strip_prefix("::") {
            Some(behind) if len > 0 => rest = behind,
            _ => {
                paths.push(path);
                // Up to the end of an element: `Name as Other`, `*`.
                let end = rest.find([',', '}', ';']).unwrap_or(rest.len());
                return &rest[end..];
            }
        }
    }
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
