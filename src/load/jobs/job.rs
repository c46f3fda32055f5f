//! A process of a run: its share of the parent's plan, and the record of it.

use std::ffi::OsString;
use std::process::ExitCode;

use super::super::engine::Engine;
use super::super::job_link::JobLink;
use super::super::job_link::messages::{FromJob, ToJob};
use super::super::options::Invocation;
use super::super::progress::Progress;
use super::super::record::Record;
use super::super::run_result::RunResult;
use super::super::sysinfo::{Host, SystemLimits};
use super::super::target::Address;
use super::super::{explain, routes_to};
use super::JOB_WORD;
use crate::net::raise_file_limit;

/// Runs as a job, if that is what the command line says and standard input has a parent. It prints
/// nothing: the parent does.
pub(in super::super) fn run_as_job(args: &[OsString]) -> Option<ExitCode> {
    let (word, args) = args.split_first()?;
    if word != JOB_WORD {
        return None;
    }
    let mut link = JobLink::on_stdin()?;
    let result = try_run(args, &mut link);
    let status = if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    link.end(&match result {
        Ok(record) => FromJob::Done(Box::new(record)),
        Err(reasons) => FromJob::Failed(reasons),
    });
    Some(status)
}

fn try_run(args: &[OsString], link: &mut JobLink) -> Result<Record, Vec<String>> {
    let misled = |what: &str| vec![format!("a job was not told {what}")];
    let Some(ToJob::Start { job, addresses }) = link.read_first() else {
        return Err(misled("to start"));
    };
    let Ok(Invocation::Run(plan)) = Invocation::from_args(args) else {
        return Err(misled("what to do"));
    };
    let addresses: Vec<Address> = std::iter::zip(plan.targets(), addresses)
        .filter_map(|(target, addr)| match addr {
            Some(addr) => Some(Address::Inet(addr)),
            None => target.path.clone().map(Address::Unix),
        })
        .collect();
    if job >= plan.jobs || addresses.len() != plan.targets().count() {
        return Err(misled("where to connect"));
    }
    let files = raise_file_limit().map_err(|e| explain("cannot read the file limit", &e))?;
    let routes = routes_to(&plan, addresses, &SystemLimits::read(files));
    let plan = plan.of_job(job);
    let mut engine = Engine::new(&plan, &routes).map_err(|e| explain("cannot start", &e))?;
    engine.join(link).map_err(|e| explain("cannot start", &e))?;
    let run = engine.run(&mut Progress::Quiet, |_| {});
    let run = run.map_err(|error| explain("the run broke off", &error))?;
    let host = Host::read(files);
    Ok(RunResult { plan: &plan, routes: &routes, host, server_version: None, run }.record())
}
