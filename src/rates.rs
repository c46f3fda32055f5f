//! Rates of one connection's messages and broadcast bytes: the generic cell rate algorithm (ATM
//! Forum, Traffic Management 4.0, C.2.1), with bursts of what two seconds allow. Time is an
//! argument.

use crate::clock::Millis;

/// A burst is what so long a time allows.
const BURST_MICROS: u64 = 2_000_000;

/// Shortest wait, so that a connection over a high rate has no timer a message.
const WAIT_MS_MIN: u64 = 10;

/// Rates at which one connection may send, a second; 0 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Messages.
    pub messages: u32,
    /// Broadcast and chat bytes.
    pub broadcast_bytes: u32,
}

/// How far one connection is ahead of its rates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateState {
    /// When it would have sent all its messages at its rate, in microseconds.
    messages_due: u64,
    /// The same for its broadcast bytes.
    bytes_due: u64,
    /// When a message that had to wait is to be tried again.
    pub resume_at: Millis,
}

impl Rates {
    /// Whether there is any limit.
    #[inline]
    #[must_use]
    pub fn is_limiting(&self) -> bool {
        self.messages > 0 || self.broadcast_bytes > 0
    }

    /// Takes a message that broadcasts so many bytes, and counts it. False where it must wait, until
    /// [`resume_at`](RateState::resume_at).
    ///
    /// A broadcast of more than a burst may go once all before it have been waited for, and is
    /// waited for after it.
    pub fn take(&self, state: &mut RateState, broadcast_len: usize, now: Millis) -> bool {
        let now_micros = now.0.saturating_mul(1000);
        let message_micros = cost(1, self.messages);
        let bytes_micros = cost(broadcast_len, self.broadcast_bytes);
        let ready_at = ready_at(state.messages_due, message_micros)
            .max(ready_at(state.bytes_due, bytes_micros.min(BURST_MICROS)));
        if ready_at > now_micros {
            let ready_at = Millis(ready_at.div_ceil(1000));
            state.resume_at = ready_at.max(now.after(WAIT_MS_MIN));
            return false;
        }
        state.messages_due = state.messages_due.max(now_micros) + message_micros;
        state.bytes_due = state.bytes_due.max(now_micros) + bytes_micros;
        true
    }

    /// Counts a message that could not be made to wait.
    pub fn charge(&self, state: &mut RateState, now: Millis) {
        let due = state.messages_due.max(now.0.saturating_mul(1000));
        state.messages_due = due + cost(1, self.messages);
    }
}

/// Microseconds that so many take at a rate.
fn cost(count: usize, per_sec: u32) -> u64 {
    match u64::from(per_sec) {
        0 => 0,
        per_sec => (count as u64).saturating_mul(1_000_000).div_ceil(per_sec),
    }
}

/// When something that costs so much fits into the burst.
fn ready_at(due: u64, micros: u64) -> u64 {
    if micros == 0 { 0 } else { (due + micros).saturating_sub(BURST_MICROS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `lens` go at once at `now`.
    fn taken(rates: Rates, state: &mut RateState, lens: &[usize], now: u64) -> usize {
        lens.iter().take_while(|&&len| rates.take(state, len, Millis(now))).count()
    }

    #[test]
    fn burst_is_what_two_seconds_allow() {
        let (rates, mut state) = (Rates { messages: 10, broadcast_bytes: 0 }, RateState::default());
        assert_eq!(taken(rates, &mut state, &[0; 100], 5_000), 20);
        assert_eq!(state.resume_at, Millis(5_100));
        assert_eq!(taken(rates, &mut state, &[0; 100], 5_099), 0);
        assert_eq!(taken(rates, &mut state, &[0; 100], 5_100), 1);
        assert_eq!(taken(rates, &mut state, &[0; 100], 6_100), 10);
        assert_eq!(taken(rates, &mut state, &[0; 100], 60_000), 20);
    }

    #[test]
    fn high_rate_is_waited_for_in_rounds() {
        let (rates, mut state) =
            (Rates { messages: 100_000, broadcast_bytes: 0 }, RateState::default());
        assert_eq!(taken(rates, &mut state, &[0; 300_000], 0), 200_000);
        assert_eq!(state.resume_at, Millis(WAIT_MS_MIN));
        let (mut now, mut rounds, mut sent) = (0, 0, 200_000);
        while sent < 300_000 {
            now = state.resume_at.0;
            sent += taken(rates, &mut state, &[0; 300_000], now);
            rounds += 1;
        }
        assert!((995..=1_010).contains(&now) && rounds <= 101, "{now} ms, {rounds} rounds");
    }

    #[test]
    fn broadcast_over_a_burst_goes_and_is_waited_for() {
        let (rates, mut state) =
            (Rates { messages: 0, broadcast_bytes: 1_000 }, RateState::default());
        assert_eq!(taken(rates, &mut state, &[500, 500, 500, 500, 1], 0), 4);
        assert_eq!(taken(rates, &mut state, &[10_000], 1_999), 0);
        assert_eq!(taken(rates, &mut state, &[10_000, 1], 2_000), 1);
        assert_eq!(state.resume_at, Millis(10_001));
        // What broadcasts nothing does not wait for it.
        assert_eq!(taken(rates, &mut state, &[0, 0], 2_000), 2);
        assert_eq!(taken(rates, &mut state, &[1], 10_001), 1);
    }
}
