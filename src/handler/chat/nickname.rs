//! What a nickname may be, and when two are the same.

/// Fewest characters (Unicode scalar values) of a nickname.
pub(super) const CHARS_MIN: usize = 3;
/// Most characters of a nickname.
pub(super) const CHARS_MAX: usize = 16;

/// Names the server's own lines begin with.
const RESERVED: [&str; 4] = ["SERVER", "INFO", "ERROR", "YOU"];

/// Why a nickname is none, whoever is present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadNickname {
    Length,
    Characters,
    Reserved,
}

/// Checks a nickname that has been trimmed.
pub(super) fn check(nick: &str) -> Result<(), BadNickname> {
    if !(CHARS_MIN..=CHARS_MAX).contains(&nick.chars().count()) {
        return Err(BadNickname::Length);
    }
    if nick.chars().any(|c| c.is_whitespace() || c.is_control() || is_invisible(c)) {
        return Err(BadNickname::Characters);
    }
    if RESERVED.iter().any(|reserved| same(reserved, nick)) {
        return Err(BadNickname::Reserved);
    }
    Ok(())
}

/// Whether two nicknames differ in case at most.
pub(super) fn same(a: &str, b: &str) -> bool {
    folded(a).eq(folded(b))
}

/// A nickname without its case. By way of upper case, because some letters meet only there: `ſ` and
/// `s`, `ς` and `σ` (Unicode, 3.13, caseless matching).
pub(super) fn folded(nick: &str) -> impl Iterator<Item = char> {
    nick.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

/// Format characters (Unicode general category Cf) and others that take no space of their own: with
/// them two nicknames that look alike could differ, or one could turn round the text behind it.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_counted_not_bytes() {
        assert_eq!(check("яна"), Ok(()));
        assert_eq!(check("яя"), Err(BadNickname::Length));
        assert_eq!(check(&"я".repeat(16)), Ok(()));
        assert_eq!(check(&"я".repeat(17)), Err(BadNickname::Length));
        assert_eq!(check("e\u{301}e\u{301}"), Ok(()), "a combining mark is a character");
        assert_eq!(check("שלום"), Ok(()), "right to left is a direction like another");
    }

    #[test]
    fn what_cannot_be_seen_is_refused() {
        for bad in ["a b", "a\tb", "a\u{a0}b", "a\rb", "a\x1bb", "a\u{85}b", "a\u{2028}b"] {
            assert_eq!(check(bad), Err(BadNickname::Characters), "{bad:?}");
        }
        for bad in ["bob\u{200b}", "\u{202e}bob", "bob\u{feff}", "bob\u{e0041}"] {
            assert_eq!(check(bad), Err(BadNickname::Characters), "{bad:?}");
        }
    }

    #[test]
    fn the_servers_own_names_are_reserved_in_any_case() {
        for bad in ["SERVER", "server", "Info", "eRRor", "you", "\u{17f}erver"] {
            assert_eq!(check(bad), Err(BadNickname::Reserved), "{bad}");
        }
        assert_eq!(check("server1"), Ok(()));
    }

    #[test]
    fn case_is_no_difference_in_any_script() {
        assert!(same("Bob", "bOB") && same("ЯНА", "яна") && same("ΣΑΣ", "σας"));
        assert!(same("Straße", "STRASSE"), "the upper case of one is the other");
        assert!(!same("bob", "bo") && !same("bo", "bob") && !same("анна", "ahha"));
    }
}
