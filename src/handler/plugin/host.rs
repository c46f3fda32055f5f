//! The plugins together: who is asked, in which order, and what becomes of those who fail.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use log::{error, warn};

use super::bounds::FAILURES_MAX;
use super::failure::Failure;
use super::instance::{Answer, Hook, Instance};
use super::load::{LoadError, Loaded};
use super::meter::Measured;
use super::surroundings::Surroundings;
use super::{Client, Clock, PluginOptions, Verdict, load};

/// All plugins of one folder, ready to be asked.
pub struct PluginHost {
    /// In the order they are asked.
    plugins: Vec<Entry>,
    surroundings: Rc<Surroundings>,
}

/// A plugin and how it has behaved.
struct Entry {
    instance: Instance,
    /// Failures since the last call that went well.
    failures: u32,
}

impl Entry {
    /// Whether it is still called.
    fn is_on(&self) -> bool {
        self.failures < FAILURES_MAX
    }

    fn has(&self, hook: Hook) -> bool {
        self.is_on() && self.instance.has(hook)
    }
}

impl PluginHost {
    /// Loads every `*.lua` of the folder, in the order of their names: runs it, checks what it
    /// returns, and calls its `server_inited`. A file that fails is among the broken ones, and the
    /// others are loaded all the same.
    ///
    /// # Errors
    ///
    /// If there is no such folder, or it cannot be read.
    pub fn load(options: &PluginOptions, clock: Clock) -> Result<Loaded, LoadError> {
        load::folder(options, clock)
    }

    /// A host of these plugins. They are asked by priority, then by name.
    pub(super) fn new(mut instances: Vec<Instance>, surroundings: Rc<Surroundings>) -> Self {
        instances.sort_by(|a, b| (a.priority(), a.name()).cmp(&(b.priority(), b.name())));
        let plugins =
            instances.into_iter().map(|instance| Entry { instance, failures: 0 }).collect();
        PluginHost { plugins, surroundings }
    }

    /// The names of all plugins, in the order they are asked; those that are switched off too.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.plugins.iter().map(|entry| entry.instance.name())
    }

    /// Tells the plugins that the listeners are open.
    pub fn server_started(&mut self) {
        self.tell(Hook::ServerStarted, |instance| instance.server_started());
    }

    /// Tells the plugins that the server is about to stop.
    pub fn server_stopping(&mut self) {
        self.tell(Hook::ServerStopping, |instance| instance.server_stopping());
    }

    /// Tells the plugins that a client has come.
    pub fn client_connected(&mut self, client: &Client) {
        self.tell(Hook::ClientConnected, |instance| instance.client_connected(client));
    }

    /// Tells the plugins that a client has gone, and why.
    pub fn client_disconnected(&mut self, client: &Client, reason: &str) {
        self.tell(Hook::ClientDisconnected, |instance| {
            instance.client_disconnected(client, reason)
        });
    }

    /// Whether any plugin wants to hear of clients that come and go.
    #[must_use]
    pub fn wants_clients(&self) -> bool {
        let wants =
            |entry: &Entry| entry.has(Hook::ClientConnected) || entry.has(Hook::ClientDisconnected);
        self.plugins.iter().any(wants)
    }

    /// Asks one plugin after the other what to answer to `package`. The first that returns a string
    /// answers, and its bytes are appended to `out`; one that fails ends the asking.
    pub fn ask(&mut self, package: &[u8], client: &Client, out: &mut Vec<u8>) -> Verdict<'_> {
        let mut failed = None;
        for (at, entry) in self.plugins.iter_mut().enumerate() {
            if !entry.has(Hook::ProcessClientPkg) {
                continue;
            }
            let (answer, measured) = entry.instance.ask(package, client, out);
            note(
                entry,
                Hook::ProcessClientPkg,
                answer.as_ref().err(),
                measured,
                &self.surroundings,
            );
            match answer {
                Ok(Answer::Given) => return Verdict::Answered,
                Ok(Answer::None) => {}
                Err(_) => {
                    failed = Some(at);
                    break;
                }
            }
        }
        match failed {
            Some(at) => Verdict::Failed { plugin: self.plugins[at].instance.name() },
            None => Verdict::Nobody,
        }
    }

    /// Takes what plugins have asked to broadcast, in the order they asked. To be called after each
    /// call into the host: what waits counts against
    /// [`broadcast_bytes_max`](PluginOptions::broadcast_bytes_max).
    pub fn drain_broadcasts(&mut self) -> impl Iterator<Item = Vec<u8>> {
        self.surroundings.take_broadcasts().into_iter()
    }

    /// All time ever spent in plugins, by the clock the host was handed.
    #[must_use]
    pub fn spent(&self) -> Duration {
        self.surroundings.meter.spent()
    }

    /// Memory that all plugins hold at the moment, in bytes; what they no longer use and Lua has not
    /// collected counts.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.plugins.iter().map(|entry| entry.instance.memory_bytes()).sum()
    }

    /// Calls a hook of every plugin that has it. A plugin that fails stops none of the others.
    fn tell(
        &mut self,
        hook: Hook,
        mut call: impl FnMut(&mut Instance) -> (Result<(), Failure>, Measured),
    ) {
        for entry in self.plugins.iter_mut().filter(|entry| entry.has(hook)) {
            let (result, measured) = call(&mut entry.instance);
            note(entry, hook, result.err().as_ref(), measured, &self.surroundings);
        }
    }
}

impl fmt::Debug for PluginHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// Remembers and logs how a call went.
fn note(
    entry: &mut Entry,
    hook: Hook,
    failure: Option<&Failure>,
    measured: Measured,
    surroundings: &Surroundings,
) {
    let name = entry.instance.name();
    if let Some(why) = failure {
        error!("plugin {name}: {hook} failed: {why}");
        // What a client can bring about without the plugin's doing is not held against it.
        if !matches!(why, Failure::Package { .. }) {
            entry.failures += 1;
        }
        if !entry.is_on() {
            error!(
                "plugin {name} is switched off until it is reloaded: {FAILURES_MAX} failures in a row"
            );
        }
        return;
    }
    entry.failures = 0;
    if measured.took > surroundings.meter.budget() / 2 {
        warn!("plugin {name}: {hook} was slow: {} ms", measured.took.as_millis());
    }
}
