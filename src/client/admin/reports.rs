//! The JSON of an admin listener, as far as the client looks at it. What a server does not send, an
//! older one, is zero.

use serde::{Deserialize, Serialize};

/// The answer to `GET /status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) version: String,
    pub(super) uptime_secs: u64,
    pub(super) connections: u64,
    pub(super) accepted_total: u64,
    pub(super) refused_total: u64,
    pub(super) frames_in_total: u64,
    pub(super) bytes_in_total: u64,
    pub(super) bytes_out_total: u64,
    pub(super) slow_consumers_total: u64,
    pub(super) max_clients: u64,
    pub(super) buffered_bytes: u64,
    pub(super) memory_limit_bytes: u64,
    pub(super) draining: bool,
    pub(super) listeners: Vec<Listener>,
}

/// One listener of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Listener {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) protocol: String,
    pub(super) connections: u64,
    pub(super) accepted_total: u64,
}

/// The answer to `GET /connections`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Page {
    /// Connections that the filter chooses, of all pages.
    pub(super) total: u64,
    pub(super) connections: Vec<Row>,
    /// The cursor of the next page.
    pub(super) next: Option<String>,
}

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Row {
    pub(super) id: u32,
    pub(super) listener: String,
    pub(super) address: Option<String>,
    pub(super) name: Option<String>,
    pub(super) connected_secs: Option<u64>,
    pub(super) idle_secs: u64,
    pub(super) queue_bytes: u64,
    pub(super) tls: bool,
}

/// The answer to a kick.
#[derive(Debug, Deserialize)]
pub(super) struct Kicked {
    pub(super) kicked: u64,
}

/// The answer to a reload.
#[derive(Debug, Deserialize)]
pub(super) struct Reloaded {
    /// Changes, a line each.
    #[serde(default)]
    pub(super) changes: Vec<String>,
    /// Why nothing has, a line each.
    #[serde(default)]
    pub(super) errors: Vec<String>,
}
