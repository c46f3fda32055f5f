//! The notices of what is linked into the programs, which their licences ask for: docs/deploy/copyright
//! is made here, from the crates' own files, and compared.
//!
//! `MYNAH_REWRITE=1 cargo test --test ship notices` rewrites it. cargo-about does not see the C of a
//! crate: Lua's notice, here, comes from its header.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{output, root};

const HEAD: &str = "\
mynah is licensed under the MIT license or the Apache License, Version 2.0, at
your choice. The text of the latter is LICENSE-APACHE in the source, and
/usr/share/common-licenses/Apache-2.0 on Debian systems.
";

const MIT: &str = "\
Permission is hereby granted, free of charge, to any person obtaining a copy of
this software and associated documentation files (the \"Software\"), to deal in
the Software without restriction, including without limitation the rights to
use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of
the Software, and to permit persons to whom the Software is furnished to do so,
subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED \"AS IS\", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS
FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER
IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
";

/// Under MIT, and linked in without being crates of this build.
const WITHOUT_CRATE: [(&str, &str); 2] = [
    ("the Rust standard library", "Copyright (c) The Rust Project Contributors"),
    ("musl, in static builds", "Copyright (c) 2005-2020 Rich Felker, et al."),
];

#[test]
fn notices_are_those_of_the_linked_crates() {
    let file = root().join("docs/deploy/copyright");
    let text = notices();
    if std::env::var_os("MYNAH_REWRITE").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    let missing: Vec<&str> = text.lines().filter(|line| !committed.contains(line)).collect();
    assert!(committed == text, "MYNAH_REWRITE=1 rewrites {}; new: {missing:#?}", file.display());
}

/// The file: mynah's own licence, and each text with all that it is for.
fn notices() -> String {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut add = |text: String, what: String| texts.entry(text).or_default().push(what);
    for package in linked_packages() {
        let field = |name: &str| package[name].as_str().unwrap_or_default().to_owned();
        let folder = PathBuf::from(field("manifest_path"));
        let folder = folder.parent().unwrap();
        let license = field("license");
        let what = format!("{} {} ({license})", field("name"), field("version"));
        add(license_text(folder, &license, &package["authors"]), what);
    }
    let (version, notice) = lua();
    add(notice, format!("{version} (MIT)"));
    for (what, holder) in WITHOUT_CRATE {
        add(format!("{holder}\n\n{MIT}"), format!("{what} (MIT)"));
    }
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    let mut file = format!("{HEAD}\n{}", indented(&tidy(&read("LICENSE-MIT"))));
    file.push_str("\nThe tables that compare nicknames are made from data of Unicode:\n\n");
    file.push_str(&indented(&tidy(&read("LICENSE-UNICODE"))));
    file.push_str("\nLinked into the programs:\n");
    let mut texts: Vec<(Vec<String>, String)> =
        texts.into_iter().map(|(text, whats)| (whats, text)).collect();
    texts.sort();
    for (whats, text) in texts {
        let _ = write!(file, "\n{}\n\n{}", whats.join("\n"), indented(&text));
    }
    file
}

/// The metadata of all packages whose code is in a program.
fn linked_packages() -> Vec<Value> {
    let arguments = "tree --locked --offline --edges normal,no-proc-macro --prefix none --no-dedupe \
                     --target x86_64-unknown-linux-gnu --format {p}";
    let tree = cargo(arguments);
    let mut names: Vec<String> = tree.lines().skip(1).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let find = |name: &String| {
        let mut parts = name.split(' ');
        let (name, version) =
            (parts.next().unwrap(), parts.next().unwrap().trim_start_matches('v'));
        let is_it = |package: &&Value| package["name"] == name && package["version"] == version;
        packages.iter().find(is_it).unwrap_or_else(|| panic!("{name} {version}")).clone()
    };
    let found: Vec<Value> = names.iter().map(find).collect();
    assert!(found.len() > 50, "the crates were found");
    found
}

/// Of all packages of the platform that is shipped to: others may not have been downloaded.
fn metadata() -> Value {
    let arguments = "metadata --locked --offline --format-version 1 \
                     --filter-platform x86_64-unknown-linux-gnu";
    serde_json::from_str(&cargo(arguments)).unwrap()
}

fn cargo(arguments: &str) -> String {
    let mut command = Command::new(env!("CARGO"));
    let (text, errors) = output(command.args(arguments.split_whitespace()).current_dir(root()));
    assert!(!text.is_empty(), "cargo {arguments}: {errors}");
    text
}

/// The text that is to be passed on with a crate: that of MIT where it may be chosen, else all there
/// are.
fn license_text(folder: &Path, license: &str, authors: &Value) -> String {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_uppercase();
    let is_license = |path: &PathBuf| {
        let name = name(path);
        path.is_file() && ["LICEN", "COPYING", "NOTICE"].iter().any(|word| name.contains(word))
    };
    let mut files: Vec<PathBuf> = entries.filter(is_license).collect();
    files.sort();
    let is_mit = |path: &&PathBuf| name(path).contains("MIT");
    if license.contains("MIT") {
        if let Some(file) = files.iter().find(is_mit) {
            files = vec![file.clone()];
        } else {
            files
                .retain(|path| !name(path).contains("APACHE") && !name(path).contains("UNLICENSE"));
        }
    }
    if files.is_empty() {
        let authors: Vec<&str> =
            authors.as_array().unwrap().iter().filter_map(Value::as_str).collect();
        return format!("Copyright (c) {}\n\n{MIT}", authors.join(", "));
    }
    let texts = files.iter().map(|file| tidy(&without_apache(&fs::read_to_string(file).unwrap())));
    texts.collect::<Vec<_>>().join("\n")
}

/// `text` with a reference in place of the whole Apache License.
fn without_apache(text: &str) -> String {
    let Some(start) = text.find("Apache License\n") else { return text.to_owned() };
    let start = text[..start].trim_end_matches(' ').len();
    let rest = &text[start..];
    let ends = ["END OF TERMS AND CONDITIONS", "limitations under the License."];
    let end = ends.iter().filter_map(|end| rest.find(end).map(|at| at + end.len())).max();
    let end = start + end.unwrap_or(rest.len());
    let reference = "The Apache License, Version 2.0: LICENSE-APACHE in the source of mynah, and\n\
                     /usr/share/common-licenses/Apache-2.0 on Debian systems.";
    format!("{}{reference}{}", &text[..start], &text[end..])
}

/// Lua's version, and the notice at the end of its header.
fn lua() -> (String, String) {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "lua-src").unwrap();
    let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
    let versions = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_5_4 = |path: &PathBuf| path.to_str().unwrap().contains("/lua-5.4.");
    let lua = versions.into_iter().find(is_5_4).unwrap();
    let header = [lua.join("lua.h"), lua.join("src/lua.h")];
    let header = header.iter().find_map(|path| fs::read_to_string(path).ok()).unwrap();
    let notice = &header[header.rfind("* Copyright (C)").unwrap()..];
    let notice = notice.lines().take_while(|line| line.starts_with('*'));
    let notice: Vec<&str> = notice
        .map(|line| line.trim_start_matches('*').trim())
        .take_while(|l| !l.starts_with("****"))
        .collect();
    let version = lua.file_name().unwrap().to_str().unwrap().replace("lua-", "Lua ");
    (version, tidy(&notice.join("\n")))
}

/// `text` without blanks at the ends of lines, and without empty lines around it.
fn tidy(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    let lines: Vec<&str> = text.trim_matches('\n').lines().map(str::trim_end).collect();
    lines.join("\n").trim_matches('\n').to_owned() + "\n"
}

fn indented(text: &str) -> String {
    let line = |line: &str| match line {
        "" => "\n".to_owned(),
        line => format!("    {line}\n"),
    };
    text.lines().map(line).collect()
}
