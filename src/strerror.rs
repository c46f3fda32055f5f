//! Errors of the system in the words of strerror(3), as they stand inside a sentence.

use std::{fmt, io};

/// `connection reset by peer` for `Connection reset by peer (os error 104)`.
#[must_use]
pub fn strerror(error: &io::Error) -> impl fmt::Display {
    Strerror(error)
}

struct Strerror<'a>(&'a io::Error);

impl fmt::Display for Strerror<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        let mut chars = text.chars();
        chars.next().map_or(Ok(()), |first| write!(f, "{}", first.to_lowercase()))?;
        f.write_str(chars.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_number_is_put_into_lower_case_words_alone() {
        let reset = io::Error::from_raw_os_error(libc::ECONNRESET);
        assert_eq!(strerror(&reset).to_string(), "connection reset by peer");
    }

    #[test]
    fn error_of_our_own_keeps_its_words() {
        for (text, shown) in [("", ""), ("The name has no Address", "the name has no Address")] {
            assert_eq!(strerror(&io::Error::other(text)).to_string(), shown);
        }
    }
}
