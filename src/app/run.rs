//! The server program from arguments to exit code: starts the log, opens the listeners, runs the
//! loop.

use std::ffi::OsString;
use std::io;
use std::net::ToSocketAddrs;
use std::process::ExitCode;

use log::{Level, error, info, log_enabled, warn};

use super::config::{Config, Invocation};
use super::control::Control;
use super::logging::Logging;
use super::plugins;
use crate::cli::{EXIT_USAGE, ListenerSpec, print, print_error, print_usage_error};
use crate::net::{
    EventLoop, Exit, Signals, SocketOptions, TcpAcceptor, available_memory, raise_file_limit,
};
use crate::strerror::strerror;

/// Runs `mynah` with `args`, without the program's name.
///
/// Returns the exit status: 0 stopped in order, 1 could not run, 2 bad options or configuration.
#[must_use]
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    let printed = match Invocation::from_args(&args) {
        Ok(Invocation::Help(text)) => print(text.trim_end()),
        Ok(Invocation::Version) => print(concat!("mynah ", env!("CARGO_PKG_VERSION"))),
        Ok(Invocation::Check(config)) => match plugins::check(&config) {
            Ok(()) => print("mynah: options and configuration are good"),
            Err(reason) => {
                print_error(format_args!("mynah: {reason}"));
                return ExitCode::from(EXIT_USAGE);
            }
        },
        Ok(Invocation::Run(config)) => return serve(&config),
        Err(error) => return print_usage_error("mynah", error),
    };
    // A reader that has gone is not a failure of the program.
    let _ = printed;
    ExitCode::SUCCESS
}

fn serve(config: &Config) -> ExitCode {
    let logging = match Logging::start(config.log_level(), config.log_file()) {
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
    let code = match serve_until_stopped(config, &logging) {
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

fn serve_until_stopped(config: &Config, logging: &Logging) -> Result<Exit, String> {
    let files =
        raise_file_limit().map_err(|e| format!("cannot read the file limit: {}", strerror(&e)))?;
    let (limits, lowered_from) = config.limits(files, available_memory());
    let max = limits.clients_max;
    if let Some(wanted) = lowered_from {
        warn!("--max-clients {wanted} does not fit the limit of {files} files, lowered to {max}");
    }
    let (log, wanted) = (limits.broadcast_log_bytes_max, config.broadcast_log());
    if config.settings.broadcast_log.is_some() && log < wanted {
        warn!(
            "--broadcast-log {wanted} does not fit the memory limit of {} bytes, lowered to {log}",
            limits.memory_bytes_max
        );
    }
    let cannot_start = |error| format!("cannot start: {}", strerror(&error));
    let mut event_loop = EventLoop::new(limits).map_err(cannot_start)?;
    let signals = Signals::install(&event_loop).map_err(cannot_start)?;
    info!("mynah {} starting, room for {max} clients", env!("CARGO_PKG_VERSION"));
    if let Some(host) = plugins::load(config)? {
        event_loop.server_mut().set_plugins(host);
    }
    open_listeners(config, &mut event_loop)?;
    let reloader = plugins::Reloader::new(config, event_loop.handle());
    let mut control = Control::new(signals, event_loop.handle(), |server| {
        info!("SIGHUP: {}", reload_steps(config));
        logging.reopen();
        reloader.reload(server);
    });
    event_loop
        .run_with(&mut control)
        .map_err(|error| format!("the event loop failed: {}", strerror(&error)))
}

/// Log text of a SIGHUP. The steps log their results themselves.
fn reload_steps(config: &Config) -> &'static str {
    match (config.log_file().is_some(), config.plugin_dir.is_some()) {
        (true, true) => "reopening the log file, reloading the plugins",
        (true, false) => "reopening the log file",
        (false, true) => "reloading the plugins",
        (false, false) => "nothing to reload: there is neither a log file nor a plugin folder",
    }
}

/// Opens every listener in the order given, and logs it. A default listener whose port is taken is
/// skipped as long as another opens; one that was asked for is an error.
fn open_listeners(config: &Config, event_loop: &mut EventLoop) -> Result<(), String> {
    let options = SocketOptions { keepalive: config.keepalive() };
    let mut opened = 0;
    let mut first_error = None;
    for spec in &config.listeners {
        match bind(spec, options) {
            Ok((acceptor, name)) => {
                event_loop
                    .add_listener(acceptor, config.listener(spec, name.clone()))
                    .map_err(|error| format!("cannot listen on {name}: {}", strerror(&error)))?;
                opened += 1;
                info!("listening on {name}");
            }
            Err(error) => {
                let reason = format!("cannot listen on {spec}: {}", strerror(&error));
                let taken = error.kind() == io::ErrorKind::AddrInUse;
                if !(config.listeners_are_defaults && taken) {
                    return Err(reason);
                }
                warn!("{reason}; skipped");
                first_error.get_or_insert(reason);
            }
        }
    }
    match first_error {
        Some(reason) if opened == 0 => Err(reason),
        _ => Ok(()),
    }
}

/// Binds the first address of the host that belongs to this machine, and returns the listener's URL
/// with that address and the real port. A taken port is an error and does not lead to the next
/// address: a host name means its first address.
fn bind(spec: &ListenerSpec, options: SocketOptions) -> io::Result<(TcpAcceptor, String)> {
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for addr in (spec.host.as_str(), spec.port).to_socket_addrs()? {
        match TcpAcceptor::bind(addr, options).and_then(|a| Ok((a.local_addr()?, a))) {
            Ok((addr, acceptor)) => return Ok((acceptor, format!("{}://{addr}", spec.protocol))),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}
