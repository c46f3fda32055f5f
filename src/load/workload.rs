//! What is asked and what answers it, in each protocol. Knows bytes, no sockets and no time.

use super::target::Protocol;
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
pub(super) enum Pattern {
    /// Each request is answered on its own connection.
    Echo,
    /// One connection publishes, the others get it.
    Fanout,
}

/// Requests and answers of one run.
#[derive(Debug)]
pub(super) struct Workload {
    protocol: Protocol,
    pattern: Pattern,
    /// One request as it is sent.
    request: Vec<u8>,
    /// Requests one behind the other: one, or as many as a write should take.
    batch: Vec<u8>,
    /// What a right answer carries, or (`Fanout`) a delivery.
    expected: Vec<u8>,
    /// `raw`: the byte a request consists of. The prefix has none of it, so answers are counted
    /// by it however often the prefix comes back.
    fill_byte: u8,
}

/// What was found in the bytes a connection received.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    /// Bytes that are done with; the rest is the beginning of something.
    pub(super) consumed: usize,
    pub(super) answers: u32,
    pub(super) deliveries: u32,
    /// Why the connection is no good any more.
    pub(super) error: Option<ReplyError>,
}

/// How an answer can be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReplyError {
    /// The target said that it will not; its text.
    Refused(String),
    /// It is no answer to what was asked.
    Unexpected,
}

impl Workload {
    /// Payloads a protocol can partial_bytes, in bytes.
    pub(super) fn sizes(protocol: &Protocol) -> std::ops::RangeInclusive<u32> {
        match protocol {
            Protocol::Command => 0..=FRAME_LEN_LIMIT,
            Protocol::Prefixed => 0..=PAYLOAD_LEN_MAX as u32,
            Protocol::Raw { .. } => 1..=FRAME_LEN_LIMIT,
            Protocol::Chat => 1..=LINE_LEN_MAX as u32,
            Protocol::Tcp => 0..=0,
        }
    }

    /// Requests of `size` bytes of payload; a chat's publisher is called `publisher`.
    pub(super) fn new(protocol: &Protocol, pattern: Pattern, size: usize, publisher: &str) -> Self {
        let payload: Vec<u8> = (b'a'..=b'z').cycle().take(size).collect();
        let mut request = Vec::new();
        let mut expected = payload.clone();
        let mut fill_byte = b'x';
        match (protocol, pattern) {
            (Protocol::Command, pattern) => {
                let command =
                    if pattern == Pattern::Echo { Command::Echo } else { Command::Broadcast };
                Frame { command, payload: &payload }.encode(&mut request);
            }
            (Protocol::Prefixed, _) => {
                prefixed::encode(&payload, &mut request);
                expected.reverse();
            }
            (Protocol::Raw { prefix }, _) => {
                let free = |byte: &u8| !prefix.contains(byte);
                // A prefix of all bytes there are leaves none to count by; its answers are junk.
                fill_byte = (b'x'..=u8::MAX).chain(0..b'x').find(free).unwrap_or(fill_byte);
                request = vec![fill_byte; size];
            }
            (Protocol::Chat, Pattern::Echo) => request = refused_nickname(size),
            (Protocol::Chat, Pattern::Fanout) => {
                request.clone_from(&payload);
                request.push(b'\n');
                expected = format!("[{publisher}]: ").into_bytes();
                expected.extend(&payload);
            }
            (Protocol::Tcp, _) => {}
        }
        let times = (BATCH_BYTES / request.len().max(1)).max(1);
        let batch = request.repeat(times);
        Workload { protocol: protocol.clone(), pattern, request, batch, expected, fill_byte }
    }

    /// Whether a publisher is told of each message how many got it.
    pub(super) fn confirms_publish(&self) -> bool {
        self.protocol == Protocol::Command
    }

    /// Bytes of one request.
    pub(super) fn request_len(&self) -> usize {
        self.request.len()
    }

    /// The next bytes of `unsent` bytes of requests, of which `done` bytes have been sent already.
    pub(super) fn next_bytes(&self, sent: u64, unsent: u64) -> &[u8] {
        let len = self.request.len().max(1) as u64;
        let at = (sent % len) as usize;
        let rest = self.batch.get(at..).unwrap_or_default();
        let wanted = usize::try_from(unsent).unwrap_or(usize::MAX).min(rest.len());
        rest.get(..wanted).unwrap_or_default()
    }

    /// What a connection says to take part in a fan-out, before anything is published: its answer
    /// proves that the server has it.
    pub(super) fn hello(&self, nickname: &str) -> Vec<u8> {
        let mut hello = Vec::new();
        match self.protocol {
            Protocol::Chat => hello.extend(format!("{nickname}\n").as_bytes()),
            _ => Frame { command: Command::Echo, payload: b"" }.encode(&mut hello),
        }
        hello
    }

    /// Looks for answers in `input`, which begins where one does. `partial_bytes` is `raw`'s: bytes of an
    /// answer that is not complete.
    #[inline]
    pub(super) fn parse(
        &self,
        input: &[u8],
        is_joining: bool,
        partial_bytes: &mut usize,
    ) -> Parsed {
        match (&self.protocol, self.pattern) {
            (Protocol::Command, Pattern::Echo) => self.parse_command_echo(input),
            (Protocol::Command, Pattern::Fanout) => self.parse_command_fanout(input),
            (Protocol::Prefixed, _) => self.parse_prefixed(input),
            (Protocol::Raw { prefix }, _) => self.parse_raw(input, prefix, partial_bytes),
            (Protocol::Chat, pattern) => self.parse_lines(input, pattern, is_joining),
            (Protocol::Tcp, _) => Parsed { consumed: input.len(), ..Parsed::default() },
        }
    }

    fn decoder(&self) -> CommandDecoder {
        let len = u32::try_from(self.expected.len()).unwrap_or(u32::MAX);
        CommandDecoder::new(len.max(ANSWER_LEN_MAX))
    }

    #[inline]
    fn parse_command_echo(&self, input: &[u8]) -> Parsed {
        parse_frames(self.decoder(), input, |frame, parsed| match frame.command {
            Command::Echo if frame.payload == self.expected => {
                parsed.answers += 1;
                None
            }
            // Someone else's broadcast.
            Command::Broadcast => None,
            _ => Some(command_error(&frame)),
        })
    }

    #[inline]
    fn parse_command_fanout(&self, input: &[u8]) -> Parsed {
        parse_frames(self.decoder(), input, |frame, parsed| {
            match frame.command {
                Command::Broadcast if frame.payload == self.expected => parsed.deliveries += 1,
                Command::Broadcast => {}
                // The number of receivers, or nothing in answer to the hello.
                Command::Echo if frame.payload.iter().all(u8::is_ascii_digit) => {
                    parsed.answers += 1
                }
                _ => return Some(command_error(&frame)),
            }
            None
        })
    }

    fn parse_prefixed(&self, input: &[u8]) -> Parsed {
        let mut parsed = parse_frames(PrefixedDecoder, input, |payload, parsed| {
            if payload != self.expected {
                return Some(ReplyError::Unexpected);
            }
            parsed.answers += 1;
            None
        });
        // An answer of another length is not waited for.
        let begun = input.get(parsed.consumed).is_some_and(|len| *len != self.batch[0]);
        if begun {
            parsed.error.get_or_insert(ReplyError::Unexpected);
        }
        parsed
    }

    fn parse_raw(&self, input: &[u8], prefix: &[u8], partial_bytes: &mut usize) -> Parsed {
        let ours = input.iter().filter(|byte| **byte == self.fill_byte).count();
        let mut parsed = Parsed { consumed: input.len(), ..Parsed::default() };
        let known = |byte: &u8| *byte == self.fill_byte || prefix.contains(byte);
        if ours < input.len() && !input.iter().all(known) {
            parsed.error = Some(ReplyError::Unexpected);
        }
        let size = self.request.len().max(1);
        parsed.answers = u32::try_from((*partial_bytes + ours) / size).unwrap_or(u32::MAX);
        *partial_bytes = (*partial_bytes + ours) % size;
        parsed
    }

    fn parse_lines(&self, input: &[u8], pattern: Pattern, is_joining: bool) -> Parsed {
        parse_frames(LineDecoder::default(), input, |line, parsed| {
            let Line::Text(line) = line else { return Some(ReplyError::Unexpected) };
            match pattern {
                Pattern::Echo if line.starts_with(b"[ERROR] ") => parsed.answers += 1,
                Pattern::Fanout if is_joining && line.starts_with(b"[INFO] ") => {
                    parsed.answers += 1
                }
                Pattern::Fanout if line == self.expected => parsed.deliveries += 1,
                Pattern::Fanout if line.starts_with(b"[ERROR] ") => return Some(refusal(line)),
                // What others say, who comes and who goes.
                _ if line.starts_with(b"[") => {}
                _ => return Some(ReplyError::Unexpected),
            }
            None
        })
    }

    /// What `input`, which answers nothing that was asked, has to say: the text of a refusal.
    pub(super) fn classify_unrequested(&self, input: &[u8]) -> ReplyError {
        match self.protocol {
            Protocol::Chat => {
                let Ok(found) = LineDecoder::default().decode(input);
                match found {
                    Some((Line::Text(line), _)) => refusal(line),
                    _ => ReplyError::Unexpected,
                }
            }
            _ => ReplyError::Unexpected,
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

/// Shows each whole frame of `input` to `check`, until one is at error.
#[inline]
fn parse_frames<D: Decoder>(
    mut decoder: D,
    input: &[u8],
    mut check: impl FnMut(D::Frame<'_>, &mut Parsed) -> Option<ReplyError>,
) -> Parsed
where
    D::Error: IntoFault,
{
    let mut parsed = Parsed::default();
    loop {
        match decoder.decode(&input[parsed.consumed..]) {
            Ok(Some((frame, len))) => {
                parsed.consumed += len;
                parsed.error = check(frame, &mut parsed);
                if parsed.error.is_some() {
                    return parsed;
                }
            }
            Ok(None) => return parsed,
            Err(error) => {
                parsed.error = Some(error.into_fault());
                return parsed;
            }
        }
    }
}

trait IntoFault {
    fn into_fault(self) -> ReplyError;
}

impl IntoFault for Never {
    fn into_fault(self) -> ReplyError {
        match self {}
    }
}

impl IntoFault for crate::codec::command::DecodeError {
    fn into_fault(self) -> ReplyError {
        ReplyError::Unexpected
    }
}

#[cold]
fn command_error(frame: &Frame<'_>) -> ReplyError {
    match frame.command {
        Command::Error => refusal(frame.payload),
        _ => ReplyError::Unexpected,
    }
}

#[cold]
fn refusal(text: &[u8]) -> ReplyError {
    let text = String::from_utf8_lossy(text);
    ReplyError::Refused(text.chars().take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(consumed: usize, answers: u32, deliveries: u32) -> Parsed {
        Parsed { consumed, answers, deliveries, error: None }
    }

    fn parse(workload: &Workload, input: &[u8]) -> Parsed {
        workload.parse(input, false, &mut 0)
    }

    fn reply_error(workload: &Workload, input: &[u8]) -> ReplyError {
        parse(workload, input).error.unwrap()
    }

    #[test]
    fn command_echoes_are_counted_and_compared() {
        let workload = Workload::new(&Protocol::Command, Pattern::Echo, 3, "");
        assert_eq!(workload.request, b"\x01\0\0\0\x03abc");
        assert_eq!(parse(&workload, b"\x01\0\0\0\x03abc\x01\0\0\0\x03abc\x01\0"), parsed(16, 2, 0));
        assert_eq!(parse(&workload, b"\x04\0\0\0\x01?"), parsed(6, 0, 0), "another's broadcast");
        assert_eq!(reply_error(&workload, b"\x01\0\0\0\x03abd"), ReplyError::Unexpected);
        assert_eq!(
            reply_error(&workload, b"\xff\0\0\0\x04full"),
            ReplyError::Refused("full".into())
        );
        assert_eq!(
            reply_error(&workload, b"HTTP/1.1 400 Bad Request"),
            ReplyError::Unexpected,
            "a length of 1.4 GB"
        );
    }

    #[test]
    fn broadcasts_are_deliveries_and_their_counts_are_answers() {
        let workload = Workload::new(&Protocol::Command, Pattern::Fanout, 2, "");
        assert_eq!(workload.request, b"\x04\0\0\0\x02ab");
        assert_eq!(workload.hello("?"), b"\x01\0\0\0\0");
        let input = b"\x04\0\0\0\x02ab\x01\0\0\0\x021k\x04\0\0\0\x02ab";
        assert_eq!(parse(&workload, input).error, Some(ReplyError::Unexpected), "1k is no number");
        let input = b"\x01\0\0\0\0\x04\0\0\0\x02ab\x01\0\0\0\x0212\x04\0\0\0\x02zz";
        assert_eq!(parse(&workload, input), parsed(input.len(), 2, 1));
    }

    #[test]
    fn prefixed_answers_are_the_request_reversed() {
        let workload = Workload::new(&Protocol::Prefixed, Pattern::Echo, 3, "");
        assert_eq!(workload.request, b"\x03abc");
        assert_eq!(parse(&workload, b"\x03cba\x03cb"), parsed(4, 1, 0));
        assert_eq!(reply_error(&workload, b"\x03abc"), ReplyError::Unexpected);
        assert_eq!(
            reply_error(&workload, b"\x03cba\x04"),
            ReplyError::Unexpected,
            "of another length"
        );
    }

    #[test]
    fn raw_answers_are_counted_by_their_bytes_whatever_the_reads_were() {
        let workload =
            Workload::new(&Protocol::Raw { prefix: b"Echo: ".into() }, Pattern::Echo, 4, "");
        let mut partial_bytes = 0;
        assert_eq!(workload.parse(b"Echo: xxxxx", false, &mut partial_bytes), parsed(11, 1, 0));
        assert_eq!(workload.parse(b"xEcho: xx", false, &mut partial_bytes), parsed(9, 1, 0));
        assert_eq!(partial_bytes, 0);
        assert_eq!(reply_error(&workload, b"Echo: y"), ReplyError::Unexpected);
        let awkward = Workload::new(&Protocol::Raw { prefix: b"xyz".into() }, Pattern::Echo, 2, "");
        assert_eq!(awkward.request, b"{{");
    }

    #[test]
    fn a_chats_echo_is_a_nickname_that_is_refused() {
        for (size, line) in [(1, "x\n"), (2, "xx\n"), (3, "x x\n"), (5, "x xxx\n")] {
            let workload = Workload::new(&Protocol::Chat, Pattern::Echo, size, "");
            assert_eq!(workload.request, line.as_bytes());
        }
        let workload = Workload::new(&Protocol::Chat, Pattern::Echo, 1, "");
        assert_eq!(parse(&workload, b"[ERROR] no\n[SERVER] bob joined\n[ER"), parsed(31, 1, 0));
        assert_eq!(reply_error(&workload, b"220 smtp ready\r\n"), ReplyError::Unexpected);
        assert_eq!(
            workload.classify_unrequested(b"[ERROR] full\n"),
            ReplyError::Refused("[ERROR] full".into())
        );
    }

    #[test]
    fn a_chats_deliveries_are_the_publishers_lines() {
        let workload = Workload::new(&Protocol::Chat, Pattern::Fanout, 2, "pub");
        assert_eq!(workload.hello("me-1"), b"me-1\n");
        let input = b"[bob]: ab\n[pub]: ab\n[INFO] Welcome, x!\n";
        assert_eq!(parse(&workload, input), parsed(input.len(), 0, 1));
        assert_eq!(workload.parse(b"[INFO] Welcome, x!\n", true, &mut 0).answers, 1);
        let text = "[ERROR] x is taken";
        assert_eq!(
            reply_error(&workload, format!("{text}\n").as_bytes()),
            ReplyError::Refused(text.into())
        );
    }

    #[test]
    fn what_is_to_be_sent_goes_on_inside_a_request() {
        let workload = Workload::new(&Protocol::Command, Pattern::Echo, 1, "");
        assert_eq!(workload.next_bytes(0, 12), b"\x01\0\0\0\x01a\x01\0\0\0\x01a");
        assert_eq!(workload.next_bytes(8, 4), b"\0\0\x01a");
        assert!(workload.next_bytes(3, u64::MAX).len() > 200_000, "many in one write");
        let long = Workload::new(&Protocol::Command, Pattern::Echo, 1 << 20, "");
        assert_eq!(long.next_bytes(5, u64::MAX).len(), 1 << 20);
    }

    #[test]
    fn a_tcp_target_is_not_understood_and_need_not_be() {
        let workload = Workload::new(&Protocol::Tcp, Pattern::Echo, 0, "");
        assert_eq!(parse(&workload, b"\xff\xff anything"), parsed(11, 0, 0));
        assert_eq!(workload.request_len(), 0);
    }
}
