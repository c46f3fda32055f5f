//! Loads plugins from files that have been read, one step at a time, so that a reload can take a
//! step a turn. Reading is apart, in `plugin_file`, so that it can have a thread of its own.

use std::rc::Rc;
use std::time::Duration;

use super::call_budget::CallBudget;
use super::call_error::CallError;
use super::folder::Folders;
use super::host::PluginHost;
use super::instance::{Hook, Instance};
use super::limits::START_BUDGETS;
use super::load_error::{LoadError, PluginError};
use super::options::{Clock, PluginOptions};
use super::plugin_file::{self, PluginFile};
use super::shared::{OutboxMark, Shared};

/// The result of loading a folder.
#[derive(Debug)]
pub struct Loaded {
    /// The plugins that loaded.
    pub host: PluginHost,
    /// The errors of those that did not, in the order of their files' names.
    pub broken: Vec<PluginError>,
}

impl PluginHost {
    /// Loads every `*.lua` of the folder, in the order of their names: runs it, checks what it
    /// returns, and calls its `server_inited`. The error of a file that fails is in
    /// [`broken`](Loaded::broken), and the others are loaded. Blocks until all are: a server that
    /// has clients uses [`Reload`](super::Reload).
    ///
    /// # Errors
    ///
    /// The folder does not exist or cannot be read.
    pub fn load(options: &PluginOptions, clock: Clock) -> Result<Loaded, LoadError> {
        let (folders, files) = plugin_file::open(&options.dir)?;
        let budget = options.budget.saturating_mul(START_BUDGETS);
        let mut loader = Loader::new(options, clock, budget, folders);
        for file in files {
            loader.run_file(&file);
            loader.init_plugin();
        }
        Ok(loader.finish())
    }
}

/// Loads plugins in two steps each: [`run_file`](Self::run_file), then
/// [`init_plugin`](Self::init_plugin).
pub(super) struct Loader {
    shared: Rc<Shared>,
    /// Longest time of a step.
    budget: Duration,
    /// The plugin whose file has been run and whose `server_inited` is still to be called.
    uninitialized: Option<Plugin>,
    plugins: Vec<Plugin>,
    broken: Vec<PluginError>,
}

/// A plugin and the file it comes from.
struct Plugin {
    file: String,
    instance: Instance,
    /// The queued broadcasts before its file was run.
    mark: OutboxMark,
}

impl Loader {
    pub(super) fn new(
        options: &PluginOptions,
        clock: Clock,
        budget: Duration,
        folders: Folders,
    ) -> Self {
        let shared = Shared::new(
            CallBudget::new(clock, options.budget),
            options.memory_bytes_max,
            options.broadcast_bytes_max,
            Some(folders),
        );
        Loader {
            shared: Rc::new(shared),
            budget,
            uninitialized: None,
            plugins: Vec::new(),
            broken: Vec::new(),
        }
    }

    /// Compiles and runs a file, and checks what it returns.
    pub(super) fn run_file(&mut self, file: &PluginFile) {
        debug_assert!(self.uninitialized.is_none(), "the plugin before was initialized");
        let mark = self.shared.outbox_mark();
        match self.load_instance(file) {
            Ok(instance) => {
                let has_init = instance.has_hook(Hook::ServerInited);
                let plugin = Plugin { file: file.name.clone(), instance, mark };
                if has_init { self.uninitialized = Some(plugin) } else { self.plugins.push(plugin) }
            }
            Err(error) => self.add_broken(file.name.clone(), mark, &error),
        }
    }

    fn load_instance(&self, file: &PluginFile) -> Result<Instance, CallError> {
        let source = file.source.as_ref().map_err(|error| CallError::Lua(error.to_string()))?;
        let PluginFile { name, stem, .. } = file;
        let instance = Instance::run_file(name, stem, source, self.budget, &self.shared)?;
        let name = instance.name();
        match self.plugins.iter().find(|other| other.instance.name() == name) {
            Some(other) => {
                Err(CallError::Lua(format!("the name {name} is taken by {}", other.file)))
            }
            None => Ok(instance),
        }
    }

    /// Whether [`init_plugin`](Self::init_plugin) has a plugin to initialize.
    pub(super) fn has_uninitialized(&self) -> bool {
        self.uninitialized.is_some()
    }

    /// Calls `server_inited` of the plugin whose file has been run.
    pub(super) fn init_plugin(&mut self) {
        let Some(mut plugin) = self.uninitialized.take() else { return };
        match plugin.instance.server_inited(self.budget) {
            Ok(()) => self.plugins.push(plugin),
            Err(error) => self.add_broken(plugin.file, plugin.mark, &error),
        }
    }

    fn add_broken(&mut self, file: String, mark: OutboxMark, error: &CallError) {
        self.shared.drop_broadcasts_since(mark);
        self.broken.push(PluginError { file, reason: error.to_string() });
    }

    /// Time of all calls so far.
    pub(super) fn spent(&self) -> Duration {
        self.shared.call_budget.spent()
    }

    /// The result.
    pub(super) fn finish(self) -> Loaded {
        let instances = self.plugins.into_iter().map(|plugin| plugin.instance).collect();
        Loaded { host: PluginHost::new(instances, self.shared), broken: self.broken }
    }
}
