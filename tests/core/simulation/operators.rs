//! Worlds of operators: clients that come, stay and go, and admin clients that list, page, sort,
//! kick, ban, drain and scrape among the network's faults. The server has no other reason to close
//! anybody, so each close has to be the client's own or an operator's.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use mynah::internal::clock::Millis;
use mynah::internal::limits::{CLOCK_CHECK_BYTES, Limits, turn_micros};
use mynah::internal::protocol::admin::Token;
use mynah::internal::protocol::{AdminProtocol, ChatProtocol, CommandProtocol, Protocol};
use mynah::internal::server::{ListenerConfig, NoLayer, Server};
use serde_json::Value;

use super::network::{Event, FakeAcceptor, FakeStream, Faults, Network, Shared, Socket};
use crate::support::rng::Rng;

const COMMAND: usize = 0;
const CHAT: usize = 1;
const ADMIN: usize = 2;
/// One that is added while the server runs.
const LATER: usize = 3;
const NAMES: [&str; 4] = ["command", "chat", "admin", "later"];
const HOSTS: usize = 4;
const TOKEN: &str = "sesame";
/// Rounds in which anything must come to rest.
const ROUNDS_MAX: usize = 20_000;
/// More than two pages of the table.
const CROWD: usize = 600;

/// Runs the world of `seed` and returns the hash of all that happened.
///
/// # Panics
///
/// When the server breaks a rule.
pub fn run(seed: u64) -> u64 {
    let mut world = World::new(seed);
    world.run_with_faults();
    world.run_until_idle();
    world.check_kicks();
    world.end_drain();
    world.check_at_rest();
    world.stop();
    world.network.borrow().trace_hash()
}

struct World {
    rng: Rng,
    now: Millis,
    network: Shared,
    server: Server<FakeStream<NoLayer>>,
    clock: Rc<Cell<u64>>,
    /// How far the clock goes on with each look.
    look_micros: u64,
    /// Rounds so far: the time of this world.
    round: u64,
    steps: usize,
    members: Vec<Member>,
    operators: Vec<Operator>,
    kicks: Vec<Kick>,
    /// Whether the listener that is added later is there.
    has_later: bool,
    /// Rounds since which nobody may be let in: the last drain was answered, and no undrain asked.
    drained_at: Option<u64>,
    /// Requests to drain and not to were under way together: which came last is not known.
    is_drain_contested: bool,
    is_draining: bool,
    may_reload: bool,
}

/// A client that is none of the operators.
struct Member {
    socket: usize,
    listener: usize,
    host: usize,
    nick: Option<String>,
    /// It was welcomed under its nickname.
    is_named: bool,
    inbox: Vec<u8>,
    outgoing: Vec<u8>,
    /// It reads nothing while there are faults.
    is_slow: bool,
    /// The rounds after which it was seen to be in, and to have been closed by the server.
    accepted_in: Option<u64>,
    closed_in: Option<u64>,
    has_left: bool,
}

struct Operator {
    socket: usize,
    host: usize,
    outgoing: Vec<u8>,
    inbox: Vec<u8>,
    asked: VecDeque<Asked>,
    /// A list that is read page by page.
    listing: Option<Listing>,
    has_left: bool,
    closed_in: Option<u64>,
    accepted_in: Option<u64>,
}

/// The request whose answer is waited for.
#[derive(Debug, Clone)]
enum Asked {
    /// A page of the operator's listing.
    Page,
    Sorted {
        limit: usize,
    },
    Kick(usize),
    Drain(bool),
    Metrics,
    Status,
    Ready,
    Reload,
    Nowhere,
}

/// A list of all connections of some listener, or of all.
struct Listing {
    listener: Option<usize>,
    limit: usize,
    /// Connections that were there when it began.
    there: BTreeSet<usize>,
    seen: BTreeSet<u64>,
}

/// Which connections a kick is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Whom {
    /// The connection of this socket, by its number.
    Id(usize),
    Listener(usize),
    Host(usize),
    Name(String),
}

#[derive(Debug)]
struct Kick {
    whom: Whom,
    by: usize,
    /// Members that it is about and that were there when it was asked for.
    there: Vec<usize>,
    answered: Option<(u64, u64)>,
    /// Until when it bans its host at least.
    banned_until: Option<Millis>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng::new(seed ^ 0x0_9e7a);
        let faults = faults(&mut rng);
        let network = Network::new(NAMES.len(), faults, Rng::new(seed ^ 0xad31));
        let limits = Limits {
            clients_max: 2_000,
            lingering_max: rng.between(2, 8),
            send_queue_bytes_max: [4_096, 20_000, 1 << 20][rng.below(3)],
            broadcast_log_bytes_max: 1 << 24,
            memory_bytes_max: 1 << 30,
            // Longer than what passes at once where bans end.
            frame_timeout_ms: 120_000,
            ..Limits::default()
        };
        let mut server = Server::new(limits, Millis(0));
        server.enable_admin(Some(Token::parse(TOKEN.as_bytes()).expect("a token")));
        for listener in [COMMAND, CHAT, ADMIN] {
            server.add_listener(FakeAcceptor::new(&network, listener), config(listener));
        }
        let clock = Rc::new(Cell::new(0));
        let look_micros = [0, 100, 4_000][rng.below(3)];
        let looked = Rc::clone(&clock);
        let look = move || {
            looked.set(looked.get() + look_micros);
            looked.get()
        };
        server.set_clock(Box::new(look), [1_024, 4_096, CLOCK_CHECK_BYTES][rng.below(3)]);
        let steps = rng.between(100, 800);
        let crowd = if rng.one_in(10) { CROWD } else { 0 };
        let may_reload = rng.one_in(2);
        let mut world = World {
            rng,
            now: Millis(0),
            network,
            server,
            clock,
            look_micros,
            round: 0,
            steps,
            members: Vec::new(),
            operators: Vec::new(),
            kicks: Vec::new(),
            has_later: false,
            drained_at: None,
            is_drain_contested: false,
            is_draining: false,
            may_reload,
        };
        (0..crowd).for_each(|_| world.add_member(COMMAND));
        world
    }

    fn run_with_faults(&mut self) {
        let operators_max = if self.may_reload { 6 } else { 30 };
        for _ in 0..self.steps {
            match self.rng.below(16) {
                0 => {
                    let listener =
                        [COMMAND, CHAT, LATER][self.rng.below(2 + usize::from(self.has_later))];
                    self.add_member(listener);
                }
                1..5 if !self.members.is_empty() => {
                    let number = self.rng.below(self.members.len());
                    self.visit_member(number, false);
                }
                5 if self.operators.len() < operators_max => self.add_operator(),
                5..10 if !self.operators.is_empty() => {
                    let number = self.rng.below(self.operators.len());
                    self.visit_operator(number, false);
                }
                10 => {
                    let most = if self.rng.one_in(20) { 3_000 } else { 20 };
                    self.now = self.now.after(self.rng.skewed(most) as u64);
                }
                11 if !self.has_later && self.rng.one_in(30) => {
                    let acceptor = FakeAcceptor::new(&self.network, LATER);
                    assert_eq!(self.server.add_listener(acceptor, config(LATER)), LATER);
                    self.has_later = true;
                }
                _ => self.run_round(),
            }
        }
    }

    /// Without faults, until nobody has anything left to do.
    fn run_until_idle(&mut self) {
        self.network.borrow_mut().faults = Faults::default();
        for _ in 0..ROUNDS_MAX {
            let before = self.network.borrow().trace_hash();
            let mut is_active = false;
            for number in 0..self.members.len() {
                is_active |= self.visit_member(number, true);
            }
            for number in 0..self.operators.len() {
                is_active |= self.visit_operator(number, true);
            }
            self.run_round();
            let is_quiet = self.network.borrow().is_quiet();
            if is_active || !is_quiet || self.network.borrow().trace_hash() != before {
                continue;
            }
            match self.server.poll_timeout(self.now) {
                Some(0) => {}
                Some(wait_ms) if self.is_waiting() => self.now = self.now.after(wait_ms),
                _ => break,
            }
        }
        for (number, operator) in self.operators.iter().enumerate() {
            let is_over = operator.has_left || operator.closed_in.is_some();
            let waits = operator.asked.front();
            assert!(is_over || waits.is_none(), "operator {number} waits for {waits:?} for ever");
        }
    }

    /// Whether somebody has not got what is due.
    fn is_waiting(&self) -> bool {
        self.operators.iter().any(|o| {
            !o.has_left && o.closed_in.is_none() && (!o.asked.is_empty() || !o.outgoing.is_empty())
        }) || self.members.iter().any(|m| m.accepted_in.is_none() && !self.is_draining)
    }

    fn run_round(&mut self) {
        self.round += 1;
        let most = self.rng.between(1, 40);
        let events = self.network.borrow_mut().poll(most);
        self.clock.set(self.clock.get().max(self.now.0 * 1_000));
        let began_at = self.clock.get();
        self.server.begin_batch(self.now);
        self.network.borrow_mut().in_batch = true;
        for event in events {
            match event {
                Event::Acceptable(listener) if listener == LATER && !self.has_later => {}
                Event::Acceptable(listener) => self.server.on_acceptable(listener),
                Event::Ready(id, ready) => self.server.on_ready(&(), id, ready, self.now),
            }
        }
        self.network.borrow_mut().in_batch = false;
        self.server.turn(&(), self.now);
        let took = self.clock.get() - began_at;
        let most = self.turn_micros_max();
        assert!(took <= most, "a turn took {took} µs of {most}");
        if self.server.take_reload_request() {
            assert!(self.server.begin_reload(), "nobody has asked for the reload");
            let outcome = match self.rng.one_in(2) {
                true => Ok(vec!["max_clients: 3 -> 4".to_owned()]),
                false => Err(vec!["line 3".to_owned()]),
            };
            self.server.finish_reload(&outcome);
        } else if self.members.len() < CROWD || self.rng.one_in(20) {
            self.server.assert_turn_invariants();
        }
        self.look_around();
    }

    /// How long a turn may take: each part stops at the look that finds its time over.
    fn turn_micros_max(&self) -> u64 {
        use turn_micros::{ACCEPT, ADMIN, ADMIT, ARRIVALS, DISPATCH, FANOUT, REAP, RESUME, TIMERS};
        let looks = |part: turn_micros::Part| 1 + part.micros.div_ceil(self.look_micros);
        if self.look_micros == 0 {
            return 0;
        }
        let parts = [ADMIN, ARRIVALS, ACCEPT, RESUME, FANOUT, TIMERS, REAP].map(looks);
        let listeners = NAMES.len() as u64;
        // Beginning and end are looked at too, and each listener lets one in.
        let others = 6 + listeners + listeners * looks(ADMIT) + looks(DISPATCH);
        (parts.iter().sum::<u64>() + others) * self.look_micros
    }

    /// Notes who has come in and who was closed, and that it was right.
    fn look_around(&mut self) {
        let network = self.network.borrow();
        for (number, member) in self.members.iter_mut().enumerate() {
            let socket = &network.sockets[member.socket];
            if member.accepted_in.is_none() && socket.accepted_at.is_some() {
                let drained = self.drained_at.filter(|drained_at| *drained_at < self.round);
                assert_eq!(drained, None, "member {number} was let in by a draining server");
                member.accepted_in = Some(self.round);
                // The last ban of an address counts, and it is not known which that was.
                let from = Whom::Host(member.host);
                let bans = self.kicks.iter().filter(|k| k.whom == from);
                let bans = bans.filter_map(|k| Some((k.banned_until?, k.answered)));
                let is_over = bans.clone().any(|(until, _)| until <= self.now);
                let is_banned = bans
                    .into_iter()
                    .any(|(_, answered)| answered.is_some_and(|(at, _)| at < self.round))
                    && !is_over;
                assert!(!is_banned || !socket.was_registered, "member {number} is banned, and in");
            }
            if socket.server_shut && member.closed_in.is_none() {
                member.closed_in = Some(self.round);
                let is_own = member.has_left || socket.client_shut || socket.client_reset;
                let may_be = |kick: &&Kick| {
                    let in_time = kick.answered.is_none_or(|(at, _)| {
                        member.accepted_in.is_some_and(|accepted_in| accepted_in <= at)
                    });
                    let is_about = match &kick.whom {
                        Whom::Id(socket) => *socket == member.socket,
                        Whom::Listener(listener) => *listener == member.listener,
                        Whom::Host(host) => *host == member.host,
                        Whom::Name(name) => member.nick.as_ref() == Some(name),
                    };
                    is_about && in_time
                };
                let was_let_in = socket.was_registered && !socket.register_failed;
                let is_due = is_own || !was_let_in || self.kicks.iter().any(|kick| may_be(&kick));
                assert!(is_due, "member {number} was closed, and nobody asked for it: {socket:?}");
            }
        }
        for (number, operator) in self.operators.iter_mut().enumerate() {
            let socket = &network.sockets[operator.socket];
            if socket.accepted_at.is_some() {
                operator.accepted_in.get_or_insert(self.round);
            }
            if socket.server_shut && operator.closed_in.is_none() {
                operator.closed_in = Some(self.round);
                let is_own = operator.has_left || socket.client_shut || socket.client_reset;
                let is_due = self.kicks.iter().any(|kick| {
                    let is_about = match &kick.whom {
                        Whom::Id(socket) => *socket == operator.socket,
                        Whom::Listener(listener) => *listener == ADMIN,
                        Whom::Host(host) => *host == operator.host,
                        Whom::Name(_) => false,
                    };
                    is_about && kick.by != number
                });
                let was_let_in = socket.was_registered && !socket.register_failed;
                let is_banned = is_due && operator.accepted_in == Some(self.round);
                assert!(
                    is_own || is_due || is_banned || !was_let_in,
                    "operator {number} was closed, and nobody else asked for it"
                );
            }
        }
    }

    fn connect(&mut self, listener: usize) -> (usize, usize) {
        let to_server_max = self.rng.between(64, 40_000);
        let to_client_max = self.rng.between(64, 16_384);
        let mut network = self.network.borrow_mut();
        let socket = network.connect(listener, to_server_max, to_client_max);
        let host = self.rng.below(HOSTS);
        network.sockets[socket].from = Some(address(host, socket));
        (socket, host)
    }

    fn add_member(&mut self, listener: usize) {
        let (socket, host) = self.connect(listener);
        let nick = (listener == CHAT).then(|| format!("nick{:x}<b>", self.members.len()));
        let outgoing = nick.as_ref().map(|nick| format!("{nick}\n").into_bytes());
        let is_slow = self.members.len() < CROWD / 2 && self.rng.one_in(5);
        self.members.push(Member {
            socket,
            listener,
            host,
            nick,
            is_named: false,
            inbox: Vec::new(),
            outgoing: outgoing.unwrap_or_default(),
            is_slow,
            accepted_in: None,
            closed_in: None,
            has_left: false,
        });
    }

    /// A member reads, sends, leaves; true if it did something.
    fn visit_member(&mut self, number: usize, is_fault_free: bool) -> bool {
        let member = &mut self.members[number];
        let mut network = self.network.borrow_mut();
        let heard = if member.is_slow && !is_fault_free {
            Vec::new()
        } else {
            network.receive(member.socket, usize::MAX)
        };
        member.inbox.extend(&heard);
        if let Some(nick) = &member.nick
            && !member.is_named
        {
            let welcome = format!("[INFO] Welcome, {nick}!\n").into_bytes();
            member.is_named = member.inbox.windows(welcome.len()).any(|piece| piece == welcome);
        }
        let socket = &network.sockets[member.socket];
        if socket.server_shut && socket.to_client.is_empty() && !member.has_left {
            member.has_left = true;
            network.shut(member.socket);
            return true;
        }
        if member.has_left {
            return !heard.is_empty();
        }
        if !member.outgoing.is_empty() {
            let most = if is_fault_free {
                member.outgoing.len()
            } else {
                self.rng.skewed(member.outgoing.len())
            };
            let sent = network.send(member.socket, &member.outgoing[..most]);
            member.outgoing.drain(..sent);
            return sent > 0 || !heard.is_empty();
        }
        if is_fault_free {
            return !heard.is_empty();
        }
        match self.rng.below(12) {
            0 if member.listener != CHAT => {
                let len = self.rng.skewed(3_000);
                member.outgoing.push(1);
                member.outgoing.extend((len as u32).to_be_bytes());
                member.outgoing.extend(std::iter::repeat_n(7, len));
            }
            1 if self.rng.one_in(4) => {
                member.has_left = true;
                network.shut(member.socket);
            }
            2 if self.rng.one_in(6) => {
                member.has_left = true;
                network.reset(member.socket);
            }
            _ => {}
        }
        true
    }

    /// An operator that nobody bans.
    fn add_safe_operator(&mut self) -> usize {
        self.add_operator();
        let operator = self.operators.last_mut().expect("it was added");
        operator.host = HOSTS;
        let from = Some(address(HOSTS, operator.socket));
        self.network.borrow_mut().sockets[operator.socket].from = from;
        self.operators.len() - 1
    }

    fn add_operator(&mut self) {
        let (socket, host) = self.connect(ADMIN);
        self.operators.push(Operator {
            socket,
            host,
            outgoing: Vec::new(),
            inbox: Vec::new(),
            asked: VecDeque::new(),
            listing: None,
            has_left: false,
            closed_in: None,
            accepted_in: None,
        });
    }

    fn visit_operator(&mut self, number: usize, is_fault_free: bool) -> bool {
        let mut network = self.network.borrow_mut();
        let operator = &mut self.operators[number];
        let most = if is_fault_free { usize::MAX } else { self.rng.skewed(4_000) };
        let heard = network.receive(operator.socket, most);
        operator.inbox.extend(&heard);
        let socket = &network.sockets[operator.socket];
        if socket.server_shut && socket.to_client.is_empty() && !operator.has_left {
            operator.has_left = true;
            network.shut(operator.socket);
            return true;
        }
        if operator.has_left {
            return !heard.is_empty();
        }
        let mut is_active = !heard.is_empty();
        if !operator.outgoing.is_empty() {
            let all = operator.outgoing.len();
            let most = if is_fault_free { all } else { self.rng.skewed(all) };
            let sent = network.send(operator.socket, &operator.outgoing[..most]);
            operator.outgoing.drain(..sent);
            is_active |= sent > 0;
        }
        drop(network);
        while self.read_answer(number) {
            is_active = true;
        }
        let operator = &self.operators[number];
        let may_ask = operator.outgoing.is_empty() && operator.asked.len() < 3;
        if may_ask && operator.listing.is_none() && !is_fault_free {
            match self.rng.below(40) {
                0 => {
                    self.operators[number].has_left = true;
                    self.network.borrow_mut().reset(self.operators[number].socket);
                }
                // Half-closed it is still answered.
                1 => self.network.borrow_mut().shut(self.operators[number].socket),
                _ if self.network.borrow().sockets[self.operators[number].socket].client_shut => {}
                _ => self.ask_something(number),
            }
            is_active = true;
        }
        is_active
    }

    fn ask_something(&mut self, number: usize) {
        match self.rng.below(12) {
            0..4 => {
                let listener = self.rng.one_in(2).then(|| self.rng.below(3));
                let least = if self.members.len() < CROWD { 1 } else { 100 };
                let limit = [least, least * 3, 1_000][self.rng.below(3)];
                let there = self.there(|member| listener.is_none_or(|l| l == member.listener));
                let there = there.into_iter().collect();
                let seen = BTreeSet::new();
                self.operators[number].listing = Some(Listing { listener, limit, there, seen });
                self.ask_page(number, "");
            }
            4 => {
                let (sort, limit) = (["idle", "queue"][self.rng.below(2)], self.rng.between(1, 30));
                let target = format!("/connections?sort={sort}&limit={limit}");
                self.ask(number, "GET", &target, Asked::Sorted { limit });
            }
            5 => self.ask_kick(number),
            6 => {
                // Undrained the sooner, the more is seen.
                let is_on = !self.is_draining;
                if is_on && !self.rng.one_in(3) {
                    return;
                }
                self.is_draining = is_on;
                self.drained_at = None;
                self.is_drain_contested |= self.awaits_drain();
                let target = if is_on { "/drain" } else { "/undrain" };
                self.ask(number, "POST", target, Asked::Drain(is_on));
            }
            7 => self.ask(number, "GET", "/metrics", Asked::Metrics),
            8 => self.ask(number, "GET", "/status", Asked::Status),
            9 => self.ask(number, "GET", "/readyz", Asked::Ready),
            10 if self.may_reload => self.ask(number, "POST", "/reload", Asked::Reload),
            _ => self.ask(number, "GET", "/nowhere", Asked::Nowhere),
        }
    }

    fn ask(&mut self, number: usize, method: &str, target: &str, asked: Asked) {
        let operator = &mut self.operators[number];
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: 10.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        );
        operator.outgoing.extend(request.as_bytes());
        operator.asked.push_back(asked);
    }

    fn ask_page(&mut self, number: usize, after: &str) {
        let listing = self.operators[number].listing.as_ref().expect("it is listing");
        let filter = listing.listener.map_or("", |listener| NAMES[listener]);
        let target =
            format!("/connections?listener={filter}&limit={}&after={after}", listing.limit);
        self.ask(number, "GET", &target, Asked::Page);
    }

    fn ask_kick(&mut self, number: usize) {
        let there = self.there(|_| true);
        let Some(&victim) = there.get(self.rng.below(there.len().max(1))) else { return };
        let victim = &self.members[victim];
        let whom = match self.rng.below(12) {
            0..6 => Whom::Id(victim.socket),
            6..9 => match &victim.nick {
                Some(nick) if victim.is_named => Whom::Name(nick.clone()),
                _ => Whom::Id(victim.socket),
            },
            9..11 => Whom::Host(victim.host),
            _ => Whom::Listener([COMMAND, CHAT, ADMIN][self.rng.below(3)]),
        };
        self.ask_kick_of(number, whom);
    }

    fn ask_kick_of(&mut self, number: usize, whom: Whom) {
        let there = self.there(|member| whom.is_about(member) && member.may_be_named(&whom));
        let mut ban_secs = None;
        let target = match &whom {
            Whom::Id(socket) => {
                let Some(id) = self.id_of(*socket) else { return };
                format!("/connections/{id}")
            }
            Whom::Listener(listener) => format!("/connections?listener={}", NAMES[*listener]),
            Whom::Name(name) => {
                let name = name.replace('<', "%3C").replace('>', "%3E");
                format!("/connections?name={name}")
            }
            Whom::Host(host) => {
                let ip = address(*host, 0).ip();
                let can_ban = cfg!(feature = "admission");
                ban_secs = (can_ban && self.rng.one_in(2)).then(|| self.rng.between(1, 4) as u64);
                let ban = ban_secs.map_or(String::new(), |secs| format!("&ban={secs}"));
                format!("/connections?ip={ip}{ban}")
            }
        };
        let banned_until = ban_secs.map(|secs| self.now.after(secs * 1_000));
        self.kicks.push(Kick { whom, by: number, there, answered: None, banned_until });
        self.ask(number, "DELETE", &target, Asked::Kick(self.kicks.len() - 1));
    }

    /// Members that are surely connected.
    fn there(&self, is_meant: impl Fn(&Member) -> bool) -> Vec<usize> {
        let network = self.network.borrow();
        let is_there = |(number, member): (usize, &Member)| {
            let socket = &network.sockets[member.socket];
            (member.is_there(socket) && is_meant(member)).then_some(number)
        };
        self.members.iter().enumerate().filter_map(is_there).collect()
    }

    fn id_of(&self, socket: usize) -> Option<u32> {
        self.network.borrow().generation_of(socket)
    }

    /// Takes one whole answer and checks it; false where there is none.
    fn read_answer(&mut self, number: usize) -> bool {
        let operator = &mut self.operators[number];
        let Some((status, body)) = take_response(&mut operator.inbox) else { return false };
        let asked = operator.asked.pop_front().expect("an answer to nothing");
        let text = String::from_utf8(body).expect("text");
        let json = || -> Value {
            assert_eq!(status, 200, "{asked:?}: {text}");
            serde_json::from_str(&text).expect("JSON")
        };
        match asked {
            Asked::Page if status == 400 => {
                // Its listener had not come, or it has gone.
                assert!(text.starts_with("no listener"), "{text}");
                operator.listing = None;
            }
            Asked::Page => self.take_page(number, &json()),
            Asked::Sorted { limit } => {
                let list = json();
                let rows = list["connections"].as_array().expect("rows");
                let total = list["total"].as_u64().expect("a total") as usize;
                // Some may have left between the search and the writing.
                assert!(rows.len() <= limit.min(total) && list["next"].is_null(), "{list}");
            }
            Asked::Kick(at) => self.take_kicked(at, status, &text),
            Asked::Drain(is_on) => {
                assert_eq!(json()["draining"], is_on);
                let is_known = is_on && self.is_draining && !self.is_drain_contested;
                self.drained_at = (is_known && !self.awaits_drain()).then_some(self.round);
                self.is_drain_contested &= self.awaits_drain();
            }
            Asked::Metrics => assert!(text.starts_with("# HELP") && text.ends_with('\n'), "{text}"),
            Asked::Status => assert!(json()["listeners"].is_array()),
            Asked::Ready => assert!(matches!(status, 200 | 503), "{text}"),
            Asked::Reload => assert!(matches!(status, 200 | 422), "{status} {text}"),
            Asked::Nowhere => assert_eq!(status, 404),
        }
        true
    }

    /// Whether a request to drain or not to has no answer yet.
    fn awaits_drain(&self) -> bool {
        self.operators.iter().any(|operator| {
            // What one has asked for that was closed is done soon, or never.
            let is_over = operator.closed_in.is_some_and(|at| at + 50 < self.round);
            !is_over && operator.asked.iter().any(|asked| matches!(asked, Asked::Drain(_)))
        })
    }

    fn take_page(&mut self, number: usize, list: &Value) {
        let listing = self.operators[number].listing.as_mut().expect("it is listing");
        let rows = list["connections"].as_array().expect("rows");
        assert!(rows.len() <= listing.limit, "{} rows of {}", rows.len(), listing.limit);
        for row in rows {
            let id = row["id"].as_u64().expect("a number");
            assert!(listing.seen.insert(id), "connection {id} comes twice");
            let name = row["listener"].as_str().expect("a name");
            assert!(listing.listener.is_none_or(|listener| NAMES[listener] == name), "{row}");
        }
        if let Some(next) = list["next"].as_str() {
            let next = next.to_owned();
            self.ask_page(number, &next);
            return;
        }
        let listing = self.operators[number].listing.take().expect("it is listing");
        let network = self.network.borrow();
        for &there in &listing.there {
            let member = &self.members[there];
            let id = network.generation_of(member.socket).expect("it was there");
            let was_seen = listing.seen.contains(&u64::from(id));
            let is_there = member.is_there(&network.sockets[member.socket]);
            assert!(was_seen || !is_there, "member {there}, #{id}, is in none of the pages");
        }
    }

    fn take_kicked(&mut self, at: usize, status: u16, text: &str) {
        let kick = &mut self.kicks[at];
        if status == 404 {
            assert!(matches!(kick.whom, Whom::Id(_)), "{text}");
            kick.answered = Some((self.round, 0));
            return;
        }
        assert_eq!(status, 200, "{text}");
        let json: Value = serde_json::from_str(text).expect("JSON");
        let kicked = json["kicked"].as_u64().expect("a number");
        kick.answered = Some((self.round, kicked));
    }

    /// Everybody that a kick was about, and that was there all the time, has been closed.
    fn check_kicks(&self) {
        for kick in &self.kicks {
            if kick.answered.is_none() {
                continue;
            }
            for &number in &kick.there {
                let (member, network) = (&self.members[number], self.network.borrow());
                let socket = &network.sockets[member.socket];
                assert!(socket.server_shut, "member {number} survived {kick:?}: {socket:?}");
            }
        }
    }

    /// Has the server accept again: who has waited comes in.
    fn end_drain(&mut self) {
        (self.is_draining, self.drained_at) = (false, None);
        let (status, _) = self.ask_once("POST", "/undrain");
        assert_eq!(status, 200);
        // All bans are over.
        self.now = self.now.after(60_000);
        self.run_until_idle();
        for (number, member) in self.members.iter().enumerate() {
            let is_missing = member.listener == LATER && !self.has_later;
            assert!(is_missing || member.accepted_in.is_some(), "member {number} waits for ever");
        }
    }

    /// Asks on a connection of its own, and waits for the answer.
    fn ask_once(&mut self, method: &str, target: &str) -> (u16, String) {
        let number = self.add_safe_operator();
        self.ask(number, method, target, Asked::Nowhere);
        for _ in 0..ROUNDS_MAX {
            let operator = &mut self.operators[number];
            let sent = self.network.borrow_mut().send(operator.socket, &operator.outgoing);
            operator.outgoing.drain(..sent);
            let heard = self.network.borrow_mut().receive(operator.socket, usize::MAX);
            operator.inbox.extend(heard);
            if let Some((status, body)) = take_response(&mut operator.inbox) {
                operator.asked.clear();
                operator.has_left = true;
                self.network.borrow_mut().shut(self.operators[number].socket);
                self.settle();
                return (status, String::from_utf8(body).expect("text"));
            }
            self.run_round();
            if let Some(wait_ms) = self.server.poll_timeout(self.now) {
                self.now = self.now.after(wait_ms.min(100));
            }
        }
        panic!("{method} {target} has no answer");
    }

    /// Rounds until the network is quiet.
    fn settle(&mut self) {
        for _ in 0..50 {
            self.run_round();
        }
    }

    /// The world stands still: what is told of it is exact.
    fn check_at_rest(&mut self) {
        for host in 0..HOSTS {
            // Nobody is banned any more.
            self.add_member(COMMAND);
            let (socket, from) = (self.members[self.members.len() - 1].socket, address(host, 1));
            self.network.borrow_mut().sockets[socket].from = Some(from);
            self.members.last_mut().expect("it was added").host = host;
        }
        self.add_member(CHAT);
        self.run_until_idle();
        let network = self.network.borrow();
        for member in &self.members[self.members.len() - HOSTS - 1..] {
            let socket = &network.sockets[member.socket];
            assert!(member.is_there(socket), "nobody is banned any more: {socket:?}");
        }
        drop(network);
        let there = self.there(|_| true).len();
        let open_operators = self.open_operators();
        let (_, text) = self.ask_once("GET", "/connections?limit=1000");
        let list: Value = serde_json::from_str(&text).expect("JSON");
        let total = list["total"].as_u64().expect("a total") as usize;
        // Who asks is one of them.
        assert_eq!(total, there + open_operators + 1, "{list}");
        let listed = list["connections"].as_array().expect("rows").len();
        assert_eq!(listed, total.min(1_000));
        let mut by_listener = BTreeMap::new();
        self.there(|_| true)
            .iter()
            .for_each(|at| *by_listener.entry(self.members[*at].listener).or_insert(0) += 1);
        let (_, metrics) = self.ask_once("GET", "/metrics");
        for listener in [COMMAND, CHAT] {
            let count = by_listener.get(&listener).copied().unwrap_or(0);
            let line = format!("mynah_connections{{listener=\"{}\"}} {count}\n", NAMES[listener]);
            assert!(metrics.contains(&line), "no {line} in {metrics}");
        }
        let (status, ready) = self.ask_once("GET", "/readyz");
        assert_eq!((status, ready.as_str()), (200, "ok\n"));
        self.check_kicks_at_rest();
    }

    fn open_operators(&self) -> usize {
        let network = self.network.borrow();
        let is_open = |operator: &&Operator| {
            let socket = &network.sockets[operator.socket];
            let has_gone = socket.server_shut || socket.client_shut || socket.client_reset;
            socket.was_registered && !socket.register_failed && !has_gone
        };
        self.operators.iter().filter(is_open).count()
    }

    /// A kick says how many it closed, which are those it was about.
    fn check_kicks_at_rest(&mut self) {
        let named = self.members.iter().rev().find(|member| member.is_named).map(|m| m.socket);
        let whoms = [
            named.and_then(|socket| {
                let member = self.members.iter().find(|member| member.socket == socket)?;
                Some(Whom::Name(member.nick.clone()?))
            }),
            self.members.last().map(|member| Whom::Id(member.socket)),
            Some(Whom::Host(self.rng.below(HOSTS))),
            Some(Whom::Listener(COMMAND)),
        ];
        for whom in whoms.into_iter().flatten() {
            let meant = self.there(|member| whom.is_about(member));
            let others = self.there(|member| !whom.is_about(member));
            let network = self.network.borrow();
            let operators = self.operators.iter().filter(|operator| {
                let socket = &network.sockets[operator.socket];
                let has_gone = socket.server_shut || socket.client_shut || socket.client_reset;
                whom == Whom::Host(operator.host) && socket.was_registered && !has_gone
            });
            let operators = operators.filter(|o| !network.sockets[o.socket].register_failed);
            let expected = meant.len() + operators.count();
            drop(network);
            let number = self.add_safe_operator();
            self.ask_kick_of(number, whom.clone());
            let Some(kick) = self.kicks.len().checked_sub(1) else { return };
            if self.kicks[kick].by != number {
                // The connection by that number has gone before.
                continue;
            }
            self.run_until_idle();
            let answered = self.kicks[kick].answered.map(|(_, kicked)| kicked as usize);
            assert_eq!(answered, Some(expected), "{whom:?}");
            let still = self.there(|_| true);
            assert!(meant.iter().all(|number| !still.contains(number)), "{whom:?} left some");
            assert!(others.iter().all(|number| still.contains(number)), "{whom:?} took others");
        }
    }

    fn stop(&mut self) {
        let tasks = self.operators.len().min(3);
        for number in self.operators.len() - tasks..self.operators.len() {
            let operator = &self.operators[number];
            if !operator.has_left && operator.closed_in.is_none() {
                self.ask(number, "GET", "/status", Asked::Status);
                let operator = &mut self.operators[number];
                let sent = self.network.borrow_mut().send(operator.socket, &operator.outgoing);
                operator.outgoing.drain(..sent);
            }
        }
        // From here on everybody may be closed.
        self.members.iter_mut().for_each(|member| member.has_left = true);
        self.operators.iter_mut().for_each(|operator| operator.has_left = true);
        self.server.stop(&(), self.now);
        for _ in 0..ROUNDS_MAX {
            if self.server.is_stopped() {
                break;
            }
            let sockets = self.network.borrow().sockets.len();
            for socket in 0..sockets {
                let mut network = self.network.borrow_mut();
                network.receive(socket, usize::MAX);
                if network.sockets[socket].server_shut && !network.sockets[socket].client_shut {
                    network.shut(socket);
                }
            }
            self.run_last_round();
            if let Some(wait_ms) = self.server.poll_timeout(self.now) {
                self.now = self.now.after(wait_ms);
            }
        }
        assert!(self.server.is_stopped(), "the stop does not come to its end");
        assert_eq!(self.server.sockets(), 0, "sockets are left");
    }

    /// A round of a stop, which may take any time in its last turn.
    fn run_last_round(&mut self) {
        let events = self.network.borrow_mut().poll(40);
        self.server.begin_batch(self.now);
        for event in events {
            if let Event::Ready(id, ready) = event {
                self.server.on_ready(&(), id, ready, self.now);
            }
        }
        self.server.turn(&(), self.now);
        self.server.assert_turn_invariants();
    }
}

impl Member {
    /// It is surely a client of the server's.
    fn is_there(&self, socket: &Socket) -> bool {
        let has_gone = socket.server_shut || socket.client_shut || socket.client_reset;
        socket.was_registered && !socket.register_failed && !has_gone && !self.has_left
    }

    /// A name is known once it was said.
    fn may_be_named(&self, whom: &Whom) -> bool {
        !matches!(whom, Whom::Name(_)) || self.is_named
    }
}

impl Whom {
    fn is_about(&self, member: &Member) -> bool {
        match self {
            Whom::Id(socket) => *socket == member.socket,
            Whom::Listener(listener) => *listener == member.listener,
            Whom::Host(host) => *host == member.host,
            Whom::Name(name) => member.nick.as_ref() == Some(name),
        }
    }
}

/// Takes a whole response from the front of what has come.
fn take_response(inbox: &mut Vec<u8>) -> Option<(u16, Vec<u8>)> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut headers);
    let head_len = match response.parse(inbox).expect("a response") {
        httparse::Status::Complete(len) => len,
        httparse::Status::Partial => return None,
    };
    let status = response.code.expect("a status");
    let len = response.headers.iter().find(|field| field.name == "Content-Length");
    let len = std::str::from_utf8(len.expect("a length").value).expect("text");
    let end = head_len + len.parse::<usize>().expect("a number");
    if inbox.len() < end {
        return None;
    }
    let body = inbox[head_len..end].to_vec();
    inbox.drain(..end);
    Some((status, body))
}

fn address(host: usize, number: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1 + host as u8), number as u16))
}

fn config(listener: usize) -> ListenerConfig {
    let protocol: Protocol = match listener {
        CHAT => ChatProtocol::default().into(),
        ADMIN => AdminProtocol::default().into(),
        _ => CommandProtocol { payload_len_max: 8_192 }.into(),
    };
    ListenerConfig { name: NAMES[listener].to_owned(), protocol, idle_ms: 0 }
}

fn faults(rng: &mut Rng) -> Faults {
    let mut often = |least: usize| if rng.one_in(2) { 0 } else { least + rng.below(3 * least) };
    Faults {
        short_read: often(2),
        short_write: often(2),
        would_block: often(3),
        interrupted: often(10),
        accept_retry: often(3),
        accept_exhausted: often(8),
        register: often(60),
        spurious_event: often(5),
        stale_event: often(5),
        late_event: often(3),
    }
}
