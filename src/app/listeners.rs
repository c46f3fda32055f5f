//! Opening of the configured listeners: names to addresses, and which failures end the start.

use std::io;
use std::net::ToSocketAddrs;

use log::{info, warn};

use super::config::Config;
use crate::cli::ListenerSpec;
use crate::net::{EventLoop, SocketOptions, TcpAcceptor};
use crate::strerror::strerror;

/// Opens every listener in the order given, and logs it. A default listener whose port is taken is
/// skipped as long as another opens; one that was asked for is an error.
pub(super) fn open(config: &Config, event_loop: &mut EventLoop) -> Result<(), String> {
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
