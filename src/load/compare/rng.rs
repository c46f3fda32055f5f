//! Random numbers from a fixed seed, so that the same files have the same verdict.

use fastrand::Rng;

/// Puts a random choice of `count` of the items first, in random order.
pub(super) fn choose<T>(items: &mut [T], count: usize, rng: &mut Rng) {
    for n in 0..count.min(items.len()) {
        items.swap(n, rng.usize(n..items.len()));
    }
}

/// A number from the normal distribution with mean 0 and standard deviation 1 (Box and Muller).
#[cfg(test)]
pub(super) fn normal(rng: &mut Rng) -> f64 {
    let (radius, angle) = (1.0 - rng.f64(), rng.f64());
    (-2.0 * radius.ln()).sqrt() * (2.0 * std::f64::consts::PI * angle).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choice_has_each_item_once() {
        let mut items: Vec<u32> = (0..20).collect();
        let mut rng = Rng::with_seed(1);
        let mut first = 0;
        for _ in 0..2_000 {
            choose(&mut items, 10, &mut rng);
            first += u32::from(items[..10].contains(&0));
        }
        assert!((900..1_100).contains(&first), "{first}");
        items.sort_unstable();
        assert!(items.iter().copied().eq(0..20));
    }
}
