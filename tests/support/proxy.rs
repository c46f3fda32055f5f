//! A proxy before a Redis: what the engine says can come late, or be lost on the way to subscribers.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::rng::Rng;

/// A proxy on a Unix socket. It ends with the test's process, its connections with their client.
pub(crate) struct Proxy {
    /// The path of its socket.
    pub(crate) path: String,
    /// Connections made before the one of this number are mute, if they have subscribed.
    mute_below: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    /// One before the engine at the path `engine`. On every second connection what the engine says is
    /// late, by up to `delay_ms_max` each time; as much comes as without.
    pub(crate) fn start(path: String, engine: String, delay_ms_max: usize) -> Proxy {
        let listener = UnixListener::bind(&path).unwrap();
        let proxy = Proxy { path, mute_below: Arc::default(), connections: Arc::default() };
        let (mute_below, connections) = (proxy.mute_below.clone(), proxy.connections.clone());
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut rng = Rng::new(u64::from(since_epoch.subsec_nanos()));
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let number = connections.fetch_add(1, Ordering::SeqCst);
                let Ok(engine) = UnixStream::connect(&engine) else { continue };
                let mute_below = mute_below.clone();
                let is_mute = move || number < mute_below.load(Ordering::SeqCst);
                let delay_ms_max = if rng.one_in(2) { delay_ms_max } else { 0 };
                let mut delays = rng.clone();
                let delay = move || Duration::from_millis(delays.below(delay_ms_max + 1) as u64);
                relay(client, engine, is_mute, delay);
            }
        });
        proxy
    }

    /// Loses what the engine says to the subscribers there are. Those to come are heard.
    pub(crate) fn mute_subscribers(&self) {
        self.mute_below.store(self.connections.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

/// Passes on what the two say to each other.
fn relay(
    client: UnixStream,
    engine: UnixStream,
    is_mute: impl Fn() -> bool + Send + 'static,
    mut delay: impl FnMut() -> Duration + Send + 'static,
) {
    let has_subscribed = Arc::new(AtomicBool::new(false));
    let subscribed = has_subscribed.clone();
    let (to_client, to_engine) = (client.try_clone().unwrap(), engine.try_clone().unwrap());
    thread::spawn(move || {
        read_to_end(&client, |bytes| {
            let is_subscribe = bytes.windows(9).any(|part| part == b"SUBSCRIBE");
            subscribed.fetch_or(is_subscribe, Ordering::SeqCst);
            (&to_engine).write_all(bytes).is_ok()
        });
        let _ = to_engine.shutdown(Shutdown::Write);
    });
    let (sender, receiver) = mpsc::sync_channel::<(Instant, Vec<u8>)>(DELAYED_MAX);
    thread::spawn(move || {
        read_to_end(&engine, |bytes| {
            let is_lost = has_subscribed.load(Ordering::SeqCst) && is_mute();
            is_lost || sender.send((Instant::now() + delay(), bytes.to_vec())).is_ok()
        });
    });
    thread::spawn(move || {
        for (due_at, bytes) in receiver {
            thread::sleep(due_at.saturating_duration_since(Instant::now()));
            if (&to_client).write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to_client.shutdown(Shutdown::Write);
    });
}

/// Most pieces of 16 KiB on their way to a client.
const DELAYED_MAX: usize = 256;

/// Reads to the end, or until `take` wants no more.
fn read_to_end(mut from: &UnixStream, mut take: impl FnMut(&[u8]) -> bool) {
    let mut piece = [0; 16 * 1024];
    while let Ok(len @ 1..) = from.read(&mut piece) {
        if !take(&piece[..len]) {
            break;
        }
    }
}
