//! Whole pages in proportion to any weights.

use super::claims::{Claims, Columns};
use super::min_funding::min_funding;
use super::price::TaxRate;
use crate::error::Error;

/// Targets in pages, a row a weight: in proportion to the weights, within min and max, together exactly what is
/// available or everyone's max if that is less.
///
/// They are what min-funding revocation without a tax gives to virtual machines with the weights as shares: the divisor
/// apportionment clamp(weight / λ, min, max) rounded down, for the λ that hands out what is available, the pages that λ
/// cannot tell apart taken from the lower row first. In other words, of all pages above min those with the largest
/// weight / p are kept, p being the number of the page in its row. Rows without weight lose first, one after the other.
/// If there is no weight at all, all rows weigh the same: no weights are no reason to prefer anybody. Min-funding revocation
/// itself has no such rule, so there virtual machines without shares lose one after the other.
///
/// Weights count relative to each other, in units of 2^-64 of the power of two above the largest, rounded down. Whole
/// numbers, and all weights within a factor of 2000 of each other, are therefore exact. The answer is the same on every
/// machine.
///
/// # Errors
///
/// [`Error::Column`] if a weight is negative, infinite or not a number; otherwise as [`Claims::new`].
pub fn apportion(
    weights: &[f64],
    min_pages: &[u32],
    max_pages: &[u32],
    available_pages: u64,
) -> Result<Vec<i64>, Error> {
    let shares = shares(weights)?;
    // Without a tax it does not matter what is active.
    let columns = Columns { shares: &shares, min_pages, max_pages, active_pages: max_pages };
    Ok(min_funding(&Claims::new(columns, available_pages)?, TaxRate::NONE))
}

/// The weights as whole numbers, the largest with all 64 bits in use; all of them 1 if none is above 0.
fn shares(weights: &[f64]) -> Result<Vec<u64>, Error> {
    let bad = |weight: &f64| !(weight.is_finite() && *weight >= 0.0);
    if let Some(vm) = weights.iter().position(bad) {
        let (value, expected) = (weights[vm].to_string(), "a finite number of at least 0".into());
        return Err(Error::Column { column: "weight", vm, value, expected });
    }
    let largest = weights.iter().copied().fold(0.0, f64::max);
    if largest == 0.0 {
        return Ok(vec![1; weights.len()]);
    }
    let largest = Binary::of(largest);
    let unit = largest.exponent - largest.mantissa.leading_zeros().cast_signed();
    Ok(weights.iter().map(|weight| Binary::of(*weight).in_units_of(unit)).collect())
}

/// A finite number of at least 0 as mantissa times 2^exponent.
#[derive(Clone, Copy, Debug)]
struct Binary {
    mantissa: u64,
    exponent: i32,
}

impl Binary {
    fn of(value: f64) -> Self {
        let bits = value.abs().to_bits();
        let (field, fraction) = ((bits >> 52) as i32, bits & ((1 << 52) - 1));
        // Numbers below the normal ones have no leading one and the exponent of the smallest normal ones.
        let leading = u64::from(field > 0) << 52;
        Self { mantissa: leading | fraction, exponent: field.max(1) - 1075 }
    }

    /// The number over 2^unit, rounded down; it must be below 2^64.
    fn in_units_of(self, unit: i32) -> u64 {
        let shift = self.exponent - unit;
        if shift >= 0 {
            self.mantissa.checked_shl(shift.unsigned_abs()).unwrap_or(0) // only nothing is shifted out
        } else {
            self.mantissa.checked_shr(shift.unsigned_abs()).unwrap_or(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_weights_are_exact_up_to_a_common_power_of_two() {
        let weights = [3.0, 0.0, 1.0, 7.0, (1u64 << 52) as f64];
        let shares = shares(&weights).expect("finite");
        assert_eq!(shares[4], 1 << 63);
        let whole: Vec<u64> = weights.iter().map(|weight| *weight as u64).collect();
        assert_eq!(shares.iter().map(|share| share >> 11).collect::<Vec<_>>(), whole);
    }

    #[test]
    fn the_largest_weight_uses_all_bits_whatever_its_size() {
        let sizes = [f64::MAX, 1.0, 0.1, f64::MIN_POSITIVE, f64::MIN_POSITIVE / 3.0, f64::from_bits(1)];
        for largest in sizes {
            let shares = shares(&[largest, largest / 2.0, 0.0]).expect("finite");
            assert_eq!(shares[0] >> 63, 1, "{largest}");
            if largest > 1e-300 {
                assert_eq!(shares[1], shares[0] / 2, "{largest}");
            }
            assert_eq!(shares[2], 0);
        }
        assert_eq!(shares(&[1.0, 2f64.powi(-63), 2f64.powi(-64)]), Ok(vec![1 << 63, 1, 0]));
        assert_eq!(shares(&[0.0, -0.0]), Ok(vec![1, 1]));
        assert_eq!(shares(&[]), Ok(vec![]));
    }

    #[test]
    fn pages_follow_weights() {
        let apportion = |weights: &[f64], available| {
            apportion(weights, &[0, 10, 0], &[100, 100, 100], available).expect("valid")
        };
        assert_eq!(apportion(&[1.0, 2.0, 3.0], 60), [10, 20, 30]);
        assert_eq!(apportion(&[0.1, 0.2, 0.3], 60), [10, 20, 30]);
        assert_eq!(apportion(&[1.0, 0.0, 1.0], 50), [20, 10, 20], "min");
        assert_eq!(apportion(&[1e-9, 1e-9, 1.0], 150), [25, 25, 100], "max");
        assert_eq!(apportion(&[1.0, 2.0, 3.0], 1000), [100, 100, 100], "no more than max");
        assert_eq!(apportion(&[0.0, 0.0, 1.0], 150), [0, 50, 100], "the lower row loses first");
        assert_eq!(apportion(&[0.0, 0.0, -0.0], 150), [50, 50, 50], "none weighs more than another");
        assert_eq!(apportion(&[0.0, 0.0, 0.0], 12), [1, 10, 1], "min");
        assert_eq!(apportion(&[1.0, 1.0, 1.0], 50), [16, 17, 17], "the lower row loses a tie");
    }

    #[test]
    fn weights_that_are_none_are_refused() {
        for (weight, text) in [(f64::NAN, "NaN"), (f64::INFINITY, "inf"), (-0.5, "-0.5")] {
            let refused = apportion(&[1.0, weight], &[0, 0], &[9, 9], 5).map_err(|error| error.to_string());
            let expected = format!("weight of VM 1 is {text}; expected a finite number of at least 0");
            assert_eq!(refused, Err(expected));
        }
        let unequal = Error::ColumnLength { column: "min_pages", rows: 2, vms: 1 };
        assert_eq!(apportion(&[1.0], &[0, 0], &[9, 9], 5), Err(unequal));
    }
}
