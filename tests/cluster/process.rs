//! A node as a process: a real mynah that is joined to an engine, and its clients.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::redis::{Redis, Value as Answer};
use crate::support::{Client, Server, frame, mynah, wait_until};

/// What is allowed beyond a time that SPEC gives, on a machine that does other things too.
pub(crate) const LOAD: Duration = Duration::from_secs(3);

const CHAT: usize = 0;
const COMMAND: usize = 1;
const ADMIN: usize = 2;

/// A node with a `chat`, a `command` and an `admin` listener, announced in that order.
pub(crate) struct Node {
    pub(crate) server: Server,
    pub(crate) name: String,
}

impl Node {
    /// Starts one and waits until it hears itself.
    #[track_caller]
    pub(crate) fn start(redis: &Redis, name: &str) -> Node {
        Node::start_with(redis, name, "", &[])
    }

    /// The same, with a query behind the chat's URL and options of the server.
    #[track_caller]
    pub(crate) fn start_with(redis: &Redis, name: &str, chat: &str, args: &[&str]) -> Node {
        Node::start_at(&redis.socket(), name, chat, args)
    }

    /// The same, with an engine at this path, behind which may be more of the URL's query.
    #[track_caller]
    pub(crate) fn start_at(path: &str, name: &str, chat: &str, args: &[&str]) -> Node {
        let node = Node::start_early(path, name, chat, args);
        wait_until("the node hears itself", || node.is_connected());
        node
    }

    /// The same, not waited for.
    #[track_caller]
    pub(crate) fn start_early(path: &str, name: &str, chat: &str, args: &[&str]) -> Node {
        let chat = format!("chat://127.0.0.1:0{chat}");
        let mark = if path.contains('?') { '&' } else { '?' };
        let engine = format!("redis+unix://{path}{mark}node={name}");
        let listeners = ["-l", &chat, "-l", "command://127.0.0.1:0", "-l", "admin://127.0.0.1:0"];
        let own = [&listeners[..], &["--no-plugins", "--cluster", &engine]].concat();
        let server = Server::start_as(mynah().args(own).args(args), 3);
        Node { server, name: name.to_owned() }
    }

    /// Nodes of these names that have heard of each other.
    #[track_caller]
    pub(crate) fn start_all<const N: usize>(redis: &Redis, names: [&str; N]) -> [Node; N] {
        let nodes = names.map(|name| Node::start(redis, name));
        wait_until_joined(&nodes.each_ref());
        nodes
    }

    /// A client of the chat that has no nickname.
    #[track_caller]
    pub(crate) fn guest(&self) -> Client {
        self.server.connect_to(CHAT)
    }

    /// A member of the chat, which has been welcomed in English.
    #[track_caller]
    pub(crate) fn join(&self, nick: &str) -> Client {
        let mut client = self.guest();
        assert_eq!(say(&mut client, nick), format!("[INFO] Welcome, {nick}!"));
        client
    }

    /// A client of the `command` listener, which the server counts.
    #[track_caller]
    pub(crate) fn command(&self) -> Client {
        let mut client = self.server.connect_to(COMMAND);
        client.expect_alive();
        client
    }

    /// What the `admin` listener answers: status and body.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut client = self.server.connect_to(ADMIN);
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
        client.send(request.as_bytes());
        let answer = String::from_utf8(client.read_to_end()).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// What `/status` says of the cluster.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        let (code, body) = self.get("/status");
        assert_eq!(code, 200, "{body}");
        let status: Value = serde_json::from_str(&body).unwrap();
        status["cluster"].clone()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.status()["connected"] == true
    }

    /// The names of all nodes that it knows of, and how many members each has; itself first.
    pub(crate) fn nodes(&self) -> Vec<(String, u64)> {
        let status = self.status();
        let nodes = status["nodes"].as_array().unwrap().iter();
        let node = |node: &Value| {
            (node["node"].as_str().unwrap().to_owned(), node["members"].as_u64().unwrap())
        };
        nodes.map(node).collect()
    }

    /// Waits until it knows of so many members on another node.
    #[track_caller]
    pub(crate) fn wait_until_members(&self, other: &str, members: u64) {
        wait_until("members of another node are known", || {
            self.nodes()[1..].contains(&(other.to_owned(), members))
        });
    }

    /// The value of `mynah_cluster_NAME`.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let (_, metrics) = self.get("/metrics");
        let start = format!("mynah_cluster_{name} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("no {start}in {metrics}")).parse().unwrap()
    }

    /// Waits until `/readyz` says that the node is deaf.
    #[track_caller]
    pub(crate) fn wait_until_deaf(&self) {
        wait_until("/readyz says that it is not heard", || {
            let (code, body) = self.get("/readyz");
            code == 503 && body.contains("cluster: not heard for ")
        });
    }

    /// Waits until `/readyz` says that all is well.
    #[track_caller]
    pub(crate) fn wait_until_ready(&self) {
        wait_until("/readyz is well", || self.get("/readyz").0 == 200);
    }
}

/// For how many seconds a node has been there.
pub(crate) fn uptime(node: &Node) -> u64 {
    let (_, status) = node.get("/status");
    let status: Value = serde_json::from_str(&status).unwrap();
    status["uptime_secs"].as_u64().unwrap()
}

/// Waits until each of these nodes has heard of all others, and of no more.
#[track_caller]
pub(crate) fn wait_until_joined(nodes: &[&Node]) {
    wait_until("all nodes know of each other", || {
        nodes.iter().all(|node| {
            let known = node.nodes();
            let knows = |other: &&Node| known.iter().any(|(name, _)| *name == other.name);
            known.len() == nodes.len() && nodes.iter().all(knows) && node.is_connected()
        })
    });
}

/// Waits until a broadcast reaches as many receivers: how many others have is said each second. What
/// it sends meanwhile is `probe`.
#[track_caller]
pub(crate) fn wait_until_receivers(sender: &mut Client, receivers: usize) {
    let expected = receivers.to_string();
    wait_until("a broadcast reaches all", || {
        sender.send(&frame(4, b"probe"));
        next_reply(sender) == expected.as_bytes()
    });
}

/// The payload of the next broadcast that is no probe.
#[track_caller]
pub(crate) fn next_broadcast(client: &mut Client) -> Vec<u8> {
    loop {
        let (code, payload) = client.read_frame();
        assert_eq!(code, 4);
        if payload != b"probe" {
            return payload;
        }
    }
}

/// The payload of the next reply, broadcasts of others passed over.
#[track_caller]
fn next_reply(client: &mut Client) -> Vec<u8> {
    loop {
        let (code, payload) = client.read_frame();
        if code == 1 {
            return payload;
        }
    }
}

/// Sends a broadcast and takes the answer, whatever number it is.
#[track_caller]
pub(crate) fn broadcast(sender: &mut Client, payload: &[u8]) {
    sender.send(&frame(4, payload));
    next_reply(sender);
}

/// Sends a line and reads one.
#[track_caller]
pub(crate) fn say(client: &mut Client, line: &str) -> String {
    post(client, line);
    client.read_line()
}

/// Sends a line.
#[track_caller]
pub(crate) fn post(client: &mut Client, line: &str) {
    client.send(format!("{line}\n").as_bytes());
}

/// Reads up to a line, and returns those before it.
#[track_caller]
pub(crate) fn read_until(client: &mut Client, line: &str) -> Vec<String> {
    let mut before = Vec::new();
    loop {
        let read = client.read_line();
        if read == line {
            return before;
        }
        before.push(read);
        assert!(before.len() < 10_000, "{line} never came: {before:?}");
    }
}

/// Asks who is there until that is the answer. Lines of the room are passed over: who has joined may
/// be listed on one node before another hears of it.
#[track_caller]
pub(crate) fn wait_until_online(client: &mut Client, nicks: &str) {
    let expected = format!("Online: {nicks}");
    wait_until(&expected, || {
        post(client, "/who");
        let mut line = client.read_line();
        while line.starts_with('[') {
            line = client.read_line();
        }
        line == expected
    });
}

/// What `act` took may be no more than `bar`, which SPEC gives; a loaded machine is forgiven some.
#[track_caller]
pub(crate) fn within<R>(bar: Duration, what: &str, act: impl FnOnce() -> R) -> R {
    let started_at = Instant::now();
    let result = act();
    let took = started_at.elapsed();
    assert!(took <= bar + LOAD, "{what} took {took:?}");
    if took > bar {
        eprintln!("{what} took {took:?}, more than {bar:?}");
    }
    result
}

/// What of numbered posts a client was told of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Those that came.
    pub(crate) numbers: Vec<usize>,
    /// Those that may have been missed, as far as there was a number.
    pub(crate) missed: usize,
    /// Lines that say so without one.
    pub(crate) unknown: usize,
}

impl Heard {
    /// All there were: what came and what was missed.
    pub(crate) fn total(&self) -> usize {
        self.numbers.len() + self.missed
    }
}

/// Sends posts of these numbers.
pub(crate) fn post_numbers(client: &mut Client, numbers: std::ops::Range<usize>) {
    for number in numbers {
        post(client, &format!("number {number}"));
    }
}

/// Reads the numbered posts of a member up to its post `end`. They come in order, each once.
#[track_caller]
pub(crate) fn read_numbers(client: &mut Client, from: &str, end: &str) -> Heard {
    let mut heard = Heard { numbers: Vec::new(), missed: 0, unknown: 0 };
    let start = format!("[{from}]: number ");
    for line in read_until(client, &format!("[{from}]: {end}")) {
        if let Some(number) = line.strip_prefix(&start) {
            heard.numbers.push(number.parse().unwrap());
        } else if let Some(missed) = missed_in(&line) {
            heard.missed += missed.unwrap_or(0);
            heard.unknown += usize::from(missed.is_none());
        }
    }
    assert!(heard.numbers.is_sorted_by(|a, b| a < b), "{heard:?}");
    heard
}

/// How many messages may have been missed, if a line says so, in whatever language.
fn missed_in(line: &str) -> Option<Option<usize>> {
    const UNKNOWN: [&str; 2] =
        ["[INFO] messages may have been missed", "[INFO] возможно, пропущены сообщения"];
    if UNKNOWN.contains(&line) {
        return Some(None);
    }
    let english = || line.strip_prefix("[INFO] ")?.strip_suffix(" messages may have been missed");
    let number = line.strip_prefix("[INFO] возможно, пропущено сообщений: ").or_else(english);
    Some(Some(number?.parse().unwrap()))
}

/// A node's own way to the engine, which can be cut without the engine's knowing.
pub(crate) struct Way<'a> {
    redis: &'a Redis,
    node: String,
    path: String,
}

impl<'a> Way<'a> {
    pub(crate) fn new(redis: &'a Redis, node: &str) -> Way<'a> {
        let path = redis.folder().path(&format!("{node}.sock"));
        symlink(redis.socket(), &path).unwrap();
        Way { redis, node: node.to_owned(), path }
    }

    /// A node that goes it.
    #[track_caller]
    pub(crate) fn start(&self, chat: &str, args: &[&str]) -> Node {
        Node::start_at(&self.path, &self.node, chat, args)
    }

    /// Ends the node's connections, and lets it make no others.
    pub(crate) fn cut(&self) {
        fs::remove_file(&self.path).unwrap();
        for connection in connections(self.redis, &self.node) {
            kill(self.redis, &connection);
        }
    }

    pub(crate) fn mend(&self) {
        symlink(self.redis.socket(), &self.path).unwrap();
    }
}

/// The lines of CLIENT LIST about connections of a node.
pub(crate) fn connections(redis: &Redis, node: &str) -> Vec<String> {
    let Answer::BulkString(list) = redis.ask(&["CLIENT", "LIST"]) else { panic!("no list") };
    let (list, name) = (String::from_utf8(list).unwrap(), format!(" name=mynah:{node} "));
    list.lines().filter(|line| line.contains(&name)).map(str::to_owned).collect()
}

/// Ends a connection of which this is the line.
pub(crate) fn kill(redis: &Redis, connection: &str) {
    let id = connection.strip_prefix("id=").unwrap().split(' ').next().unwrap();
    redis.ask(&["CLIENT", "KILL", "ID", id]);
}

/// How many subscribers the channel of heartbeats has.
pub(crate) fn subscribers(redis: &Redis) -> i64 {
    match redis.ask(&["PUBSUB", "NUMSUB", "{mynah}:nodes"]) {
        Answer::Array(list) => match list[..] {
            [_, Answer::Integer(count)] => count,
            _ => panic!("{list:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// Waits until the engine has so many names of the room `chat`.
#[track_caller]
pub(crate) fn wait_until_claimed(redis: &Redis, names: i64) {
    let what = format!("{names} names are claimed");
    wait_until(&what, || redis.ask(&["HLEN", "{mynah}:names:chat:chat"]) == Answer::Integer(names));
}
