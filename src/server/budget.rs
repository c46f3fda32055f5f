//! Time budget of a turn's parts. The clock is read between units of work, and not at each of them.

#[cfg(feature = "admin")]
use std::cell::Cell;
use std::fmt;
#[cfg(feature = "admin")]
use std::rc::Rc;

#[cfg(feature = "admin")]
use super::turn_times::{SlowTurn, TurnTimes};
use crate::limits::CLOCK_CHECK_BYTES;
use crate::limits::turn_micros::Part;

/// Returns microseconds since the origin of [`Millis`](crate::clock::Millis).
pub type Clock = Box<dyn Fn() -> u64>;

/// The time one part of a turn may take.
///
/// Without a clock it is never spent: then only the counts in [`limits`](crate::limits) bound a
/// turn.
pub(super) struct Budget {
    clock: Option<Clock>,
    /// Work between two readings of the clock.
    clock_check_bytes: usize,
    /// When the part at hand has had its time.
    ends_at: u64,
    /// Work since the last reading.
    work: usize,
    is_spent: bool,
    /// How long turns took.
    #[cfg(feature = "admin")]
    turns: TurnTimes,
    /// Time that plugins took for packages, which is not that of the part at hand.
    #[cfg(feature = "admin")]
    package_micros: Rc<Cell<u64>>,
    /// Whether they are measured.
    #[cfg(feature = "admin")]
    times_turns: bool,
}

impl Budget {
    pub(super) fn new() -> Self {
        Budget {
            clock: None,
            clock_check_bytes: CLOCK_CHECK_BYTES,
            ends_at: 0,
            work: 0,
            is_spent: false,
            #[cfg(feature = "admin")]
            turns: TurnTimes::default(),
            #[cfg(feature = "admin")]
            package_micros: Rc::default(),
            #[cfg(feature = "admin")]
            times_turns: false,
        }
    }

    /// Reads `clock` after every `clock_check_bytes` of work.
    pub(super) fn set_clock(&mut self, clock: Clock, clock_check_bytes: usize) {
        self.clock = Some(clock);
        self.clock_check_bytes = clock_check_bytes;
    }

    /// A part begins, and has its time from now on.
    pub(super) fn begin(&mut self, part: Part) {
        self.work = 0;
        self.is_spent = false;
        if let Some(clock) = &self.clock {
            let now = clock();
            self.ends_at = now.saturating_add(part.micros);
            #[cfg(feature = "admin")]
            if self.times_turns {
                self.turns.begin_part(part, now, self.package_micros.take());
            }
        }
    }

    /// Has turns measured from now on.
    #[cfg(feature = "admin")]
    pub(super) fn time_turns(&mut self) {
        self.times_turns = true;
    }

    /// The sum that plugins add the time of their packages to.
    #[cfg(feature = "admin")]
    pub(super) fn package_micros(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.package_micros)
    }

    /// A turn begins with the events of its batch.
    #[cfg(feature = "admin")]
    pub(super) fn begin_turn(&mut self) {
        if self.times_turns
            && let Some(clock) = &self.clock
        {
            self.package_micros.set(0);
            self.turns.begin(clock());
        }
    }

    /// A part begins that has no bound here.
    #[cfg(feature = "admin")]
    pub(super) fn mark(&mut self, part: Part) {
        if self.times_turns
            && let Some(clock) = &self.clock
        {
            self.turns.begin_part(part, clock(), self.package_micros.take());
        }
    }

    /// A turn is over. Returns what is to be said if it was slow.
    #[cfg(feature = "admin")]
    pub(super) fn end_turn(&mut self) -> Option<SlowTurn> {
        let clock = self.clock.as_ref().filter(|_| self.times_turns)?;
        self.turns.end(clock(), self.package_micros.take())
    }

    /// How long turns took.
    #[cfg(feature = "admin")]
    pub(super) fn turns(&self) -> &TurnTimes {
        &self.turns
    }

    /// [`begin`](Self::begin) with a known time instead of reading the clock.
    pub(super) fn begin_at(&mut self, now: u64, micros: u64) {
        self.work = 0;
        self.is_spent = false;
        self.ends_at = now.saturating_add(micros);
    }

    /// The part is over; until the next begins, time does not count.
    pub(super) fn end(&mut self) {
        self.begin_at(u64::MAX, 0);
    }

    /// So much work has been done.
    #[inline]
    pub(super) fn charge(&mut self, bytes: usize) {
        self.work += bytes;
        if self.work >= self.clock_check_bytes {
            self.check_clock();
        }
    }

    /// So much work has been done, and more will be [charged](Self::charge) soon.
    #[inline]
    pub(super) fn note(&mut self, bytes: usize) {
        self.work += bytes;
    }

    #[cold]
    #[inline(never)]
    fn check_clock(&mut self) {
        self.work = 0;
        if let Some(clock) = &self.clock
            && self.ends_at != u64::MAX
        {
            self.is_spent = clock() >= self.ends_at;
        }
    }

    /// Whether the part has had its time.
    #[inline]
    pub(super) fn is_spent(&self) -> bool {
        self.is_spent
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("ends_at", &self.ends_at).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::limits::VISIT_COST_BYTES;

    fn part(micros: u64) -> Part {
        Part { number: 0, micros }
    }

    fn clocked() -> (Budget, Rc<Cell<u64>>, Rc<Cell<u32>>) {
        let (time, looks) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (seen, counted) = (Rc::clone(&time), Rc::clone(&looks));
        let mut budget = Budget::new();
        let clock = move || {
            counted.set(counted.get() + 1);
            seen.get()
        };
        budget.set_clock(Box::new(clock), CLOCK_CHECK_BYTES);
        (budget, time, looks)
    }

    #[test]
    fn budget_is_spent_when_the_clock_says_so_at_a_look() {
        let (mut budget, time, _) = clocked();
        budget.begin(part(2_000));
        time.set(1_999);
        budget.charge(CLOCK_CHECK_BYTES);
        assert!(!budget.is_spent());
        time.set(2_000);
        budget.charge(CLOCK_CHECK_BYTES - 1);
        assert!(!budget.is_spent(), "not looked yet");
        budget.charge(1);
        assert!(budget.is_spent());
        budget.begin(part(1));
        assert!(!budget.is_spent(), "a new part has its own time");
    }

    #[test]
    fn budget_looks_at_the_clock_once_in_64_visits() {
        let (mut budget, _, looks) = clocked();
        budget.begin_at(0, 1);
        (0..640).for_each(|_| budget.charge(VISIT_COST_BYTES));
        assert_eq!(looks.get(), 10);
    }

    #[test]
    fn budget_without_a_clock_is_never_spent() {
        let mut budget = Budget::new();
        budget.begin(part(0));
        budget.charge(usize::MAX / 2);
        assert!(!budget.is_spent());
    }
}
