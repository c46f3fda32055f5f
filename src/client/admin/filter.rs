//! A choice of connections: words such as `listener=chat` become the parameters of a request. Their
//! meaning is the server's.

use std::fmt::{self, Write};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

use crate::cli::suggest::{DidYouMean, nearest};
use crate::limits::TIMEOUT_SECS_LIMIT;
use crate::os_text;

/// Parameters that choose connections.
const CHOOSE: [&str; 5] = ["listener", "ip", "name", "min_idle", "min_queue"];

/// Most connections of a sorted list.
const SORTED_MAX: u64 = 1000;

/// Parameters of a list or a kick, each of them valid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::client) struct Filter {
    /// Names and values; a value is [`os_text`].
    pairs: Vec<(&'static str, String)>,
    /// Most connections to be listed.
    pub(super) limit: Option<u64>,
}

/// An error in the words of a filter.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::client) enum FilterError {
    /// A word has no `=`.
    NoPair(String),
    /// There is no such parameter.
    Unknown { key: String, nearest: Option<&'static str> },
    /// A parameter has a value it cannot have.
    Invalid { key: &'static str, value: String, expected: &'static str },
    /// A parameter is given twice.
    Repeated(&'static str),
    /// `ban` without `ip`.
    BanWithoutIp,
    /// A sorted list is longer than the server sorts.
    LongSort,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = crate::escape::EscapeControl(f);
        match self {
            FilterError::NoPair(word) => {
                write!(f, "'{word}' is not a filter such as name=bob or min_idle=60")
            }
            FilterError::Unknown { key, nearest } => {
                write!(f, "there is no filter '{key}'{}", DidYouMean(*nearest))
            }
            FilterError::Invalid { key, value, expected } => {
                write!(f, "{key}: '{value}' is not {expected}")
            }
            FilterError::Repeated(key) => write!(f, "{key} is given twice"),
            FilterError::BanWithoutIp => f.write_str("ban needs ip, the address to refuse"),
            FilterError::LongSort => write!(f, "a sorted list has at most {SORTED_MAX} lines"),
        }
    }
}

impl Filter {
    /// The filter of a list: with `sort` and `limit`.
    pub(in crate::client) fn of_list(words: &[String]) -> Result<Self, FilterError> {
        let filter = Filter::parse(words, &["sort", "limit"])?;
        match filter.limit {
            Some(limit) if filter.is_sorted() && limit > SORTED_MAX => Err(FilterError::LongSort),
            _ => Ok(filter),
        }
    }

    /// The filter of a kick: with `ban`.
    pub(in crate::client) fn of_kick(words: &[String]) -> Result<Self, FilterError> {
        let filter = Filter::parse(words, &["ban"])?;
        let has = |key| filter.pairs.iter().any(|(given, _)| *given == key);
        if has("ban") && !has("ip") { Err(FilterError::BanWithoutIp) } else { Ok(filter) }
    }

    fn parse(words: &[String], more: &[&'static str]) -> Result<Self, FilterError> {
        let mut filter = Filter::default();
        for word in words {
            let Some((given, value)) = word.split_once('=') else {
                return Err(FilterError::NoPair(word.clone()));
            };
            let known = || CHOOSE.iter().chain(more).copied();
            let name = given.to_ascii_lowercase().replace('-', "_");
            let Some(key) = known().find(|key| *key == name) else {
                let nearest = nearest(given, known());
                return Err(FilterError::Unknown { key: given.to_owned(), nearest });
            };
            if filter.pairs.iter().any(|(other, _)| *other == key) {
                return Err(FilterError::Repeated(key));
            }
            if let Some(expected) = expected(key, value) {
                return Err(FilterError::Invalid { key, value: value.to_owned(), expected });
            }
            if key == "limit" {
                filter.limit = value.parse().ok();
            }
            filter.pairs.push((key, value.to_owned()));
        }
        Ok(filter)
    }

    pub(super) fn is_sorted(&self) -> bool {
        self.pairs.iter().any(|(key, _)| *key == "sort")
    }

    pub(super) fn has_ban(&self) -> bool {
        self.pairs.iter().any(|(key, _)| *key == "ban")
    }

    /// Its parameters behind `?`, without `limit`, which is that of the page.
    pub(super) fn query(&self) -> String {
        self.query_of(|key| key != "limit")
    }

    /// The same without `ban`, for a list of what a kick would close.
    pub(super) fn query_without_ban(&self) -> String {
        self.query_of(|key| key != "ban")
    }

    fn query_of(&self, is_wanted: impl Fn(&str) -> bool) -> String {
        let wanted = self.pairs.iter().filter(|(key, _)| is_wanted(key));
        let pairs: Vec<String> = wanted.map(|(key, value)| pair(key, value)).collect();
        pairs.join("&")
    }
}

/// One parameter of a query.
pub(super) fn pair(key: &str, value: &str) -> String {
    let value = os_text::decode(value);
    format!("{key}={}", percent_encode(value.as_bytes(), NON_ALPHANUMERIC))
}

/// The kind of value that `key` takes, where `value` is not of it.
fn expected(key: &str, value: &str) -> Option<&'static str> {
    let is_number = |max: u64| {
        value.bytes().all(|byte| byte.is_ascii_digit())
            && value.parse::<u64>().is_ok_and(|number| number <= max)
    };
    let (is_valid, expected) = match key {
        "ip" => (value.parse::<IpAddr>().is_ok(), "an IP address"),
        "min_idle" => (is_number(u64::MAX), "a number of seconds"),
        "min_queue" => (is_number(u64::MAX), "a number of bytes"),
        "limit" => (is_number(u64::MAX), "a number of lines"),
        "sort" => (matches!(value, "idle" | "queue"), "idle or queue"),
        "ban" => (
            is_number(TIMEOUT_SECS_LIMIT) && !value.bytes().all(|byte| byte == b'0'),
            "seconds from 1 to 31536000",
        ),
        // Without a value the server would take it as not given: a kick of everybody, almost.
        _ => (!value.is_empty(), "a name"),
    };
    (!is_valid).then_some(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn words_become_parameters() {
        let list = words(&["listener=chat-2", "NAME=a b&c", "min-idle=60", "limit=5", "ip=::1"]);
        let filter = Filter::of_list(&list).unwrap();
        assert_eq!(filter.query(), "listener=chat%2D2&name=a%20b%26c&min_idle=60&ip=%3A%3A1");
        assert_eq!(filter.limit, Some(5));
        let kick = Filter::of_kick(&words(&["ip=10.0.0.1", "ban=60"])).unwrap();
        assert_eq!(kick.query(), "ip=10%2E0%2E0%2E1&ban=60");
        assert_eq!(kick.query_without_ban(), "ip=10%2E0%2E0%2E1");
        // A byte that is not UTF-8 goes as it is.
        let name = os_text::encode(b"name=\xff");
        assert_eq!(Filter::of_list(&[name]).unwrap().query(), "name=%FF");
    }

    #[test]
    fn wrong_words_are_named() {
        for (word, reason) in [
            ("bob", "'bob' is not a filter such as name=bob or min_idle=60"),
            ("nam=bob", "there is no filter 'nam', did you mean name?"),
            ("ip=localhost", "ip: 'localhost' is not an IP address"),
            ("min_idle=1m", "min_idle: '1m' is not a number of seconds"),
            ("sort=id", "sort: 'id' is not idle or queue"),
            ("name=", "name: '' is not a name"),
            ("ban=5", "there is no filter 'ban'"),
        ] {
            assert_eq!(Filter::of_list(&words(&[word])).unwrap_err().to_string(), reason);
        }
        let twice = Filter::of_list(&words(&["name=a", "name=b"]));
        assert_eq!(twice, Err(FilterError::Repeated("name")));
        let long = Filter::of_list(&words(&["sort=idle", "limit=1001"]));
        assert_eq!(long, Err(FilterError::LongSort));
        let ban = Filter::of_kick(&words(&["name=a", "ban=5"]));
        assert_eq!(ban, Err(FilterError::BanWithoutIp));
        assert!(Filter::of_kick(&words(&["ip=::1", "ban=0"])).is_err());
        assert!(Filter::of_kick(&words(&["limit=1"])).is_err());
    }
}
