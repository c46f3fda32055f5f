//! Which clients of a listener must, may or cannot log in.

use crate::setting::SettingError;

/// Whether the clients of a listener log in: `auth=` in its URL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Auth {
    /// There are no accounts: LOGIN and REGISTER are unknown.
    #[default]
    Off,
    /// Clients may log in.
    Optional,
    /// Clients must log in before all else.
    Required,
}

impl Auth {
    /// Parses the value of `auth=`.
    ///
    /// # Errors
    ///
    /// It is none of the choices.
    pub fn parse(value: &str) -> Result<Self, SettingError> {
        match value {
            "off" => Ok(Auth::Off),
            "optional" => Ok(Auth::Optional),
            "required" => Ok(Auth::Required),
            _ => {
                let choices = "off, optional or required";
                Err(SettingError::NotOneOf { value: value.to_owned(), choices })
            }
        }
    }
}

/// Logins of one listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Access {
    /// Whether its clients log in.
    pub auth: Auth,
    /// Connections of `command` that are logged in.
    pub logged_in: usize,
}

impl Access {
    /// Whether clients must log in before all else.
    #[must_use]
    pub fn is_required(self) -> bool {
        self.auth == Auth::Required
    }
}
