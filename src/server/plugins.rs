//! Plugins in the server: client notices, their time slice, their broadcasts.

use super::Server;
use super::listener::Listener;
use super::transport::Transport;
#[cfg(feature = "admin")]
use crate::limits::turn_micros;
use crate::protocol::plugin::PluginHost;
use crate::protocol::{Handler, PluginScheduler, dispatch};

impl<T: Transport> Server<T> {
    /// Takes plugins into service, in place of those there are.
    #[doc(hidden)]
    #[cfg_attr(not(feature = "plugins"), expect(unreachable_code, reason = "there is no host"))]
    pub fn set_plugins(&mut self, host: PluginHost) {
        match &mut self.shared.plugins {
            Some(scheduler) => scheduler.replace_host(host),
            None => self.shared.plugins = Some(Box::new(PluginScheduler::new(host))),
        }
        #[cfg(feature = "admin")]
        if let Some(scheduler) = &mut self.shared.plugins {
            scheduler.count_packages_in(self.schedule.budget.package_micros());
        }
    }

    /// The plugins in service.
    #[cfg(feature = "plugins")]
    #[doc(hidden)]
    pub fn plugins_mut(&mut self) -> Option<&mut PluginScheduler> {
        self.shared.plugins.as_deref_mut()
    }

    /// Tells the plugins, in the next turns, that all listeners are open.
    #[doc(hidden)]
    pub fn start_plugins(&mut self) {
        if let Some(scheduler) = &mut self.shared.plugins {
            scheduler.on_started();
        }
    }

    /// Runs this turn's plugin work: a reload step, then queued notices.
    pub(super) fn run_plugins(&mut self) {
        let Some(scheduler) = &mut self.shared.plugins else { return };
        #[cfg(feature = "admin")]
        self.schedule.budget.mark(turn_micros::PLUGINS);
        scheduler.begin_resuming();
        while self.shared.plugins.as_mut().is_some_and(|scheduler| scheduler.notify_next()) {
            self.append_plugin_broadcasts();
        }
    }

    /// Tells the plugins that the server stops.
    pub(super) fn stop_plugins(&mut self) {
        if let Some(scheduler) = &mut self.shared.plugins {
            scheduler.on_stopping();
            self.append_plugin_broadcasts();
        }
    }

    /// Sums up the log lines of plugins that were not written: the server has stopped.
    pub(super) fn flush_plugin_log(&self) {
        if let Some(scheduler) = &self.shared.plugins {
            scheduler.flush_log();
        }
    }

    /// How long until such a sum is due, in milliseconds, if one is.
    pub(super) fn plugin_log_due_in_ms(&self) -> Option<u64> {
        self.shared.plugins.as_ref().and_then(|scheduler| scheduler.log_due_in_ms())
    }

    /// Puts what plugins have said to everyone into the log of every plugin listener.
    pub(super) fn append_plugin_broadcasts(&mut self) {
        let Some(scheduler) = &mut self.shared.plugins else { return };
        let broadcasts = scheduler.take_broadcasts();
        for number in 0..self.listeners.len() {
            if dispatch!(&self.listeners[number].protocol, handler => handler.receives_plugin_broadcasts())
            {
                for bytes in &broadcasts {
                    self.append_plugin_broadcast(number, bytes);
                }
            }
        }
        // They are no listener's own.
        self.shared.stats.server.broadcasts_total += broadcasts.len() as u64;
    }

    /// If the log is full, queues the broadcast; if the queue is full, drops it and warns: a plugin
    /// cannot be made to wait.
    fn append_plugin_broadcast(&mut self, number: usize, bytes: &[u8]) {
        let max = self.shared.limits.broadcast_log_bytes_max;
        let Listener { room, pending, .. } = &mut self.listeners[number];
        if room.members == 0 || bytes.is_empty() {
            return;
        }
        self.schedule.budget.charge(bytes.len());
        if pending.is_empty() && room.log.append(&[bytes]).is_ok() {
            self.listeners[number].start_pass_if_needed(&mut self.shared.memory);
            return;
        }
        if !pending.push(bytes, max) {
            self.shared.connection_log.lost_broadcast(self.shared.now);
        }
        self.listeners[number].update_charge(&mut self.shared.memory);
    }

    /// Appends queued plugin broadcasts; at most half of the log if senders wait.
    pub(super) fn append_pending(&mut self, number: usize) {
        let max = self.shared.limits.broadcast_log_bytes_max;
        let Listener { room, pending, fanout, .. } = &mut self.listeners[number];
        let mut share = if fanout.waiting.is_empty() { max } else { max / 2 };
        while let Some(bytes) = pending.first() {
            if room.members > 0 && (share == 0 || room.log.append(&[bytes]).is_err()) {
                break;
            }
            share = share.saturating_sub(bytes.len());
            pending.pop();
        }
    }

    /// Charges the account with what the plugins' notices and clients cost now.
    pub(super) fn update_plugin_charge(&mut self) {
        if let Some(scheduler) = &self.shared.plugins {
            self.shared.memory.recharge(&mut self.plugins_charged, scheduler.cost());
        }
    }
}
