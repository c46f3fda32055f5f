//! One read from a stream into a buffer, within a deadline. Knows no protocols.

use std::io::{ErrorKind, Read};

use super::error::ClientError;
use super::stream::Stream;
use super::timeout::{Deadline, is_timeout};

/// Smallest and largest buffer of one read, in bytes.
pub(super) const READ_LEN: usize = 1 << 16;
const READ_LEN_MAX: usize = 1 << 20;

/// Reads once behind `input`, with a buffer of about `wanted` bytes; returns the number of bytes, 0
/// at the end of file.
///
/// # Errors
///
/// The deadline has passed, or the connection has broken. `input` is part of an answer, unless it is
/// empty.
pub(super) fn read_some(
    stream: &Stream,
    input: &mut Vec<u8>,
    wanted: usize,
    deadline: &Deadline,
) -> Result<usize, ClientError> {
    let old_len = input.len();
    loop {
        let remaining = deadline.remaining();
        if remaining.is_some_and(|remaining| remaining.is_zero()) {
            let timeout = deadline.timeout.unwrap_or_default();
            return Err(if input.is_empty() {
                ClientError::Timeout(timeout)
            } else {
                ClientError::PartialTimeout(timeout)
            });
        }
        stream.set_read_timeout(remaining);
        input.resize(old_len + wanted.clamp(READ_LEN, READ_LEN_MAX), 0);
        let mut stream = stream;
        let read = stream.read(&mut input[old_len..]);
        input.truncate(old_len + read.as_ref().copied().unwrap_or(0));
        match read {
            Ok(n) => return Ok(n),
            Err(error) if error.kind() == ErrorKind::Interrupted || is_timeout(&error) => {}
            Err(error) => return Err(ClientError::socket(&error)),
        }
    }
}
