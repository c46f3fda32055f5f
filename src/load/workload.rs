//! Requests and their answers in each protocol. Knows bytes, no sockets and no time.

use std::ops::RangeInclusive;

use super::exchange::{self, Exchange, Expect};
use super::plan::{Pattern, Plan};
use super::reply::{Parsed, ReplyError};
use super::target::Protocol::{self, Mynah};
use super::target::Target;
use crate::codec::Decoder;
use crate::codec::command::{Command, CommandDecoder, Frame};
use crate::codec::line::{LINE_LEN_MAX, Line, LineDecoder};
use crate::codec::prefixed::{self, PAYLOAD_LEN_MAX, PrefixedDecoder};
use crate::limits::FRAME_LEN_LIMIT;
use crate::protocol::ProtocolName as Name;

/// Longest frame accepted from a target, unless requests are longer: the server's longest broadcast
/// by default. A longer one is an error at once, without being buffered.
const REPLY_LEN_MAX: u32 = 4 << 20;

/// Bytes of requests kept ready, so that many leave in one write.
const BATCH_BYTES: usize = 256 * 1024;

/// Most characters kept of the text of a refusal.
const REFUSAL_LEN_MAX: usize = 200;

/// Most letters of a tag that the messages of a fan-out have.
const TAG_LEN_MAX: usize = 8;

/// Requests and answers of one run.
#[derive(Debug)]
pub(super) struct Workload {
    protocol: Protocol,
    pattern: Pattern,
    /// One request as it is sent.
    request: Vec<u8>,
    /// Copies of the request: one, or as many as a write should take.
    batch: Vec<u8>,
    /// Payload of a right answer, or of a delivery in a fan-out.
    expected: Vec<u8>,
    /// Bytes of payload in `request`, and in a fan-out at the end of `expected`.
    payload_len: usize,
    /// `raw`: prefix of the answers, which comes back once a read of the server.
    raw_prefix: Vec<u8>,
    /// `raw`: the byte that requests consist of. The prefix does not have it, so answers are counted
    /// by it, however often the prefix comes back.
    fill_byte: u8,
    /// `tcp`: the answer to a request; `None` if none is sent, and input is discarded.
    expect: Option<Expect>,
    /// `tcp`: the text that ends what the server says first; empty if nothing is awaited.
    greeting: Vec<u8>,
}

impl Workload {
    /// Payload sizes that a protocol can carry, in bytes.
    pub(super) fn sizes(protocol: Protocol) -> RangeInclusive<u32> {
        match protocol {
            Mynah(Name::Command) => 0..=FRAME_LEN_LIMIT,
            Mynah(Name::Prefixed) => 0..=PAYLOAD_LEN_MAX as u32,
            Mynah(Name::Raw) => 1..=FRAME_LEN_LIMIT,
            Mynah(Name::Chat) => 1..=LINE_LEN_MAX as u32,
            _ => 0..=0,
        }
    }

    /// The requests of `plan`. In a chat, the publisher has the nickname `publisher`.
    pub(super) fn of_plan(plan: &Plan, publisher: &str) -> Self {
        let size = plan.mode.size() as usize;
        // Several testers may publish at one server, and each counts its own messages.
        let tag = random_letters(TAG_LEN_MAX);
        let mut workload = Workload::new(&plan.target, plan.mode.pattern(), size, publisher, &tag);
        if let Some(exchange) = &plan.exchange {
            workload.set_exchange(exchange);
        }
        workload.greeting = plan.greeting.clone().unwrap_or_default();
        workload
    }

    /// Has `tcp` send requests and expect answers.
    fn set_exchange(&mut self, Exchange { send, expect }: &Exchange) {
        self.request.clone_from(send);
        self.batch = send.repeat((BATCH_BYTES / send.len().max(1)).max(1));
        self.expect = Some(expect.clone());
    }

    /// Requests of `size` bytes of payload. In a chat, the publisher has the nickname `publisher`. In a
    /// fan-out the payload begins with as much of `tag` as leaves a byte of it.
    pub(super) fn new(
        target: &Target,
        pattern: Pattern,
        size: usize,
        publisher: &str,
        tag: &str,
    ) -> Self {
        let mut payload: Vec<u8> = (b'a'..=b'z').cycle().take(size).collect();
        if pattern == Pattern::Fanout {
            let tagged = payload.iter_mut().take(size.saturating_sub(1));
            tagged.zip(tag.bytes()).for_each(|(byte, letter)| *byte = letter);
        }
        let mut request = Vec::new();
        let mut expected = payload.clone();
        let mut fill_byte = b'x';
        match (target.protocol, pattern) {
            (Mynah(Name::Command), pattern) => {
                let is_echo = pattern == Pattern::Echo;
                let command = if is_echo { Command::Echo } else { Command::Broadcast };
                Frame { command, payload: &payload }.encode(&mut request);
            }
            (Mynah(Name::Prefixed), _) => {
                prefixed::encode(&payload, &mut request);
                expected.reverse();
            }
            (Mynah(Name::Raw), _) => {
                let is_free = |byte: &u8| !target.raw_prefix.contains(byte);
                // A prefix of all 256 bytes leaves none to count by; every answer is then an error.
                fill_byte = (b'x'..=u8::MAX).chain(0..b'x').find(is_free).unwrap_or(fill_byte);
                request = vec![fill_byte; size];
            }
            (Mynah(Name::Chat), Pattern::Echo) => request = invalid_nickname(size),
            (Mynah(Name::Chat), Pattern::Fanout) => {
                request.clone_from(&payload);
                request.push(b'\n');
                expected = format!("[{publisher}]: ").into_bytes();
                expected.extend(&payload);
            }
            _ => {}
        }
        let times = (BATCH_BYTES / request.len().max(1)).max(1);
        Workload {
            protocol: target.protocol,
            pattern,
            batch: request.repeat(times),
            request,
            expected,
            payload_len: size,
            raw_prefix: target.raw_prefix.clone(),
            fill_byte,
            expect: None,
            greeting: Vec::new(),
        }
    }

    /// Whether the server answers each published message with the number of its receivers.
    pub(super) fn confirms_publish(&self) -> bool {
        self.protocol == Mynah(Name::Command)
    }

    /// Changes the messages of a fan-out, so that those of before count no longer when they arrive
    /// late. The 26th change makes them the first ones again.
    pub(super) fn change_payload(&mut self) {
        let next = |byte: &mut u8| *byte = if *byte == b'z' { b'a' } else { *byte + 1 };
        let begin = self.expected.len().saturating_sub(self.payload_len);
        self.expected[begin..].iter_mut().for_each(next);
        // A chat's line has its end behind the payload, a frame its header before it.
        let end = self.request.len() - usize::from(self.protocol == Mynah(Name::Chat));
        let begin = end.saturating_sub(self.payload_len);
        self.request[begin..end].iter_mut().for_each(next);
        let times = self.batch.len() / self.request.len().max(1);
        self.batch = self.request.repeat(times);
    }

    /// Whether a given exchange has the requests.
    pub(super) fn is_given(&self) -> bool {
        self.expect.is_some()
    }

    /// Whether what the server says first is awaited.
    pub(super) fn awaits_greeting(&self) -> bool {
        !self.greeting.is_empty()
    }

    /// The position behind the greeting in `received`, of which the first `searched` bytes do not
    /// have its end.
    pub(super) fn greeting_end(&self, received: &[u8], searched: usize) -> Option<usize> {
        exchange::greeting_end(&self.greeting, received, searched)
    }

    /// Whether input means nothing: the target's protocol is unknown, and nothing is awaited.
    pub(super) fn ignores_input(&self) -> bool {
        self.protocol == Protocol::Tcp && self.expect.is_none() && self.greeting.is_empty()
    }

    /// Bytes of one request.
    pub(super) fn request_len(&self) -> usize {
        self.request.len()
    }

    /// The first of the `unsent` bytes of requests that follow `sent` bytes: as many as one write
    /// should take.
    pub(super) fn next_bytes(&self, sent: u64, unsent: u64) -> &[u8] {
        let len = self.request.len().max(1) as u64;
        let at = (sent % len) as usize;
        let rest = self.batch.get(at..).unwrap_or_default();
        let wanted = usize::try_from(unsent).unwrap_or(usize::MAX).min(rest.len());
        rest.get(..wanted).unwrap_or_default()
    }

    /// The request by which a connection joins a fan-out. Its answer proves that the server has the
    /// connection, and comes before anything is published.
    pub(super) fn hello(&self, nickname: &str) -> Vec<u8> {
        let mut hello = Vec::new();
        match self.protocol {
            Mynah(Name::Chat) => hello.extend(format!("{nickname}\n").as_bytes()),
            _ => Frame { command: Command::Echo, payload: b"" }.encode(&mut hello),
        }
        hello
    }

    /// The missing rest of an answer that `--expect` gives, if `partial_bytes` of it have come.
    pub(super) fn explain_partial(&self, partial_bytes: usize) -> Option<String> {
        let expect = self.expect.as_ref().filter(|_| partial_bytes > 0)?;
        let len = expect.len();
        Some(format!("an answer was left unfinished: {partial_bytes} of its {len} bytes came"))
    }

    /// Parses `input`, which begins with a message, on a connection that waits for the answer to its
    /// hello (`is_joining`) or not. `partial_bytes` counts the bytes of an incomplete answer that have
    /// been consumed: of `raw` those of payload, of a given exchange all.
    #[inline]
    pub(super) fn parse(
        &self,
        input: &[u8],
        is_joining: bool,
        partial_bytes: &mut usize,
    ) -> Parsed {
        match (self.protocol, self.pattern) {
            (Mynah(Name::Command), Pattern::Echo) => self.parse_command_echo(input),
            (Mynah(Name::Command), Pattern::Fanout) => self.parse_command_fanout(input),
            (Mynah(Name::Prefixed), _) => self.parse_prefixed(input),
            (Mynah(Name::Raw), _) => self.parse_raw(input, partial_bytes),
            (Mynah(Name::Chat), pattern) => self.parse_chat(input, pattern, is_joining),
            // `tcp`. No other protocol is a target.
            _ => match &self.expect {
                Some(expect) => expect.parse(input, partial_bytes),
                None => Parsed { consumed: input.len(), ..Parsed::default() },
            },
        }
    }

    fn command_decoder(&self) -> CommandDecoder {
        let len = u32::try_from(self.expected.len()).unwrap_or(u32::MAX);
        CommandDecoder::new(len.max(REPLY_LEN_MAX))
    }

    #[inline]
    fn parse_command_echo(&self, input: &[u8]) -> Parsed {
        parse_frames(self.command_decoder(), input, |frame, parsed| match frame.command {
            Command::Echo if frame.payload == self.expected => {
                parsed.answers += 1;
                None
            }
            // A broadcast of another client.
            Command::Broadcast => None,
            _ => Some(command_error(&frame)),
        })
    }

    #[inline]
    fn parse_command_fanout(&self, input: &[u8]) -> Parsed {
        parse_frames(self.command_decoder(), input, |frame, parsed| {
            match frame.command {
                Command::Broadcast if frame.payload == self.expected => parsed.deliveries += 1,
                Command::Broadcast => {}
                // The number of receivers, or the empty answer to the hello.
                Command::Echo if frame.payload.iter().all(u8::is_ascii_digit) => {
                    parsed.answers += 1;
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
        // An incomplete answer of another length is an error already.
        let has_wrong_len = input.get(parsed.consumed).is_some_and(|len| *len != self.batch[0]);
        if has_wrong_len {
            parsed.error.get_or_insert(ReplyError::Unexpected);
        }
        parsed
    }

    fn parse_raw(&self, input: &[u8], partial_bytes: &mut usize) -> Parsed {
        let payload_len = input.iter().filter(|byte| **byte == self.fill_byte).count();
        let mut parsed = Parsed { consumed: input.len(), ..Parsed::default() };
        let is_known = |byte: &u8| *byte == self.fill_byte || self.raw_prefix.contains(byte);
        if payload_len < input.len() && !input.iter().all(is_known) {
            parsed.error = Some(ReplyError::Unexpected);
        }
        let size = self.request.len().max(1);
        parsed.answers = u32::try_from((*partial_bytes + payload_len) / size).unwrap_or(u32::MAX);
        *partial_bytes = (*partial_bytes + payload_len) % size;
        parsed
    }

    fn parse_chat(&self, input: &[u8], pattern: Pattern, is_joining: bool) -> Parsed {
        parse_frames(LineDecoder::default(), input, |line, parsed| {
            let Line::Text(line) = line else { return Some(ReplyError::Unexpected) };
            match pattern {
                Pattern::Echo if line.starts_with(b"[ERROR] ") => parsed.answers += 1,
                Pattern::Fanout if is_joining && line.starts_with(b"[INFO] ") => {
                    parsed.answers += 1;
                }
                Pattern::Fanout if line == self.expected => parsed.deliveries += 1,
                Pattern::Fanout if line.starts_with(b"[ERROR] ") => return Some(refusal(line)),
                // Messages of other members, and notices that they joined or left.
                _ if line.starts_with(b"[") => {}
                _ => return Some(ReplyError::Unexpected),
            }
            None
        })
    }

    /// The error of `input` that came without a request, on a connection that has sent requests before
    /// or not: a refusal where the protocol has such lines.
    pub(super) fn classify_unrequested(&self, input: &[u8], has_sent: bool) -> ReplyError {
        if self.expect.is_some() {
            return exchange::unrequested(input, has_sent);
        }
        if self.protocol != Mynah(Name::Chat) {
            return ReplyError::Unexpected;
        }
        let Ok(found) = LineDecoder::default().decode(input);
        match found {
            Some((Line::Text(line), _)) => refusal(line),
            _ => ReplyError::Unexpected,
        }
    }
}

/// `count` lower-case letters.
pub(super) fn random_letters(count: usize) -> String {
    std::iter::repeat_with(fastrand::lowercase).take(count).collect()
}

/// An invalid nickname of `size` bytes gets one private error line, so it serves as the request of a
/// chat: one or two characters are too few, a longer one has a blank.
fn invalid_nickname(size: usize) -> Vec<u8> {
    let mut line = vec![b'x'; size];
    if size > 2 {
        line[1] = b' ';
    }
    line.push(b'\n');
    line
}

/// Calls `check` with each whole frame of `input`, until it returns an error.
#[inline]
fn parse_frames<D: Decoder>(
    mut decoder: D,
    input: &[u8],
    mut check: impl FnMut(D::Frame<'_>, &mut Parsed) -> Option<ReplyError>,
) -> Parsed
where
    D::Error: Into<ReplyError>,
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
                parsed.error = Some(error.into());
                return parsed;
            }
        }
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
    ReplyError::Refused(refusal_text(text))
}

/// The part of a target's `text` that is quoted.
#[cold]
pub(super) fn refusal_text(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().take(REFUSAL_LEN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload_of(url: &str, pattern: Pattern, size: usize, publisher: &str) -> Workload {
        Workload::new(&Target::parse(url).unwrap(), pattern, size, publisher, "")
    }

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
        let workload = workload_of("command://h:1", Pattern::Echo, 3, "");
        assert_eq!(workload.request, b"\x01\0\0\0\x03abc");
        assert_eq!(parse(&workload, b"\x01\0\0\0\x03abc\x01\0\0\0\x03abc\x01\0"), parsed(16, 2, 0));
        assert_eq!(
            parse(&workload, b"\x04\0\0\0\x01?"),
            parsed(6, 0, 0),
            "a broadcast of another client"
        );
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
    fn broadcasts_are_deliveries_counts_are_answers() {
        let workload = workload_of("command://h:1", Pattern::Fanout, 2, "");
        assert_eq!(workload.request, b"\x04\0\0\0\x02ab");
        assert_eq!(workload.hello("?"), b"\x01\0\0\0\0");
        let input = b"\x04\0\0\0\x02ab\x01\0\0\0\x021k\x04\0\0\0\x02ab";
        assert_eq!(
            parse(&workload, input).error,
            Some(ReplyError::Unexpected),
            "1k is not a number"
        );
        let input = b"\x01\0\0\0\0\x04\0\0\0\x02ab\x01\0\0\0\x0212\x04\0\0\0\x02zz";
        assert_eq!(parse(&workload, input), parsed(input.len(), 2, 1));
    }

    #[test]
    fn broadcasts_of_other_testers_are_passed_over() {
        let target = Target::parse("command://h:1").unwrap();
        let of = |size, tag| Workload::new(&target, Pattern::Fanout, size, "", tag);
        assert_eq!(of(1, "stuvwxyz").request, b"\x04\0\0\0\x01a", "no room for a tag");
        assert_eq!(of(3, "stuvwxyz").request, b"\x04\0\0\0\x03stc");
        let [ours, theirs] = ["stuvwxyz", "zyxwvuts"].map(|tag| of(10, tag));
        assert_eq!(ours.request, b"\x04\0\0\0\x0astuvwxyzij");
        assert_eq!(parse(&ours, &ours.request), parsed(15, 0, 1));
        assert_eq!(parse(&ours, &theirs.request), parsed(15, 0, 0));
        let echo = Workload::new(&target, Pattern::Echo, 3, "", "stuvwxyz");
        assert_eq!(echo.request, b"\x01\0\0\0\x03abc");
    }

    #[test]
    fn prefixed_answers_are_the_request_reversed() {
        let workload = workload_of("prefixed://h:1", Pattern::Echo, 3, "");
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
    fn raw_answers_are_counted_across_reads() {
        let workload = workload_of("raw://h:1", Pattern::Echo, 4, "");
        let mut partial_bytes = 0;
        assert_eq!(workload.parse(b"Echo: xxxxx", false, &mut partial_bytes), parsed(11, 1, 0));
        assert_eq!(workload.parse(b"xEcho: xx", false, &mut partial_bytes), parsed(9, 1, 0));
        assert_eq!(partial_bytes, 0);
        assert_eq!(reply_error(&workload, b"Echo: y"), ReplyError::Unexpected);
        let awkward = workload_of("raw://h:1?prefix=xyz", Pattern::Echo, 2, "");
        assert_eq!(awkward.request, b"{{");
    }

    #[test]
    fn chat_request_is_an_invalid_nickname() {
        for (size, line) in [(1, "x\n"), (2, "xx\n"), (3, "x x\n"), (5, "x xxx\n")] {
            let workload = workload_of("chat://h:1", Pattern::Echo, size, "");
            assert_eq!(workload.request, line.as_bytes());
        }
        let workload = workload_of("chat://h:1", Pattern::Echo, 1, "");
        assert_eq!(parse(&workload, b"[ERROR] no\n[SERVER] bob joined\n[ER"), parsed(31, 1, 0));
        assert_eq!(reply_error(&workload, b"220 smtp ready\r\n"), ReplyError::Unexpected);
        assert_eq!(
            workload.classify_unrequested(b"[ERROR] full\n", false),
            ReplyError::Refused("[ERROR] full".into())
        );
    }

    #[test]
    fn chat_deliveries_are_the_publishers_lines() {
        let workload = workload_of("chat://h:1", Pattern::Fanout, 2, "pub");
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
    fn changed_payload_tells_late_messages() {
        for (url, first, second) in [
            ("command://h:1", &b"\x04\0\0\0\x03abc"[..], &b"\x04\0\0\0\x03bcd"[..]),
            ("chat://h:1", b"[pub]: abc\n", b"[pub]: bcd\n"),
        ] {
            let mut workload = workload_of(url, Pattern::Fanout, 3, "pub");
            let request = workload.next_bytes(0, u64::MAX).to_vec();
            workload.change_payload();
            assert_eq!(parse(&workload, first), parsed(first.len(), 0, 0), "{url}: too late");
            assert_eq!(parse(&workload, second), parsed(second.len(), 0, 1), "{url}");
            assert!(second.ends_with(&workload.request) || url.starts_with("chat"));
            assert_eq!(workload.next_bytes(0, u64::MAX).len(), request.len());
            for _ in 1..26 {
                workload.change_payload();
            }
            assert_eq!(workload.next_bytes(0, u64::MAX), request, "{url}: 26 changes");
        }
    }

    #[test]
    fn next_bytes_continue_within_a_request() {
        let workload = workload_of("command://h:1", Pattern::Echo, 1, "");
        assert_eq!(workload.next_bytes(0, 12), b"\x01\0\0\0\x01a\x01\0\0\0\x01a");
        assert_eq!(workload.next_bytes(8, 4), b"\0\0\x01a");
        assert!(workload.next_bytes(3, u64::MAX).len() > 200_000, "many in one write");
        let long = workload_of("command://h:1", Pattern::Echo, 1 << 20, "");
        assert_eq!(long.next_bytes(5, u64::MAX).len(), 1 << 20);
    }

    #[test]
    fn tcp_input_is_consumed_unparsed() {
        let workload = workload_of("tcp://h:1", Pattern::Echo, 0, "");
        assert_eq!(parse(&workload, b"\xff\xff anything"), parsed(11, 0, 0));
        assert_eq!(workload.request_len(), 0);
    }
}
