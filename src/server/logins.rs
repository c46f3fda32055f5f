//! Accounts in the server: outcomes of attempts to log in, and connections whose account has gone.

use super::Server;
use super::connection::State;
use super::sweep::Sweep;
use super::transport::Transport;
use super::visit::Visit;
use crate::clock::Millis;
use crate::conn_id::ConnId;
use crate::limits::{VISIT_COST_BYTES, turn_micros};
use crate::memory::AllocError;
use crate::protocol::login::{Auth, Authenticator, Backend, Finished};
use crate::protocol::{CloseReason, DirectMessage, Handler, dispatch};

/// Pages of the table that a turn looks through at most. Finding an account takes a microsecond.
const SWEEP_PAGES_MAX: usize = 16;

impl<T: Transport> Server<T> {
    /// Takes accounts into service. Clients of the listeners that [`set_auth`](Self::set_auth)
    /// names may log in to them.
    pub fn set_accounts(&mut self, accounts: Authenticator) {
        self.shared.accounts = Some(Box::new(accounts));
    }

    /// Takes other accounts into service, in place of those there are. Attempts under way are tried
    /// again with them.
    pub fn set_accounts_backend(&mut self, backend: Box<dyn Backend>) {
        match &mut self.shared.accounts {
            Some(accounts) => accounts.replace_backend(backend, self.shared.now),
            None => self.set_accounts(Authenticator::new(backend, false)),
        }
    }

    /// The accounts in service.
    pub fn accounts_mut(&mut self) -> Option<&mut Authenticator> {
        self.shared.accounts.as_deref_mut()
    }

    /// Sets whether the clients that a listener accepts from now on log in.
    ///
    /// # Panics
    ///
    /// If there is no such listener.
    pub fn set_auth(&mut self, listener: usize, auth: Auth) {
        self.listeners[listener].room.access.auth = auth;
    }

    /// Accounts have been deleted, perhaps: closes, in the next turns, the connections that are
    /// logged in to one that is not there any more.
    pub fn sweep_accounts(&mut self) {
        // Connections that come log in to the accounts there are now.
        self.account_sweep = Some(Sweep::new());
    }

    /// Whether the next turn has something to do for accounts.
    pub(super) fn has_login_work(&self) -> bool {
        self.account_sweep.is_some()
            || self.shared.accounts.as_ref().is_some_and(|accounts| accounts.has_finished())
    }

    /// Whether any connection waits for the outcome of its attempt.
    pub(super) fn has_pending_logins(&self) -> bool {
        self.shared.accounts.as_ref().is_some_and(|accounts| accounts.has_pending())
    }

    /// Puts connections whose outcomes have come on the resume list, and goes on with a search.
    pub(super) fn run_logins(&mut self, registry: &T::Registry) {
        let shared = &mut self.shared;
        let Some(accounts) = &mut shared.accounts else { return };
        accounts.take_results(shared.now, &mut shared.stats.server, &mut shared.connection_log);
        while let Some(finished) = self.next_finished_login() {
            let Finished { id, waited_ms } = finished;
            if let Some(mut visit) = self.visit(id) {
                visit.conn.session.on_login_outcome(waited_ms);
                visit.requeue();
            }
        }
        if let Some(sweep) = self.account_sweep.take() {
            self.account_sweep = self.sweep_some(registry, sweep);
        }
    }

    fn next_finished_login(&mut self) -> Option<Finished> {
        self.shared.accounts.as_mut()?.next_finished()
    }

    /// Looks through some pages; `None` when all have been.
    fn sweep_some(&mut self, registry: &T::Registry, mut sweep: Sweep) -> Option<Sweep> {
        self.schedule.budget.begin(turn_micros::ACCOUNTS);
        for _ in 0..SWEEP_PAGES_MAX {
            let (listener, page) = sweep.next_page(&self.table)?;
            for id in self.deleted_logins(listener, page) {
                let Some(mut visit) = self.visit(id) else { continue };
                visit.start_drain(CloseReason::AccountDeleted);
                let timer_at = visit.flush_and_reschedule(registry);
                self.end_visit(registry, id, timer_at);
                self.schedule.budget.charge(VISIT_COST_BYTES);
            }
            if self.schedule.budget.is_spent() {
                break;
            }
        }
        Some(sweep)
    }

    /// The connections of one page that are logged in to an account that is not there any more.
    fn deleted_logins(&mut self, listener: usize, page: usize) -> Vec<ConnId> {
        let (shared, protocol) = (&self.shared, &self.listeners[listener].protocol);
        let Some(accounts) = &shared.accounts else { return Vec::new() };
        let mut deleted = Vec::new();
        for (id, conn) in self.table.page_mut(listener, page) {
            let client = conn.session.client();
            if conn.state != State::Open || !client.is_logged_in() {
                continue;
            }
            self.schedule.budget.charge(VISIT_COST_BYTES);
            let name = dispatch!(protocol, handler => handler.account(client, shared));
            if name.is_some_and(|name| !accounts.has_account(name)) {
                deleted.push(id);
            }
        }
        deleted
    }
}

impl<T: Transport> Visit<'_, T> {
    /// A client that was accepted at `accepted_at` has come in: on a listener where it must log in,
    /// its time to do so runs.
    pub(super) fn require_login(&mut self, accepted_at: Millis) {
        if self.shared.accounts.is_some() && self.listener.room.access.is_required() {
            self.listener.room.access.must_log_in += 1;
            self.conn.session.require_login(accepted_at);
        }
    }

    /// Queues a private message. Behind one that `is_last` the connection closes.
    pub(super) fn push_direct(
        &mut self,
        message: DirectMessage<'_>,
        is_last: bool,
    ) -> Result<(), AllocError> {
        let (session, room) = (&mut self.conn.session, &self.listener.room);
        match is_last {
            true => session.push_last_message(message.log_head, message.bytes, room),
            false => session.push_message(message.log_head, message.bytes),
        }
    }
}
