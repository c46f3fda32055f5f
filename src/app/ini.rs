//! The syntax of INI: a text's sections, keys and values, line by line. Knows none by name.
//!
//! ```text
//! # a comment, as is what begins with ;
//! [section]
//! key = value          # a comment after a blank
//! key : 'a # b'        ; quotes keep blanks, # and ; and must end on their line
//! ```
//!
//! Crates that read INI were tried and fell short: some merge repeated keys, some take an inline
//! comment for the value, some drop what they do not understand.

/// One section, with its keys in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section<'a> {
    pub(super) name: &'a str,
    /// Keys and values, repeated ones as well.
    pub(super) keys: Vec<(&'a str, &'a str)>,
}

/// What is wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IniSyntaxError<'a> {
    /// A line, counted from 1, is not of the form `key = value`.
    NoValue { line: usize },
    /// On a line a quote is not closed, or more than a comment stands behind it.
    Quote { line: usize },
    /// A section begins here and its bracket is not closed on the line.
    OpenSection { start: &'a str },
    /// A key stands before the first section.
    KeyOutsideSection { key: &'a str },
}

/// The sections of a text, in order, repeated ones as well.
pub(super) fn sections(text: &str) -> Result<Vec<Section<'_>>, IniSyntaxError<'_>> {
    // Windows' editors begin a file with a byte-order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut sections: Vec<Section<'_>> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let mut rest = line.trim();
        // What stands behind a section's bracket is a line of its own.
        while let Some(start) = rest.strip_prefix('[') {
            let (name, behind) =
                start.split_once(']').ok_or(IniSyntaxError::OpenSection { start: rest })?;
            sections.push(Section { name: name.trim(), keys: Vec::new() });
            rest = behind.trim_start();
        }
        if rest.is_empty() || is_comment(rest) {
            continue;
        }
        let (key, value) =
            rest.split_once(['=', ':']).ok_or(IniSyntaxError::NoValue { line: number })?;
        let key = key.trim_end();
        if key.is_empty() {
            return Err(IniSyntaxError::NoValue { line: number });
        }
        let value = value_of(value.trim_start()).ok_or(IniSyntaxError::Quote { line: number })?;
        let section = sections.last_mut().ok_or(IniSyntaxError::KeyOutsideSection { key })?;
        section.keys.push((key, value));
    }
    Ok(sections)
}

/// A value without its quotes and the comment behind it; `None` if its quotes are wrong.
fn value_of(text: &str) -> Option<&str> {
    if let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let (value, behind) = text[1..].split_once(quote)?;
        let behind = behind.trim_start();
        return (behind.is_empty() || is_comment(behind)).then_some(value);
    }
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        if is_comment(&text[at..]) && before.is_whitespace() {
            return Some(text[..at].trim_end());
        }
        before = c;
    }
    Some(text)
}

fn is_comment(text: &str) -> bool {
    text.starts_with(['#', ';'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn value(text: &str) -> String {
        let text = format!("[s]\n{text}");
        let sections = sections(&text).unwrap();
        let [Section { name: "s", keys }] = &*sections else { panic!("{sections:?}") };
        let [("k", value)] = keys[..] else { panic!("{keys:?}") };
        value.to_owned()
    }

    #[test]
    fn a_value_ends_with_its_line_or_before_a_comment() {
        for (text, expected) in [
            ("k=v", "v"),
            ("  k  :  v w  \r\n", "v w"),
            ("k = v # c", "v"),
            ("k = v\t; c", "v"),
            ("k = v#w;x", "v#w;x"),
            ("k = a=b:c", "a=b:c"),
            ("k =", ""),
            ("k = # c", ""),
            ("k=#c", ""),
            ("k=\u{a0}é \u{a0}# c", "é"),
            ("k = v\\", "v\\"),
        ] {
            assert_eq!(value(text), expected, "{text:?}");
        }
    }

    #[test]
    fn quotes_keep_what_is_between_them() {
        for (text, expected) in [
            ("k = \"a # b; \" # c", "a # b; "),
            ("k='\"'", "\""),
            ("k = ''", ""),
            ("k = it's \"so\"", "it's \"so\""),
        ] {
            assert_eq!(value(text), expected, "{text:?}");
        }
        for text in ["[s]\nk = \"a\nb\"", "[s]\nk='a' b"] {
            assert_eq!(sections(text), Err(IniSyntaxError::Quote { line: 2 }), "{text:?}");
        }
    }

    #[test]
    fn lines_stand_for_themselves() {
        let both = [
            Section { name: "a b", keys: vec![("k", "1"), ("k", "2")] },
            Section { name: "", keys: vec![] },
        ];
        let texts = [
            "\u{feff}\n# c\n[ a b ] ; c\nk=1\n\tk=2\n[]",
            "[a b]k=1\nk=2\n[] # [c]",
            "[a b]\r\nk=1\r\n\r\nk=2\r\n;\r\n[]\r\n",
        ];
        for text in texts {
            assert_eq!(sections(text), Ok(both.to_vec()), "{text:?}");
        }
        assert_eq!(sections(""), Ok(vec![]));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, wrong) in [
            ("[s]\nno value", IniSyntaxError::NoValue { line: 2 }),
            ("[s]\n\n = value", IniSyntaxError::NoValue { line: 3 }),
            ("[s] no value", IniSyntaxError::NoValue { line: 1 }),
            (" [s # ]\n[t\nk=1]", IniSyntaxError::OpenSection { start: "[t" }),
            ("# c\nk = 1\n[s]", IniSyntaxError::KeyOutsideSection { key: "k" }),
        ] {
            assert_eq!(sections(text), Err(wrong), "{text:?}");
        }
    }
}
