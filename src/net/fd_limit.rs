//! The process's limit on open files.

use std::io;

use rlimit::Resource;

/// Raises the soft limit on open files to the hard one and returns it (getrlimit(2)).
///
/// # Errors
///
/// The limit cannot be read. A limit that cannot be raised is returned as it is.
pub fn raise_file_limit() -> io::Result<usize> {
    let (soft, hard) = Resource::NOFILE.get()?;
    // macOS has no hard limit, and takes no soft one above `kern.maxfilesperproc`: the crate knows.
    let limit = rlimit::increase_nofile_limit(hard).unwrap_or(soft);
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}
