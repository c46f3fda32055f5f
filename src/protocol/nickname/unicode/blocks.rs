//! The types of the tables, and look-ups in them.

/// A map from characters to values. Each block of 256 characters has a row of sorted low bytes with
/// a value each; equal blocks share a row.
pub(super) struct Blocks {
    /// The number of each block's row.
    pub(super) blocks: &'static [u16],
    /// Where each row begins in `lows` and `values`, and where the last one ends.
    pub(super) starts: &'static [u16],
    pub(super) lows: &'static [u8],
    pub(super) values: &'static [u16],
}

/// A map from characters to sequences of UTF-16 units. A value has the index of the first unit and,
/// in the low three bits, how many follow it.
pub(super) struct Sequences {
    pub(super) blocks: Blocks,
    pub(super) units: &'static [u16],
}

/// The properties of a character that nicknames need.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Properties {
    pub(super) flags: u8,
    pub(super) class: u8,
    /// The number of the set of scripts it may belong to. Valid only for folded characters.
    pub(in super::super) scripts: u16,
}

impl Properties {
    /// The properties of a character that no nickname may have.
    pub(super) const REFUSED: Self = Properties { flags: 1, class: 0, scripts: 0 };

    /// Whether no nickname may have it: it, or what its compatibility decomposition contains, is
    /// default-ignorable, control, format, unassigned, private use, white space, blank, `[`, `]` or
    /// `:`.
    pub(in super::super) fn is_refused(self) -> bool {
        self.flags & 1 != 0
    }

    /// Whether it is a mark, or decomposes by compatibility to begin with one.
    pub(in super::super) fn is_mark(self) -> bool {
        self.flags & 2 != 0
    }
}

impl Blocks {
    /// The row of a character's block; `None` past the last block.
    pub(super) fn row(&self, c: char) -> Option<(&'static [u8], &'static [u16])> {
        let row = usize::from(*self.blocks.get(u32::from(c) as usize >> 8)?);
        let entries = usize::from(self.starts[row])..usize::from(self.starts[row + 1]);
        Some((&self.lows[entries.clone()], &self.values[entries]))
    }

    pub(super) fn get(&self, c: char) -> Option<u16> {
        let (lows, values) = self.row(c)?;
        lows.binary_search(&(u32::from(c) as u8)).ok().map(|at| values[at])
    }
}

impl Sequences {
    /// Passes to `sink` the sequence of a character, which is itself if the map has none.
    pub(super) fn expand(&self, c: char, sink: &mut dyn FnMut(char)) {
        match self.blocks.get(c) {
            None => sink(c),
            Some(value) => {
                let first = usize::from(value >> 3);
                let units = &self.units[first..=first + usize::from(value & 7)];
                char::decode_utf16(units.iter().copied())
                    .for_each(|c| sink(c.unwrap_or(char::REPLACEMENT_CHARACTER)));
            }
        }
    }
}
