//! Options of a command line: a table for each program, from which `--help`, the parser and the
//! errors are made. Parsing itself is done by getopts.

use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;

use getopts::{Matches, Options, ParsingStyle};
use log::LevelFilter;

use super::suggest::DidYouMean;
use crate::escape::EscapeControl;
use crate::os_text;

/// An option of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OptionSpec {
    /// One letter; empty if there is no short form.
    pub(crate) short: &'static str,
    /// The long form, without `--`.
    pub(crate) name: &'static str,
    /// Name of the value in `--help`; empty for an option without a value.
    pub(crate) value: &'static str,
    pub(crate) repeats: bool,
    /// Text for `--help`, with a `{}` for each of `values`.
    pub(crate) help: &'static str,
    pub(crate) values: &'static [OptionValue],
}

/// A value that `--help` shows: a default, a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OptionValue {
    Number(u64),
    Text(&'static str),
    Level(LevelFilter),
}

impl fmt::Display for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionValue::Number(number) => write!(f, "{number}"),
            OptionValue::Text(text) => f.write_str(text),
            OptionValue::Level(level) => f.write_str(&level.as_str().to_ascii_lowercase()),
        }
    }
}

impl OptionSpec {
    /// An option that may be given once, with a value if `value` names one.
    pub(crate) const fn new(
        short: &'static str,
        name: &'static str,
        value: &'static str,
        help: &'static str,
    ) -> Self {
        OptionSpec { short, name, value, repeats: false, help, values: &[] }
    }

    /// The option, to be given any number of times.
    pub(crate) const fn repeated(self) -> Self {
        OptionSpec { repeats: true, ..self }
    }

    /// The option, with `values` for the `{}` of its help, in order.
    pub(crate) const fn showing(self, values: &'static [OptionValue]) -> Self {
        OptionSpec { values, ..self }
    }

    /// Its names and its value as `--help` has them, from the first column on.
    fn names(&self) -> String {
        let OptionSpec { short, name, value, .. } = self;
        let short = if short.is_empty() { "   ".to_owned() } else { format!("-{short},") };
        format!("  {short} --{name} {value}").trim_end().to_owned()
    }

    /// The text of `--help`.
    pub(crate) fn help_text(&self) -> String {
        let fill = |text: String, value: &OptionValue| text.replacen("{}", &value.to_string(), 1);
        self.values.iter().fold(self.help.to_owned(), fill)
    }

    fn takes_value(&self) -> bool {
        !self.value.is_empty()
    }

    fn add_to(&self, options: &mut Options) {
        let OptionSpec { short, name, value, repeats, .. } = *self;
        // `--help` is not made by getopts, which has one column for all programs.
        let help = "";
        match (self.takes_value(), repeats) {
            (true, false) => options.optopt(short, name, help, value),
            (true, true) => options.optmulti(short, name, help, value),
            (false, false) => options.optflag(short, name, help),
            (false, true) => options.optflagmulti(short, name, help),
        };
    }
}

/// An error in one option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionError {
    /// No option has this name. With its dashes, as it was given.
    Unknown {
        /// The option.
        given: String,
        /// The long name that was probably meant.
        nearest: Option<&'static str>,
    },
    /// No option has this name, but other programs do.
    Foreign {
        /// The option, with its dashes.
        given: String,
        /// The arguments that do the same here.
        instead: String,
    },
    /// The option needs a value.
    NoValue {
        /// The long name.
        name: &'static str,
        /// The kind of value, as in `--help`.
        value: &'static str,
    },
    /// The option takes no value.
    UnexpectedValue(&'static str),
    /// The option may be given once.
    Repeated(&'static str),
    /// Another failure that getopts found.
    Other(String),
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = EscapeControl(f);
        match self {
            OptionError::Unknown { given, nearest } => {
                let nearest = nearest.map(|name| format!("--{name}"));
                write!(f, "unknown option '{given}'{}", DidYouMean(nearest.as_deref()))
            }
            OptionError::Foreign { given, instead } => {
                write!(f, "unknown option '{given}'{}", DidYouMean(Some(instead)))
            }
            OptionError::NoValue { name, value } => write!(f, "--{name} needs a value, {value}"),
            OptionError::UnexpectedValue(name) => write!(f, "--{name} takes no value"),
            OptionError::Repeated(name) => write!(f, "--{name} is given twice"),
            OptionError::Other(reason) => f.write_str(reason),
        }
    }
}

/// A command line as far as it is right.
pub(crate) struct Parsed {
    /// The options and words without those of `errors`.
    pub(crate) matches: Matches,
    /// All options that are wrong, in order.
    pub(crate) errors: Vec<OptionError>,
    /// A word may be the value of an unknown option.
    #[cfg_attr(not(feature = "load"), allow(dead_code, reason = "the load tester alone asks"))]
    pub(crate) has_doubtful_words: bool,
}

/// Parses `args`, which need not be UTF-8: values and free words are [`os_text`].
///
/// # Errors
///
/// All options that are wrong, in order.
pub(crate) fn parse<A: AsRef<OsStr>>(
    specs: &[OptionSpec],
    style: ParsingStyle,
    args: &[A],
) -> Result<Matches, Vec<OptionError>> {
    let parsed = parse_leniently(specs, style, args)?;
    if parsed.errors.is_empty() { Ok(parsed.matches) } else { Err(parsed.errors) }
}

/// As [`parse`], for programs that name the errors in values beside those in options.
///
/// # Errors
///
/// Another failure of getopts; nothing is known to make it.
pub(crate) fn parse_leniently<A: AsRef<OsStr>>(
    specs: &[OptionSpec],
    style: ParsingStyle,
    args: &[A],
) -> Result<Parsed, Vec<OptionError>> {
    let encode = |arg: &A| os_text::encode(arg.as_ref().as_bytes());
    let args: Vec<String> = args.iter().map(encode).collect();
    let Checked { right, errors, has_doubtful_words } = check(specs, style, &args);
    let mut options = Options::new();
    options.parsing_style(style);
    for spec in specs {
        spec.add_to(&mut options);
    }
    match options.parse(&right) {
        Ok(matches) => Ok(Parsed { matches, errors, has_doubtful_words }),
        Err(fail) => Err(vec![OptionError::Other(fail.to_string())]),
    }
}

/// Arguments that have been checked.
#[derive(Default)]
struct Checked<'a> {
    /// Those without an error.
    right: Vec<&'a str>,
    errors: Vec<OptionError>,
    has_doubtful_words: bool,
}

/// Finds what getopts would refuse: it names the first only, and knows no other name for it.
fn check<'a>(specs: &[OptionSpec], style: ParsingStyle, args: &'a [String]) -> Checked<'a> {
    let mut checked = Checked::default();
    let mut given: Vec<&str> = Vec::new();
    let mut rest = args;
    while let Some((arg, behind)) = rest.split_first() {
        if arg == "--" {
            break;
        }
        let errors = &mut checked.errors;
        let errors_before = errors.len();
        let (found, value) = match arg.strip_prefix("--") {
            Some(long) => find_long(specs, long, errors),
            None if arg.len() > 1 && arg.starts_with('-') => {
                find_short(specs, &arg[1..], &mut given, errors)
            }
            None if style == ParsingStyle::StopAtFirstFree => break,
            None => {
                checked.right.push(arg);
                rest = behind;
                continue;
            }
        };
        let mut len = 1;
        if let Some(spec) = found {
            match (spec.takes_value(), value) {
                (true, None) if behind.is_empty() => {
                    errors.push(OptionError::NoValue { name: spec.name, value: spec.value });
                }
                (true, None) => len = 2,
                (false, Some(_)) => errors.push(OptionError::UnexpectedValue(spec.name)),
                _ => {}
            }
            add_given(spec, &mut given, errors);
        } else if let Some(OptionError::Unknown { nearest, .. }) = errors.last() {
            // The word behind a misspelt option is its value if the right one takes a value.
            let meant = specs.iter().find(|spec| Some(spec.name) == *nearest);
            let is_word = |word: &String| !word.starts_with('-');
            let has_value = !arg.contains('=') && behind.first().is_some_and(is_word);
            checked.has_doubtful_words |= has_value && meant.is_none();
            len += usize::from(has_value && meant.is_some_and(OptionSpec::takes_value));
        }
        let (taken, behind) = rest.split_at(len);
        if checked.errors.len() == errors_before {
            checked.right.extend(taken.iter().map(String::as_str));
        }
        rest = behind;
    }
    checked.right.extend(rest.iter().map(String::as_str));
    checked
}

fn add_given(spec: &OptionSpec, given: &mut Vec<&str>, errors: &mut Vec<OptionError>) {
    if given.contains(&spec.name) && !spec.repeats {
        errors.push(OptionError::Repeated(spec.name));
    }
    given.push(spec.name);
}

/// Finds `name` or `name=value`.
fn find_long<'a, 'b>(
    specs: &'a [OptionSpec],
    text: &'b str,
    errors: &mut Vec<OptionError>,
) -> (Option<&'a OptionSpec>, Option<&'b str>) {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    let found = specs.iter().find(|spec| spec.name == name);
    if found.is_none() {
        errors.push(unknown(specs, format!("--{name}"), name));
    }
    (found, value)
}

/// Finds the last option of a cluster such as `-vvp80`, and the value behind it.
fn find_short<'a, 'b>(
    specs: &'a [OptionSpec],
    cluster: &'b str,
    given: &mut Vec<&'a str>,
    errors: &mut Vec<OptionError>,
) -> (Option<&'a OptionSpec>, Option<&'b str>) {
    let mut chars = cluster.chars();
    while let Some(c) = chars.next() {
        let mut name = [0; 4];
        let name = &*c.encode_utf8(&mut name);
        let Some(spec) = specs.iter().find(|spec| spec.short == name) else {
            // `-listen` is meant for `--listen`.
            errors.push(unknown(specs, format!("-{name}"), cluster));
            return (None, None);
        };
        let rest = chars.as_str();
        if spec.takes_value() || rest.is_empty() {
            return (Some(spec), Some(rest).filter(|rest| !rest.is_empty()));
        }
        add_given(spec, given, errors);
    }
    (None, None)
}

fn unknown(specs: &[OptionSpec], given: String, name: &str) -> OptionError {
    let nearest = super::suggest::nearest(name, specs.iter().map(|spec| spec.name));
    OptionError::Unknown { given, nearest }
}

/// Columns of `--help`.
const USAGE_COLUMNS: usize = 80;

/// The text of `--help`: `brief`, and the options under the titles of their groups. At most
/// [`USAGE_COLUMNS`] wide.
#[inline(never)]
pub(crate) fn usage(brief: &str, groups: &[(&str, &[OptionSpec])]) -> String {
    let options = groups.iter().flat_map(|(_, options)| *options);
    let column = options.map(|option| option.names().chars().count()).max().unwrap_or(0) + 2;
    let mut text = brief.to_owned();
    for (title, options) in groups {
        text.push_str("\n\n");
        text.push_str(title);
        text.push(':');
        for option in *options {
            push_option(&mut text, option, column);
        }
    }
    text
}

/// Appends a line break, the option's names, and from `column` on its help, in as many lines as it
/// takes.
#[inline(never)]
fn push_option(text: &mut String, option: &OptionSpec, column: usize) {
    let names = option.names();
    text.push('\n');
    text.push_str(&names);
    let mut at = names.chars().count();
    let mut end = column;
    for word in option.help_text().split(' ') {
        let len = word.chars().count();
        if end > column && end + 1 + len > USAGE_COLUMNS {
            text.push('\n');
            (at, end) = (0, column);
        }
        let blanks = if end == column { column - at } else { 1 };
        text.extend(std::iter::repeat_n(' ', blanks));
        text.push_str(word);
        end = if end == column { column + len } else { end + 1 + len };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: [OptionSpec; 5] = [
        OptionSpec::new("l", "listen", "URL", "add a listener").repeated(),
        OptionSpec::new("c", "config", "FILE", "read a file"),
        OptionSpec::new("v", "verbose", "", "say more").repeated(),
        OptionSpec::new("", "check", "", "check options"),
        OptionSpec::new("", "memory-limit", "BYTES", "most bytes"),
    ];

    fn parse_all(args: &[&str]) -> Result<Matches, Vec<OptionError>> {
        parse(&SPECS, ParsingStyle::FloatingFrees, args)
    }

    fn errors(args: &[&str]) -> Vec<String> {
        parse_all(args).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn unknown_option_shows_the_nearest() {
        assert_eq!(errors(&["--lisen", "x"]), ["unknown option '--lisen', did you mean --listen?"]);
        assert_eq!(errors(&["--lisen=x"]), ["unknown option '--lisen', did you mean --listen?"]);
        assert_eq!(errors(&["--LISTEN=x"]), ["unknown option '--LISTEN', did you mean --listen?"]);
        assert_eq!(errors(&["-kheck"]), ["unknown option '-k', did you mean --check?"]);
        assert_eq!(errors(&["--zzz"]), ["unknown option '--zzz'"]);
    }

    #[test]
    fn all_errors_are_found() {
        let found = errors(&["--chekc", "--check=1", "-c", "a", "--config=b", "-x", "-l"]);
        let expected = [
            "unknown option '--chekc', did you mean --check?",
            "--check takes no value",
            "--config is given twice",
            "unknown option '-x'",
            "--listen needs a value, URL",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_right_is_parsed_beside_errors() {
        let parse = |args: &[&str]| {
            let parsed = parse_leniently(&SPECS, ParsingStyle::FloatingFrees, args).unwrap();
            (parsed.matches, parsed.errors.len(), parsed.has_doubtful_words)
        };
        let (matches, errors, is_doubtful) =
            parse(&["a", "--confg", "x", "--chekc", "b", "--listen", "l", "--check=1", "c"]);
        assert_eq!((errors, is_doubtful), (3, false));
        assert_eq!(matches.free, ["a", "b", "c"], "x is the value of --config");
        assert_eq!(matches.opt_str("listen").as_deref(), Some("l"));
        let (matches, errors, is_doubtful) = parse(&["--zzz", "b", "-c", "1", "-c", "2"]);
        assert_eq!((errors, is_doubtful), (2, true), "b may be a value of --zzz");
        assert_eq!(matches.opt_str("config").as_deref(), Some("1"));
        let (matches, ..) = parse(&["--zzz", "--", "--check"]);
        assert_eq!(matches.free, ["--check"]);
    }

    #[test]
    fn values_are_no_options() {
        let matches = parse_all(&["-c", "--check", "-vvl-x", "--listen", "-l", "word", "--", "-k"]);
        let matches = matches.unwrap();
        assert_eq!(matches.opt_str("config").as_deref(), Some("--check"));
        assert_eq!(matches.opt_strs("listen"), ["-x", "-l"]);
        assert_eq!(matches.opt_count("verbose"), 2);
        assert_eq!(matches.free, ["word", "-k"]);
    }

    #[test]
    fn value_need_not_be_utf_8() {
        let args = [b"-c".as_slice(), b"a\xff"].map(|arg| os_text::decode(&os_text::encode(arg)));
        let matches = parse(&SPECS, ParsingStyle::FloatingFrees, &args).unwrap();
        assert_eq!(os_text::decode(&matches.opt_str("config").unwrap()), args[1]);
        let given = os_text::encode(b"--\xff");
        let error = OptionError::Unknown { given, nearest: None };
        assert_eq!(error.to_string(), r"unknown option '--\xff'");
    }

    #[test]
    fn help_shows_values_in_their_places() {
        let values = &[OptionValue::Number(5), OptionValue::Level(LevelFilter::Info)];
        let option = OptionSpec::new("", "x", "N", "from {} to {}").showing(values);
        assert_eq!(option.help_text(), "from 5 to info");
        assert!(usage("", &[("T", &[option])]).ends_with("from 5 to info"));
    }

    #[test]
    fn usage_has_a_title_a_group() {
        let text = usage("Usage: x", &[("Options", &SPECS[..1]), ("More", &SPECS[3..4])]);
        let expected = "Usage: x\n\nOptions:\n  -l, --listen URL  add a listener\n\nMore:\n      --check       check options";
        assert_eq!(text, expected);
    }

    #[test]
    fn usage_breaks_lines_between_words() {
        let help = "a ".repeat(40) + &"b".repeat(68) + " c";
        let option = OptionSpec::new("x", "xx", "", help.leak());
        let text = usage("", &[("T", &[option])]);
        let lines: Vec<&str> = text.lines().skip(2).collect();
        let a = |n: usize| vec!["a"; n].join(" ");
        let blanks = " ".repeat(12);
        let expected = [
            "T:".to_owned(),
            format!("  -x, --xx  {}", a(34)),
            format!("{blanks}{}", a(6)),
            format!("{blanks}{}", "b".repeat(68)),
            format!("{blanks}c"),
        ];
        assert_eq!(lines, expected);
    }
}
