//! Cost of hostile clients to the others (`cargo bench --bench admission`): connections of one
//! address over its limit, logins by the thousand, guesses at a password. The server, its hashing
//! thread included, runs on one processor; the load and who measures share the other. It is not a
//! test: it prints, and has no thresholds.
//!
//! Arguments name the parts to run: `flood`, `logins`, `guesses`; none is all. `--server FILE`
//! measures another mynah than the one just built.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should say where")]
#![allow(clippy::print_stdout, reason = "its result is what it prints")]

mod mynah_process;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use mynah_process::MynahProcess;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use socket2::{Domain, Socket, Type};

const SERVER_PROCESSOR: usize = 0;
const LOAD_PROCESSOR: usize = 1;
const RUN: Duration = Duration::from_secs(10);
/// Time between two probes.
const PROBE_EVERY: Duration = Duration::from_millis(5);
const ECHO: &[u8] = b"\x01\0\0\0\x05alive";
const PER_ADDRESS_MAX: usize = 50;
const NAME: &str = "owner";
const PASSWORD: &str = "correct horse";

fn main() {
    let mut args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [job, addr] = &args[..]
        && job.starts_with("--as-")
    {
        return attack(job, addr.parse().unwrap());
    }
    let mut server = env!("CARGO_BIN_EXE_mynah").to_owned();
    if let Some(at) = args.iter().position(|arg| arg == "--server") {
        server = args.remove(at + 1);
        args.remove(at);
    }
    let wants = |part: &str| args.is_empty() || args.iter().any(|arg| arg == part);
    pin_to(LOAD_PROCESSOR);
    if wants("flood") {
        flood(&server);
    }
    if wants("logins") {
        logins(&server);
    }
    if wants("guesses") {
        guesses(&server);
    }
}

/// Connects and echoes from other addresses, beside one that connects as fast as it can.
fn flood(server: &str) {
    println!(
        "| connect and echo from other addresses | p50 ms | p99 ms | max ms |\n|---|---|---|---|"
    );
    let server = start(server, &["--max-per-ip", &PER_ADDRESS_MAX.to_string()]);
    let probe = |number: usize| {
        let source = [127, 0, 2, (number % 200) as u8 + 1];
        let mut stream = connect(source, server.addr).unwrap();
        exchange(&mut stream, ECHO, ECHO.len()).unwrap();
    };
    print_row("alone", &mut measure(probe));
    let before = refused(server.addr);
    let attacker = Attacker::start("--as-flood", server.addr);
    let mut times = measure(probe);
    drop(attacker);
    let refused = (refused(server.addr) - before) / RUN.as_secs();
    print_row(&format!("beside {refused} refused a second"), &mut times);
}

/// Echoes on an open connection, beside a thousand logins a second from a hundred addresses.
fn logins(server: &str) {
    println!("| echo on an open connection | p50 ms | p99 ms | max ms |\n|---|---|---|---|");
    let accounts = Accounts::new();
    let server = start(server, &["--accounts", accounts.path()]);
    let mut stream = connect([127, 0, 5, 1], server.addr).unwrap();
    let mut probe = |_| exchange(&mut stream, ECHO, ECHO.len()).map(drop).unwrap();
    print_row("alone", &mut measure(&mut probe));
    let before = resident(&server);
    let attacker = Attacker::start("--as-logins", server.addr);
    let mut times = measure(&mut probe);
    let grown = resident(&server).saturating_sub(before) as f64 / f64::from(1 << 20);
    println!("{}", attacker.stop());
    print_row("beside 1,000 logins a second offered", &mut times);
    println!("\nresident memory grew by {grown:.1} MiB");
}

/// Logins of an account's owner, beside guesses at its password from another address.
fn guesses(server: &str) {
    println!("| login of the owner | p50 ms | p99 ms | max ms |\n|---|---|---|---|");
    let accounts = Accounts::new();
    let server = start(server, &["--accounts", accounts.path()]);
    let login = login_frame(PASSWORD);
    let probe = |number: usize| {
        let source = [127, 0, 6, (number % 200) as u8 + 1];
        let mut stream = connect(source, server.addr).unwrap();
        let answer = exchange(&mut stream, &login, 5 + "welcome owner".len()).unwrap();
        assert_eq!(&answer[5..], b"welcome owner");
        thread::sleep(Duration::from_millis(200));
    };
    let shown = |times: &mut Vec<Duration>| {
        times.iter_mut().for_each(|time| *time -= Duration::from_millis(200));
    };
    let mut alone = measure(probe);
    shown(&mut alone);
    print_row("alone", &mut alone);
    let attacker = Attacker::start("--as-guesses", server.addr);
    let mut beside = measure(probe);
    shown(&mut beside);
    println!("{}", attacker.stop());
    print_row("beside a password list from one address", &mut beside);
}

/// Times of `probe` for a while, one every [`PROBE_EVERY`] at most.
fn measure(mut probe: impl FnMut(usize)) -> Vec<Duration> {
    let (began_at, mut times) = (Instant::now(), Vec::new());
    while began_at.elapsed() < RUN {
        let asked_at = Instant::now();
        probe(times.len());
        times.push(asked_at.elapsed());
        thread::sleep(PROBE_EVERY);
    }
    times
}

fn print_row(name: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("| {name} | {:.2} | {:.2} | {:.2} |", at(0.5), at(0.99), at(1.0));
}

fn start(server: &str, args: &[&str]) -> MynahProcess {
    // A child inherits its parent's processors (sched_setaffinity(2)).
    pin_to(SERVER_PROCESSOR);
    let listen = ["-l", "command://127.0.0.1:0"];
    let process = MynahProcess::start(Command::new(server).args(listen).args(args));
    pin_to(LOAD_PROCESSOR);
    process
}

/// A process that does harm, with less claim on the processor than who measures.
struct Attacker(Child);

impl Attacker {
    fn start(job: &str, addr: SocketAddr) -> Self {
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(env::current_exe().unwrap()).args([job, &addr.to_string()]);
        Attacker(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Waits for its end; what it has to say.
    fn stop(mut self) -> String {
        let mut text = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        self.0.wait().unwrap();
        text
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn attack(job: &str, addr: SocketAddr) {
    match job {
        "--as-flood" => flood_with_connects(addr),
        "--as-logins" => offer_logins(addr),
        "--as-guesses" => offer_guesses(addr),
        _ => panic!("{job}"),
    }
}

/// As many connections as the address may have, and then more as fast as they come.
fn flood_with_connects(addr: SocketAddr) {
    let source = [127, 0, 1, 1];
    let _held: Vec<TcpStream> =
        (0..PER_ADDRESS_MAX).map(|_| connect(source, addr).unwrap()).collect();
    loop {
        // Closed by a reset, so that no port is kept.
        drop(connect(source, addr));
    }
}

/// A thousand logins a second from a hundred addresses, good and bad ones, none waited for longer
/// than until its connection's next.
fn offer_logins(addr: SocketAddr) {
    let began_at = Instant::now();
    let mut offered = 0u32;
    let mut streams: Vec<Option<TcpStream>> = (0..1_000).map(|_| None).collect();
    while began_at.elapsed() < RUN {
        let at = offered as usize % streams.len();
        let source = [127, 0, 3, (at % 100) as u8 + 1];
        // A new connection each time: one that is logged in would be answered without a hash.
        let mut stream = connect(source, addr).unwrap();
        let password = if at.is_multiple_of(2) { PASSWORD } else { "wrong horse" };
        let _ = stream.write_all(&login_frame(password));
        streams[at] = Some(stream);
        offered += 1;
        let due = began_at + Duration::from_millis(u64::from(offered));
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    println!("offered {offered} logins in {:.1} s", began_at.elapsed().as_secs_f64());
}

/// Twenty connections of one address that try one password after the other.
fn offer_guesses(addr: SocketAddr) {
    let began_at = Instant::now();
    let mut streams: Vec<TcpStream> =
        (0..20).map(|_| connect([127, 0, 4, 1], addr).unwrap()).collect();
    let mut guesses = 0u32;
    while began_at.elapsed() < RUN {
        for stream in &mut streams {
            let _ = stream.write_all(&login_frame(&format!("password {guesses}")));
            guesses += 1;
        }
        for stream in &mut streams {
            let mut header = [0; 5];
            stream.read_exact(&mut header).unwrap();
            let len = u32::from_be_bytes(header[1..].try_into().unwrap());
            stream.read_exact(&mut vec![0; len as usize]).unwrap();
        }
    }
    println!("{guesses} guesses in {:.1} s", began_at.elapsed().as_secs_f64());
}

fn login_frame(password: &str) -> Vec<u8> {
    let payload = format!("{NAME}\0{password}");
    let mut frame = vec![5];
    frame.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend(payload.as_bytes());
    frame
}

/// An accounts file with one account, made by `mynah-cli passwd`.
struct Accounts(PathBuf);

impl Accounts {
    fn new() -> Self {
        let path = env::temp_dir().join(format!("mynah-bench-{}.accounts", std::process::id()));
        let mut child = Command::new(env!("CARGO_BIN_EXE_mynah-cli"))
            .arg("passwd")
            .arg(&path)
            .args([NAME, "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{PASSWORD}").unwrap();
        assert!(child.wait().unwrap().success());
        Accounts(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Accounts {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_file(self.0.with_extension("accounts.lock"));
    }
}

fn connect(source: [u8; 4], addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_nodelay(true)?;
    socket.connect(&addr.into())?;
    Ok(socket.into())
}

fn exchange(stream: &mut TcpStream, request: &[u8], len: usize) -> io::Result<Vec<u8>> {
    stream.write_all(request)?;
    let mut answer = vec![0; len];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

fn refused(addr: SocketAddr) -> u64 {
    let mut stream = connect([127, 0, 7, 1], addr).unwrap();
    stream.write_all(b"\x07\0\0\0\0").unwrap();
    let mut json = [0; 512];
    let len = stream.read(&mut json).unwrap();
    let json = String::from_utf8_lossy(&json[5..len]).into_owned();
    let (_, after) = json.split_once("\"refused_total\":").unwrap();
    after.split(',').next().unwrap().parse().unwrap()
}

fn resident(server: &MynahProcess) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn pin_to(processor: usize) {
    let mut set = CpuSet::new();
    set.set(processor).unwrap();
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}
