//! Student's t distribution with whole degrees of freedom.

use std::f64::consts::PI;

/// Probability of a value of at most `t`: a finite sum (Abramowitz and Stegun, "Handbook of Mathematical
/// Functions", 26.7.3 and 26.7.4).
pub(super) fn cdf(t: f64, freedom: u32) -> f64 {
    let n = f64::from(freedom);
    let angle = (t / n.sqrt()).atan();
    let (sin, cos) = angle.sin_cos();
    let is_odd = freedom % 2 == 1;
    // Each term of the sum is the last times cos² and a fraction.
    let (mut term, mut sum) = if is_odd { (cos, 0.0) } else { (1.0, 0.0) };
    let mut at = if is_odd { 1 } else { 0 };
    while at + 2 <= freedom {
        sum += term;
        let next = f64::from(at + 1) / f64::from(at + 2);
        term *= cos * cos * next;
        at += 2;
    }
    let within = if is_odd { 2.0 / PI * (angle + sin * sum) } else { sin * sum };
    f64::midpoint(1.0, within).clamp(0.0, 1.0)
}

/// The value that is not exceeded with probability `p`, above one half.
pub(super) fn quantile(p: f64, freedom: u32) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while cdf(high, freedom) < p && high < 1e9 {
        high *= 2.0;
    }
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if cdf(middle, freedom) < p { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (p, freedom, expected) in [
            (0.975, 1, 12.706),
            (0.975, 2, 4.303),
            (0.95, 3, 2.353),
            (0.975, 8, 2.306),
            (0.995, 9, 3.250),
            (0.9995, 18, 3.922),
            (0.975, 200, 1.972),
        ] {
            let found = quantile(p, freedom);
            assert!((found - expected).abs() < 0.001, "{p} {freedom}: {found}");
        }
    }

    #[test]
    fn distribution_is_symmetric() {
        for freedom in [1, 2, 5, 6] {
            assert!((cdf(0.0, freedom) - 0.5).abs() < 1e-12);
            assert!((cdf(1.3, freedom) + cdf(-1.3, freedom) - 1.0).abs() < 1e-12);
            assert_eq!(cdf(f64::INFINITY, freedom), 1.0);
        }
    }
}
