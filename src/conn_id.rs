//! The id of a connection. Knows no connections.

use std::fmt;

/// Id of one connection: its slot in the table, and its accept sequence number.
///
/// Slots are reused, generations are not (until 2³² accepts later), so that an event for a
/// connection that is closed is not taken for one of its successor in the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    /// Slot of the connection table.
    pub index: u32,
    /// Accept sequence number over all listeners, from 1.
    pub generation: u32,
}

impl ConnId {
    /// Packs the id into the 64 bits a readiness event carries.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        ((self.generation as u64) << 32) | self.index as u64
    }

    /// Undoes [`to_bits`](Self::to_bits).
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        ConnId { index: (bits & 0xffff_ffff) as u32, generation: (bits >> 32) as u32 }
    }
}

/// `#17`, as in the log.
impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_round_trip_at_the_corners() {
        for index in [0, 1, u32::MAX - 1, u32::MAX] {
            for generation in [0, 1, u32::MAX] {
                let id = ConnId { index, generation };
                assert_eq!(ConnId::from_bits(id.to_bits()), id);
            }
        }
    }
}
