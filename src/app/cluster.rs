//! The engine that joins nodes: its password and the roots of its certificate, read at start, for
//! `--check`, and again at a reload; what this node is called.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read};
use std::path::Path;

use super::config::Config;
use crate::cluster::{Engine, EngineConfig, NodeConfig};
use crate::limits::{Limits, NODE_NAME_LEN_MAX};
use crate::net::{EngineLink, EventLoop, SocketTransport};
use crate::server::Server;
use crate::strerror::strerror;
#[cfg(feature = "tls")]
use crate::tls::client::{ClientFiles, ClientTls, LoadError};

/// Longest password in a file, in bytes.
const PASSWORD_LEN_MAX: usize = 1024;

/// An engine with all that a connection to it needs.
pub(super) struct ReadCluster {
    password: Vec<u8>,
    #[cfg(feature = "tls")]
    tls: Option<ClientTls>,
}

/// Reads the password and the roots, where there is to be an engine.
///
/// # Errors
///
/// A file cannot be read, or does not hold what it has to.
pub(super) fn read(config: &Config) -> Result<Option<ReadCluster>, String> {
    let Some(url) = &config.settings.cluster else { return Ok(None) };
    let password = match (&url.password_file, &url.password) {
        (Some(path), _) => read_password(path)
            .map_err(|reason| format!("cannot read the password {}: {reason}", path.display()))?,
        (None, Some(password)) => password.0.clone(),
        (None, None) => Vec::new(),
    };
    Ok(Some(ReadCluster {
        password,
        #[cfg(feature = "tls")]
        tls: read_tls(url)?,
    }))
}

/// Reads little more than a password: the file may be a device without an end.
fn read_password(path: &Path) -> Result<Vec<u8>, String> {
    let mut password = Vec::new();
    let file = File::open(path).map(|file| file.take(PASSWORD_LEN_MAX as u64 + 3));
    file.and_then(|mut file| file.read_to_end(&mut password))
        .map_err(|error: io::Error| strerror(&error).to_string())?;
    if password.last() == Some(&b'\n') {
        password.pop();
        if password.last() == Some(&b'\r') {
            password.pop();
        }
    }
    match password.len() {
        0 => Err("it is empty".to_owned()),
        len if len > PASSWORD_LEN_MAX => Err(format!("it has over {PASSWORD_LEN_MAX} bytes")),
        _ if password.contains(&b'\n') => Err("it has more than one line".to_owned()),
        _ => Ok(password),
    }
}

#[cfg(feature = "tls")]
fn read_tls(url: &crate::cli::EngineUrl) -> Result<Option<ClientTls>, String> {
    let crate::net::EngineAddress::Tcp { host, .. } = &url.address else { return Ok(None) };
    if !url.is_tls {
        return Ok(None);
    }
    let files = ClientFiles { cacert: url.ca.clone(), ..ClientFiles::default() };
    ClientTls::load(files, None, host).map(Some).map_err(|error| match error {
        LoadError::NoRoots(_) => {
            "this system has no certificates of CAs: name the engine's with ca=FILE in --cluster"
                .to_owned()
        }
        error => error.to_string(),
    })
}

/// The name of this node: the one in the URL, or else the host's.
pub(super) fn node(given: Option<&str>) -> String {
    let host = || {
        let uname = rustix::system::uname();
        let name = uname.nodename().to_string_lossy();
        let is_in_names = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let shown = name.chars().map(|c| if is_in_names(c) { c } else { '-' });
        let shown: String = shown.take(NODE_NAME_LEN_MAX).collect();
        if shown.is_empty() { "node".to_owned() } else { shown }
    };
    given.map_or_else(host, str::to_owned)
}

impl ReadCluster {
    /// Has the server of a program that starts join the other nodes.
    pub(super) fn start(&self, config: &Config, limits: &Limits, event_loop: &mut EventLoop) {
        let Some(url) = &config.settings.cluster else { return };
        let name = node(url.node.as_deref());
        let engine = Engine::new(
            EngineConfig {
                url: url.origin(),
                username: url.username.clone(),
                password: self.password.clone(),
                database: url.database,
                client_name: format!("mynah:{name}"),
                unsent_bytes_max: limits.cluster_unsent_bytes_max(),
                message_bytes_max: limits.cluster_message_bytes_max(),
            },
            random(),
        );
        let config = NodeConfig { name, prefix: url.prefix.clone() };
        event_loop.server_mut().enable_cluster(config, engine, random());
        let link = EngineLink::new(url.address.clone(), event_loop.handle());
        #[cfg(feature = "tls")]
        let link = match &self.tls {
            Some(tls) => link.with_tls(tls.clone()),
            None => link,
        };
        event_loop.set_engine(link);
    }

    /// Puts what was read at a reload in force, where that is another password; returns a line for the
    /// log then. All else needs a restart, as the lines about the differences say.
    pub(super) fn replace(
        &mut self,
        read: ReadCluster,
        (old, new): (&Config, &Config),
        server: &mut Server<SocketTransport>,
    ) -> Option<String> {
        let is_same = old.settings.given("cluster") == new.settings.given("cluster");
        if !is_same || self.password == read.password {
            return None;
        }
        self.password = read.password;
        let username = new.settings.cluster.as_ref()?.username.clone();
        server.cluster_engine_mut()?.set_login(username, self.password.clone());
        Some(
            "the engine's password has changed, the next connection to it has the new one"
                .to_owned(),
        )
    }
}

/// A number that no other node has.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn password_is_the_one_line_of_its_file() {
        let path = std::env::temp_dir().join(format!("mynah-password-{}", std::process::id()));
        let longest = "x".repeat(PASSWORD_LEN_MAX);
        for (text, expected) in [
            ("s3cret", Ok("s3cret")),
            (" a b \n", Ok(" a b ")),
            ("s3cret\r\n", Ok("s3cret")),
            (&*longest, Ok(&*longest)),
            (&*format!("{longest}\n"), Ok(&*longest)),
            (&*format!("{longest}x"), Err("it has over 1024 bytes")),
            ("", Err("it is empty")),
            ("\n", Err("it is empty")),
            ("a\nb\n", Err("it has more than one line")),
        ] {
            fs::write(&path, text).unwrap();
            let read = read_password(&path);
            let expected = expected.map(|text| text.as_bytes().to_vec()).map_err(str::to_owned);
            assert_eq!(read, expected, "{text:?}");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(read_password(&path), Err("no such file or directory".to_owned()));
    }

    #[test]
    fn node_has_a_name_that_names_are_made_of() {
        assert_eq!(node(Some("a")), "a");
        let name = node(None);
        assert!((1..=64).contains(&name.len()), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)), "{name}");
    }
}
