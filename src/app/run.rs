//! The server program from arguments to exit code: builds log, loop and plugins, and runs them.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use log::{Level, error, info, log_enabled};

use super::accounts::AccountsInService;
#[cfg(feature = "admin")]
use super::admin;
use super::check::check;
use super::config::{Config, ConfigError, Invocation};
use super::control::Control;
use super::fit_limits::fit_limits;
use super::listeners;
use super::logging::Logging;
use super::plugins;
use super::prepare::{ConfigFiles, open};
use super::reload::Reloader;
use super::systemd::{self, ConsoleFormat, PassedSockets};
use crate::cli::{EXIT_USAGE, print, print_error, print_usage_error, print_usage_errors};
use crate::net::{EventLoop, Exit, Signals};
use crate::strerror::strerror;

/// Runs `mynah` with `args`, without the program's name.
///
/// Returns the exit status: 0 stopped in order, 1 could not run, 2 bad options or configuration.
#[must_use]
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    match Invocation::from_args(&args) {
        Ok(Invocation::Help(text)) => print("mynah", text.trim_end()),
        Ok(Invocation::Version) => print("mynah", concat!("mynah ", env!("CARGO_PKG_VERSION"))),
        Ok(Invocation::Check(config)) => check(&config),
        Ok(Invocation::Run(config)) => serve(args, config),
        Err(ConfigError::Options(errors)) => print_usage_errors("mynah", &errors),
        Err(ConfigError::Arguments(errors)) => print_usage_errors("mynah", &errors),
        // The help has nothing about a file's lines.
        Err(ConfigError::File(error)) => {
            print_error(format_args!("mynah: {error}"));
            ExitCode::from(EXIT_USAGE)
        }
        Err(error) => print_usage_error("mynah", error),
    }
}

fn serve(args: Vec<OsString>, config: Config) -> ExitCode {
    // Before anything is opened.
    let passed = PassedSockets::receive(&config.listeners, listeners::options(&config));
    let files = match ConfigFiles::read(&config, &AccountsInService::default()) {
        Ok(files) => files,
        Err(reasons) => {
            reasons.iter().for_each(|reason| print_error(format_args!("mynah: {reason}")));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let format = ConsoleFormat::new(&config);
    let logging = match Logging::start(config.log_level(), format, config.log_file()) {
        Ok(logging) => logging,
        Err(error) => {
            let file = config.log_file().unwrap_or_default();
            print_error(format_args!(
                "mynah: cannot log to {}: {}",
                file.display(),
                strerror(&error)
            ));
            return ExitCode::FAILURE;
        }
    };
    let code = match serve_until_stopped(args, config.into(), files, passed, &logging) {
        Ok(Exit::Stopped) => ExitCode::SUCCESS,
        Ok(Exit::Aborted) => ExitCode::FAILURE,
        Ok(Exit::NoListeners) => {
            error!("no listener is left");
            ExitCode::FAILURE
        }
        Err(reasons) => {
            for reason in reasons {
                if log_enabled!(Level::Error) {
                    error!("{reason}");
                } else {
                    print_error(format_args!("mynah: {reason}"));
                }
            }
            ExitCode::FAILURE
        }
    };
    logging.close();
    code
}

fn serve_until_stopped(
    args: Vec<OsString>,
    config: Arc<Config>,
    files: ConfigFiles,
    passed: Result<PassedSockets, String>,
    logging: &Logging,
) -> Result<Exit, Vec<String>> {
    let one = |reason: String| vec![reason];
    let (limits, warnings) = fit_limits(&config).map_err(one)?;
    let cannot_start = |error| vec![format!("cannot start: {}", strerror(&error))];
    let mut event_loop = EventLoop::new(limits).map_err(cannot_start)?;
    let signals = Signals::install(&event_loop).map_err(cannot_start)?;
    let max = limits.clients_max;
    info!("mynah {} starting, room for {max} clients", env!("CARGO_PKG_VERSION"));
    if let Some(host) = plugins::load(&config).map_err(one)? {
        event_loop.server_mut().set_plugins(host);
    }
    let passed = passed.map_err(one)?;
    passed.log();
    let handle = event_loop.handle();
    let prepared = open(Arc::clone(&config), (limits, warnings), files, &[], passed, &handle)?;
    #[cfg(feature = "cluster")]
    if let Some(cluster) = &prepared.cluster {
        cluster.start(&config, &limits, &mut event_loop);
    }
    let mut reloader = Reloader::new(args.into(), config, logging.clone(), handle.clone());
    #[cfg(feature = "admin")]
    admin::start(&mut event_loop);
    reloader.start(prepared, &mut event_loop.as_running()).map_err(one)?;
    event_loop
        .run_with(&mut systemd::supervise(Control::new(signals, handle, reloader)))
        .map_err(|error| vec![format!("the event loop failed: {}", strerror(&error))])
}
