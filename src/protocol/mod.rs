//! Protocols: the meaning of messages, one folder or file each. They see whole messages and
//! [`ConnId`](crate::conn_id::ConnId)s. No access to sockets or the table; time is an argument.
//!
//! A protocol implements [`Handler`] and [`UrlProtocol`] and has a line in `list.rs`;
//! `docs/extending.md` adds one.

#[cfg(feature = "admin")]
pub mod admin;
pub mod chat;
mod client_state;
#[cfg(feature = "cluster")]
pub mod cluster;
pub mod command;
mod context;
#[cfg(feature = "service")]
mod custom;
mod direct_messages;
mod handler;
mod lang;
mod list;
#[cfg(feature = "accounts")]
pub mod login;
pub mod nickname;
#[cfg_attr(not(feature = "plugins"), path = "plugin_disabled.rs")]
pub mod plugin;
mod prefixed;
mod raw;

pub use crate::close_reason::CloseReason;
#[cfg(feature = "admin")]
pub use admin::{Admin, AdminProtocol};
pub use chat::ChatProtocol;
pub use client_state::ClientState;
#[cfg(feature = "cluster")]
pub use cluster::Cluster;
pub use command::{CommandProtocol, write_status};
pub use context::{Context, Flow, PeerAddr, Room, Shared};
#[cfg(feature = "service")]
pub use custom::{CustomProtocol, Framing, FramingError, Next, Replies, Service, ServiceDecoder};
pub use direct_messages::{DirectMessage, DirectMessages};
pub use handler::{Departure, ErrorOf, FrameOf, Handler, InPlace, ProtocolDefaults, UrlProtocol};
pub(crate) use list::dispatch;
pub use list::{Protocol, ProtocolName};
pub use plugin::PluginScheduler;
#[cfg(feature = "plugins")]
pub use plugin::{AskResult, PluginProtocol};
pub use prefixed::PrefixedProtocol;
pub use raw::RawProtocol;
