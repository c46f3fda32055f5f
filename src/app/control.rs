//! The running server's reloads and status lines: who asks for them, and how often they run. Knows
//! nothing of their work.

use std::mem;
use std::time::Instant;

use super::reload::{ReloadResult, Reloader};
use super::signal_rate_limit::SignalRateLimit;
use crate::clock::Millis;
use crate::net::{Handle, Program, Running, Signals, SocketTransport};
use crate::server::Server;

/// Reloads for SIGHUP, [`Handle::reload`] or admin clients, and status lines for SIGUSR1.
/// The first request is acted on at once; see [`SignalRateLimit`] for those that follow.
pub(super) struct Control {
    signals: Signals,
    handle: Handle,
    reloads: SignalRateLimit,
    status_lines: SignalRateLimit,
    reloader: Reloader,
    /// The loop was woken: the reload on its way may go on.
    is_woken: bool,
    /// When it began, and how long it has kept the loop.
    began_at: Millis,
    took_ms: u64,
}

impl Control {
    pub(super) fn new(signals: Signals, handle: Handle, reloader: Reloader) -> Self {
        Control {
            signals,
            handle,
            reloads: SignalRateLimit::default(),
            status_lines: SignalRateLimit::default(),
            reloader,
            is_woken: false,
            began_at: Millis(0),
            took_ms: 0,
        }
    }

    fn begin_reload(&mut self, running: &mut Running<'_>, now: Millis) {
        (self.began_at, self.took_ms) = (now, 0);
        let cause = "SIGHUP";
        #[cfg(feature = "admin")]
        let cause = if running.server.begin_reload() { "POST /reload" } else { cause };
        if let Some(result) = self.reloader.begin(cause, running) {
            self.end_reload(&result, running);
        }
    }

    fn advance_reload(&mut self, running: &mut Running<'_>) {
        let began_at = Instant::now();
        let result = self.reloader.advance(running);
        let took_ms = u64::try_from(began_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.took_ms = self.took_ms.saturating_add(took_ms);
        if let Some(result) = result {
            self.end_reload(&result, running);
        }
    }

    fn end_reload(&mut self, result: &ReloadResult, running: &mut Running<'_>) {
        let ended_at = self.began_at.after(self.took_ms);
        self.reloads.end(self.began_at, ended_at);
        #[cfg(feature = "admin")]
        running.server.finish_reload(result);
        let _ = (result, running);
    }
}

#[cfg(feature = "systemd")]
impl super::systemd::Reloads for Control {
    fn is_reloading(&self) -> bool {
        self.reloader.is_reloading() || self.reloads.due_at().is_some()
    }
}

impl Program for Control {
    fn on_wake(&mut self) {
        let requests = self.signals.take();
        if requests.reload {
            self.handle.reload();
        }
        if requests.status {
            self.status_lines.request();
        }
        self.is_woken = true;
    }

    fn on_stop(&mut self) {
        // A stop does not wait for a reload.
        self.reloads = SignalRateLimit::default();
        self.reloader.cancel();
    }

    fn on_reload(&mut self, _: &mut Server<SocketTransport>) {
        self.reloads.request();
    }

    fn due_at(&self) -> Option<Millis> {
        let reload_at = match self.reloader.is_reloading() {
            true => self.is_woken.then_some(Millis(0)),
            false => self.reloads.due_at(),
        };
        let certificates_at = self.reloader.certificates_due_at();
        Millis::earliest([reload_at, self.status_lines.due_at(), certificates_at])
    }

    fn on_due(&mut self, running: &mut Running<'_>, now: Millis) {
        if self.status_lines.begin(now) {
            running.server.log_status(now);
            self.status_lines.end(now, now);
        }
        if mem::take(&mut self.is_woken) && self.reloader.is_reloading() {
            self.advance_reload(running);
        }
        if !self.reloader.is_reloading() && self.reloads.begin(now) {
            self.begin_reload(running, now);
        }
        self.reloader.on_due(now);
    }
}
