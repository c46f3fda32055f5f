//! The load tester: how many connections does a server hold, at what cost, and what happens to
//! the active ones meanwhile?
//!
//! A program of its own on the server's codec. [`run`] reads the command line, has the arithmetic
//! done whether this machine can open what is wanted, lets the loop run through its phases, and
//! reports.

mod chart;
mod connection;
mod engine;
mod format;
mod html_report;
mod in_flight;
mod options;
mod pacing;
mod preflight;
mod progress;
mod run_result;
mod socket;
mod sources;
mod stats;
mod summary;
mod sysinfo;
mod target;
mod workload;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::net::raise_file_limit;
use crate::strerror::strerror;
use engine::Engine;
use options::{Invocation, Plan};
use preflight::{Preflight, Requirements};
use progress::{Progress, print_error};
use run_result::RunResult;
use sources::Sources;
use sysinfo::{Host, SystemLimits};
use target::Target;

/// Bad usage.
const EXIT_USAGE: u8 = 2;

/// How long each address of a name is tried when there are several.
const CONNECT_PROBE_MAX: Duration = Duration::from_secs(5);

/// Runs `mynah-load` with `args`, the program's name not among them.
///
/// Exit status: 0 met, 1 a threshold missed or the target failed, 2 bad usage. A machine that
/// cannot open what is wanted is no bad usage, and nothing was met: 1.
#[must_use]
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    match Invocation::from_args(&args) {
        Ok(Invocation::Help) => print(options::HELP.trim_end()),
        Ok(Invocation::Version) => print(concat!("mynah-load ", env!("CARGO_PKG_VERSION"))),
        Ok(Invocation::Run(plan)) => return run_plan(&plan),
        Err(error) => {
            print_error(&format!("mynah-load: {error}\nTry 'mynah-load --help'."));
            return ExitCode::from(EXIT_USAGE);
        }
    }
    ExitCode::SUCCESS
}

fn run_plan(plan: &Plan) -> ExitCode {
    match try_run_plan(plan) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reasons) => {
            for line in reasons {
                print_error(&format!("mynah-load: {line}"));
            }
            ExitCode::FAILURE
        }
    }
}

/// Runs the plan; whether it was met, or why it could not be run.
fn try_run_plan(plan: &Plan) -> Result<bool, Vec<String>> {
    let one = |what: &str, error: &io::Error| vec![format!("{what}: {}", strerror(error))];
    let files = raise_file_limit().map_err(|e| one("cannot read the file limit", &e))?;
    let mut addresses = resolve(&plan.target).map_err(|e| one(&plan.target.url, &e))?;
    if let Some(ip) = plan.source_ips.first()
        && addresses.iter().any(|address| address.is_ipv4() == ip.is_ipv4())
    {
        addresses.retain(|address| address.is_ipv4() == ip.is_ipv4());
    }
    let mut progress = Progress::new(plan.quiet);
    let mut sources = run_preflight(plan, addresses[0], files, &progress)?;
    let address = first_reachable(&addresses);
    if address != addresses[0] {
        sources = run_preflight(plan, address, files, &progress)?;
    }
    let outputs = Outputs::create(plan)?;
    let host = Host::read(files);
    let engine =
        Engine::new(plan, address, &sources).map_err(|error| one("cannot start", &error))?;
    let mut csv = outputs.csv;
    let run = engine.run(&mut progress, |row| match &mut csv {
        // Whoever follows the file sees each row as it comes.
        Some(csv) => csv.serialize(row).map_err(io::Error::other).and_then(|()| csv.flush()),
        None => Ok(()),
    });
    progress.clear();
    let run = run.map_err(|error| one("the run broke off", &error))?;
    let result = RunResult { plan, address, sources: &sources, host, run };
    if let (Some(file), Some(path)) = (outputs.json, &plan.json) {
        let mut file = BufWriter::new(file);
        let written = serde_json::to_writer_pretty(&mut file, &result.report())
            .map_err(io::Error::from)
            .and_then(|()| writeln!(file))
            .and_then(|()| file.flush());
        written.map_err(|error| cannot_write(path, &error))?;
    }
    if let (Some(mut file), Some(path)) = (outputs.report, &plan.report) {
        let written = file.write_all(html_report::render(&result).as_bytes());
        written.map_err(|error| cannot_write(path, &error))?;
    }
    let misses = result.misses();
    if !plan.quiet {
        print(result.to_string().trim_end());
    }
    if plan.quiet && !misses.is_empty() {
        print_error(&format!("mynah-load: {}", misses.join("; ")));
    }
    Ok(misses.is_empty())
}

/// The preflight: where connections to `address` are to leave from, or all that is in their way.
fn run_preflight(
    plan: &Plan,
    address: SocketAddr,
    files: usize,
    progress: &Progress,
) -> Result<Sources, Vec<String>> {
    let limits = SystemLimits::read(files);
    let sources = Sources::plan(
        &plan.source_ips,
        address.ip(),
        plan.mode.connections() as usize,
        usize::try_from(limits.ports.unwrap_or(u64::MAX)).unwrap_or(usize::MAX),
        limits.port_range.map(|(low, high)| low..=high),
    );
    let preflight = Preflight::new(&requirements(plan, address, &sources), &limits);
    progress.print_line(&format!("preflight: {}", preflight.checks.join(", ")));
    let mut problems: Vec<String> = preflight.shortages.iter().map(ToString::to_string).collect();
    problems.extend(source_ip_errors(plan, address));
    problems.extend(server_pid_error(plan));
    if problems.is_empty() { Ok(sources) } else { Err(problems) }
}

/// What the preflight is to find room for.
fn requirements(plan: &Plan, address: SocketAddr, sources: &Sources) -> Requirements {
    let idle = matches!(plan.mode, options::Mode::Idle { .. });
    let bytes_each = u64::from(plan.mode.size()).saturating_mul(plan.mode.depth().into());
    Requirements {
        connections: plan.mode.connections().into(),
        sources: sources.count() as u64,
        targets: 1,
        address: address.ip(),
        bytes_each: if idle { 0 } else { bytes_each },
    }
}

/// The addresses of the target, one at least.
fn resolve(target: &Target) -> io::Result<Vec<SocketAddr>> {
    let addresses: Vec<SocketAddr> =
        (target.host.as_str(), target.port).to_socket_addrs()?.collect();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}

/// Where a name has several addresses, the first that somebody listens on: a name like `localhost`
/// may be listened on over one version of IP only.
fn first_reachable(addresses: &[SocketAddr]) -> SocketAddr {
    let answers =
        |address: &&SocketAddr| TcpStream::connect_timeout(address, CONNECT_PROBE_MAX).is_ok();
    let several = addresses.len() > 1;
    let found = several.then(|| addresses.iter().find(answers)).flatten();
    *found.unwrap_or(&addresses[0])
}

/// What is wrong with the addresses of `--source-ip`.
fn source_ip_errors(plan: &Plan, address: SocketAddr) -> Vec<String> {
    let judge = |ip: &std::net::IpAddr| {
        if ip.is_ipv4() != address.is_ipv4() {
            return Some(format!("--source-ip: {ip} cannot reach {}", address.ip()));
        }
        let error = socket::check_source(*ip).err()?;
        let (bits, why) = (if ip.is_ipv4() { 32 } else { 128 }, strerror(&error));
        let add = format!("sudo ip address add {ip}/{bits} dev DEVICE");
        Some(format!("--source-ip: {ip}: {why}; try: {add}"))
    };
    plan.source_ips.iter().filter_map(judge).collect()
}

/// What is wrong with `--server-pid`.
fn server_pid_error(plan: &Plan) -> Option<String> {
    let pid = plan.mode.server_pid()?;
    let missing = sysinfo::resident_bytes(pid).is_none();
    missing.then(|| format!("--server-pid: there is no process {pid}"))
}

/// The files that were asked for, opened before the first connect: a run of an hour must not end
/// with a file that cannot be written.
struct Outputs {
    json: Option<File>,
    csv: Option<csv::Writer<File>>,
    report: Option<File>,
}

impl Outputs {
    fn create(plan: &Plan) -> Result<Self, Vec<String>> {
        let create = |path: &Option<std::path::PathBuf>| match path {
            Some(path) => File::create(path).map(Some).map_err(|e| cannot_write(path, &e)),
            None => Ok(None),
        };
        Ok(Outputs {
            json: create(&plan.json)?,
            csv: create(&plan.csv)?.map(csv::Writer::from_writer),
            report: create(&plan.report)?,
        })
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Vec<String> {
    vec![format!("cannot write {}: {}", path.display(), strerror(error))]
}

/// Says something on standard output; a reader that has gone is no failure of ours.
fn print(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}
