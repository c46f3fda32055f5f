//! The admin listener's token, read at start, for `--check`, and again at a reload; what else it needs.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::config::Config;
use super::process::ThisProcess;
use crate::net::EventLoop;
use crate::protocol::admin::Token;
use crate::strerror::strerror;

/// Reads the token, where there is to be one.
///
/// # Errors
///
/// The file cannot be read, or holds none.
pub(super) fn load(config: &Config) -> Result<Option<Token>, String> {
    let Some(path) = &config.settings.admin_token else { return Ok(None) };
    let cannot =
        |reason: String| format!("cannot read the admin token {}: {reason}", path.display());
    let file = read(path).map_err(|error| cannot(strerror(&error).to_string()))?;
    Token::parse(&file).map(Some).map_err(|error| cannot(error.to_string()))
}

/// Reads little more than a token: the file may be a device without an end.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = Vec::new();
    File::open(path)?.take(Token::LEN_MAX as u64 + 3).read_to_end(&mut file)?;
    Ok(file)
}

/// Has the server of a program that starts say what its process costs, and which turns are slow.
pub(super) fn start(event_loop: &mut EventLoop) {
    let server = event_loop.server_mut();
    server.set_process(Box::new(ThisProcess::new()));
    server.time_turns();
}
