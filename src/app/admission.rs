//! The settings of admission: limits by address, and the pace of one connection.

use crate::limits::{CONNECT_RATE_LIMIT, QUEUE_BYTES_LIMIT};
use crate::net::SocketTransport;
use crate::networks::Networks;
use crate::rates::Rates;
use crate::server::{AddressLimits, Server};
use crate::setting::{SettingError, number};

/// Settings of admission; 0 is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdmissionSettings {
    /// Most open connections of one address.
    pub max_per_ip: u32,
    /// Most new connections a second of one address, and in a burst.
    pub connect_rate: u32,
    /// Networks whose addresses these two do not count.
    pub limit_exempt: Networks,
    /// Most messages a second of one connection.
    pub message_rate: u32,
    /// Most broadcast bytes a second of one connection.
    pub broadcast_rate: u32,
}

impl AdmissionSettings {
    /// Sets `name`, spelt as the long option, to `value`.
    ///
    /// # Errors
    ///
    /// See [`SettingError`].
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let rate = 0..=CONNECT_RATE_LIMIT;
        match name {
            "max-per-ip" => self.max_per_ip = number(value, 0..=1 << 31)?,
            "connect-rate" => self.connect_rate = number(value, rate)?,
            "limit-exempt" => self.limit_exempt = Networks::parse(value)?,
            "message-rate" => self.message_rate = number(value, rate)?,
            "broadcast-rate" => {
                self.broadcast_rate = number(value, 0..=QUEUE_BYTES_LIMIT as u32)?;
            }
            _ => return Err(SettingError::Unknown),
        }
        Ok(())
    }

    /// Has a server that starts keep to them.
    pub(super) fn apply(&self, server: &mut Server<SocketTransport>) {
        let AdmissionSettings {
            max_per_ip,
            connect_rate,
            limit_exempt,
            message_rate,
            broadcast_rate,
        } = self;
        let limits = AddressLimits { open_max: *max_per_ip, rate_max: *connect_rate };
        server.set_address_limits(limits, limit_exempt.clone());
        server.set_rates(Rates { messages: *message_rate, broadcast_bytes: *broadcast_rate });
    }
}
