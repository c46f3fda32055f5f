//! Messages to the service manager (sd_notify(3)), over a socket that never blocks. Knows neither
//! when to send them nor what they say.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fmt::Write;
use std::io;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use log::warn;
use sd_notify::NotifyState;

use crate::escape::Escaped;
use crate::os_text;
use crate::strerror::strerror;

/// Messages kept for a manager that is slow. The latest say all that it has to know.
const PENDING_MAX: usize = 8;

/// The way to the service manager, if there is one.
///
/// sd-notify's own `notify` opens a socket a message, waits where the manager's queue is full, and
/// knows no abstract addresses.
#[derive(Debug, Default)]
pub(super) struct Notifier {
    manager: Option<(UnixDatagram, SocketAddr)>,
    /// Messages that must arrive and have found the queue full, the oldest first.
    pending: VecDeque<String>,
    has_warned: bool,
}

impl Notifier {
    /// The notifier for `address`, the value of `NOTIFY_SOCKET`.
    pub(super) fn new(address: Option<&OsStr>) -> Self {
        let Some(address) = address else { return Notifier::default() };
        match open(address) {
            Ok(manager) => Notifier { manager: Some(manager), ..Notifier::default() },
            Err(error) => {
                let address = os_text::encode(address.as_bytes());
                let address = Escaped(&address);
                warn!("no service manager at NOTIFY_SOCKET='{address}': {}", strerror(&error));
                Notifier::default()
            }
        }
    }

    /// Whether there is a service manager.
    pub(super) fn is_connected(&self) -> bool {
        self.manager.is_some()
    }

    /// Whether messages wait for [`flush`](Self::flush).
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Sends a message that must arrive.
    pub(super) fn send(&mut self, states: &[NotifyState<'_>]) {
        if self.is_connected() {
            self.pending.push_back(message(states));
            if self.pending.len() > PENDING_MAX {
                self.pending.pop_front();
            }
            self.flush();
        }
    }

    /// Sends a message unless the manager's queue is full. Returns whether it did.
    pub(super) fn send_lossy(&mut self, states: &[NotifyState<'_>]) -> bool {
        self.pending.is_empty() && self.try_send(&message(states))
    }

    /// Sends what waits, as far as it goes.
    pub(super) fn flush(&mut self) {
        while let Some(message) = self.pending.pop_front() {
            if !self.try_send(&message) {
                return self.pending.push_front(message);
            }
        }
    }

    /// Returns false if the manager's queue is full. Another error is final, and a warning.
    fn try_send(&mut self, message: &str) -> bool {
        let Some((socket, address)) = &self.manager else { return true };
        let Err(error) = socket.send_to_addr(message.as_bytes(), address) else { return true };
        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
            || error.raw_os_error() == Some(libc::ENOBUFS)
        {
            return false;
        }
        if !self.has_warned {
            self.has_warned = true;
            warn!("the service manager cannot be told: {}", strerror(&error));
        }
        true
    }
}

/// A message: a state a line.
fn message(states: &[NotifyState<'_>]) -> String {
    states.iter().fold(String::new(), |mut message, state| {
        // Writing into a string cannot fail.
        let _ = writeln!(message, "{state}");
        message
    })
}

/// A path begins with a slash, an abstract name with `@`.
fn open(address: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match address.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(address)?,
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a Unix socket's address"));
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A manager's socket, and its file.
    struct Manager(UnixDatagram, PathBuf);

    impl Manager {
        fn new(name: &str) -> Manager {
            let path = std::env::temp_dir().join(format!("mynah-n-{}-{name}", std::process::id()));
            let _ = std::fs::remove_file(&path);
            let socket = UnixDatagram::bind(&path).unwrap();
            socket.set_nonblocking(true).unwrap();
            Manager(socket, path)
        }

        fn notifier(&self) -> Notifier {
            Notifier::new(Some(self.1.as_os_str()))
        }

        fn receive(&self) -> Option<String> {
            let mut buffer = [0; 4096];
            let len = self.0.recv(&mut buffer).ok()?;
            Some(String::from_utf8(buffer[..len].to_vec()).unwrap())
        }

        /// Fills the queue, and returns how many messages it takes.
        fn fill(&self, notifier: &mut Notifier) -> usize {
            let mut count = 0;
            while notifier.try_send("FILL=1\n") {
                count += 1;
            }
            count
        }
    }

    impl Drop for Manager {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.1);
        }
    }

    #[test]
    fn message_has_a_line_a_state() {
        let manager = Manager::new("lines");
        let mut notifier = manager.notifier();
        notifier.send(&[NotifyState::Ready, NotifyState::Status("connections: 0")]);
        assert_eq!(manager.receive().as_deref(), Some("READY=1\nSTATUS=connections: 0\n"));
    }

    #[test]
    fn full_queue_keeps_what_must_arrive() {
        let manager = Manager::new("full");
        let mut notifier = manager.notifier();
        let count = manager.fill(&mut notifier);
        assert!(!notifier.send_lossy(&[NotifyState::Watchdog]));
        notifier.send(&[NotifyState::Ready]);
        notifier.send(&[NotifyState::Stopping]);
        assert!(!notifier.send_lossy(&[NotifyState::Watchdog]));
        assert!(notifier.has_pending());
        (0..count).for_each(|_| assert_eq!(manager.receive().as_deref(), Some("FILL=1\n")));
        notifier.flush();
        assert_eq!(manager.receive().as_deref(), Some("READY=1\n"));
        assert_eq!(manager.receive().as_deref(), Some("STOPPING=1\n"));
        assert_eq!(manager.receive(), None);
        assert!(!notifier.has_pending());
    }

    #[test]
    fn pending_messages_are_bounded() {
        let manager = Manager::new("bound");
        let mut notifier = manager.notifier();
        let count = manager.fill(&mut notifier);
        (0..100).for_each(|usec| notifier.send(&[NotifyState::WatchdogUsec(usec)]));
        assert_eq!(notifier.pending.len(), PENDING_MAX);
        (0..count).for_each(|_| drop(manager.receive()));
        notifier.flush();
        let first = 100 - PENDING_MAX;
        assert_eq!(manager.receive(), Some(format!("WATCHDOG_USEC={first}\n")));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn abstract_address_begins_with_an_at_sign() {
        let name = format!("mynah-n-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Notifier::new(Some(OsStr::new(&format!("@{name}")))).send(&[NotifyState::Ready]);
        let mut buffer = [0; 64];
        assert_eq!(socket.recv(&mut buffer).unwrap(), b"READY=1\n".len());
    }

    #[test]
    fn manager_that_is_not_there_is_none() {
        for address in ["", "x", "vsock:2:1", &format!("/{}", "x".repeat(200))] {
            assert!(!Notifier::new(Some(OsStr::new(address))).is_connected(), "{address}");
        }
        let mut gone = Notifier::new(Some(OsStr::new("/no/such/socket")));
        gone.send(&[NotifyState::Ready]);
        assert!(!gone.has_pending() && gone.has_warned);
        assert!(!Notifier::new(None).is_connected());
    }
}
