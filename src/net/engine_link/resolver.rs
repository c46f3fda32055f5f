//! Addresses of the engine's host, looked up on a thread: a name server may answer late, or never.
//! Knows nothing of connections.

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::clock::Millis;

/// A lookup that has not answered for so long is not waited for any more: the next question has one
/// of its own.
const LOOKUP_MS: u64 = 20_000;

/// Most lookups at a time. None can be ended; the C library's own timeouts end them.
const LOOKUPS_MAX: usize = 3;

/// Finds the addresses of a host and a port. Blocks.
pub(super) type Lookup = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Ends the loop's wait.
pub(super) type Wake = dyn Fn() + Send + Sync;

type Answer = io::Result<Vec<SocketAddr>>;

/// Looks up the engine's host, for all who ask at a time once.
pub(super) struct Resolver {
    lookup: Arc<Lookup>,
    wake: Arc<Wake>,
    /// The last answer. Each thread has a share.
    answer: Arc<Mutex<Option<Answer>>>,
    /// When the lookup that is waited for began.
    asked_at: Option<Millis>,
}

impl Resolver {
    pub(super) fn new(lookup: Arc<Lookup>, wake: Arc<Wake>) -> Self {
        Resolver { lookup, wake, answer: Arc::default(), asked_at: None }
    }

    /// The lookup of the C library.
    pub(super) fn system_lookup() -> Arc<Lookup> {
        Arc::new(|host, port| (host, port).to_socket_addrs().map(Iterator::collect))
    }

    /// Has the addresses of `host` looked up, unless they are already. [`take`](Self::take) has the
    /// answer; `wake` is called when it is there.
    ///
    /// # Errors
    ///
    /// There is no thread left, or too many lookups have not ended.
    pub(super) fn ask(&mut self, host: &str, port: u16, now: Millis) -> io::Result<()> {
        if self.asked_at.is_some_and(|at| now.since(at) < LOOKUP_MS) {
            return Ok(());
        }
        // One that was given up may have answered since.
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Ok(ip) = host.parse::<IpAddr>() {
            *self.answer.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(Ok(vec![(ip, port).into()]));
            self.asked_at = Some(now);
            return Ok(());
        }
        if Arc::strong_count(&self.answer) > LOOKUPS_MAX {
            return Err(io::Error::other("the name server does not answer"));
        }
        let (lookup, wake) = (Arc::clone(&self.lookup), Arc::clone(&self.wake));
        let (answer, host) = (Arc::clone(&self.answer), host.to_owned());
        let run = move || {
            let addrs = lookup(&host, port);
            *answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(addrs);
            drop(answer);
            wake();
        };
        thread::Builder::new().name("resolve".to_owned()).spawn(run)?;
        self.asked_at = Some(now);
        Ok(())
    }

    /// The answer, once.
    pub(super) fn take(&mut self) -> Option<Answer> {
        self.asked_at?;
        let answer = mem::take(&mut *self.answer.lock().unwrap_or_else(PoisonError::into_inner))?;
        self.asked_at = None;
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// A resolver whose lookups wait for a permission each, and where they say that they begin and
    /// that the loop is woken.
    fn gated() -> (Resolver, mpsc::Sender<()>, mpsc::Receiver<&'static str>) {
        let (permit, permits) = mpsc::channel();
        let (said, says) = mpsc::channel();
        let permits = Mutex::new(permits);
        let begun = Mutex::new(said.clone());
        let lookup = move |_: &str, port| {
            begun.lock().unwrap().send("begun").unwrap();
            let _ = permits.lock().unwrap().recv();
            Ok(vec![addr(&format!("127.0.0.1:{port}"))])
        };
        let said = Mutex::new(said);
        let wake = move || said.lock().unwrap().send("woken").unwrap_or(());
        (Resolver::new(Arc::new(lookup), Arc::new(wake)), permit, says)
    }

    #[test]
    fn lookup_is_shared_by_all_who_ask() {
        let (mut resolver, permit, says) = gated();
        resolver.ask("h", 1, Millis(0)).unwrap();
        resolver.ask("h", 1, Millis(10)).unwrap();
        assert_eq!(says.recv_timeout(PATIENCE), Ok("begun"));
        assert!(resolver.take().is_none());
        permit.send(()).unwrap();
        assert_eq!(says.recv_timeout(PATIENCE), Ok("woken"));
        assert_eq!(resolver.take().unwrap().unwrap(), [addr("127.0.0.1:1")]);
        assert!(resolver.take().is_none());
        assert!(says.try_recv().is_err(), "there was one lookup");
        // The next question is a new one.
        resolver.ask("h", 2, Millis(20)).unwrap();
        assert_eq!(says.recv_timeout(PATIENCE), Ok("begun"));
    }

    #[test]
    fn lookups_that_hang_are_few() {
        let (mut resolver, _permit, says) = gated();
        for i in 0..LOOKUPS_MAX as u64 {
            resolver.ask("h", 1, Millis(i * LOOKUP_MS)).unwrap();
            assert_eq!(says.recv_timeout(PATIENCE), Ok("begun"));
        }
        let error = resolver.ask("h", 1, Millis(LOOKUPS_MAX as u64 * LOOKUP_MS)).unwrap_err();
        assert_eq!(error.to_string(), "the name server does not answer");
    }

    #[test]
    fn address_needs_no_lookup() {
        let (mut resolver, _permit, says) = gated();
        resolver.ask("::1", 7, Millis(0)).unwrap();
        assert_eq!(resolver.take().unwrap().unwrap(), [addr("[::1]:7")]);
        assert!(says.try_recv().is_err());
    }
}
