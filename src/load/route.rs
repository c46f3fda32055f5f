//! The targets of a run: their addresses, and which connections go to which. Knows no sockets.

use super::sources::Sources;
use super::target::Address;

/// The way to one target.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) address: Address,
    /// Local addresses and ports of the connections to it.
    pub(super) sources: Sources,
}

/// How connections are spread over targets: all go to the only one; of several, the first has
/// connection 0, which publishes, and the others have the rest in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spread {
    /// Targets besides the first.
    further: usize,
}

impl Spread {
    /// Over `targets` targets, at least one.
    pub(super) fn new(targets: usize) -> Self {
        Spread { further: targets.saturating_sub(1) }
    }

    /// Whether there are several targets.
    pub(super) fn is_over_several(self) -> bool {
        self.further > 0
    }

    /// The number of the target of connection `index`, and that of the connection among those of its
    /// target.
    pub(super) fn place(self, index: usize) -> (usize, usize) {
        match index.checked_sub(1) {
            Some(number) if self.further > 0 => (1 + number % self.further, number / self.further),
            _ => (0, index),
        }
    }

    /// Number of connections to target `target`, of `all`.
    pub(super) fn count(self, target: usize, all: usize) -> usize {
        match target.checked_sub(1) {
            None if self.further == 0 => all,
            None => all.min(1),
            Some(before) => {
                all.saturating_sub(1).saturating_sub(before).div_ceil(self.further.max(1))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_target_has_all_connections() {
        let spread = Spread::new(1);
        assert_eq!([0, 1, 7].map(|index| spread.place(index)), [(0, 0), (0, 1), (0, 7)]);
        assert_eq!((spread.count(0, 8), spread.is_over_several()), (8, false));
    }

    #[test]
    fn subscribers_go_to_further_targets_in_turn() {
        let spread = Spread::new(3);
        let places = [(0, 0), (1, 0), (2, 0), (1, 1), (2, 1), (1, 2)];
        assert_eq!([0, 1, 2, 3, 4, 5].map(|index| spread.place(index)), places);
    }

    #[test]
    fn counts_of_targets_are_those_of_their_places() {
        for targets in 1..6 {
            let spread = Spread::new(targets);
            for all in 1..30 {
                let mut counts = vec![0; targets];
                for (target, number) in (0..all).map(|index| spread.place(index)) {
                    assert_eq!(number, counts[target]);
                    counts[target] += 1;
                }
                let expected: Vec<usize> = (0..targets).map(|t| spread.count(t, all)).collect();
                assert_eq!(counts, expected, "{all} over {targets}");
            }
        }
    }
}
