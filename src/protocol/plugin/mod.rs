//! The `plugin` protocol: packages that plugins answer. `command` listeners ask them too.
//!
//! `lua/` runs the plugins, `scheduler.rs` shares the loop's time with them, `types.rs` has what
//! both sides name.

mod lua;
mod scheduler;
mod types;

pub use lua::{
    Clock, LoadError, Loaded, PluginError, PluginHost, PluginOptions, Reload, ReloadStep,
};
pub use scheduler::{AskResult, PluginScheduler};
#[cfg(feature = "admin")]
pub use types::PluginMetrics;
pub use types::{Client, HookResult, Notice};

use log::debug;

use super::{
    ClientState, Context, Departure, Flow, Handler, PeerAddr, ProtocolDefaults, Room, Shared,
    UrlProtocol,
};
use crate::address::Peer;
use crate::buffer::FrameClock;
use crate::clock::Millis;
use crate::codec::package::{Package, PackageDecoder};
use crate::conn_id::ConnId;
use crate::escape::Excerpt;
use crate::limits::{GATHER_MS_LIMIT, Limits, READ_BUFFER_BYTES};
use crate::setting::{SettingError, number};

/// Sent to a client of a plugin listener when no plugin answers.
const UNHANDLED: &[u8] = b"None";
/// Sent when a plugin fails; clients of the predecessor match this text.
const FAILED: &[u8] = b"Error occurred while processing data";

/// Packages for plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PluginProtocol {
    /// How long a client must be quiet before its bytes are a package, in milliseconds; 0 is until
    /// nothing more can be read without waiting.
    pub gather_ms: u64,
    /// Longest package accepted, in bytes.
    pub package_len_max: u32,
}

impl Handler for PluginProtocol {
    type Decoder = PackageDecoder;
    const ALLOWS_UNTERMINATED: bool = true;

    fn decoder(&self, client: ClientState) -> PackageDecoder {
        PackageDecoder::new(self.package_len_max as usize, client.is_discarding())
    }

    fn save_decoder(&self, decoder: &PackageDecoder, client: &mut ClientState) {
        client.set_discarding(decoder.discarding);
    }

    fn on_message(
        &mut self,
        package: Package<'_>,
        _: &mut ClientState,
        ctx: &mut Context<'_>,
    ) -> Flow {
        on_package(package, ctx)
    }

    fn ends_on_would_block(&self) -> bool {
        self.gather_ms == 0
    }

    fn unfinished_due_at(&self, clock: FrameClock, _: ClientState, _: &Limits) -> Option<Millis> {
        clock.quiet_at(self.gather_ms)
    }

    fn on_connect(&mut self, id: ConnId, peer: Peer, shared: &mut Shared) -> Flow {
        if let Some(scheduler) = &mut shared.plugins {
            scheduler.on_connected(id, peer);
        }
        Flow::Continue
    }

    fn on_leave(&mut self, departure: Departure, _: &mut Room, shared: &mut Shared) {
        if let Some(scheduler) = &mut shared.plugins {
            scheduler.on_disconnected(departure.id, departure.reason);
        }
    }

    fn receives_plugin_broadcasts(&self) -> bool {
        true
    }

    fn frame_len_max(&self, _: usize) -> usize {
        self.package_len_max as usize + READ_BUFFER_BYTES
    }
}

impl UrlProtocol for PluginProtocol {
    const NAME: &'static str = "plugin";
    const DEFAULT_PORT: u16 = 6070;
    const IS_DEFAULT: bool = true;
    const SUMMARY: &'static str = "answers of plugins, where there are any";
    const KEYS: &'static [&'static str] = &["gather"];

    fn with_defaults(defaults: &ProtocolDefaults) -> Self {
        PluginProtocol { gather_ms: 0, package_len_max: defaults.payload_len_max }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), SettingError> {
        match key {
            "gather" => self.gather_ms = number(value, 0..=GATHER_MS_LIMIT)?,
            _ => return Err(SettingError::Unknown),
        }
        Ok(())
    }
}

/// Answers one package.
fn on_package(package: Package<'_>, ctx: &mut Context<'_>) -> Flow {
    let Package::Whole(bytes) = package else {
        ctx.shared.connection_log.oversized_package(ctx.shared.now, ctx.id);
        ctx.shared.out.extend_from_slice(FAILED);
        return Flow::Continue;
    };
    let start = ctx.shared.out.len();
    match ask(bytes, None, ctx) {
        Err(flow) => return flow,
        Ok(AskResult::Answered) => {}
        Ok(AskResult::Failed { .. }) => {
            ctx.shared.out.truncate(start);
            ctx.shared.out.extend_from_slice(FAILED);
        }
        Ok(AskResult::Unhandled | AskResult::Deferred) => {
            ctx.shared.out.extend_from_slice(UNHANDLED)
        }
    }
    debug!("{} package: {}", ctx.id, Excerpt(bytes));
    Flow::Continue
}

/// Asks the plugins; `Err` is the flow to return.
pub(super) fn ask(
    package: &[u8],
    command: Option<u8>,
    ctx: &mut Context<'_>,
) -> Result<AskResult, Flow> {
    let Some(scheduler) = &mut ctx.shared.plugins else { return Ok(AskResult::Unhandled) };
    let addr = match (scheduler.addr_of(ctx.id), ctx.peer) {
        (Some(addr), _) => Some(addr),
        (None, PeerAddr::Known(addr)) => addr,
        (None, PeerAddr::Unknown) => return Err(Flow::NeedPeerAddr),
    };
    let client = Client::new(ctx.id).at(addr);
    let client = command.map_or(client, |command| client.framed(command));
    match scheduler.ask(package, &client, &mut ctx.shared.out) {
        AskResult::Deferred => Err(Flow::Yield),
        asked => Ok(asked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gather_is_a_time_up_to_its_limit() {
        let mut protocol = PluginProtocol::with_defaults(&ProtocolDefaults::default());
        assert!(protocol.ends_on_would_block());
        for value in [GATHER_MS_LIMIT, 0, 5] {
            assert_eq!(protocol.set("gather", &value.to_string()), Ok(()));
            assert_eq!((protocol.gather_ms, protocol.ends_on_would_block()), (value, value == 0));
        }
        let error = protocol.set("gather", &(GATHER_MS_LIMIT + 1).to_string());
        assert!(matches!(error, Err(SettingError::NotInRange { .. })));
        assert_eq!(protocol.set("idle", "5"), Err(SettingError::Unknown));
        assert_eq!(protocol.gather_ms, 5);
    }
}
