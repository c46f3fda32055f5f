//! The three programs as their tables and their `--help` describe them.

use log::LevelFilter;

use crate::cli::options::OptionSpec;
use crate::cli::server_options;
use crate::protocol::ProtocolName;
use crate::{client, load};

/// A program with its options and the words of its command line.
pub(super) struct Program {
    pub(super) name: &'static str,
    /// Options under the titles of `--help`.
    pub(super) groups: Vec<(&'static str, Vec<OptionSpec>)>,
    /// Sections of commands, or of modes.
    pub(super) sections: Vec<WordSection>,
    /// Beginnings of its URLs.
    pub(super) schemes: Vec<String>,
}

/// Words under one title of `--help`.
pub(super) struct WordSection {
    pub(super) title: String,
    pub(super) words: Vec<Word>,
    /// The section's text where it is not a list of words.
    pub(super) text: String,
}

/// A command of the client, or a mode of the load tester.
pub(super) struct Word {
    pub(super) name: String,
    /// With its arguments.
    pub(super) synopsis: String,
    pub(super) help: String,
    /// Options that other words do not have.
    pub(super) options: Vec<OptionSpec>,
}

/// The completion that a shell offers for the value of an option.
pub(super) enum Choices {
    /// The option has no value.
    NoValue,
    /// A value nobody can guess.
    Nothing,
    Files,
    Folders,
    Words(Vec<String>),
    Urls,
}

pub(super) fn all() -> [Program; 3] {
    [server(), client(), load()]
}

fn server() -> Program {
    let groups = server_options::GROUPS.iter().map(|(title, specs)| (*title, specs.to_vec()));
    Program {
        name: "mynah",
        groups: groups.collect(),
        sections: Vec::new(),
        schemes: schemes(protocols()),
    }
}

fn client() -> Program {
    let groups = client::OPTION_GROUPS.iter().map(|(title, specs)| (*title, specs.to_vec()));
    Program {
        name: "mynah-cli",
        groups: groups.collect(),
        sections: client_sections(&client::help_text()),
        schemes: schemes(protocols()),
    }
}

fn load() -> Program {
    let modes = load::option_tables();
    let words = load::help(None);
    let words = modes.iter().filter_map(|(name, specs)| {
        let line = words.lines().find_map(|line| line.strip_prefix(&format!("  {name} ")))?;
        let help = line.trim().to_owned();
        let usage = load::help(Some(*name));
        let synopsis = usage.lines().next()?.strip_prefix("Usage: mynah-load ")?.to_owned();
        let (name, options) = ((*name).to_owned(), specs.to_vec());
        Some(Word { name, synopsis, help, options })
    });
    let section =
        WordSection { title: "Modes".to_owned(), words: words.collect(), text: String::new() };
    // A listener of plugins answers what its plugins want, which no load can be compared with.
    let protocols = protocols().into_iter().filter(|name| *name != "plugin").chain(["tcp"]);
    Program {
        name: "mynah-load",
        groups: modes.into_iter().map(|(title, specs)| (title, specs.to_vec())).collect(),
        sections: vec![section],
        schemes: schemes(protocols.collect()),
    }
}

impl Program {
    /// All commands or modes.
    pub(super) fn words(&self) -> Vec<&Word> {
        self.sections.iter().flat_map(|section| &section.words).collect()
    }

    /// All options, each name once.
    pub(super) fn options(&self) -> Vec<OptionSpec> {
        let mut all: Vec<OptionSpec> = Vec::new();
        for spec in self.groups.iter().flat_map(|(_, specs)| specs) {
            if all.iter().all(|known| known.name != spec.name) {
                all.push(*spec);
            }
        }
        all
    }

    /// The options behind the word `name`: all but those of other words alone.
    pub(super) fn options_behind(&self, name: &str) -> Vec<OptionSpec> {
        let is_word = |title: &str| self.words().iter().any(|word| word.name == title);
        let groups = self.groups.iter().filter(|(title, _)| *title == name || !is_word(title));
        groups.flat_map(|(_, specs)| specs).copied().collect()
    }
}

/// The names of the protocols.
pub(super) fn protocols() -> Vec<&'static str> {
    ProtocolName::ALL.iter().map(|protocol| protocol.as_str()).collect()
}

fn schemes(protocols: Vec<&str>) -> Vec<String> {
    let of =
        |name: &str| [format!("{name}://"), format!("{name}+tls://"), format!("{name}+unix:///")];
    protocols.into_iter().flat_map(of).collect()
}

/// The completion that a shell may offer for the option's value.
pub(super) fn choices(spec: &OptionSpec) -> Choices {
    let owned = |words: Vec<&str>| Choices::Words(words.into_iter().map(str::to_owned).collect());
    match spec.value {
        "" => Choices::NoValue,
        "FILE" | "FILE.html" => Choices::Files,
        "DIR" => Choices::Folders,
        // An engine's is like no listener's.
        "URL" if spec.name == "cluster" => Choices::Nothing,
        "URL" => Choices::Urls,
        "LEVEL" => {
            Choices::Words(LevelFilter::iter().map(|l| l.as_str().to_ascii_lowercase()).collect())
        }
        "NAME" if spec.name == "protocol" => owned(protocols()),
        "FORMAT" if spec.name == "log-format" => owned(vec!["full", "plain"]),
        value if value.contains('|') => owned(value.split('|').collect()),
        _ => Choices::Nothing,
    }
}

/// The first clause of an option's help: what a shell shows beside it.
pub(super) fn summary(spec: &OptionSpec) -> String {
    first_clause(&spec.help_text())
}

/// `text` up to a parenthesis, a semicolon, or what else ends a clause.
pub(super) fn first_clause(text: &str) -> String {
    let end = [" (", "; ", ", PROTOCOL"].iter().filter_map(|mark| text.find(mark)).min();
    text[..end.unwrap_or(text.len())].to_owned()
}

/// The sections of the client's `--help`: titles that end in a colon, commands indented by four
/// blanks, and more lines of their help indented by more.
fn client_sections(help: &str) -> Vec<WordSection> {
    let mut sections: Vec<WordSection> = Vec::new();
    for line in help.lines() {
        if line.starts_with("Examples") {
            break;
        }
        if let Some(title) = line.strip_suffix(':').filter(|line| !line.starts_with(' ')) {
            let title = title.to_owned();
            sections.push(WordSection { title, words: Vec::new(), text: String::new() });
            continue;
        }
        let (Some(section), Some(text)) = (sections.last_mut(), line.strip_prefix("    ")) else {
            continue;
        };
        if text.starts_with(' ')
            && let Some(word) = section.words.last_mut()
        {
            word.help.push(' ');
            word.help.push_str(text.trim());
            continue;
        }
        let name = text.split(' ').next().unwrap_or_default();
        match text.split_once("  ") {
            Some((synopsis, help)) if client::COMMAND_NAMES.contains(&name) => {
                section.words.push(Word {
                    name: name.to_owned(),
                    synopsis: synopsis.to_owned(),
                    help: help.trim().to_owned(),
                    options: Vec::new(),
                });
            }
            _ => {
                section.text.push_str(text);
                section.text.push(' ');
            }
        }
    }
    sections
}

#[test]
fn help_of_the_client_has_every_command() {
    let client = client();
    let found: Vec<&str> = client.words().iter().map(|word| word.name.as_str()).collect();
    let expected: Vec<&str> =
        client::COMMAND_NAMES.iter().copied().filter(|name| *name != "help").collect();
    for name in expected {
        assert!(found.contains(&name), "{name}: {found:?}");
    }
    let call = client.words().into_iter().find(|word| word.name == "call").unwrap();
    assert_eq!(call.synopsis, "call CODE [TEXT]");
}

#[test]
fn help_of_the_load_tester_has_every_mode() {
    let load = load();
    let found: Vec<&str> = load.words().iter().map(|word| word.name.as_str()).collect();
    assert_eq!(found, load::MODES);
    let options = load.options_behind("fanout");
    assert!(options.iter().any(|spec| spec.name == "batch"));
    assert!(options.iter().all(|spec| spec.name != "probe"));
}
