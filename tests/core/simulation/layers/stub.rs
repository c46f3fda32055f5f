//! A stub of TLS, with its shape and none of its secrets: records of a header and at most 16 KiB
//! with a tag that numbers them, a handshake in two round trips or three in which the server says
//! most, tickets behind it, alerts, new keys, and an end that is said.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use mynah::internal::buffer::WireBuffer;
use mynah::internal::server::{Layer, Received};

use super::{End, RECORD_BYTES_MAX, SimulatedLayer, Stage};
use crate::support::rng::Rng;

const HEADER_BYTES: usize = 5;
const TAG_BYTES: usize = 16;
/// Longest body of a record (RFC 8446, 5.2).
const BODY_BYTES_MAX: usize = RECORD_BYTES_MAX + 256;

/// Content types (RFC 8446, 5.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
const KEY_UPDATE: u8 = 24;

/// Messages of the handshake.
const CLIENT_HELLO: u8 = 1;
const SERVER_FLIGHT: u8 = 2;
const RETRY: u8 = 3;
const FINISHED: u8 = 4;
const TICKET: u8 = 5;

const CLOSE_NOTIFY: u8 = 0;
const FATAL: u8 = 2;

thread_local! {
    static VIOLATION: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Remembers a fault of the server's: a panic here would count as one of a handler's.
fn violation(what: &str) {
    VIOLATION.with_borrow_mut(|kept| {
        kept.get_or_insert_with(|| what.to_owned());
    });
}

/// The keys of one direction, and the records so far.
#[derive(Debug, Clone)]
struct Half {
    key: u64,
    records: u64,
}

impl Half {
    fn new(key: u64) -> Self {
        Half { key, records: 0 }
    }

    fn update(&mut self) {
        *self = Half::new(mixed(self.key, 1));
    }

    fn mask(&self) -> u8 {
        mixed(self.key, self.records) as u8 | 1
    }

    fn tag(&self, body: &[u8]) -> [u8; TAG_BYTES] {
        let mut hash = mixed(self.key, self.records);
        for chunk in body.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash = mixed(hash, u64::from_le_bytes(word) ^ chunk.len() as u64);
        }
        let mut tag = [0; TAG_BYTES];
        tag[..8].copy_from_slice(&hash.to_le_bytes());
        tag[8..].copy_from_slice(&mixed(hash, 2).to_le_bytes());
        tag
    }

    fn seal(&mut self, kind: u8, plain: &[u8], wire: &mut Vec<u8>) {
        let mask = self.mask();
        let mut body: Vec<u8> = plain.iter().map(|byte| byte ^ mask).collect();
        body.push(kind ^ mask);
        let tag = self.tag(&body);
        record(DATA, &[&body[..], &tag].concat(), wire);
        self.records += 1;
    }

    /// The content and its type; `None` where the tag is wrong.
    fn open(&mut self, body: &[u8]) -> Option<(u8, Vec<u8>)> {
        let (body, tag) = body.split_at_checked(body.len().checked_sub(TAG_BYTES)?)?;
        if self.tag(body) != tag {
            return None;
        }
        let mask = self.mask();
        let (kind, content) = body.split_last()?;
        let content = content.iter().map(|byte| byte ^ mask).collect();
        self.records += 1;
        Some((kind ^ mask, content))
    }
}

fn mixed(a: u64, b: u64) -> u64 {
    let hash = (a ^ b.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash ^ (hash >> 29)).wrapping_add(b)
}

fn record(kind: u8, body: &[u8], wire: &mut Vec<u8>) {
    wire.extend([kind, 3, 3]);
    wire.extend((body.len() as u16).to_be_bytes());
    wire.extend(body);
}

/// The type and body of the record that `wire` begins with, where it is whole.
fn next_record(wire: &[u8]) -> Result<Option<(u8, &[u8])>, Error> {
    let Some(len) = record_len(wire) else { return Ok(None) };
    if !(ALERT..=DATA).contains(&wire[0]) || wire[1] != 3 {
        return Err(Error("no record"));
    }
    if len > HEADER_BYTES + BODY_BYTES_MAX {
        return Err(Error("a record is too long"));
    }
    Ok(wire.get(HEADER_BYTES..len).map(|body| (wire[0], body)))
}

fn record_len(wire: &[u8]) -> Option<usize> {
    let header = wire.get(..HEADER_BYTES)?;
    Some(HEADER_BYTES + usize::from(u16::from_be_bytes([header[3], header[4]])))
}

/// Why a connection cannot go on.
#[derive(Debug)]
pub struct Error(&'static str);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A listener's.
#[derive(Debug)]
pub struct Config {
    /// Bytes of the server's flight.
    pub flight_bytes: usize,
    /// The first hello is refused once.
    pub retries: bool,
    /// Layers so far: where their nonces come from.
    begun: Rc<Cell<u64>>,
}

impl Config {
    pub fn new(flight_bytes: usize, retries: bool) -> Self {
        Config { flight_bytes, retries, begun: Rc::default() }
    }
}

#[derive(Debug)]
enum Server {
    Hello { retries: bool },
    Finished,
    Open,
}

/// The server's end.
#[derive(Debug)]
pub struct Stub {
    state: Server,
    flight_bytes: usize,
    nonce: u64,
    read: Half,
    write: Half,
    /// The client has asked for new keys, and has not been sent any.
    owes_update: bool,
    /// The client has said that no more will come.
    has_ended: bool,
    /// An error was returned, or the end was sealed.
    is_over: bool,
}

impl Stub {
    fn on_record(
        &mut self,
        kind: u8,
        body: &[u8],
        plain: &mut Vec<u8>,
        answer: &mut Vec<u8>,
        received: &mut Received,
    ) -> Result<(), Error> {
        match (&self.state, kind) {
            (Server::Open, DATA) => self.on_sealed(body, plain, received),
            (Server::Open, _) => Err(Error("a record that is not sealed")),
            (_, ALERT) if body.last() == Some(&CLOSE_NOTIFY) => {
                self.has_ended = true;
                Ok(())
            }
            (_, ALERT) => Err(Error("the client gives up")),
            (Server::Hello { retries: true }, HANDSHAKE) if body.first() == Some(&CLIENT_HELLO) => {
                self.state = Server::Hello { retries: false };
                record(HANDSHAKE, &[RETRY], answer);
                Ok(())
            }
            (Server::Hello { .. }, HANDSHAKE) if body.first() == Some(&CLIENT_HELLO) => {
                let nonce = body.get(1..9).ok_or(Error("a hello is too short"))?;
                let client = u64::from_le_bytes(nonce.try_into().expect("eight bytes"));
                let (read, write) = keys(client, self.nonce);
                (self.read, self.write, self.state) = (read, write, Server::Finished);
                self.write_flight(answer);
                Ok(())
            }
            (Server::Finished, DATA) => match self.read.open(body) {
                Some((HANDSHAKE, content)) if content == [FINISHED] => {
                    self.state = Server::Open;
                    self.write.seal(HANDSHAKE, &[TICKET; 90], answer);
                    Ok(())
                }
                _ => Err(Error("no end of the handshake")),
            },
            _ => Err(Error("not the handshake's next message")),
        }
    }

    fn write_flight(&self, answer: &mut Vec<u8>) {
        let mut message = [&[SERVER_FLIGHT][..], &self.nonce.to_le_bytes()].concat();
        message.resize(message.len() + self.flight_bytes, 0xc3);
        // The last part is the one that is not full.
        message.resize(message.len() + usize::from(message.len().is_multiple_of(1_000)), 0);
        for part in message.chunks(1_000) {
            record(HANDSHAKE, part, answer);
        }
    }

    fn on_sealed(
        &mut self,
        body: &[u8],
        plain: &mut Vec<u8>,
        received: &mut Received,
    ) -> Result<(), Error> {
        match self.read.open(body) {
            Some((DATA, content)) => {
                received.records += 1;
                plain.extend(content);
            }
            Some((KEY_UPDATE, _)) => {
                self.read.update();
                self.owes_update = true;
            }
            Some((ALERT, content)) if content.last() == Some(&CLOSE_NOTIFY) => {
                self.has_ended = true;
            }
            Some((ALERT, _)) => return Err(Error("the client gives up")),
            Some(_) => return Err(Error("a record of another kind")),
            None => return Err(Error("a tag is wrong")),
        }
        Ok(())
    }

    fn fail(&mut self, answer: &mut Vec<u8>) {
        self.is_over = true;
        match self.state {
            Server::Open => self.write.seal(ALERT, &[FATAL, 20], answer),
            _ => record(ALERT, &[FATAL, 20], answer),
        }
    }
}

/// The keys of both directions, the client's first.
fn keys(client: u64, server: u64) -> (Half, Half) {
    (Half::new(mixed(client, server)), Half::new(mixed(server, client)))
}

fn append(bytes: &[u8], wire: &mut WireBuffer) {
    wire.space(bytes.len())[..bytes.len()].copy_from_slice(bytes);
    wire.advance(bytes.len());
}

impl Layer for Stub {
    type Place<S> = Option<S>;
    const NAME: &'static str = "stub";
    type Config = Config;
    type Error = Error;

    fn begin(config: &Config) -> Result<Self, Error> {
        config.begun.set(config.begun.get() + 1);
        let nothing = Half::new(0);
        Ok(Stub {
            state: Server::Hello { retries: config.retries },
            flight_bytes: config.flight_bytes,
            nonce: mixed(config.begun.get(), 7),
            read: nothing.clone(),
            write: nothing,
            owes_update: false,
            has_ended: false,
            is_over: false,
        })
    }

    fn receive(
        &mut self,
        wire: &mut [u8],
        plain: &mut Vec<u8>,
        answer: &mut WireBuffer,
    ) -> Result<Received, Error> {
        if self.has_ended || self.is_over {
            violation("bytes behind the end were given to the layer");
        }
        let mut received = Received::default();
        let mut said = Vec::new();
        while !self.has_ended {
            let taken = match next_record(&wire[received.taken..]) {
                Ok(None) => break,
                Ok(Some((kind, body))) => self
                    .on_record(kind, body, plain, &mut said, &mut received)
                    .map(|()| HEADER_BYTES + body.len()),
                Err(error) => Err(error),
            };
            match taken {
                Ok(taken) => received.taken += taken,
                Err(error) => {
                    self.fail(&mut said);
                    append(&said, answer);
                    return Err(error);
                }
            }
        }
        append(&said, answer);
        received.is_open = matches!(self.state, Server::Open);
        received.has_ended = self.has_ended;
        Ok(received)
    }

    fn seal(&mut self, plain: &[u8], wire: &mut WireBuffer) -> Result<(), Error> {
        if self.is_over || !matches!(self.state, Server::Open) {
            violation("data was sealed where none may be");
        }
        let mut sealed = Vec::new();
        if std::mem::take(&mut self.owes_update) {
            self.write.seal(KEY_UPDATE, &[0], &mut sealed);
            self.write.update();
        }
        for part in plain.chunks(RECORD_BYTES_MAX) {
            self.write.seal(DATA, part, &mut sealed);
        }
        append(&sealed, wire);
        Ok(())
    }

    fn seal_end(&mut self, wire: &mut WireBuffer) {
        if self.is_over {
            violation("the end was sealed twice, or after a failure");
        }
        self.is_over = true;
        let mut sealed = Vec::new();
        self.write.seal(ALERT, &[1, CLOSE_NOTIFY], &mut sealed);
        append(&sealed, wire);
    }

    fn record_len(wire: &[u8]) -> Option<usize> {
        record_len(wire)
    }

    fn is_resumed(&self) -> bool {
        false
    }

    fn take_asked_name(_: &Config) -> Option<String> {
        None
    }
}

impl SimulatedLayer for Stub {
    const IS_REPLAYABLE: bool = true;

    fn config(rng: &mut Rng) -> Config {
        Config::new(rng.skewed(6_000), rng.one_in(4))
    }

    fn client(rng: &mut Rng) -> Box<dyn End> {
        Box::new(Client::new(rng.below(usize::MAX) as u64, rng.skewed(600)))
    }

    fn take_violation() -> Option<String> {
        VIOLATION.take()
    }
}

/// The client's end.
pub struct Client {
    stage: Stage,
    nonce: u64,
    hello_bytes: usize,
    is_begun: bool,
    read: Half,
    write: Half,
    /// The beginning of a record.
    input: Vec<u8>,
    /// Of the server's flight, what has come.
    flight: Vec<u8>,
    flight_ends: bool,
}

impl Client {
    pub fn new(nonce: u64, hello_bytes: usize) -> Self {
        Client {
            stage: Stage::Opening,
            nonce,
            hello_bytes,
            is_begun: false,
            read: Half::new(0),
            write: Half::new(0),
            input: Vec::new(),
            flight: Vec::new(),
            flight_ends: false,
        }
    }

    fn write_hello(&self, wire: &mut Vec<u8>) {
        let mut hello = [&[CLIENT_HELLO][..], &self.nonce.to_le_bytes()].concat();
        hello.resize(hello.len() + self.hello_bytes, 0x11);
        record(HANDSHAKE, &hello, wire);
    }

    fn on_record(
        &mut self,
        kind: u8,
        body: &[u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<(), String> {
        match (self.stage, kind) {
            (Stage::Ended | Stage::Failed, _) => Err("a record behind the last".to_owned()),
            (Stage::Opening, HANDSHAKE) if body == [RETRY] => {
                self.write_hello(wire);
                Ok(())
            }
            (Stage::Opening, HANDSHAKE) => {
                self.flight.extend(body);
                self.flight_ends = body.len() < 1_000;
                if !self.flight_ends {
                    return Ok(());
                }
                let nonce = self.flight.get(1..9).ok_or("a flight without a nonce")?;
                let server = u64::from_le_bytes(nonce.try_into().expect("eight bytes"));
                (self.write, self.read) = keys(self.nonce, server);
                self.write.seal(HANDSHAKE, &[FINISHED], wire);
                self.stage = Stage::Open;
                Ok(())
            }
            (Stage::Opening | Stage::Open, ALERT) => {
                self.stage = Stage::Failed;
                Ok(())
            }
            (Stage::Open | Stage::Confirmed, DATA) => self.on_sealed(body, plain),
            (stage, kind) => Err(format!("a record of type {kind} where {stage:?}")),
        }
    }

    fn on_sealed(&mut self, body: &[u8], plain: &mut Vec<u8>) -> Result<(), String> {
        match self.read.open(body).ok_or("a tag is wrong")? {
            (HANDSHAKE, content) if content == [TICKET; 90] && self.stage == Stage::Open => {
                self.stage = Stage::Confirmed;
            }
            (ALERT, content) if content == [1, CLOSE_NOTIFY] => self.stage = Stage::Ended,
            (ALERT, _) => self.stage = Stage::Failed,
            (DATA, content) if self.stage == Stage::Confirmed => plain.extend(content),
            (KEY_UPDATE, _) => self.read.update(),
            (kind, _) => return Err(format!("sealed content of type {kind} in {:?}", self.stage)),
        }
        Ok(())
    }
}

impl End for Client {
    fn receive(
        &mut self,
        bytes: &[u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<(), String> {
        if !std::mem::replace(&mut self.is_begun, true) {
            self.write_hello(wire);
        }
        if !bytes.is_empty() && self.stage >= Stage::Ended {
            return Err("bytes behind the last record".to_owned());
        }
        self.input.extend(bytes);
        let input = std::mem::take(&mut self.input);
        let mut at = 0;
        while let Some((kind, body)) =
            next_record(&input[at..]).map_err(|error| error.to_string())?
        {
            at += HEADER_BYTES + body.len();
            self.on_record(kind, body, plain, wire)?;
        }
        self.input = input[at..].to_vec();
        Ok(())
    }

    fn stage(&self) -> Stage {
        self.stage
    }

    fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) {
        self.write.seal(DATA, plain, wire);
    }

    fn update_keys(&mut self, wire: &mut Vec<u8>) {
        self.write.seal(KEY_UPDATE, &[1], wire);
        self.write.update();
    }

    fn seal_end(&mut self, wire: &mut Vec<u8>) {
        match self.stage {
            Stage::Opening => record(ALERT, &[1, CLOSE_NOTIFY], wire),
            _ => self.write.seal(ALERT, &[1, CLOSE_NOTIFY], wire),
        }
    }

    fn is_in_record(&self) -> bool {
        !self.input.is_empty()
    }
}
