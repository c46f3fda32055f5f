//! The servers: programs, command lines, versions, and the reason if one is skipped. Yardsticks and
//! variants of mynah are built; peers must be installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{collections::BTreeMap, env};

use crate::protocol::WireProtocol;
use crate::server_process::{ServerProcess, free_addr};

/// A server that can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Server {
    /// The C echo and the C fan-out: the programs that `CECHO` and `CFAN` name, else those of
    /// `tests/bench/yardstick/`.
    CEcho,
    CFan,
    /// Those of `tests/bench/yardstick/`.
    OwnEcho,
    OwnFan,
    /// The frame loop of the same folder, which is not a server.
    CDecode,
    /// The release build, and the one without default features.
    Mynah,
    Bare,
    /// Statically linked with glibc, and with musl.
    Static,
    Musl,
    /// `tests/bench/tokio-server/`.
    Tokio,
    Redis,
    Memcached,
    Mosquitto,
    Nats,
}

use Server::*;

/// Connection limit of servers that have such a setting.
const CONNECTIONS_MAX: &str = "19900";

impl Server {
    pub(crate) fn name(self) -> &'static str {
        match self {
            CEcho => "C echo",
            CFan => "C fan-out",
            OwnEcho => "C echo of the tree",
            OwnFan => "C fan-out of the tree",
            CDecode => "C loop",
            Mynah => "mynah",
            Bare => "mynah, no plugins",
            Static => "mynah, static",
            Musl => "mynah, static (musl)",
            Tokio => "tokio + codec",
            Redis => "Redis",
            Memcached => "memcached",
            Mosquitto => "mosquitto",
            Nats => "NATS",
        }
    }

    fn protocol(self) -> WireProtocol {
        match self {
            CEcho | OwnEcho | Mynah | Bare | Static | Musl | Tokio => WireProtocol::Command,
            CFan | OwnFan | CDecode => WireProtocol::Unframed,
            Redis => WireProtocol::Redis,
            Memcached => WireProtocol::Memcached,
            Mosquitto => WireProtocol::Mqtt,
            Nats => WireProtocol::Nats,
        }
    }
}

/// Programs of the servers.
pub(crate) struct Servers {
    /// `bench` in Cargo's target directory, for all that is built and written.
    dir: PathBuf,
    /// The program of each server asked for, or the reason why it is skipped.
    programs: BTreeMap<Server, Result<PathBuf, String>>,
}

impl Servers {
    pub(crate) fn new() -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("bench");
        fs::create_dir_all(&dir).unwrap();
        Servers { dir, programs: BTreeMap::new() }
    }

    /// Folder for builds and other files.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The servers of `wanted` that this machine has.
    pub(crate) fn present(&mut self, wanted: &[Server]) -> Vec<Server> {
        wanted.iter().copied().filter(|server| self.program(*server).is_some()).collect()
    }

    pub(crate) fn program(&mut self, server: Server) -> Option<PathBuf> {
        if !self.programs.contains_key(&server) {
            let found = find(server, &self.dir);
            self.programs.insert(server, found);
        }
        self.programs[&server].clone().ok()
    }

    /// Servers that were skipped, with the reasons.
    pub(crate) fn skipped(&self) -> Vec<(&'static str, &str)> {
        let all = self.programs.iter().map(|(server, found)| (server.name(), found));
        all.filter_map(|(name, found)| Some((name, found.as_ref().err()?.as_str()))).collect()
    }

    /// Servers that were measured, with their versions.
    pub(crate) fn versions(&self) -> Vec<(&'static str, String)> {
        let present = self.programs.iter().filter_map(|(s, p)| Some((*s, p.as_ref().ok()?)));
        present.map(|(server, program)| (server.name(), version(server, program))).collect()
    }

    /// Starts a server that is present.
    pub(crate) fn start(&mut self, server: Server) -> ServerProcess {
        let addr = free_addr();
        let port = addr.port().to_string();
        let mut command = Command::new(self.program(server).unwrap());
        command.current_dir(&self.dir);
        match server {
            CEcho | CFan | OwnEcho | OwnFan | CDecode | Tokio => command.arg(port),
            Mynah | Bare | Static | Musl => {
                command.args(["--listen", &format!("command://{addr}")])
            }
            // No protected mode, because the load looks like an attack; no persistence.
            Redis => command.args([
                "--port",
                &port,
                "--bind",
                "127.0.0.1",
                "--protected-mode",
                "no",
                "--maxclients",
                CONNECTIONS_MAX,
                "--save",
                "",
                "--appendonly",
                "no",
            ]),
            Memcached => command
                .args(["-u", "nobody", "-l", "127.0.0.1", "-U", "0", "-t", "1"])
                .args(["-c", CONNECTIONS_MAX, "-p", &port]),
            Mosquitto => command.arg("-c").arg(mosquitto_config(&self.dir, &port)),
            Nats => command.args(["-a", "127.0.0.1", "-p", &port]),
        };
        ServerProcess::start(server.name(), server.protocol(), addr, &mut command)
    }
}

/// Configuration of mosquitto, which only reads a file: anonymous clients, unlimited queues.
fn mosquitto_config(dir: &Path, port: &str) -> PathBuf {
    let path = dir.join("mosquitto.conf");
    let lines = [
        &format!("listener {port} 127.0.0.1"),
        "allow_anonymous true",
        "set_tcp_nodelay true",
        "max_queued_messages 0",
        "max_inflight_messages 0",
        "log_type none",
    ];
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    path
}

fn find(server: Server, dir: &Path) -> Result<PathBuf, String> {
    match server {
        Mynah => Ok(env!("CARGO_BIN_EXE_mynah").into()),
        CEcho => named("CECHO").unwrap_or_else(|| compiled("echo", dir)),
        CFan => named("CFAN").unwrap_or_else(|| compiled("fan", dir)),
        OwnEcho => compiled("echo", dir),
        OwnFan => compiled("fan", dir),
        CDecode => compiled("decode", dir),
        Tokio => {
            let manifest = root().join("tests/bench/tokio-server/Cargo.toml");
            let path = manifest.to_string_lossy().into_owned();
            cargo(dir, &["--manifest-path", &path], None)?;
            Ok(dir.join("release/tokio-server"))
        }
        Bare => {
            cargo(dir, &["--bin", "mynah", "--no-default-features"], None)?;
            Ok(dir.join("release/mynah"))
        }
        Static => static_build(dir, "gnu"),
        Musl => static_build(dir, "musl"),
        Redis => installed("redis-server"),
        Memcached => installed("memcached"),
        Mosquitto => installed("mosquitto"),
        Nats => installed("nats-server"),
    }
}

/// The program that an environment variable names.
fn named(variable: &str) -> Option<Result<PathBuf, String>> {
    let path = env::var_os(variable)?;
    Some(fs::canonicalize(path).map_err(|error| format!("{variable}: {error}")))
}

/// Compiles a yardstick of this tree.
fn compiled(name: &str, dir: &Path) -> Result<PathBuf, String> {
    let source = root().join(format!("tests/bench/yardstick/{name}.c"));
    let program = dir.join(format!("yardstick-{name}"));
    let mut command = Command::new("cc");
    run(command.arg("-O3").arg("-o").arg(&program).arg(source))?;
    Ok(program)
}

/// Builds as docs/operations.md describes. The target is named even if it is the host: otherwise
/// RUSTFLAGS would apply to build scripts and procedural macros, which cannot be static.
fn static_build(dir: &Path, libc: &str) -> Result<PathBuf, String> {
    let target = format!("{}-unknown-linux-{libc}", env::consts::ARCH);
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let libdir = run(rustc.args(["--print", "target-libdir", "--target", &target]))?;
    if !Path::new(libdir.trim()).exists() {
        return Err(format!("the target {target} is not installed"));
    }
    let args = ["--bin", "mynah", "--no-default-features", "--target", &target];
    cargo(dir, &args, Some("-C target-feature=+crt-static"))?;
    Ok(dir.join(target).join("release/mynah"))
}

fn cargo(dir: &Path, args: &[&str], flags: Option<&str>) -> Result<(), String> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--release", "--locked"]).args(args);
    command.arg("--target-dir").arg(dir).current_dir(root());
    if let Some(flags) = flags {
        command.env("RUSTFLAGS", flags);
    }
    run(&mut command).map(drop)
}

/// A program in PATH, or in /usr/sbin, where Debian installs servers.
fn installed(name: &str) -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = places.map(|place| place.join(name)).find(|program| program.is_file());
    found.ok_or_else(|| format!("{name} is not installed"))
}

/// Standard output of a command, or the first error it prints.
fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let first = text.lines().find(|line| line.contains("error")).unwrap_or("it failed");
    Err(format!("{program}: {first}"))
}

fn version(server: Server, program: &Path) -> String {
    let flag = match server {
        CEcho if env::var_os("CECHO").is_some() => return "of CECHO".to_owned(),
        CFan if env::var_os("CFAN").is_some() => return "of CFAN".to_owned(),
        CEcho | CFan | OwnEcho | OwnFan | CDecode => return "by cc -O3".to_owned(),
        Tokio => return locked_version("tokio"),
        Mosquitto => "-h",
        Memcached => "-V",
        _ => "--version",
    };
    // mosquitto's help exits with an error, so the status is ignored.
    let output = Command::new(program).arg(flag).output().map(|output| output.stdout);
    let text = String::from_utf8_lossy(&output.unwrap_or_default()).into_owned();
    let digits = |word: &&str| word.contains('.') && word.contains(|c: char| c.is_ascii_digit());
    let word = text.split_whitespace().find(digits).unwrap_or("of no known version");
    word.trim_start_matches("v=").trim_start_matches('v').to_owned()
}

fn locked_version(package: &str) -> String {
    let lock = fs::read_to_string(root().join("tests/bench/tokio-server/Cargo.lock")).unwrap();
    let entry = format!("name = \"{package}\"\nversion = \"");
    lock.split(&entry).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("?").to_owned()
}

/// Folder of this package.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
