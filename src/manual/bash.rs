//! Completions for bash, without the package bash-completion.

use std::fmt::Write;

use super::NOTE;
use super::programs::{Choices, Program, choices};
use crate::cli::options::OptionSpec;

/// Words part at `=` and `:` here, so `--log-level=i` is three.
const PRELUDE: &str =
    "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} i word= has_url=
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    COMPREPLY=()
";

const FILES: &str = "\
compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")";
const FOLDERS: &str = "\
compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -d -- \"$cur\")";

/// A URL goes on behind what is completed.
const NO_SPACE: &str = "    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == */ ]]; then
        compopt -o nospace 2>/dev/null
    fi
";

pub(super) fn script(program: &Program) -> String {
    let name = program.name;
    let function = format!("_{}", name.replace('-', "_"));
    let mut text = format!("# bash completion of {name}. {NOTE}\n\n{function}() {{\n{PRELUDE}");
    text.push_str("    case $prev in\n");
    add_values(&mut text, program);
    text.push_str("        :)\n            return\n            ;;\n    esac\n");
    if program.words().is_empty() {
        let _ = writeln!(
            text,
            "    mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$cur\")",
            names(&program.options())
        );
    } else {
        add_words(&mut text, program);
        text.push_str(NO_SPACE);
    }
    let _ = write!(text, "}}\n\ncomplete -F {function} {name}\n");
    text
}

/// The options' names, short ones first.
fn names(options: &[OptionSpec]) -> String {
    let names = options.iter().flat_map(spellings);
    names.collect::<Vec<_>>().join(" ")
}

fn spellings(spec: &OptionSpec) -> Vec<String> {
    let short = Some(format!("-{}", spec.short)).filter(|_| !spec.short.is_empty());
    short.into_iter().chain([format!("--{}", spec.name)]).collect()
}

/// Branches for the word behind an option that takes a value.
fn add_values(text: &mut String, program: &Program) {
    let mut branches: Vec<(String, Vec<String>)> = Vec::new();
    for spec in program.options() {
        let action = match choices(&spec) {
            Choices::NoValue => continue,
            Choices::Nothing => String::new(),
            Choices::Files => FILES.to_owned(),
            Choices::Folders => FOLDERS.to_owned(),
            Choices::Words(words) => compgen(&words.join(" ")),
            Choices::Urls => format!(
                "compopt -o nospace 2>/dev/null\n            {}",
                compgen(&program.schemes.join(" "))
            ),
        };
        match branches.iter_mut().find(|(known, _)| *known == action) {
            Some((_, names)) => names.extend(spellings(&spec)),
            None => branches.push((action, spellings(&spec))),
        }
    }
    for (action, names) in branches {
        let _ = writeln!(text, "        {})", names.join(" | "));
        if !action.is_empty() {
            let _ = writeln!(text, "            {action}");
        }
        text.push_str("            return\n            ;;\n");
    }
}

fn compgen(words: &str) -> String {
    format!("mapfile -t COMPREPLY < <(compgen -W '{words}' -- \"$cur\")")
}

/// Completions before a command or mode, and behind it.
fn add_words(text: &mut String, program: &Program) {
    let words = program.words();
    let all = |separator: &str| {
        let names = words.iter().map(|word| word.name.as_str());
        names.collect::<Vec<_>>().join(separator)
    };
    let with_value: Vec<String> = program
        .options()
        .iter()
        .filter(|spec| !spec.value.is_empty())
        .flat_map(spellings)
        .collect();
    // A word before `:` is the beginning of a URL; the word behind an option is its value.
    let _ = write!(
        text,
        "    for ((i = 1; i < COMP_CWORD; i++)); do
        if [[ ${{COMP_WORDS[i + 1]}} == :* ]]; then
            has_url=1
            continue
        fi
        case ${{COMP_WORDS[i]}} in
            {})
                [[ ${{COMP_WORDS[i + 1]}} != = ]] || ((i++))
                ((i++))
                ;;
            {})
                word=${{COMP_WORDS[i]}}
                break
                ;;
        esac
    done
    case $word in
",
        with_value.join(" | "),
        all(" | ")
    );
    let has_modes = words.iter().any(|word| !word.options.is_empty());
    for word in &words {
        let action = if has_modes {
            let urls = program.schemes.join(" ");
            format!("{} {urls}", names(&program.options_behind(&word.name)))
        } else if word.synopsis.contains("FILE") {
            let _ = writeln!(
                text,
                "        {})\n            {FILES}\n            return\n            ;;",
                word.name
            );
            continue;
        } else {
            continue;
        };
        let _ = writeln!(
            text,
            "        {})\n            {}\n            ;;",
            word.name,
            compgen(&action)
        );
    }
    // Options of the client stand before the command.
    let _ = write!(
        text,
        "        '')
            if [[ $cur == -* ]]; then
                {}
            elif [[ $has_url ]]; then
                {}
            else
                {}
            fi
            ;;
    esac
",
        compgen(&names(&program.options())),
        compgen(&all(" ")),
        compgen(&if has_modes {
            all(" ")
        } else {
            format!("{} {}", all(" "), program.schemes.join(" "))
        })
    );
}
