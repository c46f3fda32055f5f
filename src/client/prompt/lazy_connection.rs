//! A connection that is opened by the first request, and again once the server has closed it.

use std::sync::Arc;

use crate::client::account::{Account, Attempt};
use crate::client::connection::{Connection, Partial};
use crate::client::endpoint::Endpoint;
use crate::client::error::ClientError;
use crate::client::login::{attempt, open};
use crate::client::once::{run_once, truncate_text};
use crate::client::output::Output;
use crate::client::request::Request;

/// At most one open connection to `endpoint`.
pub(super) struct LazyConnection {
    /// With the account to log in to, that of `--user` or the last that was accepted.
    pub(super) endpoint: Endpoint,
    connection: Option<Connection>,
    output: Output,
    /// Is called with each broadcast that arrives before a reply.
    on_broadcast: fn(&[u8]),
}

impl LazyConnection {
    pub(super) fn new(endpoint: &Endpoint, on_broadcast: fn(&[u8])) -> Self {
        let endpoint = endpoint.clone();
        LazyConnection { endpoint, connection: None, output: Output::stdout(), on_broadcast }
    }

    /// Returns the open connection, or opens one and logs in.
    pub(super) fn connect(&mut self) -> Result<&mut Connection, ClientError> {
        let connection = match self.connection.take_if(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => open(&self.endpoint, &mut only_broadcasts(self.on_broadcast))?,
        };
        Ok(self.connection.insert(connection))
    }

    /// True if a connection was opened and the server has closed it since.
    pub(super) fn has_ended(&mut self) -> bool {
        self.connection.as_mut().is_some_and(Connection::is_closed)
    }

    /// Sends a request and prints the reply.
    pub(super) fn execute(&mut self, mut request: Request) -> Result<(), ClientError> {
        truncate_text(&mut request, &self.endpoint);
        let (output, on_broadcast) = (self.output, self.on_broadcast);
        let result = run_once(self.connect()?, &request, output, on_broadcast);
        if self.endpoint.is_unframed() {
            // The end of the message is the end of its connection, so this one has not "ended".
            self.connection = None;
        }
        result
    }

    /// Logs in or registers, and prints the welcome. From then on each connection logs in by itself.
    pub(super) fn log_in(&mut self, kind: Attempt, account: Account) -> Result<(), ClientError> {
        let on_partial = &mut only_broadcasts(self.on_broadcast);
        let welcome = attempt(kind, self.connect()?, &account, on_partial)?;
        self.endpoint.account = Some(Arc::new(account));
        self.output.print_reply(&welcome)
    }

    /// Closes the connection in order, if there is one.
    pub(super) fn quit(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.quit();
        }
    }
}

/// Calls `on_broadcast` with each broadcast.
fn only_broadcasts(on_broadcast: fn(&[u8])) -> impl FnMut(Partial<'_>) -> Result<(), ClientError> {
    move |partial| {
        if let Partial::Broadcast(broadcast) = partial {
            on_broadcast(broadcast);
        }
        Ok(())
    }
}
