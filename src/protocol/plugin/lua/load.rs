//! The plugin files of a folder: which there are, what they are called, what is wrong with them.
//! Reading them and running them are apart, so that a reload can read on a thread of its own.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use std::vec;

use super::call_budget::CallBudget;
use super::call_error::CallError;
use super::folder::Folders;
use super::instance::{Hook, Instance};
use super::limits::{NAME_LEN_MAX, PLUGIN_FILES_MAX, SOURCE_BYTES_MAX, START_BUDGETS};
use super::shared::{OutboxMark, Shared};
use super::{Clock, PluginHost, PluginOptions};
use crate::escape::Sanitized;

/// What loading a folder came to.
#[derive(Debug)]
pub struct Loaded {
    /// The plugins that are well.
    pub host: PluginHost,
    /// The files that are not, in the order of their names.
    pub broken: Vec<PluginError>,
}

/// A file that is no plugin. Displays as one line that names the file and, where Lua found the
/// error, its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginError {
    /// The file's name, without its folder, fit to be shown.
    pub file: String,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PluginError { file, reason } = self;
        // Lua begins its messages with file and line.
        match reason.strip_prefix(file.as_str()).and_then(|rest| rest.strip_prefix(':')) {
            Some(rest) => write!(f, "plugin {file}:{rest}"),
            None => write!(f, "plugin {file}: {reason}"),
        }
    }
}

impl std::error::Error for PluginError {}

/// Why a folder could not be loaded at all.
#[derive(Debug)]
pub enum LoadError {
    /// There is nothing of this name.
    Missing {
        /// The folder.
        dir: PathBuf,
    },
    /// There is something else of this name.
    NotAFolder {
        /// What was to be a folder.
        dir: PathBuf,
    },
    /// It has more plugin files than are read.
    TooManyFiles {
        /// The folder.
        dir: PathBuf,
    },
    /// It cannot be read.
    Unreadable {
        /// The folder.
        dir: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl LoadError {
    pub(super) fn new(dir: &Path, error: io::Error) -> Self {
        let dir = dir.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound => LoadError::Missing { dir },
            io::ErrorKind::NotADirectory => LoadError::NotAFolder { dir },
            _ => LoadError::Unreadable { dir, error },
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Missing { dir } => {
                write!(f, "plugin folder {}: there is none", dir.display())
            }
            LoadError::NotAFolder { dir } => {
                write!(f, "plugin folder {}: it is no folder", dir.display())
            }
            LoadError::TooManyFiles { dir } => {
                let dir = dir.display();
                write!(f, "plugin folder {dir}: more than {PLUGIN_FILES_MAX} plugin files")
            }
            LoadError::Unreadable { dir, error } => {
                write!(f, "plugin folder {}: {error}", dir.display())
            }
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LoadError::Unreadable { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Loads every plugin of a folder, for a server that serves nobody yet.
pub(super) fn folder(options: &PluginOptions, clock: Clock) -> Result<Loaded, LoadError> {
    let (folders, files) = open(&options.dir)?;
    let budget = options.budget.saturating_mul(START_BUDGETS);
    let mut loader = Loader::new(options, clock, budget, folders);
    for file in files {
        loader.run_file(&file);
        loader.init_plugin();
    }
    Ok(loader.finish())
}

/// Opens a folder and lists its plugin files. May wait for the disk.
pub(super) fn open(dir: &Path) -> Result<(Folders, PluginFiles), LoadError> {
    let paths = plugin_files(dir).map_err(|error| LoadError::new(dir, error))?;
    if paths.len() > PLUGIN_FILES_MAX {
        return Err(LoadError::TooManyFiles { dir: dir.to_owned() });
    }
    let folders = Folders::open(dir).map_err(|error| LoadError::new(dir, error))?;
    Ok((folders, PluginFiles(paths.into_iter())))
}

/// The `*.lua` of a folder, by name. Hidden files are not meant: editors leave them.
fn plugin_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.extension() == Some(OsStr::new("lua")) && !hidden {
            files.push(path);
            if files.len() > PLUGIN_FILES_MAX {
                break;
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Reads the plugin files of a folder, one at each [`next`](Iterator::next), which may wait for the
/// disk.
pub(super) struct PluginFiles(vec::IntoIter<PathBuf>);

impl Iterator for PluginFiles {
    type Item = PluginFile;

    fn next(&mut self) -> Option<PluginFile> {
        let path = self.0.next()?;
        Some(PluginFile {
            // A file may be called anything, and is named in logs.
            name: Sanitized(&path.file_name().unwrap_or_default().to_string_lossy()).to_string(),
            stem: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            source: read(&path),
        })
    }
}

/// A plugin file as it was read.
pub(super) struct PluginFile {
    /// Its name, without its folder, fit to be shown.
    name: String,
    /// Its name without `.lua`.
    stem: String,
    source: io::Result<Vec<u8>>,
}

/// Reads a plugin's source.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut source = Vec::new();
    File::open(path)?.take(SOURCE_BYTES_MAX + 1).read_to_end(&mut source)?;
    if source.len() as u64 > SOURCE_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {SOURCE_BYTES_MAX} bytes")));
    }
    Ok(source)
}

/// Makes plugins of files, one step at a time: [`run_file`](Self::run_file), then
/// [`start`](Self::start), for each.
pub(super) struct Loader {
    shared: Rc<Shared>,
    /// Most time a step may take.
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
    /// What waited to be broadcast before its file was run.
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
        debug_assert!(self.uninitialized.is_none(), "one plugin after the other");
        let mark = self.shared.outbox_mark();
        match self.load_instance(file) {
            Ok(instance) => {
                let waits = instance.has_hook(Hook::ServerInited);
                let plugin = Plugin { file: file.name.clone(), instance, mark };
                if waits { self.uninitialized = Some(plugin) } else { self.plugins.push(plugin) }
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

    /// Whether [`start`](Self::start) has something to do.
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

    /// All time spent so far.
    pub(super) fn spent(&self) -> Duration {
        self.shared.call_budget.spent()
    }

    /// What it came to.
    pub(super) fn finish(self) -> Loaded {
        let instances = self.plugins.into_iter().map(|plugin| plugin.instance).collect();
        Loaded { host: PluginHost::new(instances, self.shared), broken: self.broken }
    }
}

/// Checks a plugin's name, which is shown in logs and names a folder.
pub(super) fn check_name(name: &str) -> Result<(), CallError> {
    let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-');
    if (1..=NAME_LEN_MAX).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(());
    }
    Err(CallError::Lua(format!(
        "a plugin's name has 1 to {NAME_LEN_MAX} ASCII letters, digits, _ and -: {name:?} does not fit"
    )))
}
