//! Completions for fish.

use std::fmt::Write;

use super::NOTE;
use super::programs::{Choices, Program, choices, first_clause, summary};
use crate::cli::options::OptionSpec;

pub(super) fn script(program: &Program) -> String {
    let name = program.name;
    let words = program.words();
    let names: Vec<&str> = words.iter().map(|word| word.name.as_str()).collect();
    let mut text = format!("# fish completion of {name}. {NOTE}\n\ncomplete -c {name} -f\n");
    if words.is_empty() {
        for spec in program.options() {
            add_option(&mut text, program, &spec, "");
        }
        return text;
    }
    let none_seen = format!("not __fish_seen_subcommand_from {}", names.join(" "));
    let has_modes = words.iter().any(|word| !word.options.is_empty());
    if !has_modes {
        // Options of the client stand before the command.
        let condition = format!(" -n '{none_seen}'");
        for spec in program.options() {
            add_option(&mut text, program, &spec, &condition);
        }
        let urls = program.schemes.join(" ");
        let no_url =
            format!("{none_seen}; and not string match -q -- \"*://*\" (commandline -opc)");
        let _ = writeln!(text, "complete -c {name} -n '{no_url}' -a '{urls}'");
    } else {
        let is_mode = |title: &str| names.contains(&title);
        for (title, specs) in &program.groups {
            let condition = format!(" -n '__fish_seen_subcommand_from {title}'");
            for spec in specs {
                add_option(&mut text, program, spec, if is_mode(title) { &condition } else { "" });
            }
        }
        let (seen, urls) = (names.join(" "), program.schemes.join(" "));
        let condition = format!("__fish_seen_subcommand_from {seen}");
        let _ = writeln!(text, "complete -c {name} -n '{condition}' -a '{urls}'");
    }
    for word in &words {
        let help = quote(&first_clause(&word.help));
        let _ = writeln!(text, "complete -c {name} -n '{none_seen}' -a {} -d {help}", word.name);
        if word.synopsis.contains("FILE") {
            let seen = format!("__fish_seen_subcommand_from {}", word.name);
            let _ = writeln!(text, "complete -c {name} -n '{seen}' -F");
        }
    }
    text
}

fn add_option(text: &mut String, program: &Program, spec: &OptionSpec, condition: &str) {
    let _ = write!(text, "complete -c {}{condition}", program.name);
    if !spec.short.is_empty() {
        let _ = write!(text, " -s {}", spec.short);
    }
    let _ = write!(text, " -l {}", spec.name);
    match choices(spec) {
        Choices::NoValue => {}
        Choices::Nothing => text.push_str(" -x"),
        Choices::Files => text.push_str(" -r -F"),
        Choices::Folders => text.push_str(" -x -a '(__fish_complete_directories)'"),
        Choices::Words(words) => {
            let _ = write!(text, " -x -a '{}'", words.join(" "));
        }
        Choices::Urls => {
            let _ = write!(text, " -x -a '{}'", program.schemes.join(" "));
        }
    }
    let _ = writeln!(text, " -d {}", quote(&summary(spec)));
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}
