//! Tasks for the server, and their answers. Knows no HTTP but status codes.

use std::net::IpAddr;

/// Most connections of one list.
pub(super) const LIST_MAX: usize = 1000;

/// A request that needs the whole server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// `GET /status`.
    Status,
    /// `GET /metrics`.
    Metrics,
    /// `GET /readyz`.
    Ready,
    /// `GET /connections`.
    List(List),
    /// `DELETE /connections`.
    Kick(Kick),
    /// `POST /drain`, `POST /undrain`.
    Drain {
        /// No more connections are accepted.
        is_on: bool,
    },
    /// `POST /reload`.
    Reload,
}

impl Task {
    /// Whether it changes something.
    #[must_use]
    pub fn is_change(&self) -> bool {
        match self {
            Task::Status | Task::Metrics | Task::Ready | Task::List(_) => false,
            Task::Kick(_) | Task::Drain { .. } | Task::Reload => true,
        }
    }
}

/// A list of connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Which connections.
    pub filter: Filter,
    /// The order; without one that of the table.
    pub sort: Option<Sort>,
    /// Most connections to be listed.
    pub limit: usize,
    /// The slot to begin at, where a list goes on.
    pub after: u32,
}

/// An order of connections, the largest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Time since they last sent something.
    Idle,
    /// Bytes that wait for them.
    Queue,
}

/// Connections to be closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kick {
    /// Which connections.
    pub filter: Filter,
    /// Seconds for which the filter's address is refused.
    pub ban_secs: Option<u64>,
}

/// A choice of connections: all that fit everything that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Its number in the log.
    pub id: Option<u32>,
    /// The name of its listener.
    pub listener: Option<String>,
    /// Where it comes from.
    pub ip: Option<IpAddr>,
    /// Its nickname, or the account it is logged in to.
    pub name: Option<String>,
    /// It has sent nothing for so many seconds, or more.
    pub min_idle_secs: u64,
    /// So many bytes wait for it, or more.
    pub min_queue_bytes: u64,
}

impl Filter {
    /// Whether it chooses every connection.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Filter::default()
    }
}

/// The answer to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A JSON object.
    #[must_use]
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let mut body = body.into();
        body.push(b'\n');
        Answer { status, content_type: "application/json", body }
    }

    /// Lines of text.
    #[must_use]
    pub fn text(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Answer { status, content_type: "text/plain; charset=utf-8", body: body.into() }
    }
}
