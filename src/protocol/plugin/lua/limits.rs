//! The bounds on plugins that no option sets. A name ends in its unit or in MAX.

/// Longest source of a plugin. Compiling cannot be interrupted.
pub(super) const SOURCE_BYTES_MAX: u64 = 1 << 20;

/// Longest name of a plugin, which is also a folder's name.
pub(super) const NAME_LEN_MAX: usize = 64;

/// Priority of a plugin that sets none; smaller ones are asked first.
pub(super) const PRIORITY_DEFAULT: i64 = 100;

/// Failures in a row after which a plugin is disabled.
pub(super) const FAILURES_MAX: u32 = 10;

/// Most instructions between two checks of the clock.
const INSTRUCTIONS_PER_CHECK_MAX: usize = 25;

/// Bytes that the instructions between two checks of the clock may touch, if each touches all of
/// the plugin's memory. About one in four instructions can.
const BYTES_PER_CHECK: usize = 32 << 20;

/// Instructions between two checks of the clock, for a plugin that holds this much memory. One
/// instruction may copy, compare or parse all of it, so more memory means more checks.
pub(super) fn instructions_per_check(memory_bytes: usize) -> u32 {
    // In powers of two, so that it rarely changes.
    let bytes = memory_bytes.checked_next_power_of_two().unwrap_or(usize::MAX);
    (BYTES_PER_CHECK / bytes).clamp(1, INSTRUCTIONS_PER_CHECK_MAX) as u32
}

/// Budgets of a call that loading a plugin may take while the server starts: a machine that boots
/// is busy.
pub(super) const START_BUDGETS: u32 = 10;

/// Budgets of a call that all `server_stopping` together may take.
pub(super) const STOP_BUDGETS: u32 = 10;

/// Most plugin files in a folder.
pub(super) const PLUGIN_FILES_MAX: usize = 1000;

/// Steps of a pattern match between two checks of the clock.
pub(super) const STEPS_PER_CHECK: usize = 1000;

/// Bytes that a native may process without a check of the clock before.
pub(super) const UNCHECKED_BYTES_MAX: usize = 4096;

/// Stack frames searched for the plugin's line when a function of the sandbox fails.
pub(super) const FRAMES_SEARCHED_MAX: usize = 10;

/// Longest reason of a failure in a log line, before characters are replaced.
pub(super) const REASON_BYTES_MAX: usize = 256;

/// Log lines a second of one kind (failures, slow calls, `server.log`), for all plugins together.
/// The rest are counted in a summary.
pub(super) const LOG_LINES_PER_SEC: u32 = 100;

/// Longest text of a `server.log` line, before characters are replaced.
pub(super) const LOG_TEXT_BYTES_MAX: usize = 1024;

/// Bytes that a broadcast counts besides its own, so that the number of empty ones is bounded.
pub(super) const BROADCAST_OVERHEAD_BYTES: usize = 64;

/// Longest name of a file in a plugin's folder.
pub(super) const FILE_NAME_LEN_MAX: usize = 128;

/// Largest file that a plugin may read or write.
pub(super) const FILE_BYTES_MAX: u64 = 4 << 20;

/// Most files in a plugin's folder.
pub(super) const FOLDER_FILES_MAX: usize = 1000;

/// Most bytes of all files in a plugin's folder together.
pub(super) const FOLDER_BYTES_MAX: u64 = 64 << 20;
