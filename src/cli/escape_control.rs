//! Escaping of control characters in error messages, which repeat untrusted text.

use std::fmt::{self, Write};

use crate::escape::Escaped;

/// Writes text with invisible characters escaped, so that an error is one line and cannot drive a
/// terminal.
pub(crate) struct EscapeControl<'a, 'b>(pub(crate) &'a mut fmt::Formatter<'b>);

impl Write for EscapeControl<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write!(self.0, "{}", Escaped(text))
    }
}
