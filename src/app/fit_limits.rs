//! Fits the configured limits to the process and the machine.

use super::config::Config;
use crate::limits::Limits;
use crate::net::{available_memory, raise_file_limit};
use crate::strerror::strerror;

/// The limits of a server, and a warning for each that had to be lowered. Raises the process's soft
/// file limit to the hard one.
#[cold]
pub(super) fn fit_limits(config: &Config) -> Result<(Limits, Vec<String>), String> {
    let files =
        raise_file_limit().map_err(|e| format!("cannot read the file limit: {}", strerror(&e)))?;
    let (limits, lowered_from) = config.limits(files, available_memory());
    let mut warnings = Vec::new();
    if let Some(wanted) = lowered_from {
        let max = limits.clients_max;
        warnings.push(format!(
            "--max-clients {wanted} does not fit the limit of {files} files, lowered to {max}"
        ));
    }
    let (log, wanted) = (limits.broadcast_log_bytes_max, config.broadcast_log());
    if config.settings.broadcast_log.is_some() && log < wanted {
        let memory = limits.memory_bytes_max;
        warnings.push(format!(
            "--broadcast-log {wanted} does not fit the memory limit of {memory} bytes, lowered to {log}"
        ));
    }
    Ok((limits, warnings))
}
