//! The running server's reloads and status lines: which signals ask for them, and how often they
//! run. Knows nothing of their work.

use std::time::Instant;

use super::accounts::AccountsReloader;
use super::signal_rate_limit::SignalRateLimit;
#[cfg(feature = "systemd")]
use super::systemd::Reloads;
use super::tls::Certificates;
use crate::clock::Millis;
use crate::net::{Handle, Program, Running, Signals, SocketTransport};
use crate::server::Server;

/// Reloads for SIGHUP or [`Handle::reload`], and status lines for SIGUSR1. The first request is
/// acted on at once; see [`SignalRateLimit`] for those that follow.
pub(super) struct Control<F> {
    signals: Signals,
    handle: Handle,
    reloads: SignalRateLimit,
    status_lines: SignalRateLimit,
    certificates: Certificates,
    accounts: AccountsReloader,
    reload: F,
}

impl<F: FnMut(&mut Server<SocketTransport>)> Control<F> {
    pub(super) fn new(
        signals: Signals,
        handle: Handle,
        certificates: Certificates,
        accounts: AccountsReloader,
        reload: F,
    ) -> Self {
        let (reloads, status_lines) = (SignalRateLimit::default(), SignalRateLimit::default());
        Control { signals, handle, reloads, status_lines, certificates, accounts, reload }
    }
}

impl<F: FnMut(&mut Server<SocketTransport>)> Program for Control<F> {
    fn on_wake(&mut self) {
        let requests = self.signals.take();
        if requests.reload {
            self.handle.reload();
        }
        if requests.status {
            self.status_lines.request();
        }
        self.certificates.on_wake();
        self.accounts.on_wake();
    }

    fn on_stop(&mut self) {
        // A stop does not wait for a reload.
        self.reloads = SignalRateLimit::default();
    }

    fn on_reload(&mut self, _: &mut Server<SocketTransport>) {
        self.reloads.request();
    }

    fn due_at(&self) -> Option<Millis> {
        let own = [self.reloads.due_at(), self.status_lines.due_at(), self.certificates.due_at()];
        let due_at = own.into_iter().flatten().min();
        if self.accounts.is_due() { Some(Millis(0)) } else { due_at }
    }

    fn on_due(&mut self, running: &mut Running<'_>, now: Millis) {
        let server = &mut *running.server;
        if self.status_lines.begin(now) {
            server.log_status(now);
            self.status_lines.end(now, now);
        }
        if self.reloads.begin(now) {
            let began_at = Instant::now();
            (self.reload)(server);
            self.certificates.reload();
            self.accounts.reload();
            let took_ms = u64::try_from(began_at.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.reloads.end(now, now.after(took_ms));
        }
        self.certificates.on_due(server, now);
        self.accounts.on_due(server);
    }
}

#[cfg(feature = "systemd")]
impl<F: FnMut(&mut Server<SocketTransport>)> Reloads for Control<F> {
    fn is_reloading(&self, server: &Server<SocketTransport>) -> bool {
        self.reloads.due_at().is_some()
            || self.certificates.is_reloading()
            || self.accounts.is_reloading()
            || server.is_reloading_plugins()
    }
}
