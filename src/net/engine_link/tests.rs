//! Both connections over real sockets, to a small engine that speaks by script.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};
use socket2::{Domain, Socket, Type};

use super::super::socket::token;
use super::*;
use crate::cluster::{EngineConfig, EngineEvent};
use crate::conn_id::ConnId;

const PATIENCE: Duration = Duration::from_secs(20);

const CHANNEL: &str = "mynah:nodes";

/// The loop of the tests: its clock may jump.
struct Driver {
    poll: Poll,
    events: Events,
    link: EngineLink,
    engine: Engine,
    started_at: Instant,
    skipped_ms: u64,
    /// Whether events are taken.
    listens: bool,
    /// The next turn comes without a reason.
    is_forced: bool,
    /// Most bytes that one turn has heard of messages.
    turn_bytes_max: usize,
    heard_bytes: usize,
    heard: Vec<String>,
}

impl Driver {
    fn new(address: EngineAddress, lookup: Arc<Lookup>) -> Self {
        let poll = Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), Token(usize::MAX)).unwrap();
        let wake = Arc::new(move || waker.wake().unwrap());
        let config = EngineConfig {
            url: "redis://h".to_owned(),
            username: String::new(),
            password: Vec::new(),
            database: 0,
            client_name: "mynah:n".to_owned(),
            unsent_bytes_max: 4 << 20,
            message_bytes_max: 1 << 20,
        };
        let mut engine = Engine::new(config, 1);
        engine.set_channels(vec![CHANNEL.into()]);
        Driver {
            poll,
            events: Events::with_capacity(16),
            link: EngineLink::with_lookup(address, lookup, wake),
            engine,
            started_at: Instant::now(),
            skipped_ms: 0,
            listens: true,
            is_forced: true,
            turn_bytes_max: 0,
            heard_bytes: 0,
            heard: Vec::new(),
        }
    }

    /// Of a host that has these addresses.
    fn of(addrs: Vec<SocketAddr>) -> Self {
        let address = EngineAddress::Tcp { host: "engine".to_owned(), port: 1 };
        Driver::new(address, Arc::new(move |_: &str, _| Ok(addrs.clone())))
    }

    fn now(&self) -> Millis {
        Millis(self.started_at.elapsed().as_millis() as u64 + self.skipped_ms)
    }

    /// A turn of the loop, as [`EventLoop`](crate::net::EventLoop) has it: none where nothing happens
    /// in the time of `wait`.
    fn turn(&mut self, wait: Duration) {
        let is_forced = std::mem::take(&mut self.is_forced) || self.link.has_work(&self.engine);
        let wait = if is_forced { Duration::ZERO } else { wait };
        let due_at = self.link.due_at(&self.engine);
        let due = due_at.map(|at| at.since(self.now()));
        let wait = wait.min(Duration::from_millis(due.unwrap_or(u64::MAX)));
        self.poll.poll(&mut self.events, Some(wait)).unwrap();
        let now = self.now();
        if !is_forced && self.events.is_empty() && due_at.is_none_or(|at| at > now) {
            return;
        }
        for event in &self.events {
            let Token(bits) = event.token();
            if let Some(link) = link_of(ConnId::from_bits(bits as u64)) {
                self.link.on_event(link, event);
            }
        }
        self.link.advance(&mut self.engine, self.poll.registry(), now);
        let heard_before = self.heard_bytes;
        while self.listens {
            match self.engine.next_event(now) {
                Some(EngineEvent::Message { payload, .. }) => self.heard_bytes += payload.len(),
                Some(event) => self.heard.push(format!("{event:?}")),
                None => break,
            }
        }
        self.turn_bytes_max = self.turn_bytes_max.max(self.heard_bytes - heard_before);
        self.link.flush(&mut self.engine, now);
    }

    #[track_caller]
    fn turn_until(&mut self, what: &str, is_so: impl Fn(&Driver) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.heard);
            self.turn(Duration::from_millis(20));
        }
    }

    fn is_ready(&self) -> bool {
        Link::ALL.iter().all(|link| self.engine.is_ready(*link))
    }
}

/// A command on a connection, which has this number.
type Command<'a> = (usize, &'a [String]);

/// The answer to a command; `None` is a part of an answer, and the end.
type Script = dyn Fn(Command<'_>) -> Option<Vec<u8>> + Send + Sync;

/// Answers as an engine does that knows no RESP3.
fn answer((_, command): Command<'_>) -> Option<Vec<u8>> {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    Some(match words.as_slice() {
        ["HELLO", ..] => b"-ERR unknown command 'HELLO'\r\n".to_vec(),
        ["SCRIPT", ..] => format!("$40\r\n{}\r\n", "a".repeat(40)).into_bytes(),
        ["SUBSCRIBE", channels @ ..] => {
            let confirm = |(at, channel): (usize, &&str)| {
                let len = channel.len();
                format!("*3\r\n$9\r\nsubscribe\r\n${len}\r\n{channel}\r\n:{}\r\n", at + 1)
            };
            channels.iter().enumerate().map(confirm).collect::<String>().into_bytes()
        }
        ["PUBLISH", ..] => b":1\r\n".to_vec(),
        _ => b"+OK\r\n".to_vec(),
    })
}

fn message(payload_len: usize) -> Vec<u8> {
    let head = format!("*3\r\n$7\r\nmessage\r\n${}\r\n{CHANNEL}\r\n", CHANNEL.len());
    [head.as_bytes(), format!("${payload_len}\r\n").as_bytes(), &vec![b'x'; payload_len], b"\r\n"]
        .concat()
}

/// An engine that answers by script. It has as many threads as connections.
struct FakeEngine {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// How many of them it has closed.
    ended: Arc<AtomicUsize>,
}

impl FakeEngine {
    fn start(script: impl Fn(Command<'_>) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let (connections, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let closed = Arc::clone(&ended);
        let (script, count): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&connections));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let script = Arc::clone(&script);
                let reader = stream.try_clone().unwrap();
                let closed = Arc::clone(&closed);
                thread::spawn(move || {
                    serve(reader, stream, number, &*script);
                    closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        FakeEngine { addr, connections, ended }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn serve(reader: impl Read, mut writer: impl Write, number: usize, script: &Script) {
    let mut reader = BufReader::new(reader);
    while let Ok(command) = read_command(&mut reader) {
        match script((number, &command)) {
            Some(answer) if writer.write_all(&answer).is_ok() => {}
            Some(_) => break,
            None => {
                let _ = writer.write_all(b"*3\r\n$9\r\nsubs");
                break;
            }
        }
    }
}

fn read_command(reader: &mut impl BufRead) -> io::Result<Vec<String>> {
    let mut line = String::new();
    let mut number = |reader: &mut dyn BufRead| {
        line.clear();
        reader.read_line(&mut line)?;
        let digits = line.trim_start_matches(['*', '$']).trim_end();
        digits.parse::<usize>().map_err(io::Error::other)
    };
    let count = number(reader)?;
    (0..count)
        .map(|_| {
            let mut text = vec![0; number(reader)? + 2];
            reader.read_exact(&mut text)?;
            Ok(String::from_utf8_lossy(&text[..text.len() - 2]).into_owned())
        })
        .collect()
}

/// An address that refuses connections.
fn refusing_addr() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

#[test]
fn both_connections_become_ready() {
    let engine = FakeEngine::start(answer);
    let mut driver = Driver::of(vec![engine.addr]);
    driver.turn_until("ready", Driver::is_ready);
    assert_eq!(engine.connections(), 2);
    let mut heard = driver.heard;
    heard.sort_unstable();
    assert_eq!(heard, ["CommandsReady", "SubscriberReady"]);
}

#[test]
fn unix_socket_needs_no_lookup() {
    let path = std::env::temp_dir().join(format!("mynah-engine-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let reader = stream.try_clone().unwrap();
            thread::spawn(move || serve(reader, stream, 0, &answer));
        }
    });
    let lookup = |_: &str, _| panic!("there is nothing to look up");
    let mut driver = Driver::new(EngineAddress::Unix(path.clone()), Arc::new(lookup));
    driver.turn_until("ready", Driver::is_ready);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn addresses_are_tried_in_turn() {
    let engine = FakeEngine::start(answer);
    let mut driver = Driver::of(vec![refusing_addr(), refusing_addr(), engine.addr]);
    driver.turn_until("ready", Driver::is_ready);
    assert!(driver.now() < Millis(1_000), "one attempt has tried all");
}

#[test]
fn silent_address_leads_to_the_next() {
    // Its backlog is full: what else is sent there is dropped.
    let silent = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    silent.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    silent.listen(0).unwrap();
    let addr = silent.local_addr().unwrap().as_socket().unwrap();
    let _first = std::net::TcpStream::connect(addr).unwrap();
    let engine = FakeEngine::start(answer);
    let mut driver = Driver::of(vec![addr, engine.addr]);
    driver.turn_until("both connect", |driver| {
        let is_connecting = |connection: &Connection| connection.stream.is_some();
        driver.link.connections.iter().all(is_connecting)
    });
    assert_eq!(engine.connections(), 0);
    driver.skipped_ms += 2_000;
    driver.turn_until("ready", Driver::is_ready);
}

#[test]
fn useless_address_leads_to_the_next_attempt() {
    let loading = |(_, _): Command<'_>| Some(b"-LOADING the dataset\r\n".to_vec());
    let (loading, engine) = (FakeEngine::start(loading), FakeEngine::start(answer));
    let mut driver = Driver::of(vec![loading.addr, engine.addr]);
    driver.turn_until("ready", Driver::is_ready);
    assert_eq!((loading.connections(), engine.connections()), (2, 2));
}

#[test]
fn lookup_that_hangs_holds_nothing_up() {
    let engine = FakeEngine::start(answer);
    let (permit, permits) = mpsc::channel::<()>();
    let (permits, lookups) = (Mutex::new(permits), Arc::new(AtomicUsize::new(0)));
    let (count, addr) = (Arc::clone(&lookups), engine.addr);
    let lookup = move |_: &str, _| {
        count.fetch_add(1, Ordering::SeqCst);
        let _ = permits.lock().unwrap().recv();
        Ok(vec![addr])
    };
    let address = EngineAddress::Tcp { host: "engine".to_owned(), port: 1 };
    let mut driver = Driver::new(address, Arc::new(lookup));
    driver.turn_until("a lookup", |_| lookups.load(Ordering::SeqCst) == 1);
    // Attempts end, and others wait for the same lookup.
    for _ in 0..3 {
        driver.skipped_ms += 4_600;
        driver.turn(Duration::ZERO);
    }
    assert_eq!(lookups.load(Ordering::SeqCst), 1);
    permit.send(()).unwrap();
    drop(permit);
    driver.turn_until("ready", Driver::is_ready);
}

#[test]
fn name_without_an_address_is_looked_up_anew() {
    let engine = FakeEngine::start(answer);
    let (lookups, addr) = (AtomicUsize::new(0), engine.addr);
    let lookup = move |_: &str, _| match lookups.fetch_add(1, Ordering::SeqCst) {
        0 => Err(io::Error::other("failed to lookup address information")),
        1 => Ok(Vec::new()),
        _ => Ok(vec![addr]),
    };
    let address = EngineAddress::Tcp { host: "engine".to_owned(), port: 1 };
    let mut driver = Driver::new(address, Arc::new(lookup));
    driver.turn_until("ready", Driver::is_ready);
}

#[test]
fn backlog_is_read_by_turns_without_further_events() {
    const MESSAGES: usize = 64;
    const LEN: usize = 32 << 10;
    // All of it is in the kernel before a byte is read, and comes with one event.
    let (sent, all_sent) = mpsc::channel();
    let sent = Mutex::new(sent);
    let script = move |(number, command): Command<'_>| {
        let answers = answer((number, command))?;
        if command[0] == "SUBSCRIBE" {
            sent.lock().unwrap().send(()).unwrap();
            return Some([answers, message(LEN).repeat(MESSAGES)].concat());
        }
        Some(answers)
    };
    let engine = FakeEngine::start(script);
    let mut driver = Driver::of(vec![engine.addr]);
    driver.turn_until("the backlog", |_| all_sent.try_recv().is_ok());
    driver.turn_until("ready", Driver::is_ready);
    driver.turn_until("all", |driver| driver.heard_bytes == MESSAGES * LEN);
    assert!(driver.turn_bytes_max <= TURN_BYTES + LEN, "{}", driver.turn_bytes_max);
}

#[test]
fn unheard_messages_stop_reading_until_they_are_heard() {
    let script = |(number, command): Command<'_>| {
        let answers = answer((number, command))?;
        let backlog = if command[0] == "SUBSCRIBE" { message(64 << 10).repeat(64) } else { vec![] };
        Some([answers, backlog].concat())
    };
    let engine = FakeEngine::start(script);
    let mut driver = Driver::of(vec![engine.addr]);
    // A turn reads a part of it.
    driver.turn_until("a message", |driver| driver.heard_bytes > 0);
    driver.listens = false;
    for _ in 0..20 {
        driver.turn(Duration::from_millis(1));
    }
    assert!(!driver.link.has_work(&driver.engine), "it would spin");
    assert!(driver.heard_bytes < 64 * (64 << 10));
    (driver.listens, driver.is_forced) = (true, true);
    driver.turn_until("all", |driver| driver.heard_bytes == 64 * (64 << 10));
}

#[test]
fn byte_at_a_time_is_enough() {
    struct Drip<W>(W);
    impl<W: Write> Write for Drip<W> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(&bytes[..bytes.len().min(1)])
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            stream.set_nodelay(true).unwrap();
            let reader = stream.try_clone().unwrap();
            thread::spawn(move || serve(reader, Drip(stream), 0, &answer));
        }
    });
    let mut driver = Driver::of(vec![addr]);
    driver.turn_until("ready", Driver::is_ready);
}

#[test]
fn end_amid_a_frame_is_an_end() {
    let (got, gets) = mpsc::channel();
    let (permit, permits) = mpsc::channel::<()>();
    let (got, permits) = (Mutex::new(got), Mutex::new(permits));
    let script = move |(number, command): Command<'_>| match (number, &*command[0]) {
        (0 | 1, "SUBSCRIBE") => {
            got.lock().unwrap().send(()).unwrap();
            let _ = permits.lock().unwrap().recv();
            None
        }
        _ => answer((number, command)),
    };
    let engine = FakeEngine::start(script);
    let mut driver = Driver::of(vec![engine.addr]);
    driver.turn_until("a subscription", |_| gets.try_recv().is_ok());
    // Bytes and end are there before either is looked at, and come with one event.
    permit.send(()).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while engine.ended.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < deadline, "it has ended");
        thread::yield_now();
    }
    driver.turn_until("ready", Driver::is_ready);
    assert_eq!(engine.connections(), 3);
    assert!(driver.now() < Millis(4_000), "no timeout had to see it");
}

#[test]
fn engine_that_does_not_read_is_written_to_when_it_does() {
    const LEN: usize = 3 << 20;
    let (permit, permits) = mpsc::channel::<()>();
    let permits = Mutex::new(permits);
    let (got, gets) = mpsc::channel();
    let got = Mutex::new(got);
    let script = move |(number, command): Command<'_>| {
        if command[0] == "PUBLISH" {
            got.lock().unwrap().send(command[2].len()).unwrap();
        } else if command.last().is_some_and(|word| word.starts_with("mynah:n")) && number < 2 {
            let _ = permits.lock().unwrap().recv();
        }
        answer((number, command))
    };
    let engine = FakeEngine::start(script);
    let mut driver = Driver::of(vec![engine.addr]);
    driver.turn(Duration::ZERO);
    assert!(driver.engine.publish(b"c", &[&vec![b'x'; LEN]]));
    permit.send(()).unwrap();
    drop(permit);
    let heard = std::cell::Cell::new(0);
    driver.turn_until("all is published", |_| {
        heard.set(heard.get() + gets.try_iter().sum::<usize>());
        heard.get() == LEN
    });
}

#[test]
fn events_of_an_engine_are_no_connections() {
    for link in Link::ALL {
        assert_eq!(link_of(id_of(link)), Some(link));
        assert_eq!(id_of(link).generation, 0);
        assert_eq!(token(id_of(link)), Token(id_of(link).to_bits() as usize));
    }
    assert_eq!(link_of(super::super::handle::WAKE), None);
}
