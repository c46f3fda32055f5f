//! The example plugins answer what their comments promise to any packages, in bounded time and
//! memory.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use mynah::conn_id::ConnId;
use mynah::protocol::plugin::{Client, Clock, HookResult, PluginHost, PluginOptions};

/// The plugins, as they stand in docs/plugins.
const EXAMPLES: [(&str, &str); 3] = [
    ("calculator.lua", include_str!("../../docs/plugins/calculator.lua")),
    ("echo.lua", include_str!("../../docs/plugins/echo.lua")),
    ("file_transfer.lua", include_str!("../../docs/plugins/file_transfer.lua")),
];
/// The command the calculator answers to.
const CALCULATOR: u8 = 128;
/// Packages one input makes.
const PACKAGES_MAX: usize = 16;
const MEMORY_BYTES_MAX: usize = 1 << 20;
const BUDGET: Duration = Duration::from_millis(50);
/// What each look at the clock takes, by that clock.
const LOOK: Duration = Duration::from_micros(10);
/// Looks at the clock that may fall between the end of the budget and the end of the call: one for
/// each level of pcall that has to be left, and the last.
const LOOKS_LATE_MAX: u32 = 10;

/// Takes fuzzer input apart and checks it: packages, each of a byte for the command (0: it is not
/// framed), two for the length, and the bytes. A run of `\\x01`, a byte and a length of two bytes
/// stands for that many of the byte: inputs are short and packages may be long.
///
/// # Panics
///
/// When a plugin does not do what it is for, or the host does not keep its bounds.
pub fn run(data: &[u8]) {
    let options = PluginOptions {
        dir: FOLDER.with(Folder::clean),
        budget: BUDGET,
        memory_bytes_max: MEMORY_BYTES_MAX,
        broadcast_bytes_max: 1 << 20,
    };
    let loaded = PluginHost::load(&options, clock()).expect("there is such a folder");
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
    let answer = out.strip_prefix(b"kept").expect("what was there is kept");
    match result {
        HookResult::Answered => {}
        HookResult::Unhandled => assert_eq!(answer, b"", "nobody answers nothing"),
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
    // However many plugins were asked, all of them had one budget.
    let spent = host.spent() - before;
    assert!(spent <= BUDGET + LOOKS_LATE_MAX * LOOK, "{spent:?}");
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

/// A clock that goes on by itself with each look, the same way each time.
fn clock() -> Clock {
    let now = Cell::new(Duration::ZERO);
    Box::new(move || {
        now.set(now.get() + LOOK);
        now.get()
    })
}

thread_local! {
    static FOLDER: Folder = Folder::new();
}

/// This thread's copies of the examples.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let thread = std::thread::current().id();
        let name = format!("mynah-fuzz-plugins-{}-{thread:?}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a temporary folder");
        for (file, source) in EXAMPLES {
            fs::write(path.join(file), source).expect("room for a file");
        }
        Folder(path)
    }

    /// The folder, without the files of earlier inputs.
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
