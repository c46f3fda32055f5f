//! Errors of accept(2), sorted by remedy.

use std::io::{self, ErrorKind};

use crate::server::AcceptError;

/// Most connection errors of accept(2) in a row. An error that stays, such as that of a security
/// module that denies every accept(2), must not spin the loop.
const RETRIES_MAX: u32 = 64;

/// "Machine is not on the network": an error number that only Linux has.
#[cfg(target_os = "linux")]
const ENONET: i32 = libc::ENONET;
/// Never an errno.
#[cfg(not(target_os = "linux"))]
const ENONET: i32 = 0;

/// Classifies errors of accept(2) by remedy. Linux also reports errors of the connection to be
/// accepted there; these are retried, up to [`RETRIES_MAX`] times in a row. Unknown errors pause
/// the listener and do not close it.
pub(super) fn classify(error: io::Error, retries: &mut u32) -> AcceptError {
    if error.kind() == ErrorKind::WouldBlock {
        *retries = 0;
        return AcceptError::WouldBlock;
    }
    match error.raw_os_error() {
        // accept(2), "Error handling", and what various kernels return besides.
        Some(
            libc::EINTR
            | libc::ECONNABORTED
            | libc::ECONNRESET
            | libc::EPERM
            | libc::EACCES
            | libc::EPROTO
            | libc::ENOPROTOOPT
            | libc::EPROTONOSUPPORT
            | libc::ESOCKTNOSUPPORT
            | libc::EOPNOTSUPP
            | libc::ENETDOWN
            | libc::ENETUNREACH
            | libc::ENETRESET
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | ENONET
            | libc::ETIMEDOUT,
        ) if *retries < RETRIES_MAX => {
            *retries += 1;
            AcceptError::Retry
        }
        Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EFAULT) => {
            AcceptError::Fatal(error)
        }
        // EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSR, and unknown errors.
        _ => {
            *retries = 0;
            AcceptError::Exhausted(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(errno: i32) -> AcceptError {
        classify(io::Error::from_raw_os_error(errno), &mut 0)
    }

    #[test]
    fn accept_errors_are_sorted_by_remedy() {
        assert!(matches!(class(libc::EAGAIN), AcceptError::WouldBlock));
        // Those of TCP/IP that accept(2) lists, and those of firewalls.
        for errno in [
            libc::ECONNABORTED,
            libc::EINTR,
            libc::ENETDOWN,
            libc::EPROTO,
            libc::ENOPROTOOPT,
            libc::EHOSTDOWN,
            ENONET,
            libc::EHOSTUNREACH,
            libc::EOPNOTSUPP,
            libc::ENETUNREACH,
            libc::ETIMEDOUT,
            libc::ECONNRESET,
            libc::EPERM,
        ] {
            assert!(matches!(class(errno), AcceptError::Retry), "{errno}");
        }
        // Memory and files; the last two are not errors of accept(2) at all.
        for errno in [
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOBUFS,
            libc::ENOMEM,
            libc::ENOSR,
            libc::EIO,
            libc::EXDEV,
        ] {
            assert!(matches!(class(errno), AcceptError::Exhausted(_)), "{errno}");
        }
        assert!(matches!(classify(io::Error::other("new"), &mut 0), AcceptError::Exhausted(_)));
        for errno in [libc::EBADF, libc::EINVAL, libc::ENOTSOCK] {
            assert!(matches!(class(errno), AcceptError::Fatal(_)), "{errno}");
        }
    }

    #[test]
    fn persistent_accept_error_pauses_the_listener() {
        let (mut retries, errno) = (0, libc::EPERM);
        let mut again = || classify(io::Error::from_raw_os_error(errno), &mut retries);
        for _ in 0..2 {
            for _ in 0..RETRIES_MAX {
                assert!(matches!(again(), AcceptError::Retry));
            }
            assert!(matches!(again(), AcceptError::Exhausted(_)));
        }
    }
}
