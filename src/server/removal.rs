//! Listeners that come and go while the server runs. One that is removed accepts no more, and its
//! connections are drained as in a stop, a few pages a turn, so that those of other listeners are
//! served as ever. Its number can be given to another once the last of them has gone.

use std::rc::Rc;

use log::{info, warn};

use super::Server;
use super::connection::{Flags, State};
use super::drain::{Drain, ListenerState, Step};
use super::fanout::Fanout;
use super::listener::{Listener, ListenerConfig, PendingBroadcasts};
use super::stop::Phase;
use super::sweep::SWEEP_PAGES_MAX;
use super::transport::Transport;
use crate::clock::Millis;
use crate::limits::{DRAIN_MS_MIN, Limits};
use crate::protocol::{CloseReason, Handler, PrefixedProtocol, Room, dispatch};

impl<T: Transport> Server<T> {
    /// Adds a listener, before the server runs or while it does, and returns its number, by which
    /// [`on_acceptable`](Self::on_acceptable) knows it. The first have the numbers from 0 on; later
    /// it may be that of a listener that was removed and has no connection left.
    ///
    /// # Panics
    ///
    /// On the 65,537th listener.
    #[inline(never)]
    pub fn add_listener(&mut self, acceptor: T::Acceptor, config: ListenerConfig) -> usize {
        let number = self.next_listener_number();
        self.put_listener(number, Listener::new(Some(acceptor), config, &self.shared.limits));
        number
    }

    /// The number that the next listener will have.
    #[must_use]
    pub fn next_listener_number(&self) -> usize {
        let mut listeners = self.listeners.iter();
        let vacant = listeners.position(|listener| listener.state == ListenerState::Vacant);
        vacant.unwrap_or(self.listeners.len())
    }

    #[inline(never)]
    fn put_listener(&mut self, number: usize, listener: Listener<T>) {
        assert!(number <= usize::from(u16::MAX), "too many listeners");
        self.shared.stats.set_listener(number, Rc::clone(&listener.room.stats));
        match self.listeners.get_mut(number) {
            Some(vacant) => *vacant = listener,
            None => {
                self.listeners.push(listener);
                self.table.add_listener();
            }
        }
    }

    /// Removes a listener while the server runs. It accepts who is in its backlog and nobody more.
    /// Its connections are drained as in a [`stop`](Self::stop): what has arrived is answered, the
    /// protocol says that the server has shut down, what is unsent is sent, and whoever is left after
    /// the drain time is cut. Returns how many there are. Does nothing in a server that is stopping.
    ///
    /// # Panics
    ///
    /// If there is no such listener.
    #[inline(never)]
    pub fn remove_listener(&mut self, number: usize) -> usize {
        self.listeners[number].accept_ready = true;
        self.begin_drain(number, Step::Accepting)
    }

    /// Puts another listener in the place of one, with its acceptor: no client is refused between the
    /// two. The connections there are drain as those of a listener that is
    /// [removed](Self::remove_listener). Returns how many there are.
    ///
    /// # Panics
    ///
    /// If there is no such listener, or it would be the 65,537th.
    #[inline(never)]
    pub fn replace_listener(&mut self, number: usize, config: ListenerConfig) -> usize {
        let to = self.next_listener_number();
        let acceptor = self.listeners[number].acceptor.take();
        let new = Listener::new(acceptor, config, &self.shared.limits);
        self.shared.stats.set_listener(number, Rc::clone(&new.room.stats));
        let old = std::mem::replace(&mut self.listeners[number], new);
        self.put_listener(to, old);
        self.table.move_pages(number, to);
        #[cfg(feature = "accounts")]
        if self.account_sweep.is_some() {
            // It may have passed the number by.
            self.sweep_accounts();
        }
        self.begin_drain(to, Step::Reading)
    }

    /// Has a listener go by another configuration, of the same protocol, from now on. Where its idle
    /// timeout is another one, [`rearm_deadlines`](Self::rearm_deadlines) must follow.
    ///
    /// # Panics
    ///
    /// If there is no such listener.
    #[inline(never)]
    pub fn configure_listener(&mut self, number: usize, config: ListenerConfig) {
        let ListenerConfig { name, protocol, idle_ms } = config;
        let listener = &mut self.listeners[number];
        listener.name = name;
        listener.idle_ms = idle_ms;
        listener.protocol.set_from(protocol);
    }

    /// Whether a listener accepts connections.
    ///
    /// # Panics
    ///
    /// If there is no such listener.
    #[must_use]
    pub fn is_listening(&self, number: usize) -> bool {
        self.listeners[number].acceptor.is_some()
    }

    /// The acceptor of a listener, while it has one.
    #[must_use]
    pub fn acceptor(&self, number: usize) -> Option<&T::Acceptor> {
        self.listeners.get(number)?.acceptor.as_ref()
    }

    /// Changes the limits of a server that runs. Whoever holds more than a new one allows keeps it;
    /// [`rearm_deadlines`](Self::rearm_deadlines) must follow where timeouts have changed.
    #[inline(never)]
    pub fn set_limits(&mut self, limits: Limits) {
        self.clients_bound = limits.clients_max.max(self.shared.stats.server.connections as usize);
        self.shared.limits = limits;
        self.shared.memory.set_limit(limits.memory_bytes_max);
        #[cfg(feature = "cluster")]
        self.limit_cluster();
        for listener in &mut self.listeners {
            let log_bytes_max =
                dispatch!(&listener.protocol, handler => handler.log_bytes_max(&limits));
            listener.room.log.set_capacity(log_bytes_max);
            #[cfg(feature = "plugins")]
            {
                // They would wait for ever.
                listener.pending.drop_longer_than(log_bytes_max);
                listener.update_charge(&mut self.shared.memory);
            }
        }
    }

    fn begin_drain(&mut self, number: usize, step: Step) -> usize {
        if self.schedule.phase.is_stopping() {
            return 0;
        }
        let now = self.shared.now;
        let listener = &mut self.listeners[number];
        if listener.state == ListenerState::InService {
            listener.state = ListenerState::Draining(Drain::new(step, listener.room.members, now));
            self.schedule.phase = Phase::Changing { due_at: now };
        }
        listener.room.members
    }

    /// Goes on with drains, and with deadlines that are armed anew, a few pages each.
    #[cold]
    #[inline(never)]
    pub(super) fn advance_change(&mut self, registry: &T::Registry) {
        let mut due_at = self.sweep_deadlines().then_some(self.shared.now);
        for number in 0..self.listeners.len() {
            if let ListenerState::Draining(drain) = self.listeners[number].state {
                let next = self.advance_drain(registry, number, drain);
                due_at = [due_at, next].into_iter().flatten().min();
            }
        }
        self.schedule.phase = match due_at {
            Some(due_at) => Phase::Changing { due_at },
            None => Phase::Running,
        };
    }

    /// Goes on with one drain. Returns when there is more to be done; `None` when it is over.
    fn advance_drain(
        &mut self,
        registry: &T::Registry,
        number: usize,
        mut drain: Drain,
    ) -> Option<Millis> {
        let now = self.shared.now;
        if drain.step > Step::Reading && self.table.is_listener_empty(number) {
            if drain.members > 0 {
                info!("{} is drained", self.listeners[number].name);
            }
            self.vacate(number);
            return None;
        }
        drain.skip_late_step(now);
        let mut due_at = now;
        for _ in 0..SWEEP_PAGES_MAX {
            if let Some(until) = self.drain_waits_until(number, &drain) {
                due_at = until;
                break;
            }
            let pages = drain.pages_left.min(self.table.page_count(number));
            match pages.checked_sub(1) {
                Some(page) => {
                    drain.pages_left = page;
                    drain.cut_unsent += self.drain_page(number, page, drain.step);
                }
                None => self.begin_next_step(registry, number, &mut drain),
            }
        }
        self.listeners[number].state = ListenerState::Draining(drain);
        Some(due_at)
    }

    /// Until when the drain's step waits, if it does, unless something happens before.
    fn drain_waits_until(&mut self, number: usize, drain: &Drain) -> Option<Millis> {
        let Fanout { active, is_admitting, .. } = self.listeners[number].fanout;
        match drain.step {
            Step::Accepting => {
                let waits = self.listeners[number].accept_ready && self.shared.now < drain.until;
                waits.then_some(drain.until)
            }
            Step::Answering => {
                let is_answered = !active && !is_admitting && self.is_page_answered(number, drain);
                (!is_answered).then_some(drain.until)
            }
            // Who has closed is gone after this turn.
            Step::Waiting if !self.schedule.closed.is_empty() => Some(self.shared.now),
            Step::Waiting => Some(drain.deadline),
            Step::Reading | Step::Closing | Step::Cutting => None,
        }
    }

    /// Whether what had arrived has been answered to the connections of the page that is next.
    fn is_page_answered(&mut self, number: usize, drain: &Drain) -> bool {
        let pages = drain.pages_left.min(self.table.page_count(number));
        let Some(page) = pages.checked_sub(1) else { return true };
        self.table.page_mut(number, page).all(|(_, conn)| {
            let is_client = matches!(conn.state, State::Opening | State::Open);
            !is_client || !(conn.flags.has(Flags::QUEUED) || conn.session.waits_for_outcome())
        })
    }

    /// Takes the step with the connections of one page. Returns how many were cut with replies
    /// unsent.
    #[inline(never)]
    fn drain_page(&mut self, number: usize, page: usize, step: Step) -> usize {
        let mut cut_unsent = 0;
        for id in self.table.page_ids(number, page) {
            let Some(mut visit) = self.visit(id) else { continue };
            let is_opening = match visit.conn.state {
                State::Opening => true,
                State::Open => false,
                State::Draining(_) if step == Step::Cutting => false,
                State::Draining(_) | State::Lingering | State::Closed => continue,
            };
            let is_blocked = visit.conn.flags.has(Flags::WRITE_BLOCKED);
            match step {
                Step::Reading => {
                    visit.conn.flags.set(Flags::LEAVING, true);
                    visit.conn.flags.set(Flags::READ_READY, true);
                    visit.requeue();
                }
                Step::Closing if is_opening => visit.close(CloseReason::ListenerRemoved, None),
                Step::Closing => {
                    // A client that is blocked may have requests deferred.
                    if !is_blocked {
                        visit.conn.flags.set(Flags::INPUT_STOPPED, true);
                    }
                    visit.requeue();
                }
                Step::Cutting => {
                    cut_unsent += usize::from(is_blocked);
                    visit.close(CloseReason::ListenerRemoved, None);
                }
                Step::Accepting | Step::Answering | Step::Waiting => {}
            }
        }
        cut_unsent
    }

    fn begin_next_step(&mut self, registry: &T::Registry, number: usize, drain: &mut Drain) {
        let next = match drain.step {
            Step::Accepting => {
                let listener = &mut self.listeners[number];
                listener.accept_ready = false;
                if let Some(acceptor) = listener.acceptor.take() {
                    T::close_acceptor(registry, acceptor);
                }
                Step::Reading
            }
            Step::Reading => {
                let drain_ms = self.shared.limits.drain_timeout_ms.max(DRAIN_MS_MIN);
                drain.until = self.shared.now.after(drain_ms / 2);
                drain.deadline = self.shared.now.after(drain_ms);
                Step::Answering
            }
            Step::Answering => Step::Closing,
            Step::Closing | Step::Waiting => Step::Waiting,
            Step::Cutting => {
                if drain.cut_unsent > 0 {
                    let (name, unsent) = (&self.listeners[number].name, drain.cut_unsent);
                    warn!(
                        "the drain time of {name} is over; connections cut with replies unsent: {unsent}"
                    );
                }
                Step::Waiting
            }
        };
        drain.begin(next);
    }

    /// The last connection of a removed listener has gone.
    fn vacate(&mut self, number: usize) {
        #[cfg(feature = "cluster")]
        self.set_channel(number, None);
        self.table.free_pages(number);
        self.shared.stats.retire_listener(number);
        let listener = &mut self.listeners[number];
        listener.state = ListenerState::Vacant;
        // What may be large.
        listener.name = String::new();
        listener.protocol = PrefixedProtocol.into();
        listener.layer = None;
        listener.room = Room::new(0);
        self.shared.stats.set_listener(number, Rc::clone(&listener.room.stats));
        listener.fanout = Fanout::default();
        listener.pending = PendingBroadcasts::default();
        listener.update_charge(&mut self.shared.memory);
        self.update_table_charge();
    }
}
