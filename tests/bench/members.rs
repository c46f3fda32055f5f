//! A room of a million members on ten nodes, as one of them has it (`cargo bench --bench members`): the
//! memory of a remote member, and the longest turns while all are told of, asked about, and while a
//! node of a tenth of them goes. Sockets are stubs, the other nodes and the engine are bytes; the
//! allocator counts the memory. It is not a test: it prints, and has no thresholds.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should say where")]
#![allow(clippy::print_stdout, reason = "its result is what it prints")]

#[allow(dead_code, reason = "the fuzz target uses the rest")]
#[path = "../../fuzz/bodies/cluster_node/engine.rs"]
mod engine;
#[path = "../support/stub.rs"]
mod stub;
#[allow(dead_code, reason = "the fuzz target uses the rest")]
#[path = "../../fuzz/bodies/cluster_node/wire.rs"]
mod wire;

use std::cell::Cell;
use std::env;
use std::rc::Rc;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use engine::StubEngine;
use mynah::internal::clock::Millis;
use mynah::internal::cluster::{Engine, EngineConfig, Link, NodeConfig};
use mynah::internal::conn_id::ConnId;
use mynah::internal::limits::{CLOCK_CHECK_BYTES, Limits};
use mynah::internal::protocol::{AdminProtocol, ChatProtocol, CommandProtocol};
use mynah::internal::server::{ListenerConfig, Readiness, Server};
use stub::{ACCEPTED, BACKLOG, Backlog, INPUT, Stub, WRITTEN};
use wire::{Event, Place};

/// The other nodes.
const NODES: usize = 9;
/// Local members: each join is told to all before it.
const LOCAL: usize = 1_000;
/// Turns at one moment after which the server counts as spinning.
const TURNS_MAX: usize = 100_000;
const CHANNEL: &str = "chat:lobby";

fn main() {
    let sizes: Vec<usize> = env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![10_000, 100_000, 1_000_000] } else { sizes };
    println!(
        "| members elsewhere | bytes each | all told of: in all, longest turn | one joins | \
        `/who`: first, next | STATUS | `/status` | `/metrics` | a heartbeat | a node goes: in all, \
        longest turn |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    sizes.into_iter().for_each(print_row);
}

fn print_row(members: usize) {
    let each = members / NODES;
    let mut room = Room::new();
    room.pass(8_000);
    let mut told = Turns::default();
    let memory = measure(|| {
        for node in 0..NODES {
            room.tell(node, each, &mut told);
        }
    });
    let bytes = memory.bytes_current as f64 / (each * NODES) as f64;
    let joined = room.join_elsewhere();
    let who = [room.ask(MEMBER, b"/who\n"), room.ask(MEMBER, b"/who\n")];
    let status = room.ask(COMMAND_CLIENT, b"\x07\0\0\0\0");
    let page = room.ask(ADMIN_CLIENT, b"GET /status HTTP/1.1\r\nHost: [::1]\r\n\r\n");
    let metrics = room.ask(ADMIN_CLIENT, b"GET /metrics HTTP/1.1\r\nHost: [::1]\r\n\r\n");
    let beat = room.beat(0, each).longest;
    let gone = room.lose_last(each);
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "| {} | {bytes:.1} | {:.0} ms, {:.2} ms | {:.3} ms | {:.2} ms, {:.3} ms | {:.3} ms | \
         {:.3} ms | {:.3} ms | {:.3} ms | {:.0} ms, {:.2} ms |",
        each * NODES,
        ms(told.total),
        ms(told.longest),
        ms(joined),
        ms(who[0]),
        ms(who[1]),
        ms(status),
        ms(page),
        ms(metrics),
        ms(beat),
        ms(gone.total),
        ms(gone.longest),
    );
}

const CHAT: usize = 0;
const COMMAND: usize = 1;
const ADMIN: usize = 2;

/// Clients, by number.
const MEMBER: usize = 0;
const COMMAND_CLIENT: usize = LOCAL;
const ADMIN_CLIENT: usize = LOCAL + 1;

/// A node with its room.
struct Room {
    server: Server<Stub>,
    now: Millis,
    /// The time at which the round at hand began, and the moment.
    round: Rc<Cell<(u64, Instant)>>,
    engine: StubEngine,
    places: [Place; NODES],
    /// The local members, a `command` client and an `admin` client.
    clients: Vec<ConnId>,
}

impl Room {
    fn new() -> Room {
        let limits = Limits { clients_max: LOCAL + 100, ..Limits::default() };
        let mut server = Server::new(limits, Millis(0));
        let round = Rc::new(Cell::new((0, Instant::now())));
        let seen = Rc::clone(&round);
        let clock = move || {
            let (ms, began_at): (u64, Instant) = seen.get();
            ms * 1_000 + u64::try_from(began_at.elapsed().as_micros()).unwrap()
        };
        server.set_clock(Box::new(clock), CLOCK_CHECK_BYTES);
        server.enable_admin(None);
        let protocols = [
            ChatProtocol::default().into(),
            CommandProtocol { payload_len_max: 1 << 20 }.into(),
            AdminProtocol::default().into(),
        ];
        for protocol in protocols {
            let config = ListenerConfig { name: String::new(), protocol, idle_ms: 0 };
            server.add_listener(Backlog, config);
        }
        let config = EngineConfig {
            url: String::new(),
            username: String::new(),
            password: Vec::new(),
            database: 0,
            client_name: "mynah:n".to_owned(),
            unsent_bytes_max: limits.send_queue_bytes_max,
            message_bytes_max: 1 << 20,
        };
        let node = NodeConfig { name: "n".to_owned(), prefix: "p".to_owned() };
        server.enable_cluster(node, Engine::new(config, 1), 1 << 40);
        server.set_channel(CHAT, Some(CHANNEL));
        let (places, clients) = (Default::default(), Vec::new());
        let mut room =
            Room { server, now: Millis(0), round, engine: StubEngine::default(), places, clients };
        // Each listener finds that nobody waits.
        room.server.turn(&(), room.now);
        ACCEPTED.set(Some(Vec::new()));
        for (listener, count) in [(CHAT, LOCAL), (COMMAND, 1), (ADMIN, 1)] {
            BACKLOG.set(count);
            room.server.on_acceptable(listener);
            while BACKLOG.get() > 0 {
                room.server.turn(&(), room.now);
            }
        }
        room.clients = ACCEPTED.take().unwrap();
        room.settle();
        let client = room.server.cluster_engine().unwrap();
        assert!(Link::ALL.iter().all(|link| client.is_ready(*link)));
        for member in 0..LOCAL {
            room.receive(room.clients[member], format!("local-{member:06}\n").leak().as_bytes());
            room.settle();
        }
        room
    }

    /// Has a connection receive `input`, and whatever is to be done for it.
    fn receive(&mut self, id: ConnId, input: &'static [u8]) {
        INPUT.set(input);
        let ready = Readiness { readable: true, ..Readiness::default() };
        self.begin_batch();
        self.server.on_ready(&(), id, ready, self.now);
        assert!(INPUT.take().is_empty(), "{id} exists and reads");
    }

    fn begin_batch(&mut self) {
        self.round.set((self.now.0, Instant::now()));
        self.server.begin_batch(self.now);
    }

    /// Turns until nothing is to be done; times each.
    fn settle(&mut self) -> Turns {
        let mut turns = Turns::default();
        for _ in 0..TURNS_MAX {
            self.engine.advance(self.server.cluster_engine_mut().unwrap(), self.now);
            turns.time(|| {
                self.begin_batch();
                self.server.turn(&(), self.now);
            });
            let is_quiet = self.engine.is_quiet(self.server.cluster_engine().unwrap());
            if is_quiet && self.server.poll_timeout(self.now) != Some(0) {
                return turns;
            }
        }
        panic!("the server spins");
    }

    /// The engine says something on a channel.
    fn hear(&mut self, channel: &str, payload: &[u8]) -> Turns {
        self.engine.publish(channel, payload);
        self.settle()
    }

    fn publish(&mut self, node: usize, events: &[Event<'_>]) -> Turns {
        let place = &mut self.places[node];
        let batch = wire::batch(node as u64 + 1, *place, events);
        place.next += events.len() as u64;
        self.hear(CHANNEL, &batch)
    }

    /// A node is there, and tells all its members, in batches as nodes publish them.
    fn tell(&mut self, node: usize, count: usize, turns: &mut Turns) {
        turns.add(&self.beat(node, 0));
        turns.add(&self.publish(node, &[Event::SnapshotBegins]));
        for first in (0..count).step_by(4_000) {
            let numbers = first..count.min(first + 4_000);
            let nicks: Vec<String> = numbers.map(|it| format!("member{node}-{it:07}")).collect();
            let events: Vec<Event<'_>> = nicks.iter().map(|nick| Event::Present(nick)).collect();
            turns.add(&self.publish(node, &events));
        }
        turns.add(&self.publish(node, &[Event::SnapshotEnds]));
    }

    fn beat(&mut self, node: usize, receivers: usize) -> Turns {
        let channels = [(CHANNEL, self.places[node], receivers as u32)];
        let name = format!("node{node}");
        let bytes = wire::heartbeat(node as u64 + 1, &name, false, &channels, &[]);
        self.hear("nodes", &bytes)
    }

    /// Somebody joins on another node. Returns the longest turn but for those of the fan-out.
    fn join_elsewhere(&mut self) -> Duration {
        self.publish(0, &[Event::Joined("newcomer")]).first
    }

    /// A client asks. Returns how long the turn of the answer took.
    fn ask(&mut self, client: usize, question: &'static [u8]) -> Duration {
        WRITTEN.set(0);
        let began_at = Instant::now();
        self.receive(self.clients[client], question);
        while WRITTEN.get() == 0 {
            self.server.turn(&(), self.now);
        }
        let took = began_at.elapsed();
        self.settle();
        took
    }

    /// The last node falls silent, and is forgotten.
    fn lose_last(&mut self, each: usize) -> Turns {
        for _ in 0..6 {
            (0..NODES - 1).for_each(|node| {
                let _ = self.beat(node, each);
            });
            self.pass(1_000);
        }
        (0..NODES - 1).for_each(|node| {
            let _ = self.beat(node, each);
        });
        self.now = self.now.after(600);
        let turns = self.settle();
        assert_eq!(self.server.node().unwrap().others().count(), NODES - 1);
        turns
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 500 {
            self.now = self.now.after(500);
            self.settle();
        }
    }
}

/// Durations of turns.
#[derive(Default)]
struct Turns {
    total: Duration,
    longest: Duration,
    first: Duration,
}

impl Turns {
    fn time(&mut self, turn: impl FnOnce()) {
        let start = Instant::now();
        turn();
        let took = start.elapsed();
        if self.total.is_zero() {
            self.first = took;
        }
        self.total += took;
        self.longest = self.longest.max(took);
    }

    fn add(&mut self, other: &Turns) {
        if self.total.is_zero() {
            self.first = other.first;
        }
        self.total += other.total;
        self.longest = self.longest.max(other.longest);
    }
}
