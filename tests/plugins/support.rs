//! A folder of plugins made for one test, the host that loads it, and what is logged meanwhile.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mynah::conn_id::ConnId;
use mynah::protocol::plugin::{Client, Clock, HookResult, Loaded, PluginHost, PluginOptions};

/// A folder that goes with the test.
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

    pub fn options(&self) -> PluginOptions {
        PluginOptions {
            dir: self.0.clone(),
            // More than any machine is ever busy elsewhere.
            budget: Duration::from_secs(1),
            memory_bytes_max: 8 << 20,
            broadcast_bytes_max: 1 << 20,
        }
    }

    pub fn load(&self) -> Loaded {
        PluginHost::load(&self.options(), real_clock()).unwrap()
    }

    /// The host of plugins that are all well.
    pub fn host(&self) -> PluginHost {
        let Loaded { host, broken } = self.load();
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

pub fn real_clock() -> Clock {
    let start = Instant::now();
    Box::new(move || start.elapsed())
}

pub fn id(generation: u32) -> ConnId {
    ConnId { index: generation, generation }
}

/// Asks as client 17 and returns the answer as text, `None` or the name of the plugin that failed.
pub fn ask(host: &mut PluginHost, package: impl AsRef<[u8]>) -> Response {
    ask_as(host, package, &Client::new(id(17)))
}

pub fn ask_as(host: &mut PluginHost, package: impl AsRef<[u8]>, client: &Client) -> Response {
    let mut out = b"before ".to_vec();
    let said = match host.ask(package.as_ref(), client, &mut out) {
        HookResult::Answered => return Response::Answer(out.split_off(7)),
        HookResult::Unhandled => Response::Nothing,
        HookResult::Failed { plugin } => Response::Failed(plugin.to_owned()),
    };
    assert_eq!(out, b"before ", "no bytes without an answer");
    said
}

/// What the host had to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    Answer(Vec<u8>),
    Nothing,
    Failed(String),
}

/// The answer with these bytes.
pub fn answer(bytes: impl AsRef<[u8]>) -> Response {
    Response::Answer(bytes.as_ref().to_vec())
}

/// What this thread has logged since it was asked last, as `LEVEL text`.
pub fn logged() -> Vec<String> {
    LINES.with_borrow_mut(std::mem::take)
}

/// Begins to keep what this thread logs.
pub fn keep_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Keeper).unwrap();
        log::set_max_level(log::LevelFilter::Info);
    });
    logged();
}

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Keeper;

impl log::Log for Keeper {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}", record.level(), record.args());
        LINES.with_borrow_mut(|lines| lines.push(line));
    }

    fn flush(&self) {}
}

/// The names of what is in a folder, sorted.
pub fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
