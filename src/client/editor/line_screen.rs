//! The part of the screen with the line being edited, and the two cases in which rustyline's own
//! picture of it is wrong: after a resize, and after the process was stopped. Knows no servers.

use std::fmt::Write;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::write;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Bracketed paste, which rustyline turns on when a line begins.
const BRACKETED_PASTE: &str = "\x1b[?2004h";

/// Erases the cursor's row and those below. The second column is where the rows below are erased from:
/// tmux takes an ED at the beginning of the screen for a new screen, and keeps the old one in its
/// history.
const ERASE_BELOW: &str = "\x1b[K\x1b[C\x1b[J\r";

/// rustyline's default distance of tab stops.
const TAB_STOP: usize = 8;

/// The line being edited and the terminal under it.
#[derive(Debug, Default)]
pub(super) struct LineScreen {
    state: Mutex<ScreenState>,
}

#[derive(Debug, Default)]
struct ScreenState {
    prompt: String,
    line: String,
    /// The cursor's place in the line, in bytes.
    cursor: usize,
    /// The columns for which the line was drawn; 0 if there is no line.
    columns: usize,
    /// Where the row of the line that was last drawn ends in a line feed, in bytes: rustyline moves to
    /// the next row by one if the line fills its last. Other rows are wrapped by the terminal.
    line_feed: Option<usize>,
    /// The terminal's mode while the line is edited.
    raw_mode: Option<Termios>,
}

/// A place on the screen, from the beginning of the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    row: usize,
    column: usize,
}

impl LineScreen {
    fn state(&self) -> MutexGuard<'_, ScreenState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line begins. The terminal is in raw mode by now.
    pub(super) fn begin(&self, prompt: &str) {
        let columns = columns();
        let raw_mode = tcgetattr(io::stdin()).ok();
        let prompt = prompt.to_owned();
        *self.state() = ScreenState { prompt, columns, raw_mode, ..ScreenState::default() };
    }

    /// The line has ended.
    pub(super) fn end(&self) {
        *self.state() = ScreenState::default();
    }

    /// The line or its cursor has changed.
    pub(super) fn record(&self, line: &str, cursor: usize) {
        let mut state = self.state();
        line.clone_into(&mut state.line);
        state.cursor = cursor;
    }

    /// Is called before the whole line is drawn. After a resize it erases what the terminal has made of
    /// the line, and puts the cursor where rustyline takes it to be.
    ///
    /// rustyline erases as many rows as the line had at the old width. A terminal that wraps its lines
    /// anew has spread it over others by then, so parts of the old line would stay. (One that does
    /// not, such as xterm, may lose rows above the line instead.)
    pub(super) fn adjust_to_resize(&self) {
        let mut state = self.state();
        let columns = columns();
        if state.columns == 0 || columns == 0 {
            return;
        }
        let erase =
            if columns == state.columns { String::new() } else { state.erase_reflowed(columns) };
        state.columns = columns;
        let (_, end) = state.places();
        state.line_feed = (end.row > 0 && end.column == 0).then_some(state.line.len());
        drop(state);
        write_all(&erase);
    }

    /// Puts the terminal back into raw mode after the process was stopped and continued; false if
    /// there is no line to be drawn again.
    ///
    /// If another program, such as a shell, has used the terminal meanwhile, the line gets rows of its
    /// own below.
    pub(super) fn resume(&self) -> bool {
        let state = self.state();
        let Some(raw_mode) = &state.raw_mode else { return false };
        if tcgetattr(io::stdin()).is_ok_and(|mode| mode == *raw_mode) {
            return true;
        }
        if tcsetattr(io::stdin(), SetArg::TCSANOW, raw_mode).is_err() {
            return false;
        }
        write_all(&format!("{BRACKETED_PASTE}{}", state.make_rows()));
        true
    }
}

impl ScreenState {
    /// The line up to the cursor.
    fn before_cursor(&self) -> &str {
        self.line.get(..self.cursor).unwrap_or(&self.line)
    }

    /// The places of the cursor and of the end.
    fn places(&self) -> (Place, Place) {
        let columns = self.columns.max(1);
        let cursor = place_after(&[&self.prompt, self.before_cursor()], columns);
        (cursor, place_after(&[&self.prompt, &self.line], columns))
    }

    /// The row of the cursor on a terminal that has wrapped the drawn line to `columns`.
    fn reflowed_row(&self, columns: usize) -> usize {
        let before = self.before_cursor();
        match self.line_feed.and_then(|at| Some((before.get(..at)?, before.get(at..)?))) {
            Some((fed, rest)) => place_after(&[&self.prompt, fed, "\n", rest], columns).row,
            None => place_after(&[&self.prompt, before], columns).row,
        }
    }

    /// Erases the line as wrapped to `columns`, then makes its rows.
    fn erase_reflowed(&self, columns: usize) -> String {
        let mut text = "\r".to_owned();
        move_up(&mut text, self.reflowed_row(columns));
        text + ERASE_BELOW + &self.make_rows()
    }

    /// Makes the rows that the line had when it was drawn, below the cursor's, and moves the cursor to
    /// the row where rustyline takes it to be.
    fn make_rows(&self) -> String {
        let (cursor, end) = self.places();
        // Line feeds scroll at the end of the screen, where a movement would stop.
        let mut text = "\n".repeat(end.row);
        move_up(&mut text, end.row.saturating_sub(cursor.row));
        text
    }
}

fn move_up(text: &mut String, rows: usize) {
    if rows > 0 {
        let _ = write!(text, "\x1b[{rows}A");
    }
}

/// The place behind `texts` on a terminal that wraps at `columns`, as rustyline computes it.
fn place_after(texts: &[&str], columns: usize) -> Place {
    let mut place = Place { row: 0, column: 0 };
    for grapheme in texts.iter().flat_map(|text| text.graphemes(true)) {
        let width = match grapheme {
            "\n" => {
                place = Place { row: place.row + 1, column: 0 };
                continue;
            }
            "\t" => TAB_STOP - place.column % TAB_STOP,
            _ => grapheme.width(),
        };
        place.column += width;
        if place.column > columns {
            place = Place { row: place.row + 1, column: width };
        }
    }
    if place.column == columns {
        place = Place { row: place.row + 1, column: 0 };
    }
    place
}

/// The columns of the terminal; 0 if they are not known.
fn columns() -> usize {
    rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_col))
}

/// Writes with write(2) itself, as rustyline does, because another thread may hold the lock of
/// `Stdout`.
fn write_all(text: &str) {
    let mut bytes = text.as_bytes();
    while let Ok(n @ 1..) = write(io::stdout(), bytes) {
        bytes = &bytes[n..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, columns: usize) -> (usize, usize) {
        let place = place_after(&["> ", text], columns);
        (place.row, place.column)
    }

    #[test]
    fn place_is_behind_the_text() {
        assert_eq!(place("", 10), (0, 2));
        assert_eq!(place("1234567", 10), (0, 9));
        assert_eq!(place("12345678", 10), (1, 0));
        assert_eq!(place("123456789", 10), (1, 1));
        assert_eq!(place("\t", 20), (0, 8));
        assert_eq!(place("a\nb", 10), (1, 1));
        // A wide character does not straddle the edge; a combining one takes no cell.
        assert_eq!(place("1234567日", 10), (1, 2));
        assert_eq!(place("e\u{301}", 10), (0, 3));
    }

    #[test]
    fn resize_erases_the_reflowed_rows() {
        let state = ScreenState {
            prompt: "> ".to_owned(),
            line: "x".repeat(30),
            cursor: 30,
            columns: 20,
            ..ScreenState::default()
        };
        // 32 cells: rows 0 and 1 of 20 columns, up to row 3 of 10 columns.
        assert_eq!(state.erase_reflowed(10), format!("\r\x1b[3A{ERASE_BELOW}\n"));
        // 20 cells and a line feed, then 12: rows 0 to 1, and 2 to 3 of 16 columns.
        let state = ScreenState { line_feed: Some(18), ..state };
        assert_eq!(state.erase_reflowed(16), format!("\r\x1b[2A{ERASE_BELOW}\n"));
        let state = ScreenState { line_feed: None, ..state };
        let state = ScreenState { cursor: 0, ..state };
        assert_eq!(state.erase_reflowed(40), format!("\r{ERASE_BELOW}\n\x1b[1A"));
    }
}
