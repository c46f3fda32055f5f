//! Certificates of the listeners: read at start, for `--check`, and again at a reload; warned of
//! before they expire.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use log::warn;

use super::config::Config;
use crate::clock::Millis;
use crate::net::SocketTransport;
use crate::server::Server;
use crate::tls::{ServerFiles, ServerTls};

/// Time between two looks at the days certificates have left.
const EXPIRY_CHECK_MS: u64 = 24 * 3600 * 1000;

/// Reads every certificate and key and drops them again. Returns warnings, or an error for each
/// file that cannot be used.
pub(super) fn check(config: &Config) -> Result<Vec<String>, Vec<String>> {
    Certificates::read(config).map(|certificates| certificates.warnings())
}

/// The certificates of a server's listeners.
#[derive(Default)]
pub(super) struct Certificates {
    /// By their places in the configuration; `None` for a listener without TLS.
    layers: Vec<Option<ServerTls>>,
    check_at: Millis,
}

impl Certificates {
    /// Reads all files, each set of them once, however many listeners share it.
    ///
    /// # Errors
    ///
    /// For each file that cannot be used.
    pub(super) fn read(config: &Config) -> Result<Self, Vec<String>> {
        let files: Vec<_> = config.listeners.iter().map(|spec| config.tls_files(spec)).collect();
        let mut known: HashMap<&ServerFiles, ServerTls> = HashMap::new();
        let mut errors = Vec::new();
        for files in files.iter().flatten() {
            if known.contains_key(files) {
                continue;
            }
            match ServerTls::load(files) {
                Ok(layer) => {
                    known.insert(files, layer);
                }
                Err(error) => errors.push(error.to_string()),
            }
        }
        errors.dedup();
        if !errors.is_empty() {
            return Err(errors);
        }
        let layers = files.iter().map(|files| known.get(files.as_ref()?).cloned()).collect();
        Ok(Certificates { layers, check_at: Millis(EXPIRY_CHECK_MS) })
    }

    /// Warnings about those that have expired or will soon.
    pub(super) fn warnings(&self) -> Vec<String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        warnings_at(&self.layers, now)
    }

    /// Takes others into service. Those whose files are as they were stay, and with them the keys of
    /// their tickets. Returns a line for the log if any are not.
    pub(super) fn replace(&mut self, mut others: Certificates) -> Option<String> {
        let mut changed = Vec::new();
        for layer in others.layers.iter_mut().flatten() {
            match self.layers.iter().flatten().find(|old| old.has_same_files(layer)) {
                Some(old) => *layer = old.clone(),
                None => changed.push(layer.path().display().to_string()),
            }
        }
        self.layers = others.layers;
        changed.dedup();
        (!changed.is_empty()).then(|| format!("certificates reloaded: {}", changed.join(", ")))
    }

    /// Puts TLS under the listener at `place` of the configuration, if it is to have any.
    pub(super) fn attach(&self, place: usize, number: usize, server: &mut Server<SocketTransport>) {
        if let Some(Some(layer)) = self.layers.get(place) {
            server.set_layer(number, layer.clone());
        }
    }

    pub(super) fn due_at(&self) -> Option<Millis> {
        self.layers.iter().any(Option::is_some).then_some(self.check_at)
    }

    pub(super) fn on_due(&mut self, now: Millis) {
        if now >= self.check_at {
            self.check_at = now.after(EXPIRY_CHECK_MS);
            self.warnings().iter().for_each(|warning| warn!("{warning}"));
        }
    }
}

fn warnings_at(layers: &[Option<ServerTls>], now: Duration) -> Vec<String> {
    let layers = layers.iter().flatten();
    let mut warnings: Vec<String> =
        layers.filter_map(|layer| layer.warning(now)).map(|warning| warning.to_string()).collect();
    warnings.dedup();
    warnings
}
