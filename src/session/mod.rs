//! One session: bytes in, frames to a protocol, reply bytes out; no socket. Time is an argument.
//! Knows nothing of readiness, slots or other sessions.
//!
//! `input` cuts frames and has them answered, `output` places replies among the broadcasts.

mod input;
mod output;
#[cfg(feature = "admission")]
mod rate_limited;

use crate::address::AddressKey;
use crate::buffer::{BroadcastLog, SendQueue};
use crate::clock::Millis;
use crate::limits::{Limits, SEND_SEGMENTS_MAX};
use crate::memory::MemoryAccount;
use crate::protocol::{ClientState, CloseReason, Context, Flow, Handler, Protocol, dispatch};

use input::{PendingInput, WaitsFor};

/// The state of one session: 32 bytes while it is idle.
///
/// Reply bytes leave in this order: the send queue first, then the replies at hand, then what the
/// broadcast log holds behind the cursor. Where replies are made while the client lags, the queue
/// notes that so much of the log comes before them ([`SendQueue::push_log`]), so no frame is ever
/// torn apart by another, and nothing of the log is copied.
#[derive(Debug)]
pub struct Session {
    /// Buffers, only while something is unfinished.
    buffers: Option<Box<Buffers>>,
    /// Start of the current idle period.
    last_active_at: Millis,
    /// Offset up to which the client has been sent the broadcast log, if it is subscribed or some
    /// of the log stands in the send queue.
    cursor: u64,
    /// Accept sequence number, from 1; distinguishes connections that reuse a slot.
    generation: u32,
    client: ClientState,
}

/// Buffered input and unsent replies; freed by [`Session::update_charge`] when both are empty.
#[derive(Debug, Default)]
struct Buffers {
    input: PendingInput,
    send: SendQueue,
    /// Bytes the memory account has been charged with for this.
    charged: usize,
    /// Peer address for memory relief, once looked up.
    address: Option<AddressKey>,
}

impl Buffers {
    fn allocated(&self) -> usize {
        size_of::<Self>() + self.input.recv.allocated() + self.send.allocated()
    }
}

impl Session {
    /// A session that begins now. It is sent broadcasts from the log's head on, or where clients
    /// have to join first, from when it joins.
    #[must_use]
    pub fn new(generation: u32, protocol: &Protocol, now: Millis, log: &BroadcastLog) -> Self {
        let client = dispatch!(protocol, handler => handler.new_client());
        Session { buffers: None, last_active_at: now, cursor: log.head(), generation, client }
    }

    /// Accept sequence number, from 1; distinguishes connections that reuse a slot.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Drops unfinished and deferred input.
    pub fn drop_input(&mut self) {
        if let Some(buffers) = &mut self.buffers {
            buffers.input = PendingInput::default();
        }
    }

    /// Charges the account for the current allocation and frees empty buffers. Call at the end of
    /// each visit.
    #[inline]
    pub fn update_charge(&mut self, memory: &mut MemoryAccount) {
        if self.buffers.is_some() {
            self.update_buffers_charge(memory);
        }
    }

    fn update_buffers_charge(&mut self, memory: &mut MemoryAccount) {
        let Some(buffers) = &mut self.buffers else { return };
        if buffers.input.is_idle() && buffers.send.is_empty() {
            memory.recharge(&mut buffers.charged, 0);
            self.buffers = None;
        } else {
            let held = buffers.allocated();
            memory.recharge(&mut buffers.charged, held);
        }
    }

    /// Ends the session: drops buffered input and unsent replies, and credits the account.
    pub fn release_memory(&mut self, memory: &mut MemoryAccount) {
        if let Some(buffers) = &mut self.buffers {
            memory.recharge(&mut buffers.charged, 0);
            buffers.send.retire();
        }
        self.buffers = None;
    }

    /// Bytes the account has been charged with.
    #[must_use]
    pub fn charged(&self) -> usize {
        self.buffers.as_ref().map_or(0, |buffers| buffers.charged)
    }

    /// Peer address, if [set](Self::set_address).
    #[must_use]
    pub fn address(&self) -> Option<AddressKey> {
        self.buffers.as_ref().and_then(|buffers| buffers.address)
    }

    /// Caches the peer address while buffers exist.
    pub fn set_address(&mut self, address: AddressKey) {
        if let Some(buffers) = &mut self.buffers {
            buffers.address = Some(address);
        }
    }

    /// Bytes allocated for what waits.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.buffers.as_ref().map_or(0, |buffers| buffers.allocated())
    }

    /// Input that has come and has not been acted on.
    #[must_use]
    pub fn buffered_input(&self) -> &[u8] {
        self.buffers.as_ref().map_or(&[], |buffers| &buffers.input.recv)
    }

    /// Whether whole frames wait for [`on_resume`](Self::on_resume).
    #[must_use]
    pub fn has_deferred_input(&self) -> bool {
        self.buffers.as_ref().is_some_and(|buffers| buffers.input.is_deferred)
    }

    /// Whether the first deferred frame is a broadcast for which the log has no space.
    #[must_use]
    pub fn waits_for_fanout(&self) -> bool {
        self.waits_for(WaitsFor::Fanout)
    }

    /// Whether the first deferred frame waits for more than its turn: for space in the log, a
    /// password's hash, the client's rates.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        let waits = |buffers: &Buffers| buffers.input.waits_for != WaitsFor::Nothing;
        self.buffers.as_deref().is_some_and(waits)
    }

    fn waits_for(&self, what: WaitsFor) -> bool {
        self.buffers.as_ref().is_some_and(|buffers| buffers.input.waits_for == what)
    }

    /// Whether the first deferred frame is an attempt to log in whose password is being hashed.
    #[cfg(feature = "accounts")]
    #[must_use]
    pub fn waits_for_login(&self) -> bool {
        self.waits_for(WaitsFor::Login)
    }

    /// The attempt has an outcome after so many milliseconds, in which the session's clocks stood
    /// still.
    #[cfg(feature = "accounts")]
    pub fn on_login_outcome(&mut self, waited_ms: u64) {
        if let Some(buffers) = &mut self.buffers
            && buffers.input.waits_for == WaitsFor::Login
        {
            buffers.input.waits_for = WaitsFor::Nothing;
            self.last_active_at = self.last_active_at.after(waited_ms);
            self.client.extend_login(waited_ms);
        }
    }

    /// Whether the first deferred frame waits for the cluster's word on a name.
    #[cfg(feature = "cluster")]
    #[must_use]
    pub fn waits_for_claim(&self) -> bool {
        self.waits_for(WaitsFor::Claim)
    }

    /// The claim has its outcome. Waiting for it does not count as idle.
    #[cfg(feature = "cluster")]
    pub fn on_claim_outcome(&mut self, now: Millis) {
        if let Some(buffers) = &mut self.buffers
            && buffers.input.waits_for == WaitsFor::Claim
        {
            buffers.input.waits_for = WaitsFor::Nothing;
            self.mark_active(now);
        }
    }

    /// Whether the first deferred frame is a request that the server has to do something for.
    #[cfg(feature = "admin")]
    #[must_use]
    pub fn waits_for_admin(&self) -> bool {
        self.waits_for(WaitsFor::Admin)
    }

    /// The request has its answer. Waiting for it does not count as idle.
    #[cfg(feature = "admin")]
    pub fn on_admin_answer(&mut self, now: Millis) {
        if let Some(buffers) = &mut self.buffers
            && buffers.input.waits_for == WaitsFor::Admin
        {
            buffers.input.waits_for = WaitsFor::Nothing;
            self.mark_active(now);
        }
    }

    /// The client was accepted at `accepted_at`, and has to log in before all else.
    #[cfg(feature = "accounts")]
    pub fn require_login(&mut self, accepted_at: Millis) {
        self.client.require_login(accepted_at);
    }

    /// Whether the client has to log in before all else.
    #[inline]
    #[must_use]
    pub fn must_log_in(&self) -> bool {
        #[cfg(feature = "accounts")]
        return self.client.must_log_in();
        #[cfg(not(feature = "accounts"))]
        false
    }

    /// Whether the first deferred frame waits for its client's turn.
    #[must_use]
    pub fn waits_for_rate(&self) -> bool {
        #[cfg(feature = "admission")]
        return self.waits_for(WaitsFor::Rate);
        #[cfg(not(feature = "admission"))]
        false
    }

    /// The client's turn has come.
    #[cfg(feature = "admission")]
    pub fn on_rate_turn(&mut self, now: Millis) {
        if let Some(buffers) = &mut self.buffers {
            buffers.input.waits_for = WaitsFor::Nothing;
        }
        // Waiting does not count as idle.
        self.mark_active(now);
    }

    /// Whether a message waits for the hash of a password.
    #[must_use]
    pub fn waits_for_outcome(&self) -> bool {
        #[cfg(feature = "accounts")]
        return self.waits_for_login();
        #[cfg(not(feature = "accounts"))]
        false
    }

    /// The log has space again: a deferred broadcast may be retried.
    pub fn on_log_vacancy(&mut self) {
        if let Some(buffers) = &mut self.buffers {
            buffers.input.waits_for = WaitsFor::Nothing;
        }
    }

    /// Whether reading is paused: unsent bytes with `out_len` reach the high-water mark, the send
    /// queue has its most segments, or memory is tight and anything is unsent. Log bytes not yet
    /// offered to every subscriber do not count: the client may take all of them.
    #[must_use]
    pub fn is_over_high_water(
        &self,
        log: &BroadcastLog,
        out_len: usize,
        limits: &Limits,
        is_tight: bool,
    ) -> bool {
        out_len >= self.capacity(log, limits, is_tight)
    }

    #[inline]
    fn reply_capacity(&self, ctx: &Context<'_>) -> usize {
        self.capacity(&ctx.room.log, &ctx.shared.limits, ctx.shared.is_tight)
    }

    /// Bytes of replies that may be added before the high-water mark.
    #[inline]
    fn capacity(&self, log: &BroadcastLog, limits: &Limits, is_tight: bool) -> usize {
        let high_water = limits.send_queue_high_water() as u64;
        let waiting = match &self.buffers {
            None => self.lag_of_offered(log),
            Some(buffers) => {
                let send = &buffers.send;
                if (is_tight && !send.is_empty()) || send.segments() >= SEND_SEGMENTS_MAX {
                    return 0;
                }
                self.lag_of_offered(log).saturating_add(send.len() as u64)
            }
        };
        // No more than the high-water mark, which is a `usize`.
        high_water.saturating_sub(waiting) as usize
    }

    /// Stops the clock of an unfinished frame while the server is not reading.
    pub fn set_paused(&mut self, paused: bool, now: Millis) {
        if let Some(clock) = self.buffers.as_mut().and_then(|buffers| buffers.input.clock.as_mut())
        {
            clock.set_paused(paused, now);
        }
    }

    /// Whether buffered input is an unterminated message to be ended now. With `is_eof` false, only
    /// for clients that have never sent a line end.
    #[must_use]
    pub fn has_unterminated(&self, protocol: &Protocol, is_eof: bool) -> bool {
        let Some(buffers) = &self.buffers else { return false };
        let counts = allows_unterminated(protocol) && (is_eof || !self.client.ends_lines());
        counts && buffers.input.clock.is_some()
    }

    /// Time of the next frame or idle deadline, for [`on_deadline`](Self::on_deadline). `idle_ms` 0
    /// disables the idle timeout; a stalled client has none.
    #[must_use]
    pub fn deadline(
        &self,
        protocol: &Protocol,
        idle_ms: u64,
        limits: &Limits,
        is_stalled: bool,
    ) -> Option<Millis> {
        let unfinished = self.unfinished_due_at(protocol, limits);
        let idle = self.idle_at(idle_ms).filter(|_| !is_stalled);
        #[cfg(feature = "accounts")]
        let idle = match self.login_due_at(limits) {
            Some(due_at) => Some(idle.map_or(due_at, |idle| idle.min(due_at))),
            None => idle,
        };
        match (unfinished, idle) {
            (Some(unfinished), Some(idle)) => Some(unfinished.min(idle)),
            (unfinished, idle) => unfinished.or(idle),
        }
    }

    /// When the time to log in is over. It stands still while a password is hashed.
    #[cfg(feature = "accounts")]
    fn login_due_at(&self, limits: &Limits) -> Option<Millis> {
        // The last activity is not far from now, which is all that ticks need to be told apart.
        let due_at = self.client.login_due_at(self.last_active_at, limits.handshake_timeout_ms)?;
        (!self.waits_for_login()).then_some(due_at)
    }

    /// Acts on a deadline that has passed: an unfinished message is late or complete, or the client
    /// is idle. Not to be called for a client that is not read from: it has no
    /// [`deadline`](Self::deadline).
    pub fn on_deadline(
        &mut self,
        protocol: &mut Protocol,
        idle_ms: u64,
        ctx: &mut Context<'_>,
    ) -> Flow {
        let now = ctx.shared.now;
        let unfinished = self.unfinished_due_at(protocol, &ctx.shared.limits);
        if unfinished.is_some_and(|at| at <= now) {
            return if allows_unterminated(protocol) {
                self.end_message(protocol, ctx)
            } else {
                self.on_late_frame(protocol, ctx)
            };
        }
        #[cfg(feature = "accounts")]
        if self.login_due_at(&ctx.shared.limits).is_some_and(|at| at <= now) {
            dispatch!(protocol, handler => handler.write_login_required(&mut ctx.shared.out));
            return Flow::Close(CloseReason::LoginTimeout);
        }
        if self.idle_at(idle_ms).is_some_and(|at| at <= now) {
            return Flow::Close(CloseReason::IdleTimeout);
        }
        Flow::Continue
    }

    /// When the idle timeout closes the session, if nothing comes until then.
    #[inline]
    #[must_use]
    pub fn idle_at(&self, idle_ms: u64) -> Option<Millis> {
        (idle_ms > 0).then(|| self.last_active_at.after(idle_ms))
    }

    fn on_late_frame(&mut self, protocol: &Protocol, ctx: &mut Context<'_>) -> Flow {
        let age_secs = self.frame_age_secs(ctx.shared.now);
        dispatch!(protocol, handler => handler.write_late(age_secs, &mut ctx.shared.out));
        let head = ctx.room.log.head();
        if !ctx.shared.out.is_empty() && self.place_replies(head, ctx.room).is_err() {
            return Flow::Close(CloseReason::MemoryLimit);
        }
        Flow::Close(CloseReason::FrameTimeout)
    }

    fn unfinished_due_at(&self, protocol: &Protocol, limits: &Limits) -> Option<Millis> {
        let clock = self.buffers.as_ref()?.input.clock?;
        dispatch!(protocol, handler => handler.unfinished_due_at(clock, self.client, limits))
    }

    fn frame_age_secs(&self, now: Millis) -> u64 {
        let clock = self.buffers.as_ref().and_then(|buffers| buffers.input.clock);
        clock.map_or(0, |clock| clock.age_secs(now))
    }

    /// The protocol's state of the client.
    #[must_use]
    pub fn client(&self) -> ClientState {
        self.client
    }

    /// How much of the broadcast log the client has been sent, as an absolute offset.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Restarts the idle period at `now`.
    pub fn mark_active(&mut self, now: Millis) {
        self.last_active_at = now;
    }

    /// More of a record has come, whose data cannot be told yet: `bytes` of it so far. They count
    /// as what they hold would without a layer.
    pub fn on_partial_record(&mut self, bytes: usize, now: Millis) {
        self.mark_active(now);
        if let Some(buffers) = &mut self.buffers
            && let Some(clock) = &mut buffers.input.clock
        {
            clock.progress(now, buffers.input.recv.len() + bytes);
        }
    }

    /// Start of the current idle period.
    #[must_use]
    pub fn last_active_at(&self) -> Millis {
        self.last_active_at
    }

    /// Whether the session has buffers on the heap: only while input or replies wait.
    #[must_use]
    pub fn owns_memory(&self) -> bool {
        self.buffers.is_some()
    }
}

fn allows_unterminated(protocol: &Protocol) -> bool {
    fn allows<H: Handler>(_: &H) -> bool {
        H::ALLOWS_UNTERMINATED
    }
    dispatch!(protocol, handler => allows(handler))
}
