//! A program under a service manager: what the manager is told, and when. The watchdog is fed by the
//! loop itself, so a loop that is stuck starves it.

use std::env;
use std::ffi::OsStr;
use std::time::Duration;

use sd_notify::NotifyState;

use super::notifier::Notifier;
use crate::clock::Millis;
use crate::net::{Program, Running, SocketTransport};
use crate::server::Server;

/// Shortest time between two status lines.
const STATUS_INTERVAL_MS: u64 = 10_000;

/// Time between two tries of messages that have found the manager's queue full.
const RETRY_INTERVAL_MS: u64 = 100;

/// Time between two looks at whether a reload is over.
const RELOAD_INTERVAL_MS: u64 = 20;

/// A program that reloads.
pub(in crate::app) trait Reloads: Program {
    /// Whether a reload that was requested is not over yet, in whatever way it ends.
    fn is_reloading(&self) -> bool;
}

/// A program around which the service manager is kept informed.
pub(in crate::app) struct Supervised<P> {
    program: P,
    manager: Manager,
}

/// Puts `program`, all of whose listeners are open, under the service manager of the environment, if
/// there is one.
pub(in crate::app) fn supervise<P: Reloads>(program: P) -> Supervised<P> {
    let notifier = Notifier::new(env::var_os("NOTIFY_SOCKET").as_deref());
    let mut manager = Manager::new(notifier, watchdog());
    manager.notifier.send(&[NotifyState::Ready, NotifyState::Status(&status(0))]);
    Supervised { program, manager }
}

/// The state the manager knows, and when it is told more.
#[derive(Debug)]
struct Manager {
    notifier: Notifier,
    /// Time between two feeds of the watchdog.
    feed_interval_ms: Option<u64>,
    feed_at: Millis,
    /// Connections in the last status line.
    connections: u64,
    status_at: Millis,
    /// When to look again whether the reload is over, during one.
    reload_check_at: Option<Millis>,
    retry_at: Millis,
    is_stopping: bool,
}

impl Manager {
    fn new(notifier: Notifier, watchdog: Option<Duration>) -> Self {
        // Half of the period, as sd_watchdog_enabled(3) recommends.
        let half = |period: Duration| u64::try_from(period.as_millis() / 2).unwrap_or(u64::MAX);
        Manager {
            notifier,
            feed_interval_ms: watchdog.map(|period| half(period).max(1)),
            feed_at: Millis(0),
            connections: 0,
            status_at: Millis(STATUS_INTERVAL_MS),
            reload_check_at: None,
            retry_at: Millis(0),
            is_stopping: false,
        }
    }

    fn due_at(&self) -> Option<Millis> {
        if !self.notifier.is_connected() {
            return None;
        }
        let feed_at = self.feed_interval_ms.map(|_| self.feed_at);
        let retry_at = self.notifier.has_pending().then_some(self.retry_at);
        let others = [feed_at, retry_at, self.reload_check_at].into_iter().flatten().min();
        Some(others.map_or(self.status_at, |at| at.min(self.status_at)))
    }

    fn on_due(&mut self, connections: u64, is_reloading: bool, now: Millis) {
        if self.notifier.has_pending() && self.retry_at <= now {
            self.notifier.flush();
            self.retry_at = now.after(RETRY_INTERVAL_MS);
        }
        if self.reload_check_at.is_some_and(|at| at <= now) {
            self.reload_check_at = is_reloading.then(|| now.after(RELOAD_INTERVAL_MS));
            if !is_reloading {
                self.notifier.send(&[NotifyState::Ready]);
            }
        }
        if let Some(interval_ms) = self.feed_interval_ms
            && self.feed_at <= now
        {
            self.notifier.send_lossy(&[NotifyState::Watchdog]);
            self.feed_at = now.after(interval_ms);
        }
        if self.status_at <= now {
            self.status_at = now.after(STATUS_INTERVAL_MS);
            let is_news = connections != self.connections && !self.is_stopping;
            let status = status(connections);
            if is_news && self.notifier.send_lossy(&[NotifyState::Status(&status)]) {
                self.connections = connections;
            }
        }
    }

    fn on_reload(&mut self) {
        if self.is_stopping || !self.notifier.is_connected() {
            return;
        }
        // The manager knows by the time whether it is the reload that it has asked for, and waits
        // for READY from then on (systemd.service(5): `notify-reload`).
        if let Ok(time) = NotifyState::monotonic_usec_now() {
            self.notifier.send(&[NotifyState::Reloading, time]);
            self.reload_check_at = Some(Millis(0));
        }
    }

    fn on_stop(&mut self) {
        self.is_stopping = true;
        self.reload_check_at = None;
        self.notifier.send(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }
}

fn status(connections: u64) -> String {
    format!("connections: {connections}")
}

/// The watchdog's period, if it watches this process. Without `WATCHDOG_PID` it does
/// (sd_watchdog_enabled(3)).
fn watchdog() -> Option<Duration> {
    let is_pid = |pid: &OsStr| pid.to_str().is_some_and(|pid| pid.parse::<u32>().is_ok());
    if env::var_os("WATCHDOG_PID").is_some_and(|pid| !is_pid(&pid)) {
        return None;
    }
    let is_period =
        |period: &Duration| !period.is_zero() && *period != Duration::from_micros(u64::MAX);
    sd_notify::watchdog_enabled().filter(is_period)
}

impl<P: Reloads> Program for Supervised<P> {
    fn on_wake(&mut self) {
        self.program.on_wake();
    }

    fn on_stop(&mut self) {
        self.manager.on_stop();
        self.program.on_stop();
    }

    fn on_reload(&mut self, server: &mut Server<SocketTransport>) {
        self.manager.on_reload();
        self.program.on_reload(server);
    }

    fn due_at(&self) -> Option<Millis> {
        match (self.program.due_at(), self.manager.due_at()) {
            (Some(program), Some(manager)) => Some(program.min(manager)),
            (program, manager) => program.or(manager),
        }
    }

    fn on_due(&mut self, running: &mut Running<'_>, now: Millis) {
        if self.program.due_at().is_some_and(|at| at <= now) {
            self.program.on_due(running, now);
        }
        let server = &*running.server;
        if self.manager.due_at().is_some_and(|at| at <= now) {
            let is_reloading = self.program.is_reloading();
            self.manager.on_due(server.stats().connections, is_reloading, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// A manager's end, and the program's.
    struct World {
        socket: UnixDatagram,
        manager: Manager,
    }

    impl World {
        fn new(name: &str, watchdog: Option<Duration>) -> World {
            let path = env::temp_dir().join(format!("mynah-s-{}-{name}", std::process::id()));
            let _ = std::fs::remove_file(&path);
            let socket = UnixDatagram::bind(&path).unwrap();
            socket.set_nonblocking(true).unwrap();
            let notifier = Notifier::new(Some(path.as_os_str()));
            World { socket, manager: Manager::new(notifier, watchdog) }
        }

        /// Runs up to `until`, always with `connections`, and returns what the manager was told and
        /// when.
        fn run(&mut self, from: u64, until: u64, connections: u64) -> Vec<(u64, String)> {
            let mut told = Vec::new();
            for now in from..until {
                while self.manager.due_at().is_some_and(|at| at <= Millis(now)) {
                    self.manager.on_due(connections, now < 5_000, Millis(now));
                }
                told.extend(self.received().into_iter().map(|message| (now, message)));
            }
            told
        }

        fn received(&self) -> Vec<String> {
            let mut buffer = [0; 512];
            let mut messages = Vec::new();
            while let Ok(len) = self.socket.recv(&mut buffer) {
                messages.push(String::from_utf8(buffer[..len].to_vec()).unwrap());
            }
            messages
        }
    }

    impl Drop for World {
        fn drop(&mut self) {
            let path = self.socket.local_addr().unwrap().as_pathname().unwrap().to_owned();
            let _ = std::fs::remove_file(path);
        }
    }

    #[test]
    fn watchdog_is_fed_at_half_its_period() {
        let mut world = World::new("watchdog", Some(Duration::from_secs(2)));
        let told = world.run(0, 3500, 0);
        let expected = [0, 1000, 2000, 3000].map(|at| (at, "WATCHDOG=1\n".to_owned()));
        assert_eq!(told, expected);
    }

    #[test]
    fn shortest_watchdog_is_fed_once_a_millisecond() {
        let mut world = World::new("shortest", Some(Duration::from_micros(1)));
        assert_eq!(world.run(0, 50, 0).len(), 50);
    }

    #[test]
    fn status_is_told_every_10_s_if_it_changed() {
        let mut world = World::new("status", None);
        assert_eq!(world.run(0, 15_000, 7), [(10_000, "STATUS=connections: 7\n".to_owned())]);
        assert_eq!(world.run(15_000, 35_000, 7), []);
        assert_eq!(world.run(35_000, 41_000, 8), [(40_000, "STATUS=connections: 8\n".to_owned())]);
    }

    #[test]
    fn reload_is_begun_and_ended() {
        let mut world = World::new("reload", None);
        world.manager.on_reload();
        let begun = world.received();
        assert!(begun[0].starts_with("RELOADING=1\nMONOTONIC_USEC="), "{begun:?}");
        assert_eq!(world.run(4_000, 6_000, 0), [(5_000, "READY=1\n".to_owned())]);
    }

    #[test]
    fn stop_ends_a_reload_without_ready() {
        let mut world = World::new("stop", None);
        world.manager.on_reload();
        world.manager.on_stop();
        assert_eq!(world.received()[1..], ["STOPPING=1\nSTATUS=stopping\n"]);
        world.manager.on_reload();
        assert_eq!(world.run(0, 20_000, 3), []);
    }

    #[test]
    fn without_a_manager_nothing_is_due() {
        let mut manager = Manager::new(Notifier::new(None), Some(Duration::from_secs(2)));
        manager.on_reload();
        assert_eq!(manager.due_at(), None);
    }
}
