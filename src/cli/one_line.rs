//! Errors repeat what was given, and what was given may hold line breaks and escape sequences.

use std::fmt::{self, Write};

use crate::escape::Escaped;

/// Writes text [`Escaped`], so that an error stays on one line and drives nobody's terminal.
pub(crate) struct OneLine<'a, 'b>(pub(crate) &'a mut fmt::Formatter<'b>);

impl Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write!(self.0, "{}", Escaped(text))
    }
}
