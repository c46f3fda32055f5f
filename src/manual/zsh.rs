//! Completions for zsh: a file for `fpath`.

use std::fmt::Write;

use super::NOTE;
use super::programs::{Choices, Program, choices, first_clause, summary};
use crate::cli::options::OptionSpec;

pub(super) fn script(program: &Program) -> String {
    let name = program.name;
    let function = format!("_{}", name.replace('-', "_"));
    let mut text = format!("#compdef {name}\n# {NOTE}\n\n");
    let urls = program.schemes.join(" ");
    let _ = write!(text, "{function}_urls() {{\n    compadd -S '' -- {urls}\n}}\n\n");
    if program.words().is_empty() {
        let specs = specs(&program.options(), &function);
        let _ = write!(text, "{function}() {{\n    _arguments -s -S{}\n}}\n", list(&specs));
    } else if program.words().iter().any(|word| !word.options.is_empty()) {
        add_modes(&mut text, program, &function);
    } else {
        add_commands(&mut text, program, &function);
    }
    let _ = write!(text, "\n{function} \"$@\"\n");
    text
}

/// Commands that options and a URL stand before, and nothing but their arguments behind.
fn add_commands(text: &mut String, program: &Program, function: &str) {
    let _ = write!(text, "{function}_words() {{\n    local -a commands=(\n");
    for word in program.words() {
        let _ = writeln!(text, "        {}", quote(&described(&word.name, &word.help)));
    }
    text.push_str(
        "    )\n    local word\n    for word in ${words[2,CURRENT-1]}; do\n        case $word in\n",
    );
    let (files, others): (Vec<_>, Vec<_>) =
        program.words().into_iter().partition(|word| word.synopsis.contains("FILE"));
    for (words, action) in [(files, "_files; return"), (others, "return")] {
        let names: Vec<&str> = words.iter().map(|word| word.name.as_str()).collect();
        if !names.is_empty() {
            let _ = writeln!(text, "            ({}) {action} ;;", names.join("|"));
        }
    }
    let _ = write!(
        text,
        "            (*:*) has_url=1 ;;
        esac
    done
    _describe command commands
    [[ -n $has_url ]] || {function}_urls
}}

"
    );
    let mut specs = specs(&program.options(), function);
    specs.push(format!("'*:command:{function}_words'"));
    let _ = write!(
        text,
        "{function}() {{\n    local has_url=\n    _arguments -s -S -A '-*'{}\n}}\n",
        list(&specs)
    );
}

/// A mode, a URL, and options that belong to the mode, in any order.
fn add_modes(text: &mut String, program: &Program, function: &str) {
    let words = program.words();
    let names: Vec<&str> = words.iter().map(|word| word.name.as_str()).collect();
    let _ = write!(text, "{function}_modes() {{\n    local -a modes=(\n");
    for word in &words {
        let _ = writeln!(text, "        {}", quote(&described(&word.name, &word.help)));
    }
    let _ = write!(
        text,
        "    )\n    _describe mode modes\n}}\n\n{function}() {{\n    local -a specs\n    case ${{words[(r)({})]}} in\n",
        names.join("|")
    );
    let mut branch = |pattern: &str, options: &[OptionSpec]| {
        let specs = specs(options, function);
        let _ = write!(text, "        ({pattern})\n            specs=(");
        for spec in specs {
            let _ = write!(text, "\n                {spec}");
        }
        text.push_str("\n            )\n            ;;\n");
    };
    for name in &names {
        branch(name, &program.options_behind(name));
    }
    branch("*", &program.options());
    let _ = write!(
        text,
        "    esac\n    _arguments -s -S $specs '1:mode:{function}_modes' '2:URL:{function}_urls'\n}}\n"
    );
}

fn described(name: &str, help: &str) -> String {
    format!("{name}:{}", first_clause(help))
}

fn list(specs: &[String]) -> String {
    specs.iter().map(|spec| format!(" \\\n        {spec}")).collect()
}

/// The options as `_arguments` wants them, one for each spelling.
fn specs(options: &[OptionSpec], function: &str) -> Vec<String> {
    let mut specs = Vec::new();
    for spec in options {
        let OptionSpec { short, name, repeats, .. } = spec;
        let both = format!("(-{short} --{name})");
        let front = match (repeats, short.is_empty()) {
            (true, _) => "*",
            (false, true) => "",
            (false, false) => &both,
        };
        let help: String = summary(spec)
            .chars()
            .flat_map(|c| {
                let is_mark = matches!(c, '[' | ']' | '\\');
                is_mark.then_some('\\').into_iter().chain([c])
            })
            .collect();
        let action = match choices(spec) {
            Choices::NoValue => String::new(),
            choices => {
                format!(":{}:{}", spec.value.replace(':', "\\:"), action(&choices, function))
            }
        };
        let (plus, equals) = if action.is_empty() { ("", "") } else { ("+", "=") };
        if !short.is_empty() {
            specs.push(quote(&format!("{front}-{short}{plus}[{help}]{action}")));
        }
        specs.push(quote(&format!("{front}--{name}{equals}[{help}]{action}")));
    }
    specs
}

fn action(choices: &Choices, function: &str) -> String {
    match choices {
        Choices::NoValue => String::new(),
        Choices::Nothing => " ".to_owned(),
        Choices::Files => "_files".to_owned(),
        Choices::Folders => "_files -/".to_owned(),
        Choices::Words(words) => format!("({})", words.join(" ")),
        Choices::Urls => format!("{function}_urls"),
    }
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
