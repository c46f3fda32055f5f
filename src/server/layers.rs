//! Where the layers of connections are kept, by slot, and the bytes that wait with them. Plain
//! connections have no place here: only pages of listeners with a layer do.

use super::connection::{Connection, Flags};
use super::handshakes::Unopened;
use super::layer::{Layer, Place};
use super::side_table::SideTable;
use crate::address::AddressKey;
use crate::buffer::{FrameClock, RecvBuffer, WireBuffer};
use crate::clock::Millis;
use crate::conn_id::ConnId;
use crate::memory::{AllocError, MemoryAccount};

/// The layers of all connections that have one, and the buffers that a visit works in. Nothing
/// before the first listener with a layer is there, and no code where there can be none.
pub(super) struct Layers<L: Layer>(L::Place<Store<L>>);

pub(super) struct Store<L> {
    slots: SideTable<Slot<L>>,
    /// Connections whose handshake is not over.
    pub(super) unopened: Unopened,
    /// Data of the visit at hand, as its layer gave it.
    pub(super) plain: Vec<u8>,
    /// Sealed bytes of the visit at hand.
    pub(super) wire: WireBuffer,
}

enum Slot<L> {
    /// Nothing has come yet: a client that says nothing costs no state.
    Silent(AddressKey),
    Begun(Box<LayerState<L>>),
}

/// The layer of a connection that has sent something.
pub(super) struct LayerState<L> {
    /// `None` once nothing more is to be sealed: it has failed, or the end has been sealed.
    pub(super) layer: Option<L>,
    held: Option<Box<Held>>,
}

/// Bytes that wait for more, or for the socket, and what is known of a connection until it is open.
#[derive(Debug, Default)]
struct Held {
    /// Where the connection comes from, until its handshake is over.
    unopened_from: Option<AddressKey>,
    /// The beginning of a record.
    received: RecvBuffer,
    /// Runs while a record has begun.
    clock: Option<FrameClock>,
    /// Sealed bytes the socket has not taken.
    unsent: RecvBuffer,
    /// Bytes the memory account has been charged with for this.
    charged: usize,
}

impl Held {
    fn is_idle(&self) -> bool {
        self.received.is_empty() && self.unsent.is_empty() && self.unopened_from.is_none()
    }

    fn allocated(&self) -> usize {
        size_of::<Self>() + self.received.allocated() + self.unsent.allocated()
    }
}

impl<L: Layer> Layers<L> {
    pub(super) fn new() -> Self {
        Layers(L::Place::default())
    }

    /// There is a listener with a layer.
    pub(super) fn enable(&mut self) {
        self.0.fill(|| Store {
            slots: SideTable::new(),
            unopened: Unopened::default(),
            plain: Vec::new(),
            wire: WireBuffer::default(),
        });
    }

    pub(super) fn get(&self) -> Option<&Store<L>> {
        self.0.get()
    }

    pub(super) fn get_mut(&mut self) -> Option<&mut Store<L>> {
        self.0.get_mut()
    }

    /// Bytes allocated for places.
    pub(super) fn allocated(&self) -> usize {
        self.get().map_or(0, Store::allocated)
    }

    /// Whether sealed bytes of a connection have not been sent.
    pub(super) fn has_unsent(&self, index: u32) -> bool {
        self.get().and_then(|store| store.state(index)).is_some_and(|s| !s.unsent().is_empty())
    }

    /// Whether a connection has sent anything.
    pub(super) fn has_begun(&self, index: u32) -> bool {
        self.get().is_some_and(|store| store.state(index).is_some())
    }

    /// Bytes of a record that have been received, and sealed ones that have not been sent: for
    /// invariants.
    pub(super) fn held_lens(&self, index: u32) -> (usize, usize) {
        let state = self.get().and_then(|store| store.state(index));
        state.map_or((0, 0), |state| (state.received().len(), state.unsent().len()))
    }

    /// Whether something may still be sealed for a connection: for invariants.
    pub(super) fn may_seal(&self, index: u32) -> bool {
        self.get().and_then(|store| store.state(index)).is_some_and(|state| state.layer.is_some())
    }

    /// The state of a connection that has sent something.
    pub(super) fn state_mut(&mut self, index: u32) -> Option<&mut LayerState<L>> {
        self.get_mut()?.state_mut(index)
    }

    /// Bytes the account was charged with for what waits of a connection.
    pub(super) fn charged_of<T>(&self, conn: &Connection<T>, id: ConnId) -> usize {
        self.held_of(conn, id).map_or(0, |held| held.charged)
    }

    /// Bytes allocated for what waits of a connection.
    pub(super) fn held_bytes_of<T>(&self, conn: &Connection<T>, id: ConnId) -> usize {
        self.held_of(conn, id).map_or(0, Held::allocated)
    }

    fn held_of<T>(&self, conn: &Connection<T>, id: ConnId) -> Option<&Held> {
        let store = self.get().filter(|_| conn.flags.has(Flags::LAYERED))?;
        store.state(id.index)?.held.as_deref()
    }
}

impl<L> Store<L> {
    fn allocated(&self) -> usize {
        self.slots.allocated()
    }

    /// A connection that has a layer has come, from `address`.
    pub(super) fn insert(&mut self, index: u32, address: AddressKey) {
        self.slots.insert(index, Slot::Silent(address));
        self.unopened.insert(address, index);
    }

    /// The connection has gone, and with it what waited, also what its visit had sealed. Does
    /// nothing where that is known.
    pub(super) fn remove(&mut self, index: u32, memory: &mut MemoryAccount) {
        self.wire.clear();
        match self.slots.take(index) {
            None => {}
            Some(Slot::Silent(address)) => self.unopened.remove(address, index),
            Some(Slot::Begun(mut state)) => {
                if let Some(held) = &mut state.held {
                    if let Some(address) = held.unopened_from {
                        self.unopened.remove(address, index);
                    }
                    memory.recharge(&mut held.charged, 0);
                }
            }
        }
    }

    pub(super) fn state(&self, index: u32) -> Option<&LayerState<L>> {
        match self.slots.get(index)? {
            Slot::Begun(state) => Some(state),
            Slot::Silent(_) => None,
        }
    }

    /// The state of a connection that has sent something.
    pub(super) fn state_mut(&mut self, index: u32) -> Option<&mut LayerState<L>> {
        match self.slots.get_mut(index)? {
            Slot::Begun(state) => Some(state),
            Slot::Silent(_) => None,
        }
    }

    /// The state of a connection with the buffers of the visit at hand.
    pub(super) fn parts(
        &mut self,
        index: u32,
    ) -> Option<(&mut LayerState<L>, &mut Vec<u8>, &mut WireBuffer)> {
        match self.slots.get_mut(index)? {
            Slot::Begun(state) => Some((state, &mut self.plain, &mut self.wire)),
            Slot::Silent(_) => None,
        }
    }

    /// The first bytes of a connection have come.
    pub(super) fn begin(&mut self, index: u32, layer: L) {
        if let Some(slot) = self.slots.get_mut(index)
            && let Slot::Silent(address) = *slot
        {
            let held = Box::new(Held { unopened_from: Some(address), ..Held::default() });
            let state = LayerState { layer: Some(layer), held: Some(held) };
            *slot = Slot::Begun(Box::new(state));
        }
    }

    /// The handshake of a connection is over, well or not.
    pub(super) fn end_handshake(&mut self, index: u32) {
        if let Some(state) = self.state_mut(index)
            && let Some(held) = &mut state.held
            && let Some(address) = held.unopened_from.take()
        {
            self.unopened.remove(address, index);
        }
    }

    /// When a record that has begun is late; `None` where none has, or the server is not reading.
    pub(super) fn record_due_at(&self, index: u32, frame_timeout_ms: u64) -> Option<Millis> {
        self.state(index)?.held.as_ref()?.clock?.late_at(frame_timeout_ms)
    }

    /// Whether a connection that is to be open is counted among those that are not, or the other
    /// way round: for invariants.
    pub(super) fn is_unopened(&self, index: u32) -> bool {
        match self.slots.get(index) {
            Some(Slot::Silent(_)) => true,
            Some(Slot::Begun(state)) => {
                state.held.as_ref().is_some_and(|held| held.unopened_from.is_some())
            }
            None => false,
        }
    }

    /// Connections that have a place here: for invariants.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}

impl<L> LayerState<L> {
    /// The beginning of a record that has been received.
    pub(super) fn received(&self) -> &[u8] {
        self.held.as_ref().map_or(&[], |held| &held.received)
    }

    /// More of a record that is not whole yet.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; the connection can only be closed.
    pub(super) fn extend_received(
        &mut self,
        bytes: &[u8],
        wanted: usize,
        now: Millis,
    ) -> Result<(), AllocError> {
        let held = self.held.get_or_insert_default();
        held.received.extend(bytes, wanted)?;
        let len = held.received.len();
        match &mut held.clock {
            Some(clock) => clock.progress(now, len),
            None => held.clock = Some(FrameClock::start(now, len)),
        }
        Ok(())
    }

    /// The beginning of a record that was received has been taken.
    pub(super) fn clear_received(&mut self) {
        if let Some(held) = &mut self.held {
            held.received = RecvBuffer::default();
            held.clock = None;
        }
    }

    /// Stops the clock of a record while the server is not reading.
    pub(super) fn set_paused(&mut self, paused: bool, now: Millis) {
        if let Some(clock) = self.held.as_mut().and_then(|held| held.clock.as_mut()) {
            clock.set_paused(paused, now);
        }
    }

    /// Sealed bytes the socket has not taken.
    pub(super) fn unsent(&self) -> &[u8] {
        self.held.as_ref().map_or(&[], |held| &held.unsent)
    }

    /// The socket took the first `n` of them.
    pub(super) fn advance(&mut self, n: usize) {
        if let Some(held) = &mut self.held {
            held.unsent.consume(n);
        }
    }

    /// Keeps sealed bytes until the socket takes them.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; the connection can only be closed.
    pub(super) fn keep_unsent(&mut self, bytes: &[u8]) -> Result<(), AllocError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.held.get_or_insert_default().unsent.extend(bytes, 0)
    }

    /// Charges the account with what waits now, or frees it where nothing does. Returns whether
    /// anything does.
    pub(super) fn update_charge(&mut self, memory: &mut MemoryAccount) -> bool {
        let Some(held) = &mut self.held else { return false };
        let is_idle = held.is_idle();
        let bytes = if is_idle { 0 } else { held.allocated() };
        memory.recharge(&mut held.charged, bytes);
        if is_idle {
            self.held = None;
        }
        !is_idle
    }
}
