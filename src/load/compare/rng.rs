//! Random numbers from a fixed seed, so that the same files have the same verdict.

/// SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
#[derive(Debug, Clone)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Rng(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which must not be 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        // The product's upper half: without the division of a remainder, and as even for small `n`.
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// Puts a random choice of `count` of the items first, in random order.
    pub(super) fn choose<T>(&mut self, items: &mut [T], count: usize) {
        for n in 0..count.min(items.len()) {
            let other = n + self.below(items.len() - n);
            items.swap(n, other);
        }
    }

    /// A number from the normal distribution with mean 0 and standard deviation 1 (Box and Muller).
    #[cfg(test)]
    pub(super) fn normal(&mut self) -> f64 {
        let mut unit = || (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        let (radius, angle) = (1.0 - unit(), unit());
        (-2.0 * radius.ln()).sqrt() * (2.0 * std::f64::consts::PI * angle).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_even_and_the_same_each_time() {
        let draw = || {
            let mut rng = Rng::new(7);
            let mut counts = [0; 5];
            for _ in 0..5_000 {
                counts[rng.below(5)] += 1;
            }
            counts
        };
        assert!(draw().iter().all(|count| (900..1_100).contains(count)), "{:?}", draw());
        assert_eq!(draw(), draw());
    }

    #[test]
    fn choice_has_each_item_once() {
        let mut items: Vec<u32> = (0..20).collect();
        let mut rng = Rng::new(1);
        let mut first = 0;
        for _ in 0..2_000 {
            rng.choose(&mut items, 10);
            first += u32::from(items[..10].contains(&0));
        }
        assert!((900..1_100).contains(&first), "{first}");
        items.sort_unstable();
        assert!(items.iter().copied().eq(0..20));
    }
}
