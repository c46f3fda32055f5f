//! The shape of the tables, and the look-ups in them.

/// Values of characters. Each block of 256 characters has a row of low bytes, sorted, with a value
/// each; blocks that are alike share one.
pub(super) struct Blocks {
    /// The row of each block.
    pub(super) blocks: &'static [u16],
    /// Where each row begins, and where the last one ends.
    pub(super) starts: &'static [u16],
    pub(super) lows: &'static [u8],
    pub(super) values: &'static [u16],
}

/// Sequences of characters that stand for others. A value has the place of the first UTF-16 unit, and
/// in the low three bits how many follow it.
pub(super) struct Sequences {
    pub(super) blocks: Blocks,
    pub(super) units: &'static [u16],
}

/// What there is to know of a character.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Properties {
    pub(super) flags: u8,
    pub(super) class: u8,
    /// The scripts it may belong to. Right only for characters that are folded already.
    pub(in super::super) scripts: u16,
}

impl Properties {
    /// No nickname has it.
    pub(super) const REFUSED: Self = Properties { flags: 1, class: 0, scripts: 0 };

    /// Whether no nickname may have it, or what compatibility makes of it: default-ignorable,
    /// control, format, unassigned, private use, white space, blank, `[`, `]`, `:`.
    pub(in super::super) fn is_refused(self) -> bool {
        self.flags & 1 != 0
    }

    /// Whether it is a mark, or one by compatibility.
    pub(in super::super) fn is_mark(self) -> bool {
        self.flags & 2 != 0
    }
}

impl Blocks {
    /// The row of a character's block; `None` behind the last one.
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
    /// What stands for a character: often itself.
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
