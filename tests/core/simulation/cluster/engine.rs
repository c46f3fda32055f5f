//! A model of the engine, Redis or Valkey: connections that speak RESP by bytes, publish and subscribe,
//! scripts, and what can be wrong with it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mynah::internal::cluster::Script;

use super::store::{Reply, Store};
use super::trace;
use crate::support::rng::Rng;

/// How often what is kept is copied to the replica, and how much it is behind.
const COPY_MS: u64 = 100;
const REPLICA_LAG_MS: u64 = 1_000;

/// What the engine answers in place of what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    Loading,
    ReadOnly,
    NoAuth,
    OutOfMemory,
    NoDisk,
}

/// What there is of RESP3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Three,
    /// It refuses to speak it.
    NoProto,
    /// It does not know HELLO.
    NoHello,
}

pub struct ModelEngine {
    pub version: Version,
    pub password: Option<Vec<u8>>,
    /// Bytes that wait for a connection at which it is cut.
    pub output_max: usize,
    pub trouble: Option<Trouble>,
    store: Store,
    copies: VecDeque<(u64, Store)>,
    is_loaded: [bool; Script::ALL.len()],
    connections: BTreeMap<u64, Connection>,
    next_id: u64,
    now: u64,
    rng: Rng,
}

#[derive(Default)]
pub struct Connection {
    input: Vec<u8>,
    pub output: Vec<u8>,
    is_resp3: bool,
    is_known: bool,
    channels: BTreeSet<Vec<u8>>,
    pub is_closed: bool,
}

impl ModelEngine {
    pub fn new(rng: Rng) -> Self {
        ModelEngine {
            version: Version::Three,
            password: None,
            output_max: usize::MAX,
            trouble: None,
            store: Store::default(),
            copies: VecDeque::new(),
            is_loaded: [false; Script::ALL.len()],
            connections: BTreeMap::new(),
            next_id: 0,
            now: 0,
            rng,
        }
    }

    pub fn set_now(&mut self, now: u64) {
        self.now = now;
        self.store.expire(now);
        if self.copies.back().is_none_or(|(at, _)| now >= at + COPY_MS) {
            self.copies.push_back((now, self.store.clone()));
        }
        while self.copies.get(1).is_some_and(|(at, _)| at + REPLICA_LAG_MS <= now) {
            self.copies.pop_front();
        }
    }

    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// The folded names that nodes have now.
    pub fn live_names(&mut self) -> Vec<String> {
        self.store.expire(self.now);
        self.store.live_names("{mynah}:")
    }

    /// It comes back empty.
    pub fn restart(&mut self) {
        self.store = Store::default();
        self.forget();
    }

    /// Its replica takes over, which lacks the last second.
    pub fn fail_over(&mut self) {
        if let Some((_, copy)) = self.copies.pop_front() {
            self.store = copy;
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.copies.clear();
        self.flush_scripts();
        self.connections.values_mut().for_each(|connection| connection.is_closed = true);
    }

    pub fn flush_scripts(&mut self) {
        self.is_loaded = [false; Script::ALL.len()];
    }

    /// Cuts all that hear something, or all that do not.
    pub fn cut(&mut self, are_subscribers: bool) {
        for connection in self.connections.values_mut() {
            connection.is_closed |= connection.channels.is_empty() != are_subscribers;
        }
    }

    pub fn connect(&mut self) -> u64 {
        self.next_id += 1;
        let is_known = self.password.is_none();
        self.connections.insert(self.next_id, Connection { is_known, ..Connection::default() });
        self.next_id
    }

    pub fn connection(&mut self, id: u64) -> &mut Connection {
        self.connections.get_mut(&id).expect("a connection")
    }

    pub fn drop_connection(&mut self, id: u64) {
        self.connections.remove(&id);
    }

    pub fn on_bytes(&mut self, id: u64, bytes: &[u8]) {
        self.connection(id).input.extend_from_slice(bytes);
        loop {
            let connection = self.connection(id);
            if connection.is_closed {
                return;
            }
            let Some((command, len)) = parse(&connection.input) else { return };
            connection.input.drain(..len);
            self.run(id, &command);
        }
    }

    fn say(&mut self, id: u64, bytes: &[u8]) {
        let output_max = self.output_max;
        let connection = self.connection(id);
        connection.output.extend_from_slice(bytes);
        if connection.output.len() > output_max && !connection.channels.is_empty() {
            connection.output.clear();
            connection.is_closed = true;
            trace(|| format!("the engine cuts {id} for its output"));
        }
    }

    fn run(&mut self, id: u64, command: &[Vec<u8>]) {
        let name = command[0].to_ascii_uppercase();
        let args = &command[1..];
        if !matches!(&*name, b"PUBLISH" | b"EVALSHA") {
            trace(|| format!("the engine is asked for {} by {id}", name.escape_ascii()));
        }
        if name == b"HELLO" {
            return self.hello(id, args);
        }
        if name == b"AUTH" {
            return self.auth(id, args);
        }
        if !self.connection(id).is_known || self.trouble == Some(Trouble::NoAuth) {
            return self.say(id, b"-NOAUTH Authentication required.\r\n");
        }
        match &*name {
            b"CLIENT" | b"SELECT" => self.say(id, b"+OK\r\n"),
            b"PING" => self.say(id, b"+PONG\r\n"),
            b"SUBSCRIBE" => self.subscribe(id, args),
            b"UNSUBSCRIBE" => self.unsubscribe(id, args),
            b"PUBLISH" => {
                let count = self.publish(&args[0], &args[1]);
                self.say(id, format!(":{count}\r\n").as_bytes());
            }
            b"SCRIPT" | b"EVALSHA" if self.trouble == Some(Trouble::Loading) => {
                self.say(id, b"-LOADING Redis is loading the dataset in memory\r\n");
            }
            b"SCRIPT" => {
                let script = Script::ALL.into_iter().find(|script| script.source() == args[1]);
                let script = script.expect("a script that there is");
                self.is_loaded[script as usize] = true;
                let sha = sha(script);
                self.say(id, format!("${}\r\n{sha}\r\n", sha.len()).as_bytes());
            }
            b"EVALSHA" => self.call(id, args),
            _ => panic!("the engine is asked for {}", name.escape_ascii()),
        }
    }

    fn hello(&mut self, id: u64, args: &[Vec<u8>]) {
        match self.version {
            Version::NoHello => {
                return self
                    .say(id, b"-ERR unknown command 'HELLO', with args beginning with: '3'\r\n");
            }
            Version::NoProto => {
                return self.say(id, b"-NOPROTO unsupported protocol version\r\n");
            }
            Version::Three => {}
        }
        if let Some(at) = args.iter().position(|arg| arg == b"AUTH")
            && !self.log_in(id, &args[at + 2])
        {
            return;
        }
        if !self.connection(id).is_known || self.trouble == Some(Trouble::NoAuth) {
            let text = "-NOAUTH HELLO must be called with the client already authenticated\r\n";
            return self.say(id, text.as_bytes());
        }
        self.connection(id).is_resp3 = true;
        let text = format!(
            "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n8.0.0\r\n$5\r\nproto\r\n:3\r\n\
             $2\r\nid\r\n:{id}\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n\
             $7\r\nmodules\r\n*0\r\n"
        );
        self.say(id, text.as_bytes());
    }

    fn auth(&mut self, id: u64, args: &[Vec<u8>]) {
        if self.log_in(id, &args[args.len() - 1]) {
            self.say(id, b"+OK\r\n");
        }
    }

    fn log_in(&mut self, id: u64, password: &[u8]) -> bool {
        let is_right = self.password.as_deref() == Some(password);
        self.connection(id).is_known = is_right;
        if !is_right {
            let text = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
            self.say(id, text.as_bytes());
        }
        is_right
    }

    fn subscribe(&mut self, id: u64, channels: &[Vec<u8>]) {
        for channel in channels {
            let connection = self.connection(id);
            connection.channels.insert(channel.clone());
            let count = connection.channels.len();
            self.push(id, &[b"subscribe", channel], Some(count));
        }
    }

    fn unsubscribe(&mut self, id: u64, channels: &[Vec<u8>]) {
        for channel in channels {
            let connection = self.connection(id);
            connection.channels.remove(channel);
            let count = connection.channels.len();
            self.push(id, &[b"unsubscribe", channel], Some(count));
        }
    }

    fn push(&mut self, id: u64, texts: &[&[u8]], count: Option<usize>) {
        let kind = if self.connection(id).is_resp3 { '>' } else { '*' };
        let mut out =
            format!("{kind}{}\r\n", texts.len() + usize::from(count.is_some())).into_bytes();
        for text in texts {
            out.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
            out.extend_from_slice(text);
            out.extend_from_slice(b"\r\n");
        }
        if let Some(count) = count {
            out.extend_from_slice(format!(":{count}\r\n").as_bytes());
        }
        self.say(id, &out);
    }

    fn publish(&mut self, channel: &[u8], payload: &[u8]) -> usize {
        let hears = |(_, connection): &(&u64, &Connection)| {
            !connection.is_closed && connection.channels.contains(channel)
        };
        let ids: Vec<u64> = self.connections.iter().filter(hears).map(|(id, _)| *id).collect();
        for id in &ids {
            self.push(*id, &[b"message", channel, payload], None);
        }
        ids.len()
    }

    fn call(&mut self, id: u64, args: &[Vec<u8>]) {
        let script = Script::ALL.into_iter().find(|script| sha(*script).as_bytes() == args[0]);
        let script = script.filter(|script| self.is_loaded[*script as usize]);
        let Some(script) = script else {
            return self.say(id, b"-NOSCRIPT No matching script. Please use EVAL.\r\n");
        };
        let is_old = self.version != Version::Three;
        let error = match self.trouble {
            Some(Trouble::ReadOnly) if is_old => {
                "-ERR Error running script (call to f_0): @user_script:9: \
                 -READONLY You can't write against a read only replica."
            }
            Some(Trouble::ReadOnly) => {
                "-READONLY You can't write against a read only replica. script: 0, on @user_script:9."
            }
            Some(Trouble::OutOfMemory) => {
                "-OOM command not allowed when used memory > 'maxmemory'."
            }
            Some(Trouble::NoDisk) => {
                "-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to \
                 persist to disk."
            }
            _ => "",
        };
        if !error.is_empty() {
            trace(|| format!("{id} calls {script:?}: {error}"));
            return self.say(id, format!("{error}\r\n").as_bytes());
        }
        let count: usize = str::from_utf8(&args[1]).unwrap().parse().unwrap();
        let (keys, args) = args[2..].split_at(count);
        let outcome = self.store.run(script, keys, args, self.now, &mut self.rng);
        trace(|| {
            let args: Vec<_> = args.iter().map(|arg| arg.escape_ascii().to_string()).collect();
            let notices = outcome.published.iter().map(|(_, notice)| notice.escape_ascii());
            let notices: Vec<_> = notices.map(|notice| notice.to_string()).collect();
            let reply = &outcome.reply;
            format!("{id} calls {script:?} {}: {reply:?}, {notices:?}", args.join(" "))
        });
        for (channel, payload) in outcome.published {
            self.publish(&channel, &payload);
        }
        let text = match outcome.reply {
            Reply::One(number) => format!(":{number}\r\n"),
            Reply::List(list) => {
                let numbers: String = list.iter().map(|number| format!(":{number}\r\n")).collect();
                format!("*{}\r\n{numbers}", list.len())
            }
        };
        self.say(id, text.as_bytes());
    }
}

fn sha(script: Script) -> String {
    format!("{:040x}", 0xabc0 + script as u64)
}

/// The command at the start of `input`, a list of texts, and its length.
fn parse(input: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let mut at = 0;
    let number = |kind: u8, at: &mut usize| -> Option<usize> {
        let rest = &input[*at..];
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        assert_eq!(rest[0], kind, "the engine hears {}", rest[..end].escape_ascii());
        *at += end + 2;
        Some(str::from_utf8(&rest[1..end]).unwrap().parse().expect("a length"))
    };
    let count = number(b'*', &mut at)?;
    let mut command = Vec::new();
    for _ in 0..count {
        let len = number(b'$', &mut at)?;
        let text = input.get(at..at + len)?;
        let end = input.get(at + len..at + len + 2)?;
        assert_eq!(end, b"\r\n", "a text ends where its length says");
        command.push(text.to_vec());
        at += len + 2;
    }
    Some((command, at))
}
