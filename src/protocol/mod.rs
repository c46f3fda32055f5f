//! What messages mean: one folder a protocol. Sees whole messages and
//! [`ConnId`](crate::conn_id::ConnId)s; sockets and the connection table are out of its sight, and
//! the time of the turn is an argument.

pub mod chat;
mod client_state;
pub mod command;
mod context;
mod direct;
mod list;
pub mod plugin;
mod prefixed;
mod raw;

pub use crate::escape::{Excerpt, Sanitized as Shown};
pub use client_state::Tag;
pub use command::{
    Reversal, ReversalStep, on_command, on_command_error, write_error, write_status,
};
pub(crate) use command::{debug_command, reply_not_utf8};
pub use context::{CloseReason, Context, Flow, Peer, Room};
pub use direct::{DirectMessage, DirectMessages};
pub use list::Protocol;
pub use plugin::{AskResult, PluginScheduler, on_package};
pub use prefixed::on_prefixed;
pub use raw::raw as on_raw;
