//! Waits between two attempts to connect.

use fastrand::Rng;

/// Upper bound of the first wait, in nanoseconds. It doubles with each failure.
const BASE_NS: u64 = 100_000_000;

/// Largest upper bound.
const MAX_NS: u64 = 5_000_000_000;

/// Wait without backoff: a closed port answers within microseconds, and each connection would be one
/// more loop.
const AT_ONCE_NS: u64 = 1_000_000;

/// Exponential backoff with full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture
/// Blog, 2015), or none.
#[derive(Debug)]
pub(super) enum Backoff {
    Exponential(Rng),
    None,
}

impl Backoff {
    /// Nanoseconds to wait after the `failures`-th failure, from 1, of one connection.
    pub(super) fn wait_ns(&mut self, failures: u32) -> u64 {
        match self {
            Backoff::Exponential(rng) => rng.u64(0..=bound_ns(failures)),
            Backoff::None => AT_ONCE_NS,
        }
    }
}

/// Longest wait after the `failures`-th failure.
fn bound_ns(failures: u32) -> u64 {
    let doublings = failures.saturating_sub(1);
    1u64.checked_shl(doublings).map_or(MAX_NS, |times| BASE_NS.saturating_mul(times).min(MAX_NS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bound_doubles_up_to_its_maximum() {
        let bounds = [1, 2, 3, 6, 7, 64, 65, u32::MAX].map(|n| bound_ns(n) / 1_000_000);
        assert_eq!(bounds, [100, 200, 400, 3_200, 5_000, 5_000, 5_000, 5_000]);
    }

    #[test]
    fn waits_are_spread_over_all_of_their_range() {
        let mut backoff = Backoff::Exponential(Rng::with_seed(7));
        let waits: Vec<u64> = (0..1_000).map(|_| backoff.wait_ns(3) / 1_000_000).collect();
        assert!(waits.iter().all(|ms| *ms <= 400));
        let in_fourth = |n: u64| waits.iter().filter(|ms| **ms / 100 == n).count();
        for fourth in 0..4 {
            assert!((200..300).contains(&in_fourth(fourth)), "{fourth}: {}", in_fourth(fourth));
        }
        assert_eq!(Backoff::None.wait_ns(9), 1_000_000);
    }
}
