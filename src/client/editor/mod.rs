//! The line being typed, and lines printed above it: the only module that names rustyline. Knows
//! nothing of servers.

mod completion;
mod line_screen;
mod mask;
mod print_gate;

use std::borrow::Cow;
use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{ColorMode, CompletionType, Config, Context, ExternalPrinter, Helper, Prompt};
use signal_hook::consts::SIGINT;

use super::error::ClientError;
use super::output::{is_dumb_terminal, print_line};
use super::sigint::interrupt;
use super::terminal_mode;
use completion::complete_command;
use line_screen::LineScreen;
use mask::masked;
use print_gate::PrintGate;

/// Lines of history kept.
const HISTORY_LEN_MAX: usize = 1000;

/// A message that moves the cursor up a row and down again, so it does not matter whether it is shown;
/// rustyline draws the line anew after it.
const NO_MESSAGE: &str = "\x1b[A\n";

/// The result of reading a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EditorInput {
    /// Enter; several lines if they were pasted.
    Line(String),
    /// Ctrl-C or a SIGINT.
    Interrupt,
    /// Ctrl-D on an empty line, or the terminal is gone.
    Eof,
}

/// Returns where a password begins in a line, in bytes; `None` if there is none.
pub(super) type PasswordAt = fn(&str) -> Option<usize>;

/// Reads lines from a terminal.
pub(super) struct Editor {
    inner: rustyline::Editor<EditorHelper, FileHistory>,
    gate: Arc<PrintGate>,
    screen: Arc<LineScreen>,
    history: Option<PathBuf>,
    /// A SIGINT arrived between two lines; set only after [`catch_interrupts`](Self::catch_interrupts).
    interrupted: Arc<AtomicBool>,
}

/// Prints lines above the one being typed, from another thread.
pub(super) struct LinePrinter {
    printer: Box<dyn ExternalPrinter + Send>,
    gate: Arc<PrintGate>,
}

impl Editor {
    /// An editor with its history in the file `history`; with `None` the history is not saved. Tab
    /// completes the first word to one of `commands`. From where `password_at` finds a password in it,
    /// a line is shown as asterisks; a terminal that cannot move its cursor shows it as it is.
    pub(super) fn new(
        history: Option<PathBuf>,
        commands: &'static [&'static str],
        password_at: PasswordAt,
    ) -> Result<Self, ClientError> {
        let config = Config::builder()
            .max_history_size(HISTORY_LEN_MAX)
            .map_err(editor_error)?
            // As in a shell: the common beginning, then the list.
            .completion_type(CompletionType::List)
            // `NO_COLOR` turns off all of the highlighter, which shows no colors but hides passwords.
            .color_mode(ColorMode::Forced)
            .build();
        let mut inner = rustyline::Editor::with_config(config).map_err(editor_error)?;
        let (gate, screen) = (Arc::<PrintGate>::default(), Arc::<LineScreen>::default());
        let (of_gate, of_screen) = (Arc::clone(&gate), Arc::clone(&screen));
        let helper = EditorHelper { gate: of_gate, screen: of_screen, commands, password_at };
        inner.set_helper(Some(helper));
        if let Some(file) = &history {
            // The first session has no file yet.
            let _ = inner.load_history(file);
        }
        let mut editor = Editor { inner, gate, screen, history, interrupted: Arc::default() };
        let mut printer = editor.line_printer();
        let screen = Arc::clone(&editor.screen);
        terminal_mode::guard(move || {
            if let Some(printer) = &mut printer
                && screen.resume()
            {
                printer.redraw();
            }
        })
        .map_err(|error| ClientError::input(&error))?;
        Ok(editor)
    }

    /// Makes a SIGINT between two lines interrupt the next one; without this it ends the process.
    pub(super) fn catch_interrupts(&mut self) -> Result<(), ClientError> {
        signal_hook::flag::register(SIGINT, Arc::clone(&self.interrupted))
            .map(|_| ())
            .map_err(|error| ClientError::input(&error))
    }

    /// True if a SIGINT arrived between two lines.
    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }

    /// Returns a printer, or `None` where the terminal cannot move its cursor.
    pub(super) fn line_printer(&mut self) -> Option<LinePrinter> {
        let printer = Box::new(self.inner.create_external_printer().ok()?);
        Some(LinePrinter { printer, gate: Arc::clone(&self.gate) })
    }

    /// Reads one line.
    pub(super) fn read(&mut self, prompt: &str) -> Result<EditorInput, ClientError> {
        let prompt = PromptState {
            text: prompt,
            gate: &self.gate,
            screen: &self.screen,
            interrupted: &self.interrupted,
            is_measured: Cell::new(false),
        };
        let result = self.inner.readline(&prompt);
        self.gate.pause();
        self.screen.end();
        match result {
            Ok(line) => Ok(EditorInput::Line(line)),
            Err(ReadlineError::Interrupted | ReadlineError::Signal(_)) => {
                Ok(EditorInput::Interrupt)
            }
            Err(ReadlineError::Eof) => {
                // Such a terminal shows nothing for Ctrl-D, and rustyline leaves the cursor there.
                if is_dumb_terminal() {
                    print_line("")?;
                }
                Ok(EditorInput::Eof)
            }
            Err(error) => Err(editor_error(error)),
        }
    }

    /// Adds a line to the history and to its file. A file that cannot be written is ignored.
    pub(super) fn add_history(&mut self, line: &str) {
        if self.inner.add_history_entry(line).is_ok_and(|is_new| is_new)
            && let Some(file) = &self.history
        {
            let _ = self.inner.append_history::<Path>(file);
        }
    }
}

impl Drop for Editor {
    /// Releases printers that wait for the next line.
    fn drop(&mut self) {
        self.gate.close();
    }
}

impl LinePrinter {
    /// Prints a line; false if the editor is gone.
    ///
    /// Waits while no line is being typed: the main thread is between two lines, and begins the next
    /// one soon.
    pub(super) fn print(&mut self, line: &str) -> bool {
        self.print_message(format!("{line}\n"))
    }

    /// Waits until all printed lines are on the screen.
    pub(super) fn flush(&mut self) {
        // rustyline queues one message, so once it takes this one it has shown those before it.
        self.print_message(NO_MESSAGE.to_owned());
    }

    /// Draws the line again if one is being typed. A message on its way does that as well.
    fn redraw(&mut self) {
        if self.gate.try_begin_print() {
            let _ = self.printer.print(NO_MESSAGE.to_owned());
            self.gate.end_print();
        }
    }

    fn print_message(&mut self, message: String) -> bool {
        if !self.gate.begin_print() {
            return false;
        }
        let result = self.printer.print(message);
        self.gate.end_print();
        result.is_ok()
    }
}

fn editor_error(error: ReadlineError) -> ClientError {
    match error {
        ReadlineError::Io(error) => ClientError::input(&error),
        error => ClientError::input(&io::Error::other(error.to_string())),
    }
}

/// A prompt that opens the gate when its line begins.
///
/// rustyline asks for the text several times a line: to measure it before the line begins, and each
/// time it is drawn.
struct PromptState<'a> {
    text: &'a str,
    gate: &'a PrintGate,
    screen: &'a LineScreen,
    interrupted: &'a AtomicBool,
    is_measured: Cell<bool>,
}

impl Prompt for PromptState<'_> {
    fn raw(&self) -> &str {
        if !self.is_measured.replace(true) {
            // Only now: the last drawing is after Enter, and must not open the gate again.
            self.screen.begin(self.text);
            self.gate.open();
            return self.text;
        }
        self.screen.adjust_to_resize();
        if self.interrupted.load(Ordering::SeqCst) {
            // The SIGINT came before rustyline's handler was installed, which has happened by the
            // first drawing. Another one reaches it.
            interrupt();
        }
        self.text
    }
}

/// Answers to rustyline while a line is edited: completions, and whether Enter ends the line,
/// before which the gate is paused. It shows the line and its cursor on the way.
struct EditorHelper {
    gate: Arc<PrintGate>,
    screen: Arc<LineScreen>,
    commands: &'static [&'static str],
    password_at: PasswordAt,
}

impl Helper for EditorHelper {}

impl Completer for EditorHelper {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        cursor: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(complete_command(line, cursor, self.commands))
    }
}

impl Highlighter for EditorHelper {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        (self.password_at)(line).map_or(Cow::Borrowed(line), |at| masked(line, at).into())
    }

    /// Is called when the cursor moves. True if the line must be drawn by
    /// [`highlight`](Self::highlight), and not by the character that was typed.
    fn highlight_char(&self, line: &str, cursor: usize, _: CmdKind) -> bool {
        self.screen.record(line, cursor);
        (self.password_at)(line).is_some()
    }
}

impl Hinter for EditorHelper {
    type Hint = String;

    /// Is called when the line changes.
    fn hint(&self, line: &str, cursor: usize, _: &Context<'_>) -> Option<String> {
        self.screen.record(line, cursor);
        None
    }
}

impl Validator for EditorHelper {
    fn validate(&self, _: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        self.gate.pause();
        Ok(ValidationResult::Valid(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompt_opens_the_gate_once() {
        let (gate, screen) = (PrintGate::default(), LineScreen::default());
        let (interrupted, is_measured) = (AtomicBool::new(false), Cell::new(false));
        let prompt = PromptState {
            text: "> ",
            gate: &gate,
            screen: &screen,
            interrupted: &interrupted,
            is_measured,
        };
        assert!(!gate.is_open());
        assert_eq!(prompt.raw(), "> ");
        assert!(gate.is_open());
        gate.pause();
        assert_eq!(prompt.raw(), "> ");
        assert!(!gate.is_open());
    }
}
