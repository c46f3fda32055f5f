//! The commands of `--admin`: an admin listener is asked over HTTP, and what it answers is printed.
//!
//! | module | job |
//! |---|---|
//! | `exchange` | requests and responses of HTTP/1.1 over the client's streams |
//! | `token` | the token that a listener over TCP wants |
//! | `filter` | the choice of connections, as words and as a query |
//! | `reports` | the JSON of the server |
//! | `rows` | the cells of listeners and connections |
//! | `cells` | text cut and padded to the cells of a terminal |
//! | `units` | bytes and times in a few cells |
//! | `status`, `clients`, `kick`, `change` | the commands |
//! | `top` | the live screen |

mod cells;
mod change;
mod clients;
mod exchange;
mod filter;
mod kick;
mod reports;
mod rows;
mod status;
mod token;
mod top;
mod units;

pub(super) use filter::{Filter, FilterError};
pub(super) use token::Token;
pub(super) use top::has_screen;

use super::endpoint::Endpoint;
use super::error::ClientError;
use change::Change;
use exchange::Exchange;

/// A command of `--admin`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AdminAction {
    /// Print the figures of the server and of its listeners.
    Status {
        /// As JSON on a terminal as well.
        is_json: bool,
        /// Again every second.
        is_watch: bool,
    },
    /// Print connections.
    Clients {
        filter: Filter,
        /// As JSON on a terminal as well.
        is_json: bool,
    },
    /// Close connections.
    Kick {
        choice: Choice,
        /// Without a question.
        is_confirmed: bool,
    },
    /// Read the configuration anew.
    Reload,
    /// Stop accepting.
    Drain,
    /// Accept again.
    Undrain,
    /// Show the live screen.
    Top,
}

/// The connections of a kick.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// One, by its number.
    Id(u32),
    /// Those that a filter chooses.
    Filter(Filter),
}

/// Runs a command against the listener at `endpoint`.
pub(super) fn run(
    endpoint: &Endpoint,
    token: Option<&Token>,
    action: AdminAction,
) -> Result<(), ClientError> {
    let mut exchange = Exchange::new(endpoint, token);
    match action {
        AdminAction::Status { is_json, is_watch } => status::run(&mut exchange, is_json, is_watch),
        AdminAction::Clients { filter, is_json } => clients::run(&mut exchange, &filter, is_json),
        AdminAction::Kick { choice, is_confirmed } => {
            kick::run(&mut exchange, &choice, is_confirmed)
        }
        AdminAction::Reload => change::reload(&mut exchange),
        AdminAction::Drain => change::run(&mut exchange, Change::Drain),
        AdminAction::Undrain => change::run(&mut exchange, Change::Undrain),
        AdminAction::Top => top::run(exchange),
    }
}
