//! The line being typed, and lines printed above it: the only module that names rustyline. Knows
//! nothing of servers.

mod print_gate;

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, ExternalPrinter, Helper, Prompt};
use signal_hook::consts::SIGINT;

use super::error::ClientError;
use super::sigint::interrupt;
use super::terminal_mode;
use print_gate::PrintGate;

/// Lines of history kept.
const HISTORY_LEN_MAX: usize = 1000;

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

/// Reads lines from a terminal.
pub(super) struct Editor {
    inner: rustyline::Editor<PauseOnEnter, FileHistory>,
    gate: Arc<PrintGate>,
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
    /// An editor with its history in the file `history`; with `None` the history is not saved.
    pub(super) fn new(history: Option<PathBuf>) -> Result<Self, ClientError> {
        terminal_mode::restore_when_killed().map_err(|error| ClientError::input(&error))?;
        let config =
            Config::builder().max_history_size(HISTORY_LEN_MAX).map_err(editor_error)?.build();
        let mut inner = rustyline::Editor::with_config(config).map_err(editor_error)?;
        let gate = Arc::new(PrintGate::default());
        inner.set_helper(Some(PauseOnEnter(Arc::clone(&gate))));
        if let Some(file) = &history {
            // The first session has no file yet.
            let _ = inner.load_history(file);
        }
        Ok(Editor { inner, gate, history, interrupted: Arc::default() })
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
            interrupted: &self.interrupted,
            is_measured: Cell::new(false),
        };
        let result = self.inner.readline(&prompt);
        self.gate.pause();
        match result {
            Ok(line) => Ok(EditorInput::Line(line)),
            Err(ReadlineError::Interrupted | ReadlineError::Signal(_)) => {
                Ok(EditorInput::Interrupt)
            }
            Err(ReadlineError::Eof) => Ok(EditorInput::Eof),
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
        // rustyline queues one message, so once it takes this one it has shown those before it. This
        // one moves the cursor up a row and down again, so it does not matter whether it is shown.
        self.print_message("\x1b[A\n".to_owned());
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
    interrupted: &'a AtomicBool,
    is_measured: Cell<bool>,
}

impl Prompt for PromptState<'_> {
    fn raw(&self) -> &str {
        if !self.is_measured.replace(true) {
            // Only now: the last drawing is after Enter, and must not open the gate again.
            self.gate.open();
        } else if self.interrupted.load(Ordering::SeqCst) {
            // The SIGINT came before rustyline's handler was installed, which has happened by the
            // first drawing. Another one reaches it.
            interrupt();
        }
        self.text
    }
}

/// Pauses the gate on Enter, by way of the validator that rustyline calls before the line ends.
struct PauseOnEnter(Arc<PrintGate>);

impl Helper for PauseOnEnter {}
impl Completer for PauseOnEnter {
    type Candidate = String;
}
impl Highlighter for PauseOnEnter {}
impl Hinter for PauseOnEnter {
    type Hint = String;
}
impl Validator for PauseOnEnter {
    fn validate(&self, _: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        self.0.pause();
        Ok(ValidationResult::Valid(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompt_opens_the_gate_once() {
        let gate = PrintGate::default();
        let (interrupted, is_measured) = (AtomicBool::new(false), Cell::new(false));
        let prompt =
            PromptState { text: "> ", gate: &gate, interrupted: &interrupted, is_measured };
        assert!(!gate.is_open());
        assert_eq!(prompt.raw(), "> ");
        assert!(gate.is_open());
        gate.pause();
        assert_eq!(prompt.raw(), "> ");
        assert!(!gate.is_open());
    }
}
