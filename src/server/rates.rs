//! Rates of connections: who is over them is not read from until its turn comes.

use super::Server;
use super::connection::{Flags, State};
use super::transport::Transport;
use super::visit::Visit;
use crate::clock::Millis;
use crate::rates::{RateState, Rates};

impl<T: Transport> Server<T> {
    /// Limits what each connection may send from now on. One that sends more is not read from until
    /// its turn comes, so that TCP holds its client back; nothing is lost. In a server that runs,
    /// [`rearm_deadlines`](Self::rearm_deadlines) must follow.
    pub fn set_rates(&mut self, rates: Rates) {
        self.shared.rates = rates;
    }

    /// The server stops: what has come is answered without delay.
    pub(super) fn end_rates(&mut self) {
        self.shared.rates = Rates::default();
        let now = self.shared.now;
        for (_, conn) in self.table.iter_mut() {
            if conn.session.waits_for_rate() {
                conn.session.on_rate_turn(now);
            }
        }
    }
}

impl<T: Transport> Visit<'_, T> {
    /// A protocol is about to be called.
    #[inline]
    pub(super) fn begin_rates(&mut self) {
        if self.shared.rates.is_limiting() {
            self.take_up_rate_state();
        }
    }

    #[inline(never)]
    fn take_up_rate_state(&mut self) {
        let Visit { id, conn, shared, io, .. } = self;
        let is_leaving = conn.flags.has(Flags::LEAVING);
        let state = io.rate_states.get(id.index).filter(|_| !is_leaving);
        shared.rate_state = state.copied().unwrap_or_default();
        if conn.session.waits_for_rate() && shared.rate_state.resume_at <= shared.now {
            conn.session.on_rate_turn(shared.now);
        }
    }

    /// A protocol has been called.
    #[inline]
    pub(super) fn end_rates(&mut self) {
        if self.shared.rates.is_limiting() {
            self.keep_rate_state();
        }
    }

    #[inline(never)]
    fn keep_rate_state(&mut self) {
        let Visit { id, shared, io, .. } = self;
        let state = std::mem::take(&mut shared.rate_state);
        match io.rate_states.get_mut(id.index) {
            Some(kept) => *kept = state,
            None if state == RateState::default() => {}
            None => io.rate_states.insert(id.index, state),
        }
    }

    /// A message that had to wait goes on where rates have been lifted.
    pub(super) fn end_wait_without_rates(&mut self) {
        if !self.shared.rates.is_limiting() && self.conn.session.waits_for_rate() {
            self.conn.session.on_rate_turn(self.shared.now);
            self.requeue();
        }
    }

    /// When a message that had to wait may be tried again.
    pub(super) fn rate_turn_at(&self) -> Option<Millis> {
        let waits = self.conn.state == State::Open && self.conn.session.waits_for_rate();
        let state = self.io.rate_states.get(self.id.index).filter(|_| waits)?;
        Some(state.resume_at)
    }
}
