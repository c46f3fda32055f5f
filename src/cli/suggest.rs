//! Suggestions for words that are not known: the nearest known one.

use std::fmt;

/// Displays `, did you mean X?`, or nothing.
pub(crate) struct DidYouMean<'a>(pub(crate) Option<&'a str>);

impl fmt::Display for DidYouMean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |name| write!(f, ", did you mean {name}?"))
    }
}

/// The known name that `word` is most likely to stand for: the same but for case and `_`, one that
/// begins with it, or the nearest within a third of its letters (restricted edits, which count two
/// swapped letters once).
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest_of(word, &mut known.into_iter())
}

/// [`nearest`], compiled once.
#[inline(never)]
fn nearest_of<'a>(word: &str, known: &mut dyn Iterator<Item = &'a str>) -> Option<&'a str> {
    // Longer words are not misspelt names, and would take time.
    const WORD_LEN_MAX: usize = 32;
    let word = word.to_ascii_lowercase().replace('_', "-");
    if word.len() < 2 || word.len() > WORD_LEN_MAX {
        return None;
    }
    let distance = |name: &str| {
        let name = name.replace('_', "-");
        if name == word {
            0
        } else if word.len() > 2 && name.starts_with(&word) {
            1
        } else {
            strsim::osa_distance(&word, &name)
        }
    };
    let nearest = known.map(|name| (distance(name), name)).min_by_key(|(d, _)| *d);
    nearest.filter(|(distance, _)| *distance <= (word.len() / 3).max(1)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_name_is_a_likely_one() {
        let known = ["listen", "log-level", "log-file", "max-clients", "echo", "rev"];
        for (word, name) in [
            ("lisen", Some("listen")),
            ("lsiten", Some("listen")),
            ("LISTEN", Some("listen")),
            ("max_clients", Some("max-clients")),
            ("max-client", Some("max-clients")),
            ("log", Some("log-level")),
            ("ecoh", Some("echo")),
            ("reverse", None),
            ("x", None),
            ("", None),
            ("zzzzzz", None),
        ] {
            assert_eq!(nearest(word, known), name, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(1 << 20), known), None);
    }
}
