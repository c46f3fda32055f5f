//! REVERSE: text backwards, by Unicode scalar value.

use super::{Context, Flow};
use crate::codec::command::{Command, Header};

/// Answers REVERSE: the text reversed, or where it stops being UTF-8.
pub(super) fn text(payload: &[u8], ctx: &mut Context<'_>) -> Flow {
    if let Err(error) = std::str::from_utf8(payload) {
        let offset = error.valid_up_to();
        return ctx
            .reply_error(format_args!("REVERSE needs UTF-8: invalid byte at offset {offset}"));
    }
    ctx.out.extend_from_slice(&Header::for_payload(Command::Echo, payload).encode());
    let start = ctx.out.len();
    ctx.out.extend_from_slice(payload);
    reverse_scalars(&mut ctx.out[start..]);
    Flow::Continue
}

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
    let mut start = 0;
    for at in 0..text.len() {
        if is_continuation(text[at]) {
            continue;
        }
        text[start..=at].reverse();
        start = at + 1;
    }
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
