//! REVERSE: text backwards, by Unicode scalar value.

use super::reply_error;
use crate::codec::command::{Command, Header};
use crate::limits::REVERSE_SLICE_BYTES;
use crate::protocol::{Context, Flow};

/// Answers REVERSE: the text reversed, or where it stops being UTF-8.
pub(super) fn text(payload: &[u8], ctx: &mut Context<'_>) -> Flow {
    if let Err(error) = std::str::from_utf8(payload) {
        return reply_not_utf8(error.valid_up_to(), ctx);
    }
    let out = &mut ctx.shared.out;
    out.extend_from_slice(&Header::for_payload(Command::Echo, payload).encode());
    let start = out.len();
    out.extend_from_slice(payload);
    reverse_scalars(&mut out[start..]);
    Flow::Continue
}

/// Says where a text stops being UTF-8.
pub(super) fn reply_not_utf8(offset: usize, ctx: &mut Context<'_>) -> Flow {
    reply_error(format_args!("REVERSE needs UTF-8: invalid byte at offset {offset}"), ctx)
}

/// In-place REVERSE in slices: check UTF-8, reverse bytes, then restore each multi-byte sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reversal {
    stage: Stage,
    /// Bytes of the stage that are done.
    done: usize,
    /// Whether anything but ASCII was met.
    has_sequences: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Check,
    Exchange,
    TurnBack,
}

/// How far a [`Reversal`] has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReversalStep {
    /// There is more to do.
    Unfinished,
    /// The text is reversed.
    Done,
    /// The text is unchanged: it is not UTF-8.
    Invalid {
        /// Where the first invalid or unfinished sequence starts.
        offset: usize,
    },
}

impl Reversal {
    /// Works on one slice of `text`, which must be the same each time.
    pub fn step(&mut self, text: &mut [u8]) -> ReversalStep {
        self.step_by(text, REVERSE_SLICE_BYTES)
    }

    /// The same with slices of `slice` bytes, at least as many as the longest sequence has.
    fn step_by(&mut self, text: &mut [u8], slice: usize) -> ReversalStep {
        let mut left = slice;
        loop {
            let done = match self.stage {
                Stage::Check => match self.check(text, left) {
                    Ok(done) => done,
                    Err(offset) => return ReversalStep::Invalid { offset },
                },
                Stage::Exchange => self.exchange(text, left),
                Stage::TurnBack => self.turn_back(text, left),
            };
            let end = if self.stage == Stage::Exchange { text.len() / 2 } else { text.len() };
            if self.done < end {
                return ReversalStep::Unfinished;
            }
            self.done = 0;
            self.stage = match self.stage {
                Stage::Check => Stage::Exchange,
                Stage::Exchange if self.has_sequences => Stage::TurnBack,
                Stage::Exchange | Stage::TurnBack => return ReversalStep::Done,
            };
            left = left.saturating_sub(done);
            if left < SEQUENCE_LEN_MAX {
                return ReversalStep::Unfinished;
            }
        }
    }

    /// Checks up to `n` bytes more. Returns how many; an error is where the text goes wrong.
    fn check(&mut self, text: &[u8], n: usize) -> Result<usize, usize> {
        let end = self.done.saturating_add(n).min(text.len());
        let slice = &text[self.done..end];
        let checked = match std::str::from_utf8(slice) {
            Ok(_) => slice.len(),
            // The slice ends in the middle of a sequence; the next one begins with it.
            Err(error) if error.error_len().is_none() && end < text.len() => error.valid_up_to(),
            Err(error) => return Err(self.done + error.valid_up_to()),
        };
        self.has_sequences = self.has_sequences || !slice.is_ascii();
        self.done += checked;
        Ok(checked)
    }

    /// Exchanges up to `n / 2` bytes at the front with as many at the back. Returns how many.
    fn exchange(&mut self, text: &mut [u8], n: usize) -> usize {
        let len = text.len();
        let end = self.done.saturating_add(n / 2).min(len / 2);
        let (front, back) = text.split_at_mut(len / 2);
        let back = &mut back[len - len / 2 - end..len - len / 2 - self.done];
        let front = &mut front[self.done..end];
        front.reverse();
        back.reverse();
        front.swap_with_slice(back);
        self.done = end;
        2 * front.len()
    }

    /// Turns back what ends among the next `n` bytes. Returns how many.
    fn turn_back(&mut self, text: &mut [u8], n: usize) -> usize {
        let end = self.done.saturating_add(n).min(text.len());
        let turned = turn_back_sequences(&mut text[self.done..end]);
        self.done += turned;
        turned
    }
}

/// Bytes of the longest sequence of UTF-8.
const SEQUENCE_LEN_MAX: usize = 4;

/// Reverses valid UTF-8 in place, each scalar value kept whole.
///
/// Reversing the bytes puts each multi-byte sequence backwards, its leading byte last; a second
/// pass turns those round again. Text without any skips the second pass.
fn reverse_scalars(text: &mut [u8]) {
    let ascii = text.is_ascii();
    text.reverse();
    if ascii {
        return;
    }
    turn_back_sequences(text);
}

/// Turns sequences of several bytes that stand backwards, their leading byte last, the right way
/// round. Returns how many bytes that was: a sequence that does not end here is left.
fn turn_back_sequences(text: &mut [u8]) -> usize {
    let mut start = 0;
    for at in 0..text.len() {
        if is_continuation(text[at]) {
            continue;
        }
        text[start..=at].reverse();
        start = at + 1;
    }
    start
}

/// Whether a byte is the second or a later one of a sequence (RFC 3629: `10xxxxxx`).
const fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str) {
        let mut bytes = text.as_bytes().to_vec();
        reverse_scalars(&mut bytes);
        let expected: String = text.chars().rev().collect();
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }

    #[test]
    fn scalars_of_every_length_stay_whole() {
        for text in ["", "a", "Hello, World!", "Hé!", "é", "日本", "a𝄞b€cßd", "🦜🦜", "e\u{301}"]
        {
            check(text);
        }
    }

    fn reverse_by(text: &[u8], slice: usize) -> Result<Vec<u8>, usize> {
        let (mut bytes, mut reversal) = (text.to_vec(), Reversal::default());
        for _ in 0..10 * text.len() + 10 {
            match reversal.step_by(&mut bytes, slice) {
                ReversalStep::Unfinished => {}
                ReversalStep::Done => return Ok(bytes),
                ReversalStep::Invalid { offset } => {
                    assert_eq!(bytes, text, "a text that is refused is left as it was");
                    return Err(offset);
                }
            }
        }
        panic!("it never ends");
    }

    #[test]
    fn reversal_in_slices_comes_to_the_same() {
        let text = "Hé!日本a𝄞b€cßd🦜🦜e\u{301}plain ascii and more of it";
        for end in (0..=text.len()).filter(|&end| text.is_char_boundary(end)) {
            let text = &text[..end];
            let expected: String = text.chars().rev().collect();
            for slice in 4..text.len() + 9 {
                let reversed = reverse_by(text.as_bytes(), slice).unwrap();
                assert_eq!(String::from_utf8(reversed).unwrap(), expected, "{slice}");
            }
        }
    }

    #[test]
    fn reversal_in_slices_finds_the_same_invalid_byte() {
        for bad in [&b"\xff"[..], b"\xe2\x82", b"\xc3", b"\xf0\x9f\xa6", b"\x80", b"\xed\xa0\x80"] {
            for (before, behind) in [("", ""), ("aé", ""), ("", "bc"), ("€€€€", "x🦜")] {
                let text = [before.as_bytes(), bad, behind.as_bytes()].concat();
                let offset = std::str::from_utf8(&text).unwrap_err().valid_up_to();
                for slice in 4..text.len() + 5 {
                    assert_eq!(reverse_by(&text, slice), Err(offset), "{text:x?} {slice}");
                }
            }
        }
    }

    #[test]
    fn reversal_takes_a_slice_a_step() {
        let mut text = vec![b'x'; 10 * REVERSE_SLICE_BYTES];
        let mut reversal = Reversal::default();
        let mut steps = 1;
        while reversal.step(&mut text) == ReversalStep::Unfinished {
            steps += 1;
        }
        assert!((20..=21).contains(&steps), "{steps}: all is looked at twice");
    }

    #[test]
    fn reversal_of_a_text_that_fits_a_slice_is_one_step() {
        for text in ["x".repeat(100), "é".repeat(50), "Hé!日本🦜".repeat(4)] {
            let mut bytes = text.clone().into_bytes();
            let slice = 3 * bytes.len();
            let step = Reversal::default().step_by(&mut bytes, slice);
            assert_eq!(step, ReversalStep::Done);
            assert!(String::from_utf8(bytes).unwrap().chars().eq(text.chars().rev()));
        }
    }

    #[test]
    fn any_mixture_is_reversed_as_chars_would_be() {
        let alphabet = ['a', 'z', 'é', 'ß', '€', '日', '𝄞', '🦜', '\u{0}', '\u{10ffff}'];
        let mut state = 1u64;
        for len in 0..200 {
            let text: String = (0..len)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    alphabet[(state >> 33) as usize % alphabet.len()]
                })
                .collect();
            check(&text);
        }
    }
}
