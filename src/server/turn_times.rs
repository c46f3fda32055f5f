//! How long turns take, and where the time of a slow one went.

use std::fmt;

use crate::limits::turn_micros::{PLUGINS, Part};

/// Upper bounds of the histogram, in microseconds and as Prometheus' label has them.
const BOUNDS: [(u64, &str); 12] = [
    (50, "0.00005"),
    (100, "0.0001"),
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (250_000, "0.25"),
    (1_000_000, "1"),
];

/// A turn from which on it is slow, in microseconds.
const SLOW_MICROS: u64 = 50_000;

/// Least time between two warnings of slow turns, in microseconds.
const WARNING_MICROS: u64 = 1_000_000;

/// Times of turns since the start.
#[derive(Debug, Default)]
pub(super) struct TurnTimes {
    counts: [u64; BOUNDS.len() + 1],
    sum_micros: u64,
    /// When the turn at hand began.
    began_at: u64,
    /// When the part at hand began.
    part_began_at: u64,
    part: usize,
    /// Time of each part of the turn at hand.
    parts: [u64; Part::NAMES.len()],
    warned_at: Option<u64>,
    /// Slow turns since the last warning.
    unwarned: u64,
}

impl TurnTimes {
    /// A turn begins.
    pub(super) fn begin(&mut self, now: u64) {
        (self.began_at, self.part_began_at, self.part) = (now, now, 0);
        self.parts = [0; Part::NAMES.len()];
    }

    /// Another part of the turn begins. Of the one before, plugins had `package_micros`.
    pub(super) fn begin_part(&mut self, part: Part, now: u64, package_micros: u64) {
        self.end_part(now, package_micros);
        (self.part, self.part_began_at) = (part.number, now);
    }

    fn end_part(&mut self, now: u64, package_micros: u64) {
        let micros = now.saturating_sub(self.part_began_at);
        let in_plugins = package_micros.min(micros);
        self.parts[self.part] += micros - in_plugins;
        self.parts[PLUGINS.number] += in_plugins;
    }

    /// The turn is over; of its last part, plugins had `package_micros`. Returns what is to be said
    /// if it was slow.
    pub(super) fn end(&mut self, now: u64, package_micros: u64) -> Option<SlowTurn> {
        self.end_part(now, package_micros);
        let micros = now.saturating_sub(self.began_at);
        let bucket = BOUNDS.iter().position(|(bound, _)| micros <= *bound);
        self.counts[bucket.unwrap_or(BOUNDS.len())] += 1;
        self.sum_micros += micros;
        if micros <= SLOW_MICROS {
            return None;
        }
        if self.warned_at.is_some_and(|at| now < at.saturating_add(WARNING_MICROS)) {
            self.unwarned += 1;
            return None;
        }
        self.warned_at = Some(now);
        let others = std::mem::take(&mut self.unwarned);
        Some(SlowTurn { micros, parts: self.parts, others })
    }

    /// Turns.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The time of all of them.
    pub(super) fn sum_micros(&self) -> u64 {
        self.sum_micros
    }

    /// Each bound, with how many turns took no longer.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let mut sum = 0;
        BOUNDS.iter().zip(self.counts).map(move |((_, label), count)| {
            sum += count;
            (*label, sum)
        })
    }
}

/// A turn that took too long: `slow turn: 61 ms: plugins 58 ms, fan-out 2 ms`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SlowTurn {
    micros: u64,
    parts: [u64; Part::NAMES.len()],
    others: u64,
}

impl fmt::Display for SlowTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slow turn: {} ms", self.micros / 1000)?;
        let mut parts: Vec<(u64, &str)> = self
            .parts
            .iter()
            .copied()
            .zip(Part::NAMES)
            .filter(|(micros, _)| *micros >= 1000)
            .collect();
        parts.sort_unstable_by_key(|(micros, _)| std::cmp::Reverse(*micros));
        for (at, (micros, name)) in parts.iter().enumerate() {
            let separator = if at == 0 { ":" } else { "," };
            write!(f, "{separator} {name} {} ms", micros / 1000)?;
        }
        match self.others {
            0 => Ok(()),
            others => write!(f, "; {others} more since the last warning"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::turn_micros;

    #[test]
    fn slow_turn_says_where_its_time_went() {
        let mut times = TurnTimes::default();
        times.begin(1_000);
        times.begin_part(turn_micros::RESUME, 3_000, 0);
        times.begin_part(turn_micros::FANOUT, 60_000, 0);
        times.begin_part(turn_micros::REAP, 60_999, 0);
        let slow = times.end(61_500, 0).unwrap();
        assert_eq!(slow.to_string(), "slow turn: 60 ms: resume 57 ms, events 2 ms");
    }

    #[test]
    fn time_of_packages_is_that_of_plugins() {
        let mut times = TurnTimes::default();
        times.begin(0);
        times.begin_part(turn_micros::ARRIVALS, 30_000, 28_000);
        times.begin_part(turn_micros::PLUGINS, 40_000, 0);
        times.begin_part(turn_micros::RESUME, 50_000, 0);
        let slow = times.end(60_000, 99_000).unwrap();
        assert_eq!(
            slow.to_string(),
            "slow turn: 60 ms: plugins 48 ms, arrivals 10 ms, events 2 ms"
        );
    }

    #[test]
    fn slow_turns_are_told_once_a_second() {
        let mut times = TurnTimes::default();
        let mut turn = |at: u64| {
            times.begin(at);
            times.end(at + SLOW_MICROS + 1, 0).map(|slow| slow.others)
        };
        assert_eq!((turn(0), turn(100_000), turn(900_000)), (Some(0), None, None));
        assert_eq!(turn(1_000_001), Some(2));
        times.begin(5_000_000);
        assert_eq!(times.end(5_000_000 + SLOW_MICROS, 0), None);
    }

    #[test]
    fn histogram_is_cumulative() {
        let mut times = TurnTimes::default();
        for micros in [0, 50, 51, 10_000, 2_000_000] {
            times.begin(0);
            let _ = times.end(micros, 0);
        }
        let counts: Vec<u64> = times.cumulative().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4]);
        assert_eq!((times.count(), times.sum_micros()), (5, 2_010_101));
    }
}
