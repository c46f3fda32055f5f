//! The replies of two sessions in one room, worked out from whole buffers. Shares with the
//! server its limits and the words of STATUS, and no code else.
//!
//! The model of a client is its unsent bytes, in the order in which things happened: its
//! replies when they were made, broadcasts when they were sent. That each arrives whole, once and
//! in order follows from the session's queue with what of the log lies in between, the replies at
//! hand and the log behind all of them being those bytes, always.

use mynah::internal::clock::Millis;
use mynah::internal::limits::{FRAME_BYTES_PER_SEC_MIN, Limits};
use mynah::internal::protocol::{
    CloseReason, CommandProtocol, Flow, Protocol, RawProtocol, write_status,
};
use mynah::internal::stats::Stats;

/// A room with two places.
pub struct Model {
    pub protocol: Protocol,
    pub limits: Limits,
    pub idle_ms: u64,
    /// Members of the room that are only counted.
    pub ghosts: usize,
    pub now: u64,
    pub stats: Stats,
    pub log: Log,
    pub clients: [Client; 2],
}

/// The broadcast log as three numbers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Log {
    pub start: u64,
    pub offered: u64,
    pub head: u64,
}

/// One session.
#[derive(Default)]
pub struct Client {
    /// A member of the room; a session that ends leaves it and is sent what was left unsent.
    pub open: bool,
    /// Bytes it is to be sent, oldest first.
    pub unsent: Vec<Piece>,
    /// Has been offered broadcasts that it did not take.
    pub lagging: bool,
    /// Input that has been read and not acted on.
    pub pending: Vec<u8>,
    pub deferred: bool,
    pub waiting: bool,
    pub paused: bool,
    pub last_active_at: u64,
    frame: Option<Frame>,
    /// Milliseconds in which the server would have read.
    running_ms: u64,
}

/// Bytes that a client is still to be sent.
pub struct Piece {
    pub bytes: Vec<u8>,
    /// The offset of the first of them in the log, if that is where they stand.
    pub offset: Option<u64>,
}

impl Client {
    fn reply(&mut self, bytes: impl IntoIterator<Item = u8>) {
        self.unsent.push(Piece { bytes: bytes.into_iter().collect(), offset: None });
    }

    /// Bytes it is still to be sent.
    pub fn unsent_len(&self) -> usize {
        self.unsent.iter().map(|piece| piece.bytes.len()).sum()
    }

    /// Those that stand in the log.
    pub fn lag(&self) -> usize {
        let in_log = self.unsent.iter().filter(|piece| piece.offset.is_some());
        in_log.map(|piece| piece.bytes.len()).sum()
    }

    /// The first `n` have been sent.
    pub fn take(&mut self, mut n: usize) {
        while n > 0 {
            let first = &mut self.unsent[0];
            let taken = n.min(first.bytes.len());
            first.bytes.drain(..taken);
            first.offset = first.offset.map(|offset| offset + taken as u64);
            if first.bytes.is_empty() {
                self.unsent.remove(0);
            }
            n -= taken;
        }
        self.unsent.retain(|piece| !piece.bytes.is_empty());
    }
}

/// An unfinished frame, in the time of [`Client::running_ms`].
#[derive(Clone, Copy)]
struct Frame {
    started_ms: u64,
    last_byte_ms: u64,
    bytes: u64,
}

impl Model {
    pub fn connect(&mut self, who: usize) {
        self.clients[who] = Client { open: true, last_active_at: self.now, ..Client::default() };
    }

    /// Members of the room, those that are only counted among them.
    pub fn members(&self) -> usize {
        self.clients.iter().filter(|client| client.open).count() + self.ghosts
    }

    pub fn nobody_lags(&self) -> bool {
        self.clients.iter().all(|client| !client.lagging)
    }

    pub fn let_pass(&mut self, ms: u64) {
        self.now += ms;
        for client in &mut self.clients {
            client.running_ms += if client.paused { 0 } else { ms };
        }
    }

    /// The log no longer has the next byte the client is to be sent.
    pub fn has_fallen(&self, who: usize) -> bool {
        let mut offsets = self.clients[who].unsent.iter().filter_map(|piece| piece.offset);
        offsets.any(|offset| offset < self.log.start)
    }

    /// Half of what may wait does: the client is not read from. What of the log not everyone has
    /// been offered does not count.
    pub fn is_over_high_water(&self, who: usize) -> bool {
        let unsent = &self.clients[who].unsent;
        let counts = |offset: u64| offset < self.log.offered;
        let waiting = unsent.iter().filter(|piece| piece.offset.is_none_or(counts));
        let waiting: usize = waiting.map(|piece| piece.bytes.len()).sum();
        waiting >= self.limits.send_queue_bytes_max / 2
    }

    /// A broadcast enters the log if it fits, and is to be sent to every member but its sender.
    pub fn broadcast(&mut self, wire: &[u8], sender: Option<usize>) -> bool {
        if !self.log.append(wire.len(), self.limits.broadcast_log_bytes_max) {
            return false;
        }
        let offset = self.log.head - wire.len() as u64;
        let start = self.log.start;
        for (number, client) in self.clients.iter_mut().enumerate() {
            if client.open && Some(number) != sender {
                let mut offsets = client.unsent.iter().filter_map(|piece| piece.offset);
                let has_fallen = offsets.any(|offset| offset < start);
                client.unsent.push(Piece { bytes: wire.to_vec(), offset: Some(offset) });
                assert!(client.lagging || !has_fallen, "cut for the server's own slowness");
            }
        }
        true
    }

    /// The outcome of `bytes`, or with none of them of what was deferred.
    pub fn receive(&mut self, who: usize, bytes: &[u8]) -> Flow {
        if !bytes.is_empty() {
            self.clients[who].last_active_at = self.now;
        }
        let client = &mut self.clients[who];
        client.deferred = false;
        if let Protocol::Raw(RawProtocol { prefix }) = &self.protocol {
            client.reply(prefix.iter().chain(bytes).copied());
            return Flow::Continue;
        }
        client.pending.extend(bytes);
        let mut answered = false;
        let flow = loop {
            if self.is_over_high_water(who) {
                self.clients[who].deferred = !self.clients[who].pending.is_empty();
                break Flow::Continue;
            }
            match self.answer_first(who) {
                Some(Flow::Continue) => answered = true,
                Some(Flow::WaitForFanout) => {
                    self.clients[who].deferred = true;
                    self.clients[who].waiting = true;
                    break Flow::WaitForFanout;
                }
                Some(close) => return close,
                None => break Flow::Continue,
            }
        };
        self.clients[who].wind(answered, !bytes.is_empty());
        flow
    }

    /// Answers the first message that is pending, if it is whole.
    fn answer_first(&mut self, who: usize) -> Option<Flow> {
        let client = &mut self.clients[who];
        let Protocol::Command(CommandProtocol { payload_len_max }) = self.protocol else {
            let end = 1 + usize::from(*client.pending.first()?);
            client.pending.get(..end)?;
            let message: Vec<u8> = client.pending.drain(..end).collect();
            client.reply(message[..1].iter().chain(message[1..].iter().rev()).copied());
            self.stats.frames_in_total += 1;
            return Some(Flow::Continue);
        };
        let len = client.pending.get(1..5)?;
        let len = len.iter().fold(0, |len, byte| len * 256 + u32::from(*byte));
        if len > payload_len_max {
            let why = format!("frame of {len} bytes exceeds the limit of {payload_len_max}");
            client.reply(error(&why));
            return Some(Flow::Close(CloseReason::Protocol));
        }
        let end = 5 + len as usize;
        let wire = client.pending.get(..end)?.to_vec();
        self.stats.frames_in_total += 1;
        match wire[0] {
            3 => return Some(Flow::Close(CloseReason::Quit)),
            code => match self.reply(who, code, &wire[5..]) {
                Some(reply) => self.clients[who].reply(reply),
                None => {
                    // The frame comes again, and is counted then.
                    self.stats.frames_in_total -= 1;
                    return Some(Flow::WaitForFanout);
                }
            },
        }
        self.clients[who].pending.drain(..end);
        Some(Flow::Continue)
    }

    /// The reply to a frame; `None` if it has to wait.
    fn reply(&mut self, who: usize, code: u8, payload: &[u8]) -> Option<Vec<u8>> {
        Some(match code {
            1 => frame(1, payload),
            2 => match std::str::from_utf8(payload) {
                Ok(text) => frame(1, text.chars().rev().collect::<String>().as_bytes()),
                Err(why) => {
                    let offset = why.valid_up_to();
                    error(&format!("REVERSE needs UTF-8: invalid byte at offset {offset}"))
                }
            },
            4 => {
                let (len, max) = (payload.len(), self.limits.broadcast_log_bytes_max / 4);
                if len > max {
                    return Some(error(&format!(
                        "broadcast of {len} bytes exceeds the limit of {max}"
                    )));
                }
                let receivers = self.members() - 1;
                if receivers > 0 && !self.broadcast(&frame(4, payload), Some(who)) {
                    return None;
                }
                self.stats.broadcasts_total += 1;
                frame(1, receivers.to_string().as_bytes())
            }
            7 => {
                let mut json = String::new();
                assert!(write_status(&mut json, &self.stats, Millis(self.now)).is_ok());
                frame(1, json.as_bytes())
            }
            code => error(&format!("unknown command {code}")),
        })
    }

    /// A deadline of the session has passed. Only a `command` client is told why.
    pub fn expire(&mut self, who: usize) -> Flow {
        if self.late_at(who).is_none_or(|at| at > self.now) {
            return Flow::Close(CloseReason::IdleTimeout);
        }
        if let Protocol::Command(_) = self.protocol {
            let client = &mut self.clients[who];
            let started_ms = client.frame.map_or(0, |frame| frame.started_ms);
            let age = (client.running_ms - started_ms) / 1000;
            client.reply(error(&format!("frame incomplete after {age} s")));
        }
        Flow::Close(CloseReason::FrameTimeout)
    }

    /// No more of its input is acted on.
    pub fn drain(&mut self, who: usize) {
        let Client { unsent, lagging, .. } = std::mem::take(&mut self.clients[who]);
        self.clients[who] =
            Client { unsent, lagging, last_active_at: self.now, ..Client::default() };
    }

    pub fn deadline(&self, who: usize) -> Option<u64> {
        let Client { last_active_at, paused, .. } = self.clients[who];
        let idle = (self.idle_ms > 0 && !paused).then(|| last_active_at + self.idle_ms);
        [self.late_at(who), idle].into_iter().flatten().min()
    }

    /// When the unfinished frame is late: stalled for the timeout, or older than it and too slow.
    /// Never while the server does not read.
    fn late_at(&self, who: usize) -> Option<u64> {
        let client = &self.clients[who];
        let frame = client.frame.filter(|_| !client.paused)?;
        let timeout_ms = self.limits.frame_timeout_ms;
        let earned_ms = frame.bytes * 1000 / FRAME_BYTES_PER_SEC_MIN;
        let stalled = frame.last_byte_ms + timeout_ms;
        let too_slow = frame.started_ms + timeout_ms.max(earned_ms);
        Some(stalled.min(too_slow) + self.now - client.running_ms)
    }
}

impl Log {
    /// Room is made at the expense of what everyone has been offered, and of nothing else.
    fn append(&mut self, len: usize, capacity: usize) -> bool {
        let start = self.start.max((self.head + len as u64).saturating_sub(capacity as u64));
        if start > self.offered {
            return false;
        }
        self.start = start;
        self.head += len as u64;
        true
    }

    pub fn set_offered(&mut self, offset: u64) {
        self.offered = self.offered.max(offset.min(self.head));
    }

    pub fn release_below(&mut self, offset: u64) {
        self.set_offered(offset);
        self.start = self.start.max(offset.min(self.head));
    }
}

impl Client {
    /// An unfinished frame has a clock, unless frames before it are deferred.
    fn wind(&mut self, answered: bool, came: bool) {
        let (now, bytes) = (self.running_ms, self.pending.len() as u64);
        if answered || self.deferred || bytes == 0 {
            self.frame = None;
        }
        if self.deferred || bytes == 0 {
            return;
        }
        let begun = Frame { started_ms: now, last_byte_ms: now, bytes };
        let frame = self.frame.get_or_insert(begun);
        if came {
            (frame.last_byte_ms, frame.bytes) = (now, bytes);
        }
    }
}

/// A frame of the `command` protocol.
pub fn frame(code: u8, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&[code][..], &len, payload].concat()
}

fn error(why: &str) -> Vec<u8> {
    frame(255, why.as_bytes())
}
