//! The running server's reloads and status lines: who asks for them, and how often they run. Knows
//! nothing of their work.

use std::mem;
use std::time::Instant;

use super::reload::{ReloadOutcome, Reloader};
use super::signal_rate_limit::SignalRateLimit;
use crate::clock::Millis;
use crate::net::{Handle, Program, Running, Signals, SocketTransport};
use crate::server::Server;

/// Called with the outcome of a reload, on the loop's thread.
#[cfg(feature = "admin")]
pub(super) type ReloadCaller = Box<dyn FnOnce(&ReloadOutcome, &mut Server<SocketTransport>)>;

/// Reloads for SIGHUP, [`Handle::reload`] or callers in the process, and status lines for SIGUSR1.
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
    /// Who waits for the outcome of the reload that begins next.
    #[cfg(feature = "admin")]
    next_callers: Vec<ReloadCaller>,
    /// Who waits for that of the one on its way.
    #[cfg(feature = "admin")]
    callers: Vec<ReloadCaller>,
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
            #[cfg(feature = "admin")]
            next_callers: Vec::new(),
            #[cfg(feature = "admin")]
            callers: Vec::new(),
        }
    }

    /// Asks for a reload as SIGHUP does, and has `caller` called with its outcome: one that begins
    /// after this, so that it reads what is there now. A server that stops calls nobody.
    #[cfg(feature = "admin")]
    #[allow(dead_code, reason = "for requests of the admin protocol")]
    pub(super) fn request_reload(&mut self, caller: ReloadCaller) {
        self.next_callers.push(caller);
        self.reloads.request();
    }

    fn begin_reload(&mut self, running: &mut Running<'_>, now: Millis) {
        (self.began_at, self.took_ms) = (now, 0);
        let cause = "SIGHUP";
        #[cfg(feature = "admin")]
        let cause = {
            self.callers = mem::take(&mut self.next_callers);
            if self.callers.is_empty() { cause } else { "reload requested" }
        };
        if let Some(outcome) = self.reloader.begin(cause, running) {
            self.end_reload(&outcome, running);
        }
    }

    fn advance_reload(&mut self, running: &mut Running<'_>) {
        let began_at = Instant::now();
        let outcome = self.reloader.advance(running);
        let took_ms = u64::try_from(began_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.took_ms = self.took_ms.saturating_add(took_ms);
        if let Some(outcome) = outcome {
            self.end_reload(&outcome, running);
        }
    }

    fn end_reload(&mut self, outcome: &ReloadOutcome, running: &mut Running<'_>) {
        let ended_at = self.began_at.after(self.took_ms);
        self.reloads.end(self.began_at, ended_at);
        #[cfg(feature = "admin")]
        for caller in mem::take(&mut self.callers) {
            caller(outcome, running.server);
        }
        let _ = (outcome, running);
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
        #[cfg(feature = "admin")]
        {
            (self.callers, self.next_callers) = (Vec::new(), Vec::new());
        }
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
        [reload_at, self.status_lines.due_at(), certificates_at].into_iter().flatten().min()
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
