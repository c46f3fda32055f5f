//! The example plugins answer any packages as documented, in bounded time and memory.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use mynah::internal::conn_id::ConnId;
use mynah::internal::protocol::plugin::{Client, Clock, HookResult, PluginHost, PluginOptions};

/// The plugins of docs/plugins.
const EXAMPLES: [(&str, &str); 3] = [
    ("calculator.lua", include_str!("../../docs/plugins/calculator.lua")),
    ("echo.lua", include_str!("../../docs/plugins/echo.lua")),
    ("file_transfer.lua", include_str!("../../docs/plugins/file_transfer.lua")),
];
/// The command of the calculator.
const CALCULATOR: u8 = 128;
/// Most packages of one input.
const PACKAGES_MAX: usize = 16;
const MEMORY_BYTES_MAX: usize = 1 << 20;
const BUDGET: Duration = Duration::from_millis(50);
/// Step of the simulated clock, which advances with each read.
const CLOCK_STEP: Duration = Duration::from_micros(10);
/// Most reads of the clock between the end of the budget and the end of the call: one for each
/// level of `pcall` that is left, and the last.
const LATE_READS_MAX: u32 = 10;

/// Parses fuzzer input as packages and checks the answers. A package is a byte for the command (0:
/// not framed), two for the length, and its bytes. In these, `\\x01`, a byte and a length of two
/// bytes stand for that many of the byte, so that short inputs make long packages.
///
/// # Panics
///
/// If a plugin answers wrongly, or the host exceeds its bounds.
pub fn run(data: &[u8]) {
    let options = PluginOptions {
        dir: FOLDER.with(Folder::clean),
        budget: BUDGET,
        memory_bytes_max: MEMORY_BYTES_MAX,
        broadcast_bytes_max: 1 << 20,
    };
    let loaded = PluginHost::load(&options, clock()).expect("the folder exists");
    assert_eq!(loaded.broken, []);
    let mut host = loaded.host;
    for (number, (command, package)) in packages(data).into_iter().enumerate() {
        let id = ConnId { index: 0, generation: number as u32 / 2 };
        let client = Client { command, ..Client::new(id) };
        check(&mut host, &package, &client);
    }
}

fn check(host: &mut PluginHost, package: &[u8], client: &Client) {
    let before = host.spent();
    let mut out = b"kept".to_vec();
    let result = host.ask(package, client, &mut out);
    let answer = out.strip_prefix(b"kept").expect("the output before is kept");
    match result {
        HookResult::Answered => {}
        HookResult::Unhandled => assert_eq!(answer, b"", "no answer without a plugin"),
        HookResult::Failed { plugin } => panic!("{plugin} failed"),
    }
    let answered = result == HookResult::Answered;
    if client.command == Some(CALCULATOR) {
        assert!(answered && !answer.is_empty() && answer.is_ascii(), "{answer:?}");
    } else if let Some(text) = package.strip_prefix(b"ECHO ") {
        assert!(answered && answer == text, "{answer:?}");
    } else if package.starts_with(b"zt_") {
        let error = answer.starts_with(b"ERROR ");
        let uploaded = package.starts_with(b"zt_UPLOAD") && answered;
        assert!(!uploaded || error || answer == b"OK", "{answer:?}");
    } else {
        assert!(!answered, "{answer:?}");
    }
    // All plugins together have one budget.
    let spent = host.spent() - before;
    assert!(spent <= BUDGET + LATE_READS_MAX * CLOCK_STEP, "{spent:?}");
    assert!(host.memory_bytes() <= EXAMPLES.len() * MEMORY_BYTES_MAX);
    assert_eq!(host.drain_broadcasts().count(), 0);
}

fn packages(mut rest: &[u8]) -> Vec<(Option<u8>, Vec<u8>)> {
    let mut packages = Vec::new();
    while let [command, high, low, after @ ..] = rest
        && packages.len() < PACKAGES_MAX
    {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let command = (*command != 0).then_some(*command);
        packages.push((command, expand(&after[..len])));
        rest = &after[len..];
    }
    packages
}

fn expand(mut rest: &[u8]) -> Vec<u8> {
    let mut package = Vec::new();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (1, [filler, high, low, after @ ..]) => {
                let len = usize::from(u16::from_be_bytes([*high, *low])) % 5_000;
                package.extend(std::iter::repeat_n(*filler, len));
                rest = after;
            }
            _ => package.push(byte),
        }
    }
    package.truncate(40_000);
    package
}

/// A clock that advances with each read, so that every run is the same.
fn clock() -> Clock {
    let now = Cell::new(Duration::ZERO);
    Box::new(move || {
        now.set(now.get() + CLOCK_STEP);
        now.get()
    })
}

thread_local! {
    static FOLDER: Folder = Folder::new();
}

/// A temporary folder with copies of the examples.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let thread = std::thread::current().id();
        let name = format!("mynah-fuzz-plugins-{}-{thread:?}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a temporary folder");
        for (file, source) in EXAMPLES {
            fs::write(path.join(file), source).expect("the file can be written");
        }
        Folder(path)
    }

    /// Removes the files of earlier inputs, and returns the folder.
    fn clean(&self) -> PathBuf {
        let _ = fs::remove_dir_all(self.0.join("file_transfer"));
        self.0.clone()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
