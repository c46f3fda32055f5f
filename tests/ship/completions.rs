//! Each shell is asked what it would complete.

use std::fs;
use std::process::Command;

use super::folder::Folder;
use super::{has, output, root};

const LEVELS: [&str; 6] = ["debug", "error", "info", "off", "trace", "warn"];

/// Command lines, and what may stand in place of their last word. Files are those of [`folder`].
const ROWS: [(&str, &[&str]); 17] = [
    ("mynah --log", &["--log-file", "--log-format", "--log-level"]),
    ("mynah --log-level ", &LEVELS),
    ("mynah --log-level=i", &["info"]),
    ("mynah -q --log-level i", &["info"]),
    ("mynah -l raw", &["raw+tls://", "raw+unix:///", "raw://"]),
    ("mynah --max-clients ", &[]),
    ("mynah --accounts mem", &["members.txt"]),
    ("mynah --plugin-dir m", &["more"]),
    ("mynah-cli st", &["status"]),
    ("mynah-cli raw://h:1 s", &["send", "status"]),
    ("mynah-cli --user ann pas", &["passwd"]),
    ("mynah-cli passwd mem", &["members.txt"]),
    ("mynah-cli echo ", &[]),
    ("mynah-cli --protocol p", &["plugin", "prefixed"]),
    ("mynah-load ", &["compare", "echo", "fanout", "idle", "merge", "storm", "wake"]),
    ("mynah-load echo --de", &["--depth"]),
    ("mynah-load fanout --de", &[]),
];

#[test]
fn bash_completes_every_program() {
    if has("bash") {
        check(ask_bash);
    }
}

#[test]
fn fish_completes_every_program() {
    if has("fish") {
        check(ask_fish);
    }
}

#[test]
fn zsh_completes_every_program() {
    if has("zsh") {
        check(ask_zsh);
    }
}

fn check(ask: fn(&Folder, &str) -> String) {
    for (line, expected) in ROWS {
        let folder = folder();
        let answer = ask(&folder, line);
        let mut found: Vec<&str> = answer.lines().map(|word| word.trim_end_matches('/')).collect();
        found.sort_unstable();
        found.dedup();
        let expected: Vec<&str> = expected.iter().map(|word| word.trim_end_matches('/')).collect();
        assert_eq!(found, expected, "{line}");
    }
}

fn folder() -> Folder {
    let folder = Folder::new();
    folder.file("members.txt", "");
    fs::create_dir(folder.path("more")).unwrap();
    folder
}

/// Asks the function that completes the program, as bash does: with a word for each `:` and `=`.
fn ask_bash(folder: &Folder, line: &str) -> String {
    let script = "source \"$1\"; shift
        function=$(complete -p \"$1\"); function=${function#*-F }; function=${function%% *}
        COMP_WORDS=(\"$@\") COMP_CWORD=$(($# - 1))
        $function
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    let program = line.split(' ').next().unwrap();
    let file = root().join(format!("docs/completions/{program}.bash"));
    let parted = line.replace('=', " = ").replace(':', " : ");
    let (found, errors) = output(
        Command::new("bash")
            .args(["--norc", "-c", script, "bash"])
            .arg(file)
            .args(parted.split(' '))
            .current_dir(folder.path("")),
    );
    assert_eq!(errors, "", "{line}");
    found.trim_end().to_owned()
}

fn ask_fish(folder: &Folder, line: &str) -> String {
    let program = line.split(' ').next().unwrap();
    let file = root().join(format!("docs/completions/{program}.fish"));
    let (found, errors) = output(
        Command::new("fish")
            .args(["--no-config", "-c", "source $argv[1]; complete -C $argv[2]"])
            .arg(file)
            .arg(line)
            .env("HOME", folder.path(""))
            .current_dir(folder.path("")),
    );
    assert_eq!(errors, "", "{line}");
    // A description stands behind a tab; a value is completed together with its option.
    let word = |line: &str| {
        let word = line.split('\t').next().unwrap_or_default();
        word.split_once('=').map_or(word, |(_, value)| value).to_owned()
    };
    found.lines().map(word).collect::<Vec<_>>().join("\n")
}

/// Has a zsh of its own, in a terminal of its own, press Tab.
fn ask_zsh(folder: &Folder, line: &str) -> String {
    let script = "zmodload zsh/zpty
        zpty shell zsh -f -i
        zpty -w shell \"source $SETUP\"
        zpty -w -n shell \"$1\"$'\\t'
        while zpty -r shell line; do :; done";
    let found = folder.path("found");
    let (said, errors) = output(
        Command::new("timeout")
            .args(["30", "zsh", "-f", "-c", script, "zsh", line])
            .env("SETUP", root().join("tests/ship/complete.zsh"))
            .env("COMPLETIONS", root().join("docs/completions"))
            .env("FOUND", &found)
            .env("TERM", "dumb")
            .current_dir(folder.path("")),
    );
    assert_eq!((said.as_str(), errors.as_str()), ("", ""), "{line}");
    let words = fs::read_to_string(&found).unwrap_or_default();
    words.lines().filter(|word| *word != "found").collect::<Vec<_>>().join("\n")
}
