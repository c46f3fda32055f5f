//! Admission: limits by address and PROXY headers, each rule by itself.

use std::net::SocketAddr;

use mynah::internal::clock::Millis;
use mynah::internal::limits::Limits;
use mynah::internal::protocol::{CommandProtocol, RawProtocol};
use mynah::internal::server::Layer;
use mynah::{AddressLimits, Networks, TrustedProxies};

use super::{AMPLE, LIMITS, Scenario};
use crate::simulation::layers::stub::{Config, Stub};
use crate::simulation::panics;
use crate::support::{frame, logger};

const CLIENT: &str = "192.0.2.7:51234";
const OTHER: &str = "[2001:db8::1]:1";
const PROXY: &str = "10.9.0.1:40000";
const HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 10.9.0.9 51234 443\r\n";

impl<L: Layer> Scenario<L> {
    /// Lets an address have so many connections, and so many a second.
    fn limited(mut self, open_max: u32, rate_max: u32) -> Self {
        let limits = AddressLimits { open_max, rate_max };
        self.server.set_address_limits(limits, Networks::default());
        self
    }

    fn behind_proxies(mut self) -> Self {
        self.server.trust_proxies(0, Some(TrustedProxies::parse("10.9.0.0/24").unwrap()));
        self
    }

    /// Connects a client that comes from there, as far as the system knows.
    fn connect_from(&mut self, from: &str) -> usize {
        let mut network = self.network.borrow_mut();
        let socket = network.connect(0, 16 << 20, AMPLE);
        network.sockets[socket].from = Some(from.parse::<SocketAddr>().unwrap());
        drop(network);
        self.run_until_idle();
        socket
    }

    /// The same, which begins with these bytes.
    fn connect_with(&mut self, from: &str, bytes: &[u8]) -> usize {
        let socket = self.connect_from(from);
        self.send(socket, bytes);
        self.run_until_idle();
        socket
    }

    fn is_served(&mut self, socket: usize) -> bool {
        if self.is_closed(socket) {
            return false;
        }
        self.send(socket, &frame(1, b"hi"));
        self.run_until_idle();
        self.receive(socket) == frame(1, b"hi")
    }

    fn hang_up(&mut self, socket: usize) {
        self.network.borrow_mut().shut(socket);
        self.run_until_idle();
    }
}

fn too_many(ip: &str) -> Vec<u8> {
    frame(255, format!("too many connections from {ip}").as_bytes())
}

#[test]
fn client_over_the_limit_is_told_and_closed() {
    let mut scenario = Scenario::new(LIMITS, 0).limited(1, 0);
    let first = scenario.connect_from(CLIENT);
    let second = scenario.connect_from("192.0.2.7:2");
    assert!(scenario.is_closed(second));
    assert_eq!(scenario.receive(second), too_many("192.0.2.7"));
    let neighbour = scenario.connect_from("192.0.2.8:2");
    assert!(scenario.is_served(first) && scenario.is_served(neighbour));
    let stats = scenario.server.stats();
    assert_eq!((stats.refused_total, stats.refused_by_address_total), (1, 1));
}

#[test]
fn clients_of_one_ipv6_subnet_count_as_one() {
    let mut scenario = Scenario::new(LIMITS, 0).limited(1, 0);
    scenario.connect_from("[2001:db8::1]:1");
    let same = scenario.connect_from("[2001:db8:0:0:ffff::2]:1");
    assert_eq!(scenario.receive(same), too_many("2001:db8::ffff:0:0:2"));
    let other = scenario.connect_from("[2001:db8:0:1::1]:1");
    assert!(scenario.is_served(other));
}

#[test]
fn refused_clients_are_not_counted() {
    let mut scenario = Scenario::new(LIMITS, 0).limited(1, 0);
    let first = scenario.connect_from(CLIENT);
    for _ in 0..20 {
        let refused = scenario.connect_from(CLIENT);
        assert!(scenario.is_closed(refused));
    }
    scenario.hang_up(first);
    let next = scenario.connect_from(CLIENT);
    assert!(scenario.is_served(next));
}

/// However a client leaves, its address may have one more afterwards, and no more than that.
fn released_once(limits: Limits, leave: impl Fn(&mut Scenario, usize)) {
    for from in [CLIENT, PROXY] {
        let mut scenario = Scenario::new(limits, 2_000).limited(2, 0).behind_proxies();
        let connect = |scenario: &mut Scenario| match from {
            PROXY => scenario.connect_with(PROXY, HEADER),
            _ => scenario.connect_from(CLIENT),
        };
        let stays = connect(&mut scenario);
        let leaves = connect(&mut scenario);
        leave(&mut scenario, leaves);
        scenario.run_until_idle();
        let next = connect(&mut scenario);
        let one_more = connect(&mut scenario);
        assert!(scenario.is_served(stays), "from {from}");
        assert!(scenario.is_served(next), "from {from}");
        assert!(!scenario.is_served(one_more), "from {from}");
    }
}

#[test]
fn client_is_released_once_when_it_shuts_its_side() {
    released_once(LIMITS, |scenario, socket| scenario.hang_up(socket));
}

#[test]
fn client_is_released_once_when_it_resets() {
    released_once(LIMITS, |scenario, socket| scenario.network.borrow_mut().reset(socket));
}

#[test]
fn client_is_released_once_while_it_lingers() {
    released_once(LIMITS, |scenario, socket| {
        scenario.send(socket, &frame(3, b""));
        scenario.run_until_idle();
        assert!(!scenario.is_closed(socket) && scenario.network.borrow().sockets[socket].lingered);
    });
}

#[test]
fn client_is_released_once_when_it_has_lingered() {
    released_once(LIMITS, |scenario, socket| {
        scenario.send(socket, &frame(3, b""));
        scenario.run_until_idle();
        scenario.hang_up(socket);
        assert!(scenario.is_closed(socket));
    });
}

#[test]
fn client_is_released_once_when_its_handler_panics() {
    panics::install();
    released_once(LIMITS, |scenario, socket| {
        panics::arm(Some(0));
        scenario.send(socket, &frame(1, b"hi"));
        scenario.run_until_idle();
        assert!(panics::take_victim().is_some() && scenario.is_closed(socket));
        panics::arm(None);
    });
}

#[test]
fn client_is_released_once_when_cut_for_memory() {
    let limits = Limits { memory_bytes_max: 300_000, ..LIMITS };
    released_once(limits, |scenario, socket| {
        let half = [&[1, 0, 0x0f, 0, 0][..], &vec![b'x'; 500_000]].concat();
        scenario.send(socket, &half);
        scenario.run_until_idle();
        assert!(scenario.is_closed(socket));
        assert_eq!(scenario.server.stats().memory_cuts_total, 1);
    });
}

#[test]
fn stop_releases_everyone() {
    let mut scenario = Scenario::new(LIMITS, 0).limited(2, 0).behind_proxies();
    scenario.connect_from(CLIENT);
    scenario.connect_with(PROXY, HEADER);
    scenario.connect_from(PROXY);
    scenario.stop();
    // Each round holds the counts against the connections.
    scenario.run_until_idle();
    scenario.now = Millis(5_000);
    scenario.run_until_idle();
    assert!(scenario.server.is_stopped());
    assert_eq!(scenario.server.stats().connections, 0);
}

#[test]
fn burst_is_what_a_second_allows() {
    let mut scenario = Scenario::new(LIMITS, 0).limited(0, 2);
    for (at, lets_in) in [(0, true), (0, true), (0, false), (499, false), (500, true), (500, false)]
    {
        scenario.now = Millis(at);
        let socket = scenario.connect_from(CLIENT);
        assert_eq!(scenario.is_served(socket), lets_in, "at {at} ms");
        if lets_in {
            // Coming and going is what the rate is about.
            scenario.hang_up(socket);
        }
    }
}

#[test]
fn full_server_does_not_count_whom_it_refuses() {
    let mut scenario = Scenario::new(Limits { clients_max: 1, ..LIMITS }, 0).limited(1, 0);
    let first = scenario.connect_from(CLIENT);
    let both = scenario.connect_from(CLIENT);
    assert_eq!(scenario.receive(both), too_many("192.0.2.7"), "the limit comes first");
    for _ in 0..3 {
        let full = scenario.connect_from(OTHER);
        assert_eq!(scenario.receive(full), frame(255, b"server is full: 1 clients"));
        scenario.hang_up(full);
    }
    scenario.hang_up(first);
    let next = scenario.connect_from(OTHER);
    assert!(scenario.is_served(next));
    let stats = scenario.server.stats();
    assert_eq!((stats.refused_total, stats.refused_by_address_total), (4, 1));
}

#[test]
fn header_says_whose_connection_it_is() {
    logger::capture();
    let mut scenario = Scenario::new(LIMITS, 0).limited(1, 0).behind_proxies();
    let client = scenario.connect_with(PROXY, &[HEADER, &frame(1, b"hi")].concat());
    assert_eq!(scenario.receive(client), frame(1, b"hi"));
    let again = scenario.connect_with(PROXY, HEADER);
    assert_eq!(scenario.receive(again), too_many("192.0.2.7"));
    let itself = scenario.connect_with(PROXY, b"PROXY UNKNOWN\r\n");
    assert!(scenario.is_served(itself), "the proxy's own address has none");
    let lines = logger::take_texts();
    assert!(
        lines.iter().any(|line| line == "#1 192.0.2.7:51234 connected to command"),
        "{lines:?}"
    );
}

#[test]
fn ipv4_mapped_address_in_a_header_is_ipv4() {
    let mut scenario = Scenario::new(LIMITS, 0).limited(1, 0).behind_proxies();
    scenario.connect_from(CLIENT);
    let header = b"PROXY TCP6 ::ffff:192.0.2.7 fd09::9 51234 443\r\n";
    let mapped = scenario.connect_with(PROXY, header);
    assert_eq!(scenario.receive(mapped), too_many("192.0.2.7"));
}

#[test]
fn second_header_is_data() {
    let raw = || RawProtocol { prefix: Vec::new() }.into();
    let mut scenario = Scenario::with_protocol(raw, 1, LIMITS, 0).behind_proxies();
    let client = scenario.connect_with(PROXY, &[HEADER, HEADER, b"hi"].concat());
    assert_eq!(scenario.receive(client), [HEADER, b"hi"].concat());
    let untrusted = scenario.connect_with(CLIENT, HEADER);
    assert_eq!(scenario.receive(untrusted), HEADER);
}

#[test]
fn header_may_come_a_byte_at_a_time() {
    let mut scenario = Scenario::new(LIMITS, 0).behind_proxies();
    let client = scenario.connect_from(PROXY);
    for byte in HEADER {
        assert_eq!(scenario.network.borrow().sockets[client].read_len, 0, "it is only looked at");
        scenario.send(client, &[*byte]);
        scenario.run_until_idle();
    }
    assert!(scenario.is_served(client));
}

#[test]
fn header_has_3_s() {
    logger::capture();
    let mut scenario = Scenario::new(LIMITS, 0).behind_proxies();
    let (silent, slow) = (scenario.connect_from(PROXY), scenario.connect_from(PROXY));
    for at in (0..3_000).step_by(100) {
        scenario.now = Millis(at);
        scenario.send(slow, &HEADER[at as usize / 100..][..1]);
        scenario.run_until_idle();
    }
    scenario.now = Millis(2_999);
    scenario.run_until_idle();
    assert!(!scenario.is_closed(silent) && !scenario.is_closed(slow));
    scenario.now = Millis(3_000);
    scenario.run_until_idle();
    assert!(scenario.is_closed(silent) && scenario.is_closed(slow));
    assert_eq!(scenario.server.stats().proxy_header_failures_total, 2);
    let lines = logger::take_texts();
    assert!(lines.iter().any(|line| line.ends_with("it did not come within 3 s")), "{lines:?}");
}

#[test]
fn header_cut_short_closes_at_once() {
    let mut scenario = Scenario::new(LIMITS, 0).behind_proxies();
    let client = scenario.connect_with(PROXY, &HEADER[..20]);
    assert!(!scenario.is_closed(client));
    scenario.hang_up(client);
    assert!(scenario.is_closed(client));
    assert_eq!(scenario.server.stats().proxy_header_failures_total, 1);
}

#[test]
fn oldest_without_its_header_makes_way() {
    let mut scenario = Scenario::new(LIMITS, 0).behind_proxies();
    let waiting: Vec<usize> = (0..5).map(|_| scenario.connect_from(PROXY)).collect();
    let closed: Vec<bool> = waiting.iter().map(|&socket| scenario.is_closed(socket)).collect();
    assert_eq!(closed, [true, false, false, false, false]);
    scenario.send(waiting[2], HEADER);
    scenario.run_until_idle();
    scenario.connect_from(PROXY);
    assert!(!scenario.is_closed(waiting[1]), "one has come in, so there was place");
    scenario.connect_from(PROXY);
    assert!(scenario.is_closed(waiting[1]) && scenario.is_served(waiting[2]));
}

#[test]
fn stop_does_not_wait_for_headers() {
    let mut scenario = Scenario::new(LIMITS, 0).behind_proxies();
    scenario.connect_with(PROXY, &HEADER[..10]);
    scenario.stop();
    scenario.run_until_idle();
    assert!(scenario.server.is_stopped(), "at the moment of the stop");
}

fn layered(limits: Limits) -> Scenario<Stub> {
    let protocol = || CommandProtocol { payload_len_max: 1 << 20 }.into();
    let mut scenario = Scenario::with_layer(protocol, 1, limits, 0).behind_proxies();
    scenario.server.set_layer(0, Config::new(1_500, false));
    scenario
}

#[test]
fn full_server_says_nothing_in_place_of_a_handshake() {
    let mut scenario = layered(Limits { clients_max: 1, ..LIMITS });
    scenario.connect_with(PROXY, HEADER);
    let refused = scenario.connect_with(PROXY, HEADER);
    assert!(scenario.is_closed(refused));
    assert_eq!(scenario.receive(refused), b"");
    assert_eq!(scenario.server.stats().refused_total, 1);
}

#[test]
fn refused_address_hears_nothing_before_a_handshake() {
    let mut scenario = layered(LIMITS).limited(1, 0);
    scenario.connect_with(PROXY, HEADER);
    let refused = scenario.connect_with(PROXY, HEADER);
    assert_eq!(scenario.receive(refused), b"");
    scenario.hang_up(refused);
    assert!(scenario.is_closed(refused));
    assert_eq!(scenario.server.stats().refused_by_address_total, 1);
}

#[test]
fn handshakes_stay_bounded_at_a_late_header() {
    let mut scenario = layered(Limits { handshakes_max: 1, ..LIMITS });
    let clients: Vec<usize> = (0..3).map(|_| scenario.connect_from(PROXY)).collect();
    for client in clients {
        scenario.send(client, HEADER);
    }
    // The time for the headers is over, and no event has said that they are there.
    scenario.now = Millis(3_000);
    scenario.server.begin_batch(scenario.now);
    scenario.server.turn(&(), scenario.now);
    scenario.server.assert_turn_invariants();
    assert_eq!(scenario.server.stats().handshake_failures_total, 2);
    assert_eq!(scenario.server.stats().proxy_header_failures_total, 0);
}
