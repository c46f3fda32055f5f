//! Which clients of a listener must, may or cannot log in.

use super::Authenticator;
use crate::conn_id::ConnId;
use crate::protocol::ClientState;
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
    /// Open connections that have to log in before all else. Another `auth` leaves those that are
    /// open as they are.
    pub must_log_in: usize,
}

impl Access {
    /// Whether a client can log in and register. One that has to, or has begun
    /// to, still can where a reload has turned `auth` off.
    pub(crate) fn knows_logins(
        self,
        client: ClientState,
        id: ConnId,
        accounts: Option<&Authenticator>,
    ) -> bool {
        accounts.is_some_and(|accounts| {
            self.auth != Auth::Off || client.must_log_in() || accounts.has_attempt(id)
        })
    }

    /// Whether clients must log in before all else.
    #[must_use]
    pub fn is_required(self) -> bool {
        self.auth == Auth::Required
    }
}
