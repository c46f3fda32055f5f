//! Listeners that are removed, replaced and changed while the server runs.

use mynah::internal::limits::Limits;
use mynah::internal::protocol::chat::Lang;
use mynah::internal::protocol::{ChatProtocol, CommandProtocol, PrefixedProtocol};
use mynah::internal::server::ListenerConfig;

use super::{AMPLE, LIMITS, Scenario};
use crate::simulation::network::FakeAcceptor;
use crate::support::{frame, logger};

const STOP_LINE: &[u8] = b"[INFO] The server has shut down\n";

impl Scenario {
    fn connect_to(&mut self, listener: usize) -> usize {
        let socket = self.network.borrow_mut().connect(listener, 16 << 20, AMPLE);
        self.run_until_idle();
        socket
    }

    fn echo(&mut self, socket: usize) -> bool {
        self.send(socket, &frame(1, b"hi"));
        self.run_until_idle();
        self.receive(socket) == frame(1, b"hi")
    }

    fn wait(&mut self, ms: u64) {
        self.now = self.now.after(ms);
        self.run_until_idle();
    }
}

fn command(name: &str, idle_ms: u64) -> ListenerConfig {
    let protocol = CommandProtocol { payload_len_max: 1 << 20 }.into();
    ListenerConfig { name: name.to_owned(), protocol, idle_ms }
}

#[test]
fn removed_listener_answers_what_has_arrived() {
    let mut scenario = Scenario::with_listeners(2, LIMITS, 0);
    let (gone, other) = (scenario.connect_to(0), scenario.connect_to(1));
    scenario.send(gone, &frame(1, b"hi").repeat(100));
    assert_eq!(scenario.server.remove_listener(0), 1);
    scenario.run_until_idle();
    assert_eq!(scenario.receive(gone), frame(1, b"hi").repeat(100));
    assert!(scenario.network.borrow().sockets[gone].server_shut, "and then says it is over");
    assert!(scenario.echo(other));
    assert!(!scenario.server.is_listening(0) && scenario.server.is_listening(1));
}

#[test]
fn backlog_of_a_removed_listener_is_answered() {
    let mut scenario = Scenario::with_listeners(2, LIMITS, 0);
    let waiting = scenario.network.borrow_mut().connect(0, 1_000, AMPLE);
    scenario.send(waiting, &frame(1, b"hi"));
    scenario.server.remove_listener(0);
    scenario.run_until_idle();
    assert_eq!(scenario.receive(waiting), frame(1, b"hi"));
}

#[test]
fn members_of_a_removed_chat_hear_the_last_words() {
    let mut scenario = Scenario::with_protocol(|| ChatProtocol::new(Lang::En).into(), 2, LIMITS, 0);
    let (ann, bob) = (scenario.join("ann"), scenario.join("bob"));
    scenario.receive(ann);
    scenario.receive(bob);
    scenario.send(ann, b"goodbye\n");
    scenario.send(bob, b"half a line");
    scenario.server.remove_listener(0);
    scenario.run_until_idle();
    assert_eq!(scenario.receive_all(bob), [b"[ann]: goodbye\n", STOP_LINE].concat());
    let heard = scenario.receive_all(ann);
    assert!(heard.ends_with(STOP_LINE), "{}", heard.escape_ascii());
    assert!(!heard.windows(4).any(|text| text == b"left"), "all leave at once");
}

#[test]
fn number_is_reused_once_its_last_connection_is_gone() {
    let mut scenario = Scenario::with_listeners(2, LIMITS, 0);
    let lingering = scenario.connect_to(0);
    scenario.send(lingering, &frame(1, b"hi"));
    scenario.server.remove_listener(0);
    scenario.run_until_idle();
    assert_eq!(scenario.server.next_listener_number(), 2, "its client has not closed");
    scenario.network.borrow_mut().shut(lingering);
    scenario.run_until_idle();
    assert_eq!(scenario.server.next_listener_number(), 0);
    assert_eq!(scenario.server.listener_count(), 1);
    let acceptor = FakeAcceptor::new(&scenario.network, 0);
    assert_eq!(scenario.server.add_listener(acceptor, command("again", 0)), 0);
    let client = scenario.connect_to(0);
    assert!(scenario.echo(client));
}

#[test]
fn blocked_client_of_a_removed_listener_is_cut_in_time() {
    logger::capture();
    let mut scenario = Scenario::with_listeners(2, LIMITS, 0);
    let blocked = scenario.connect(100);
    scenario.send(blocked, &frame(1, &[7; 1_000]));
    scenario.run_until_idle();
    scenario.server.remove_listener(0);
    scenario.run_until_idle();
    scenario.wait(4_999);
    assert!(!scenario.is_closed(blocked));
    scenario.wait(1);
    assert!(scenario.is_closed(blocked));
    let lines = logger::take_texts();
    let cut = "the drain time of command is over; connections cut with replies unsent: 1";
    assert!(lines.iter().any(|line| line.contains(cut)), "{lines:#?}");
    assert_eq!(scenario.server.next_listener_number(), 0);
}

#[test]
fn drain_without_drain_time_answers_everyone() {
    let limits = Limits { clients_max: 3_000, drain_timeout_ms: 0, ..LIMITS };
    let mut scenario = Scenario::with_listeners(2, limits, 0);
    let clients: Vec<usize> =
        (0..2_000).map(|_| scenario.network.borrow_mut().connect(0, 1_000, 1_000)).collect();
    scenario.run_until_idle();
    for &client in &clients {
        scenario.send(client, &frame(1, b"hi"));
    }
    scenario.server.remove_listener(0);
    scenario.run_until_idle();
    for client in clients {
        assert_eq!(scenario.receive(client), frame(1, b"hi"));
    }
}

#[test]
fn replaced_listener_refuses_nobody() {
    let mut scenario = Scenario::with_listeners(1, LIMITS, 0);
    let old = scenario.connect_to(0);
    scenario.send(old, &frame(1, b"hi"));
    let protocol = PrefixedProtocol.into();
    let config = ListenerConfig { name: "new".to_owned(), protocol, idle_ms: 0 };
    assert_eq!(scenario.server.replace_listener(0, config), 1);
    let new = scenario.connect_to(0);
    scenario.send(new, b"\x02ab");
    scenario.run_until_idle();
    assert_eq!(scenario.receive(new), b"\x02ba");
    assert_eq!(scenario.receive(old), frame(1, b"hi"));
    scenario.network.borrow_mut().shut(old);
    scenario.run_until_idle();
    assert_eq!((scenario.server.listener_count(), scenario.server.next_listener_number()), (1, 1));
}

#[test]
fn stop_during_a_drain_ends_both() {
    let mut scenario = Scenario::with_listeners(2, LIMITS, 0);
    let (gone, other) = (scenario.connect_to(0), scenario.connect_to(1));
    scenario.send(gone, &frame(1, b"hi"));
    scenario.send(other, &frame(1, b"ho"));
    scenario.server.remove_listener(0);
    scenario.round();
    scenario.stop();
    assert_eq!(scenario.server.remove_listener(1), 0, "it goes with the stop");
    scenario.run_until_idle();
    assert_eq!(scenario.receive(gone), frame(1, b"hi"));
    assert_eq!(scenario.receive(other), frame(1, b"ho"));
    scenario.wait(6_000);
    assert!(scenario.server.is_stopped());
}

#[test]
fn new_idle_timeout_ends_clients_that_were_idle() {
    let mut scenario = Scenario::with_listeners(1, LIMITS, 0);
    let idle = scenario.connect_to(0);
    scenario.wait(10_000);
    scenario.server.configure_listener(0, command("command", 60_000));
    scenario.server.rearm_deadlines();
    scenario.run_until_idle();
    scenario.wait(49_999);
    assert!(!scenario.network.borrow().sockets[idle].server_shut);
    scenario.wait(1);
    assert!(scenario.network.borrow().sockets[idle].server_shut);
}

#[test]
fn lowered_limit_of_clients_refuses_with_the_reason() {
    let mut scenario = Scenario::with_listeners(1, LIMITS, 0);
    let clients: Vec<usize> = (0..8).map(|_| scenario.connect(1_000)).collect();
    scenario.server.set_limits(Limits { clients_max: 2, ..LIMITS });
    let refused = scenario.connect(1_000);
    assert_eq!(scenario.receive(refused), frame(255, b"server is full: 2 clients"));
    for client in clients {
        assert!(scenario.echo(client), "who is there stays");
    }
}

#[cfg(feature = "admission")]
#[test]
fn lifted_rate_lets_go_on_who_waited() {
    use mynah::internal::rates::Rates;

    let mut scenario = Scenario::with_listeners(1, LIMITS, 0);
    scenario.server.set_rates(Rates { messages: 1, broadcast_bytes: 0 });
    let client = scenario.connect_to(0);
    scenario.send(client, &frame(1, b"hi").repeat(10));
    scenario.run_until_idle();
    assert_eq!(scenario.receive(client), frame(1, b"hi").repeat(2));
    scenario.server.set_rates(Rates::default());
    scenario.server.rearm_deadlines();
    scenario.run_until_idle();
    assert_eq!(scenario.receive(client), frame(1, b"hi").repeat(8));
}

#[cfg(feature = "admission")]
#[test]
fn removal_answers_who_is_over_its_rate() {
    use mynah::internal::rates::Rates;

    let mut scenario = Scenario::with_listeners(2, LIMITS, 0);
    scenario.server.set_rates(Rates { messages: 1, broadcast_bytes: 0 });
    let client = scenario.connect_to(0);
    scenario.send(client, &frame(1, b"hi").repeat(10));
    scenario.run_until_idle();
    scenario.server.remove_listener(0);
    scenario.run_until_idle();
    assert_eq!(scenario.receive(client), frame(1, b"hi").repeat(10));
    assert_eq!(scenario.now.0, 0);
}
