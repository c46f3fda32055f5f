//! The one list of protocols. A line here and a folder beside it make a protocol.

use super::chat::ChatProtocol;
use super::command::CommandProtocol;
#[cfg(feature = "plugins")]
use super::plugin::PluginProtocol;
use super::prefixed::PrefixedProtocol;
use super::raw::RawProtocol;

/// Makes [`Protocol`] and [`dispatch`] of the list; `$d` is a dollar sign for the inner macro.
macro_rules! protocols {
    ($d:tt; $($(#[doc = $doc:literal])* $(#[cfg($cfg:meta)])? $variant:ident($hooks:ty),)*) => {
        /// The protocol of a listener: its settings, and its state where clients share one.
        #[derive(Debug)]
        #[allow(clippy::large_enum_variant, reason = "there is one a listener")]
        pub enum Protocol {
            $($(#[doc = $doc])* $(#[cfg($cfg)])? $variant($hooks),)*
        }

        $($(#[cfg($cfg)])? impl From<$hooks> for Protocol {
            fn from(protocol: $hooks) -> Self {
                Protocol::$variant(protocol)
            }
        })*

        /// Runs an expression with the [`Hooks`](super::Hooks) of a [`Protocol`].
        macro_rules! dispatch {
            ($d protocol:expr, $d hooks:ident => $d body:expr) => {
                match $d protocol {
                    $($(#[cfg($cfg)])? $crate::protocol::Protocol::$variant($d hooks) => $d body,)*
                }
            };
        }
    };
}

protocols! { $;
    /// 5-byte header.
    Command(CommandProtocol),
    /// 1-byte length prefix.
    Prefixed(PrefixedProtocol),
    /// Unframed echo.
    Raw(RawProtocol),
    /// Lines and nicknames.
    Chat(ChatProtocol),
    /// Packages for plugins.
    #[cfg(feature = "plugins")]
    Plugin(PluginProtocol),
}

pub(crate) use dispatch;
