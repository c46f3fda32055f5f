//! Deadlines, at most one a connection: a hierarchical timing wheel threaded through the
//! connection table. Knows nothing of what a deadline is for.
//!
//! Six levels of 64 slots; a slot of level L spans 64^L milliseconds (Varghese and Lauck, "Hashed
//! and Hierarchical Timing Wheels", SOSP 1987, scheme 7). Arming and disarming touch a list head
//! and two neighbours, whatever the number of connections. The lists are threaded through the
//! connections themselves, so an armed timer costs no memory beyond its connection.

use crate::clock::Millis;

const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 6;
/// Once round the coarsest level: 2³⁶ ms, two years.
const SPAN_MS: u64 = 1 << (SLOT_BITS * LEVELS as u32);
/// Farther deadlines fire here and are re-armed. One slot short of the whole round, so that the
/// current slot of the coarsest level is never one of the next round.
const FARTHEST_MS: u64 = SPAN_MS - SPAN_MS / SLOTS as u64;
const NIL: u32 = u32::MAX;

/// A connection's place in the wheel.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimerLinks {
    prev: u32,
    next: u32,
    /// When it fires; [`Millis::NEVER`] while it is in no list.
    at: Millis,
}

impl TimerLinks {
    pub(super) const UNARMED: TimerLinks = TimerLinks { prev: NIL, next: NIL, at: Millis::NEVER };

    /// When the timer fires, [`Millis::NEVER`] if it is not armed.
    pub(super) fn at(&self) -> Millis {
        self.at
    }
}

/// Where the links are kept: the connection table.
pub(super) trait LinkStore {
    /// The links of the connection at `index`.
    fn links(&mut self, index: u32) -> &mut TimerLinks;
}

/// Result of a step of the wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The timer of the connection at this index is due, and disarmed.
    Due(u32),
    /// A slot was detached or a timer cascaded; call again.
    Moved,
    /// There is nothing to do before [`TimerWheel::next_due`].
    Done,
}

/// All armed timers.
///
/// Invariant: a timer that fires at `at` is in the list of level `position(at).0`, slot
/// `position(at).1`, or among the cascading ones. It holds while `elapsed` advances because
/// `elapsed` never passes the start of an occupied slot without taking out what is in it, nor
/// anything while there are cascading timers.
#[derive(Debug)]
pub(super) struct TimerWheel {
    /// Wheel time: every slot before it was processed.
    elapsed: u64,
    /// Timers of the current coarse slot, to be moved to finer levels one by one: there may be a
    /// million.
    cascading: u32,
    /// Which slots of each level are in use, one bit each.
    occupied: [u64; LEVELS],
    heads: [[u32; SLOTS]; LEVELS],
}

impl TimerWheel {
    pub(super) fn new(now: Millis) -> Self {
        let heads = [[NIL; SLOTS]; LEVELS];
        TimerWheel { elapsed: now.0, cascading: NIL, occupied: [0; LEVELS], heads }
    }

    /// Sets the timer of the connection at `index` to fire at `at`, and at nothing else.
    pub(super) fn arm(&mut self, store: &mut impl LinkStore, index: u32, at: Millis) {
        self.disarm(store, index);
        let at = at.0.clamp(self.elapsed, self.elapsed.saturating_add(FARTHEST_MS));
        self.link(store, index, at);
    }

    /// Disarms the timer at `index`.
    pub(super) fn disarm(&mut self, store: &mut impl LinkStore, index: u32) {
        let TimerLinks { prev, next, at } = *store.links(index);
        if at == Millis::NEVER {
            return;
        }
        *store.links(index) = TimerLinks::UNARMED;
        if next != NIL {
            store.links(next).prev = prev;
        }
        if prev != NIL {
            store.links(prev).next = next;
        } else if index == self.cascading {
            self.cascading = next;
        } else {
            let (level, slot) = self.position(at.0);
            debug_assert_eq!(self.heads[level][slot], index);
            self.heads[level][slot] = next;
            if next == NIL {
                self.occupied[level] &= !(1 << slot);
            }
        }
    }

    /// When [`step`](Self::step) next has work, if ever: not later than the next timer.
    pub(super) fn next_due(&self) -> Option<Millis> {
        if self.cascading != NIL {
            return Some(Millis(self.elapsed));
        }
        self.next_slot().map(|(_, _, start)| Millis(start))
    }

    /// Advances the wheel towards `now` by one step, so that the caller can stop between steps.
    pub(super) fn step(&mut self, store: &mut impl LinkStore, now: Millis) -> Step {
        if self.cascading != NIL {
            let index = self.cascading;
            let at = store.links(index).at;
            self.disarm(store, index);
            if at <= now {
                return Step::Due(index);
            }
            self.link(store, index, at.0);
            return Step::Moved;
        }
        let begun = self.next_slot().filter(|&(_, _, start)| start <= now.0);
        let Some((level, slot, start)) = begun else {
            self.elapsed = self.elapsed.max(now.0);
            return Step::Done;
        };
        self.cascading = std::mem::replace(&mut self.heads[level][slot], NIL);
        self.occupied[level] &= !(1 << slot);
        self.elapsed = start;
        Step::Moved
    }

    fn link(&mut self, store: &mut impl LinkStore, index: u32, at: u64) {
        let (level, slot) = self.position(at);
        let next = std::mem::replace(&mut self.heads[level][slot], index);
        self.occupied[level] |= 1 << slot;
        *store.links(index) = TimerLinks { prev: NIL, next, at: Millis(at) };
        if next != NIL {
            store.links(next).prev = index;
        }
    }

    /// Level and slot of a timer that fires at `at`: the level is that of the highest bit in which
    /// `at` differs from `elapsed`.
    fn position(&self, at: u64) -> (usize, usize) {
        let differing = (self.elapsed ^ at) | (SLOTS as u64 - 1);
        let level = ((u64::BITS - 1 - differing.leading_zeros()) / SLOT_BITS) as usize;
        // Two years on, `elapsed` and `at` may differ above the top level: it is a ring.
        let level = level.min(LEVELS - 1);
        (level, slot_of(at, level))
    }

    /// The occupied slot that begins next, with its level and beginning. Everything on a finer
    /// level comes before everything on a coarser one.
    #[inline]
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        if self.occupied.iter().fold(0, |any, level| any | level) == 0 {
            return None;
        }
        let level = (0..LEVELS).find(|&level| self.occupied[level] != 0)?;
        let current = slot_of(self.elapsed, level);
        let ahead = self.occupied[level].rotate_right(current as u32).trailing_zeros() as usize;
        let slot = (current + ahead) % SLOTS;
        let slot_ms = 1u64 << (SLOT_BITS * level as u32);
        let level_start = self.elapsed & !(slot_ms * SLOTS as u64 - 1);
        let mut start = level_start + slot as u64 * slot_ms;
        if level == LEVELS - 1 && slot < current {
            start += SPAN_MS;
        }
        Some((level, slot, start))
    }
}

fn slot_of(at: u64, level: usize) -> usize {
    (at >> (SLOT_BITS * level as u32)) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    impl LinkStore for Vec<TimerLinks> {
        fn links(&mut self, index: u32) -> &mut TimerLinks {
            &mut self[index as usize]
        }
    }

    fn pop_due(wheel: &mut TimerWheel, links: &mut Vec<TimerLinks>, now: Millis) -> Option<u32> {
        loop {
            match wheel.step(links, now) {
                Step::Due(index) => return Some(index),
                Step::Moved => {}
                Step::Done => return None,
            }
        }
    }

    fn store(n: usize) -> Vec<TimerLinks> {
        vec![TimerLinks::UNARMED; n]
    }

    #[test]
    fn timer_fires_at_its_millisecond_and_not_before() {
        for at in [1, 2, 63, 64, 65, 4095, 4096, 4097, 60_000, 262_143, 262_144, 31_536_000_000] {
            for start in [0, 1, 63, 64, 1_000_003] {
                let (mut wheel, mut links) = (TimerWheel::new(Millis(start)), store(1));
                let at = start + at;
                wheel.arm(&mut links, 0, Millis(at));
                assert_eq!(pop_due(&mut wheel, &mut links, Millis(at - 1)), None, "{start} {at}");
                assert!(wheel.next_due().unwrap() <= Millis(at));
                assert_eq!(pop_due(&mut wheel, &mut links, Millis(at)), Some(0), "{start} {at}");
                assert_eq!(pop_due(&mut wheel, &mut links, Millis(at + SPAN_MS)), None);
            }
        }
    }

    #[test]
    fn deadline_in_the_past_is_due_at_once() {
        let (mut wheel, mut links) = (TimerWheel::new(Millis(100)), store(1));
        wheel.arm(&mut links, 0, Millis(3));
        assert_eq!(pop_due(&mut wheel, &mut links, Millis(100)), Some(0));
    }

    #[test]
    fn timer_beyond_the_wheel_fires_early() {
        let (mut wheel, mut links) = (TimerWheel::new(Millis(5)), store(1));
        wheel.arm(&mut links, 0, Millis(5 + 3 * SPAN_MS));
        assert_eq!(pop_due(&mut wheel, &mut links, Millis(5 + FARTHEST_MS)), Some(0));
        assert_eq!(links[0].at(), Millis::NEVER);
    }

    #[test]
    fn top_level_is_a_ring() {
        let start = SPAN_MS - 1000;
        let (mut wheel, mut links) = (TimerWheel::new(Millis(start)), store(1));
        wheel.arm(&mut links, 0, Millis(start + 5000));
        assert_eq!(pop_due(&mut wheel, &mut links, Millis(start + 4999)), None);
        assert_eq!(pop_due(&mut wheel, &mut links, Millis(start + 5000)), Some(0));
    }

    /// Holds the wheel against a sorted set through 200,000 random operations.
    #[test]
    fn wheel_agrees_with_a_sorted_set() {
        const TIMERS: u64 = 50;
        let mut state = 7u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            (state >> 20) % below
        };
        let (mut wheel, mut links) = (TimerWheel::new(Millis(0)), store(TIMERS as usize));
        let mut model: BTreeSet<(u64, u32)> = BTreeSet::new();
        let mut now = 0;
        for _ in 0..200_000 {
            let index = random(TIMERS) as u32;
            match random(10) {
                0..=4 => {
                    let magnitude = random(30);
                    let at = now + random(1 << magnitude);
                    model.retain(|&(_, other)| other != index);
                    model.insert((at, index));
                    wheel.arm(&mut links, index, Millis(at));
                }
                5 => {
                    // Not to the end, so that what follows meets cascading timers.
                    for _ in 0..random(20) {
                        if let Step::Due(index) = wheel.step(&mut links, Millis(now)) {
                            model.retain(|&(_, other)| other != index);
                        }
                    }
                }
                6 => {
                    model.retain(|&(_, other)| other != index);
                    wheel.disarm(&mut links, index);
                }
                _ => {
                    let magnitude = random(24);
                    now += random(1 << magnitude);
                    let mut fired = BTreeSet::new();
                    while let Some(index) = pop_due(&mut wheel, &mut links, Millis(now)) {
                        assert!(fired.insert(index), "fired twice");
                    }
                    let later = model.split_off(&(now + 1, 0));
                    let due: BTreeSet<u32> = model.iter().map(|&(_, index)| index).collect();
                    assert_eq!(fired, due);
                    model = later;
                    let next = model.first().map(|&(at, _)| Millis(at));
                    assert!(wheel.next_due() <= next || next.is_none());
                    assert_eq!(wheel.next_due().is_none(), next.is_none());
                }
            }
        }
    }

    #[test]
    fn step_is_bounded_whatever_the_timers() {
        const TIMERS: u32 = 1000;
        let (mut wheel, mut links) = (TimerWheel::new(Millis(0)), store(TIMERS as usize));
        (0..TIMERS).for_each(|index| wheel.arm(&mut links, index, Millis(100_000)));
        // Their coarse slot begins long before they are due: they are put into finer ones.
        let mut moves = 0;
        while wheel.step(&mut links, Millis(99_000)) == Step::Moved {
            moves += 1;
            assert!(wheel.next_due().is_some());
        }
        assert_eq!(moves, TIMERS + 1);
        let mut due = 0;
        while wheel.step(&mut links, Millis(100_000)) != Step::Done {
            due += 1;
        }
        assert_eq!(due, TIMERS + 1);
    }

    #[test]
    fn cascading_timers_can_be_disarmed_and_rearmed() {
        let (mut wheel, mut links) = (TimerWheel::new(Millis(0)), store(4));
        (0..4).for_each(|index| wheel.arm(&mut links, index, Millis(5000)));
        assert_eq!(wheel.step(&mut links, Millis(4096)), Step::Moved);
        assert_eq!(wheel.next_due(), Some(Millis(4096)));
        // The last armed is the first of the list.
        wheel.disarm(&mut links, 3);
        wheel.arm(&mut links, 1, Millis(4100));
        wheel.disarm(&mut links, 0);
        assert_eq!(pop_due(&mut wheel, &mut links, Millis(4099)), None);
        assert_eq!(pop_due(&mut wheel, &mut links, Millis(4100)), Some(1));
        assert_eq!(pop_due(&mut wheel, &mut links, Millis(4999)), None);
        assert_eq!(pop_due(&mut wheel, &mut links, Millis(5000)), Some(2));
        assert_eq!(wheel.next_due(), None);
    }

    #[test]
    fn timer_of_the_next_top_level_round_is_ahead() {
        let start = SPAN_MS - 1000;
        let (mut wheel, mut links) = (TimerWheel::new(Millis(start)), store(1));
        wheel.arm(&mut links, 0, Millis(start + 5000));
        assert_eq!(wheel.next_due(), Some(Millis(SPAN_MS)));
    }
}
