//! `--check`: finds what a start would trip over, and prints what would open. It opens no listener
//! and no file, and writes nothing but its report.

use std::net::SocketAddr;
use std::process::ExitCode;

#[cfg(feature = "admin")]
use super::admin;
#[cfg(feature = "cluster")]
use super::cluster;
use super::config::Config;
use super::fit_limits::fit_limits;
use super::listen_error::ListenError;
use super::listeners::Place;
#[cfg(feature = "unix")]
use super::listeners::without_links;
use super::systemd::PassedSockets;
use super::{accounts, listeners, log_file, plugins, tls};
use crate::cli::{EXIT_USAGE, ListenerSpec, print, print_error};
use crate::net::TcpAcceptor;
#[cfg(feature = "unix")]
use crate::net::UnixAcceptor;
use crate::strerror::strerror;

/// Errors of two kinds, by whose exit status they are.
#[derive(Default)]
struct Errors {
    /// Of options, configuration and plugins.
    config: Vec<String>,
    /// Of the machine: addresses, folders.
    machine: Vec<String>,
}

/// Prints the report, and returns the exit status: 0 a start would succeed, 1 the machine is in its
/// way, 2 options, configuration or plugins are.
#[cold]
pub(super) fn check(config: &Config) -> ExitCode {
    let mut errors = Errors::default();
    // Before anything is opened.
    let passed = PassedSockets::receive(&config.listeners, listeners::options(config));
    match fit_limits(config) {
        Ok((_, warnings)) => warnings.iter().for_each(|warning| print_warning(warning)),
        Err(reason) => errors.machine.push(reason),
    }
    if let Err(reasons) = plugins::check(config) {
        errors.config.extend(reasons);
    }
    if let Err(reason) = accounts::check(config) {
        errors.config.push(reason);
    }
    #[cfg(feature = "admin")]
    if let Err(reason) = admin::load(config) {
        errors.config.push(reason);
    }
    #[cfg(feature = "cluster")]
    {
        config.warnings.iter().for_each(|warning| print_warning(warning));
        if let Err(reason) = cluster::read(config) {
            errors.config.push(reason);
        }
    }
    match tls::check(config) {
        Ok(warnings) => warnings.iter().for_each(|warning| print_warning(warning)),
        Err(reasons) => errors.config.extend(reasons),
    }
    let mut lines = match passed {
        Ok(passed) => check_listeners(config, passed, &mut errors),
        Err(reason) => {
            errors.machine.push(reason);
            Vec::new()
        }
    };
    if let Some(file) = config.log_file() {
        match log_file::check(&file) {
            Ok(()) => lines.push(format!("would log to {}", file.display())),
            Err(error) => {
                let reason = strerror(&error);
                errors.machine.push(format!("cannot log to {}: {reason}", file.display()));
            }
        }
    }
    lines.extend(config.notices.iter().cloned());
    for error in errors.config.iter().chain(&errors.machine) {
        print_error(format_args!("mynah: {error}"));
    }
    let status = match (&*errors.config, &*errors.machine) {
        ([], []) => {
            lines.push("mynah: options and configuration are good".to_owned());
            ExitCode::SUCCESS
        }
        ([], _) => ExitCode::FAILURE,
        _ => ExitCode::from(EXIT_USAGE),
    };
    match lines.is_empty() || print("mynah", &lines.join("\n")) == ExitCode::SUCCESS {
        true => status,
        false => ExitCode::FAILURE,
    }
}

fn print_warning(warning: &str) {
    print_error(format_args!("mynah: warning: {warning}"));
}

/// Returns a line for each listener that would open.
fn check_listeners(config: &Config, mut passed: PassedSockets, errors: &mut Errors) -> Vec<String> {
    let mut bound: Vec<(&ListenerSpec, Place)> = Vec::new();
    let (mut lines, mut skipped) = (Vec::new(), Vec::new());
    for (place, spec) in config.listeners.iter().enumerate() {
        if let Some(acceptor) = passed.take(place) {
            match Place::of(&acceptor) {
                Ok(place) => {
                    let url = place.url_of(spec, true);
                    lines.push(format!("would listen on {url}, a passed socket"));
                    #[cfg(feature = "cluster")]
                    if spec.reuse_port == Some(true) {
                        print_warning(&listeners::passed_reuse_port(spec));
                    }
                }
                Err(source) => errors.machine.push(ListenError { spec, source }.to_string()),
            }
            continue;
        }
        match check_listener(spec, config) {
            Ok(place) => match bound.iter().find(|(s, p)| overlaps((spec, &place), (s, p))) {
                Some((other, _)) => {
                    errors.config.push(format!("{other} and {spec} are at one address"));
                }
                None => {
                    lines.push(format!("would listen on {spec}"));
                    bound.push((spec, place));
                }
            },
            Err(error) if listeners::is_skipped(&error, config) => skipped.push(error),
            Err(error) => errors.machine.push(error.to_string()),
        }
    }
    report_skipped(&skipped, lines.is_empty(), errors);
    lines
}

fn check_listener<'a>(spec: &'a ListenerSpec, config: &Config) -> Result<Place, ListenError<'a>> {
    #[cfg(feature = "unix")]
    if let Some(path) = &spec.path {
        let checked = UnixAcceptor::check(path).map(|()| Place::Unix(without_links(path)));
        return checked.map_err(|source| ListenError { spec, source });
    }
    listeners::bind_first(spec, config, &mut TcpAcceptor::check).map(Place::Inet)
}

/// Default listeners whose port is taken are warnings, unless none is left.
fn report_skipped(skipped: &[ListenError<'_>], none_opens: bool, errors: &mut Errors) {
    for error in skipped {
        if none_opens {
            errors.machine.push(error.to_string());
        } else {
            print_warning(&format!("{error}; skipped"));
        }
    }
}

/// Whether the second to listen would find its address in use by the first: the ports are the same,
/// and so are the addresses, or one stands for all of the other's family. Unix sockets have one path.
fn overlaps(one: (&ListenerSpec, &Place), other: (&ListenerSpec, &Place)) -> bool {
    #[cfg(feature = "unix")]
    let (Place::Inet(a), Place::Inet(b)) = (one.1, other.1) else { return one.1 == other.1 };
    #[cfg(not(feature = "unix"))]
    let (Place::Inet(a), Place::Inet(b)) = (one.1, other.1);
    overlaps_inet((one.0, *a), (other.0, *b))
}

fn overlaps_inet(one: (&ListenerSpec, SocketAddr), other: (&ListenerSpec, SocketAddr)) -> bool {
    let covers = |(spec, all): (&ListenerSpec, SocketAddr),
                  (_, addr): (&ListenerSpec, SocketAddr)| {
        let is_of_its_family = spec.host.is_empty() || all.is_ipv4() == addr.is_ipv4();
        all.ip().is_unspecified() && is_of_its_family
    };
    let (a, b) = (one.1, other.1);
    a.port() == b.port() && a.port() != 0 && (a == b || covers(one, other) || covers(other, one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcard_covers_the_addresses_of_its_family() {
        for (one, other, overlap) in [
            ("raw://127.0.0.1:7", "chat://127.0.0.1:7", true),
            ("raw://127.0.0.1:7", "chat://127.0.0.1:8", false),
            ("raw://127.0.0.1:7", "chat://127.0.0.2:7", false),
            ("raw://127.0.0.1:0", "chat://127.0.0.1:0", false),
            ("raw://0.0.0.0:7", "chat://127.0.0.1:7", true),
            ("raw://0.0.0.0:7", "chat://[::1]:7", false),
            ("raw://0.0.0.0:7", "chat://[::]:7", false),
            ("raw://[::]:7", "chat://[::1]:7", true),
            ("raw://:7", "chat://127.0.0.1:7", true),
            ("raw://:7", "chat://[::1]:7", true),
            ("raw://:7", "chat://0.0.0.0:7", true),
        ] {
            let spec = |url: &str| {
                let spec = ListenerSpec::parse_url(url).unwrap();
                let addr = match &*spec.host {
                    "" => format!("[::]:{}", spec.port),
                    _ => url.split_once("://").unwrap().1.to_owned(),
                };
                (spec, addr.parse().unwrap())
            };
            let ((one_spec, a), (other_spec, b)) = (spec(one), spec(other));
            assert_eq!(overlaps_inet((&one_spec, a), (&other_spec, b)), overlap, "{one} {other}");
            assert_eq!(overlaps_inet((&other_spec, b), (&one_spec, a)), overlap, "{other} {one}");
        }
    }
}
