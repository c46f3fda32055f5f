//! State that all plugins of a host share: the call budget, the plugin folder, queued broadcasts,
//! and the limits on log lines.

use std::cell::{Cell, RefCell};
use std::mem;
use std::rc::Rc;

use log::info;
use mlua::Lua;

use super::call_budget::CallBudget;
use super::call_error::{lua_error, out_of_memory, out_of_time};
use super::folder::Folders;
use super::identity::Identity;
use super::limits::{BROADCAST_OVERHEAD_BYTES, LOG_TEXT_BYTES_MAX, UNCHECKED_BYTES_MAX};
use super::log_lines::{LineKind, LogLines};
use crate::escape::SanitizedExcerpt;

/// The state that all plugins of a host share.
pub(super) struct Shared {
    pub(super) call_budget: CallBudget,
    /// Most memory of one plugin.
    pub(super) memory_bytes_max: usize,
    /// Most bytes of queued broadcasts.
    broadcast_bytes_max: usize,
    outbox: RefCell<Vec<Vec<u8>>>,
    outbox_bytes: Cell<usize>,
    /// `None` in a host without a plugin folder.
    pub(super) folders: Option<Folders>,
    pub(super) log_lines: LogLines,
}

/// The length of the queue of broadcasts at some moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutboxMark {
    broadcasts: usize,
    bytes: usize,
}

impl Shared {
    pub(super) fn new(
        call_budget: CallBudget,
        memory_bytes_max: usize,
        broadcast_bytes_max: usize,
        folders: Option<Folders>,
    ) -> Self {
        Shared {
            call_budget,
            memory_bytes_max,
            broadcast_bytes_max,
            outbox: RefCell::default(),
            outbox_bytes: Cell::new(0),
            folders,
            log_lines: LogLines::default(),
        }
    }

    /// Checks the clock before a native processes this many bytes, if they are many.
    pub(super) fn check_time_for(&self, bytes: usize) -> mlua::Result<()> {
        if bytes <= UNCHECKED_BYTES_MAX {
            return Ok(());
        }
        self.call_budget.check().map_err(|_| out_of_time())
    }

    /// Queues a broadcast.
    pub(super) fn broadcast(&self, bytes: &[u8]) -> mlua::Result<()> {
        self.check_time_for(bytes.len())?;
        let cost = bytes.len().saturating_add(BROADCAST_OVERHEAD_BYTES);
        let total = self.outbox_bytes.get().saturating_add(cost);
        let max = self.broadcast_bytes_max;
        if total > max {
            return Err(lua_error(format_args!("server.broadcast: over {max} bytes in one call")));
        }
        self.outbox_bytes.set(total);
        self.outbox.borrow_mut().push(bytes.to_vec());
        Ok(())
    }

    /// The length of the queue, for [`drop_broadcasts_since`](Self::drop_broadcasts_since).
    pub(super) fn outbox_mark(&self) -> OutboxMark {
        OutboxMark { broadcasts: self.outbox.borrow().len(), bytes: self.outbox_bytes.get() }
    }

    /// Drops the broadcasts of a call that failed.
    pub(super) fn drop_broadcasts_since(&self, mark: OutboxMark) {
        self.outbox.borrow_mut().truncate(mark.broadcasts);
        self.outbox_bytes.set(mark.bytes);
    }

    /// Logs a plugin's text as one line, or counts it if the limit is reached.
    pub(super) fn log_text(&self, plugin: &Rc<Identity>, text: &[u8]) {
        if self.log_lines.admit(LineKind::Text, plugin, self.call_budget.now()) {
            info!(
                "plugin {}: {}",
                plugin.name(),
                SanitizedExcerpt { text, bytes_max: LOG_TEXT_BYTES_MAX }
            );
        }
    }

    /// Takes all queued broadcasts.
    pub(super) fn take_broadcasts(&self) -> Vec<Vec<u8>> {
        self.outbox_bytes.set(0);
        mem::take(&mut *self.outbox.borrow_mut())
    }
}

/// The memory that the plugin has left, after a garbage collection if it is less than `wanted`.
/// Natives ask before they build something outside of Lua's memory that is copied into it.
pub(super) fn available_memory(lua: &Lua, shared: &Shared, wanted: usize) -> usize {
    let left = || shared.memory_bytes_max.saturating_sub(lua.used_memory());
    if wanted > left() && (shared.call_budget.check().is_err() || lua.gc_collect().is_err()) {
        return 0;
    }
    left()
}

/// Fails unless the plugin has this much memory left.
pub(super) fn check_memory(lua: &Lua, shared: &Shared, bytes: usize) -> mlua::Result<()> {
    let fits = bytes <= shared.memory_bytes_max && available_memory(lua, shared, bytes) >= bytes;
    if fits { Ok(()) } else { Err(out_of_memory()) }
}
