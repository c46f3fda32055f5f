//! The client of an engine that sends whatever it likes. Nothing panics; frames end where
//! redis-protocol says they do, however they are cut; and the client keeps to its contract, which a
//! model of its owner and its node follows: what is ready can be lost once, answers come to calls
//! that were made, and what is asked of the owner makes sense.
//!
//! The input is a list of steps: a byte that says what is done, with a number in its upper bits,
//! then for bytes of the engine a length and so many bytes.

use std::collections::VecDeque;

use mynah::internal::clock::Millis;
use mynah::internal::cluster::resp::{
    Protocol, Reply, RespError, Scanner, decode, read_integer, read_message,
};
use mynah::internal::cluster::{Engine, EngineConfig, EngineEvent, Link, Script, Want};
use redis_protocol::{resp2, resp3};

const UNSENT_BYTES_MAX: usize = 2_000;
const MESSAGE_BYTES_MAX: usize = 100;
const FRAME_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 64 * 1024;
/// Beyond the publications: a handshake, scripts, subscriptions and calls.
const OTHER_BYTES_MAX: usize = 1024 * 1024;

/// Checks one input.
///
/// # Panics
///
/// When the client breaks its contract.
pub fn run(data: &[u8]) {
    check_frames(data);
    let mut model = Model::new();
    let mut steps = data;
    while let [step, rest @ ..] = steps {
        steps = rest;
        if step % 16 < 4 {
            let len = usize::from(*steps.first().unwrap_or(&0)).min(steps.len().saturating_sub(1));
            let bytes;
            (bytes, steps) = steps.get(1..).unwrap_or(&[]).split_at(len);
            model.receive(Link::ALL[usize::from(step % 2)], bytes);
        } else {
            model.step(step % 16, step / 16);
        }
        model.check();
    }
    model.finish();
}

/// Where frames end: the same for each cut, and where the crate ends them.
fn check_frames(data: &[u8]) {
    let mut rest = data;
    while !rest.is_empty() {
        let whole = Scanner::default().scan(rest, FRAME_BYTES_MAX);
        let mut scanner = Scanner::default();
        let decided = (0..=rest.len()).find_map(|end| {
            let answer = scanner.scan(&rest[..end], FRAME_BYTES_MAX);
            (answer != Ok(None)).then_some((answer, end))
        });
        match (whole, decided) {
            (Ok(None), None) => {}
            (Ok(Some(len)), Some((Ok(Some(cut)), end))) => assert!(len == cut && len == end),
            (Err(error), Some((Err(cut), _))) => assert_eq!(error, cut),
            other => panic!("{other:?} for {}", rest.escape_ascii()),
        }
        check_theirs(rest, whole);
        check_short_cuts(rest, whole);
        let Ok(Some(len)) = whole else { break };
        rest = &rest[len..];
    }
}

fn check_theirs(data: &[u8], ours: Result<Option<usize>, RespError>) {
    // What nests deep is what the crate must not see.
    let Ok(ours) = ours else { return };
    let theirs = resp3::decode::complete::decode_range(data).map(|found| found.map(|(_, len)| len));
    assert!(theirs.is_err() || theirs == Ok(ours), "{ours:?}, not {theirs:?} in RESP3");
    let theirs = resp2::decode::decode_range(data).map(|found| found.map(|(_, len)| len));
    assert!(theirs.is_err() || theirs == Ok(ours), "{ours:?}, not {theirs:?} in RESP2");
}

/// What is read without the crate is what the crate reads.
fn check_short_cuts(data: &[u8], whole: Result<Option<usize>, RespError>) {
    for protocol in [Protocol::Two, Protocol::Three] {
        if let Some((n, len)) = read_integer(data) {
            assert_eq!(whole, Ok(Some(len)));
            assert_eq!(decode(&data[..len], protocol), Ok(Reply::Integer(n)));
        }
        let Some(message) = read_message(data, protocol, FRAME_BYTES_MAX) else { continue };
        assert_eq!(whole, Ok(Some(message.frame_len)));
        let list = match decode(&data[..message.frame_len], protocol) {
            Ok(Reply::Push(list)) if protocol == Protocol::Three => list,
            Ok(Reply::List(list)) if protocol == Protocol::Two => list,
            other => panic!("{other:?}, not {message:?}"),
        };
        let [Reply::Text(kind), channel, payload] = &list[..] else {
            panic!("{list:?}, not {message:?}");
        };
        assert_eq!(&data[kind.clone()], b"message");
        assert_eq!(*channel, Reply::Text(message.channel));
        assert_eq!(*payload, Reply::Text(message.payload));
    }
}

/// The owner of the sockets, and the node.
struct Model {
    engine: Engine,
    now: Millis,
    /// What the owner has: an attempt, a connection.
    attempts: [bool; 2],
    connections: [bool; 2],
    /// Ready events came, and no loss since.
    ready: [bool; 2],
    /// Tags of calls that are not answered.
    calls: VecDeque<u64>,
    next_tag: u64,
}

impl Model {
    fn new() -> Self {
        let config = EngineConfig {
            url: "redis://engine".to_owned(),
            username: "user".to_owned(),
            password: b"secret".to_vec(),
            database: 1,
            client_name: "node 1".to_owned(),
            unsent_bytes_max: UNSENT_BYTES_MAX,
            message_bytes_max: MESSAGE_BYTES_MAX,
        };
        let mut engine = Engine::new(config, 1);
        engine.set_channels(vec![b"a".to_vec(), b"b".to_vec()]);
        Model {
            engine,
            now: Millis(0),
            attempts: [false; 2],
            connections: [false; 2],
            ready: [false; 2],
            calls: VecDeque::new(),
            next_tag: 0,
        }
    }

    fn step(&mut self, step: u8, number: u8) {
        let link = Link::ALL[usize::from(number % 2)];
        match step {
            4 | 5 => self.connect(link),
            6 => self.fail(link),
            7 => self.now = self.now.after(1 << number),
            8 => {
                self.engine.publish(b"a", &[b"x", &[b'y'; 100]]);
            }
            9 => {
                let script = Script::ALL[usize::from(number) % 3];
                if self.engine.call(script, &[b"key"], &[b"argument"], self.next_tag) {
                    assert!(self.engine.is_ready(Link::Commands));
                    self.calls.push_back(self.next_tag);
                    self.next_tag += 1;
                }
            }
            10 => {
                let sent = self.engine.unsent(link).len().min(1 << number);
                self.engine.on_sent(link, sent);
            }
            11 => self.engine.on_deaf(self.now),
            12 => {
                let names = [&b"a"[..], b"b", b"c", b"d"];
                let wanted = (0..4).filter(|bit| number >> bit & 1 == 1);
                self.engine.set_channels(wanted.map(|bit| names[bit].to_vec()).collect());
            }
            // Both connections, up to where they are used.
            14 => self.make_ready(),
            _ => {
                self.take_event();
            }
        }
    }

    fn index(link: Link) -> usize {
        usize::from(link == Link::Subscriber)
    }

    /// Does what the client wants of the owner, up to a connection.
    fn connect(&mut self, link: Link) {
        let at = Self::index(link);
        match self.engine.want(link, self.now) {
            Want::Nothing if self.attempts[at] => {
                self.engine.on_connected(link, self.now);
                (self.attempts[at], self.connections[at]) = (false, true);
                assert!(self.engine.unsent(link).starts_with(b"*"));
            }
            Want::Nothing => {}
            Want::Connect => {
                assert!(!self.attempts[at] && !self.connections[at], "there is one already");
                self.engine.on_connecting(link, self.now);
                self.attempts[at] = true;
            }
            Want::Close => {
                assert!(self.attempts[at] || self.connections[at], "there is none");
                (self.attempts[at], self.connections[at]) = (false, false);
                assert_ne!(self.engine.want(link, self.now), Want::Close, "once");
            }
        }
    }

    fn fail(&mut self, link: Link) {
        let at = Self::index(link);
        if self.attempts[at] || self.connections[at] {
            self.engine.on_failed(link, "it has failed", self.now);
            (self.attempts[at], self.connections[at]) = (false, false);
            assert!(!self.engine.is_ready(link));
        }
    }

    /// Answers what the client asks as an engine would, if it can be reached.
    fn make_ready(&mut self) {
        while self.take_event() {}
        for link in Link::ALL {
            self.fail(link);
            while self.take_event() {}
            self.now = self.now.after(5_000);
            self.connect(link);
            self.connect(link);
            assert!(self.connections[Self::index(link)], "nothing stands in the way");
        }
        self.engine.on_bytes(Link::Commands, b"%0\r\n+OK\r\n+1\r\n+2\r\n+3\r\n", self.now);
        self.engine.set_channels(vec![b"a".to_vec()]);
        let answers = b"%0\r\n+OK\r\n>3\r\n+subscribe\r\n+a\r\n:1\r\n";
        self.engine.on_bytes(Link::Subscriber, answers, self.now);
        while self.take_event() {}
        assert_eq!(self.ready, [true; 2]);
    }

    fn receive(&mut self, link: Link, bytes: &[u8]) {
        if self.connections[Self::index(link)] && self.engine.may_read(link) {
            self.engine.on_bytes(link, bytes, self.now);
        }
    }

    /// Takes an event, and says whether there was one.
    fn take_event(&mut self) -> bool {
        match self.engine.next_event(self.now) {
            None => return false,
            Some(EngineEvent::CommandsReady) => {
                assert!(!self.ready[0]);
                self.ready[0] = true;
            }
            Some(EngineEvent::SubscriberReady) => self.ready[1] = true,
            Some(EngineEvent::Lost(link)) => {
                let was_ready = std::mem::take(&mut self.ready[Self::index(link)]);
                assert!(was_ready, "{link:?} was not ready");
                if link == Link::Commands {
                    self.calls.clear();
                }
            }
            Some(EngineEvent::Message { channel, payload }) => {
                assert!(channel.len() == 1 && payload.len() <= FRAME_BYTES_MAX);
            }
            Some(EngineEvent::Answer { tag, result }) => {
                // Calls that are made again because the script was unknown are answered later.
                let at = self.calls.iter().position(|call| *call == tag);
                self.calls.remove(at.expect("it was called"));
                let words = |words: String| assert!(words.len() < 1_000 && !words.contains('\n'));
                result.map_or_else(words, |list| assert!(list.len() <= 1024));
            }
        }
        true
    }

    fn check(&mut self) {
        for link in Link::ALL {
            let at = Self::index(link);
            let is_connected = self.connections[at];
            assert!(is_connected || self.engine.unsent(link).is_empty());
            assert!(is_connected || !self.engine.may_read(link));
            assert!(is_connected || !self.engine.is_ready(link));
            assert!(self.engine.unsent(link).len() <= UNSENT_BYTES_MAX + OTHER_BYTES_MAX);
        }
        assert!(self.calls.len() <= 100);
    }

    /// All events are taken, and then the client reads on, or has said that it is over.
    fn finish(&mut self) {
        while self.take_event() {}
        for link in Link::ALL {
            let at = Self::index(link);
            let is_closing = self.engine.next_due() == Some(Millis(0));
            assert!(!self.connections[at] || self.engine.may_read(link) || is_closing);
        }
        self.make_ready();
        assert_eq!(self.engine.next_due(), None);
    }
}
