//! The plugin files of a folder: which there are, what they are called, what is wrong with them.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::bounds::{NAME_LEN_MAX, SOURCE_BYTES_MAX};
use super::failure::Failure;
use super::folder::Folders;
use super::instance::Instance;
use super::meter::Meter;
use super::surroundings::Surroundings;
use super::{Clock, PluginHost, PluginOptions};
use crate::handler::Shown;

/// What loading a folder came to.
#[derive(Debug)]
pub struct Loaded {
    /// The plugins that are well.
    pub host: PluginHost,
    /// The files that are not, in the order of their names.
    pub broken: Vec<BrokenPlugin>,
}

/// A file that is no plugin. Displays as one line that names the file and, where Lua found the
/// error, its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenPlugin {
    /// The file's name, without its folder, fit to be shown.
    pub file: String,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for BrokenPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BrokenPlugin { file, why } = self;
        // Lua begins its messages with file and line.
        match why.strip_prefix(file.as_str()).and_then(|rest| rest.strip_prefix(':')) {
            Some(rest) => write!(f, "plugin {file}:{rest}"),
            None => write!(f, "plugin {file}: {why}"),
        }
    }
}

impl std::error::Error for BrokenPlugin {}

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
    /// It cannot be read.
    Unreadable {
        /// The folder.
        dir: PathBuf,
        /// What the system says.
        why: io::Error,
    },
}

impl LoadError {
    fn new(dir: &Path, why: io::Error) -> Self {
        let dir = dir.to_owned();
        match why.kind() {
            io::ErrorKind::NotFound => LoadError::Missing { dir },
            io::ErrorKind::NotADirectory => LoadError::NotAFolder { dir },
            _ => LoadError::Unreadable { dir, why },
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
            LoadError::Unreadable { dir, why } => {
                write!(f, "plugin folder {}: {why}", dir.display())
            }
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LoadError::Unreadable { why, .. } => Some(why),
            _ => None,
        }
    }
}

/// Loads every plugin of a folder.
pub(super) fn folder(options: &PluginOptions, clock: Clock) -> Result<Loaded, LoadError> {
    let files = plugin_files(&options.dir).map_err(|why| LoadError::new(&options.dir, why))?;
    let folders = Folders::open(&options.dir).map_err(|why| LoadError::new(&options.dir, why))?;
    let surroundings = Rc::new(Surroundings::new(
        Meter::new(clock, options.budget),
        options.memory_bytes_max,
        options.broadcast_bytes_max,
        folders,
    ));
    let (mut instances, mut broken) = (Vec::<(String, Instance)>::new(), Vec::new());
    for path in files {
        // A file may be called anything, and is named in logs.
        let file = Shown(&path.file_name().unwrap_or_default().to_string_lossy()).to_string();
        let loaded = load(&path, &file, &surroundings).and_then(|instance| {
            match instances.iter().find(|(_, other)| other.name() == instance.name()) {
                Some((other, _)) => {
                    let name = instance.name();
                    Err(Failure::Lua(format!("the name {name} is taken by {other}")))
                }
                None => Ok(instance),
            }
        });
        match loaded {
            Ok(instance) => instances.push((file, instance)),
            Err(why) => broken.push(BrokenPlugin { file, why: why.to_string() }),
        }
    }
    let instances = instances.into_iter().map(|(_, instance)| instance).collect();
    Ok(Loaded { host: PluginHost::new(instances, surroundings), broken })
}

/// The `*.lua` of a folder, by name. Hidden files are not meant: editors leave them.
fn plugin_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.extension() == Some(OsStr::new("lua")) && !hidden {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn load(path: &Path, file: &str, surroundings: &Rc<Surroundings>) -> Result<Instance, Failure> {
    let source = read(path).map_err(|why| Failure::Lua(why.to_string()))?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    Instance::load(file, &stem, &source, surroundings)
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

/// Checks a plugin's name, which is shown in logs and names a folder.
pub(super) fn check_name(name: &str) -> Result<(), Failure> {
    let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-');
    if (1..=NAME_LEN_MAX).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(());
    }
    Err(Failure::Lua(format!(
        "a plugin's name has 1 to {NAME_LEN_MAX} ASCII letters, digits, _ and -: {name:?} does not fit"
    )))
}
