//! Suggestions for words that are not known: the nearest known one, and the URL for an address in
//! another form.

use std::fmt;

use crate::protocol::ProtocolName;

/// Displays `, did you mean X?`, or nothing.
pub(crate) struct DidYouMean<'a>(pub(crate) Option<&'a str>);

impl fmt::Display for DidYouMean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |name| write!(f, ", did you mean {name}?"))
    }
}

/// The known name that `word` is most likely to stand for: the same but for case and `_`, one that
/// begins with it, or the nearest within a third of its letters (restricted edits, which count two
/// swapped letters once).
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest_of(word, &mut known.into_iter())
}

/// [`nearest`], compiled once.
#[inline(never)]
fn nearest_of<'a>(word: &str, known: &mut dyn Iterator<Item = &'a str>) -> Option<&'a str> {
    // Longer words are not misspelt names, and would take time.
    const WORD_LEN_MAX: usize = 32;
    let word = word.to_ascii_lowercase().replace('_', "-");
    if word.len() < 2 || word.len() > WORD_LEN_MAX {
        return None;
    }
    let distance = |name: &str| {
        let name = name.replace('_', "-");
        if name == word {
            0
        } else if word.len() > 2 && name.starts_with(&word) {
            1
        } else {
            strsim::osa_distance(&word, &name)
        }
    };
    let nearest = known.map(|name| (distance(name), name)).min_by_key(|(d, _)| *d);
    nearest.filter(|(distance, _)| *distance <= (word.len() / 3).max(1)).map(|(_, name)| name)
}

/// The URL for a plain port, `HOST:PORT`, or `:PORT`: a default port means its protocol, every other
/// `command`. A protocol in place of the host, or alone, means that protocol on loopback.
#[inline(never)]
pub(crate) fn url_for(word: &str) -> Option<String> {
    let (host, port) = word.rsplit_once(':').unwrap_or(("127.0.0.1", word));
    if let Some(protocol) = ProtocolName::parse(port) {
        let port = protocol.default_port();
        return Some(format!("{protocol}://127.0.0.1:{port}"))
            .filter(|_| word == protocol.as_str());
    }
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port: u16 = port.parse().ok().filter(|_| is_port)?;
    let by_port = ProtocolName::ALL.iter().find(|protocol| protocol.default_port() == port);
    let (protocol, host) = match ProtocolName::parse(host) {
        Some(protocol) => (protocol, "127.0.0.1"),
        None => (by_port.copied().unwrap_or(ProtocolName::Command), host),
    };
    is_host(host).then(|| format!("{protocol}://{host}:{port}"))
}

/// Whether `host` can be one: what a URL makes of it is not this module's matter.
fn is_host(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    let more: &[u8] = if inner.is_some() { b"-._:%" } else { b"-._" };
    inner.unwrap_or(host).bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_name_is_a_likely_one() {
        let known = ["listen", "log-level", "log-file", "max-clients", "echo", "rev"];
        for (word, name) in [
            ("lisen", Some("listen")),
            ("lsiten", Some("listen")),
            ("LISTEN", Some("listen")),
            ("max_clients", Some("max-clients")),
            ("max-client", Some("max-clients")),
            ("log", Some("log-level")),
            ("ecoh", Some("echo")),
            ("reverse", None),
            ("x", None),
            ("", None),
            ("zzzzzz", None),
        ] {
            assert_eq!(nearest(word, known), name, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(1 << 20), known), None);
    }

    #[test]
    fn address_in_another_form_has_a_url() {
        for (word, url) in [
            ("9999", Some("raw://127.0.0.1:9999")),
            ("20432", Some("command://127.0.0.1:20432")),
            ("localhost:5000", Some("chat://localhost:5000")),
            ("[::1]:80", Some("command://[::1]:80")),
            (":20432", Some("command://:20432")),
            ("raw:80", Some("raw://127.0.0.1:80")),
            ("chat", Some("chat://127.0.0.1:5000")),
            ("h:chat", None),
            ("65536", None),
            ("+1", None),
            ("", None),
            ("host", None),
            ("host:", None),
            ("a b:80", None),
        ] {
            assert_eq!(url_for(word).as_deref(), url, "{word}");
        }
    }
}
