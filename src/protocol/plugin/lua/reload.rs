//! Loads a folder's plugins beside those that serve: a thread reads the files, the loop runs them, a
//! step a turn. Whether they replace the others is their owner's matter.

use std::fmt;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use super::folder::Folders;
use super::host::PluginHost;
use super::load::{Loaded, Loader};
use super::load_error::LoadError;
use super::options::{Clock, PluginOptions};
use super::plugin_file::{self, PluginFile};

/// Files that are read ahead of the loop. The thread waits for the loop, so that a folder of large
/// files is never in memory as a whole.
const FILES_READ_AHEAD: usize = 1;

/// A reload of the plugins. Driven by its owner: [`begin`](Self::begin) starts the thread,
/// [`poll`](Self::poll) takes what it has read, [`step`](Self::step) runs one file of it.
pub struct Reload {
    options: PluginOptions,
    wake: Wake,
    state: State,
}

enum State {
    /// The thread has not started.
    Waiting {
        clock: Clock,
    },
    /// The thread lists the folder.
    Opening {
        clock: Clock,
        messages: Receiver<ReaderMessage>,
        opened: Option<ReaderMessage>,
    },
    /// The thread reads the files, one by one.
    Loading {
        loader: Box<Loader>,
        messages: Receiver<ReaderMessage>,
        next: Option<ReaderMessage>,
    },
    Over,
}

/// Wakes the loop.
type Wake = Arc<dyn Fn() + Send + Sync>;

/// A message from the thread to the loop.
enum ReaderMessage {
    /// The folder is open; its files follow.
    Opened(Folders),
    File(PluginFile),
    /// All files have been read.
    End,
    Failed(LoadError),
}

/// The result of a step.
#[derive(Debug)]
pub enum ReloadStep {
    /// More steps follow, now or when the thread has read more.
    Pending,
    /// All plugins loaded; the host of the new ones.
    Loaded(PluginHost),
    /// Some did not load, with a reason each. The host of those that did is to be dropped, one
    /// plugin a turn.
    Failed(Option<PluginHost>, Vec<String>),
}

impl Reload {
    /// A reload that has not begun. `wake` is called from the thread when [`poll`](Self::poll) has
    /// something to take, and by [`step`](Self::step) with the last one.
    pub fn new(
        options: PluginOptions,
        clock: Clock,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Reload { options, wake: Arc::new(wake), state: State::Waiting { clock } }
    }

    /// Starts the thread. It ends when all files are read or this value is dropped; nothing waits
    /// for it, as the disk may block it for ever.
    ///
    /// # Errors
    ///
    /// The system cannot start a thread.
    pub fn begin(&mut self) -> io::Result<()> {
        let State::Waiting { clock } = mem::replace(&mut self.state, State::Over) else {
            return Ok(());
        };
        let (sender, messages) = sync_channel(FILES_READ_AHEAD);
        let (dir, wake) = (self.options.dir.clone(), Arc::clone(&self.wake));
        thread::Builder::new().name("plugin files".to_owned()).spawn(move || {
            let send = |message| send(&sender, &wake, message);
            match plugin_file::open(&dir) {
                Err(error) => send(ReaderMessage::Failed(error)),
                Ok((folders, mut files)) => {
                    send(ReaderMessage::Opened(folders))
                        && files.all(|file| send(ReaderMessage::File(file)))
                        && send(ReaderMessage::End)
                }
            }
        })?;
        self.state = State::Opening { clock, messages, opened: None };
        Ok(())
    }

    /// Takes the next message of the thread, if there is one.
    pub fn poll(&mut self) {
        let (State::Opening { messages, opened: slot, .. }
        | State::Loading { messages, next: slot, .. }) = &mut self.state
        else {
            return;
        };
        if slot.is_none() {
            *slot = match messages.try_recv() {
                Ok(message) => Some(message),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => {
                    let error = io::Error::other("the thread that reads it has ended");
                    Some(ReaderMessage::Failed(LoadError::new(&self.options.dir, error)))
                }
            };
        }
    }

    /// Whether a step has something to do.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match &self.state {
            State::Waiting { .. } | State::Over => false,
            State::Opening { opened, .. } => opened.is_some(),
            State::Loading { loader, next, .. } => loader.has_uninitialized() || next.is_some(),
        }
    }

    /// Time of all calls into the new plugins so far.
    #[must_use]
    pub fn spent(&self) -> Duration {
        match &self.state {
            State::Loading { loader, .. } => loader.spent(),
            _ => Duration::ZERO,
        }
    }

    /// Runs one file, or calls its `server_inited`; either within the budget of one call.
    pub fn step(&mut self) -> ReloadStep {
        if let State::Loading { loader, next, .. } = &mut self.state {
            if loader.has_uninitialized() {
                loader.init_plugin();
                return ReloadStep::Pending;
            }
            if let Some(ReaderMessage::File(file)) =
                next.take_if(|next| matches!(next, ReaderMessage::File(_)))
            {
                loader.run_file(&file);
                return ReloadStep::Pending;
            }
        }
        let step = match mem::replace(&mut self.state, State::Over) {
            State::Opening { clock, messages, opened: Some(ReaderMessage::Opened(folders)) } => {
                let budget = self.options.budget;
                let loader = Box::new(Loader::new(&self.options, clock, budget, folders));
                self.state = State::Loading { loader, messages, next: None };
                ReloadStep::Pending
            }
            State::Loading { loader, next: Some(ReaderMessage::End), .. } => {
                finish(loader.finish())
            }
            State::Opening { opened: Some(ReaderMessage::Failed(error)), .. } => {
                ReloadStep::Failed(None, vec![unloadable(&error)])
            }
            State::Loading { loader, next: Some(ReaderMessage::Failed(error)), .. } => {
                ReloadStep::Failed(Some(loader.finish().host), vec![unloadable(&error)])
            }
            state => {
                self.state = state;
                ReloadStep::Pending
            }
        };
        if !matches!(step, ReloadStep::Pending) {
            (self.wake)();
        }
        step
    }
}

fn unloadable(error: &LoadError) -> String {
    format!("cannot load plugins: {error}")
}

/// Sends a message and wakes the loop; false if the reload was dropped.
fn send(messages: &SyncSender<ReaderMessage>, wake: &Wake, message: ReaderMessage) -> bool {
    let is_received = messages.send(message).is_ok();
    wake();
    is_received
}

fn finish(Loaded { host, broken }: Loaded) -> ReloadStep {
    if broken.is_empty() {
        return ReloadStep::Loaded(host);
    }
    ReloadStep::Failed(Some(host), broken.iter().map(ToString::to_string).collect())
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").field("dir", &self.options.dir).finish_non_exhaustive()
    }
}
