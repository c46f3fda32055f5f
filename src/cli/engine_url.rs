//! The engine of `--cluster`, written as `redis://[USER[:PASSWORD]@]HOST[:PORT][/DB][?key=value&…]` or
//! `redis+unix://[USER[:PASSWORD]@]/PATH[?…]`. Opens nothing, and shows no password.

use std::ffi::OsString;
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use percent_encoding::percent_decode;

use super::listener_url::host;
use super::suggest::{DidYouMean, nearest};
use super::unix_url::{self, UnixPathError, UrlPath, parse_path};
use crate::escape::EscapeControl;
use crate::net::EngineAddress;
use crate::os_text;
use crate::setting::{HAS_TLS, SettingError, number};

/// The port of Redis and Valkey.
const DEFAULT_PORT: u16 = 6379;

/// Longest name of a node, and longest prefix, in bytes.
const NAME_LEN_MAX: usize = 64;

/// Ways to reach an engine.
const SCHEMES: [&str; 3] = ["redis", "rediss", "redis+unix"];

/// An engine as it is written in a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineUrl {
    /// Where it is.
    pub address: EngineAddress,
    /// Whether connections to it begin with a TLS handshake: `rediss`.
    pub is_tls: bool,
    /// The user of its access control list; empty for the default one.
    pub username: String,
    /// The password in the URL.
    pub password: Option<Password>,
    /// `password_file=`: file of the password, one line.
    pub password_file: Option<PathBuf>,
    /// The database number.
    pub database: u32,
    /// `prefix=`: beginning of the names of all keys and channels.
    pub prefix: String,
    /// `node=`: what other nodes call this one; the host's name where it is not given.
    pub node: Option<String>,
    /// `ca=`: file of the only roots that are trusted.
    pub ca: Option<PathBuf>,
}

/// A password, which `{:?}` does not show.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Password(pub Vec<u8>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// An error of an engine's URL. Where a password could be in its text, it has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineUrlError {
    /// There is no `://`.
    NoScheme,
    /// No way to reach an engine has that name.
    UnknownScheme(String),
    /// This build has no TLS.
    NotBuilt(SettingError),
    /// A `@` is not the one between user and host.
    At,
    /// A `%` is not followed by two hexadecimal digits, or what is encoded is not UTF-8; in this part.
    NotPercentEncoded(&'static str),
    /// The host has characters that hosts do not have.
    InvalidHost(String),
    /// The port is not a number from 1 to 65535.
    InvalidPort,
    /// The path behind the host is not the number of a database.
    InvalidDatabase(String),
    /// The path of the Unix socket is missing or wrong.
    UnixPath(UnixPathError),
    /// There is no such key.
    UnknownKey(String),
    /// A key is given twice.
    Repeated(String),
    /// The key is one of `rediss` alone.
    OnlyTls(String),
    /// A password and a file of it.
    TwoPasswords,
    /// A key's value is invalid.
    InvalidValue {
        /// The key.
        key: String,
        /// The reason.
        source: SettingError,
    },
}

impl fmt::Display for EngineUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = EscapeControl(f);
        match self {
            EngineUrlError::NoScheme => {
                f.write_str("not of the form redis://HOST:PORT or redis+unix:///PATH")
            }
            EngineUrlError::UnknownScheme(name) => {
                let known = match &**name {
                    "valkey" | "tcp" => Some("redis"),
                    "valkeys" | "tls" | "redis+tls" => Some("rediss"),
                    "unix" | "valkey+unix" | "redis-socket" | "redis+socket" => Some("redis+unix"),
                    name => nearest(name, SCHEMES),
                };
                let list = SCHEMES.join(", ");
                write!(f, "unknown scheme '{name}', there are {list}{}", DidYouMean(known))
            }
            EngineUrlError::NotBuilt(why) => write!(f, "{why}"),
            EngineUrlError::At => f.write_str(
                "a '@' stands between user and host alone; in a user, a password or a value it is \
                 written %40, and '/' %2F, '?' %3F, '#' %23, ':' %3A",
            ),
            EngineUrlError::NotPercentEncoded(part) => {
                write!(f, "the {part} is not percent-encoded, a % is written %25")
            }
            EngineUrlError::InvalidHost(host) => write!(f, "bad host '{host}'"),
            EngineUrlError::InvalidPort => f.write_str("bad port, it is 1 to 65535"),
            EngineUrlError::InvalidDatabase(text) => {
                write!(f, "'{text}' is not the number of a database")
            }
            EngineUrlError::UnixPath(source) => {
                let example = "redis+unix:///run/redis/redis-server.sock";
                write!(f, "{}", source.to_string().replace(unix_url::EXAMPLE, example))
            }
            EngineUrlError::UnknownKey(key) => {
                write!(f, "no key '{key}'{}", DidYouMean(nearest(key, KEYS)))
            }
            EngineUrlError::Repeated(key) => write!(f, "'{key}' is given twice"),
            EngineUrlError::OnlyTls(key) => write!(f, "'{key}' is for rediss"),
            EngineUrlError::TwoPasswords => f.write_str("only one of a password and password_file"),
            EngineUrlError::InvalidValue { key, source } => write!(f, "{key}: {source}"),
        }
    }
}

impl std::error::Error for EngineUrlError {}

/// All keys.
const KEYS: [&str; 5] = ["prefix", "node", "password_file", "ca", "db"];

impl EngineUrl {
    /// Reads the URL of an engine.
    ///
    /// # Errors
    ///
    /// See [`EngineUrlError`].
    #[inline(never)]
    pub fn parse(url: &str) -> Result<Self, EngineUrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(EngineUrlError::NoScheme)?;
        let is_unix = scheme == "redis+unix";
        let is_tls = scheme == "rediss";
        if !SCHEMES.contains(&scheme) {
            // What is before the `://` of something else may be anything.
            let is_word = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
            let name = Some(scheme).filter(|name| name.chars().all(is_word));
            return Err(name.map_or(EngineUrlError::NoScheme, |name| {
                EngineUrlError::UnknownScheme(name.to_owned())
            }));
        }
        if is_tls && !HAS_TLS {
            return Err(EngineUrlError::NotBuilt(SettingError::NO_TLS));
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, behind) = rest.split_at(end);
        // A password that was not encoded would be taken for something that errors may show.
        if behind.contains('@') || authority.matches('@').count() > 1 {
            return Err(EngineUrlError::At);
        }
        let (user, address) = match authority.split_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, authority),
        };
        let (path, query) = match behind.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (behind, None),
        };
        let (address, database) = if is_unix {
            let path = parse_path(&format!("{address}{path}")).map_err(EngineUrlError::UnixPath)?;
            (EngineAddress::Unix(path), 0)
        } else {
            (parse_address(address)?, parse_database(path)?)
        };
        let mut url = EngineUrl {
            address,
            is_tls,
            username: String::new(),
            password: None,
            password_file: None,
            database,
            prefix: "mynah".to_owned(),
            node: None,
            ca: None,
        };
        if let Some(user) = user {
            url.set_user(user)?;
        }
        let mut seen = Vec::new();
        for pair in query.into_iter().flat_map(|query| query.split('&')) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if seen.contains(&key) {
                return Err(EngineUrlError::Repeated(key.to_owned()));
            }
            seen.push(key);
            url.set(key, value)?;
        }
        if url.password.is_some() && url.password_file.is_some() {
            return Err(EngineUrlError::TwoPasswords);
        }
        Ok(url)
    }

    fn set_user(&mut self, text: &str) -> Result<(), EngineUrlError> {
        let (name, password) = match text.split_once(':') {
            Some((name, password)) => (name, Some(password)),
            None => (text, None),
        };
        let not_encoded = || EngineUrlError::NotPercentEncoded("user");
        let name = decode(name).ok_or_else(not_encoded)?;
        self.username = String::from_utf8(name).map_err(|_| not_encoded())?;
        if let Some(password) = password {
            let password = decode(password);
            let password = password.ok_or(EngineUrlError::NotPercentEncoded("password"))?;
            self.password = Some(Password(password)).filter(|password| !password.0.is_empty());
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), EngineUrlError> {
        let invalid = |source| EngineUrlError::InvalidValue { key: key.to_owned(), source };
        let file = || match decode(value) {
            Some(path) if path.is_empty() => Err(invalid(SettingError::Empty)),
            Some(path) => Ok(Some(PathBuf::from(OsString::from_vec(path)))),
            None => Err(EngineUrlError::NotPercentEncoded("path of a file")),
        };
        match key {
            "prefix" => self.prefix = name(value, b"_.-:{}").map_err(invalid)?,
            "node" => self.node = Some(name(value, b"_.-").map_err(invalid)?),
            "password_file" => self.password_file = file()?,
            "ca" if !self.is_tls => return Err(EngineUrlError::OnlyTls(key.to_owned())),
            "ca" => self.ca = file()?,
            "db" if matches!(self.address, EngineAddress::Unix(_)) => {
                self.database = number(value, 0..=i32::MAX as u32).map_err(invalid)?;
            }
            "db" => {
                let choices = "before the ?, as in redis://HOST:PORT/3";
                let source = SettingError::NotOneOf { value: value.to_owned(), choices };
                return Err(invalid(source));
            }
            _ => return Err(EngineUrlError::UnknownKey(key.to_owned())),
        }
        Ok(())
    }

    /// Its name in the log: the URL without user and keys.
    #[must_use]
    pub fn origin(&self) -> String {
        match &self.address {
            EngineAddress::Unix(path) => format!("redis+unix://{}", UrlPath(path)),
            EngineAddress::Tcp { host, port } => {
                let scheme = if self.is_tls { "rediss" } else { "redis" };
                match host.contains(':') {
                    true => format!("{scheme}://[{host}]:{port}"),
                    false => format!("{scheme}://{host}:{port}"),
                }
            }
        }
    }
}

/// Shows the URL with all that it says, but the password.
impl fmt::Display for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self.origin();
        let (scheme, rest) = origin.split_once("://").unwrap_or_default();
        write!(f, "{scheme}://")?;
        if !self.username.is_empty() || self.password.is_some() {
            let password = if self.password.is_some() { ":***" } else { "" };
            write!(EscapeControl(f), "{}{password}@", self.username)?;
        }
        f.write_str(rest)?;
        let mut keys = Vec::new();
        match &self.address {
            EngineAddress::Tcp { .. } if self.database != 0 => write!(f, "/{}", self.database)?,
            EngineAddress::Unix(_) if self.database != 0 => {
                keys.push(format!("db={}", self.database))
            }
            _ => {}
        }
        keys.push(format!("prefix={}", self.prefix));
        keys.extend(self.node.iter().map(|node| format!("node={node}")));
        let file = |key, path: &Option<PathBuf>| {
            path.as_ref().map(|path| format!("{key}={}", UrlPath(path)))
        };
        keys.extend(file("password_file", &self.password_file));
        keys.extend(file("ca", &self.ca));
        write!(f, "?{}", keys.join("&"))
    }
}

/// Reads `HOST[:PORT]`; an IPv6 address stands in brackets.
fn parse_address(text: &str) -> Result<EngineAddress, EngineUrlError> {
    let bad_host = || EngineUrlError::InvalidHost(text.to_owned());
    let end = match text.strip_prefix('[') {
        Some(_) => text.find(']').ok_or_else(bad_host)? + 1,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (name, port) = text.split_at(end);
    let port = match port.strip_prefix(':') {
        Some(port) => number(port, 1..=u16::MAX).map_err(|_| EngineUrlError::InvalidPort)?,
        None if port.is_empty() => DEFAULT_PORT,
        None => return Err(EngineUrlError::InvalidPort),
    };
    if name.is_empty() {
        // What follows may be a password.
        return Err(EngineUrlError::InvalidHost(String::new()));
    }
    let host = host(name).map_err(|_| EngineUrlError::InvalidHost(name.to_owned()))?;
    Ok(EngineAddress::Tcp { host, port })
}

fn parse_database(path: &str) -> Result<u32, EngineUrlError> {
    match path.strip_prefix('/') {
        None if path.is_empty() => Ok(0),
        Some("") => Ok(0),
        text => {
            let text = text.unwrap_or(path);
            number(text, 0..=i32::MAX as u32)
                .map_err(|_| EngineUrlError::InvalidDatabase(text.to_owned()))
        }
    }
}

/// Checks a name of letters and digits, and of those in `others`.
fn name(value: &str, others: &[u8]) -> Result<String, SettingError> {
    let decoded = decode(value).and_then(|bytes| String::from_utf8(bytes).ok());
    let is_in_names = |byte: u8| byte.is_ascii_alphanumeric() || others.contains(&byte);
    let is_name =
        |name: &String| (1..=NAME_LEN_MAX).contains(&name.len()) && name.bytes().all(is_in_names);
    decoded.filter(is_name).ok_or_else(|| {
        let choices = match others.contains(&b':') {
            true => "1 to 64 letters, digits, '_', '.', '-', ':', '{' and '}'",
            false => "a name of 1 to 64 letters, digits, '_', '.' and '-'",
        };
        SettingError::NotOneOf { value: value.to_owned(), choices }
    })
}

/// Decodes percent-encoded text; `None` if a `%` is not followed by two hexadecimal digits.
fn decode(text: &str) -> Option<Vec<u8>> {
    let bytes = os_text::decode(text).into_vec();
    let is_escape = |at: usize| {
        bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let mut percents = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    percents.all(|(at, _)| is_escape(at)).then(|| percent_decode(&bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> EngineUrl {
        EngineUrl::parse(url).unwrap()
    }

    #[track_caller]
    fn refused(url: &str, why: &str) {
        assert_eq!(EngineUrl::parse(url).unwrap_err().to_string(), why, "{url}");
    }

    fn tcp(host: &str, port: u16) -> EngineAddress {
        EngineAddress::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn engine_url_has_defaults() {
        let url = parse("redis://localhost");
        assert_eq!(url.address, tcp("localhost", 6379));
        assert_eq!((url.database, url.username.as_str(), url.prefix.as_str()), (0, "", "mynah"));
        assert_eq!((url.password, url.node, url.password_file), (None, None, None));
    }

    #[test]
    fn engine_url_says_where_and_who() {
        let url = parse("redis://al%40ice:p%3a%2F%ff@[::1]:7000/3?prefix=a:b&node=n-1");
        assert_eq!(url.address, tcp("::1", 7000));
        assert_eq!((url.username.as_str(), url.database), ("al@ice", 3));
        assert_eq!(url.password, Some(Password(b"p:/\xff".to_vec())));
        assert_eq!((url.prefix.as_str(), url.node.as_deref()), ("a:b", Some("n-1")));
        let url = parse("redis+unix://u@/run/a%20b.sock?db=2&password_file=/etc/p%26q");
        assert_eq!(url.address, EngineAddress::Unix("/run/a b.sock".into()));
        assert_eq!((url.username.as_str(), url.database), ("u", 2));
        assert_eq!(url.password_file, Some("/etc/p&q".into()));
        assert_eq!(parse("redis://:@h").password, None, "an empty one is none");
    }

    #[cfg(feature = "tls")]
    #[test]
    fn tls_engine_has_a_private_ca() {
        let url = parse("rediss://h?ca=/etc/ca.pem");
        assert_eq!((url.is_tls, url.ca.as_deref()), (true, Some("/etc/ca.pem".as_ref())));
        assert_eq!(url.origin(), "rediss://h:6379");
        refused("redis://h?ca=/etc/ca.pem", "'ca' is for rediss");
    }

    #[test]
    fn engine_url_is_shown_without_its_password() {
        for (url, shown) in [
            ("redis://h", "redis://h:6379?prefix=mynah"),
            ("redis://:s3cret@h:1/2", "redis://:***@h:1/2?prefix=mynah"),
            ("redis://u:s3cret@[::1]?node=a", "redis://u:***@[::1]:6379?prefix=mynah&node=a"),
            (
                "redis+unix://u@/a%20b?db=1&password_file=/p",
                "redis+unix://u@/a%20b?db=1&prefix=mynah&password_file=/p",
            ),
        ] {
            assert_eq!(parse(url).to_string(), shown);
            assert!(!format!("{:?}", parse(url)).contains("s3cret"));
        }
        assert_eq!(parse("redis+unix://u:x@/a").origin(), "redis+unix:///a");
    }

    #[test]
    fn engine_url_error_names_the_culprit() {
        let form = "not of the form redis://HOST:PORT or redis+unix:///PATH";
        refused("localhost:6379", form);
        refused("/run/redis.sock", form);
        let list = "there are redis, rediss, redis+unix";
        for (scheme, meant) in
            [("rediz", "redis"), ("valkey", "redis"), ("valkeys", "rediss"), ("unix", "redis+unix")]
        {
            let why = format!("unknown scheme '{scheme}', {list}, did you mean {meant}?");
            refused(&format!("{scheme}://h:1"), &why);
        }
        refused("redis://h:0", "bad port, it is 1 to 65535");
        refused("redis://h:65536", "bad port, it is 1 to 65535");
        refused("redis://[::1]x", "bad port, it is 1 to 65535");
        refused("redis://", "bad host ''");
        refused("redis://:6379", "bad host ''");
        refused("redis://[::1", "bad host '[::1'");
        refused("redis://h\u{1b}:1", r"bad host 'h\u{1b}'");
        refused("redis://h/x", "'x' is not the number of a database");
        refused("redis://h/1/2", "'1/2' is not the number of a database");
        refused("redis://h#x", "'#x' is not the number of a database");
        refused("redis://h?prefx=a", "no key 'prefx', did you mean prefix?");
        refused("redis://h?", "no key ''");
        refused("redis://h?node=a&node=b", "'node' is given twice");
        let name = "a name of 1 to 64 letters, digits, '_', '.' and '-'";
        refused("redis://h?node=a%20b", &format!("node: 'a%20b' is not {name}"));
        refused("redis://h?password_file=", "password_file: needs a value");
        refused(
            "redis://h?password_file=%",
            "the path of a file is not percent-encoded, a % is written %25",
        );
        refused("redis://:p@h?password_file=/p", "only one of a password and password_file");
        refused("redis://h?db=1", "db: '1' is not before the ?, as in redis://HOST:PORT/3");
        let example = "as in redis+unix:///run/redis/redis-server.sock";
        refused("redis+unix://", &format!("the path of the socket is missing, {example}"));
        let why = format!("'h:1' is a host and port, a Unix socket has a path, {example}");
        refused("redis+unix://h:1", &why);
    }

    #[test]
    fn engine_url_error_shows_no_password() {
        for url in [
            "redis://u:s3cr/et@h:1",
            "redis://u:s3cr?et@h:1",
            "redis://u:s3cr#et@h:1",
            "redis://u:s3cr@et@h:1",
            "redis://u:s3cret%@h:1",
            "redis://u:s3cret",
            "redis:u:s3cret@h",
            "u:s3cret@h://x",
            "rediz://u:s3cret@h",
            "redis+unix://u:s3cret/et@/x",
            "redis://u:s3cret@h:port",
            "redis://u:s3cret@h/x",
            "redis://u:s3cret@h?no=1",
        ] {
            let error = EngineUrl::parse(url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cr"), "{url}: {error}");
        }
        let error = EngineUrl::parse("redis://h?password_file=/a@b").unwrap_err();
        assert!(error.to_string().contains("written %40"), "{error}");
    }
}
