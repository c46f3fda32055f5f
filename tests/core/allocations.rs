//! Allocations of the server core: nothing while it echoes, and less than a cache line for each
//! connection that is idle, a member of a chat its nickname and its place in the books besides. The
//! core is the real one; only its sockets are stubs.

use crate::support::stub::{BACKLOG, Backlog, INPUT, Stub, WRITTEN};
use allocation_counter::measure;
use mynah::internal::clock::Millis;
use mynah::internal::conn_id::ConnId;
use mynah::internal::limits::{Limits, SCRATCH_KEPT_BYTES_MAX};
#[cfg(feature = "admin")]
use mynah::internal::protocol::AdminProtocol;
use mynah::internal::protocol::chat::Lang;
use mynah::internal::protocol::{ChatProtocol, CommandProtocol, PrefixedProtocol};
use mynah::internal::server::{ListenerConfig, Readiness, Server};

/// A `command` server with `n` connections, their ids 0 to `n` in order of their generations.
fn server(n: usize) -> Server<Stub> {
    let limits = Limits { clients_max: n, ..Limits::default() };
    let mut server = Server::new(limits, Millis(0));
    let protocol = CommandProtocol { payload_len_max: 1 << 20 }.into();
    server.add_listener(Backlog, ListenerConfig { name: String::new(), protocol, idle_ms: 60_000 });
    connect(&mut server, n);
    server
}

/// Lets `n` connections in, through the first listener.
fn connect(server: &mut Server<Stub>, n: usize) {
    BACKLOG.set(n);
    server.on_acceptable(0);
    while server.poll_timeout(Millis(0)) == Some(0) {
        server.turn(&(), Millis(0));
    }
    assert_eq!(BACKLOG.get(), 0);
}

/// Has the connection in slot `index` receive `input`; returns how many bytes it was answered.
fn receive(server: &mut Server<Stub>, index: u32, input: &'static [u8]) -> usize {
    WRITTEN.set(0);
    INPUT.set(input);
    let ready = Readiness { readable: true, ..Readiness::default() };
    server.on_ready(&(), ConnId { index, generation: index + 1 }, ready, Millis(1));
    server.turn(&(), Millis(1));
    WRITTEN.get()
}

#[test]
fn echo_that_arrives_whole_allocates_nothing() {
    let mut server = server(3);
    let request = b"\x01\0\0\0\x05hello\x01\0\0\0\x05again";
    assert_eq!(receive(&mut server, 0, request), 20, "the reply buffer has its size now");
    let cost = measure(|| {
        for _ in 0..1000 {
            assert_eq!(receive(&mut server, 1, request), 20);
        }
    });
    assert_eq!(cost.count_total, 0);
}

#[test]
fn broadcast_allocates_nothing_per_receiver() {
    let mut server = server(100);
    let request = b"\x04\0\0\0\x04news";
    let delivered = 99 * 9 + 7;
    assert_eq!(receive(&mut server, 0, request), delivered);
    let cost = measure(|| {
        assert_eq!(receive(&mut server, 0, request), delivered);
    });
    assert_eq!(cost.count_total, 0);
}

#[test]
fn idle_connection_costs_less_than_a_cache_line() {
    for n in [19_000, 1_000_000] {
        let each = idle_bytes(n, |_| ());
        println!("{n} connections: {each:.2} bytes each");
        assert!(each <= 64.0, "{each} bytes a connection");
    }
}

#[cfg(feature = "admin")]
#[test]
fn idle_connection_beside_admin_costs_four_bytes_more() {
    for n in [19_000, 1_000_000] {
        let alone = idle_bytes(n, |_| ());
        let each = idle_bytes(n, |server| {
            server.enable_admin(None);
            let protocol = AdminProtocol::default().into();
            let config = ListenerConfig { name: String::new(), protocol, idle_ms: 120_000 };
            server.add_listener(Backlog, config);
        });
        println!("{n} connections beside an admin listener: {each:.2} bytes each");
        assert!(each <= 64.0, "{each} bytes a connection");
        // The time of its accept, and the pages that these stand in.
        let more = each - alone;
        assert!((4.0..4.5).contains(&more), "{more} bytes more: {alone} without an admin listener");
    }
}

/// Bytes of each of `n` idle connections, in a server to which `add_more` may add something.
fn idle_bytes(n: usize, add_more: impl Fn(&mut Server<Stub>)) -> f64 {
    let limits = Limits { clients_max: n, ..Limits::default() };
    let mut each = 0.0;
    let all = measure(|| {
        let mut server = Server::new(limits, Millis(0));
        let protocol = PrefixedProtocol.into();
        let config = ListenerConfig { name: String::new(), protocol, idle_ms: 60_000 };
        server.add_listener(Backlog, config);
        add_more(&mut server);
        let connections = measure(|| connect(&mut server, n));
        each = connections.bytes_current as f64 / n as f64;
        assert_eq!(server.sockets(), n);
    });
    assert_eq!(all.bytes_current, 0, "all of it is given back");
    each
}

#[test]
fn busy_connection_costs_no_more_afterwards() {
    let mut server = server(1);
    receive(&mut server, 0, b"\x01\0\0\0\x05hello");
    let cost = measure(|| {
        // The beginning of a frame is kept while it lasts, and no longer.
        assert_eq!(receive(&mut server, 0, b"\x01\0\0\0\x05he"), 0);
        assert_eq!(receive(&mut server, 0, b"llo"), 10);
    });
    assert_eq!(cost.bytes_current, 0);
}

#[test]
fn idle_server_frees_the_memory_of_a_large_reply() {
    let mut server = server(1);
    let requests: &[u8] = b"\x07\0\0\0\0".repeat(10_000).leak();
    let cost = measure(|| {
        assert!(receive(&mut server, 0, requests) > SCRATCH_KEPT_BYTES_MAX);
        while server.poll_timeout(Millis(1)) == Some(0) {
            server.turn(&(), Millis(1));
        }
        server.on_idle();
    });
    // And a place in the resume list.
    let kept = SCRATCH_KEPT_BYTES_MAX as i64..=SCRATCH_KEPT_BYTES_MAX as i64 + 64;
    assert!(kept.contains(&cost.bytes_current), "{} bytes kept", cost.bytes_current);
}

/// A place in a slab that doubles, one in two tables of which an eighth at least is kept free and
/// which double too, one in a sorted list, and the nickname itself. No buffers, no line: what one
/// has said is not kept.
#[test]
fn idle_chat_member_memory_is_bounded() {
    // Just before the tables double, just after, and as many as a common file limit allows.
    for n in [14_336, 16_385, 19_000] {
        let nicknames = nicknames(n);
        let limits = Limits { clients_max: n, ..Limits::default() };
        let mut each = 0.0;
        let all = measure(|| {
            let mut server = Server::new(limits, Millis(0));
            let protocol = ChatProtocol::new(Lang::En).into();
            let config = ListenerConfig { name: String::new(), protocol, idle_ms: 60_000 };
            server.add_listener(Backlog, config);
            connect(&mut server, n);
            let joined = measure(|| join_and_talk(&mut server, nicknames));
            each = joined.bytes_current as f64 / n as f64;
        });
        println!("{n} members: {each:.1} bytes each, {NICK_LEN} of them the nickname");
        assert!(each <= member_bytes_max(n), "{each} bytes a member");
        assert_eq!(all.bytes_current, 0, "all of it is given back");
    }
}

/// Bytes of each nickname in the test above.
const NICK_LEN: usize = 10;

/// Most bytes one of `n` members may cost.
fn member_bytes_max(n: usize) -> f64 {
    /// Memory the room may keep, whoever is in it: the log, the line that is made up.
    const ROOM: usize = 32 * 1024;
    /// Where its nickname is, how long that is, and whose connection it is.
    const SLOT: usize = 16 + 8;
    /// The number of a slot and a hash, and the byte hashbrown keeps of each hash; a hash of what
    /// the nickname looks like, its scripts and a count.
    const BUCKETS: usize = 8 + 1 + 12 + 1;
    /// The number of a slot in a chunk that may be half empty.
    const SORTED: f64 = 8.0;
    let slots = n.next_power_of_two() * SLOT;
    // At most 7 of 8 buckets are in use.
    let buckets = (n * 8).div_ceil(7).next_power_of_two() * BUCKETS;
    (ROOM + slots + buckets) as f64 / n as f64 + SORTED + NICK_LEN as f64
}

/// Lines that are `n` nicknames, for ever.
fn nicknames(n: usize) -> &'static [u8] {
    let lines: String = (0..n).map(|number| format!("nick{number:06}\n")).collect();
    lines.leak().as_bytes()
}

/// Everyone takes a nickname and says something to the first of them, who says something to
/// everyone. A turn for each would be a fan-out for each.
fn join_and_talk(server: &mut Server<Stub>, nicknames: &'static [u8]) {
    let lines = nicknames.chunks_exact(NICK_LEN + 1).enumerate();
    for (index, line) in lines.clone() {
        say(server, index, line);
        if index % 500 == 499 {
            rest(server);
        }
    }
    rest(server);
    for (index, _) in lines {
        say(server, index, b"/msg nick000000 hello\n");
    }
    say(server, 0, b"hello, everyone\n");
    rest(server);
    server.assert_invariants();
}

fn say(server: &mut Server<Stub>, index: usize, line: &'static [u8]) {
    INPUT.set(line);
    let ready = Readiness { readable: true, ..Readiness::default() };
    let id = ConnId { index: index as u32, generation: index as u32 + 1 };
    server.on_ready(&(), id, ready, Millis(1));
}

/// Turns until there is nothing left to do but wait.
fn rest(server: &mut Server<Stub>) {
    while server.poll_timeout(Millis(1)) == Some(0) {
        server.turn(&(), Millis(1));
    }
}
