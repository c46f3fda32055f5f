//! What the command lines of the three programs share: listener URLs, values, escaped output.

mod listener_url;
mod one_line;
mod value;

pub use listener_url::{BadListener, ListenerSpec, ProtocolName};
pub use value::BadSetting;

pub(crate) use one_line::OneLine;
#[cfg(feature = "client")]
pub(crate) use one_line::reorders;
pub(crate) use value::{HAS_PLUGINS, number};
