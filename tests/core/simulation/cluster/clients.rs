//! Clients of nodes: members of the chat who post numbered lines, and command clients who broadcast
//! numbered payloads. Each keeps what it has said and heard; `checks` says what that must be.

use mynah::internal::codec::command::Command;
use mynah::internal::server::Server;

use super::node::{CHAT, COMMAND, Node};
use super::trace;
use crate::simulation::network::FakeStream;

/// What a member has heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Post { nick: String, from: usize, seq: u64 },
    Private { nick: String, from: usize, seq: u64 },
    NoSuchUser,
    Missed,
    Joined(String),
    Left(String),
    Together,
    Welcome,
    Lost,
    Who(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Without a nickname.
    Outside,
    /// It has asked for one.
    Asked,
    Member,
    Gone,
}

/// A time as a member under one nickname.
#[derive(Debug, Clone)]
pub struct Stint {
    pub nick: String,
    /// Its part of what was heard.
    pub first: usize,
    pub end: Option<usize>,
    pub since: u64,
}

/// Something that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub seq: u64,
    pub at: u64,
    /// The nickname it is for, where it is for one alone.
    pub to: Option<String>,
}

/// A client of one node.
pub struct Client {
    pub number: usize,
    pub node: usize,
    /// Which of the node's lives it has been in.
    pub life: usize,
    pub is_chat: bool,
    socket: usize,
    input: Vec<u8>,
    output: Vec<u8>,
    pub state: State,
    pub nick: String,
    pub stints: Vec<Stint>,
    pub heard: Vec<(u64, Heard)>,
    pub said: Vec<Said>,
    next_seq: u64,
    /// Answers to broadcasts: how many were reached.
    pub reached: Vec<usize>,
    /// It has said that it leaves, and says no more.
    pub is_leaving: bool,
    /// What it has heard since its node knows of all others.
    pub settled_from: Option<usize>,
    /// Not all that it said may have been taken: it was reset, or its node was.
    pub is_cut: bool,
}

impl Client {
    pub fn connect(number: usize, node: &Node, is_chat: bool, now: u64) -> Self {
        let listener = if is_chat { CHAT } else { COMMAND };
        let socket = node.network.borrow_mut().connect(listener, 1 << 20, 1 << 20);
        let first = Stint { nick: String::new(), first: 0, end: None, since: now };
        Client {
            number,
            node: node.number,
            life: node.life,
            is_chat,
            socket,
            input: Vec::new(),
            output: Vec::new(),
            state: if is_chat { State::Outside } else { State::Member },
            nick: String::new(),
            stints: if is_chat { Vec::new() } else { vec![first] },
            heard: Vec::new(),
            said: Vec::new(),
            next_seq: 0,
            reached: Vec::new(),
            is_leaving: false,
            settled_from: None,
            is_cut: false,
        }
    }

    pub fn is_member(&self) -> bool {
        self.state == State::Member
    }

    pub fn ask(&mut self, nick: &str) {
        self.nick = nick.to_owned();
        self.state = State::Asked;
        self.line(nick);
    }

    /// Logs in to an account, which it knows the password of.
    pub fn log_in(&mut self, name: &str) {
        self.state = State::Asked;
        self.line(&format!("/login {name} password"));
    }

    pub fn post(&mut self, now: u64) {
        let (number, seq) = (self.number, self.next_seq);
        self.next_seq += 1;
        self.said.push(Said { seq, at: now, to: None });
        if self.is_chat {
            self.line(&format!("#{number} {seq}"));
        } else {
            self.broadcast(&format!("#{number} {seq}"));
        }
    }

    fn broadcast(&mut self, payload: &str) {
        self.output.push(Command::Broadcast.code());
        self.output.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        self.output.extend_from_slice(payload.as_bytes());
    }

    /// Broadcasts a number of so many digits.
    pub fn broadcast_long(&mut self, digits: usize, now: u64) {
        let (number, seq) = (self.number, self.next_seq);
        self.next_seq += 1;
        self.said.push(Said { seq, at: now, to: None });
        self.broadcast(&format!("#{number} {seq:0digits$}"));
    }

    pub fn send_private(&mut self, to: &str, now: u64) {
        let (number, seq) = (self.number, self.next_seq);
        self.next_seq += 1;
        self.said.push(Said { seq, at: now, to: Some(to.to_owned()) });
        self.line(&format!("/msg {to} #{number} {seq}"));
    }

    pub fn line(&mut self, line: &str) {
        trace(|| format!("{} of node {} says {line}", self.number, self.node));
        self.output.extend_from_slice(line.as_bytes());
        self.output.push(b'\n');
    }

    pub fn leave(&mut self, node: &Node, is_reset: bool) {
        self.is_leaving = true;
        if is_reset {
            self.is_cut = true;
            node.network.borrow_mut().reset(self.socket);
            self.go();
        } else if self.is_chat {
            self.line("/quit");
        } else {
            self.output.extend_from_slice(&[Command::Quit.code(), 0, 0, 0, 0]);
        }
    }

    /// Its node, as it knew it, is not there any more.
    pub fn cut(&mut self) {
        self.is_cut = true;
        self.go();
    }

    fn go(&mut self) {
        self.state = State::Gone;
        let end = self.heard.len();
        if let Some(stint) = self.stints.last_mut() {
            stint.end.get_or_insert(end);
        }
    }

    /// Sends what it has to say, and hears what there is.
    pub fn run(&mut self, node: &Node, now: u64) {
        if self.state == State::Gone {
            return;
        }
        let mut network = node.network.borrow_mut();
        if !self.output.is_empty() {
            let taken = network.send(self.socket, &self.output);
            self.output.drain(..taken);
        }
        let bytes = network.receive(self.socket, usize::MAX);
        let is_over = network.sockets[self.socket].server_shut;
        drop(network);
        let has_settled =
            |server: &Server<FakeStream>| server.node().is_some_and(|node| node.has_settled());
        if self.settled_from.is_none() && node.server.as_ref().is_some_and(has_settled) {
            self.settled_from = Some(self.heard.len());
        }
        self.input.extend(bytes);
        if self.is_chat {
            self.hear_lines(now);
        } else {
            self.hear_frames(now);
        }
        if is_over && self.state != State::Gone {
            node.network.borrow_mut().shut(self.socket);
            self.go();
        }
    }

    fn hear_lines(&mut self, now: u64) {
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            let line = String::from_utf8(line).expect("lines are UTF-8");
            self.hear_line(line.trim_end(), now);
        }
    }

    fn hear_line(&mut self, line: &str, now: u64) {
        trace(|| format!("{} of node {} hears {line}", self.number, self.node));
        let heard = if let Some(nick) = line.strip_prefix("[INFO] Welcome, ") {
            assert_eq!(self.state, State::Asked, "client {} is welcomed", self.number);
            self.state = State::Member;
            // As the account is written.
            self.nick = nick.strip_suffix('!').expect("a welcome").to_owned();
            let (nick, first) = (self.nick.clone(), self.heard.len());
            self.stints.push(Stint { nick, first, end: None, since: now });
            Heard::Welcome
        } else if line.starts_with("[INFO] ") && line.ends_with("may have been missed") {
            Heard::Missed
        } else if line.ends_with(" logged in elsewhere") {
            assert!(self.is_member() || self.is_leaving, "client {} makes way", self.number);
            (self.state, self.is_leaving, self.is_cut) = (State::Outside, true, true);
            let end = self.heard.len();
            self.stints.last_mut().expect("a member").end = Some(end);
            Heard::Lost
        } else if line.contains(" is registered: /login ") {
            self.state = State::Outside;
            return;
        } else if line.ends_with(" is taken, choose another") {
            let was_member = self.is_member();
            self.state = State::Outside;
            if !was_member {
                return;
            }
            let end = self.heard.len();
            self.stints.last_mut().expect("a member").end = Some(end);
            Heard::Lost
        } else if line.starts_with("[ERROR] a nickname has no blanks") {
            // The last of what it said came after it had lost its nickname.
            let at = self.said.iter().rposition(|said| said.to.is_none());
            self.said.remove(at.expect("it has said something"));
            return;
        } else if line.starts_with("[ERROR] no such user") {
            Heard::NoSuchUser
        } else if let Some(nicks) = line.strip_prefix("Online: ") {
            Heard::Who(nicks.split(", ").map(str::to_owned).collect())
        } else if let Some(rest) = line.strip_prefix("[SERVER] ") {
            match rest.rsplit_once(' ') {
                Some((nick, "joined")) if nick.parse::<u32>().is_err() => {
                    Heard::Joined(nick.to_owned())
                }
                Some((nick, "left")) if nick.parse::<u32>().is_err() => {
                    Heard::Left(nick.to_owned())
                }
                _ => Heard::Together,
            }
        } else if let Some(rest) = line.strip_prefix("[PM] ") {
            let (nick, text) = rest.split_once(": ").expect("a private message");
            let (from, seq) = numbers(text);
            Heard::Private { nick: nick.to_owned(), from, seq }
        } else if let Some((nick, text)) = line.strip_prefix('[').and_then(|l| l.split_once("]: "))
        {
            if nick.starts_with("PM to ") {
                return;
            }
            let (from, seq) = numbers(text);
            Heard::Post { nick: nick.to_owned(), from, seq }
        } else {
            return;
        };
        self.heard.push((now, heard));
    }

    fn hear_frames(&mut self, now: u64) {
        while self.input.len() >= 5 {
            let len = u32::from_be_bytes(self.input[1..5].try_into().expect("four")) as usize;
            if self.input.len() < 5 + len {
                break;
            }
            let frame: Vec<u8> = self.input.drain(..5 + len).collect();
            let text = str::from_utf8(&frame[5..]).expect("text");
            if frame[0] == Command::Broadcast.code() {
                let (from, seq) = numbers(text);
                self.heard.push((now, Heard::Post { nick: String::new(), from, seq }));
            } else {
                self.reached.push(text.parse().expect("how many were reached"));
            }
        }
    }
}

fn numbers(text: &str) -> (usize, u64) {
    let numbers = text.strip_prefix('#').and_then(|text| text.split_once(' '));
    let (from, seq) = numbers.unwrap_or_else(|| panic!("nobody has said {text:?}"));
    (from.parse().expect("a client"), seq.parse().expect("a number"))
}
