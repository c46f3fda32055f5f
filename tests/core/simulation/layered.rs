//! The clients' side of a layer: what they say goes out in records, and what they do wrong, or by
//! halves, on the way.

use std::fmt;

use super::layers::{End, RECORD_BYTES_MAX, SimulatedLayer, Stage};
use crate::support::rng::Rng;

/// Conduct of a client with its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    Good,
    /// It sends nothing, ever.
    Silent,
    /// It sends a part of its first message, or all of it and a part of the next.
    Stalls,
    /// It begins with something else.
    Garbage,
    /// The same in place of its second message.
    GarbageWithin,
    /// It shuts its side within the handshake.
    HangsUp,
    /// It says within the handshake that no more will come.
    EndsWithin,
    /// Once it has nothing more to say, it sends a record that is none, or not the next.
    Breaks,
}

/// How a client shuts its side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goodbye {
    /// It says so, and does.
    Both,
    /// It says so and waits for the server.
    Notify,
    /// It says so, and more behind it.
    NotifyAndMore,
    /// It does not say so: for all the server knows, something has been cut off.
    Truncate,
    /// The same in the middle of a record.
    TruncateRecord,
}

/// A client's end of its layer, with what is on its way to the network.
pub struct Wire {
    end: Box<dyn End>,
    manner: Manner,
    goodbye: Goodbye,
    /// Most data of its records.
    record_bytes: usize,
    /// It sends empty records and new keys between others.
    has_extras: bool,
    /// In a trickle, bytes of one record come by themselves, and not records of one byte.
    pub trickles_records: bool,
    out: Vec<u8>,
    /// Bytes the network has taken.
    handed: usize,
    /// Records with data, and empty ones: where they end, and how much is in them.
    records: Vec<(usize, usize)>,
    /// How many of them the network has taken.
    records_handed: usize,
    has_begun: bool,
    /// Bytes on their way are the last.
    has_said_goodbye: bool,
    /// Bytes with which the server may know that it is, but for the end of the stream.
    end_at: usize,
    has_heard: bool,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("stage", &self.end.stage())
            .field("manner", &self.manner)
            .field("goodbye", &self.goodbye)
            .field("has_said_goodbye", &self.has_said_goodbye)
            .field("out", &self.out.len())
            .field("handed", &self.handed)
            .field("records", &self.records.len())
            .finish_non_exhaustive()
    }
}

impl Wire {
    pub fn new<L: SimulatedLayer>(is_good: bool, rng: &mut Rng) -> Self {
        const BAD: [Manner; 7] = [
            Manner::Silent,
            Manner::Stalls,
            Manner::Garbage,
            Manner::GarbageWithin,
            Manner::HangsUp,
            Manner::EndsWithin,
            Manner::Breaks,
        ];
        const GOODBYES: [Goodbye; 5] = [
            Goodbye::Both,
            Goodbye::Notify,
            Goodbye::NotifyAndMore,
            Goodbye::Truncate,
            Goodbye::TruncateRecord,
        ];
        let manner = if !is_good && rng.one_in(3) { BAD[rng.below(7)] } else { Manner::Good };
        Wire {
            end: L::client(rng),
            manner,
            goodbye: GOODBYES[rng.below(5)],
            record_bytes: [1, 100, RECORD_BYTES_MAX, RECORD_BYTES_MAX][rng.below(4)],
            has_extras: rng.one_in(3),
            trickles_records: rng.one_in(2),
            out: Vec::new(),
            handed: 0,
            records: Vec::new(),
            records_handed: 0,
            has_begun: false,
            has_said_goodbye: false,
            end_at: usize::MAX,
            has_heard: false,
        }
    }

    /// Whether its handshake will come to nothing.
    pub fn is_bad(&self) -> bool {
        !matches!(self.manner, Manner::Good | Manner::Breaks)
    }

    /// Whether it has broken the layer.
    pub fn is_broken(&self) -> bool {
        self.manner == Manner::Breaks && self.handed >= self.end_at
    }

    /// Whether it may send something behind its end that turns the server's close into a reset.
    pub fn sends_more(&self) -> bool {
        self.has_said_goodbye && self.goodbye == Goodbye::NotifyAndMore
    }

    pub fn manner(&self) -> Manner {
        self.manner
    }

    pub fn breaks(&self) -> bool {
        self.manner == Manner::Breaks
    }

    /// Whether the handshake is known to be over on both sides.
    pub fn is_confirmed(&self) -> bool {
        self.end.stage() >= Stage::Confirmed && self.has_heard
    }

    /// Whether the server has said its last word, and nothing else behind it.
    pub fn has_last_word(&self) -> bool {
        self.end.stage() >= Stage::Ended && !self.end.is_in_record()
    }

    /// Whether it has something to send at this moment, but for what its client says.
    pub fn out(&self) -> &[u8] {
        &self.out
    }

    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    pub fn has_said_goodbye(&self) -> bool {
        self.has_said_goodbye
    }

    /// Whether the network has taken what says that no more will come.
    pub fn has_ended(&self) -> bool {
        self.manner == Manner::Good && self.handed >= self.end_at
    }

    /// Whether it shuts its side once all is sent.
    pub fn shuts(&self) -> bool {
        match self.manner {
            Manner::HangsUp => true,
            Manner::Good => self.has_said_goodbye && self.goodbye != Goodbye::Notify,
            _ => false,
        }
    }

    /// Whether what it has handed over ends within a record that never goes on.
    pub fn leaves_record_open(&self) -> bool {
        self.has_said_goodbye && self.goodbye == Goodbye::TruncateRecord
    }

    /// Whether its client may say something.
    pub fn may_speak(&self) -> bool {
        let is_open = matches!(self.end.stage(), Stage::Open | Stage::Confirmed);
        is_open && !self.is_bad() && !self.has_said_goodbye
    }

    /// The first bytes.
    pub fn begin(&mut self, rng: &mut Rng) {
        self.has_begun = true;
        let begun = self.end.receive(&[], &mut Vec::new(), &mut self.out);
        begun.expect("nothing has come that could be wrong");
        match self.manner {
            Manner::Silent => self.out.clear(),
            Manner::Garbage => self.out = garbage(rng),
            Manner::Stalls | Manner::HangsUp if rng.one_in(2) => {
                self.out.truncate(rng.below(self.out.len()));
            }
            Manner::EndsWithin => self.end.seal_end(&mut self.out),
            _ => {}
        }
    }

    /// Takes what the server sent; returns the data in it.
    pub fn receive(&mut self, bytes: &[u8], rng: &mut Rng) -> Result<Vec<u8>, String> {
        let (mut plain, before) = (Vec::new(), self.out.len());
        if bytes.is_empty() {
            return Ok(plain);
        }
        let was_confirmed = self.end.stage() >= Stage::Confirmed;
        self.end.receive(bytes, &mut plain, &mut self.out)?;
        self.has_heard |= was_confirmed || self.end.stage() == Stage::Confirmed;
        match self.manner {
            Manner::GarbageWithin if self.out.len() > before => {
                self.out.truncate(before);
                self.out.extend(garbage(rng));
            }
            Manner::Stalls if self.out.len() > before => {
                self.out.truncate(rng.between(before, self.out.len() - 1));
            }
            Manner::HangsUp => self.out.truncate(before),
            _ => {}
        }
        if self.end.stage() >= Stage::Ended {
            // Nobody listens.
            self.out.clear();
        }
        Ok(plain)
    }

    /// Seals the first `most` bytes of what its client says.
    pub fn seal(&mut self, outgoing: &mut Vec<u8>, most: usize, is_undivided: bool, rng: &mut Rng) {
        let said: Vec<u8> = outgoing.drain(..most).collect();
        let mut rest = &said[..];
        while !rest.is_empty() {
            let len = if is_undivided { RECORD_BYTES_MAX } else { rng.skewed(self.record_bytes) };
            let (part, later) = rest.split_at(len.min(rest.len()));
            if self.has_extras && rng.one_in(10) {
                self.seal_one(&[]);
            }
            if self.has_extras && rng.one_in(20) {
                self.end.update_keys(&mut self.out);
            }
            self.seal_one(part);
            rest = later;
        }
    }

    fn seal_one(&mut self, part: &[u8]) {
        self.end.seal(part, &mut self.out);
        self.records.push((self.handed + self.out.len(), part.len()));
    }

    /// Says the last that it will say.
    pub fn say_goodbye(&mut self, rng: &mut Rng) {
        self.has_said_goodbye = true;
        if self.manner == Manner::Breaks {
            self.end_at = self.handed + 1;
            return self.break_layer(rng);
        }
        if !matches!(self.goodbye, Goodbye::Truncate | Goodbye::TruncateRecord) {
            self.end.seal_end(&mut self.out);
            self.end_at = self.handed + self.out.len();
        }
        match self.goodbye {
            Goodbye::Both | Goodbye::Notify | Goodbye::Truncate => {}
            Goodbye::NotifyAndMore => {
                let more = rng.bytes(30);
                self.out.extend(more);
            }
            Goodbye::TruncateRecord => {
                self.end.seal(b"nobody will see this", &mut self.out);
                self.out.truncate(rng.between(1, self.out.len() - 1));
            }
        }
    }

    fn break_layer(&mut self, rng: &mut Rng) {
        let mut first = Vec::new();
        self.end.seal(b"first", &mut first);
        let mut second = Vec::new();
        self.end.seal(b"second", &mut second);
        match rng.below(4) {
            // In the wrong order, whatever the keys are.
            0 => self.out.extend([second, first].concat()),
            1 => {
                let at = rng.between(5, first.len() - 1);
                first[at] ^= 1 << rng.below(8);
                self.out.extend([first, second].concat());
            }
            2 => self.out.extend(b"GET / HTTP/1.1\r\n\r\n"),
            // Longer than any.
            _ => self.out.extend([23, 3, 3, 0xff, 0xff, 0]),
        }
    }

    /// The network took the first `n` bytes: returns how much data of its client's is now with the
    /// network to its end.
    pub fn hand(&mut self, n: usize) -> usize {
        self.out.drain(..n);
        self.handed += n;
        let mut plain = 0;
        while let Some(&(end, len)) = self.records.get(self.records_handed)
            && end <= self.handed
        {
            plain += len;
            self.records_handed += 1;
        }
        plain
    }

    /// Bytes on their way will never be sent.
    pub fn forget_out(&mut self) {
        self.out.clear();
    }

    /// How much data the server got in reads of so many bytes, where it got some.
    pub fn plain_reads(&self, reads: &[usize]) -> Vec<usize> {
        let mut plain_reads = Vec::new();
        let (mut at, mut records) = (0, self.records.iter().peekable());
        for read in reads {
            at += read;
            let mut plain = 0;
            while let Some((_, len)) = records.next_if(|(end, _)| *end <= at) {
                plain += len;
            }
            if plain > 0 {
                plain_reads.push(plain);
            }
        }
        plain_reads
    }
}

/// Something that is no record, long enough to be known for it.
fn garbage(rng: &mut Rng) -> Vec<u8> {
    match rng.below(3) {
        0 => b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        1 => [&[0x80, 0x2e, 1, 3, 1][..], &rng.bytes(40)].concat(),
        _ => {
            let len = rng.between(10, 300);
            rng.bytes(len)
        }
    }
}
