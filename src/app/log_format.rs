//! `--log-format`. Knows nothing of lines.

use crate::setting::SettingError;

/// Form of the console's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Time, level and program in front of the text.
    Full,
    /// The level as a syslog priority in front of the text (sd-daemon(3)).
    Plain,
}

impl LogFormat {
    pub(super) fn parse(value: &str) -> Result<Self, SettingError> {
        match value {
            "full" => Ok(LogFormat::Full),
            "plain" => Ok(LogFormat::Plain),
            _ => Err(SettingError::NotOneOf { value: value.to_owned(), choices: "full or plain" }),
        }
    }
}
