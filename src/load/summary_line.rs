//! One line of a summary, and text of others in it and in messages.

use std::fmt::{self, Write};

use crate::escape::EscapeControl;

/// Most characters of a text from a record, where it is one of several.
const EXCERPT_CHARS: usize = 500;

/// One line of the summary.
pub(super) struct SummaryLine {
    pub(super) label: &'static str,
    pub(super) text: String,
}

/// Text of the target, escaped: it must not control the terminal.
pub(super) struct EscapedText<'a>(pub(super) &'a str);

impl fmt::Display for EscapedText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        EscapeControl(f).write_str(self.0)
    }
}

/// The beginning of a text from a record: a file may have megabytes of it.
pub(super) fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT_CHARS).collect()
}
