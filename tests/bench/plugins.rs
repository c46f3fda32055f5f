//! The cost of plugins over a socket (`cargo bench --bench plugins`). The server runs on processor
//! 0, the load on processor 1. It is not a test: it prints, and has no thresholds.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should say where")]
#![allow(clippy::print_stdout, reason = "its result is what it prints")]

mod mynah_process;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use mynah::internal::codec::command::{self, Frame};
use mynah_process::MynahProcess;

const ROUNDS: usize = 5;
/// Frames passed to one write; the socket may take fewer.
const BATCH: usize = 512;
const BURNING_CLIENTS: usize = 4;

/// A plugin that echoes, or loops until its budget is used up. An echo between two failures keeps
/// it from being disabled.
const PLUGIN: &str = "return { process_client_pkg = function(data)
  if data == 'burn' then while true do end end
  return data
end }";

fn main() {
    let own = std::process::id().to_string();
    let _ = Command::new("taskset").args(["-pc", "1", &own]).stdout(Stdio::null()).status();
    for len in [5, 64, 1024] {
        throughput(len);
    }
    latency_beside_burning_plugins();
}

/// Measures packages of `len` bytes in frames of code 128, as fast as one connection takes them.
fn throughput(len: usize) {
    let mut rates: Vec<f64> = (0..ROUNDS).map(|_| rate(&Server::start(), len)).collect();
    rates.sort_by(f64::total_cmp);
    let (low, median, high) = (rates[0], rates[ROUNDS / 2], rates[ROUNDS - 1]);
    println!("returned as it came, {len} bytes: {median:.0} packages/s ({low:.0} to {high:.0})");
}

fn rate(server: &Server, len: usize) -> f64 {
    let batch = frame(&vec![b'x'; len]).repeat(BATCH);
    let mut reader = server.connect();
    let mut writer = reader.try_clone().unwrap();
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                writer.write_all(&batch).unwrap();
                sent.fetch_add(batch.len() as u64, Ordering::Relaxed);
            }
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut buffer = vec![0; 1 << 18];
        let mut read_for = |duration: Duration| {
            let (start, mut bytes) = (Instant::now(), 0);
            while start.elapsed() < duration {
                bytes += reader.read(&mut buffer).unwrap();
            }
            (bytes as f64 / batch.len() as f64 * BATCH as f64) / start.elapsed().as_secs_f64()
        };
        read_for(Duration::from_millis(500));
        let rate = read_for(Duration::from_secs(2));
        stop.store(true, Ordering::Relaxed);
        // To the end, so that every answer has come.
        while reader.read(&mut buffer).unwrap() > 0 {}
        rate
    })
}

/// Measures echoes of other clients while some have the plugin use its whole budget, call after
/// call.
fn latency_beside_burning_plugins() {
    let server = Server::start();
    let stop = AtomicBool::new(false);
    let burnt = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..BURNING_CLIENTS {
            scope.spawn(|| {
                let mut stream = server.connect();
                while !stop.load(Ordering::Relaxed) {
                    stream.write_all(&[frame(b"burn"), frame(b"ok")].concat()).unwrap();
                    let failure = read_frame(&mut stream);
                    assert_eq!(failure.0, 255, "the call was to be stopped");
                    assert_eq!(read_frame(&mut stream), (128, b"ok".to_vec()));
                    burnt.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let target = format!("command://{}", server.process.addr);
        let load = "echo --connections 20 --depth 1 --size 64 --rate 100 --duration 20 --target";
        println!("{BURNING_CLIENTS} clients burn 50 ms a call; mynah-load {load} {target}");
        let arguments = load.split(' ').chain([target.as_str()]);
        Command::new(env!("CARGO_BIN_EXE_mynah-load")).args(arguments).status().unwrap();
        stop.store(true, Ordering::Relaxed);
    });
    println!("calls that burned their whole budget meanwhile: {}", burnt.into_inner());
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Frame { command: command::Command::from(128), payload }.encode(&mut bytes);
    bytes
}

fn read_frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut header = [0; 5];
    stream.read_exact(&mut header).unwrap();
    let [code, len @ ..] = header;
    let mut payload = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut payload).unwrap();
    (code, payload)
}

/// A server with one plugin.
struct Server {
    process: MynahProcess,
    folder: PathBuf,
}

impl Server {
    fn start() -> Self {
        let folder = env::temp_dir().join(format!("mynah-bench-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("bench.lua"), PLUGIN).unwrap();
        let mut command = pinned("0");
        command
            .arg(env!("CARGO_BIN_EXE_mynah"))
            .args(["--listen", "command://127.0.0.1:0", "--plugin-budget", "50", "--plugin-dir"])
            .arg(&folder);
        Server { process: MynahProcess::start(&mut command), folder }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.process.addr).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// `taskset` to `processor`; the caller adds the program.
fn pinned(processor: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", processor]).stdin(Stdio::null());
    command
}
