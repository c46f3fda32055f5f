//! The counters behind STATUS, metrics and SIGUSR1: plain numbers, counted where things happen.

use std::cell::Cell;
use std::rc::Rc;

use crate::clock::Millis;
use crate::close_reason::{CloseReason, Refusal};

/// A number that counts up.
///
/// Behind a [`Cell`], because a listener counts and whoever reports sums up, both on one thread.
#[derive(Debug, Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    /// Counts `n` more.
    #[inline(always)]
    pub fn add(&self, n: u64) {
        self.0.set(self.0.get().wrapping_add(n));
    }

    /// Counts `n` less.
    #[inline(always)]
    pub fn take_back(&self, n: u64) {
        self.0.set(self.0.get().wrapping_sub(n));
    }

    /// Takes over a count that is kept elsewhere.
    #[inline(always)]
    pub fn set(&self, count: u64) {
        self.0.set(count);
    }

    /// The count.
    #[inline(always)]
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// Counters of one listener, since it was added.
#[derive(Debug, Default)]
pub struct ListenerStats {
    /// Connections open now: neither refused nor lingering ones.
    pub connections: Counter,
    /// Connections accepted as clients.
    pub accepted: Counter,
    /// Whole frames received, bad ones included. `raw` has no frames.
    pub frames_in: Counter,
    /// Bytes read from sockets.
    pub bytes_in: Counter,
    /// Bytes written to sockets.
    pub bytes_out: Counter,
    /// Broadcasts accepted for delivery.
    pub broadcasts: Counter,
    /// Subscribers cut because they fell behind the end of the broadcast log.
    pub slow_consumers: Counter,
    refused: [Counter; Refusal::ALL.len()],
    closed: [Counter; CloseReason::ALL.len()],
}

impl ListenerStats {
    /// A connection is refused.
    pub fn count_refused(&self, reason: Refusal) {
        self.refused[reason as usize].add(1);
    }

    /// A client's connection ends.
    pub fn count_closed(&self, reason: CloseReason) {
        self.closed[reason as usize].add(1);
    }

    /// Connections refused for `reason`.
    #[must_use]
    pub fn refused(&self, reason: Refusal) -> u64 {
        self.refused[reason as usize].get()
    }

    /// Connections of clients that ended for `reason`.
    #[must_use]
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize].get()
    }

    /// Adds all but the open connections to `total`.
    #[inline(never)]
    fn add_to(&self, total: &mut Stats) {
        total.accepted_total += self.accepted.get();
        total.refused_total += self.refused.iter().map(Counter::get).sum::<u64>();
        total.frames_in_total += self.frames_in.get();
        total.bytes_in_total += self.bytes_in.get();
        total.bytes_out_total += self.bytes_out.get();
        total.broadcasts_total += self.broadcasts.get();
        total.slow_consumers_total += self.slow_consumers.get();
        #[cfg(feature = "admission")]
        {
            total.refused_by_address_total +=
                self.refused(Refusal::AddressConnections) + self.refused(Refusal::ConnectRate);
            total.proxy_header_failures_total += self.refused(Refusal::ProxyHeader);
        }
    }
}

/// Counts since the server started, over all listeners.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Time of the start.
    pub started_at: Millis,
    /// Connections open now: neither refused nor lingering ones.
    pub connections: u64,
    /// Connections accepted as clients.
    pub accepted_total: u64,
    /// Connections refused, for whatever reason.
    pub refused_total: u64,
    /// Whole frames received, bad ones included. `raw` has no frames.
    pub frames_in_total: u64,
    /// Bytes read from sockets.
    pub bytes_in_total: u64,
    /// Bytes written to sockets.
    pub bytes_out_total: u64,
    /// Broadcasts accepted for delivery.
    pub broadcasts_total: u64,
    /// Subscribers cut because they fell behind the end of the broadcast log.
    pub slow_consumers_total: u64,
    /// Handshakes of layers (TLS) that ended well, the resumptions among them. Not part of STATUS,
    /// as those that follow.
    pub handshakes_total: u64,
    /// Those that went on with what an earlier connection had agreed on.
    pub resumptions_total: u64,
    /// Handshakes that failed.
    pub handshake_failures_total: u64,
    /// Connections refused because their address has too many, or they come too fast; part of
    /// `refused_total`, as those without a valid PROXY header are.
    #[cfg(feature = "admission")]
    pub refused_by_address_total: u64,
    /// Connections refused because they had no valid PROXY header.
    #[cfg(feature = "admission")]
    pub proxy_header_failures_total: u64,
    /// Connections cut because the server had to free memory.
    pub memory_cuts_total: u64,
    /// Attempts to log in or to register that were accepted.
    #[cfg(feature = "accounts")]
    pub logins_total: u64,
    /// Attempts with an unknown name or a wrong password.
    #[cfg(feature = "accounts")]
    pub login_failures_total: u64,
    /// Attempts that were refused for another reason.
    #[cfg(feature = "accounts")]
    pub logins_refused_total: u64,
}

/// All counters: those of the server, and of each listener.
#[derive(Debug)]
pub struct Counters {
    /// Counts that belong to no listener, and those of listeners that are gone.
    pub server: Stats,
    /// Counters of the listeners, by number.
    listeners: Vec<Rc<ListenerStats>>,
}

impl Counters {
    /// Counters of a server that starts at `now`.
    #[must_use]
    pub fn new(now: Millis) -> Self {
        Counters { server: Stats { started_at: now, ..Stats::default() }, listeners: Vec::new() }
    }

    /// A listener has the number `number`, the one behind the last or that of one that is gone.
    pub fn set_listener(&mut self, number: usize, stats: Rc<ListenerStats>) {
        match self.listeners.get_mut(number) {
            Some(place) => *place = stats,
            None => {
                debug_assert_eq!(number, self.listeners.len(), "numbers follow one another");
                self.listeners.push(stats);
            }
        }
    }

    /// A listener is gone: what it has counted stays in the totals.
    ///
    /// # Panics
    ///
    /// If there is no such listener.
    pub fn retire_listener(&mut self, number: usize) {
        std::mem::take(&mut self.listeners[number]).add_to(&mut self.server);
    }

    /// The counts over all listeners.
    #[must_use]
    #[inline(never)]
    pub fn totals(&self) -> Stats {
        let mut totals = self.server;
        self.listeners.iter().for_each(|listener| listener.add_to(&mut totals));
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_the_sum_of_all_listeners() {
        let mut stats = Counters::new(Millis(7));
        stats.server.frames_in_total = 1;
        for frames in [5, 7] {
            stats.set_listener(stats.listeners.len(), Rc::default());
            stats.listeners[0].frames_in.add(frames);
        }
        let listener = &stats.listeners[1];
        Refusal::ALL.iter().for_each(|reason| listener.count_refused(*reason));
        listener.count_refused(Refusal::Full);
        assert_eq!(listener.refused(Refusal::Full), 2);
        let totals = stats.totals();
        assert_eq!((totals.started_at, totals.frames_in_total), (Millis(7), 13));
        assert_eq!(totals.refused_total, Refusal::ALL.len() as u64 + 1);
        stats.retire_listener(1);
        assert_eq!(stats.totals(), totals);
        assert_eq!(stats.listeners[1].refused(Refusal::Full), 0);
    }
}
