//! Why a call into a plugin failed, as one line of a log.

use std::fmt;
use std::time::Duration;

use super::bounds::REASON_BYTES_MAX;
use crate::handler::Shown;

/// What Lua says when it is refused memory; the message has no place in front of it.
pub(super) const NO_MEMORY: &str = "not enough memory";

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// It ran longer than its budget.
    Time {
        /// The budget.
        budget: Duration,
    },
    /// It wanted more memory than it may have.
    Memory {
        /// How much it may have.
        bytes_max: usize,
    },
    /// It answered something that is neither a string nor nil.
    Answer {
        /// The type of what it answered.
        kind: &'static str,
    },
    /// Lua stopped it; what it said.
    Lua(String),
}

impl Failure {
    /// What an error of mlua comes to, where a plugin may have `bytes_max` of memory.
    pub(super) fn from_lua(error: &mlua::Error, bytes_max: usize) -> Self {
        match error {
            mlua::Error::MemoryError(_) => Failure::Memory { bytes_max },
            error => Failure::from_text(text(error), bytes_max),
        }
    }

    /// What the text of a Lua error comes to.
    pub(super) fn from_text(text: String, bytes_max: usize) -> Self {
        match text.as_str() {
            NO_MEMORY => Failure::Memory { bytes_max },
            _ => Failure::Lua(text),
        }
    }
}

/// What an error of mlua says, without the traces it collects on its way.
pub(super) fn text(error: &mlua::Error) -> String {
    match error {
        mlua::Error::CallbackError { cause, .. } => text(cause),
        mlua::Error::RuntimeError(message) | mlua::Error::SyntaxError { message, .. } => {
            message.clone()
        }
        mlua::Error::MemoryError(_) => NO_MEMORY.to_owned(),
        other => other.to_string(),
    }
}

/// One line, of bounded length, in which nothing moves a terminal's cursor.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Time { budget } => write!(f, "ran longer than {} ms", budget.as_millis()),
            Failure::Memory { bytes_max } => {
                write!(f, "needs more than the {bytes_max} bytes of memory it may have")
            }
            Failure::Answer { kind } => write!(f, "returned a {kind}, not a string"),
            Failure::Lua(text) => one_line(text, f),
        }
    }
}

/// Writes the beginning of `text`, line breaks as spaces, control characters replaced.
fn one_line(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let end = (0..=REASON_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    let shown = &text[..end.unwrap_or(0)];
    let more = text.len() - shown.len();
    for (number, line) in shown.lines().enumerate() {
        write!(f, "{}{}", if number > 0 { " " } else { "" }, Shown(line))?;
    }
    match more {
        0 => Ok(()),
        _ => write!(f, " and {more} more bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_of_bounded_length() {
        let shown = Failure::Lua("a\nb\x1b[2J\u{2028}".into()).to_string();
        assert_eq!(shown, "a b\u{fffd}[2J\u{fffd}");
        let shown = Failure::Lua("é".repeat(1000)).to_string();
        assert_eq!(shown, format!("{} and 1744 more bytes", "é".repeat(128)));
    }
}
