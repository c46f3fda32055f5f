//! The load tester: the connections that a server holds, their cost, and the latency of active ones
//! beside idle ones.
//!
//! A program of its own on the server's codec. [`run`] reads the command line, checks that this
//! machine's limits suffice, has the engine run the phases, and reports.

mod chart;
mod connection;
mod engine;
#[cfg(test)]
mod fixtures;
mod format;
mod html_report;
mod in_flight;
mod options;
mod outputs;

mod preflight;
mod progress;
mod rate;
mod remedies;
mod report;
mod run_result;
mod socket;
mod sources;
mod stats;
mod summary;
mod sysinfo;
mod target;
mod workload;

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::{print_error, print_usage_error};
use crate::net::raise_file_limit;
use crate::strerror::strerror;
use engine::Engine;
use options::{Invocation, Mode, Plan};
use outputs::Outputs;
use preflight::{Preflight, Requirements};
use progress::Progress;
use run_result::RunResult;
use sources::Sources;
use sysinfo::{Host, SystemLimits};

/// Longest connect to an address of a name that has several.
const TRIAL_CONNECT_MAX: Duration = Duration::from_secs(5);

/// Runs `mynah-load` with `args`, without the program's name.
///
/// Exit status: 0 met, 1 a threshold missed or the target failed, 2 bad usage. A machine whose limits
/// do not suffice exits with 1: the command line is good, and nothing was met.
#[must_use]
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    match Invocation::from_args(&args) {
        Ok(Invocation::Help) => print(options::HELP.trim_end()),
        Ok(Invocation::Version) => print(concat!("mynah-load ", env!("CARGO_PKG_VERSION"))),
        Ok(Invocation::Run(plan)) => return run_plan(&plan),
        Err(error) => return print_usage_error("mynah-load", error),
    }
    ExitCode::SUCCESS
}

fn run_plan(plan: &Plan) -> ExitCode {
    match try_run_plan(plan) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reasons) => {
            for reason in reasons {
                print_error(format_args!("mynah-load: {reason}"));
            }
            ExitCode::FAILURE
        }
    }
}

/// Runs the plan. Returns whether it was met, or the reasons why it cannot be run.
fn try_run_plan(plan: &Plan) -> Result<bool, Vec<String>> {
    let explain = |what: &str, error: &io::Error| vec![format!("{what}: {}", strerror(error))];
    let files = raise_file_limit().map_err(|e| explain("cannot read the file limit", &e))?;
    let mut progress = Progress::new(plan.quiet);
    let mut addresses = plan.target.resolve().map_err(|error| explain(&plan.target.url, &error))?;
    if let Some(ip) = plan.source_ips.first()
        && addresses.iter().any(|address| address.is_ipv4() == ip.is_ipv4())
    {
        addresses.retain(|address| address.is_ipv4() == ip.is_ipv4());
    }
    // The preflight comes first, because a trial connect is a connect.
    let mut sources = run_preflight(plan, addresses[0], files, &progress)?;
    let address = first_reachable(&addresses);
    if address != addresses[0] {
        sources = run_preflight(plan, address, files, &progress)?;
    }
    let mut outputs = Outputs::create(plan).map_err(|error| vec![error])?;
    let host = Host::read(files);
    let engine =
        Engine::new(plan, address, &sources).map_err(|error| explain("cannot start", &error))?;
    let run = engine.run(&mut progress, |row| outputs.write_row(row));
    progress.clear();
    let run = run.map_err(|error| explain("the run broke off", &error))?;
    let result = RunResult { plan, address, sources: &sources, host, run };
    outputs.write_result(&result).map_err(|error| vec![error])?;
    let misses = result.misses();
    if !plan.quiet {
        print(result.to_string().trim_end());
    } else if !misses.is_empty() {
        print_error(format_args!("mynah-load: {}", misses.join("; ")));
    }
    Ok(misses.is_empty())
}

/// Checks the plan against this machine. Returns the local addresses of its connections, or all
/// reasons why it cannot be run.
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
    let mut reasons: Vec<String> = preflight.shortages.iter().map(ToString::to_string).collect();
    reasons.extend(source_ip_errors(plan, address));
    reasons.extend(server_pid_error(plan));
    if reasons.is_empty() { Ok(sources) } else { Err(reasons) }
}

fn requirements(plan: &Plan, address: SocketAddr, sources: &Sources) -> Requirements {
    let is_idle = matches!(plan.mode, Mode::Idle { .. });
    let bytes_each = u64::from(plan.mode.size()).saturating_mul(plan.mode.depth().into());
    Requirements {
        connections: plan.mode.connections().into(),
        sources: sources.count() as u64,
        targets: 1,
        address: address.ip(),
        bytes_each: if is_idle { 0 } else { bytes_each },
    }
}

/// The first of several addresses that takes a connection: a server may listen on `localhost` over
/// one version of IP only. The first of all if none does.
fn first_reachable(addresses: &[SocketAddr]) -> SocketAddr {
    let is_reachable =
        |address: &&SocketAddr| TcpStream::connect_timeout(address, TRIAL_CONNECT_MAX).is_ok();
    let is_choice = addresses.len() > 1;
    let found = is_choice.then(|| addresses.iter().find(is_reachable)).flatten();
    *found.unwrap_or(&addresses[0])
}

/// Addresses of `--source-ip` that cannot be used, with the reasons.
fn source_ip_errors(plan: &Plan, address: SocketAddr) -> Vec<String> {
    let check = |ip: &IpAddr| {
        if ip.is_ipv4() != address.is_ipv4() {
            return Some(format!("--source-ip: {ip} cannot reach {}", address.ip()));
        }
        let error = socket::check_source(*ip).err()?;
        let add = remedies::add_address(&ip.to_string(), *ip);
        Some(format!("--source-ip: {ip}: {}; try: {add}", strerror(&error)))
    };
    plan.source_ips.iter().filter_map(check).collect()
}

/// The process of `--server-pid` that does not exist.
fn server_pid_error(plan: &Plan) -> Option<String> {
    let pid = plan.mode.server_pid()?;
    let is_missing = sysinfo::resident_bytes(pid).is_none();
    is_missing.then(|| format!("--server-pid: there is no process {pid}"))
}

/// Prints on standard output. A closed pipe is not an error of the run.
fn print(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}
