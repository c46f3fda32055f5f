//! A whole server that is a node, with two members and a `command` client, and an engine that does what
//! it is asked.

use std::rc::Rc;

use mynah::internal::clock::Millis;
use mynah::internal::cluster::{Engine, EngineConfig, Link, NodeConfig, Script, Want};
use mynah::internal::limits::Limits;
use mynah::internal::protocol::chat::Lang;
use mynah::internal::protocol::{ChatProtocol, CommandProtocol};
use mynah::internal::server::{ListenerConfig, Readiness, Server};

use super::sockets::{Client, Clients, Stream};

/// The node's own incarnation.
pub(super) const INCARNATION: u64 = 1 << 40;

/// The names of its channels.
pub(super) const CHANNELS: [&str; 2] = ["chat:lobby", "command:room"];

/// Rounds at one moment after which the server counts as spinning.
const ROUNDS_MAX: usize = 1_000;

/// The node, its clients and its engine.
pub(super) struct World {
    pub(super) server: Server<Stream>,
    pub(super) now: Millis,
    pub(super) clients: Vec<Client>,
    /// Connections to the engine that are there, and what it has said on them that is not read.
    is_open: [bool; 2],
    said: [Vec<u8>; 2],
    /// What it has been sent that is not a whole command.
    asked: [Vec<u8>; 2],
    /// The subscriber has subscribed.
    pub(super) is_subscribed: bool,
    loads: usize,
    /// The engine grants no names.
    pub(super) refuses: bool,
    /// The engine does not pass on what this node publishes.
    pub(super) is_mute: bool,
}

impl World {
    pub(super) fn new() -> World {
        let now = Millis(1_000_000);
        let mut server = Server::new(Limits::default(), now);
        let clients: Vec<Client> = (0..3).map(|_| Client::default()).collect();
        let chat = ChatProtocol::new(Lang::En).into();
        let command = CommandProtocol { payload_len_max: 1_000 }.into();
        let sides = [(chat, &clients[..2]), (command, &clients[2..])];
        for (number, (protocol, clients)) in sides.into_iter().enumerate() {
            let config = ListenerConfig { name: String::new(), protocol, idle_ms: 0 };
            server.add_listener(Clients(clients.iter().rev().map(Rc::clone).collect()), config);
            server.on_acceptable(number);
        }
        let config = EngineConfig {
            url: "redis://engine".to_owned(),
            username: String::new(),
            password: Vec::new(),
            database: 0,
            client_name: "mynah:n".to_owned(),
            unsent_bytes_max: Limits::default().send_queue_bytes_max,
            message_bytes_max: 1 << 20,
        };
        let node = NodeConfig { name: "n".to_owned(), prefix: "p".to_owned() };
        server.enable_cluster(node, Engine::new(config, 1), INCARNATION);
        CHANNELS.iter().enumerate().for_each(|(at, name)| server.set_channel(at, Some(name)));
        let mut world = World {
            server,
            now,
            clients,
            is_open: [false; 2],
            said: Default::default(),
            asked: Default::default(),
            is_subscribed: false,
            loads: 0,
            refuses: false,
            is_mute: false,
        };
        world.run();
        world
    }

    /// A client sends bytes.
    pub(super) fn send(&mut self, client: usize, bytes: &[u8]) {
        self.clients[client].borrow_mut().to_server.extend_from_slice(bytes);
        let id = self.clients[client].borrow().id.expect("it was accepted");
        let ready = Readiness { readable: true, writable: true, read_closed: false };
        self.server.begin_batch(self.now);
        self.server.on_ready(&(), id, ready, self.now);
        self.run();
    }

    /// What a client has been sent since the last call.
    pub(super) fn take_output(&mut self, client: usize) -> Vec<u8> {
        std::mem::take(&mut self.clients[client].borrow_mut().to_client)
    }

    /// Time passes, a second at a time at most.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now.after(ms);
        while self.now < end {
            self.now = self.now.after(1_000).min(end);
            self.run();
        }
    }

    /// The engine publishes a message, if anybody hears it. Returns whether the node does.
    pub(super) fn publish(&mut self, channel: &str, payload: &[u8]) -> bool {
        if !self.is_subscribed {
            return false;
        }
        let said = &mut self.said[Link::Subscriber as usize];
        let channel = format!("{{p}}:{channel}");
        said.extend_from_slice(
            format!(">3\r\n$7\r\nmessage\r\n${}\r\n{channel}\r\n", channel.len()).as_bytes(),
        );
        said.extend_from_slice(format!("${}\r\n", payload.len()).as_bytes());
        said.extend_from_slice(payload);
        said.extend_from_slice(b"\r\n");
        true
    }

    /// A connection to the engine ends. What was said on it is lost.
    pub(super) fn fail(&mut self, link: Link) {
        if std::mem::take(&mut self.is_open[link as usize]) {
            let now = self.now;
            self.engine().on_failed(link, "it has ended", now);
            self.close(link);
        }
        self.run();
    }

    fn close(&mut self, link: Link) {
        self.is_open[link as usize] = false;
        self.said[link as usize].clear();
        self.asked[link as usize].clear();
        self.is_subscribed &= link != Link::Subscriber;
    }

    fn engine(&mut self) -> &mut Engine {
        self.server.cluster_engine_mut().expect("it is a node")
    }

    /// Turns until there is nothing to do.
    pub(super) fn run(&mut self) {
        for round in 0.. {
            assert!(round < ROUNDS_MAX, "the server spins");
            self.server.begin_batch(self.now);
            Link::ALL.into_iter().for_each(|link| self.advance(link));
            self.server.turn(&(), self.now);
            self.server.assert_turn_invariants();
            let is_quiet = Link::ALL.into_iter().all(|link| self.is_quiet(link));
            if is_quiet && self.server.poll_timeout(self.now) != Some(0) {
                return;
            }
        }
    }

    fn is_quiet(&mut self, link: Link) -> bool {
        let has_said = !self.said[link as usize].is_empty();
        let engine = self.engine();
        engine.unsent(link).is_empty() && !(has_said && engine.may_read(link))
    }

    /// Goes on with a connection to the engine.
    fn advance(&mut self, link: Link) {
        let now = self.now;
        let at = link as usize;
        match self.engine().want(link, now) {
            Want::Nothing => {}
            Want::Close => self.close(link),
            Want::Connect => {
                self.close(link);
                self.engine().on_connecting(link, now);
                self.engine().on_connected(link, now);
                self.is_open[at] = true;
            }
        }
        let unsent = self.engine().unsent(link).to_vec();
        self.engine().on_sent(link, unsent.len());
        self.asked[at].extend_from_slice(&unsent);
        self.answer(link);
        if self.engine().may_read(link) {
            let said = std::mem::take(&mut self.said[at]);
            self.engine().on_bytes(link, &said, now);
        }
    }

    fn answer(&mut self, link: Link) {
        while let Some(parts) = take_command(&mut self.asked[link as usize]) {
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let answer = match parts[..] {
                [b"HELLO", ..] => "%0\r\n".to_owned(),
                [b"SCRIPT", ..] => {
                    self.loads += 1;
                    format!("+{}\r\n", (self.loads - 1) % Script::ALL.len())
                }
                [b"PUBLISH", channel, payload] => {
                    let channel = str::from_utf8(channel).expect("a channel's name");
                    if !self.is_mute {
                        self.publish(channel.strip_prefix("{p}:").expect("the prefix"), payload);
                    }
                    ":1\r\n".to_owned()
                }
                [b"EVALSHA", sha, keys, ref rest @ ..] => self.call(sha, keys, rest),
                [b"SUBSCRIBE", ref channels @ ..] => {
                    self.is_subscribed = true;
                    let channels = channels.iter().map(|it| String::from_utf8_lossy(it));
                    let said = channels.map(|it| format!(">3\r\n+subscribe\r\n+{it}\r\n:1\r\n"));
                    said.collect()
                }
                _ => panic!("{:?}", parts.iter().map(|it| it.escape_ascii()).collect::<Vec<_>>()),
            };
            self.said[link as usize].extend_from_slice(answer.as_bytes());
        }
    }

    /// What a script answers: leases are there, names are granted unless the engine refuses.
    fn call(&self, sha: &[u8], keys: &[u8], rest: &[&[u8]]) -> String {
        let keys: usize = str::from_utf8(keys).expect("a number").parse().expect("a number");
        let args = rest.len() - keys;
        let number = usize::from(sha[0] - b'0');
        let (count, granted) = match Script::ALL[number] {
            Script::Renew => return ":1\r\n".to_owned(),
            Script::Claim => ((args - 5) / 5, !self.refuses),
            Script::Release => (args - 2, true),
        };
        format!("*{count}\r\n") + &format!(":{}\r\n", u8::from(granted)).repeat(count)
    }
}

/// Takes a whole command from the start of what was asked.
fn take_command(asked: &mut Vec<u8>) -> Option<Vec<Vec<u8>>> {
    fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let line = str::from_utf8(&rest[1..end]).expect("a number");
        *rest = &rest[end + 2..];
        Some(line)
    }
    let mut rest = &asked[..];
    let count: usize = line(&mut rest)?.parse().expect("a number");
    let mut parts = Vec::new();
    for _ in 0..count {
        let len: usize = line(&mut rest)?.parse().expect("a number");
        parts.push(rest.get(..len)?.to_vec());
        rest = rest.get(len + 2..)?;
    }
    let left = rest.len();
    asked.drain(..asked.len() - left);
    Some(parts)
}
