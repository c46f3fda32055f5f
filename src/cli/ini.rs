//! INI files: sections, keys and values with their lines, and errors that name file and line.
//! Knows no section and no key by name.
//!
//! ```text
//! # a comment, as is a line that begins with ;
//! [section]
//! key = value          # a comment after a blank
//! key : 'a # b'        ; quotes keep blanks, # and ; and must end on their line
//! ```
//!
//! Own code, because the crates that were tried merge repeated keys, take an inline comment for the
//! value, or drop lines that they do not understand.

use std::fmt::{self, Write};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::suggest::{DidYouMean, nearest};
use crate::escape::EscapeControl;
use crate::os_text;
use crate::strerror::strerror;

/// Reason of an [`IniErrorKind::InvalidKey`] whose key is not one of those `known`.
pub(crate) fn no_such_key<'a>(key: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    format!("no such key{}", DidYouMean(nearest(key, known)))
}

/// One section, with its entries in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section<'a> {
    /// Line of its header, from 1.
    line: usize,
    pub(crate) name: &'a str,
    /// Repeated keys stand here as often as in the file.
    entries: Vec<Entry<'a>>,
}

/// One `key = value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry<'a> {
    /// From 1.
    line: usize,
    key: &'a str,
    value: &'a str,
}

/// An INI file that cannot be read or is wrong. Displayed as one line, `FILE: line N: …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IniError {
    file: PathBuf,
    kind: IniErrorKind,
}

/// The reason of an [`IniError`]. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IniErrorKind {
    /// The file cannot be read.
    Unreadable(String),
    /// A line is not of the form `key = value`.
    NotKeyValue {
        line: usize,
    },
    /// A quote is not closed on its line, or more than a comment follows it.
    InvalidQuote {
        line: usize,
    },
    /// A section's bracket is not closed on its line, which goes on as `start` says.
    UnclosedSection {
        line: usize,
        start: String,
    },
    /// A key stands before the first section.
    KeyBeforeSection {
        line: usize,
        key: String,
    },
    UnknownSection {
        line: usize,
        section: String,
        nearest: Option<String>,
    },
    RepeatedSection {
        line: usize,
        section: String,
    },
    /// A section is known, and cannot be used.
    InvalidSection {
        line: usize,
        section: String,
        reason: String,
    },
    /// A key is unknown or repeated, or its value is invalid.
    InvalidKey {
        line: usize,
        section: String,
        key: String,
        reason: String,
    },
    /// A file that is to name a server does not.
    #[cfg(feature = "client")]
    NoAddress,
}

impl IniError {
    /// Reads `file` and lets `parse` make something of its text, which is [`os_text`].
    pub(crate) fn read<T>(
        file: &Path,
        parse: impl FnOnce(&str) -> Result<T, IniErrorKind>,
    ) -> Result<T, IniError> {
        fs::read(file)
            .map_err(|error| IniErrorKind::Unreadable(strerror(&error).to_string()))
            .and_then(|bytes| parse(&os_text::encode(&bytes)))
            .map_err(|kind| IniError::new(file, kind))
    }

    pub(crate) fn new(file: &Path, kind: IniErrorKind) -> Self {
        IniError { file: file.to_owned(), kind }
    }
}

impl fmt::Display for IniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use IniErrorKind as Kind;
        let mut f = EscapeControl(f);
        write!(f, "{}: ", os_text::encode(self.file.as_os_str().as_bytes()))?;
        match &self.kind {
            Kind::Unreadable(reason) => write!(f, "cannot be read: {reason}"),
            Kind::NotKeyValue { line } => write!(f, "line {line}: not of the form key = value"),
            Kind::InvalidQuote { line } => {
                write!(f, "line {line}: a quoted value ends with its quote")
            }
            Kind::UnclosedSection { line, start } => {
                write!(f, "line {line}: {start}: the section is not closed by ]")
            }
            Kind::KeyBeforeSection { line, key } => {
                write!(f, "line {line}: key '{key}' before any section")
            }
            Kind::UnknownSection { line, section, nearest } => {
                let nearest = DidYouMean(nearest.as_deref());
                write!(f, "line {line}: [{section}]: no such section{nearest}")
            }
            Kind::RepeatedSection { line, section } => {
                write!(f, "line {line}: [{section}]: given twice")
            }
            Kind::InvalidSection { line, section, reason } => {
                write!(f, "line {line}: [{section}]: {reason}")
            }
            Kind::InvalidKey { line, section, key, reason } => {
                write!(f, "line {line}: [{section}] {key}: {reason}")
            }
            #[cfg(feature = "client")]
            Kind::NoAddress => f.write_str("[server] has neither host nor port"),
        }
    }
}

impl std::error::Error for IniError {}

impl Section<'_> {
    /// The first word of its name. Where a file has several sections of one kind, a name of their
    /// own follows it.
    pub(crate) fn kind(&self) -> &str {
        self.name.split_whitespace().next().unwrap_or_default()
    }

    /// The error of a section whose [`kind`](Self::kind) is not one of those `known`.
    pub(crate) fn unknown<'a>(&self, known: impl IntoIterator<Item = &'a str>) -> IniErrorKind {
        IniErrorKind::UnknownSection {
            line: self.line,
            section: self.name.to_owned(),
            nearest: nearest(self.kind(), known).map(|name| format!("[{name}]")),
        }
    }

    /// The error of a section that cannot be used.
    pub(crate) fn invalid(&self, reason: String) -> IniErrorKind {
        IniErrorKind::InvalidSection { line: self.line, section: self.name.to_owned(), reason }
    }

    /// Calls `set` with every key and value in order. A repeated key is an error, and so is a
    /// reason that `set` returns.
    pub(crate) fn for_each_key(
        &self,
        set: &mut dyn FnMut(&str, &str) -> Result<(), String>,
    ) -> Result<(), IniErrorKind> {
        for (at, &Entry { line, key, value }) in self.entries.iter().enumerate() {
            let is_repeated = self.entries[..at].iter().any(|before| before.key == key);
            let result = if is_repeated { Err("given twice".to_owned()) } else { set(key, value) };
            result.map_err(|reason| {
                let (section, key) = (self.name.to_owned(), key.to_owned());
                IniErrorKind::InvalidKey { line, section, key, reason }
            })?;
        }
        Ok(())
    }
}

/// Calls `add` with every section in order. A repeated section is an error.
pub(crate) fn for_each_section(
    text: &str,
    mut add: impl FnMut(&Section<'_>) -> Result<(), IniErrorKind>,
) -> Result<(), IniErrorKind> {
    let sections = sections(text)?;
    for (at, section) in sections.iter().enumerate() {
        if sections[..at].iter().any(|before| before.name == section.name) {
            let (line, section) = (section.line, section.name.to_owned());
            return Err(IniErrorKind::RepeatedSection { line, section });
        }
        add(section)?;
    }
    Ok(())
}

/// The sections of a text in order, repeated ones as often as they stand there.
fn sections(text: &str) -> Result<Vec<Section<'_>>, IniErrorKind> {
    // Windows' editors begin a file with a byte-order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut sections: Vec<Section<'_>> = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        let mut rest = content.trim();
        // Text behind a section's bracket is read as a line of its own.
        while let Some(start) = rest.strip_prefix('[') {
            let Some((name, behind)) = start.split_once(']') else {
                return Err(IniErrorKind::UnclosedSection { line, start: rest.to_owned() });
            };
            sections.push(Section { line, name: name.trim(), entries: Vec::new() });
            rest = behind.trim_start();
        }
        if rest.is_empty() || is_comment(rest) {
            continue;
        }
        let not_key_value = IniErrorKind::NotKeyValue { line };
        let Some((key, value)) = rest.split_once(['=', ':']) else { return Err(not_key_value) };
        let key = key.trim_end();
        if key.is_empty() {
            return Err(not_key_value);
        }
        let Some(value) = unquote(value.trim_start()) else {
            return Err(IniErrorKind::InvalidQuote { line });
        };
        let Some(section) = sections.last_mut() else {
            return Err(IniErrorKind::KeyBeforeSection { line, key: key.to_owned() });
        };
        section.entries.push(Entry { line, key, value });
    }
    Ok(sections)
}

/// Strips a value of its quotes and of the comment behind it; `None` if its quotes are wrong.
fn unquote(text: &str) -> Option<&str> {
    if let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let (value, behind) = text[1..].split_once(quote)?;
        let behind = behind.trim_start();
        return (behind.is_empty() || is_comment(behind)).then_some(value);
    }
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        if is_comment(&text[at..]) && before.is_whitespace() {
            return Some(text[..at].trim_end());
        }
        before = c;
    }
    Some(text)
}

fn is_comment(text: &str) -> bool {
    text.starts_with(['#', ';'])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and entries, without lines.
    type Plain<'a> = Vec<(&'a str, Vec<(&'a str, &'a str)>)>;

    fn plain(text: &str) -> Plain<'_> {
        let sections = sections(text).unwrap().into_iter();
        sections.map(|Section { name, entries, .. }| (name, pairs(&entries))).collect()
    }

    fn pairs<'a>(entries: &[Entry<'a>]) -> Vec<(&'a str, &'a str)> {
        entries.iter().map(|entry| (entry.key, entry.value)).collect()
    }

    #[track_caller]
    fn value(text: &str) -> String {
        let text = format!("[s]\n{text}");
        let sections = plain(&text);
        let [("s", keys)] = &*sections else { panic!("{sections:?}") };
        let [("k", value)] = keys[..] else { panic!("{keys:?}") };
        value.to_owned()
    }

    #[test]
    fn value_ends_with_its_line_or_before_a_comment() {
        for (text, expected) in [
            ("k=v", "v"),
            ("  k  :  v w  \r\n", "v w"),
            ("k = v # c", "v"),
            ("k = v\t; c", "v"),
            ("k = v#w;x", "v#w;x"),
            ("k = a=b:c", "a=b:c"),
            ("k =", ""),
            ("k = # c", ""),
            ("k=#c", ""),
            ("k=\u{a0}é \u{a0}# c", "é"),
            ("k = v\\", "v\\"),
        ] {
            assert_eq!(value(text), expected, "{text:?}");
        }
    }

    #[test]
    fn quotes_keep_blanks_and_comment_characters() {
        for (text, expected) in [
            ("k = \"a # b; \" # c", "a # b; "),
            ("k='\"'", "\""),
            ("k = ''", ""),
            ("k = it's \"so\"", "it's \"so\""),
        ] {
            assert_eq!(value(text), expected, "{text:?}");
        }
        for text in ["[s]\nk = \"a\nb\"", "[s]\nk='a' b"] {
            assert_eq!(sections(text), Err(IniErrorKind::InvalidQuote { line: 2 }), "{text:?}");
        }
    }

    #[test]
    fn lines_are_read_one_by_one() {
        let both = [("a b", vec![("k", "1"), ("k", "2")]), ("", vec![])];
        let texts = [
            "\u{feff}\n# c\n[ a b ] ; c\nk=1\n\tk=2\n[]",
            "[a b]k=1\nk=2\n[] # [c]",
            "[a b]\r\nk=1\r\n\r\nk=2\r\n;\r\n[]\r\n",
        ];
        for text in texts {
            assert_eq!(plain(text), both, "{text:?}");
        }
        assert_eq!(sections(""), Ok(vec![]));
    }

    #[test]
    fn syntax_errors_name_their_line() {
        for (text, wrong) in [
            ("[s]\nno value", IniErrorKind::NotKeyValue { line: 2 }),
            ("[s]\n\n = value", IniErrorKind::NotKeyValue { line: 3 }),
            ("[s] no value", IniErrorKind::NotKeyValue { line: 1 }),
            (" [s # ]\n[t\nk=1]", IniErrorKind::UnclosedSection { line: 2, start: "[t".into() }),
            ("# c\nk = 1\n[s]", IniErrorKind::KeyBeforeSection { line: 2, key: "k".into() }),
        ] {
            assert_eq!(sections(text), Err(wrong), "{text:?}");
        }
    }
}
