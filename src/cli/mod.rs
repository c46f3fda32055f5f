//! What the command lines of the three programs share: listener URLs, values, escaped output.

mod escape_control;
mod listener_url;
mod value;

pub use listener_url::{ListenerError, ListenerSpec, ProtocolName};
pub use value::SettingError;

pub(crate) use escape_control::EscapeControl;
#[cfg(feature = "client")]
pub(crate) use escape_control::is_bidi_control;
pub(crate) use value::{HAS_PLUGINS, number};
