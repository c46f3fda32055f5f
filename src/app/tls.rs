//! Certificates of the listeners: read at start, for `--check`, and again at a reload; warned of
//! before they expire.

use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, SystemTime};

use log::{error, info, warn};

use super::config::Config;
use crate::clock::Millis;
use crate::net::{EventLoop, Handle, SocketTransport};
use crate::server::Server;
use crate::strerror::strerror;
use crate::tls::{ServerFiles, ServerTls};

/// Time between two looks at the days certificates have left.
const EXPIRY_CHECK_MS: u64 = 24 * 3600 * 1000;

/// The files of each listener, by its place in the configuration; `None` where it has no TLS.
type Files = Vec<Option<ServerFiles>>;

/// The certificates of listeners, by their places in the configuration.
struct Loaded {
    layers: Vec<Option<ServerTls>>,
    warnings: Vec<String>,
}

/// Reads every certificate and key and drops them again. Returns warnings, or an error for each
/// file that cannot be used.
pub(super) fn check(config: &Config) -> Result<Vec<String>, Vec<String>> {
    load(&files(config)).map(|loaded| loaded.warnings)
}

/// The certificates of a running server.
pub(super) struct Certificates {
    files: Files,
    layers: Vec<Option<ServerTls>>,
    /// The numbers of the listeners, by their places in the configuration.
    numbers: Vec<Option<usize>>,
    /// Wakes the loop when a reload is done.
    handle: Option<Handle>,
    /// Warnings to be logged at the start.
    warnings: Vec<String>,
    /// A reload that has begun.
    reloading: Option<Receiver<Result<Loaded, Vec<String>>>>,
    /// Result of a reload, to be taken up.
    reloaded: Option<Result<Loaded, Vec<String>>>,
    check_at: Millis,
}

impl Certificates {
    /// Reads the files of a server that starts.
    ///
    /// # Errors
    ///
    /// For each file that cannot be used.
    pub(super) fn load(config: &Config) -> Result<Self, Vec<String>> {
        let files = files(config);
        let Loaded { layers, warnings } = load(&files)?;
        Ok(Certificates {
            numbers: vec![None; files.len()],
            files,
            layers,
            handle: None,
            warnings,
            reloading: None,
            reloaded: None,
            check_at: Millis(EXPIRY_CHECK_MS),
        })
    }

    /// The server starts, in the loop that `handle` wakes.
    pub(super) fn start(&mut self, handle: Handle) {
        self.handle = Some(handle);
        self.warnings.drain(..).for_each(|warning| warn!("{warning}"));
    }

    /// The listener at `place` of the configuration has been added to the loop as the last one.
    pub(super) fn attach(&mut self, place: usize, event_loop: &mut EventLoop) {
        let server = event_loop.server_mut();
        if let Some(layer) = &self.layers[place] {
            let number = server.listener_count() - 1;
            server.set_layer(number, layer.clone());
            self.numbers[place] = Some(number);
        }
    }

    /// Whether any listener has TLS.
    fn is_any(&self) -> bool {
        self.files.iter().any(Option::is_some)
    }

    /// Begins to read all files anew, on a thread of its own: a disk may be slow. Either all of
    /// them replace the old ones or none does.
    pub(super) fn reload(&mut self) {
        let Some(handle) = self.handle.clone().filter(|_| self.is_any()) else { return };
        let (sender, receiver) = mpsc::channel();
        let files = self.files.clone();
        let read = move || {
            let _ = sender.send(load(&files));
            handle.wake();
        };
        match thread::Builder::new().name("mynah-certs".to_owned()).spawn(read) {
            Ok(_) => self.reloading = Some(receiver),
            Err(error) => error!("certificates not reloaded: {}", strerror(&error)),
        }
    }

    /// Whether a reload has begun and is not over.
    #[cfg(feature = "systemd")]
    pub(super) fn is_reloading(&self) -> bool {
        self.reloading.is_some() || self.reloaded.is_some()
    }

    /// The loop was woken: a reload may be done.
    pub(super) fn on_wake(&mut self) {
        match self.reloading.as_ref().map(Receiver::try_recv) {
            Some(Ok(result)) => self.reloaded = Some(result),
            Some(Err(TryRecvError::Empty)) | None => return,
            Some(Err(TryRecvError::Disconnected)) => error!("certificates not reloaded"),
        }
        self.reloading = None;
    }

    pub(super) fn due_at(&self) -> Option<Millis> {
        match self.reloaded {
            Some(_) => Some(Millis(0)),
            None => self.is_any().then_some(self.check_at),
        }
    }

    pub(super) fn on_due(&mut self, server: &mut Server<SocketTransport>, now: Millis) {
        match self.reloaded.take() {
            Some(Ok(loaded)) => self.replace(loaded, server),
            Some(Err(reasons)) => {
                for reason in reasons {
                    error!("{reason}; the certificates stay as they were");
                }
            }
            None => {}
        }
        if now >= self.check_at {
            self.check_at = now.after(EXPIRY_CHECK_MS);
            let layers = self.layers.iter().flatten();
            layers.filter_map(|layer| layer.warning(since_epoch())).for_each(|w| warn!("{w}"));
        }
    }

    fn replace(&mut self, loaded: Loaded, server: &mut Server<SocketTransport>) {
        loaded.warnings.iter().for_each(|warning| warn!("{warning}"));
        self.layers = loaded.layers;
        for (number, layer) in self.numbers.iter().zip(&self.layers) {
            if let (Some(number), Some(layer)) = (number, layer) {
                server.set_layer(*number, layer.clone());
            }
        }
        info!("certificates reloaded");
    }
}

fn files(config: &Config) -> Files {
    config.listeners.iter().map(|spec| config.tls_files(spec)).collect()
}

/// Reads each set of files once, however many listeners share it.
fn load(files: &Files) -> Result<Loaded, Vec<String>> {
    let mut known: HashMap<&ServerFiles, ServerTls> = HashMap::new();
    let (mut warnings, mut errors) = (Vec::new(), Vec::new());
    let now = since_epoch();
    for files in files.iter().flatten() {
        if known.contains_key(files) {
            continue;
        }
        match ServerTls::load(files) {
            Ok(layer) => {
                warnings.extend(layer.warning(now).map(|warning| warning.to_string()));
                known.insert(files, layer);
            }
            Err(error) => errors.push(error.to_string()),
        }
    }
    warnings.dedup();
    errors.dedup();
    if !errors.is_empty() {
        return Err(errors);
    }
    let layers = files.iter().map(|files| known.get(files.as_ref()?).cloned()).collect();
    Ok(Loaded { layers, warnings })
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
