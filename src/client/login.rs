//! Connections that are logged in before anything else is sent, and attempts to log in over `command`.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::account::{Account, Attempt, is_busy};
use super::connection::{Connection, OnPartial};
use super::endpoint::Endpoint;
use super::error::ClientError;
use super::output::print_error;
use super::request::{Request, Verb};
use super::stream::Stream;
use super::timeout::Deadline;

/// Pauses before an attempt that the server was too busy for is repeated: each up to half as long
/// again, or half as short, so that clients which were refused together do not come back together.
const PAUSES_MS: [u64; 5] = [100, 200, 400, 800, 1600];

/// Connects, and logs in where the endpoint has an account; `on_partial` is called with each
/// broadcast before the reply to that.
pub(super) fn open(
    endpoint: &Endpoint,
    on_partial: OnPartial<'_>,
) -> Result<Connection, ClientError> {
    let mut connection = Connection::open(endpoint)?;
    if let Some(account) = &endpoint.account {
        attempt(Attempt::Login, &mut connection, account, on_partial).map_err(
            |error| match error {
                ClientError::Refused(reason) => ClientError::LoginRefused(reason),
                error => error,
            },
        )?;
    }
    Ok(connection)
}

/// Logs in, or registers, and returns the server's welcome. A busy server is asked again.
pub(super) fn attempt(
    attempt: Attempt,
    connection: &mut Connection,
    account: &Account,
    on_partial: OnPartial<'_>,
) -> Result<Vec<u8>, ClientError> {
    warn_if_exposed(connection.stream(), connection.endpoint());
    let code = match attempt {
        Attempt::Login => 5,
        Attempt::Register => 6,
    };
    let request = Request { verb: Verb::Call(code), text: account.payload() };
    let mut retries = Retries::new(connection.endpoint());
    loop {
        match connection.execute_secret(&request, on_partial) {
            Err(ClientError::Refused(reason)) if is_busy(&reason) && retries.pause() => {}
            Err(ClientError::Refused(reason)) if reason == format!("unknown command {code}") => {
                return Err(no_accounts(&reason));
            }
            result => return result,
        }
    }
}

/// The error of a server that does not know what an account is; `reason` is what it said.
pub(super) fn no_accounts(reason: &str) -> ClientError {
    ClientError::Refused(format!("the server has no accounts: {reason}"))
}

/// The pauses of an attempt that is repeated while the server is busy.
pub(super) struct Retries {
    deadline: Deadline,
    pauses: std::slice::Iter<'static, u64>,
}

impl Retries {
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        Retries { deadline: Deadline::new(endpoint.timeout), pauses: PAUSES_MS.iter() }
    }

    /// Waits for the next attempt; false if there is none, or no time for it.
    pub(super) fn pause(&mut self) -> bool {
        let jitter = |ms: u64| ms / 2 + RandomState::new().hash_one(ms) % ms;
        let pause = self.pauses.next().map(|&ms| Duration::from_millis(jitter(ms)));
        let fits = |pause: &Duration| self.deadline.remaining().is_none_or(|left| *pause < left);
        let Some(pause) = pause.filter(fits) else { return false };
        thread::sleep(pause);
        true
    }
}

/// Warns, once, that others may read the password on its way.
pub(super) fn warn_if_exposed(stream: &Stream, endpoint: &Endpoint) {
    static IS_WARNED: AtomicBool = AtomicBool::new(false);
    let Some(ip) = stream.exposed_to() else { return };
    if !IS_WARNED.swap(true, Ordering::Relaxed) {
        let url = endpoint.url("+tls");
        print_error(format_args!("warning: the password goes to {ip} unencrypted; {url} encrypts"));
    }
}
