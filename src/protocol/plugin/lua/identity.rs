//! The name of a plugin: its file's until the file has been run, then its own.

use std::cell::OnceCell;

use super::call_error::CallError;
use super::limits::NAME_LEN_MAX;
use crate::escape::Sanitized;

/// What a plugin is called, as soon as that is known.
pub(super) struct Identity {
    /// What it is called until its file has been run.
    stem: String,
    name: OnceCell<String>,
}

impl Identity {
    pub(super) fn new(stem: &str) -> Self {
        // A file may be called anything, and may log before its name is checked.
        let stem = Sanitized(stem).to_string();
        Identity { stem, name: OnceCell::new() }
    }

    pub(super) fn name(&self) -> &str {
        self.name.get().unwrap_or(&self.stem)
    }

    /// The name, once it is known for good.
    pub(super) fn final_name(&self) -> Option<&str> {
        self.name.get().map(String::as_str)
    }

    /// Takes the plugin's own name for it, if it has one.
    pub(super) fn set_name(&self, name: Option<String>) -> Result<(), CallError> {
        let name = name.unwrap_or_else(|| self.stem.clone());
        check_name(&name)?;
        self.name.set(name).expect("a file is run once");
        Ok(())
    }
}

/// Checks a plugin's name, which is shown in logs and names a folder.
fn check_name(name: &str) -> Result<(), CallError> {
    let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-');
    if (1..=NAME_LEN_MAX).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(());
    }
    Err(CallError::Lua(format!(
        "a plugin's name has 1 to {NAME_LEN_MAX} ASCII letters, digits, _ and -: {name:?} does not fit"
    )))
}
