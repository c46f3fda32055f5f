//! What nicknames need of Unicode, looked up in tables: foldings, skeletons, combining classes,
//! scripts, and which characters no nickname has. The rules are in `nickname`.
//!
//! `tables.rs` is generated from crates that carry all of Unicode's data, which would make the server
//! 570 KiB larger; `tests/nicknames.rs` makes it anew and compares each character. It is checked in
//! and not made by a build script, so that a build needs neither these crates nor their proc macros,
//! and so that the rules change by a commit only, never by the version of a crate or of the compiler.

mod blocks;
#[rustfmt::skip]
mod tables;

use blocks::Properties;
pub(super) use tables::{ANY_SCRIPT, FOLD_LEN_MAX, LATIN, NO_SCRIPT};
use tables::{CASED, FOLDS, KINDS, PROPERTIES, PROTOTYPES, SCRIPT_SETS};

/// The properties of a character.
pub(super) fn properties(c: char) -> Properties {
    let Some((lows, values)) = KINDS.row(c) else { return Properties::REFUSED };
    let low = u32::from(c) as u8;
    // Each row begins with 0.
    let at = lows.partition_point(|start| *start <= low) - 1;
    PROPERTIES[usize::from(values[at])]
}

/// The canonical combining class of a character: marks of different classes have one order, and 0 is
/// for what is not a mark (Unicode, 3.11).
pub(super) fn combining_class(c: char) -> u8 {
    // The first mark there is.
    if c < '\u{300}' { 0 } else { properties(c).class }
}

/// Hands `sink` what is left of a character when case and compatibility do not count, decomposed. In
/// a whole text marks have yet to be ordered, and U+0345 folded, which is a mark until then.
pub(super) fn fold(c: char, sink: &mut dyn FnMut(char)) {
    if c.is_ascii() {
        sink(c.to_ascii_lowercase());
    } else if HANGUL_SYLLABLES.contains(&u32::from(c)) {
        decompose_hangul(c, sink);
    } else {
        FOLDS.expand(c, sink);
    }
}

/// The same, but keeps the case of characters that [look different in it](is_cased).
pub(super) fn decompose(c: char, sink: &mut dyn FnMut(char)) {
    if is_cased(c) { CASED.expand(c, sink) } else { fold(c, sink) }
}

/// Whether a character looks like other ones than its lower case does: `I`, which looks like `l`.
pub(super) fn is_cased(c: char) -> bool {
    CASED.blocks.get(c).is_some()
}

/// Hands `sink` what stands for a decomposed character in a skeleton (UTS #39, section 4).
pub(super) fn prototype(c: char, sink: &mut dyn FnMut(char)) {
    PROTOTYPES.expand(c, sink);
}

/// The set of scripts that two sets have in common, each by its number. Behind those of the table are
/// the scripts that no character shares with another script.
pub(super) fn common_scripts(a: u16, b: u16) -> u16 {
    let set = |number: u16| SCRIPT_SETS.get(usize::from(number));
    match (set(a), set(b)) {
        _ if a == b || b == ANY_SCRIPT => a,
        _ if a == ANY_SCRIPT => b,
        (Some(a), Some(b)) => {
            let at = SCRIPT_SETS.binary_search(&(a & b));
            at.expect("what two sets have in common is in the table") as u16
        }
        _ => NO_SCRIPT,
    }
}

/// The syllables of Hangul, each of two or three letters by its number (Unicode, 3.12).
const HANGUL_SYLLABLES: std::ops::Range<u32> = 0xac00..0xac00 + 19 * 21 * 28;

fn decompose_hangul(syllable: char, sink: &mut dyn FnMut(char)) {
    let number = u32::from(syllable) - HANGUL_SYLLABLES.start;
    let letters = [0x1100 + number / (21 * 28), 0x1161 + number / 28 % 21, 0x11a7 + number % 28];
    // The last of a syllable of two is number 0, which is no letter.
    let len = if number.is_multiple_of(28) { 2 } else { 3 };
    letters[..len].iter().filter_map(|letter| char::from_u32(*letter)).for_each(sink);
}
