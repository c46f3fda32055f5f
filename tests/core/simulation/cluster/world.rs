//! A world of nodes from a seed: what there is in it, what goes wrong, and how it comes to rest.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use mynah::internal::cluster::Link;
use mynah::internal::limits::Limits;

use super::checks::{are_same, check_all, check_presence, fold};
use super::clients::{Client, Heard, State};
use super::engine::{ModelEngine, Trouble, Version};
use super::node::Node;
use super::wires::Wires;
use super::{NOW, trace};
use crate::support::rng::Rng;

/// How long after the last fault everything is well again.
const HEAL_MS: u64 = 20_000;
/// How long a line takes to everybody, where nothing is wrong.
const REACH_MS: u64 = 1_500;

/// Time between two looks at the clock in one world of eight, in microseconds: a turn has time for one
/// event of other nodes.
const LOOK_MICROS: u64 = 1_000;

/// Where a node stops that is to be heard to the end: some of it waits to be sent, and not for long.
const LAST_WINDOW_BYTES: usize = 200;

/// A log that some ten broadcasts fill.
const SMALL_LOG_BYTES: usize = 600;

/// Nicknames that collide: equal ones, and some that look alike.
const NICKS: [&str; 10] = [
    "anna",
    "Anna",
    "ben",
    "cop",
    "\u{441}\u{43e}\u{440}",
    "pax",
    "\u{440}\u{430}\u{445}",
    "dora",
    "eva",
    "EVA",
];

/// The accounts, as clients may write them.
const ACCOUNTS: [&str; 4] = ["eva", "EVA", "pax", "ben"];

/// Runs the world of `seed` and returns the hash of all that happened.
///
/// # Panics
///
/// When a server breaks a rule.
pub fn run(seed: u64) -> u64 {
    let mut world = World::new(seed);
    world.run_with_faults();
    world.heal();
    world.check_rest();
    world.check_stop();
    check_all(&world.clients);
    world.hash()
}

struct World {
    rng: Rng,
    now: u64,
    nodes: Vec<Node>,
    engine: ModelEngine,
    wires: Wires,
    limits: Limits,
    clients: Vec<Client>,
    clients_max: usize,
    /// Pauses between what clients do, and between faults.
    action_ms: usize,
    fault_ms: usize,
    next_action: u64,
    next_fault: u64,
    /// When faults that take time are over.
    ends: Vec<(u64, Fault)>,
    delay_ms: usize,
    faults: Vec<Fault>,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Partition,
    Delays,
    EngineRestarts,
    EngineFailsOver,
    ScriptsAreForgotten,
    ConnectionsAreCut,
    ConnectionsAreForgotten,
    OutputIsBounded,
    Trouble,
    Pause,
    ClockJumps,
    Kill,
    Stop,
    ChatIsReplaced,
}

impl Fault {
    const ALL: [Fault; 14] = [
        Fault::Partition,
        Fault::Delays,
        Fault::EngineRestarts,
        Fault::EngineFailsOver,
        Fault::ScriptsAreForgotten,
        Fault::ConnectionsAreCut,
        Fault::ConnectionsAreForgotten,
        Fault::OutputIsBounded,
        Fault::Trouble,
        Fault::Pause,
        Fault::ClockJumps,
        Fault::Kill,
        Fault::Stop,
        Fault::ChatIsReplaced,
    ];
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0xc105_7e12);
        let mut engine = ModelEngine::new(Rng::new(seed ^ 0xe161));
        engine.version =
            [Version::Three, Version::Three, Version::NoHello, Version::NoProto][rng.below(4)];
        engine.password = rng.one_in(3).then(|| b"s3cret".to_vec());
        let wires = Wires::new(Rng::new(seed ^ 0x31e5));
        let limits = Limits {
            send_queue_bytes_max: [8_000, 100_000][rng.below(2)],
            broadcast_log_bytes_max: if seed % 5 == 4 { SMALL_LOG_BYTES } else { 64 << 10 },
            drain_timeout_ms: [0, 500][rng.below(2)],
            ..Limits::default()
        };
        let count = rng.between(2, 5);
        let has_accounts = cfg!(feature = "accounts") && rng.one_in(2);
        let nodes = (0..count).map(|number| {
            let mut node = Node::new(number, Rng::new(seed ^ (number as u64 + 7) << 8));
            // Not all know of them.
            node.has_accounts = has_accounts && number % 3 != 2;
            node.look_micros = if seed % 8 == 7 { LOOK_MICROS } else { 0 };
            node
        });
        // Some of all faults, in most worlds.
        let every = rng.between(1, 3);
        let mut faults: Vec<Fault> = Fault::ALL.into_iter().filter(|_| rng.one_in(every)).collect();
        if faults.is_empty() {
            faults.push(Fault::Partition);
        }
        let delay_ms = wires.delay_ms_max;
        let mut world = World {
            now: 0,
            nodes: nodes.collect(),
            engine,
            wires,
            limits,
            clients: Vec::new(),
            clients_max: rng.between(3, 14),
            action_ms: [20, 100, 400][rng.below(3)],
            fault_ms: [1_500, 6_000][rng.below(2)],
            next_action: 0,
            next_fault: rng.between(500, 6_000) as u64,
            ends: Vec::new(),
            delay_ms,
            faults,
            rng,
        };
        for number in 0..count {
            world.start(number);
        }
        world
    }

    fn start(&mut self, number: usize) {
        let password = self.engine.password.clone();
        self.nodes[number].start(self.limits, password, self.now);
    }

    fn run_with_faults(&mut self) {
        let until = self.rng.between(10_000, 40_000) as u64;
        while self.now < until {
            self.step(true);
            if self.now >= self.next_fault {
                self.next_fault = self.now + self.rng.between(100, self.fault_ms) as u64;
                let fault = self.faults[self.rng.below(self.faults.len())];
                self.begin(fault);
            }
            while let Some(at) = self.ends.iter().position(|(at, _)| *at <= self.now) {
                let (_, fault) = self.ends.swap_remove(at);
                self.end(fault);
            }
        }
    }

    fn begin(&mut self, fault: Fault) {
        let number = self.rng.below(self.nodes.len());
        let longest = [1_000, 5_000, 20_000][self.rng.below(3)];
        let ms = self.rng.between(100, longest) as u64;
        let until = self.now + ms;
        trace(|| format!("{fault:?} {number} until {until}"));
        match fault {
            Fault::Partition => {
                let directions = [[true, true], [true, false], [false, true]][self.rng.below(3)];
                let only = self.rng.below(4);
                trace(|| format!("{directions:?} but {only}"));
                for link in Link::ALL {
                    if only != link as usize {
                        self.wires.block(number, link, directions);
                    }
                }
            }
            Fault::Delays => self.wires.delay_ms_max = 1_200,
            Fault::EngineRestarts => self.engine.restart(),
            Fault::EngineFailsOver => self.engine.fail_over(),
            Fault::ScriptsAreForgotten => self.engine.flush_scripts(),
            Fault::ConnectionsAreCut => self.engine.cut(self.rng.one_in(2)),
            Fault::ConnectionsAreForgotten => {
                let but = self.rng.below(3);
                for link in Link::ALL.into_iter().filter(|link| *link as usize != but) {
                    self.wires.forget(number, link);
                }
            }
            Fault::OutputIsBounded => self.engine.output_max = self.rng.between(50, 4_000),
            Fault::Trouble => {
                let troubles = [
                    Trouble::Loading,
                    Trouble::ReadOnly,
                    Trouble::NoAuth,
                    Trouble::OutOfMemory,
                    Trouble::NoDisk,
                ];
                self.engine.trouble = Some(troubles[self.rng.below(troubles.len())]);
            }
            Fault::Pause => self.nodes[number].paused_until = until,
            Fault::ClockJumps => self.nodes[number].jump(ms),
            Fault::Kill => {
                self.nodes[number].kill(&mut self.wires, self.now);
                self.cut_clients(number);
            }
            Fault::Stop => self.stop(number),
            Fault::ChatIsReplaced => self.replace_chat(number),
        }
        self.ends.push((until, fault));
    }

    /// What its clients said may get no further than to the node.
    fn stop(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let of_node = |client: &&mut Client| client.node == number && client.life == node.life;
        self.clients.iter_mut().filter(of_node).for_each(|client| client.is_cut = true);
        node.stop(self.now);
    }

    /// Another listener takes the place of the chat: what was said there may get no further.
    fn replace_chat(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        if node.server.is_none() || node.is_stopping {
            return;
        }
        let of_chat = |client: &&mut Client| {
            client.node == number && client.life == node.life && client.is_chat
        };
        self.clients.iter_mut().filter(of_chat).for_each(|client| client.is_cut = true);
        node.replace_chat();
    }

    fn end(&mut self, fault: Fault) {
        trace(|| format!("the end of {fault:?}"));
        match fault {
            // All that there are at a time end together.
            Fault::Partition => self.wires.unblock_all(),
            Fault::Delays => self.wires.delay_ms_max = self.delay_ms,
            Fault::OutputIsBounded => self.engine.output_max = usize::MAX,
            Fault::Trouble => self.engine.trouble = None,
            Fault::Kill | Fault::Stop => self.start_missing(),
            _ => {}
        }
    }

    fn start_missing(&mut self) {
        for number in 0..self.nodes.len() {
            if self.nodes[number].server.is_none() {
                self.cut_clients(number);
                self.start(number);
            }
        }
    }

    /// The clients of a node have lost their connections; and what those have said who left before may
    /// not have got further than to the node.
    fn cut_clients(&mut self, number: usize) {
        let node = &self.nodes[number];
        for client in &mut self.clients {
            if client.node == number && client.life == node.life {
                client.cut();
            }
        }
    }

    /// Ends all faults, and waits until all is well.
    fn heal(&mut self) {
        for (_, fault) in std::mem::take(&mut self.ends) {
            self.end(fault);
        }
        self.wires.unblock_all();
        self.nodes.iter_mut().for_each(|node| node.paused_until = 0);
        // Some have gone for good.
        if self.rng.one_in(2) {
            self.start_missing();
        }
        let healed_at = self.now;
        trace(|| "healed".to_owned());
        while self.now < healed_at + HEAL_MS {
            let may_act = self.now < healed_at + HEAL_MS / 2;
            self.step(may_act);
        }
    }

    fn step(&mut self, may_act: bool) {
        let dues = self.nodes.iter().filter_map(|node| node.next_due(self.now));
        let due = dues.chain(self.wires.next_due()).chain([self.next_action]).min();
        let most = self.rng.skewed(300) as u64;
        let due = due.unwrap_or(u64::MAX).min(self.now + most);
        let late = if self.rng.one_in(5) { self.rng.skewed(20) as u64 } else { 0 };
        self.now = due.max(self.now + 1) + late;
        NOW.set(self.now);
        self.engine.set_now(self.now);
        self.wires.advance(&mut self.engine, self.now);
        if may_act && self.now >= self.next_action {
            self.next_action = self.now + self.rng.skewed(self.action_ms) as u64;
            self.act();
        } else if self.now >= self.next_action {
            self.next_action = self.now + 1_000;
        }
        for client in &mut self.clients {
            let node = &self.nodes[client.node];
            if client.state != State::Gone && client.life == node.life {
                client.run(node, self.now);
            }
        }
        for node in &mut self.nodes {
            node.run(&mut self.wires, &mut self.engine, self.now);
        }
        self.wires.advance(&mut self.engine, self.now);
        for number in 0..self.nodes.len() {
            let node = &self.nodes[number];
            for client in &mut self.clients {
                if client.node == number && client.life == node.life && client.state != State::Gone
                {
                    client.run(node, self.now);
                }
            }
            if self.nodes[number].server.is_none() {
                self.cut_clients(number);
            }
        }
    }

    /// Some client does something.
    fn act(&mut self) {
        let there = self.clients.iter().filter(|client| client.state != State::Gone).count();
        if there < self.clients_max && self.rng.one_in(3) {
            let node = self.rng.below(self.nodes.len());
            if self.nodes[node].is_running(self.now) && !self.nodes[node].is_stopping {
                let is_chat = !self.rng.one_in(4);
                let number = self.clients.len();
                self.clients.push(Client::connect(number, &self.nodes[node], is_chat, self.now));
            }
            return;
        }
        if self.clients.is_empty() {
            return;
        }
        let at = self.rng.below(self.clients.len());
        let nick = match self.rng.below(3) {
            0 => format!("user{at}"),
            _ => NICKS[self.rng.below(NICKS.len())].to_owned(),
        };
        let other = self.clients[self.rng.below(self.clients.len())].nick.clone();
        let now = self.now;
        let client = &mut self.clients[at];
        let node = &self.nodes[client.node];
        match client.state {
            State::Gone | State::Asked => {}
            _ if client.is_leaving => {}
            State::Outside if node.has_accounts && self.rng.one_in(3) => {
                client.log_in(ACCOUNTS[self.rng.below(ACCOUNTS.len())]);
            }
            State::Outside => client.ask(&nick),
            State::Member => match self.rng.below(40) {
                0 => client.leave(node, self.rng.one_in(2)),
                1..4 if client.is_chat => client.line("/who"),
                4..8 if client.is_chat && !other.is_empty() => client.send_private(&other, now),
                8..20 if !client.is_chat => client.broadcast_long(self.rng.between(1, 100), now),
                _ => client.post(now),
            },
        }
    }

    /// Everything is well: everyone is known everywhere, once, and reaches everyone.
    fn check_rest(&mut self) {
        self.check_nodes();
        let members = self.members();
        self.check_names(&members);
        let marks: Vec<usize> = self.clients.iter().map(|client| client.heard.len()).collect();
        let now = self.now;
        for number in &members {
            let client = &mut self.clients[*number];
            if client.is_chat {
                client.line("/who");
            }
            client.post(now);
        }
        let chats: Vec<usize> =
            members.iter().copied().filter(|number| self.clients[*number].is_chat).collect();
        for (at, number) in chats.iter().enumerate() {
            let to = self.clients[chats[(at + 1) % chats.len()]].nick.clone();
            self.clients[*number].send_private(&to, now);
        }
        let until = self.now + REACH_MS;
        while self.now < until {
            self.step(false);
        }
        self.check_reached(&members, &marks, now);
        check_presence(&self.clients);
    }

    /// While all is well, a node that stops is heard to the end, and says that it goes: nobody has to
    /// wait until it is missed.
    fn check_stop(&mut self) {
        let is_running = |node: &Node| node.server.is_some();
        let Some(number) = self.nodes.iter().position(is_running) else { return };
        if self.limits.drain_timeout_ms == 0 {
            return;
        }
        if self.wires.delay_ms_max <= 20 {
            self.wires.window = LAST_WINDOW_BYTES;
        }
        let marks: Vec<usize> = self.clients.iter().map(|client| client.heard.len()).collect();
        let (speakers, hearers): (Vec<usize>, Vec<usize>) =
            self.members().into_iter().partition(|member| self.clients[*member].node == number);
        speakers.iter().for_each(|at| self.clients[*at].post(self.now));
        self.step(false);
        self.stop(number);
        let until = self.now + REACH_MS;
        while self.now < until {
            self.step(false);
        }
        let name = &self.nodes[number].name;
        for node in &self.nodes {
            let Some(server) = &node.server else { continue };
            let is_known = server.node().expect("it is a node").others().any(|(_, n, _)| n == name);
            assert!(!is_known, "{} has not heard that {name} has stopped", node.name);
        }
        for hearer in hearers.iter().map(|at| &self.clients[*at]) {
            let heard = &hearer.heard[marks[hearer.number]..];
            let has_heard = |what: &Heard| heard.iter().any(|(_, heard)| heard == what);
            let speakers = speakers.iter().map(|at| &self.clients[*at]);
            for speaker in speakers.filter(|speaker| speaker.is_chat == hearer.is_chat) {
                let (by, of, nick) = (hearer.number, speaker.number, speaker.nick.clone());
                let seq = speaker.said.last().expect("it has said something").seq;
                let last = Heard::Post { nick: nick.clone(), from: of, seq };
                assert!(has_heard(&last), "{by} has not heard the last of {of}");
                let has_left = !speaker.is_chat || has_heard(&Heard::Left(nick));
                assert!(has_left, "{by} has not heard that {of} has left");
            }
        }
    }

    fn members(&self) -> Vec<usize> {
        let members = self.clients.iter().filter(|client| client.is_member());
        members.map(|client| client.number).collect()
    }

    fn check_nodes(&self) {
        let mut running: Vec<u64> = Vec::new();
        for node in self.nodes.iter().filter(|node| node.server.is_some()) {
            running.push(node.incarnation);
        }
        for node in &self.nodes {
            let Some(server) = &node.server else { continue };
            let own = server.node().expect("it is a node");
            let others = own.others().count();
            let names: Vec<_> = own.others().map(|(_, name, _)| name.to_owned()).collect();
            assert_eq!(own.deaf_ms(), None, "{} is deaf", node.name);
            assert_eq!(others + 1, running.len(), "{} hears {names:?}", node.name);
        }
        let most = 200 + 20 * self.clients.len();
        assert!(self.engine.len() <= most, "{} keys in the engine", self.engine.len());
    }

    /// No two have one name, and the engine has the names of all, and no others.
    fn check_names(&mut self, members: &[usize]) {
        let chats: Vec<&Client> =
            members.iter().map(|number| &self.clients[*number]).filter(|c| c.is_chat).collect();
        for (at, one) in chats.iter().enumerate() {
            for other in &chats[..at] {
                let (a, b) = (one.number, other.number);
                assert!(
                    !are_same(&one.nick, &other.nick),
                    "{a} and {b} are {} and {}",
                    one.nick,
                    other.nick
                );
            }
        }
        let mut names: Vec<String> = chats.iter().map(|client| fold(&client.nick)).collect();
        names.sort_unstable();
        assert_eq!(self.engine.live_names(), names, "names in the engine, and of members");
    }

    fn check_reached(&self, members: &[usize], marks: &[usize], since: u64) {
        let mut nicks: Vec<&str> = members
            .iter()
            .map(|number| &self.clients[*number])
            .filter(|client| client.is_chat)
            .map(|client| &*client.nick)
            .collect();
        nicks.sort_unstable();
        for number in members {
            let client = &self.clients[*number];
            assert!(client.is_member(), "{number} was there, and is {:?}", client.state);
            let heard: Vec<&Heard> =
                client.heard[marks[*number]..].iter().map(|(_, heard)| heard).collect();
            assert!(!heard.contains(&&Heard::Missed), "{number} has missed something");
            assert!(!heard.contains(&&Heard::NoSuchUser), "{number} has written to nobody");
            let room: Vec<&Client> = members
                .iter()
                .map(|other| &self.clients[*other])
                .filter(|other| other.is_chat == client.is_chat)
                .collect();
            for speaker in &room {
                if speaker.number == *number {
                    continue;
                }
                let last = speaker.said.iter().rfind(|said| said.to.is_none() && said.at == since);
                let seq = last.expect("it has said something").seq;
                let is_heard = heard.iter().any(|heard| {
                    matches!(heard, Heard::Post { from, seq: at, .. } if *from == speaker.number && *at == seq)
                });
                assert!(is_heard, "{number} has not heard the last of {}", speaker.number);
            }
            if client.is_chat {
                let who = heard.iter().find_map(|heard| match heard {
                    Heard::Who(nicks) => Some(nicks),
                    _ => None,
                });
                let who = who.unwrap_or_else(|| panic!("{number} is not told who is there"));
                assert_eq!(*who, nicks, "what {number} on node {} is told", client.node);
                let private = heard.iter().filter(|heard| matches!(heard, Heard::Private { .. }));
                assert_eq!(private.count(), 1, "private messages for {number}");
            } else {
                assert_eq!(client.reached.last(), Some(&(room.len() - 1)), "reached by {number}");
            }
        }
    }

    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.now.hash(&mut hasher);
        for client in &self.clients {
            (client.number, client.node, &client.nick).hash(&mut hasher);
            format!("{:?}", client.heard).hash(&mut hasher);
        }
        hasher.finish()
    }
}
