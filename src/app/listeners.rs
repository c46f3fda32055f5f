//! Opening of the configured listeners: names to addresses, and which failures end the start.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use log::{info, warn};

use super::accounts::AccountsReloader;
use super::config::Config;
use super::listen_error::ListenError;
use super::systemd::PassedSockets;
use super::tls::Certificates;
use crate::cli::ListenerSpec;
#[cfg(feature = "unix")]
use crate::net::UnixAcceptor;
use crate::net::{EventLoop, SocketAcceptor, SocketOptions, TcpAcceptor};
#[cfg(feature = "admin")]
use crate::server::Identity;

/// Opens every listener in the order given, and logs it. A default listener whose port is taken is
/// skipped as long as another opens; one that was asked for is an error.
pub(super) fn open(
    config: &Config,
    mut passed: PassedSockets,
    certificates: &mut Certificates,
    accounts: &AccountsReloader,
    event_loop: &mut EventLoop,
) -> Result<(), String> {
    let mut opened = 0;
    let mut first_error = None;
    for (place, spec) in config.listeners.iter().enumerate() {
        let bound = passed.take(place).map_or_else(|| bind(spec, config), Ok);
        match bound {
            Ok(acceptor) => {
                add(spec, acceptor, config, event_loop)
                    .map_err(|source| ListenError { spec, source }.to_string())?;
                certificates.attach(place, event_loop);
                accounts.attach(place, event_loop);
                opened += 1;
            }
            Err(error) => {
                let reason = error.to_string();
                if !is_skipped(&error, config) {
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

fn bind<'a>(spec: &'a ListenerSpec, config: &Config) -> Result<SocketAcceptor, ListenError<'a>> {
    #[cfg(feature = "unix")]
    if let Some(path) = &spec.path {
        let mode = spec.mode;
        // Whoever may connect to it may do everything.
        #[cfg(feature = "admin")]
        let mode =
            mode.or((spec.protocol == crate::protocol::ProtocolName::Admin).then_some(0o600));
        let bound = UnixAcceptor::bind(path, mode);
        return bound.map(Into::into).map_err(|source| ListenError { spec, source });
    }
    bind_first(spec, config, TcpAcceptor::bind).map(|(acceptor, _)| acceptor.into())
}

/// Adds a bound listener to the loop. It is called by its URL as it was given, with the real port; a
/// passed socket by its real address.
fn add(
    spec: &ListenerSpec,
    acceptor: SocketAcceptor,
    config: &Config,
    event_loop: &mut EventLoop,
) -> io::Result<()> {
    let name = url_of(spec, &acceptor)?;
    #[cfg(feature = "admin")]
    let url = name.clone();
    event_loop.add_listener(acceptor, config.listener(spec, name.clone()))?;
    #[cfg(feature = "admin")]
    {
        let (server, name) = (event_loop.server_mut(), spec.name.clone().unwrap_or_default());
        server.set_identity(server.listener_count() - 1, Identity { name, url });
    }
    #[cfg(feature = "admission")]
    if let Some(proxies) = &spec.proxies {
        let server = event_loop.server_mut();
        server.trust_proxies(server.listener_count() - 1, Some(proxies.clone()));
    }
    info!("listening on {name}");
    Ok(())
}

/// The URL of `spec` with the address of its socket.
pub(super) fn url_of(spec: &ListenerSpec, acceptor: &SocketAcceptor) -> io::Result<String> {
    let spec = match acceptor {
        SocketAcceptor::Tcp(acceptor) => {
            let addr = acceptor.local_addr()?;
            #[cfg(feature = "systemd")]
            if acceptor.is_passed() {
                let host = addr.ip().to_string();
                #[cfg(feature = "unix")]
                let spec = &ListenerSpec { path: None, ..spec.clone() };
                return Ok(ListenerSpec { host, port: addr.port(), ..spec.clone() }.to_string());
            }
            ListenerSpec { port: addr.port(), ..spec.clone() }
        }
        #[cfg(all(feature = "systemd", feature = "unix"))]
        SocketAcceptor::Unix(acceptor) if acceptor.is_passed() => {
            let path = Some(acceptor.path().unwrap_or_default());
            ListenerSpec { path, ..spec.clone() }
        }
        #[cfg(feature = "unix")]
        SocketAcceptor::Unix(_) => ListenerSpec { port: 0, ..spec.clone() },
    };
    Ok(spec.to_string())
}

/// Whether a start goes on without the listener.
pub(super) fn is_skipped(error: &ListenError<'_>, config: &Config) -> bool {
    config.listeners_are_defaults && error.source.kind() == io::ErrorKind::AddrInUse
}

/// Options of all sockets.
pub(super) fn options(config: &Config) -> SocketOptions {
    SocketOptions { keepalive: config.keepalive(), is_dual_stack: false }
}

/// Calls `bind` with the addresses of `spec` up to the first that belongs to this machine, and
/// returns that address, too. A taken port is an error and does not lead to the next address: a host
/// name means its first address.
pub(super) fn bind_first<'a, T>(
    spec: &'a ListenerSpec,
    config: &Config,
    bind: impl Fn(SocketAddr, SocketOptions) -> io::Result<T>,
) -> Result<(T, SocketAddr), ListenError<'a>> {
    let fail = |source| ListenError { spec, source };
    let options = SocketOptions { is_dual_stack: spec.host.is_empty(), ..options(config) };
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for addr in addresses(spec).map_err(fail)? {
        match bind(addr, options) {
            Ok(bound) => return Ok((bound, addr)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(fail(error)),
            Err(error) => last_error = error,
        }
    }
    Err(fail(last_error))
}

/// The addresses of `spec` in the order in which they are tried. All addresses are one socket for
/// both families, or where there is no IPv6 one for IPv4.
fn addresses(spec: &ListenerSpec) -> io::Result<Vec<SocketAddr>> {
    let ListenerSpec { host, port, .. } = spec;
    if host.is_empty() {
        let (ipv6, ipv4) = (Ipv6Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED);
        return Ok(vec![(ipv6, *port).into(), (ipv4, *port).into()]);
    }
    Ok((host.as_str(), *port).to_socket_addrs()?.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::config::Invocation;

    fn config(url: &str) -> Config {
        match Invocation::from_args(&["-l", url]) {
            Ok(Invocation::Run(config)) => config,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn all_addresses_are_ipv4_where_there_is_no_ipv6() {
        let config = config("raw://:80");
        let without_ipv6 = |addr: SocketAddr, options: SocketOptions| {
            assert!(options.is_dual_stack);
            let error = || io::Error::from_raw_os_error(libc::EAFNOSUPPORT);
            if addr.is_ipv6() { Err(error()) } else { Ok(()) }
        };
        let ((), addr) = bind_first(&config.listeners[0], &config, without_ipv6).unwrap();
        assert_eq!(addr, "0.0.0.0:80".parse().unwrap());
        let ((), addr) = bind_first(&config.listeners[0], &config, |_, _| Ok(())).unwrap();
        assert_eq!(addr, "[::]:80".parse().unwrap());
    }

    #[test]
    fn taken_port_does_not_lead_to_the_next_address() {
        let config = config("raw://:80");
        let taken = |addr: SocketAddr, _| match addr.is_ipv6() {
            true => Err(io::Error::from_raw_os_error(libc::EADDRINUSE)),
            false => Ok(()),
        };
        let error = bind_first(&config.listeners[0], &config, taken).unwrap_err();
        assert_eq!(error.to_string(), "cannot listen on raw://:80: address already in use");
    }
}
