//! The line being typed, and what appears above it: rustyline, and the order it does not keep.
//! Knows nothing of servers.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, ExternalPrinter, Helper, Prompt};
use signal_hook::consts::SIGINT;

use super::error::ClientError;
use super::terminal_mode;

/// Lines of history kept.
const HISTORY_LEN_MAX: usize = 1000;

/// How long the end of a line waits for a message that is being handed over. One that takes longer
/// is in its place already, see [`Gate::pause`].
const PRINT_WAIT_MAX: Duration = Duration::from_millis(20);

/// What the user did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EditorInput {
    Line(String),
    /// Ctrl-C, or a SIGINT.
    Interrupt,
    /// Ctrl-D on an empty line, or the terminal is gone.
    Eof,
}

/// Reads lines from a terminal.
pub(super) struct Editor {
    inner: rustyline::Editor<PauseOnEnter, FileHistory>,
    gate: Arc<Gate>,
    history: Option<PathBuf>,
    /// Set by a SIGINT between two lines, where [`catch_interrupts`](Self::catch_interrupts) was
    /// called.
    interrupted: Arc<AtomicBool>,
}

/// Prints whole lines above the one being typed, from another thread.
pub(super) struct LinePrinter {
    printer: Box<dyn ExternalPrinter + Send>,
    gate: Arc<Gate>,
}

impl Editor {
    /// An editor whose history is in the file `history`, or is forgotten.
    pub(super) fn new(history: Option<PathBuf>) -> Result<Self, ClientError> {
        terminal_mode::restore_when_killed().map_err(|error| ClientError::input(&error))?;
        let config =
            Config::builder().max_history_size(HISTORY_LEN_MAX).map_err(editor_error)?.build();
        let mut inner = rustyline::Editor::with_config(config).map_err(editor_error)?;
        let gate = Arc::new(Gate::default());
        inner.set_helper(Some(PauseOnEnter(Arc::clone(&gate))));
        if let Some(file) = &history {
            // There is none the first time.
            let _ = inner.load_history(file);
        }
        Ok(Editor { inner, gate, history, interrupted: Arc::default() })
    }

    /// Lets a SIGINT between two lines interrupt the next one instead of ending the process.
    pub(super) fn catch_interrupts(&mut self) -> Result<(), ClientError> {
        signal_hook::flag::register(SIGINT, Arc::clone(&self.interrupted))
            .map(|_| ())
            .map_err(|error| ClientError::input(&error))
    }

    /// Whether there was one.
    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }

    /// What prints above the line, where the terminal can do that.
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
            is_drawn: Cell::new(false),
        };
        let typed = self.inner.readline(&prompt);
        self.gate.pause();
        match typed {
            Ok(line) => Ok(EditorInput::Line(line)),
            Err(ReadlineError::Interrupted | ReadlineError::Signal(_)) => {
                Ok(EditorInput::Interrupt)
            }
            Err(ReadlineError::Eof) => Ok(EditorInput::Eof),
            Err(error) => Err(editor_error(error)),
        }
    }

    /// Adds a line to the history, and to its file. A history that cannot be kept is no reason to
    /// stop.
    pub(super) fn add_history(&mut self, line: &str) {
        if self.inner.add_history_entry(line).is_ok_and(|added| added)
            && let Some(file) = &self.history
        {
            let _ = self.inner.append_history::<Path>(file);
        }
    }
}

impl Drop for Editor {
    /// Nothing is typed any more.
    fn drop(&mut self) {
        self.gate.close();
    }
}

impl LinePrinter {
    /// Prints a line; returns false when nothing is typed any more, so that it cannot.
    ///
    /// Waits while no line is being typed: whoever has just ended one begins the next at once.
    pub(super) fn print(&mut self, line: &str) -> bool {
        self.print_message(format!("{line}\n"))
    }

    /// Returns when all that was printed is on the screen.
    pub(super) fn flush(&mut self) {
        // rustyline holds one message, so when it takes this one it has shown those before. This one
        // may or may not be shown: it goes up a row and down again.
        self.print_message("\x1b[A\n".to_owned());
    }

    fn print_message(&mut self, message: String) -> bool {
        if !self.gate.begin_print() {
            return false;
        }
        let printed = self.printer.print(message);
        self.gate.end_print();
        printed.is_ok()
    }
}

fn editor_error(error: ReadlineError) -> ClientError {
    match error {
        ReadlineError::Io(error) => ClientError::input(&error),
        error => ClientError::input(&io::Error::other(error.to_string())),
    }
}

/// Keeps messages in order.
///
/// While a line is edited rustyline queues a message (one at most, the next waits) for the thread
/// that edits; between two lines it writes it to the terminal at once, past one that may still be
/// queued. So messages are let through only while a line is edited, from when its prompt is drawn
/// until Enter. (Ctrl-C and Ctrl-D end the conversation; what is late then is late.)
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    /// A line is being edited.
    is_open: bool,
    /// There will be no more lines.
    is_closed: bool,
    /// A message is being handed over.
    is_printing: bool,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) {
        self.state().is_open = true;
        self.changed.notify_all();
    }

    /// Lets nothing more through, and waits for what is on its way. That takes no time, unless
    /// rustyline holds a message already; but then the next is waiting in line behind it, and is
    /// shown in order when the next line is edited. It must not be waited for, because the thread
    /// that would take it is the one that waits here.
    fn pause(&self) {
        let mut state = self.state();
        state.is_open = false;
        let still_passing = |state: &mut GateState| state.is_printing;
        let _ = self.changed.wait_timeout_while(state, PRINT_WAIT_MAX, still_passing);
    }

    fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }

    /// Waits until a message may pass; false when none ever will.
    fn begin_print(&self) -> bool {
        let waits = |state: &mut GateState| !state.is_open && !state.is_closed;
        let guard = self.changed.wait_while(self.state(), waits);
        let mut state = guard.unwrap_or_else(PoisonError::into_inner);
        state.is_printing = !state.is_closed;
        state.is_printing
    }

    fn end_print(&self) {
        self.state().is_printing = false;
        self.changed.notify_all();
    }
}

/// A prompt that knows when it is drawn.
struct PromptState<'a> {
    text: &'a str,
    gate: &'a Gate,
    interrupted: &'a AtomicBool,
    is_drawn: Cell<bool>,
}

impl Prompt for PromptState<'_> {
    fn raw(&self) -> &str {
        if !self.is_drawn.replace(true) {
            // Measured, before the line begins. It is drawn again when the line ends, and that must
            // not open the gate.
            self.gate.open();
        } else if self.interrupted.load(Ordering::SeqCst) {
            // Drawn: from now on rustyline waits for signals. This one came before.
            interrupt();
        }
        self.text
    }
}

/// Ends the line being typed, as Ctrl-C would. It takes a signal: rustyline waits for keys and for
/// signals, and its queue of messages comes behind those.
pub(super) fn interrupt() {
    // It goes to the process and not to this thread: the system then prefers the main thread, which
    // may be in a read(2) that only a signal of its own ends.
    let _ = signal::kill(Pid::this(), Signal::SIGINT);
}

/// Is told of Enter before the line ends.
struct PauseOnEnter(Arc<Gate>);

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
    use std::thread;

    use super::*;

    #[test]
    fn messages_wait_for_a_line_and_are_dropped_behind_the_last() {
        let gate = Arc::new(Gate::default());
        let entering = |gate: &Arc<Gate>| {
            let gate = Arc::clone(gate);
            thread::spawn(move || gate.begin_print())
        };
        let first = entering(&gate);
        gate.open();
        assert!(first.join().unwrap());
        gate.end_print();
        gate.pause();
        let second = entering(&gate);
        gate.close();
        assert!(!second.join().unwrap());
    }

    #[test]
    fn the_end_of_a_line_does_not_wait_for_a_message_that_waits_for_the_next() {
        let gate = Gate::default();
        gate.open();
        assert!(gate.begin_print());
        gate.pause();
        assert!(gate.state().is_printing);
    }

    #[test]
    fn a_prompt_opens_the_gate_once() {
        let gate = Gate::default();
        let (interrupted, is_drawn) = (AtomicBool::new(false), Cell::new(false));
        let prompt = PromptState { text: "> ", gate: &gate, interrupted: &interrupted, is_drawn };
        assert!(!gate.state().is_open);
        assert_eq!(prompt.raw(), "> ");
        assert!(gate.state().is_open);
        gate.pause();
        assert_eq!(prompt.raw(), "> ");
        assert!(!gate.state().is_open);
    }
}
