//! Every bound on plugins that no option sets, the unit last in each name.

/// Longest source of a plugin. It is compiled in one go, which nothing can interrupt.
pub(super) const SOURCE_BYTES_MAX: u64 = 1 << 20;

/// Longest name of a plugin, which is a folder's name, too.
pub(super) const NAME_LEN_MAX: usize = 64;

/// Which place in the order a plugin has that names none; smaller ones are asked first.
pub(super) const PRIORITY_DEFAULT: i64 = 100;

/// Failures in a row after which a plugin is left alone.
pub(super) const FAILURES_MAX: u32 = 10;

/// Instructions between two looks at the clock, at most.
const INSTRUCTIONS_PER_CHECK_MAX: usize = 25;

/// Bytes that the instructions between two looks at the clock may touch, if each touches all that
/// the plugin holds. About one in four can.
const BYTES_PER_CHECK: usize = 32 << 20;

/// Instructions between two looks at the clock, in a plugin that holds so many bytes. One
/// instruction may copy them, compare them or read them as a number, so the more there are, the
/// more often it is looked.
pub(super) fn instructions_per_check(memory_bytes: usize) -> u32 {
    // In powers of two, so that it does not change all the time.
    let bytes = memory_bytes.checked_next_power_of_two().unwrap_or(usize::MAX);
    (BYTES_PER_CHECK / bytes).clamp(1, INSTRUCTIONS_PER_CHECK_MAX) as u32
}

/// How many times the budget of a call a plugin may take to be loaded while nobody is served yet: a
/// machine that starts up is busy.
pub(super) const START_BUDGETS: u32 = 10;

/// How many times the budget of a call all plugins together may take to be told that the server stops.
pub(super) const STOP_BUDGETS: u32 = 10;

/// Most plugin files a folder may have.
pub(super) const PLUGIN_FILES_MAX: usize = 1000;

/// Steps of a pattern between two looks at the clock.
pub(super) const STEPS_PER_CHECK: usize = 1000;

/// What a native may work on without a look at the clock before.
pub(super) const UNCHECKED_BYTES_MAX: usize = 4096;

/// How far up the stack the plugin's own line is looked for when something of the sandbox fails.
pub(super) const FRAMES_SEARCHED_MAX: usize = 10;

/// Longest reason of a failure, in a log line, before it is escaped.
pub(super) const REASON_BYTES_MAX: usize = 256;

/// Lines of one kind that all plugins together cause a second (failures, slow calls, what they log);
/// the rest are counted and summed up.
pub(super) const LOG_LINES_PER_SEC: u32 = 100;

/// Longest text one line takes of what a plugin logs, before it is escaped.
pub(super) const LOG_TEXT_BYTES_MAX: usize = 1024;

/// What a broadcast counts besides its bytes, so that empty ones cannot pile up without end.
pub(super) const BROADCAST_OVERHEAD_BYTES: usize = 64;

/// Longest name of a file in a plugin's folder.
pub(super) const FILE_NAME_LEN_MAX: usize = 128;

/// Largest file a plugin may read or write.
pub(super) const FILE_BYTES_MAX: u64 = 4 << 20;

/// Most files a plugin may have in its folder.
pub(super) const FOLDER_FILES_MAX: usize = 1000;

/// Most bytes of all files in a plugin's folder.
pub(super) const FOLDER_BYTES_MAX: u64 = 64 << 20;
