//! Text for the cells of a terminal: a server's is made harmless, cut and padded, and rows become a
//! table. Knows no connections.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use crate::client::output::sanitize_line;

/// Stands for what was cut off.
const ELLIPSIS: &str = "…";

/// Cells between two columns.
const GAP: usize = 2;

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Its cells are numbers, padded on the left.
    pub(super) is_number: bool,
    /// Cells that it takes at most.
    pub(super) width_max: usize,
    /// Where there is no room, columns are left out from the highest number on; 0 stays.
    pub(super) dropped: u8,
}

impl Column {
    pub(super) const fn text(title: &'static str, width_max: usize) -> Self {
        Column { title, is_number: false, width_max, dropped: 0 }
    }

    pub(super) const fn number(title: &'static str) -> Self {
        Column { title, is_number: true, width_max: 20, dropped: 0 }
    }

    /// The column, left out where there is no room ([`Table::narrow`]).
    pub(super) const fn dropped(self, dropped: u8) -> Self {
        Column { dropped, ..self }
    }
}

/// Columns as wide as the rows so far, which never become narrower: rows may come in several parts.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    /// Cells of each; 0 for one that is left out.
    widths: Vec<usize>,
}

impl Table {
    pub(super) fn new(columns: &[Column]) -> Self {
        let widths = columns.iter().map(|column| column.title.len()).collect();
        Table { columns: columns.to_vec(), widths }
    }

    /// Makes the columns wide enough for `rows`.
    pub(super) fn widen(&mut self, rows: &[Vec<String>]) {
        for row in rows {
            for ((width, column), cell) in self.widths.iter_mut().zip(&self.columns).zip(row) {
                *width = (*width).max(cell.width().min(column.width_max));
            }
        }
    }

    /// Leaves columns out until the rest fits `width`, or may not be left out. No wider row may follow.
    pub(super) fn narrow(&mut self, width: usize) {
        loop {
            let shown = self.widths.iter().filter(|width| **width > 0);
            let total: usize = shown.map(|width| width + GAP).sum();
            if total <= width + GAP {
                return;
            }
            let candidates = self.columns.iter().zip(&mut self.widths);
            let candidates = candidates.filter(|(column, width)| column.dropped > 0 && **width > 0);
            let Some((_, width)) = candidates.max_by_key(|(column, _)| column.dropped) else {
                return;
            };
            *width = 0;
        }
    }

    /// The line of titles, cut to `width`.
    pub(super) fn titles(&self, width: usize) -> String {
        let titles: Vec<String> = self.columns.iter().map(|c| c.title.to_owned()).collect();
        self.line(&titles, width)
    }

    /// The line of a row, cut to `width`.
    pub(super) fn line(&self, row: &[String], width: usize) -> String {
        let mut line = String::new();
        let cells = row.iter().zip(&self.columns).zip(&self.widths);
        for ((cell, column), width) in cells.filter(|(_, width)| **width > 0) {
            if !line.is_empty() {
                line += &" ".repeat(GAP);
            }
            let cell = cut(cell, *width);
            let padding = " ".repeat(width.saturating_sub(cell.width()));
            line += &if column.is_number { padding + &cell } else { cell + &padding };
        }
        cut(line.trim_end(), width)
    }
}

/// A server's text on one line that does not drive a terminal, without tabs.
pub(super) fn clean(text: &str) -> String {
    sanitize_line(text).replace('\t', " ")
}

/// The beginning of `text` that fits `width` cells, with an ellipsis where it is cut.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let Some(room) = width.checked_sub(ELLIPSIS.width()) else { return String::new() };
    let (mut shown, mut taken) = (String::new(), 0);
    for grapheme in text.graphemes(true) {
        taken += grapheme.width();
        if taken > room {
            break;
        }
        shown += grapheme;
    }
    shown + ELLIPSIS
}

/// `text`, cut and padded to exactly `width` cells.
pub(super) fn fit(text: &str, width: usize) -> String {
    let shown = cut(text, width);
    let padding = " ".repeat(width.saturating_sub(shown.width()));
    shown + &padding
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters() {
        for (text, width, shown) in [
            ("abcdef", 6, "abcdef"),
            ("abcdef", 5, "abcd…"),
            ("日本語", 6, "日本語"),
            ("日本語", 5, "日本…"),
            ("日本語", 4, "日…"),
            ("e\u{301}e\u{301}e\u{301}", 2, "e\u{301}…"),
            ("abc", 1, "…"),
            ("abc", 0, ""),
        ] {
            assert_eq!(cut(text, width), shown, "{text} {width}");
        }
        assert_eq!(fit("日本語", 4).width(), 4);
    }

    #[test]
    fn server_text_is_one_harmless_line() {
        assert_eq!(clean("a\tb\x1b[2J\n\u{202e}c"), "a b\u{fffd}[2J\u{fffd}\u{fffd}c");
    }

    #[test]
    fn table_grows_with_its_rows() {
        let mut table = Table::new(&[Column::number("ID"), Column::text("NAME", 6)]);
        let row = |id: &str, name: &str| vec![id.to_owned(), name.to_owned()];
        table.widen(&[row("7", "日本語")]);
        assert_eq!(table.titles(80), "ID  NAME");
        assert_eq!(table.line(&row("7", "日本語"), 80), " 7  日本語");
        table.widen(&[row("1000", "much too long")]);
        assert_eq!(table.line(&row("7", "much too long"), 80), "   7  much …");
        assert_eq!(table.line(&row("1000", "bob"), 6), "1000 …");
    }

    #[test]
    fn columns_are_left_out_in_their_order() {
        let columns = ["A", "B", "C"].map(|title| Column::text(title, 9));
        let [a, b, c] = columns;
        let shown = |width| {
            let mut table = Table::new(&[a.dropped(1), b, c.dropped(2)]);
            table.narrow(width);
            table.titles(width)
        };
        assert_eq!([7, 6, 4, 3, 1].map(shown), ["A  B  C", "A  B", "A  B", "B", "B"]);
    }
}
