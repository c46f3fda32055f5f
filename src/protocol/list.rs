//! The list of protocols: each has one line here and a file or folder.

use std::fmt;

#[cfg(feature = "admin")]
use super::admin::AdminProtocol;
use super::chat::ChatProtocol;
use super::command::CommandProtocol;
#[cfg(feature = "service")]
use super::custom::{CustomProtocol, Service};
use super::handler::{ProtocolDefaults, UrlProtocol};
#[cfg(feature = "plugins")]
use super::plugin::PluginProtocol;
use super::prefixed::PrefixedProtocol;
use super::raw::RawProtocol;
use crate::setting::SettingError;

/// Makes [`Protocol`], [`ProtocolName`] and [`dispatch`] of the list; `$d` is a dollar sign for the
/// inner macro.
macro_rules! protocols {
    ($d:tt; $($(#[doc = $doc:literal])* $(#[cfg($cfg:meta)])? $variant:ident($handler:ty),)*
     ; #[cfg($custom_cfg:meta)] $custom:ident($custom_handler:ty)) => {
        /// The protocol of a listener: its settings, and its state where clients share one.
        #[derive(Debug)]
        #[allow(clippy::large_enum_variant, reason = "there is one a listener")]
        pub enum Protocol {
            $($(#[doc = $doc])* $(#[cfg($cfg)])? $variant($handler),)*
            /// A [`Service`](super::Service) of the embedder's.
            #[cfg($custom_cfg)]
            $custom($custom_handler),
        }

        /// The name of a protocol, as URLs and configuration files have it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ProtocolName {
            $($(#[doc = $doc])* $(#[cfg($cfg)])? $variant,)*
        }

        impl ProtocolName {
            /// All names, in the order in which a server without listeners of its own opens one of
            /// each [default](Self::is_default).
            pub const ALL: &'static [ProtocolName] =
                &[$($(#[cfg($cfg)])? ProtocolName::$variant,)*];

            /// The name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($(#[cfg($cfg)])? ProtocolName::$variant => <$handler>::NAME,)*
                }
            }

            /// The port of a listener that has none of its own.
            #[must_use]
            pub const fn default_port(self) -> u16 {
                match self {
                    $($(#[cfg($cfg)])? ProtocolName::$variant => <$handler>::DEFAULT_PORT,)*
                }
            }

            /// Seconds of silence after which a client is disconnected unless a setting says
            /// otherwise; 0 for never.
            #[must_use]
            pub const fn idle_secs(self) -> u64 {
                match self {
                    $($(#[cfg($cfg)])? ProtocolName::$variant => <$handler>::IDLE_SECS,)*
                }
            }

            /// Whether a server without listeners of its own opens one.
            #[must_use]
            pub const fn is_default(self) -> bool {
                match self {
                    $($(#[cfg($cfg)])? ProtocolName::$variant => <$handler>::IS_DEFAULT,)*
                }
            }

            /// Job of a listener, in a few words.
            #[must_use]
            pub const fn summary(self) -> &'static str {
                match self {
                    $($(#[cfg($cfg)])? ProtocolName::$variant => <$handler>::SUMMARY,)*
                }
            }

            /// The keys of a listener that are its protocol's own.
            #[must_use]
            pub const fn keys(self) -> &'static [&'static str] {
                match self {
                    $($(#[cfg($cfg)])? ProtocolName::$variant => <$handler>::KEYS,)*
                }
            }

            /// The protocol with no key set.
            #[must_use]
            pub fn build(self, defaults: &ProtocolDefaults) -> Protocol {
                match self {
                    $($(#[cfg($cfg)])? ProtocolName::$variant => {
                        <$handler>::with_defaults(defaults).into()
                    })*
                }
            }
        }

        impl Protocol {
            /// Its name, as URLs have it; `custom` for an embedder's.
            #[cfg(feature = "admin")]
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self {
                    $($(#[cfg($cfg)])? Protocol::$variant(_) => <$handler>::NAME,)*
                    #[cfg($custom_cfg)]
                    Protocol::$custom(_) => "custom",
                }
            }

            /// Sets a key of a listener's URL or section.
            ///
            /// # Errors
            ///
            /// [`SettingError::Unknown`] where the protocol has no such key; else the value is
            /// invalid.
            pub(crate) fn set(&mut self, key: &str, value: &str) -> Result<(), SettingError> {
                match self {
                    $($(#[cfg($cfg)])? Protocol::$variant(protocol) => {
                        UrlProtocol::set(protocol, key, value)
                    })*
                    #[cfg($custom_cfg)]
                    Protocol::$custom(_) => Err(SettingError::Unknown),
                }
            }
        }

        $($(#[cfg($cfg)])? impl From<$handler> for Protocol {
            fn from(protocol: $handler) -> Self {
                Protocol::$variant(protocol)
            }
        })*

        /// Runs an expression with the [`Handler`](super::Handler) of a [`Protocol`].
        macro_rules! dispatch {
            ($d protocol:expr, $d handler:ident => $d body:expr) => {
                match $d protocol {
                    $($(#[cfg($cfg)])? $crate::protocol::Protocol::$variant($d handler) => $d body,)*
                    #[cfg($custom_cfg)]
                    $crate::protocol::Protocol::$custom($d handler) => $d body,
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
    /// HTTP for those who run the server.
    #[cfg(feature = "admin")]
    Admin(AdminProtocol),
    /// Packages for plugins.
    #[cfg(feature = "plugins")]
    Plugin(PluginProtocol),
    ; #[cfg(feature = "service")] Custom(CustomProtocol)
}

/// Lets a listener take a [`Service`] directly.
#[cfg(feature = "service")]
impl<S: Service + 'static> From<S> for Protocol {
    fn from(service: S) -> Self {
        Protocol::Custom(CustomProtocol::new(service))
    }
}

impl Protocol {
    /// Takes on the settings of `other`, which is of the same kind. What it knows of its clients
    /// stays.
    pub(crate) fn set_from(&mut self, other: Protocol) {
        match (self, other) {
            (Protocol::Chat(chat), Protocol::Chat(other)) => chat.lang = other.lang,
            // The others know nothing of their clients.
            (protocol, other) => *protocol = other,
        }
    }
}

#[allow(clippy::single_component_path_imports, reason = "it gives the macro a path")]
pub(crate) use dispatch;

impl ProtocolName {
    /// The protocol of that name.
    #[must_use]
    #[inline(never)]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|protocol| protocol.as_str() == name)
    }

    /// All names, as an error lists them: `command, prefixed, raw and chat`.
    #[must_use]
    pub fn list() -> String {
        let names: Vec<&str> = Self::ALL.iter().map(|protocol| protocol.as_str()).collect();
        match names.split_last() {
            Some((last, [])) => (*last).to_owned(),
            Some((last, others)) => format!("{} and {last}", others.join(", ")),
            None => String::new(),
        }
    }
}

impl fmt::Display for ProtocolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
