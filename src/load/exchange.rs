//! Requests and answers that the user gives, for a server of any protocol: `--send`, `--expect`,
//! `--expect-bytes`, `--greeting`. Knows bytes, no sockets, no time and no command line.

use super::reply::{Parsed, ReplyError};
use crate::escape::Excerpt;

/// Most bytes of a greeting, the text that ends it included.
pub(super) const GREETING_BYTES_MAX: usize = 64 * 1024;

/// Largest `--expect-bytes`: as the largest frame of mynah's own protocols.
pub(super) const ANSWER_BYTES_MAX: u32 = 1 << 30;

/// Bytes before a difference that are shown, so that it can be found.
const CONTEXT_BYTES: usize = 16;

/// A request and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exchange {
    /// The request. Never empty.
    pub(super) send: Vec<u8>,
    pub(super) expect: Expect,
}

/// The answer to each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expect {
    /// Exactly these bytes. Never empty.
    Bytes(Vec<u8>),
    /// So many bytes, whatever they are: 1 to [`ANSWER_BYTES_MAX`].
    Len(u32),
}

impl Exchange {
    /// Bytes of a request: at most the 64 KiB of a text.
    pub(super) fn request_bytes(&self) -> u32 {
        u32::try_from(self.send.len()).unwrap_or(u32::MAX)
    }

    /// Bytes of a request or of its answer, whichever is longer.
    pub(super) fn bytes_max(&self) -> u64 {
        self.expect.len().max(self.send.len() as u64)
    }
}

impl Expect {
    /// Bytes of an answer.
    pub(super) fn len(&self) -> u64 {
        match self {
            Expect::Bytes(bytes) => bytes.len() as u64,
            Expect::Len(len) => u64::from(*len),
        }
    }

    /// Finds answers in `input`, behind the first `partial_bytes` bytes of an answer, which came
    /// before. That count is all the state: the reply is not buffered.
    ///
    /// At an error, `consumed` is where the wrong answer begins in `input`, or 0 if it began before.
    #[inline]
    pub(super) fn parse(&self, input: &[u8], partial_bytes: &mut usize) -> Parsed {
        match self {
            Expect::Bytes(expected) => parse_bytes(expected, input, partial_bytes),
            Expect::Len(len) => count_bytes(*len as usize, input, partial_bytes),
        }
    }
}

#[inline]
fn parse_bytes(expected: &[u8], input: &[u8], partial_bytes: &mut usize) -> Parsed {
    debug_assert!(*partial_bytes < expected.len());
    let mut parsed = Parsed::default();
    let mut at = 0;
    while at < input.len() {
        let missing = &expected[*partial_bytes..];
        let len = missing.len().min(input.len() - at);
        if missing[..len] != input[at..at + len] {
            parsed.consumed = at;
            parsed.error = Some(mismatch(expected, *partial_bytes, &input[at..]));
            return parsed;
        }
        at += len;
        if len == missing.len() {
            *partial_bytes = 0;
            parsed.answers += 1;
        } else {
            *partial_bytes += len;
        }
    }
    parsed.consumed = at;
    parsed
}

fn count_bytes(answer_len: usize, input: &[u8], partial_bytes: &mut usize) -> Parsed {
    // At most a gigabyte and a read.
    let len = *partial_bytes + input.len();
    *partial_bytes = len % answer_len.max(1);
    let answers = u32::try_from(len / answer_len.max(1)).unwrap_or(u32::MAX);
    Parsed { consumed: input.len(), answers, ..Parsed::default() }
}

/// The error of an answer that begins as `expected`, for `matched` bytes, and goes on as `input`, which
/// differs.
#[cold]
fn mismatch(expected: &[u8], matched: usize, input: &[u8]) -> ReplyError {
    let same = expected[matched..].iter().zip(input).take_while(|(want, got)| want == got).count();
    let place = matched + same;
    let begin = place.saturating_sub(CONTEXT_BYTES);
    // What came before is as expected, and not kept.
    let mut received = expected[begin..place].to_vec();
    received.extend_from_slice(&input[same..]);
    let mut reason = "an answer is not the expected one".to_owned();
    if begin > 0 {
        reason += &format!(", from byte {place} on (here from byte {begin})");
    } else if place > 0 {
        reason += &format!(", from byte {place} on");
    }
    let (expected, received) = (Excerpt(&expected[begin..]), Excerpt(&received));
    reason += &format!(": expected {expected}, received {received}");
    ReplyError::Mismatch(reason)
}

/// The error of `input` that is no part of an answer, on a connection that has sent requests before
/// or not.
#[cold]
pub(super) fn unrequested(input: &[u8], has_sent: bool) -> ReplyError {
    let input = Excerpt(input);
    ReplyError::Mismatch(if has_sent {
        format!(
            "more came than the answers: {input}; --expect or --expect-bytes must cover an answer \
             to its end"
        )
    } else {
        format!("the target spoke before any request: {input}; --greeting TEXT waits for that")
    })
}

/// The position behind `text` in the greeting `received`, of which the first `searched` bytes do not
/// have it.
pub(super) fn greeting_end(text: &[u8], received: &[u8], searched: usize) -> Option<usize> {
    let from = searched.saturating_sub(text.len().saturating_sub(1));
    let whole = &received[..received.len().min(GREETING_BYTES_MAX)];
    let behind = whole.get(from..)?;
    let at = behind.windows(text.len().max(1)).position(|window| window == text)?;
    Some(from + at + text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(error: Option<ReplyError>) -> String {
        match error {
            Some(ReplyError::Mismatch(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }

    fn expect(answer: &[u8]) -> Expect {
        Expect::Bytes(answer.to_vec())
    }

    fn answers(answers: u32, consumed: usize) -> Parsed {
        Parsed { consumed, answers, ..Parsed::default() }
    }

    /// A small generator, the same each run.
    struct Random(u64);

    impl Random {
        fn below(&mut self, n: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) as usize % n
        }

        fn bytes(&mut self, len: usize) -> Vec<u8> {
            (0..len).map(|_| b"ab"[self.below(2)]).collect()
        }
    }

    #[test]
    fn answers_are_matched_across_reads() {
        let pong = expect(b"+PONG\r\n");
        let mut partial_bytes = 0;
        assert_eq!(pong.parse(b"+PONG\r\n+PO", &mut partial_bytes), answers(1, 10));
        assert_eq!(pong.parse(b"N", &mut partial_bytes), answers(0, 1));
        assert_eq!(pong.parse(b"G\r\n+PONG\r\n", &mut partial_bytes), answers(2, 10));
        assert_eq!(pong.parse(b"", &mut partial_bytes), answers(0, 0));
        assert_eq!(partial_bytes, 0);
    }

    #[test]
    fn answers_of_a_length_are_counted() {
        let three = Expect::Len(3);
        let mut partial_bytes = 0;
        assert_eq!(three.parse(b"\0\xff", &mut partial_bytes), answers(0, 2));
        assert_eq!(three.parse(b"abcde", &mut partial_bytes), answers(2, 5));
        assert_eq!(partial_bytes, 1);
    }

    #[test]
    fn mismatch_shows_both() {
        let parsed = expect(b"+OK\r\n").parse(b"+OK\r\n-ERR no\x1b[2J\r\n", &mut 0);
        assert_eq!((parsed.answers, parsed.consumed), (1, 5));
        assert_eq!(
            reason(parsed.error),
            r#"an answer is not the expected one: expected "+OK\r\n", received "-ERR no\x1b[2J\r\n""#
        );
        let parsed = expect(b"+POMG\r\n").parse(b"NG\r\n", &mut 3);
        assert_eq!(
            reason(parsed.error),
            "an answer is not the expected one, from byte 3 on: \
             expected \"+POMG\\r\\n\", received \"+PONG\\r\\n\""
        );
    }

    #[test]
    fn mismatch_far_on_is_shown_with_its_context() {
        let mut long = b"0123456789".repeat(30);
        let other = b"0123456789".repeat(20);
        let error = expect(&long).parse(b"?!", &mut 205).error;
        let expected = "an answer is not the expected one, from byte 205 on (here from byte 189): \
                        expected \"90123456789012345";
        let reason = reason(error);
        assert!(reason.starts_with(expected), "{reason}");
        assert!(reason.ends_with(r#"received "9012345678901234?!""#), "{reason}");
        // What is shown is bounded, whatever came.
        long.extend(other.repeat(100));
        let ReplyError::Mismatch(reason) = mismatch(&long, 0, &[0xff; 100_000]) else { panic!() };
        assert!(reason.len() < 1_500, "{}", reason.len());
        assert!(reason.ends_with(" and 99872 more bytes"), "{reason}");
    }

    /// A reference: compares the whole `stream` with `expected` repeated. How many answers are
    /// whole, and whether all of it is right.
    fn reference(expected: &[u8], stream: &[u8]) -> (usize, bool) {
        let whole = stream.chunks_exact(expected.len()).take_while(|chunk| *chunk == expected);
        let count = whole.count();
        (count, expected.starts_with(&stream[count * expected.len()..]))
    }

    #[test]
    fn matching_is_the_same_however_input_is_cut() {
        let mut random = Random(19);
        let (mut right, mut wrong) = (0, 0);
        for _ in 0..20_000 {
            let len = 1 + random.below(6);
            let expected = random.bytes(len);
            let count = random.below(5);
            let mut stream = expected.repeat(count);
            let (more, flip) = (random.below(4), random.below(3));
            if flip == 0 {
                stream.extend(random.bytes(more));
            } else {
                stream.extend(&expected[..random.below(len)]);
            }
            let matcher = expect(&expected);
            let (mut partial_bytes, mut answers, mut error) = (0, 0, None);
            let mut rest = &stream[..];
            while !rest.is_empty() && error.is_none() {
                let (read, behind) = rest.split_at(1 + random.below(rest.len()));
                let parsed = matcher.parse(read, &mut partial_bytes);
                answers += parsed.answers as usize;
                error = parsed.error;
                rest = behind;
            }
            let is_right = error.is_none();
            assert_eq!((answers, is_right), reference(&expected, &stream), "{stream:?}");
            let len = u32::try_from(len).unwrap();
            let (mut counted, mut partial_bytes) = (0, 0);
            for read in stream.chunks(1 + random.below(3)) {
                counted += Expect::Len(len).parse(read, &mut partial_bytes).answers;
            }
            assert_eq!(counted, u32::try_from(stream.len()).unwrap() / len);
            right += u32::from(is_right);
            wrong += u32::from(!is_right);
        }
        assert!(right > 1_000 && wrong > 1_000, "{right} {wrong}");
    }

    #[test]
    fn greeting_ends_behind_its_text() {
        let mut random = Random(5);
        for _ in 0..5_000 {
            let (len, text_len) = (random.below(40), 1 + random.below(5));
            let (greeting, text) = (random.bytes(len), random.bytes(text_len));
            let at = greeting.windows(text.len()).position(|window| window == text);
            let expected = at.map(|at| at + text.len());
            let (mut received, mut end) = (0, None);
            while received < greeting.len() && end.is_none() {
                let searched = received;
                received += 1 + random.below(greeting.len() - received);
                end = greeting_end(&text, &greeting[..received], searched);
            }
            assert_eq!(end, expected, "{greeting:?} {text:?}");
        }
    }

    #[test]
    fn greeting_is_bounded() {
        let mut long = vec![b'x'; GREETING_BYTES_MAX];
        long.push(b'\n');
        assert_eq!(greeting_end(b"\n", &long, 0), None);
        assert_eq!(greeting_end(b"\n", &long[1..], 0), Some(GREETING_BYTES_MAX));
    }
}
