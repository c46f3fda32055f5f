//! A handler that panics costs its own connection and nothing else. Nothing that a peer sends makes
//! the binary panic, so the loop runs in this process, with a logger that panics at a marker:
//! handlers log every message at debug, after they have answered it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Once;
use std::sync::mpsc::channel;
use std::thread;

use log::Level;
use mynah::internal::limits::Limits;
use mynah::internal::net::{EventLoop, SocketOptions, TcpAcceptor};
use mynah::internal::protocol::{CommandProtocol, PrefixedProtocol, Protocol, RawProtocol};
use mynah::internal::server::ListenerConfig;
#[cfg(feature = "service")]
use mynah::{ConnId, Framing, Next, Replies, Service};

use super::support::{Client, PATIENCE, logger};

const LOOP_THREAD: &str = "loop";

/// Starts a server of its own for each test, on a thread that ends with the process.
fn start(protocol: impl Into<Protocol> + Send + 'static) -> SocketAddr {
    keep_loop_panics_quiet();
    let (send, addr) = channel();
    let serve = move || {
        logger::set_sink(Level::Error..=Level::Debug, |record| {
            let has_marker = record.args().to_string().contains("BOOM");
            assert!(record.level() != Level::Debug || !has_marker, "a message with the marker");
        });
        let options = SocketOptions::default();
        let acceptor = TcpAcceptor::bind((Ipv4Addr::LOCALHOST, 0).into(), options).unwrap();
        send.send(acceptor.local_addr().unwrap()).unwrap();
        let mut event_loop = EventLoop::new(Limits::default()).unwrap();
        let config =
            ListenerConfig { name: "trap".to_owned(), protocol: protocol.into(), idle_ms: 0 };
        event_loop.add_listener(acceptor, config).unwrap();
        event_loop.run().unwrap();
    };
    thread::Builder::new().name(LOOP_THREAD.to_owned()).spawn(serve).unwrap();
    addr.recv_timeout(PATIENCE).unwrap()
}

fn keep_loop_panics_quiet() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if thread::current().name() != Some(LOOP_THREAD) {
                usual(panic);
            }
        }));
    });
}

fn command() -> SocketAddr {
    start(CommandProtocol { payload_len_max: 1 << 20 })
}

#[test]
fn handler_panic_costs_its_own_connection_only() {
    let addr = command();
    let mut others = [Client::connect(addr), Client::connect(addr), Client::connect(addr)];
    others.iter_mut().for_each(Client::expect_alive);
    for _ in 0..100 {
        let mut doomed = Client::connect(addr);
        doomed.expect_alive();
        doomed.send(b"\x01\0\0\0\x04BOOM\x01\0\0\0\x05later");
        assert_eq!(doomed.read_until_cut(), b"", "replies of the turn go with it");
        others.iter_mut().for_each(Client::expect_alive);
    }
    others[0].send(b"\x04\0\0\0\x02hi");
    others[0].expect(b"\x01\0\0\0\x012");
    for other in &mut others[1..] {
        other.expect(b"\x04\0\0\0\x02hi");
        other.expect_alive();
    }
}

/// The frame is in the log when its sender's handler panics, so the others are owed it.
#[test]
fn broadcast_whose_sender_panics_reaches_the_others() {
    let addr = command();
    let mut sender = Client::connect(addr);
    let mut others = [Client::connect(addr), Client::connect(addr)];
    sender.expect_alive();
    others.iter_mut().for_each(Client::expect_alive);
    sender.send(b"\x04\0\0\0\x05first\x04\0\0\0\x04BOOM\x04\0\0\0\x05never");
    sender.read_until_cut();
    for other in &mut others {
        other.expect(b"\x04\0\0\0\x05first\x04\0\0\0\x04BOOM");
        other.expect_alive();
    }
    let [one, other] = &mut others;
    one.send(b"\x04\0\0\0\x04next");
    one.expect(b"\x01\0\0\0\x011");
    other.expect(b"\x04\0\0\0\x04next");
    one.expect_alive();
}

#[test]
fn panic_over_a_split_frame_leaves_nothing_behind() {
    let addr = command();
    let mut doomed = Client::connect(addr);
    let mut other = Client::connect(addr);
    for piece in [&b"\x01\0\0"[..], b"\0\x08..", b"BOOM", b".."] {
        doomed.send(piece);
        other.expect_alive();
    }
    assert_eq!(doomed.read_until_cut(), b"");
    let mut next = Client::connect(addr);
    next.expect_alive();
    other.expect_alive();
}

#[test]
fn handler_panics_are_contained_in_every_protocol() {
    let raw = RawProtocol { prefix: b"> ".to_vec() };
    for (addr, bomb, request, reply) in [
        (start(PrefixedProtocol), &b"\x04BOOM"[..], &b"\x02ab"[..], &b"\x02ba"[..]),
        (start(raw), b"BOOM", b"ab", b"> ab"),
        #[cfg(feature = "service")]
        (start(Pairs), b"!!", b"ab", b"ab"),
    ] {
        let mut other = Client::connect(addr);
        let mut doomed = Client::connect(addr);
        other.send(request);
        other.expect(reply);
        doomed.send(bomb);
        assert_eq!(doomed.read_until_cut(), b"");
        other.send(request);
        other.expect(reply);
    }
}

/// Sends pairs of bytes back, and panics over `!!`.
#[cfg(feature = "service")]
struct Pairs;

#[cfg(feature = "service")]
impl Service for Pairs {
    fn find_frame(&self, input: &[u8]) -> Framing {
        if input.len() < 2 { Framing::Incomplete { needed: 1 } } else { Framing::Frame { len: 2 } }
    }

    fn on_frame(&mut self, _: ConnId, frame: &[u8], replies: &mut Replies<'_>) -> Next {
        assert_ne!(frame, b"!!", "a service may panic");
        replies.push(frame);
        Next::Continue
    }
}
