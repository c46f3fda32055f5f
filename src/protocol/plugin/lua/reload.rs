//! Loading a folder's plugins anew beside the loop that serves: a thread reads the files, the loop
//! runs them, a step a turn, and the new plugins are there at once or not at all.

use std::fmt;
use std::io;
use std::mem;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use log::{error, info};

use super::folder::Folders;
use super::host::PluginHost;
use super::load::{Loaded, Loader};
use super::load_error::LoadError;
use super::options::{Clock, PluginOptions};
use super::plugin_file::{self, PluginFile};

/// Files that have been read and not run: the thread waits for the loop, so that a folder of large
/// files is never in memory as a whole.
const FILES_READ_AHEAD: usize = 1;

/// Plugins being loaded anew. Owned by whoever owns those in use, and does nothing of itself:
/// [`poll`](Self::poll) takes what the thread has read, [`step`](Self::step) works on it.
pub struct Reload {
    options: PluginOptions,
    state: State,
}

enum State {
    /// The thread has not been started.
    Waiting {
        clock: Clock,
        wake: Wake,
    },
    /// The thread lists the folder.
    Opening {
        clock: Clock,
        messages: Receiver<Message>,
        opened: Option<Message>,
    },
    /// Files come one by one.
    Loading {
        loader: Box<Loader>,
        messages: Receiver<Message>,
        next: Option<Message>,
    },
    Over,
}

/// Wakes the loop from another thread.
type Wake = Box<dyn Fn() + Send>;

/// What the thread tells the loop.
enum Message {
    /// There is such a folder; its files follow.
    Opened(Folders),
    File(PluginFile),
    /// There are no more.
    End,
    Failed(LoadError),
}

/// What a step came to.
#[derive(Debug)]
pub enum ReloadStep {
    /// There is more to do, now or when the thread has read more.
    Pending,
    /// All are well: these are the new plugins.
    Replace(PluginHost),
    /// The plugins in use stay; the log says why. Whoever was loaded is to be dropped.
    Keep(Option<PluginHost>),
}

impl Reload {
    /// A reload that has not begun. `wake` is called from another thread when [`poll`](Self::poll)
    /// has something to find.
    pub fn new(options: PluginOptions, clock: Clock, wake: impl Fn() + Send + 'static) -> Self {
        Reload { options, state: State::Waiting { clock, wake: Box::new(wake) } }
    }

    /// Starts to read the folder on a thread of its own. The thread ends with the files or with this
    /// value, whichever is first; one that the disk keeps waiting holds up nobody.
    ///
    /// # Errors
    ///
    /// The system has no thread to give.
    pub fn begin(&mut self) -> io::Result<()> {
        let State::Waiting { clock, wake } = mem::replace(&mut self.state, State::Over) else {
            return Ok(());
        };
        let (sender, messages) = sync_channel(FILES_READ_AHEAD);
        let dir = self.options.dir.clone();
        thread::Builder::new().name("plugin files".to_owned()).spawn(move || {
            let tell = |message| tell(&sender, &wake, message);
            match plugin_file::open(&dir) {
                Err(error) => tell(Message::Failed(error)),
                Ok((folders, mut files)) => {
                    tell(Message::Opened(folders))
                        && files.all(|file| tell(Message::File(file)))
                        && tell(Message::End)
                }
            }
        })?;
        self.state = State::Opening { clock, messages, opened: None };
        Ok(())
    }

    /// Takes what the thread has read, if it has.
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
                    Some(Message::Failed(LoadError::new(&self.options.dir, error)))
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

    /// All time spent in plugins so far.
    #[must_use]
    pub fn spent(&self) -> Duration {
        match &self.state {
            State::Loading { loader, .. } => loader.spent(),
            _ => Duration::ZERO,
        }
    }

    /// Does one thing: runs a file, or calls the `server_inited` of one. Takes no longer than a call
    /// of a plugin may.
    pub fn step(&mut self) -> ReloadStep {
        if let State::Loading { loader, next, .. } = &mut self.state {
            if loader.has_uninitialized() {
                loader.init_plugin();
                return ReloadStep::Pending;
            }
            if let Some(Message::File(file)) = next.take_if(|next| matches!(next, Message::File(_)))
            {
                loader.run_file(&file);
                return ReloadStep::Pending;
            }
        }
        match mem::replace(&mut self.state, State::Over) {
            State::Opening { clock, messages, opened: Some(Message::Opened(folders)) } => {
                let budget = self.options.budget;
                let loader = Box::new(Loader::new(&self.options, clock, budget, folders));
                self.state = State::Loading { loader, messages, next: None };
                ReloadStep::Pending
            }
            State::Loading { loader, next: Some(Message::End), .. } => finish(loader.finish()),
            State::Opening { opened: Some(Message::Failed(error)), .. } => {
                self.log_failure(&error);
                ReloadStep::Keep(None)
            }
            State::Loading { loader, next: Some(Message::Failed(error)), .. } => {
                self.log_failure(&error);
                ReloadStep::Keep(Some(loader.finish().host))
            }
            state => {
                self.state = state;
                ReloadStep::Pending
            }
        }
    }

    fn log_failure(&self, error: &LoadError) {
        let dir = self.options.dir.display();
        error!("cannot load plugins from {dir}: {error}; the plugins stay as they are");
    }
}

/// Hands a message to the loop and wakes it; false if it is no longer interested.
fn tell(messages: &SyncSender<Message>, wake: &Wake, message: Message) -> bool {
    let is_heard = messages.send(message).is_ok();
    wake();
    is_heard
}

fn finish(Loaded { host, broken }: Loaded) -> ReloadStep {
    for plugin in &broken {
        error!("{plugin}; the plugins stay as they are");
    }
    if !broken.is_empty() {
        return ReloadStep::Keep(Some(host));
    }
    info!("{}", host.summary());
    ReloadStep::Replace(host)
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").field("dir", &self.options.dir).finish_non_exhaustive()
    }
}
