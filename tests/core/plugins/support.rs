//! Shared by the tests of plugins: a folder of plugins, hosts and clocks for them, and the log.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::support::logger;
use mynah::internal::conn_id::ConnId;
use mynah::internal::protocol::plugin::{
    Client, Clock, HookResult, Loaded, PluginHost, PluginOptions,
};

/// A temporary plugin folder, removed when dropped.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(files: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mynah-plugins-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        for (file, text) in files {
            fs::write(path.join(file), text).unwrap();
        }
        Folder(path)
    }

    /// Plugins `p00`, `p01` and so on, all with this text, in which NAME is the plugin's name.
    pub fn numbered(count: usize, text: &str) -> Self {
        let folder = Folder::new(&[]);
        for number in 0..count {
            let name = format!("p{number:02}");
            fs::write(folder.path(&format!("{name}.lua")), text.replace("NAME", &name)).unwrap();
        }
        folder
    }

    pub fn options(&self) -> PluginOptions {
        PluginOptions {
            dir: self.0.clone(),
            // Longer than any machine is ever busy elsewhere.
            budget: Duration::from_secs(1),
            memory_bytes_max: 8 << 20,
            broadcast_bytes_max: 1 << 20,
        }
    }

    pub fn load(&self) -> Loaded {
        PluginHost::load(&self.options(), cpu_clock()).unwrap()
    }

    /// A host of all plugins, which must load.
    pub fn host(&self) -> PluginHost {
        self.host_with(|_| {})
    }

    /// A host with other options.
    pub fn host_with(&self, change: impl FnOnce(&mut PluginOptions)) -> PluginHost {
        self.host_on(cpu_clock(), change)
    }

    /// A host with another clock and other options.
    pub fn host_on(&self, clock: Clock, change: impl FnOnce(&mut PluginOptions)) -> PluginHost {
        let mut options = self.options();
        change(&mut options);
        let Loaded { host, broken } = PluginHost::load(&options, clock).unwrap();
        assert_eq!(broken, []);
        host
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The time that this thread has run: a budget is spent by a plugin, and not by what else the machine
/// does.
pub fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

pub fn cpu_clock() -> Clock {
    Box::new(cpu_time)
}

/// A simulated time, which advances by a step each time that one of its clocks is read.
#[derive(Clone)]
pub struct Time {
    now: Rc<Cell<Duration>>,
    step: Duration,
}

impl Time {
    pub fn stepping(step: Duration) -> Self {
        Time { now: Rc::default(), step }
    }

    /// A time that only [`set`](Self::set) changes.
    pub fn stopped() -> Self {
        Time::stepping(Duration::ZERO)
    }

    pub fn clock(&self) -> Clock {
        let time = self.clone();
        Box::new(move || {
            time.now.set(time.now.get() + time.step);
            time.now.get()
        })
    }

    pub fn get(&self) -> Duration {
        self.now.get()
    }

    pub fn set(&self, now: Duration) {
        self.now.set(now);
    }
}

pub fn id(generation: u32) -> ConnId {
    ConnId { index: generation, generation }
}

/// Asks as client 17.
pub fn ask(host: &mut PluginHost, package: impl AsRef<[u8]>) -> Response {
    ask_as(host, package, &Client::new(id(17)))
}

pub fn ask_as(host: &mut PluginHost, package: impl AsRef<[u8]>, client: &Client) -> Response {
    let mut out = b"before ".to_vec();
    let response = match host.ask(package.as_ref(), client, &mut out) {
        HookResult::Answered => return Response::Answer(out.split_off(7)),
        HookResult::Unhandled => Response::Unhandled,
        HookResult::Failed { plugin } => Response::Failed(plugin.to_owned()),
    };
    assert_eq!(out, b"before ", "no bytes without an answer");
    response
}

/// The host's response to a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    Answer(Vec<u8>),
    Unhandled,
    /// The name of the plugin that failed.
    Failed(String),
}

impl Response {
    /// The text of an answer.
    #[track_caller]
    pub fn text(self) -> String {
        let Response::Answer(bytes) = self else { panic!("{self:?}") };
        String::from_utf8(bytes).unwrap()
    }
}

/// The answer with these bytes.
pub fn answer(bytes: impl AsRef<[u8]>) -> Response {
    Response::Answer(bytes.as_ref().to_vec())
}

/// Takes this thread's log lines so far, as `LEVEL text`.
pub fn logged() -> Vec<String> {
    let lines = logger::take_lines().into_iter();
    lines.map(|(level, text)| format!("{level} {text}")).collect()
}

/// Begins to capture this thread's log lines.
pub fn capture_log() {
    logger::capture();
}

/// The names of a folder's entries, sorted.
pub fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
