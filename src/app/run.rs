//! The server program from arguments to exit code: builds log, loop and plugins, and runs them.

use std::ffi::OsString;
use std::process::ExitCode;

use log::{Level, error, info, log_enabled, warn};

use super::accounts::AccountsReloader;
#[cfg(feature = "admin")]
use super::admin;
use super::check::check;
use super::config::{Config, ConfigError, Invocation};
use super::control::Control;
use super::fit_limits::fit_limits;
use super::listeners;
use super::logging::Logging;
use super::plugins;
use super::systemd::{self, ConsoleFormat, PassedSockets};
use super::tls::Certificates;
use crate::cli::{EXIT_USAGE, print, print_error, print_usage_error, print_usage_errors};
use crate::net::{EventLoop, Exit, Signals};
#[cfg(feature = "admin")]
use crate::protocol::admin::Token;
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
        Ok(Invocation::Run(config)) => serve(&config),
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

fn serve(config: &Config) -> ExitCode {
    // Before anything is opened.
    let passed = PassedSockets::receive(&config.listeners, listeners::options(config));
    let certificates = match Certificates::load(config) {
        Ok(certificates) => certificates,
        Err(reasons) => {
            reasons.iter().for_each(|reason| print_error(format_args!("mynah: {reason}")));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let accounts = match AccountsReloader::load(config) {
        Ok(accounts) => accounts,
        Err(reason) => {
            print_error(format_args!("mynah: {reason}"));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    #[cfg(feature = "admin")]
    let token = match admin::load(config) {
        Ok(token) => token,
        Err(reason) => {
            print_error(format_args!("mynah: {reason}"));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let logging =
        match Logging::start(config.log_level(), ConsoleFormat::new(config), config.log_file()) {
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
    let code = match serve_until_stopped(
        config,
        certificates,
        accounts,
        passed,
        #[cfg(feature = "admin")]
        token,
        &logging,
    ) {
        Ok(Exit::Stopped) => ExitCode::SUCCESS,
        Ok(Exit::Aborted) => ExitCode::FAILURE,
        Ok(Exit::NoListeners) => {
            error!("no listener is left");
            ExitCode::FAILURE
        }
        Err(reason) => {
            if log_enabled!(Level::Error) {
                error!("{reason}");
            } else {
                print_error(format_args!("mynah: {reason}"));
            }
            ExitCode::FAILURE
        }
    };
    logging.close();
    code
}

fn serve_until_stopped(
    config: &Config,
    mut certificates: Certificates,
    mut accounts: AccountsReloader,
    passed: Result<PassedSockets, String>,
    #[cfg(feature = "admin")] token: Option<Token>,
    logging: &Logging,
) -> Result<Exit, String> {
    let (limits, warnings) = fit_limits(config)?;
    warnings.iter().for_each(|warning| warn!("{warning}"));
    let cannot_start = |error| format!("cannot start: {}", strerror(&error));
    let mut event_loop = EventLoop::new(limits).map_err(cannot_start)?;
    let signals = Signals::install(&event_loop).map_err(cannot_start)?;
    let max = limits.clients_max;
    info!("mynah {} starting, room for {max} clients", env!("CARGO_PKG_VERSION"));
    if let Some(host) = plugins::load(config)? {
        event_loop.server_mut().set_plugins(host);
    }
    config.notices.iter().for_each(|notice| info!("{notice}"));
    let passed = passed?;
    passed.log();
    #[cfg(feature = "admission")]
    config.settings.admission.apply(event_loop.server_mut());
    #[cfg(feature = "admin")]
    admin::start(token, &mut event_loop);
    certificates.start(event_loop.handle());
    accounts.start(config, &mut event_loop)?;
    listeners::open(config, passed, &mut certificates, &accounts, &mut event_loop)?;
    let reloader = plugins::Reloader::new(config, event_loop.handle());
    let handle = event_loop.handle();
    let control = Control::new(signals, handle, certificates, accounts, |server| {
        info!("SIGHUP: {}", reload_steps(config));
        logging.reopen();
        reloader.reload(server);
    });
    event_loop
        .run_with(&mut systemd::supervise(control))
        .map_err(|error| format!("the event loop failed: {}", strerror(&error)))
}

/// Log text of a SIGHUP. The steps log their results themselves.
#[cold]
#[inline(never)]
#[cfg(any(feature = "plugins", feature = "tls", feature = "accounts"))]
fn reload_steps(config: &Config) -> String {
    let all = [
        (config.log_file().is_some(), "reopening the log file"),
        (config.plugin_dir.is_some(), "reloading the plugins"),
        #[cfg(feature = "tls")]
        (config.has_tls(), "reloading the certificates"),
        #[cfg(feature = "accounts")]
        (config.settings.accounts.is_some(), "reloading the accounts"),
    ];
    let steps: Vec<&str> =
        all.iter().filter(|(is_due, _)| *is_due).map(|(_, step)| *step).collect();
    if steps.is_empty() {
        return "nothing to reload: there is neither a log file nor a plugin folder".to_owned();
    }
    steps.join(", ")
}

/// The same where there is nothing else to reload.
#[cfg(not(any(feature = "plugins", feature = "tls", feature = "accounts")))]
fn reload_steps(config: &Config) -> &'static str {
    match config.log_file().is_some() {
        true => "reopening the log file",
        false => "nothing to reload: there is neither a log file nor a plugin folder",
    }
}
