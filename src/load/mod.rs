//! The load tester: the connections that a server holds, their cost, and the latency of active ones
//! beside idle ones.
//!
//! A program of its own on the server's codec. [`run`] reads the command line, checks that this
//! machine's limits suffice, has the engine run the phases, and reports.

mod backoff;
mod bounded_list;
mod chart;
mod compare;
mod connection;
mod distribution;
mod downsample;

mod engine;
mod escaped_bytes;
mod exchange;
mod exchange_options;
#[cfg(test)]
mod fixtures;
mod format;
mod histogram;
mod html_report;
mod in_flight;
mod island;
mod job_link;
mod jobs;
mod merge;
mod options;
mod outputs;
mod page;
mod plan;
mod preflight;
mod progress;
mod quantity;
mod rate;
mod record;
mod record_file;
mod remedies;
mod reply;
mod resources;
mod route;
mod run_result;
mod same_file;
mod server_version;
mod settings;
mod share;
mod signals;
mod socket;
mod sources;
mod stage_charts;
mod stage_summary;
mod stats;
mod storm;
mod summary;
mod summary_line;
mod sysinfo;
mod target;
mod usage;
mod verdict;
mod wake;
mod warnings;
mod workload;

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

#[cfg(feature = "tls")]
use crate::cli::tls_options;
use crate::cli::{print, print_error, print_usage_errors};
use crate::net::raise_file_limit;
use crate::strerror::strerror;
#[cfg(feature = "tls")]
use crate::tls::client::ClientTls;
use engine::Engine;
use options::Invocation;
#[cfg(test)]
#[allow(unused_imports, reason = "`manual` alone needs it, which takes every feature")]
pub(crate) use options::{MODES, help, option_tables};
use outputs::Outputs;
use plan::{Mode, Plan};
use preflight::{Preflight, Requirements};
use progress::Progress;
use record::Record;
use route::Route;
use run_result::RunResult;
use sources::Sources;
use summary_line::EscapedText;
use sysinfo::{Host, SystemLimits};
use target::{Address, Target};

/// Name of the program in its messages.
const PROGRAM: &str = "mynah-load";

/// Longest connect to an address of a name that has several.
const TRIAL_CONNECT_MAX: Duration = Duration::from_secs(5);

/// Runs `mynah-load` with `args`, without the program's name.
///
/// Exit status: 0 met, 1 a threshold missed or the target failed, 2 bad usage. A machine whose limits
/// do not suffice exits with 1: the command line is good, and nothing was met.
#[must_use]
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    if let Some(status) = jobs::run_as_job(&args) {
        return status;
    }
    match Invocation::from_args(&args) {
        Ok(Invocation::Help(text)) => print(PROGRAM, &text),
        Ok(Invocation::Version) => {
            print(PROGRAM, concat!("mynah-load ", env!("CARGO_PKG_VERSION")))
        }
        Ok(Invocation::Run(plan)) => run_plan(&plan, &args),
        Ok(Invocation::Compare(settings)) => compare::run(&settings),
        Ok(Invocation::Merge(settings)) => merge::run(&settings),
        Err(errors) => print_usage_errors(PROGRAM, &errors),
    }
}

fn run_plan(plan: &Plan, args: &[OsString]) -> ExitCode {
    try_run_plan(plan, args).unwrap_or_else(|reasons| {
        print_errors(&reasons);
        ExitCode::FAILURE
    })
}

fn explain(what: &str, error: &io::Error) -> Vec<String> {
    vec![format!("{what}: {}", strerror(error))]
}

/// The addresses of each target, those that `--source-ip` can reach if there are any: at least one.
fn resolve(plan: &Plan) -> Result<Vec<Vec<Address>>, Vec<String>> {
    let resolve = |target: &Target| {
        let mut addresses = target.resolve().map_err(|error| explain(&target.url, &error))?;
        if let Some(ip) = plan.source_ips.first()
            && addresses.iter().any(|address| is_like(address, *ip))
        {
            addresses.retain(|address| is_like(address, *ip));
        }
        Ok(addresses)
    };
    plan.targets().map(resolve).collect()
}

fn print_errors(reasons: &[String]) {
    for reason in reasons {
        print_error(format_args!("{PROGRAM}: {reason}"));
    }
}

/// Runs the plan that `args` ask for. Returns the exit status, or the reasons why it cannot be run.
fn try_run_plan(plan: &Plan, args: &[OsString]) -> Result<ExitCode, Vec<String>> {
    #[cfg(feature = "tls")]
    if plan.tls.iter().any(ClientTls::is_insecure) {
        print_errors(&[tls_options::INSECURE.to_owned()]);
    }
    let files = raise_file_limit().map_err(|e| explain("cannot read the file limit", &e))?;
    let mut progress = Progress::new(plan.quiet);
    let choices = resolve(plan)?;
    // The preflight comes first, because a trial connect is a connect.
    let first = choices.iter().map(|addresses| addresses[0].clone()).collect();
    let mut routes = run_preflight(plan, first, files, &progress)?;
    let reachable: Vec<Address> = choices.iter().map(|all| first_reachable(all).clone()).collect();
    if routes.iter().map(|route| &route.address).ne(&reachable) {
        routes = run_preflight(plan, reachable, files, &progress)?;
    }
    let mut outputs = Outputs::create(plan)?;
    let host = Host::read(files);
    let record = if plan.jobs > 1 {
        jobs::run(plan, args, &routes, host, &mut progress, &mut outputs)?
    } else {
        run_engine(plan, &routes, host, &mut progress, &mut outputs)?
    };
    let write_errors = outputs.write_record(&record);
    let printed = print_record(&record, plan.has_json_on_stdout(), plan.quiet);
    print_errors(&write_errors);
    let is_met = record.verdict.met && write_errors.is_empty();
    Ok(if is_met { printed } else { ExitCode::FAILURE })
}

/// Runs the plan in this process.
fn run_engine(
    plan: &Plan,
    routes: &[Route],
    host: Host,
    progress: &mut Progress,
    outputs: &mut Outputs,
) -> Result<Record, Vec<String>> {
    let engine = Engine::new(plan, routes).map_err(|error| explain("cannot start", &error))?;
    let run = engine.run(progress, |row| outputs.write_row(row));
    progress.clear();
    let run = run.map_err(|error| explain("the run broke off", &error))?;
    let server_version = ask_version(plan, routes, run.stats.counts.opened);
    Ok(RunResult { plan, routes, host, server_version, run }.record())
}

/// The server's version for the page. It alone has it: the connection would be one more in the
/// server's counters.
fn ask_version(plan: &Plan, routes: &[Route], opened: u64) -> Option<String> {
    let has_answered = plan.report.is_some() && opened > 0;
    has_answered.then(|| server_version::ask(&routes[0].address, plan)).flatten()
}

/// Prints the JSON, if standard output has it (`is_json`), and the summary, or why it is not met if
/// `is_quiet`. Returns the exit status of that.
fn print_record(record: &Record, is_json: bool, is_quiet: bool) -> ExitCode {
    let mut printed = ExitCode::SUCCESS;
    if is_json {
        let json = serde_json::to_string_pretty(record);
        // Maps have text as keys, so there is no error.
        printed = print(PROGRAM, &json.unwrap_or_default());
    }
    if !is_quiet {
        let summary = record.to_string();
        if is_json {
            print_error(summary.trim_end());
        } else {
            printed = print(PROGRAM, summary.trim_end());
        }
    } else if !record.verdict.met {
        let misses = record.verdict.misses.join("; ");
        let reasons = [Some(misses), record.reason.clone()].into_iter().flatten();
        // A record from a file may have any text.
        let reasons: Vec<_> = reasons.map(|text| EscapedText(&text).to_string()).collect();
        print_errors(&reasons);
    }
    printed
}

/// Checks the plan against this machine, with the address of each target. Returns the routes of its
/// connections, or all reasons why it cannot be run.
fn run_preflight(
    plan: &Plan,
    addresses: Vec<Address>,
    files: usize,
    progress: &Progress,
) -> Result<Vec<Route>, Vec<String>> {
    let limits = SystemLimits::read(files);
    let routes = routes_to(plan, addresses, &limits);
    let preflight = Preflight::new(&requirements(plan, &routes), &limits);
    progress.print_line(&format!("preflight: {}", preflight.checks.join(", ")));
    let mut reasons: Vec<String> = preflight.shortages.iter().map(ToString::to_string).collect();
    for reason in routes.iter().flat_map(|route| source_ip_errors(plan, &route.address)) {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    reasons.extend(server_pid_error(plan));
    if reasons.is_empty() { Ok(routes) } else { Err(reasons) }
}

/// The routes to the targets at `addresses`, for the connections of all processes.
fn routes_to(plan: &Plan, addresses: Vec<Address>, limits: &SystemLimits) -> Vec<Route> {
    let route = |(target, address): (usize, Address)| {
        let sources = Sources::plan(
            &plan.source_ips,
            address.ip(),
            plan.spread().count(target, usize::try_from(plan.mode.ports()).unwrap_or(usize::MAX)),
            usize::try_from(limits.ports.unwrap_or(u64::MAX)).unwrap_or(usize::MAX),
            limits.port_range.map(|(low, high)| low..=high),
        );
        Route { address, sources }
    };
    addresses.into_iter().enumerate().map(route).collect()
}

fn requirements(plan: &Plan, routes: &[Route]) -> Requirements {
    // Of several, the first has the publisher alone. Connections to one address share its ports,
    // however many of the targets have it.
    let crowded = if routes.len() > 1 { &routes[1..] } else { routes };
    let mut addresses: Vec<&Address> = Vec::new();
    for Route { address, .. } in crowded {
        if address.ip().is_some() && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let is_idle = matches!(plan.mode, Mode::Idle { .. });
    let bytes_each = plan.exchange_bytes().saturating_mul(plan.mode.depth().into());
    Requirements {
        connections: plan.mode.connections().into(),
        ports: plan.mode.ports(),
        connections_each: if plan.jobs > 1 {
            // The first has the largest share.
            plan.of_job(0).mode.connections().into()
        } else {
            plan.mode.connections().into()
        },
        sources: crowded.iter().map(|route| route.sources.count() as u64).max().unwrap_or(1),
        targets: addresses.len().max(1) as u64,
        address: addresses.first().and_then(|address| address.ip()),
        bytes_each: if is_idle { 0 } else { bytes_each },
    }
}

/// The first of several addresses that takes a connection: a server may listen on `localhost` over
/// one version of IP only. The first of all if none does.
fn first_reachable(addresses: &[Address]) -> &Address {
    let is_reachable = |address: &&Address| match address {
        Address::Inet(address) => TcpStream::connect_timeout(address, TRIAL_CONNECT_MAX).is_ok(),
        Address::Unix(_) => true,
    };
    let is_choice = addresses.len() > 1;
    let found = is_choice.then(|| addresses.iter().find(is_reachable)).flatten();
    found.unwrap_or(&addresses[0])
}

/// Whether an address is of the IP version of `ip`.
fn is_like(address: &Address, ip: IpAddr) -> bool {
    address.ip().is_some_and(|address| address.is_ipv4() == ip.is_ipv4())
}

/// Addresses of `--source-ip` that cannot be used, with the reasons.
fn source_ip_errors(plan: &Plan, address: &Address) -> Vec<String> {
    let check = |ip: &IpAddr| {
        if !is_like(address, *ip) {
            return Some(format!("--source-ip: {ip} cannot reach {}", address.ip()?));
        }
        let error = socket::check_source(*ip).err()?;
        let add = remedies::add_address(&ip.to_string(), *ip);
        Some(format!("--source-ip: {ip}: {}; try: {add}", strerror(&error)))
    };
    plan.source_ips.iter().filter_map(check).collect()
}

/// The process of `--server-pid` that does not exist.
fn server_pid_error(plan: &Plan) -> Option<String> {
    let pid = plan.server_pid?;
    let is_missing = sysinfo::anonymous_bytes(pid).is_none();
    is_missing.then(|| format!("--server-pid: there is no process {pid}"))
}
