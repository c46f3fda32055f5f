//! How payloads appear in the log: escaped, so that no peer writes to a terminal, and cut.

use std::fmt;

use crate::limits::PAYLOAD_LOG_BYTES;

/// Displays the first [`PAYLOAD_LOG_BYTES`] of a payload, escaped, and its length if that is not
/// all.
///
/// ```
/// use mynah::handler::Excerpt;
///
/// assert_eq!(Excerpt(b"a\n\xff").to_string(), r#""a\n\xff""#);
/// assert!(Excerpt(&[b'x'; 500]).to_string().ends_with(r#"x" and 372 more bytes"#));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Excerpt<'a>(pub &'a [u8]);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.len().min(PAYLOAD_LOG_BYTES);
        write!(f, "\"{}\"", self.0[..shown].escape_ascii())?;
        match self.0.len() - shown {
            0 => Ok(()),
            more => write!(f, " and {more} more bytes"),
        }
    }
}
