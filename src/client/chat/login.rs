//! Joining a chat under the name of an account. Reads and sends through its caller, in a window or a
//! pipe.

use super::server_lines::{LineKind, is_unknown_login, unexpected_greeting};
use crate::client::account::{Account, is_busy};
use crate::client::endpoint::Endpoint;
use crate::client::error::ClientError;
use crate::client::login::{Retries, no_accounts};

/// Logs in and returns the welcome; `None` if the user leaves or the server stops. `request` sends a
/// line and returns the reply, unless one of both has happened.
///
/// # Errors
///
/// A refusal: whoever names an account wants no other nickname. A busy server is asked again.
pub(super) fn log_in(
    endpoint: &Endpoint,
    account: &Account,
    mut request: impl FnMut(&[u8]) -> Result<Option<Vec<u8>>, ClientError>,
) -> Result<Option<Vec<u8>>, ClientError> {
    let line = account.chat_login().map_err(ClientError::Password)?;
    let mut retries = Retries::new(endpoint);
    loop {
        let Some(reply) = request(&line)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&reply);
        match LineKind::of(&reply) {
            LineKind::Info | LineKind::ShutDown => return Ok(Some(reply)),
            LineKind::Other => return Err(unexpected_greeting(&hidden(&reply, &line), endpoint)),
            LineKind::Refusal if is_busy(&text) && retries.pause() => {}
            LineKind::Refusal if is_unknown_login(&reply) => return Err(no_accounts(&text)),
            LineKind::Refusal => return Err(ClientError::Refused(text.into_owned())),
        }
    }
}

/// The beginning of a reply, without what follows a line that is sent back: it has the password.
fn hidden(reply: &[u8], line: &[u8]) -> Vec<u8> {
    let command = &line[..b"/login ".len()];
    let at = reply.windows(command.len()).position(|window| window == command);
    reply[..at.unwrap_or(reply.len())].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_with_the_password_is_cut() {
        let line = b"/login bob secret-1";
        assert_eq!(hidden(b"Echo: /login bob secret-1", line), b"Echo: ");
        assert_eq!(hidden(b"HTTP/1.1 400", line), b"HTTP/1.1 400");
    }
}
