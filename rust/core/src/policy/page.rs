//! Single pages by what their owners pay for them: the last step of every division (`min_funding`).

use super::claims::Claim;
use super::level::Level;
use super::price::{Price, TaxRate};

/// Costs and budgets that differ by more than this part of the cost in floating point are as different as they look: it
/// errs by two roundings of at most 2^-53 of a budget.
const NEARLY: f64 = 1.0 / (1u64 << 50) as f64;

/// A page of a virtual machine, by what its owner pays for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    price: Price,
    pub vm: usize,
}

impl Page {
    /// Fills places that no page has taken yet.
    pub const NONE: Self = Self { price: Price { shares: 0, cost: 1 }, vm: usize::MAX };

    /// The page of a virtual machine above so many.
    pub fn above(held: u32, vm: usize, claim: &Claim, tax: TaxRate) -> Self {
        Self { price: Price { shares: claim.shares, cost: tax.cost(held + 1, claim.active_pages) }, vm }
    }

    /// The order in which pages are taken; of no two pages the same, as prices within a virtual machine differ.
    fn rank(&self) -> (Price, usize) {
        (self.price, self.vm)
    }

    /// Whether its owner's budget at a level covers its cost, exactly; mostly seen at a glance.
    pub fn is_held_at(&self, level: Level) -> bool {
        let Price { shares, cost } = self.price;
        let (exact_cost, guess) = (cost as f64, shares as f64 * level.value()); // costs are below 2^52
        if (exact_cost - guess).abs() > exact_cost * NEARLY {
            return exact_cost < guess;
        }
        u128::from(cost) <= level.budget(shares)
    }
}

/// The most precious pages, so many of them, and the others; of those the most precious is the first.
pub(super) fn parted(pages: &mut [Page], kept: usize) -> (&[Page], &[Page]) {
    if kept < pages.len() {
        pages.select_nth_unstable_by(kept, |one, other| other.rank().cmp(&one.rank()));
    }
    pages.split_at(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::mix;

    #[test]
    fn whether_a_page_is_held_is_exact_however_close() {
        let mut seen = [[0; 2]; 2];
        for number in 0..100_000u64 {
            let random = mix(number + 1);
            let (shares, cost) = (1 + (random >> (number % 60)), 1 + (mix(random) >> (12 + number % 40)));
            let level = cost as f64 / shares as f64;
            let steps = ((number % 7) as i64 - 3) << (number / 7 % 8);
            let level = Level::new(f64::from_bits(level.to_bits().wrapping_add_signed(steps)));
            let held = Page { price: Price { shares, cost }, vm: 0 }.is_held_at(level);
            assert_eq!(held, u128::from(cost) <= level.budget(shares), "{shares} {cost} {steps}");
            let in_floats = cost as f64 <= shares as f64 * level.value();
            seen[usize::from(held)][usize::from(in_floats)] += 1;
        }
        assert!(seen.as_flattened().iter().all(|times| *times > 5), "also where floats are wrong: {seen:?}");
        let held = |cost| Page { price: Price { shares: 3, cost }, vm: 0 }.is_held_at(Level::new(10.1));
        assert_eq!([30, 31].map(held), [true, false], "3 shares pay for 30.3");
    }
}
