//! What a plugin can do to the world: `server`, `base64` and `folder`.

use std::cell::{Cell, OnceCell, RefCell};
use std::mem;

use super::bounds::BROADCAST_OVERHEAD_BYTES;
use super::failure::Failure;
use super::load;
use super::meter::Meter;

/// What all plugins of a host share.
pub(super) struct Surroundings {
    pub(super) meter: Meter,
    /// Most memory one plugin may hold.
    pub(super) memory_bytes_max: usize,
    /// Most bytes of `outbox`.
    pub(super) broadcast_bytes_max: usize,
    outbox: RefCell<Vec<Vec<u8>>>,
    outbox_bytes: Cell<usize>,
}

impl Surroundings {
    pub(super) fn new(meter: Meter, memory_bytes_max: usize, broadcast_bytes_max: usize) -> Self {
        Surroundings {
            meter,
            memory_bytes_max,
            broadcast_bytes_max,
            outbox: RefCell::default(),
            outbox_bytes: Cell::new(0),
        }
    }

    /// Queues bytes to be broadcast. Returns whether there was room for them.
    pub(super) fn broadcast(&self, bytes: &[u8]) -> bool {
        let cost = bytes.len().saturating_add(BROADCAST_OVERHEAD_BYTES);
        let total = self.outbox_bytes.get().saturating_add(cost);
        let fits = total <= self.broadcast_bytes_max;
        if fits {
            self.outbox_bytes.set(total);
            self.outbox.borrow_mut().push(bytes.to_vec());
        }
        fits
    }

    /// Takes what waits to be broadcast.
    pub(super) fn take_broadcasts(&self) -> Vec<Vec<u8>> {
        self.outbox_bytes.set(0);
        mem::take(&mut *self.outbox.borrow_mut())
    }
}

/// What a plugin is called, as soon as that is known.
pub(super) struct Identity {
    /// What it is called until its file has been run.
    stem: String,
    name: OnceCell<String>,
}

impl Identity {
    pub(super) fn new(stem: &str) -> Self {
        Identity { stem: stem.to_owned(), name: OnceCell::new() }
    }

    pub(super) fn name(&self) -> &str {
        self.name.get().unwrap_or(&self.stem)
    }

    /// Takes the plugin's own name for it, if it has one.
    pub(super) fn settle(&self, name: Option<String>) -> Result<(), Failure> {
        let name = name.unwrap_or_else(|| self.stem.clone());
        load::check_name(&name)?;
        let _ = self.name.set(name);
        Ok(())
    }

    /// Notes that a call into the plugin is over.
    pub(super) fn end_call(&self) {}
}
