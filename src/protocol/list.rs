//! What a listener speaks, with what its URL says of it.

use super::chat::Lang;

/// The protocol of a listener and its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// The 5-byte-header command protocol.
    Command {
        /// Longest payload accepted, in bytes.
        frame_len_max: u32,
    },
    /// Messages behind one length byte, answered reversed.
    Prefixed,
    /// Unframed echo.
    Raw {
        /// What each answer begins with.
        prefix: Vec<u8>,
    },
    /// Lines and nicknames.
    Chat {
        /// What the server speaks.
        lang: Lang,
    },
    /// Packages for plugins.
    Plugin {
        /// How long a client must be quiet before what it sent is a package, in milliseconds; 0 is
        /// until nothing more can be read without waiting.
        gather_ms: u64,
        /// Longest package accepted, in bytes.
        package_len_max: u32,
    },
}

impl Protocol {
    /// Whether a message ends where nothing more can be read without waiting.
    #[must_use]
    pub fn ends_on_would_block(&self) -> bool {
        matches!(self, Protocol::Plugin { gather_ms: 0, .. })
    }

    /// Whether time may end a message.
    pub(crate) fn allows_unterminated(&self) -> bool {
        matches!(self, Protocol::Chat { .. } | Protocol::Plugin { .. })
    }
}
