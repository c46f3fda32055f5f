//! Time as the core sees it: whole milliseconds since the program started, always passed in, so
//! that a simulator can own the clock. Reading the real one is the business of `net/`.

/// A point in monotonic time, in milliseconds since the program started.
///
/// Arithmetic saturates: a clock that jumps costs at most an early or a late timer, never a panic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Millis {
    /// A point no clock reaches.
    pub const NEVER: Millis = Millis(u64::MAX);

    /// The earliest of these times, if there is any.
    #[inline(always)]
    #[must_use]
    pub fn earliest<const N: usize>(times: [Option<Millis>; N]) -> Option<Millis> {
        // Without a branch for each: it is asked twice a turn.
        let earliest = times
            .map(|at| at.unwrap_or(Millis::NEVER))
            .into_iter()
            .fold(Millis::NEVER, Millis::min);
        (earliest != Millis::NEVER).then_some(earliest)
    }

    /// The point `ms` milliseconds later.
    #[must_use]
    pub const fn after(self, ms: u64) -> Millis {
        Millis(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to here, 0 when `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Millis) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
