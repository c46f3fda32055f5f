//! Lines whose end is hidden. Knows nothing of rustyline.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// `line` with asterisks from byte `at` on: one for each cell, so that the cursor stays in its place.
pub(super) fn masked(line: &str, at: usize) -> String {
    let (shown, hidden) = line.split_at_checked(at).unwrap_or(("", line));
    let cells = |grapheme: &str| match grapheme {
        // Where the line is drawn, these move the cursor.
        "\t" | "\n" => grapheme.to_owned(),
        _ => "*".repeat(grapheme.width()),
    };
    shown.to_owned() + &hidden.graphemes(true).map(cells).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mask_is_as_wide_as_what_it_hides() {
        assert_eq!(masked("login bob secret", 10), "login bob ******");
        assert_eq!(masked("login bob pass word", 10), "login bob *********");
        assert_eq!(masked("日 日e\u{301}\t", 4), "日 ***\t");
        assert_eq!(masked("", 0), "");
    }
}
