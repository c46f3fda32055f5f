//! Defaults of the server's options, in the options' own units. Each is written here alone: `--help`,
//! the configuration and [`Limits`](crate::Limits) take them from here.

use log::LevelFilter;

/// `--max-frame`.
pub(crate) const MAX_FRAME_BYTES: u32 = 1 << 20;

/// `--idle-timeout` of a protocol that has none of its own; 0 is never.
pub(crate) const IDLE_TIMEOUT_SECS: u64 = 0;

/// `--tcp-keepalive`.
pub(crate) const TCP_KEEPALIVE_SECS: u64 = 300;

/// `--frame-timeout`.
pub(crate) const FRAME_TIMEOUT_SECS: u64 = 30;

/// `--send-queue`.
pub(crate) const SEND_QUEUE_BYTES: usize = 8 << 20;

/// `--broadcast-log`.
pub(crate) const BROADCAST_LOG_BYTES: usize = 16 << 20;

/// `--handshake-timeout`, in seconds.
pub(crate) const HANDSHAKE_TIMEOUT_SECS: u64 = 10;

/// `--drain-timeout`.
pub(crate) const DRAIN_TIMEOUT_SECS: u64 = 5;

/// `--plugin-dir`, where it exists.
pub(crate) const PLUGIN_DIR: &str = "plugins";

/// `--plugin-budget`.
pub(crate) const PLUGIN_BUDGET_MS: u64 = 50;

/// `--plugin-memory`.
pub(crate) const PLUGIN_MEMORY_BYTES: usize = 8 << 20;

/// `--log-level`.
pub(crate) const LOG_LEVEL: LevelFilter = LevelFilter::Info;
