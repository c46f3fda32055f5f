//! The memory account: how many bytes wait on behalf of clients, over the whole server, and how
//! many may. Knows numbers, not what they are spent on.

/// Bytes allocated for data that waits: unfinished input, unsent replies, broadcast logs, plugin
/// queues, and the connection table itself.
///
/// The owner of such memory keeps the figure it was last charged with, and calls
/// [`recharge`](Self::recharge) when its allocation has changed. The account is the sum of those
/// figures, which the simulator checks. Charges are the bytes the allocator was asked for, not
/// those in use: a buffer that has been read down to its last byte still costs all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryAccount {
    used: usize,
    limit: usize,
    /// Three quarters of the limit.
    tight_from: usize,
    freed_total: u64,
}

impl MemoryAccount {
    /// An account that may hold `limit` bytes.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        MemoryAccount { used: 0, limit, tight_from: limit - limit / 4, freed_total: 0 }
    }

    /// Changes the limit.
    pub fn set_limit(&mut self, limit: usize) {
        *self = MemoryAccount {
            used: self.used,
            freed_total: self.freed_total,
            ..MemoryAccount::new(limit)
        };
    }

    /// An owner that was `charged` with so many bytes now holds `held`.
    #[inline]
    pub fn recharge(&mut self, charged: &mut usize, held: usize) {
        let before = std::mem::replace(charged, held);
        if before == held {
            return;
        }
        debug_assert!(self.used >= before, "{} bytes credited of {}", before, self.used);
        self.used = self.used - before + held;
        self.freed_total += before.saturating_sub(held) as u64;
    }

    /// Bytes charged.
    #[must_use]
    pub const fn used(&self) -> usize {
        self.used
    }

    /// Most bytes that may be charged.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// All bytes ever credited: memory that the allocator may be able to give back to the system.
    #[must_use]
    pub const fn freed_total(&self) -> u64 {
        self.freed_total
    }

    /// Whether connections have to be cut: the account is over its limit.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.used > self.limit
    }

    /// Whether cutting may stop: under 90 % of the limit.
    #[must_use]
    pub const fn is_relieved(&self) -> bool {
        self.used <= self.limit - self.limit / 10
    }

    /// Whether clients that do not take their replies are no longer read from: from three quarters
    /// of the limit on.
    #[inline]
    #[must_use]
    pub const fn is_tight(&self) -> bool {
        self.used >= self.tight_from
    }

    /// Whether such clients are read from again: under 70 % of the limit.
    #[must_use]
    pub const fn is_ample(&self) -> bool {
        self.used <= self.limit / 10 * 7
    }
}

/// The system, or the address space, has no memory left for a buffer whose size a peer chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllocError;

impl From<std::collections::TryReserveError> for AllocError {
    fn from(_: std::collections::TryReserveError) -> Self {
        AllocError
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_is_the_sum_of_all_charges() {
        let mut account = MemoryAccount::new(1_000);
        let (mut one, mut other) = (0, 0);
        account.recharge(&mut one, 300);
        account.recharge(&mut other, 50);
        account.recharge(&mut one, 100);
        assert_eq!((one, other, account.used(), account.freed_total()), (100, 50, 150, 200));
        account.recharge(&mut one, 0);
        account.recharge(&mut other, 0);
        assert_eq!((account.used(), account.freed_total()), (0, 350));
    }

    #[test]
    fn account_marks_stand_at_70_75_90_and_100_percent() {
        let mut account = MemoryAccount::new(1_000);
        let mut charged = 0;
        let mut at = |bytes| {
            account.recharge(&mut charged, bytes);
            (account.is_ample(), account.is_tight(), account.is_relieved(), account.is_over())
        };
        assert_eq!(at(700), (true, false, true, false));
        assert_eq!(at(701), (false, false, true, false));
        assert_eq!(at(750), (false, true, true, false));
        assert_eq!(at(900), (false, true, true, false));
        assert_eq!(at(901), (false, true, false, false));
        assert_eq!(at(1_000), (false, true, false, false));
        assert_eq!(at(1_001), (false, true, false, true));
    }
}
