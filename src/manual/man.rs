//! Man pages in man(7): the prose of `pages/`, and in place of lines such as `@options@` what the
//! tables say.

use std::fmt::Write;

use super::NOTE;
use super::keys::{self, listener_keys};
use super::programs::{Program, protocols};
use crate::cli::options::OptionSpec;
use crate::cli::{ListenerSpec, server_options};
use crate::protocol::ProtocolName;

/// The day the prose was last looked through.
const DATE: &str = "2026-11-27";

pub(super) fn server(program: &Program) -> String {
    let fill = |mark: &str| match mark {
        "options" => options(&program.groups),
        "default-listeners" => default_listeners(),
        "listener-keys" => keys_of_listeners(false),
        _ => unknown(mark),
    };
    page("mynah", 1, include_str!("pages/mynah.1"), fill)
}

pub(super) fn client(program: &Program) -> String {
    let fill = |mark: &str| match mark {
        "options" => options(&program.groups),
        "commands" => commands(program),
        _ => unknown(mark),
    };
    page("mynah-cli", 1, include_str!("pages/mynah-cli.1"), fill)
}

pub(super) fn load(program: &Program) -> String {
    let is_mode = |title: &str| program.words().iter().any(|word| word.name == title);
    let groups: Vec<(String, Vec<OptionSpec>)> = program
        .groups
        .iter()
        .map(|(title, specs)| match is_mode(title) {
            true => (format!("Options of {title}"), specs.clone()),
            false => ((*title).to_owned(), specs.clone()),
        })
        .collect();
    let fill = |mark: &str| match mark {
        "options" => options(&groups),
        "modes" => modes(program),
        _ => unknown(mark),
    };
    page("mynah-load", 1, include_str!("pages/mynah-load.1"), fill)
}

pub(super) fn configuration() -> String {
    let fill = |mark: &str| match mark {
        "settings" => settings(),
        "listener-keys" => keys_of_listeners(true),
        _ => unknown(mark),
    };
    page("mynah.conf", 5, include_str!("pages/mynah.conf.5"), fill)
}

fn unknown(mark: &str) -> String {
    panic!("@{mark}@ of a page in src/manual/pages is not known")
}

/// A page: its title line, and the prose with its marks replaced.
fn page(name: &str, section: u8, prose: &str, fill: impl Fn(&str) -> String) -> String {
    let manual = if section == 1 { "User Commands" } else { "File Formats" };
    let version = env!("CARGO_PKG_VERSION");
    let title = name.to_uppercase().replace('-', "\\-");
    let mut page = format!(".\\\" {NOTE}\n");
    let _ = writeln!(page, r#".TH "{title}" {section} "{DATE}" "mynah {version}" "{manual}""#);
    for line in prose.lines() {
        match line.strip_prefix('@').and_then(|line| line.strip_suffix('@')) {
            Some(mark) => page.push_str(fill(mark).trim_end()),
            None => page.push_str(&line.replace("@protocols@", &protocol_list())),
        }
        page.push('\n');
    }
    page
}

/// In the argument of a macro that alternates fonts.
fn protocol_list() -> String {
    let names = protocols();
    let (last, others) = names.split_last().expect("there are protocols");
    format!(r#"{} " or " {last}"#, others.join(r#" ", " "#))
}

fn options<T: AsRef<str>>(groups: &[(T, Vec<OptionSpec>)]) -> String {
    let mut text = String::new();
    for (title, specs) in groups {
        let _ = writeln!(text, ".SS {}", escape(title.as_ref()));
        for spec in specs {
            let _ = writeln!(text, ".TP\n{}\n{}", names(spec), sentence(&spec.help_text()));
        }
    }
    text
}

/// `-l, --listen URL` with its fonts.
fn names(spec: &OptionSpec) -> String {
    let mut text = String::new();
    if !spec.short.is_empty() {
        let _ = write!(text, r"\fB\-{}\fR, ", spec.short);
    }
    let _ = write!(text, r"\fB\-\-{}\fR", escape(spec.name));
    if !spec.value.is_empty() {
        let _ = write!(text, r" \fI{}\fR", escape(spec.value));
    }
    text
}

fn default_listeners() -> String {
    let mut text = String::from(".RS 4\n");
    for protocol in ProtocolName::ALL.iter().filter(|protocol| protocol.is_default()) {
        let url = format!("{:27}", ListenerSpec::new(*protocol).to_string());
        let _ = writeln!(text, r"\fB{}\fR {}", escape(&url), escape(protocol.summary()));
    }
    text + ".RE"
}

/// The keys of a listener, for a file with those that a URL has in front of its `?`.
fn keys_of_listeners(is_file: bool) -> String {
    let mut text = String::new();
    for key in listener_keys().filter(|key| is_file || key.of.is_in_urls()) {
        let equals = if is_file { " = " } else { "=" };
        let _ = write!(text, ".TP\n\\fB{}\\fR{equals}\\fI{}\\fR", key.name, escape(key.value));
        let of = key.of.words();
        if !of.is_empty() {
            let _ = write!(text, " ({})", escape(&of));
        }
        let _ = writeln!(text, "\n{}", sentence(key.help));
    }
    text
}

/// The keys of `[server]`, under the titles of `--help`.
fn settings() -> String {
    let mut text = String::new();
    for (title, specs) in server_options::GROUPS {
        let is_setting = |spec: &&OptionSpec| {
            server_options::settings().iter().any(|known| known.name == spec.name)
        };
        let specs: Vec<&OptionSpec> = specs.iter().filter(is_setting).collect();
        if specs.is_empty() {
            continue;
        }
        let _ = writeln!(text, ".SS {}", escape(title));
        for spec in specs {
            let value = if spec.value.is_empty() { "yes|no" } else { spec.value };
            let key = spec.name.replace('-', "_");
            let _ = writeln!(text, ".TP\n\\fB{key}\\fR = \\fI{}\\fR", escape(value));
            let _ = writeln!(text, "{}", sentence(&spec.help_text()));
            if let Some(keys::Shown::Default(value)) = keys::setting(spec.name)
                && !spec.help_text().contains("default")
            {
                let _ = writeln!(text, "The default is {}.", escape(&value));
            }
        }
    }
    text
}

fn commands(program: &Program) -> String {
    let mut text = String::new();
    for section in &program.sections {
        if section.words.is_empty() && section.text.is_empty() {
            continue;
        }
        let _ = writeln!(text, ".SS {}", escape(&section.title));
        for word in &section.words {
            let _ = writeln!(text, ".TP\n{}\n{}", synopsis(&word.synopsis), sentence(&word.help));
        }
        if !section.text.is_empty() {
            let _ = writeln!(text, "{}", sentence(section.text.trim()));
        }
    }
    text
}

fn modes(program: &Program) -> String {
    let mut text = String::new();
    for word in program.words() {
        let _ = writeln!(text, ".TP\n\\fB{}\\fR\n{}", word.name, sentence(&word.help));
    }
    text
}

/// A command in bold and its arguments in italics.
fn synopsis(text: &str) -> String {
    let is_argument = |word: &str| word.chars().any(|c| c.is_ascii_uppercase());
    let word = |word: &str| {
        let font = if is_argument(word) { 'I' } else { 'B' };
        format!(r"\f{font}{}\fR", escape(word))
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Help as a sentence: a capital in front where it begins with a word, a full stop behind.
fn sentence(help: &str) -> String {
    format!("{}.", escape(&capital(help)).trim_end_matches('.'))
}

/// `text` with its first letter in upper case, unless it begins with a word to type.
pub(super) fn capital(text: &str) -> String {
    const TYPED: [&str; 4] = ["off,", "full,", "command,", "status:"];
    if TYPED.contains(&text.split(' ').next().unwrap_or_default()) {
        return text.to_owned();
    }
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

/// Text for troff: no character of it is a command or a ligature of one.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str(r"\e"),
            '-' => escaped.push_str(r"\-"),
            '\'' => escaped.push_str(r"\(aq"),
            '…' => escaped.push_str("..."),
            c if c.is_ascii() => escaped.push(c),
            c => {
                let _ = write!(escaped, r"\[u{:04X}]", u32::from(c));
            }
        }
    }
    if escaped.starts_with('.') { format!(r"\&{escaped}") } else { escaped }
}

#[test]
fn escaped_text_is_no_troff() {
    assert_eq!(escape(r"--x 'a\b' é…"), r"\-\-x \(aqa\eb\(aq \[u00E9]...");
    assert_eq!(escape(".x"), r"\&.x");
}
