//! Listeners that the service manager opened and passes by name (sd_listen_fds(3)). Each stands for
//! the listener of that name in the configuration.

use std::ffi::OsString;
use std::fmt::{self, Write};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::{env, process};

use log::info;

use crate::cli::ListenerSpec;
use crate::cli::suggest::{DidYouMean, nearest};
use crate::escape::EscapeControl;
use crate::net::{PassedSocketError, SocketAcceptor, SocketOptions};
use crate::os_text;
use crate::strerror::strerror;

/// Sockets of listeners, by the listeners' places in the configuration.
#[derive(Debug, Default)]
pub(in crate::app) struct PassedSockets {
    sockets: Vec<Option<(String, SocketAcceptor)>>,
}

/// Why passed sockets cannot be used.
#[derive(Debug)]
enum PassedSocketsError {
    /// A variable of the environment is not the number that it has to be.
    NotANumber { variable: &'static str, value: String },
    /// There are more sockets than listeners.
    TooMany { passed: u64, listeners: usize },
    /// So many descriptors were promised, and cannot be had.
    Missing { passed: u64, source: io::Error },
    /// There are names for more or fewer sockets.
    NameCount { passed: u64, names: usize },
    /// A socket has no name.
    Unnamed,
    /// No listener has that name; they have these.
    UnknownName { name: String, known: Vec<String> },
    /// Two sockets have that name.
    Repeated(String),
    /// The descriptor is not a listening socket.
    Unusable { name: String, source: PassedSocketError },
}

impl fmt::Display for PassedSocketsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = EscapeControl(f);
        match self {
            PassedSocketsError::NotANumber { variable, value } => {
                write!(f, "{variable}='{value}' is not a number")
            }
            PassedSocketsError::TooMany { passed, listeners } => {
                write!(f, "too many sockets were passed: {passed}, for listeners: {listeners}")
            }
            PassedSocketsError::Missing { passed, source } => {
                write!(f, "LISTEN_FDS={passed} sockets were not passed: {}", strerror(source))
            }
            PassedSocketsError::NameCount { passed, names } => {
                write!(f, "LISTEN_FDNAMES has {names} names for LISTEN_FDS={passed} sockets")
            }
            PassedSocketsError::Unnamed => f.write_str(
                "a socket was passed without a name: FileDescriptorName= in its unit names the \
                 listener that it is for",
            ),
            PassedSocketsError::UnknownName { name, known } => {
                write!(f, "a socket was passed for '{name}', there are {}", known.join(", "))?;
                let nearest = nearest(name, known.iter().map(String::as_str));
                write!(f, "{}", DidYouMean(nearest))
            }
            PassedSocketsError::Repeated(name) => write!(f, "two sockets were passed for '{name}'"),
            PassedSocketsError::Unusable { name, source } => {
                write!(f, "the socket passed for '{name}' cannot be used: {source}")
            }
        }
    }
}

impl PassedSockets {
    /// Takes what was passed to this process for `listeners`, once. Must come before anything else is
    /// opened: a descriptor that was promised and not passed would be that then.
    ///
    /// # Errors
    ///
    /// Any of it cannot be used.
    pub(in crate::app) fn receive(
        listeners: &[ListenerSpec],
        options: SocketOptions,
    ) -> Result<Self, String> {
        take_from_environment(listeners, options).map_err(|error| error.to_string())
    }

    /// Logs which listeners have passed sockets.
    pub(in crate::app) fn log(&self) {
        let names: Vec<&str> = self.sockets.iter().flatten().map(|(name, _)| &**name).collect();
        if !names.is_empty() {
            info!("passed sockets: {}", names.join(", "));
        }
    }

    /// The socket of the listener at `place` of the configuration, if one was passed.
    pub(in crate::app) fn take(&mut self, place: usize) -> Option<SocketAcceptor> {
        self.sockets.get_mut(place)?.take().map(|(_, socket)| socket)
    }
}

fn take_from_environment(
    listeners: &[ListenerSpec],
    options: SocketOptions,
) -> Result<PassedSockets, PassedSocketsError> {
    let mut passed = PassedSockets::default();
    let pid = number("LISTEN_PID", env::var_os("LISTEN_PID"))?;
    if pid != Some(u64::from(process::id())) {
        return Ok(passed);
    }
    let count = number("LISTEN_FDS", env::var_os("LISTEN_FDS"))?.unwrap_or(0);
    // sd-listen-fds makes a list of as many.
    if usize::try_from(count).map_or(true, |count| count > listeners.len()) {
        return Err(PassedSocketsError::TooMany { passed: count, listeners: listeners.len() });
    }
    if count == 0 {
        return Ok(passed);
    }
    let names = env::var_os("LISTEN_FDNAMES").ok_or(PassedSocketsError::Unnamed)?;
    let names = names.as_bytes().split(|byte| *byte == b':').count();
    if u64::try_from(names) != Ok(count) {
        return Err(PassedSocketsError::NameCount { passed: count, names });
    }
    let missing = |source| PassedSocketsError::Missing { passed: count, source };
    // sd-listen-fds owns descriptors without a look at them; sd-notify finds those that are not open.
    let _ = sd_notify::listen_fds().map_err(missing)?;
    let sockets = sd_listen_fds::get().map_err(|_| missing(io::ErrorKind::InvalidInput.into()))?;
    passed.sockets.resize_with(listeners.len(), || None);
    for (name, socket) in sockets {
        let name = name.filter(|name| !name.is_empty()).ok_or(PassedSocketsError::Unnamed)?;
        let place = place_of(&name, listeners)?;
        let socket = match SocketAcceptor::adopt(socket.into_std(), options) {
            Ok(socket) => socket,
            Err(source) => return Err(PassedSocketsError::Unusable { name, source }),
        };
        if let Some((name, _)) = passed.sockets[place].replace((name, socket)) {
            return Err(PassedSocketsError::Repeated(name));
        }
    }
    Ok(passed)
}

/// The place of the listener `name`.
fn place_of(name: &str, listeners: &[ListenerSpec]) -> Result<usize, PassedSocketsError> {
    let is_named = |spec: &ListenerSpec| spec.name.as_deref() == Some(name);
    listeners.iter().position(is_named).ok_or_else(|| {
        let known = listeners.iter().filter_map(|spec| spec.name.as_deref());
        let known = known.map(str::to_owned).collect();
        PassedSocketsError::UnknownName { name: name.to_owned(), known }
    })
}

/// Reads a number of the environment; `None` where it is not set.
fn number(
    variable: &'static str,
    value: Option<OsString>,
) -> Result<Option<u64>, PassedSocketsError> {
    let Some(value) = value else { return Ok(None) };
    match value.to_str().map(str::parse) {
        Some(Ok(number)) => Ok(Some(number)),
        _ => {
            let value = os_text::encode(value.as_bytes());
            Err(PassedSocketsError::NotANumber { variable, value })
        }
    }
}
