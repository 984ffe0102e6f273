//! What pages cost, and who pays least for them: the idle memory tax in whole numbers (§5.2).
//!
//! The paper's price is adjusted shares-per-page, ρ = S / (P · (f + k · (1 − f))), with P pages, S shares, the active
//! fraction f and the idle page cost k = 1 / (1 − τ). With the tax rate τ as t millionths, and A active pages, of which
//! the allocation can hold no more than P (f = min(1, A / P)), multiply the denominator by 10^6 − t:
//!
//! - an active page costs 10^6 − t,
//! - an idle page costs 10^6, which is k times as much,
//!
//! and active pages are charged first. So P pages cost D(P) = max((10^6 − t) · P, 10^6 · P − t · A): the left line up to
//! P = A, the right one above, where it is the steeper. D grows with every page, so a price S / D falls with every page
//! held and rises with every page taken. All prices share the factor 10^6 − t, which no comparison sees.
//!
//! S_i / D_i < S_j / D_j exactly when S_i · D_j < S_j · D_i. Pages are below 2^32 and 10^6 < 2^20, so D < 2^52; shares
//! are below 2^64, so both products are below 2^116 and never overflow 128 bits.

use std::cmp::Ordering;

use crate::config::TAX_RATE;
use crate::error::Error;

/// What an idle page costs; an active one costs this less the tax.
pub(super) const IDLE_COST: u64 = 1_000_000;

/// The idle memory tax: most that may be taken of a virtual machine's idle pages, in millionths (§5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaxRate(u32);

impl TaxRate {
    /// No tax: pure shares.
    pub const NONE: Self = Self(0);

    /// The rate given as a fraction, to the nearest millionth below one.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] unless it is at least 0 and below 1.
    pub fn new(rate: f64) -> Result<Self, Error> {
        if !(0.0..1.0).contains(&rate) {
            return Err(Error::Setting {
                what: "tax_rate",
                value: rate.to_string(),
                expected: "a number of at least 0 and below 1".into(),
            });
        }
        Ok(Self(((rate * IDLE_COST as f64).round() as u32).min(IDLE_COST as u32 - 1)))
    }

    /// The rate in millionths, below a million.
    #[must_use]
    pub fn millionths(self) -> u32 {
        self.0
    }

    /// What an active page costs.
    pub(super) fn active_cost(self) -> u64 {
        IDLE_COST - u64::from(self.0)
    }

    /// What an owner of that many active pages saves on them.
    pub(super) fn relief(self, active_pages: u32) -> u64 {
        u64::from(self.0) * u64::from(active_pages)
    }

    /// What that many pages cost: D of the chapter above.
    pub(super) fn cost(self, pages: u32, active_pages: u32) -> u64 {
        let pages = u64::from(pages);
        let all_active = self.active_cost() * pages;
        all_active.max((IDLE_COST * pages).saturating_sub(self.relief(active_pages)))
    }
}

impl Default for TaxRate {
    /// The paper's.
    fn default() -> Self {
        Self((TAX_RATE * IDLE_COST as f64) as u32)
    }
}

/// Adjusted shares-per-page: what an owner pays for its last page. Compares exactly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Price {
    pub shares: u64,
    /// Above 0.
    pub cost: u64,
}

impl PartialEq for Price {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Price {}

impl PartialOrd for Price {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Price {
    fn cmp(&self, other: &Self) -> Ordering {
        let cross = |one: &Self, other: &Self| u128::from(one.shares) * u128::from(other.cost);
        cross(self, other).cmp(&cross(other, self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl TaxRate {
        /// The most pages within bounds that a budget pays for, by the definition of a cost.
        pub fn affordable(self, budget: u128, active_pages: u32, min_pages: u32, max_pages: u32) -> u32 {
            let (mut low, mut high) = (min_pages, max_pages);
            while low < high {
                let middle = low + (high - low).div_ceil(2);
                if u128::from(self.cost(middle, active_pages)) <= budget {
                    low = middle;
                } else {
                    high = middle - 1;
                }
            }
            low
        }
    }

    #[test]
    fn the_cost_is_that_of_the_papers_formula() {
        for (rate, pages, active) in
            [(0.75, 100, 40), (0.75, 100, 100), (0.75, 30, 40), (0.0, 100, 40), (0.99, 7, 3), (0.5, 1, 0)]
        {
            let tax = TaxRate::new(rate).expect("a tax");
            let fraction = (f64::from(active) / f64::from(pages)).min(1.0);
            let idle_page_cost = 1.0 / (1.0 - rate);
            let paper = f64::from(pages) * (fraction + idle_page_cost * (1.0 - fraction));
            let ours = tax.cost(pages, active) as f64 / tax.active_cost() as f64;
            assert!((ours / paper - 1.0).abs() < 1e-12, "{rate} {pages} {active}");
        }
    }

    #[test]
    fn costs_and_products_stay_within_their_bits() {
        for tax in [TaxRate::NONE, TaxRate(IDLE_COST as u32 - 1)] {
            for active in [0, 1, u32::MAX] {
                assert!((1..1 << 52).contains(&tax.cost(u32::MAX, active)));
                assert!((1..=IDLE_COST).contains(&tax.cost(1, active)));
            }
        }
        let most = Price { shares: u64::MAX, cost: (1 << 52) - 1 };
        assert_eq!(most, most);
        assert!(Price { shares: u64::MAX - 1, ..most } < most);
        assert!(Price { cost: most.cost - 1, ..most } > most);
    }

    #[test]
    fn rates_are_millionths() {
        let millionths = |rate| TaxRate::new(rate).map(TaxRate::millionths);
        assert_eq!(millionths(0.75), Ok(TaxRate::default().millionths()));
        assert_eq!(millionths(-0.0), Ok(0));
        assert_eq!(millionths(0.29), Ok(290_000));
        assert_eq!(millionths(1.0 - f64::EPSILON), Ok(999_999));
        for rate in [1.0, -0.01, f64::NAN, f64::INFINITY] {
            assert!(millionths(rate).is_err_and(|error| error.to_string().contains("below 1")), "{rate}");
        }
    }
}
