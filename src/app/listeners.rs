//! The sockets of the configured listeners: names to addresses, those that are open already, and
//! which failures are an error.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
#[cfg(feature = "unix")]
use std::path::{Path, PathBuf};

use log::warn;

use super::config::Config;
use super::listen_error::ListenError;
use super::systemd::PassedSockets;
use crate::cli::ListenerSpec;
#[cfg(feature = "unix")]
use crate::net::UnixAcceptor;
use crate::net::{Running, SocketAcceptor, SocketOptions, SocketTransport, TcpAcceptor};
use crate::protocol::ProtocolName;
#[cfg(feature = "admin")]
use crate::server::Identity;
use crate::server::Server;

/// Where a listener is bound.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    Inet(SocketAddr),
    /// A file, in its folder's real place. bind(2) follows no link at the path itself.
    #[cfg(feature = "unix")]
    Unix(PathBuf),
}

impl Place {
    pub(super) fn of(acceptor: &SocketAcceptor) -> io::Result<Self> {
        match acceptor {
            SocketAcceptor::Tcp(acceptor) => acceptor.local_addr().map(Place::Inet),
            #[cfg(all(feature = "systemd", feature = "unix"))]
            SocketAcceptor::Unix(acceptor) => {
                let path = acceptor.path().map(|path| without_links(&path));
                Ok(Place::Unix(path.unwrap_or_default()))
            }
            // None is passed.
            #[cfg(all(not(feature = "systemd"), feature = "unix"))]
            SocketAcceptor::Unix(_) => Ok(Place::Unix(PathBuf::new())),
        }
    }

    /// The URL of a listener that is bound here: as it was given, with the real port. Where a passed
    /// socket is bound says nothing of what was given.
    pub(super) fn url_of(&self, spec: &ListenerSpec, is_passed: bool) -> String {
        let mut spec = spec.clone();
        match self {
            Place::Inet(addr) => {
                spec.port = addr.port();
                if is_passed {
                    spec.host = addr.ip().to_string();
                    #[cfg(feature = "unix")]
                    {
                        spec.path = None;
                    }
                }
            }
            #[cfg(feature = "unix")]
            Place::Unix(path) if is_passed => spec.path = Some(path.clone()),
            #[cfg(feature = "unix")]
            Place::Unix(_) => spec.port = 0,
        }
        spec.to_string()
    }
}

/// A listener that is open.
#[derive(Debug, Clone)]
pub(super) struct OpenListener {
    /// Its place in the configuration in force.
    pub(super) at: usize,
    /// Its URL as it was given, with the real port.
    pub(super) url: String,
    /// Protocol and host as they were given.
    protocol: ProtocolName,
    host: String,
    /// Whether the system picked its port.
    has_any_port: bool,
    pub(super) place: Place,
    /// Its number in the server.
    pub(super) number: usize,
    /// Its name in metrics and among passed sockets.
    #[cfg(any(feature = "admin", feature = "cluster", feature = "systemd"))]
    name: Option<String>,
    /// The service manager opened it.
    #[cfg(feature = "systemd")]
    is_passed: bool,
    /// Whether it accepts: one whose socket failed does not, and is opened anew.
    pub(super) is_listening: bool,
}

/// The socket of a configured listener.
pub(super) enum Socket {
    /// It was bound for it.
    New(SocketAcceptor, Place),
    /// That of an open listener, which stands at this place of their list.
    Open(usize),
    /// A default listener whose port is taken does without.
    Skipped,
}

/// Finds a socket for every listener of `config`: of those that are open the one that is bound to
/// its address or path, or else a new one. Returns them in the order of the configuration, and
/// warnings: a default one whose port is taken is skipped, as long as another opens; a key has no
/// effect on a socket that was passed.
///
/// # Errors
///
/// A reason for each that cannot be bound; no new one is left open.
pub(super) fn bind_all(
    config: &Config,
    open: &[OpenListener],
    mut passed: PassedSockets,
) -> Result<(Vec<Socket>, Vec<String>), Vec<String>> {
    let (mut sockets, mut errors, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
    #[cfg(feature = "cluster")]
    let mut shared_ports = SharedPorts::default();
    let mut is_free: Vec<bool> = open.iter().map(|listener| listener.is_listening).collect();
    for (at, spec) in config.listeners.iter().enumerate() {
        let bound = match passed.take(at) {
            Some(acceptor) => Place::of(&acceptor)
                .map(|place| Socket::New(acceptor, place))
                .map_err(|source| ListenError { spec, source }),
            None => bind(spec, config, open, &is_free),
        };
        #[cfg(feature = "cluster")]
        let bound = bound.and_then(|socket| shared_ports.add(spec, socket, open));
        match bound {
            Ok(socket) => {
                if let Socket::Open(at) = socket {
                    is_free[at] = false;
                }
                sockets.push(socket);
            }
            Err(error) if is_skipped(&error, config) => {
                skipped.push(error.to_string());
                sockets.push(Socket::Skipped);
            }
            Err(error) => errors.push(error.to_string()),
        }
    }
    if skipped.len() == config.listeners.len() {
        errors.extend(skipped.first().cloned());
    }
    skipped.iter_mut().for_each(|warning| warning.push_str("; skipped"));
    #[cfg(feature = "cluster")]
    skipped.append(&mut shared_ports.warnings);
    if errors.is_empty() {
        return Ok((sockets, skipped));
    }
    skipped.iter().for_each(|warning| warn!("{warning}"));
    Err(errors)
}

/// Finds the socket of one listener. Of those that are open, it may have those that are free.
fn bind<'a>(
    spec: &'a ListenerSpec,
    config: &Config,
    open: &[OpenListener],
    is_free: &[bool],
) -> Result<Socket, ListenError<'a>> {
    let find = |place: Option<&Place>| {
        let is_it = |listener: &OpenListener| match place {
            // An IPv6 socket for all addresses may be one for IPv4, too.
            Some(place) => {
                listener.place == *place && listener.host.is_empty() == spec.host.is_empty()
            }
            // A free port is found by its place among those of its protocol.
            None => {
                let is_alike = listener.protocol == spec.protocol && listener.host == spec.host;
                listener.has_any_port && is_alike
            }
        };
        let found = open.iter().zip(is_free).position(|(listener, free)| *free && is_it(listener));
        found.map(Socket::Open)
    };
    // Where the service manager opened it does not matter: its name says what it is for.
    #[cfg(feature = "systemd")]
    {
        let is_it = |(listener, free): (&OpenListener, &bool)| {
            *free && listener.is_passed && listener.name == spec.name
        };
        if let Some(at) = open.iter().zip(is_free).position(is_it) {
            return Ok(Socket::Open(at));
        }
    }
    #[cfg(feature = "unix")]
    if let Some(path) = &spec.path {
        let place = Place::Unix(without_links(path));
        if let Some(socket) = find(Some(&place)) {
            // Whoever may connect to another protocol's socket shall not administer the server.
            #[cfg(feature = "admin")]
            if let Socket::Open(at) = socket
                && spec.protocol == ProtocolName::Admin
                && open[at].protocol != ProtocolName::Admin
            {
                let reason = format!("it is open for {}: that needs a restart", open[at].protocol);
                let source = io::Error::new(io::ErrorKind::Unsupported, reason);
                return Err(ListenError { spec, source });
            }
            return Ok(socket);
        }
        let mode = spec.mode;
        // Whoever may connect to it may do everything.
        #[cfg(feature = "admin")]
        let mode = mode.or((spec.protocol == ProtocolName::Admin).then_some(0o600));
        let bound = UnixAcceptor::bind(path, mode);
        return bound
            .map(|acceptor| Socket::New(acceptor.into(), place))
            .map_err(|source| ListenError { spec, source });
    }
    if spec.port == 0
        && let Some(socket) = find(None)
    {
        return Ok(socket);
    }
    let mut bound = Socket::Skipped;
    let mut bind = |addr, options| {
        bound = match find(Some(&Place::Inet(addr))) {
            Some(socket) => socket,
            None => {
                let acceptor = TcpAcceptor::bind(addr, options)?;
                let place = Place::Inet(acceptor.local_addr()?);
                Socket::New(acceptor.into(), place)
            }
        };
        Ok(())
    };
    bind_first(spec, config, &mut bind)?;
    Ok(bound)
}

/// Addresses with `reuse_port`: the kernel would give one to two listeners of this server too, and
/// half of the clients of either to the other.
#[cfg(feature = "cluster")]
#[derive(Default)]
struct SharedPorts {
    places: Vec<Place>,
    /// About sockets that are passed: their options are those of whoever opened them.
    warnings: Vec<String>,
}

#[cfg(feature = "cluster")]
impl SharedPorts {
    fn add<'a>(
        &mut self,
        spec: &'a ListenerSpec,
        socket: Socket,
        open: &[OpenListener],
    ) -> Result<Socket, ListenError<'a>> {
        if spec.reuse_port != Some(true) {
            return Ok(socket);
        }
        let (place, is_passed) = match &socket {
            #[cfg(feature = "systemd")]
            Socket::New(acceptor, place) => (place, acceptor.is_passed()),
            #[cfg(feature = "systemd")]
            Socket::Open(at) => (&open[*at].place, open[*at].is_passed),
            #[cfg(not(feature = "systemd"))]
            Socket::New(_, place) => (place, false),
            #[cfg(not(feature = "systemd"))]
            Socket::Open(at) => (&open[*at].place, false),
            Socket::Skipped => return Ok(socket),
        };
        if is_passed {
            self.warnings.push(passed_reuse_port(spec));
        } else if self.places.contains(place) {
            return Err(ListenError {
                spec,
                source: io::Error::from_raw_os_error(libc::EADDRINUSE),
            });
        } else {
            self.places.push(place.clone());
        }
        Ok(socket)
    }
}

/// The warning about a key that has no effect.
#[cfg(feature = "cluster")]
pub(super) fn passed_reuse_port(spec: &ListenerSpec) -> String {
    format!(
        "reuse_port of {spec} has no effect on a passed socket: its unit says so with ReusePort=yes"
    )
}

impl OpenListener {
    /// Adds the listener at a place of the configuration, which was bound, to a server that runs, or
    /// is about to. It is called by its URL as it was given, with the real port.
    pub(super) fn add(
        at: usize,
        acceptor: SocketAcceptor,
        place: Place,
        config: &Config,
        running: &mut Running<'_>,
    ) -> Result<Self, String> {
        let spec = &config.listeners[at];
        let mut listener = OpenListener {
            at,
            url: String::new(),
            protocol: spec.protocol,
            host: String::new(),
            has_any_port: false,
            #[cfg(feature = "systemd")]
            is_passed: acceptor.is_passed(),
            #[cfg(any(feature = "admin", feature = "cluster", feature = "systemd"))]
            name: None,
            place,
            number: 0,
            is_listening: true,
        };
        listener.configure(at, spec);
        let configuration = config.listener(spec, listener.url.clone());
        let added = running.add_listener(acceptor, configuration);
        listener.number = added.map_err(|source| ListenError { spec, source }.to_string())?;
        Ok(listener)
    }

    /// Has it be called by what stands at a place of a configuration. Returns what it was called.
    pub(super) fn configure(&mut self, at: usize, spec: &ListenerSpec) -> String {
        self.at = at;
        self.protocol = spec.protocol;
        self.host.clone_from(&spec.host);
        self.has_any_port = spec.port == 0 && matches!(self.place, Place::Inet(_));
        #[cfg(any(feature = "admin", feature = "cluster", feature = "systemd"))]
        self.name.clone_from(&spec.name);
        #[cfg(feature = "systemd")]
        let is_passed = self.is_passed;
        #[cfg(not(feature = "systemd"))]
        let is_passed = false;
        let url = self.place.url_of(spec, is_passed);
        std::mem::replace(&mut self.url, url)
    }

    /// Sets what belongs to the clients of a listener besides its protocol.
    pub(super) fn set_up(&self, config: &Config, server: &mut Server<SocketTransport>) {
        let spec = &config.listeners[self.at];
        #[cfg(feature = "admin")]
        {
            let name = self.name.clone().unwrap_or_default();
            server.set_identity(self.number, Identity { name, url: self.url.clone() });
        }
        #[cfg(feature = "admission")]
        server.trust_proxies(self.number, spec.proxies.clone());
        #[cfg(feature = "accounts")]
        server.set_auth(self.number, config.auth(spec));
        #[cfg(feature = "cluster")]
        {
            let spans_nodes = matches!(self.protocol, ProtocolName::Command | ProtocolName::Chat);
            let channel = self.name.as_ref().filter(|_| spans_nodes);
            let channel = channel.map(|name| format!("{}:{name}", self.protocol));
            server.set_channel(self.number, channel.as_deref());
        }
        let _ = (spec, server);
    }
}

/// Options of all sockets.
pub(super) fn options(config: &Config) -> SocketOptions {
    SocketOptions { keepalive: config.keepalive(), ..SocketOptions::default() }
}

/// Whether a start goes on without the listener.
pub(super) fn is_skipped(error: &ListenError<'_>, config: &Config) -> bool {
    config.listeners_are_defaults && error.source.kind() == io::ErrorKind::AddrInUse
}

#[cfg(feature = "unix")]
pub(super) fn without_links(path: &Path) -> PathBuf {
    match (path.parent().and_then(|folder| folder.canonicalize().ok()), path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

/// Calls `bind` with the addresses of `spec` up to the first that belongs to this machine, and
/// returns that address. A taken port is an error and does not lead to the next address: a host name
/// means its first address.
pub(super) fn bind_first<'a>(
    spec: &'a ListenerSpec,
    config: &Config,
    bind: &mut dyn FnMut(SocketAddr, SocketOptions) -> io::Result<()>,
) -> Result<SocketAddr, ListenError<'a>> {
    let fail = |source| ListenError { spec, source };
    let options = SocketOptions {
        is_dual_stack: spec.host.is_empty(),
        #[cfg(feature = "cluster")]
        reuse_port: spec.reuse_port == Some(true),
        ..options(config)
    };
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for addr in addresses(spec).map_err(fail)? {
        match bind(addr, options) {
            Ok(()) => return Ok(addr),
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
        let mut without_ipv6 = |addr: SocketAddr, options: SocketOptions| {
            assert!(options.is_dual_stack);
            let error = || io::Error::from_raw_os_error(libc::EAFNOSUPPORT);
            if addr.is_ipv6() { Err(error()) } else { Ok(()) }
        };
        let addr = bind_first(&config.listeners[0], &config, &mut without_ipv6).unwrap();
        assert_eq!(addr, "0.0.0.0:80".parse().unwrap());
        let addr = bind_first(&config.listeners[0], &config, &mut |_, _| Ok(())).unwrap();
        assert_eq!(addr, "[::]:80".parse().unwrap());
    }

    #[test]
    fn taken_port_does_not_lead_to_the_next_address() {
        let config = config("raw://:80");
        let mut taken = |addr: SocketAddr, _: SocketOptions| match addr.is_ipv6() {
            true => Err(io::Error::from_raw_os_error(libc::EADDRINUSE)),
            false => Ok(()),
        };
        let error = bind_first(&config.listeners[0], &config, &mut taken).unwrap_err();
        assert_eq!(error.to_string(), "cannot listen on raw://:80: address already in use");
    }
}
