//! Why a listener cannot be opened, with what would do where that is known.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::Ipv6Addr;
#[cfg(feature = "unix")]
use std::path::Path;

use crate::cli::ListenerSpec;
use crate::strerror::strerror;

/// Smallest port that needs no privilege (ip(7): `ip_unprivileged_port_start`).
const UNPRIVILEGED_PORT_MIN: u16 = 1024;

/// A listener that cannot be opened.
#[derive(Debug)]
pub(super) struct ListenError<'a> {
    pub(super) spec: &'a ListenerSpec,
    pub(super) source: io::Error,
}

impl fmt::Display for ListenError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.spec, strerror(&self.source))?;
        self.hint().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

impl ListenError<'_> {
    fn hint(&self) -> Option<String> {
        #[cfg(feature = "unix")]
        if let Some(path) = &self.spec.path {
            return unix_hint(path, self.source.kind());
        }
        let ListenerSpec { host, port, .. } = self.spec;
        let address = host.parse::<Ipv6Addr>().ok();
        match self.source.kind() {
            ErrorKind::PermissionDenied if (1..UNPRIVILEGED_PORT_MIN).contains(port) => {
                Some(format!(
                    "a port below {UNPRIVILEGED_PORT_MIN} needs a privilege, by `setcap \
                 cap_net_bind_service=+ep` on the program or socket activation by systemd; or take \
                 a port from {UNPRIVILEGED_PORT_MIN} on"
                ))
            }
            ErrorKind::InvalidInput | ErrorKind::AddrNotAvailable => {
                let address = address?;
                if address.is_unicast_link_local() {
                    return Some(format!(
                        "a link-local address needs its interface, as in [{address}%eth0]"
                    ));
                }
                address.to_ipv4_mapped().map(|address| format!("write it as {address}"))
            }
            _ => None,
        }
    }
}

/// The folder that is missing, or that the server has no right to.
#[cfg(feature = "unix")]
fn unix_hint(path: &Path, kind: ErrorKind) -> Option<String> {
    let is_missing = !path.parent()?.exists();
    let folder = path.parent()?.display();
    match kind {
        ErrorKind::NotFound if is_missing => Some(format!("the folder {folder} does not exist")),
        ErrorKind::PermissionDenied => {
            Some(format!("the server's user needs the right to write in {folder}"))
        }
        ErrorKind::ReadOnlyFilesystem => Some(format!("{folder} is mounted read-only")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn shown(url: &str, errno: i32) -> String {
        let spec = ListenerSpec::parse_url(url).unwrap();
        let source = io::Error::from_raw_os_error(errno);
        ListenError { spec: &spec, source }.to_string()
    }

    #[test]
    fn low_port_without_privilege_has_a_hint() {
        let hint = " (a port below 1024 needs a privilege, by `setcap cap_net_bind_service=+ep` on \
                    the program or socket activation by systemd; or take a port from 1024 on)";
        let expected = format!("cannot listen on raw://127.0.0.1:80: permission denied{hint}");
        assert_eq!(shown("raw://127.0.0.1:80", libc::EACCES), expected);
        let above = "cannot listen on raw://h:1024: permission denied";
        assert_eq!(shown("raw://h:1024", libc::EACCES), above);
    }

    #[test]
    fn ipv6_address_that_lacks_something_has_a_hint() {
        for (url, errno, hint) in [
            (
                "raw://[fe80::1]:80",
                libc::EINVAL,
                "invalid argument (a link-local address needs its interface, as in [fe80::1%eth0])",
            ),
            ("raw://[fe80::1%lo]:80", libc::EADDRNOTAVAIL, "cannot assign requested address"),
            (
                "raw://[::ffff:127.0.0.1]:80",
                libc::EINVAL,
                "invalid argument (write it as 127.0.0.1)",
            ),
            ("raw://[2001:db8::1]:80", libc::EADDRNOTAVAIL, "cannot assign requested address"),
        ] {
            assert_eq!(shown(url, errno), format!("cannot listen on {url}: {hint}"));
        }
    }

    #[cfg(feature = "unix")]
    #[test]
    fn unix_error_names_the_folder() {
        let url = "chat+unix:///run/no/x.sock";
        for (errno, hint) in [
            (libc::ENOENT, "no such file or directory (the folder /run/no does not exist)"),
            (
                libc::EACCES,
                "permission denied (the server's user needs the right to write in /run/no)",
            ),
            (libc::EADDRINUSE, "address already in use"),
        ] {
            assert_eq!(shown(url, errno), format!("cannot listen on {url}: {hint}"));
        }
    }
}
