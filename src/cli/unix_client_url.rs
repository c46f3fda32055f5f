//! A client's URL of a Unix socket: its path, and the rest as a URL over TCP. Opens nothing.

use std::path::PathBuf;

use super::listener_url::ListenerError;
use super::unix_url::{parse_mode, parse_path};

/// A client's URL of a Unix socket, taken apart.
#[derive(Debug)]
pub(crate) struct UnixUrl {
    pub(crate) path: PathBuf,
    /// The same URL over TCP, at no particular address, with the keys that TCP has too.
    pub(crate) over_tcp: String,
    /// Whether it has `mode=`, which only a listener needs.
    #[cfg_attr(not(feature = "load"), allow(dead_code, reason = "only the load tester asks"))]
    pub(crate) has_mode: bool,
}

impl UnixUrl {
    /// Takes a URL apart; `None` if it has no `+unix`.
    ///
    /// # Errors
    ///
    /// The path or the mode is wrong.
    pub(crate) fn parse(url: &str) -> Result<Option<Self>, ListenerError> {
        let Some((scheme, rest)) = url.split_once("://") else { return Ok(None) };
        let mut transports: Vec<&str> = scheme.split('+').collect();
        let count = transports.len();
        transports.retain(|transport| *transport != "unix");
        if transports.len() == count {
            return Ok(None);
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = parse_path(path).map_err(ListenerError::UnixPath)?;
        let mut keys = Vec::new();
        let mut has_mode = false;
        for pair in query.split('&').filter(|_| rest.contains('?')) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("mode", _) if has_mode => return Err(ListenerError::Repeated("mode".to_owned())),
                ("mode", value) => {
                    let key = "mode".to_owned();
                    parse_mode(value)
                        .map_err(|source| ListenerError::InvalidValue { key, source })?;
                    has_mode = true;
                }
                _ => keys.push(pair),
            }
        }
        let question = if keys.is_empty() { "" } else { "?" };
        let (scheme, keys) = (transports.join("+"), keys.join("&"));
        Ok(Some(UnixUrl { path, over_tcp: format!("{scheme}://:1{question}{keys}"), has_mode }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_url_is_taken_apart() {
        for (url, path, over_tcp, has_mode) in [
            ("raw+unix:///a?prefix=&mode=0600", "/a", "raw://:1?prefix=", true),
            ("raw+tls+unix:///a%3Fb", "/a?b", "raw+tls://:1", false),
            ("raw+unix+tls:///a?mode=7", "/a", "raw+tls://:1", true),
        ] {
            let parsed = UnixUrl::parse(url).unwrap().unwrap();
            assert_eq!((parsed.path.to_str(), &*parsed.over_tcp), (Some(path), over_tcp));
            assert_eq!(parsed.has_mode, has_mode);
        }
        assert!(UnixUrl::parse("raw+tls://h:1").unwrap().is_none());
        assert!(UnixUrl::parse("h:1").unwrap().is_none());
        let error = UnixUrl::parse("raw+unix:///a?mode=9").unwrap_err().to_string();
        assert_eq!(error, "mode: '9' is not an octal mode from 0 to 0777, such as 0660");
    }
}
