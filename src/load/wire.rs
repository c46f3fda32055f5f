//! What is asked and what answers it, in each protocol. Knows bytes, no sockets and no time.

use super::target::Speech;
use crate::codec::command::{Command, CommandDecoder, Frame};
use crate::codec::line::{LINE_LEN_MAX, Line, LineDecoder};
use crate::codec::prefixed::{self, PAYLOAD_LEN_MAX, PrefixedDecoder};
use crate::codec::{Decoder, Never};
use crate::limits::FRAME_LEN_LIMIT;

/// Longest frame taken from a target, unless requests are longer: the server's longest broadcast
/// by default. A length beyond it is junk, which need not be gathered to be known for it.
const ANSWER_LEN_MAX: u32 = 4 << 20;

/// Bytes of requests kept ready, so that many leave in one write.
const BATCH_BYTES: usize = 256 * 1024;

/// What the run does, as far as it changes what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    /// Each request is answered on its own connection.
    Echo,
    /// One connection publishes, the others get it.
    Fanout,
}

/// Requests and answers of one run.
#[derive(Debug)]
pub(super) struct Wire {
    speech: Speech,
    topic: Topic,
    /// One request as it is sent.
    request: Vec<u8>,
    /// Requests one behind the other: one, or as many as a write should take.
    batch: Vec<u8>,
    /// What a right answer carries, or (`Fanout`) a delivery.
    expected: Vec<u8>,
    /// `raw`: the byte a request consists of. The prefix has none of it, so answers are counted
    /// by it however often the prefix comes back.
    fill: u8,
}

/// What was found in the bytes a connection received.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Bytes that are done with; the rest is the beginning of something.
    pub(super) consumed: usize,
    pub(super) answers: u32,
    pub(super) deliveries: u32,
    /// Why the connection is no good any more.
    pub(super) fault: Option<Fault>,
}

/// How an answer can be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The target said that it will not; its words.
    Refused(String),
    /// It is no answer to what was asked.
    Junk,
}

impl Wire {
    /// Payloads a protocol can carry, in bytes.
    pub(super) fn sizes(speech: &Speech) -> std::ops::RangeInclusive<u32> {
        match speech {
            Speech::Command => 0..=FRAME_LEN_LIMIT,
            Speech::Prefixed => 0..=PAYLOAD_LEN_MAX as u32,
            Speech::Raw { .. } => 1..=FRAME_LEN_LIMIT,
            Speech::Chat => 1..=LINE_LEN_MAX as u32,
            Speech::Tcp => 0..=0,
        }
    }

    /// Requests of `size` bytes of payload; a chat's publisher is called `publisher`.
    pub(super) fn new(speech: &Speech, topic: Topic, size: usize, publisher: &str) -> Self {
        let payload: Vec<u8> = (b'a'..=b'z').cycle().take(size).collect();
        let mut request = Vec::new();
        let mut expected = payload.clone();
        let mut fill = b'x';
        match (speech, topic) {
            (Speech::Command, topic) => {
                let command = if topic == Topic::Echo { Command::Echo } else { Command::Broadcast };
                Frame { command, payload: &payload }.encode(&mut request);
            }
            (Speech::Prefixed, _) => {
                prefixed::encode(&payload, &mut request);
                expected.reverse();
            }
            (Speech::Raw { prefix }, _) => {
                let free = |byte: &u8| !prefix.contains(byte);
                // A prefix of all bytes there are leaves none to count by; its answers are junk.
                fill = (b'x'..=u8::MAX).chain(0..b'x').find(free).unwrap_or(fill);
                request = vec![fill; size];
            }
            (Speech::Chat, Topic::Echo) => request = refused_nickname(size),
            (Speech::Chat, Topic::Fanout) => {
                request.clone_from(&payload);
                request.push(b'\n');
                expected = format!("[{publisher}]: ").into_bytes();
                expected.extend(&payload);
            }
            (Speech::Tcp, _) => {}
        }
        let times = (BATCH_BYTES / request.len().max(1)).max(1);
        let batch = request.repeat(times);
        Wire { speech: speech.clone(), topic, request, batch, expected, fill }
    }

    /// Whether a publisher is told of each message how many got it.
    pub(super) fn confirms(&self) -> bool {
        self.speech == Speech::Command
    }

    /// Bytes of one request.
    pub(super) fn request_len(&self) -> usize {
        self.request.len()
    }

    /// The next bytes of `unsent` bytes of requests, of which `done` bytes have been sent already.
    pub(super) fn unsent(&self, done: u64, unsent: u64) -> &[u8] {
        let len = self.request.len().max(1) as u64;
        let at = (done % len) as usize;
        let rest = self.batch.get(at..).unwrap_or_default();
        let wanted = usize::try_from(unsent).unwrap_or(usize::MAX).min(rest.len());
        rest.get(..wanted).unwrap_or_default()
    }

    /// What a connection says to take part in a fan-out, before anything is published: its answer
    /// proves that the server has it.
    pub(super) fn hello(&self, nickname: &str) -> Vec<u8> {
        let mut hello = Vec::new();
        match self.speech {
            Speech::Chat => hello.extend(format!("{nickname}\n").as_bytes()),
            _ => Frame { command: Command::Echo, payload: b"" }.encode(&mut hello),
        }
        hello
    }

    /// Looks for answers in `input`, which begins where one does. `carry` is `raw`'s: bytes of an
    /// answer that is not complete.
    #[inline]
    pub(super) fn take(&self, input: &[u8], joining: bool, carry: &mut usize) -> Seen {
        match (&self.speech, self.topic) {
            (Speech::Command, Topic::Echo) => self.take_command_echo(input),
            (Speech::Command, Topic::Fanout) => self.take_command_fanout(input),
            (Speech::Prefixed, _) => self.take_prefixed(input),
            (Speech::Raw { prefix }, _) => self.take_raw(input, prefix, carry),
            (Speech::Chat, topic) => self.take_lines(input, topic, joining),
            (Speech::Tcp, _) => Seen { consumed: input.len(), ..Seen::default() },
        }
    }

    fn decoder(&self) -> CommandDecoder {
        let len = u32::try_from(self.expected.len()).unwrap_or(u32::MAX);
        CommandDecoder::new(len.max(ANSWER_LEN_MAX))
    }

    #[inline]
    fn take_command_echo(&self, input: &[u8]) -> Seen {
        walk(self.decoder(), input, |frame, seen| match frame.command {
            Command::Echo if frame.payload == self.expected => {
                seen.answers += 1;
                None
            }
            // Someone else's broadcast.
            Command::Broadcast => None,
            _ => Some(wrong(&frame)),
        })
    }

    #[inline]
    fn take_command_fanout(&self, input: &[u8]) -> Seen {
        walk(self.decoder(), input, |frame, seen| {
            match frame.command {
                Command::Broadcast if frame.payload == self.expected => seen.deliveries += 1,
                Command::Broadcast => {}
                // The number of receivers, or nothing in answer to the hello.
                Command::Echo if frame.payload.iter().all(u8::is_ascii_digit) => seen.answers += 1,
                _ => return Some(wrong(&frame)),
            }
            None
        })
    }

    fn take_prefixed(&self, input: &[u8]) -> Seen {
        let mut seen = walk(PrefixedDecoder, input, |payload, seen| {
            if payload != self.expected {
                return Some(Fault::Junk);
            }
            seen.answers += 1;
            None
        });
        // An answer of another length is not waited for.
        let begun = input.get(seen.consumed).is_some_and(|len| *len != self.batch[0]);
        if begun {
            seen.fault.get_or_insert(Fault::Junk);
        }
        seen
    }

    fn take_raw(&self, input: &[u8], prefix: &[u8], carry: &mut usize) -> Seen {
        let ours = input.iter().filter(|byte| **byte == self.fill).count();
        let mut seen = Seen { consumed: input.len(), ..Seen::default() };
        let known = |byte: &u8| *byte == self.fill || prefix.contains(byte);
        if ours < input.len() && !input.iter().all(known) {
            seen.fault = Some(Fault::Junk);
        }
        let size = self.request.len().max(1);
        seen.answers = u32::try_from((*carry + ours) / size).unwrap_or(u32::MAX);
        *carry = (*carry + ours) % size;
        seen
    }

    fn take_lines(&self, input: &[u8], topic: Topic, joining: bool) -> Seen {
        walk(LineDecoder::default(), input, |line, seen| {
            let Line::Text(line) = line else { return Some(Fault::Junk) };
            match topic {
                Topic::Echo if line.starts_with(b"[ERROR] ") => seen.answers += 1,
                Topic::Fanout if joining && line.starts_with(b"[INFO] ") => seen.answers += 1,
                Topic::Fanout if line == self.expected => seen.deliveries += 1,
                Topic::Fanout if line.starts_with(b"[ERROR] ") => return Some(refused(line)),
                // What others say, who comes and who goes.
                _ if line.starts_with(b"[") => {}
                _ => return Some(Fault::Junk),
            }
            None
        })
    }

    /// What `input`, which answers nothing that was asked, has to say: the words of a refusal.
    pub(super) fn unasked(&self, input: &[u8]) -> Fault {
        match self.speech {
            Speech::Chat => {
                let Ok(found) = LineDecoder::default().decode(input);
                match found {
                    Some((Line::Text(line), _)) => refused(line),
                    _ => Fault::Junk,
                }
            }
            _ => Fault::Junk,
        }
    }
}

/// A chat answers a nickname that is none with one line, and nobody else hears of it: that makes
/// it a request. One or two characters are too few; in a longer one stands a blank.
fn refused_nickname(size: usize) -> Vec<u8> {
    let mut line = vec![b'x'; size];
    if size > 2 {
        line[1] = b' ';
    }
    line.push(b'\n');
    line
}

/// Shows each whole frame of `input` to `look`, until one is at fault.
#[inline]
fn walk<D: Decoder>(
    mut decoder: D,
    input: &[u8],
    mut look: impl FnMut(D::Frame<'_>, &mut Seen) -> Option<Fault>,
) -> Seen
where
    D::Error: IntoFault,
{
    let mut seen = Seen::default();
    loop {
        match decoder.decode(&input[seen.consumed..]) {
            Ok(Some((frame, len))) => {
                seen.consumed += len;
                seen.fault = look(frame, &mut seen);
                if seen.fault.is_some() {
                    return seen;
                }
            }
            Ok(None) => return seen,
            Err(error) => {
                seen.fault = Some(error.into_fault());
                return seen;
            }
        }
    }
}

trait IntoFault {
    fn into_fault(self) -> Fault;
}

impl IntoFault for Never {
    fn into_fault(self) -> Fault {
        match self {}
    }
}

impl IntoFault for crate::codec::command::DecodeError {
    fn into_fault(self) -> Fault {
        Fault::Junk
    }
}

#[cold]
fn wrong(frame: &Frame<'_>) -> Fault {
    match frame.command {
        Command::Error => refused(frame.payload),
        _ => Fault::Junk,
    }
}

#[cold]
fn refused(words: &[u8]) -> Fault {
    let words = String::from_utf8_lossy(words);
    Fault::Refused(words.chars().take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(consumed: usize, answers: u32, deliveries: u32) -> Seen {
        Seen { consumed, answers, deliveries, fault: None }
    }

    fn take(wire: &Wire, input: &[u8]) -> Seen {
        wire.take(input, false, &mut 0)
    }

    fn fault(wire: &Wire, input: &[u8]) -> Fault {
        take(wire, input).fault.unwrap()
    }

    #[test]
    fn command_echoes_are_counted_and_compared() {
        let wire = Wire::new(&Speech::Command, Topic::Echo, 3, "");
        assert_eq!(wire.request, b"\x01\0\0\0\x03abc");
        assert_eq!(take(&wire, b"\x01\0\0\0\x03abc\x01\0\0\0\x03abc\x01\0"), seen(16, 2, 0));
        assert_eq!(take(&wire, b"\x04\0\0\0\x01?"), seen(6, 0, 0), "another's broadcast");
        assert_eq!(fault(&wire, b"\x01\0\0\0\x03abd"), Fault::Junk);
        assert_eq!(fault(&wire, b"\xff\0\0\0\x04full"), Fault::Refused("full".into()));
        assert_eq!(fault(&wire, b"HTTP/1.1 400 Bad Request"), Fault::Junk, "a length of 1.4 GB");
    }

    #[test]
    fn broadcasts_are_deliveries_and_their_counts_are_answers() {
        let wire = Wire::new(&Speech::Command, Topic::Fanout, 2, "");
        assert_eq!(wire.request, b"\x04\0\0\0\x02ab");
        assert_eq!(wire.hello("?"), b"\x01\0\0\0\0");
        let input = b"\x04\0\0\0\x02ab\x01\0\0\0\x021k\x04\0\0\0\x02ab";
        assert_eq!(take(&wire, input).fault, Some(Fault::Junk), "1k is no number");
        let input = b"\x01\0\0\0\0\x04\0\0\0\x02ab\x01\0\0\0\x0212\x04\0\0\0\x02zz";
        assert_eq!(take(&wire, input), seen(input.len(), 2, 1));
    }

    #[test]
    fn prefixed_answers_are_the_request_reversed() {
        let wire = Wire::new(&Speech::Prefixed, Topic::Echo, 3, "");
        assert_eq!(wire.request, b"\x03abc");
        assert_eq!(take(&wire, b"\x03cba\x03cb"), seen(4, 1, 0));
        assert_eq!(fault(&wire, b"\x03abc"), Fault::Junk);
        assert_eq!(fault(&wire, b"\x03cba\x04"), Fault::Junk, "of another length");
    }

    #[test]
    fn raw_answers_are_counted_by_their_bytes_whatever_the_reads_were() {
        let wire = Wire::new(&Speech::Raw { prefix: b"Echo: ".into() }, Topic::Echo, 4, "");
        let mut carry = 0;
        assert_eq!(wire.take(b"Echo: xxxxx", false, &mut carry), seen(11, 1, 0));
        assert_eq!(wire.take(b"xEcho: xx", false, &mut carry), seen(9, 1, 0));
        assert_eq!(carry, 0);
        assert_eq!(fault(&wire, b"Echo: y"), Fault::Junk);
        let awkward = Wire::new(&Speech::Raw { prefix: b"xyz".into() }, Topic::Echo, 2, "");
        assert_eq!(awkward.request, b"{{");
    }

    #[test]
    fn a_chats_echo_is_a_nickname_that_is_refused() {
        for (size, line) in [(1, "x\n"), (2, "xx\n"), (3, "x x\n"), (5, "x xxx\n")] {
            let wire = Wire::new(&Speech::Chat, Topic::Echo, size, "");
            assert_eq!(wire.request, line.as_bytes());
        }
        let wire = Wire::new(&Speech::Chat, Topic::Echo, 1, "");
        assert_eq!(take(&wire, b"[ERROR] no\n[SERVER] bob joined\n[ER"), seen(31, 1, 0));
        assert_eq!(fault(&wire, b"220 smtp ready\r\n"), Fault::Junk);
        assert_eq!(wire.unasked(b"[ERROR] full\n"), Fault::Refused("[ERROR] full".into()));
    }

    #[test]
    fn a_chats_deliveries_are_the_publishers_lines() {
        let wire = Wire::new(&Speech::Chat, Topic::Fanout, 2, "pub");
        assert_eq!(wire.hello("me-1"), b"me-1\n");
        let input = b"[bob]: ab\n[pub]: ab\n[INFO] Welcome, x!\n";
        assert_eq!(take(&wire, input), seen(input.len(), 0, 1));
        assert_eq!(wire.take(b"[INFO] Welcome, x!\n", true, &mut 0).answers, 1);
        let words = "[ERROR] x is taken";
        assert_eq!(fault(&wire, format!("{words}\n").as_bytes()), Fault::Refused(words.into()));
    }

    #[test]
    fn what_is_to_be_sent_goes_on_inside_a_request() {
        let wire = Wire::new(&Speech::Command, Topic::Echo, 1, "");
        assert_eq!(wire.unsent(0, 12), b"\x01\0\0\0\x01a\x01\0\0\0\x01a");
        assert_eq!(wire.unsent(8, 4), b"\0\0\x01a");
        assert!(wire.unsent(3, u64::MAX).len() > 200_000, "many in one write");
        let long = Wire::new(&Speech::Command, Topic::Echo, 1 << 20, "");
        assert_eq!(long.unsent(5, u64::MAX).len(), 1 << 20);
    }

    #[test]
    fn a_tcp_target_is_not_understood_and_need_not_be() {
        let wire = Wire::new(&Speech::Tcp, Topic::Echo, 0, "");
        assert_eq!(take(&wire, b"\xff\xff anything"), seen(11, 0, 0));
        assert_eq!(wire.request_len(), 0);
    }
}
