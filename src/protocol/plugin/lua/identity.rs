//! The name of a plugin: that of its file until the file has been run, then its own. A plain name
//! has 1 to [`NAME_LEN_MAX`] ASCII letters, digits, `_` and `-`.

use std::cell::OnceCell;

use super::call_error::CallError;
use super::limits::NAME_LEN_MAX;
use crate::escape::Sanitized;

/// A plugin's name, which is final once its file has been run.
pub(super) struct Identity {
    /// The file's name without `.lua`, sanitized.
    stem: String,
    name: OnceCell<String>,
}

impl Identity {
    pub(super) fn new(stem: &str) -> Self {
        // A file's name may have any bytes, and the plugin may log before its name is checked.
        let stem = Sanitized(stem).to_string();
        Identity { stem, name: OnceCell::new() }
    }

    pub(super) fn name(&self) -> &str {
        self.name.get().unwrap_or(&self.stem)
    }

    /// The final name, once it is known.
    pub(super) fn final_name(&self) -> Option<&str> {
        self.name.get().map(String::as_str)
    }

    /// Makes the plugin's own name final or, if it has none, that of its file.
    pub(super) fn set_name(&self, name: Option<String>) -> Result<(), CallError> {
        let name = name.unwrap_or_else(|| self.stem.clone());
        check_name(&name)?;
        self.name.set(name).expect("a file is run once");
        Ok(())
    }
}

/// Checks that a name is plain: it goes to the log and is a folder's name.
fn check_name(name: &str) -> Result<(), CallError> {
    let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-');
    if (1..=NAME_LEN_MAX).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(());
    }
    Err(CallError::Lua(format!(
        "a plugin's name has 1 to {NAME_LEN_MAX} ASCII letters, digits, _ and -: {name:?} does not fit"
    )))
}
