//! Every bound on plugins that no option sets, the unit last in each name.

/// Longest source of a plugin. It is compiled in one go, which nothing can interrupt.
pub(super) const SOURCE_BYTES_MAX: u64 = 1 << 20;

/// Longest name of a plugin. It is a folder's name, too.
pub(super) const NAME_LEN_MAX: usize = 64;

/// Which place in the order a plugin has that names none; smaller ones are asked first.
pub(super) const PRIORITY_DEFAULT: i64 = 100;

/// Failures in a row after which a plugin is left alone.
pub(super) const FAILURES_MAX: u32 = 10;

/// Instructions between two looks at the clock. Not more, because one instruction may copy as many
/// bytes as the plugin may hold.
pub(super) const INSTRUCTIONS_PER_CHECK: u32 = 100;

/// Longest reason of a failure, in a log line, before it is escaped.
pub(super) const REASON_BYTES_MAX: usize = 256;

/// What a broadcast counts besides its bytes, so that empty ones cannot pile up without end.
pub(super) const BROADCAST_OVERHEAD_BYTES: usize = 64;
