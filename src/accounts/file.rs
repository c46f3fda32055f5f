//! The text of an accounts file: one `name:$argon2id$…` a line, `#` comments. Opens no files.
//!
//! A crash, or a full disk, can leave the beginning of the line that a registration was writing. It
//! has no line end, so it was never confirmed, and it is no account: reading skips it, and the next
//! write cuts it off. Any other last line counts with or without its line end.

use std::fmt;
use std::path::PathBuf;

use super::hash::{HashError, PasswordHash, new_prefix};
use super::store::{ACCOUNTS_MAX, Accounts};
use crate::escape::EscapeControl;
use crate::protocol::login::{NameError, parse_name};
use crate::protocol::nickname::Nickname;

/// Most bytes of a file: as many accounts as there may be, and as much again for comments.
pub const FILE_LEN_MAX: usize = 64 << 20;
/// Most bytes of a line. An account's has at most 270.
pub const LINE_LEN_MAX: usize = 1024;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// A file that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// The reason.
    pub problem: FileProblem,
}

/// Reason why a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileProblem {
    /// An operation of the system failed, in the words of strerror(3).
    Io(String),
    /// It is a folder.
    Folder,
    /// It is a device, a pipe or a socket.
    NotRegular,
    /// It has more than [`FILE_LEN_MAX`] bytes.
    TooLong,
    /// A line of it is bad.
    Line {
        /// The line's number, from 1.
        line: usize,
        /// The reason.
        problem: LineProblem,
    },
}

/// Reason why a line cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineProblem {
    /// It is not UTF-8.
    NotUtf8,
    /// It has more than [`LINE_LEN_MAX`] bytes.
    TooLong,
    /// It has no `:`.
    NoColon,
    /// The name breaks a rule.
    Name(NameError),
    /// The hash of the account of this name.
    Hash(String, HashError),
    /// The name is the same as that of an earlier line.
    Duplicate {
        /// The name.
        name: String,
        /// The earlier one.
        earlier: String,
        /// Its line.
        earlier_line: usize,
    },
    /// There are more than [`ACCOUNTS_MAX`] accounts.
    TooMany,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        let path = crate::os_text::encode(self.path.as_os_str().as_encoded_bytes());
        let mut out = EscapeControl(f);
        match &self.problem {
            FileProblem::Io(reason) => write!(out, "{path}: {reason}"),
            FileProblem::Folder => write!(out, "{path}: is a folder"),
            FileProblem::NotRegular => write!(out, "{path}: is not a regular file"),
            FileProblem::TooLong => write!(out, "{path}: is over {} MiB", FILE_LEN_MAX >> 20),
            FileProblem::Line { line, problem } => write!(out, "{path}: line {line}: {problem}"),
        }
    }
}

impl std::error::Error for FileError {}

impl fmt::Display for LineProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineProblem::NotUtf8 => f.write_str("is not UTF-8"),
            LineProblem::TooLong => write!(f, "is over {LINE_LEN_MAX} bytes"),
            LineProblem::NoColon => f.write_str("is not of the form name:$argon2id$…"),
            LineProblem::Name(error) => write!(f, "{error}"),
            LineProblem::Hash(name, error) => write!(f, "{name}: {error}"),
            LineProblem::Duplicate { name, earlier, earlier_line } if name == earlier => {
                write!(f, "{name} is in line {earlier_line} already")
            }
            LineProblem::Duplicate { name, earlier, earlier_line } => {
                write!(f, "{name} is the same name as {earlier} in line {earlier_line}")
            }
            LineProblem::TooMany => write!(f, "is one account more than {ACCOUNTS_MAX}"),
        }
    }
}

/// Content of a file.
#[derive(Debug)]
pub struct Parsed {
    /// The accounts.
    pub accounts: Accounts,
    /// The last line, if it is what a registration has left that did not come to its end.
    pub unfinished_line: Option<usize>,
}

/// Reads a file's text.
///
/// # Errors
///
/// The first line that is bad.
pub fn parse(text: &[u8]) -> Result<Parsed, FileProblem> {
    if text.len() > FILE_LEN_MAX {
        return Err(FileProblem::TooLong);
    }
    let mut parsed = Parsed { accounts: Accounts::default(), unfinished_line: None };
    for (line, bytes) in (1..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
        if is_unfinished(bytes) {
            parsed.unfinished_line = Some(line);
            break;
        }
        let entry = parse_line(without_bom(line, bytes));
        let added = entry.and_then(|entry| match entry {
            Some((name, hash)) => add(&mut parsed.accounts, &name, hash, text),
            None => Ok(()),
        });
        added.map_err(|problem| FileProblem::Line { line, problem })?;
    }
    parsed.accounts.shrink();
    Ok(parsed)
}

/// Editors put it in front; it belongs to no name.
fn without_bom(line: usize, bytes: &[u8]) -> &[u8] {
    let rest = if line == 1 { bytes.strip_prefix(BOM) } else { None };
    rest.unwrap_or(bytes)
}

fn add(
    accounts: &mut Accounts,
    name: &Nickname<'_>,
    hash: PasswordHash,
    text: &[u8],
) -> Result<(), LineProblem> {
    if accounts.len() >= ACCOUNTS_MAX {
        return Err(LineProblem::TooMany);
    }
    if accounts.insert(name, hash).is_some() {
        return Ok(());
    }
    let (earlier_line, earlier) = find_same(text, name).unwrap_or_default();
    Err(LineProblem::Duplicate { name: name.text().to_owned(), earlier, earlier_line })
}

/// The first line whose name is the same as `name`, with the name.
pub(super) fn find_same(text: &[u8], name: &Nickname<'_>) -> Option<(usize, String)> {
    (1..).zip(text.split_inclusive(|byte| *byte == b'\n')).find_map(|(line, bytes)| {
        let (other, _) = parse_line(without_bom(line, bytes)).ok()??;
        other.is_same(name).then(|| (line, other.text().to_owned()))
    })
}

/// Parses a line, with its end or without; `None` is a comment or empty.
fn parse_line(bytes: &[u8]) -> Result<Option<(Nickname<'_>, PasswordHash)>, LineProblem> {
    if bytes.len() > LINE_LEN_MAX {
        return Err(LineProblem::TooLong);
    }
    let line = str::from_utf8(bytes).map_err(|_| LineProblem::NotUtf8)?.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (name, hash) = line.split_once(':').ok_or(LineProblem::NoColon)?;
    let name = parse_name(name).map_err(LineProblem::Name)?;
    let hash = PasswordHash::parse(hash);
    let hash = hash.map_err(|error| LineProblem::Hash(name.text().to_owned(), error))?;
    Ok(Some((name, hash)))
}

/// Whether a line without an end is the beginning of one that a registration writes. A whole one is
/// none; of a hash that is shorter than new ones nobody can tell.
fn is_unfinished(line: &[u8]) -> bool {
    if line.is_empty() || line.ends_with(b"\n") || line.len() > LINE_LEN_MAX {
        return false;
    }
    if let Ok(Some((_, hash))) = parse_line(line)
        && hash.has_new_len()
    {
        return false;
    }
    let (name, hash) = match line.iter().position(|byte| *byte == b':') {
        Some(at) => (&line[..at], Some(&line[at + 1..])),
        None => (line, None),
    };
    let prefix = new_prefix();
    let is_hash_begun = hash.is_none_or(|hash| match hash.strip_prefix(prefix.as_bytes()) {
        Some(rest) => rest.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/$".contains(byte)),
        None => prefix.as_bytes().starts_with(hash),
    });
    is_hash_begun && is_name_begun(name, hash.is_some())
}

/// Whether the bytes are a name, or the beginning of one.
fn is_name_begun(bytes: &[u8], is_whole: bool) -> bool {
    let name = match str::from_utf8(bytes) {
        Ok(name) => name,
        // The write has ended within a character.
        Err(error) if error.error_len().is_none() && !is_whole => {
            str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    match parse_name(name) {
        Ok(_) => true,
        Err(NameError::Length | NameError::Reserved) => {
            let is_short = name.chars().count() < 16;
            !is_whole && is_short && !name.starts_with('#') && !name.contains(char::is_whitespace)
        }
        Err(NameError::Characters) => false,
    }
}

/// Repair of the end of a file before a line is added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing: it is empty, or has a line end.
    Terminated,
    /// A line end is missing.
    LineEndMissing,
    /// So many bytes are an unfinished line.
    Unfinished(usize),
}

/// Looks at the last bytes of a file: [`LINE_LEN_MAX`] and one, or all there are.
pub(super) fn end_of(text: &[u8]) -> End {
    match text.split_inclusive(|byte| *byte == b'\n').next_back() {
        Some(line) if is_unfinished(line) => End::Unfinished(line.len()),
        Some(line) if !line.ends_with(b"\n") => End::LineEndMissing,
        _ => End::Terminated,
    }
}

/// The line of an account.
pub(super) fn line_of(name: &str, hash: &PasswordHash) -> String {
    format!("{name}:{hash}\n")
}

/// A text with the hash of an account replaced, or the account left out; every other line stays as
/// it is, but for an unfinished one. `None` if no line has a name that equals `name`.
pub(super) fn edit(
    text: &[u8],
    name: &Nickname<'_>,
    hash: Option<&PasswordHash>,
) -> Option<Vec<u8>> {
    let mut edited = Vec::with_capacity(text.len());
    let mut is_found = false;
    for (line, bytes) in (1..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
        if is_unfinished(bytes) {
            break;
        }
        let entry = parse_line(without_bom(line, bytes)).ok().flatten();
        match entry.filter(|(other, _)| other.folded() == name.folded()) {
            Some((other, _)) => {
                is_found = true;
                let new = hash.map(|hash| line_of(other.text(), hash));
                edited.extend_from_slice(new.unwrap_or_default().as_bytes());
            }
            None => edited.extend_from_slice(bytes),
        }
    }
    if !edited.is_empty() && !edited.ends_with(b"\n") {
        edited.push(b'\n');
    }
    is_found.then_some(edited)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$\
                        CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
    const SHORT_HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y";

    fn line(name: &str) -> String {
        format!("{name}:{HASH}\n")
    }

    fn names(text: &str) -> Vec<String> {
        let parsed = parse(text.as_bytes()).unwrap();
        parsed.accounts.names().map(|name| (**name).to_owned()).collect()
    }

    #[track_caller]
    fn assert_error(text: impl AsRef<[u8]>, reason: &str) {
        let error = parse(text.as_ref()).map(|_| ()).unwrap_err();
        let error = FileError { path: "/run/a".into(), problem: error };
        assert_eq!(error.to_string(), format!("/run/a: {reason}"));
    }

    #[test]
    fn file_has_accounts_comments_and_empty_lines() {
        let text = format!("\u{feff}# people\n\n{}  # more\n{}", line("bob"), line("Яна"));
        assert_eq!(names(&text), ["bob", "Яна"]);
        assert_eq!(names(&text.replace('\n', "\r\n")), ["bob", "Яна"]);
        assert_eq!(names(text.trim_end()), ["bob", "Яна"]);
        assert_eq!(names(&format!("bob:{SHORT_HASH}")), ["bob"]);
        assert_eq!(names(""), [""; 0]);
    }

    #[test]
    fn bad_line_is_named_with_its_number() {
        let bob = line("bob");
        for (bad, reason) in [
            ("bob", "line 2: is not of the form name:$argon2id$…"),
            ("bo:x", "line 2: a name has 3 to 16 characters"),
            ("b b:x", "line 2: a name has no blanks or control characters"),
            ("info:x", "line 2: the name is reserved for the server"),
            ("ann:$2b$12$x", "line 2: ann: the hash is 2b, not argon2id"),
            (
                "ann:hunter42",
                "line 2: ann: the hash is not of the form $argon2id$v=19$m=…,t=…,p=…$SALT$HASH",
            ),
            (
                "ann:$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y",
                "line 2: ann: the hash takes 4194304 KiB of memory, not 8 to 65536",
            ),
        ] {
            assert_error(format!("# people\n{bad}\n{bob}"), reason);
        }
        assert_error([bob.as_bytes(), b"\xff\n"].concat(), "line 2: is not UTF-8");
        assert_error(format!("#{}\n", "x".repeat(1023)), "line 1: is over 1024 bytes");
        assert!(parse(format!("#{}\n", "x".repeat(1022)).as_bytes()).is_ok());
        assert_error(
            "ann:hunter42",
            "line 1: ann: the hash is not of the form \
                     $argon2id$v=19$m=…,t=…,p=…$SALT$HASH",
        );
    }

    #[test]
    fn same_name_twice_is_refused_with_both_lines() {
        let twice = |a: &str, b: &str| format!("{}\n{}", line(a), line(b));
        assert_error(twice("bob", "bob"), "line 3: bob is in line 1 already");
        assert_error(twice("bob", "BOB"), "line 3: BOB is the same name as bob in line 1");
        assert_error(
            twice("paypal", "раураl"),
            "line 3: раураl is the same name as paypal in line 1",
        );
        assert!(parse(twice("bob1", "bobl").as_bytes()).is_ok());
    }

    #[test]
    fn accounts_are_at_most_100_000() {
        let mut text = String::new();
        (0..ACCOUNTS_MAX).for_each(|n| text.push_str(&format!("n{n}.x:{SHORT_HASH}\n")));
        assert_eq!(parse(text.as_bytes()).unwrap().accounts.len(), ACCOUNTS_MAX);
        text.push_str(&line("one-more"));
        assert_error(text, "line 100001: is one account more than 100000");
    }

    #[test]
    fn every_beginning_of_a_registration_is_skipped() {
        let (old, new) = (line("bob"), line("Яна"));
        for cut in 1..new.len() - 1 {
            let text = [old.as_bytes(), &new.as_bytes()[..cut]].concat();
            let parsed = parse(&text).unwrap_or_else(|error| panic!("cut at {cut}: {error:?}"));
            assert_eq!(parsed.accounts.len(), 1, "cut at {cut}");
            assert_eq!(parsed.unfinished_line, Some(2), "cut at {cut}");
            assert_eq!(end_of(&text), End::Unfinished(cut));
        }
        let text = [&old, new.trim_end()].concat();
        assert_eq!(names(&text), ["bob", "Яна"]);
        assert_eq!(end_of(text.as_bytes()), End::LineEndMissing);
        assert_eq!(end_of(old.as_bytes()), End::Terminated);
        assert_eq!(end_of(b""), End::Terminated);
        assert_eq!(end_of(b"# comment"), End::LineEndMissing);
    }

    #[test]
    fn change_keeps_every_other_line() {
        let text = format!("\u{feff}# a\r\n{}\n \t# b\n{}# c", line("Bob"), line("ann"));
        let hash = PasswordHash::parse(SHORT_HASH).unwrap();
        let edit = |name: &str, hash| {
            let edited = edit(text.as_bytes(), &parse_name(name).unwrap(), hash);
            edited.map(|text| String::from_utf8(text).unwrap())
        };
        let changed = text.replace(&line("Bob"), &format!("Bob:{SHORT_HASH}\n"));
        assert_eq!(edit("bOB", Some(&hash)), Some(changed + "\n"));
        assert_eq!(edit("ann", None), Some(text.replace(&line("ann"), "") + "\n"));
        assert_eq!(edit("eve", None), None);
        assert_eq!(edit("аnn", None), None, "a look-alike");
    }
}
