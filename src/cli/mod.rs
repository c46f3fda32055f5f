//! What the command lines of the three programs share: listener URLs, values, escaped output.

mod listener_url;
mod one_line;
mod value;

pub use listener_url::{BadListener, ListenerSpec, ProtocolName};
pub use value::BadSetting;

#[cfg(feature = "client")]
pub(crate) use crate::escape::is_explicit_bidi as reorders;
pub(crate) use one_line::OneLine;
pub(crate) use value::{HAS_PLUGINS, number};
