//! Why targets are what they are: prices, what the tax took, and who is next (§5.1, §5.2).
//!
//! Reasons are told of targets that are given, whoever made them. They change nothing and cost about as much as the
//! targets did, so whoever keeps no record of decisions does not ask for them.

use super::claims::Claims;
use super::min_funding::min_funding;
use super::price::{Price, TaxRate};

/// What speaks for each target, a row a virtual machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reasons {
    /// Adjusted shares-per-page ρ at the target: what its owner pays for a page. 0 without shares, and infinite for an
    /// owner of shares who holds no page.
    pub prices: Vec<f64>,
    /// Pages that each would have more without the tax; below 0 where others' tax is its gain.
    pub taxed_pages: Vec<i64>,
    /// Who would lose the next page: the lowest price among those above their min, the lower index in a tie. None if
    /// nobody is above.
    pub cheapest: Option<usize>,
}

/// The reasons for targets under a tax; none unless there is a target for each.
pub(super) fn reasons(claims: &Claims<'_>, tax: TaxRate, targets: &[u32]) -> Option<Reasons> {
    (targets.len() == claims.len()).then(|| Reasons {
        prices: claims
            .rows()
            .zip(targets)
            .map(|(claim, held)| price(claim.shares, *held, claim.active_pages, tax))
            .collect(),
        taxed_pages: taxed_pages(claims, targets),
        cheapest: cheapest(claims, tax, targets),
    })
}

/// ρ as the paper writes it, of the exact cost.
fn price(shares: u64, held: u32, active_pages: u32, tax: TaxRate) -> f64 {
    if shares == 0 {
        return 0.0;
    }
    shares as f64 * tax.active_cost() as f64 / tax.cost(held, active_pages) as f64
}

fn taxed_pages(claims: &Claims<'_>, targets: &[u32]) -> Vec<i64> {
    let untaxed = min_funding(claims, TaxRate::NONE);
    untaxed.into_iter().zip(targets).map(|(untaxed, target)| untaxed - i64::from(*target)).collect()
}

/// Prices compare exactly, so that this is who the loop that defines the targets would take from.
fn cheapest(claims: &Claims<'_>, tax: TaxRate, targets: &[u32]) -> Option<usize> {
    let rows = claims.rows().zip(targets).enumerate();
    let above_min = rows.filter(|(_, (claim, held))| **held > claim.min_pages);
    let priced = above_min.map(|(vm, (claim, held))| {
        (Price { shares: claim.shares, cost: tax.cost(*held, claim.active_pages) }, vm)
    });
    priced.min().map(|(_, vm)| vm)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::Columns;

    /// Four rows of shares, min, max and active pages.
    type Rows = [(u64, u32, u32, u32); 4];

    fn with_claims<T>(rows: &Rows, available: u64, what: impl FnOnce(&Claims<'_>) -> T) -> T {
        let columns = Columns {
            shares: &rows.map(|row| row.0),
            min_pages: &rows.map(|row| row.1),
            max_pages: &rows.map(|row| row.2),
            active_pages: &rows.map(|row| row.3),
        };
        what(&Claims::new(columns, available).expect("min fits"))
    }

    fn told(rows: &Rows, available: u64, tax: TaxRate, targets: &[u32]) -> Option<Reasons> {
        with_claims(rows, available, |claims| reasons(claims, tax, targets))
    }

    #[test]
    fn prices_are_those_of_the_papers_formula() {
        let rows = [(1000, 0, 100, 40), (1000, 0, 100, 100), (0, 0, 100, 0), (7, 0, 100, 9)];
        let reasons = told(&rows, 300, TaxRate::default(), &[100, 50, 100, 0]).expect("four targets");
        // 100 · (0.4 + 4 · 0.6) = 280; 50 pages, all active; nothing to pay with; nothing to pay for.
        let expected = [1000.0 / 280.0, 1000.0 / 50.0, 0.0, f64::INFINITY];
        for (price, expected) in reasons.prices.iter().zip(expected) {
            assert!(*price == expected || (price / expected - 1.0).abs() < 1e-15, "{price} {expected}");
        }
        assert_eq!(reasons.cheapest, Some(2), "without shares and above min");
    }

    #[test]
    fn figure_7_tells_what_the_tax_takes() {
        // Two guests of 256 MiB on 358 MiB with 20 and 150 MiB active, and two that are at their min.
        let none = (1, 0, 0, 0);
        let rows = [(1, 0, 65_536, 5120), (1, 0, 65_536, 38_400), none, none];
        let targets = [33_344, 58_304, 0, 0]; // 130.25 and 227.75 MiB
        let reasons = told(&rows, 358 * 256, TaxRate::default(), &targets).expect("four targets");
        assert_eq!(reasons.taxed_pages, [12_480, -12_480, 0, 0], "48.75 MiB either way");
        assert_eq!(reasons.cheapest, Some(0), "both pay the same");
        let untaxed = told(&rows, 358 * 256, TaxRate::NONE, &[45_824, 45_824, 0, 0]).expect("four targets");
        assert_eq!(untaxed.taxed_pages, [0; 4]);
    }

    #[test]
    fn nobody_above_min_is_nobody_who_can_lose() {
        let rows = [(1, 5, 9, 0), (1, 6, 6, 0), (0, 0, 0, 0), (3, 2, 4, 9)];
        assert_eq!(told(&rows, 13, TaxRate::NONE, &[5, 6, 0, 2]).expect("four targets").cheapest, None);
        assert_eq!(told(&rows, 14, TaxRate::NONE, &[5, 6, 0, 3]).expect("four targets").cheapest, Some(3));
    }

    #[test]
    fn prices_that_floats_cannot_tell_apart_are_told_apart() {
        // Products of 2^63 shares differ in the last of 116 bits.
        let (shares, pages) = (1 << 63, u32::MAX);
        let rows =
            [(shares, 0, pages, 0), (shares - 1, 0, pages, 0), (shares, 0, pages, 0), (shares, 0, pages, 0)];
        let reasons = told(&rows, u64::MAX, TaxRate::default(), &[pages; 4]).expect("four targets");
        assert_eq!(reasons.prices[0], reasons.prices[1]);
        assert_eq!(reasons.cheapest, Some(1));
    }

    #[test]
    fn a_target_for_each_or_no_reasons() {
        let rows = [(1, 0, 9, 0); 4];
        assert_eq!(told(&rows, 20, TaxRate::NONE, &[5; 3]), None);
        assert_eq!(told(&rows, 20, TaxRate::NONE, &[5; 5]), None);
    }

    fn row() -> impl Strategy<Value = (u64, u32, u32, u32)> {
        (0..50u64, 0..1000u32, 0..1000u32, 0..2000u32)
            .prop_map(|(shares, one, other, active)| (shares, one.min(other), one.max(other), active))
    }

    proptest! {
        /// The definition: with one page less there is, the cheapest has one page less and nobody else.
        #[test]
        fn the_cheapest_loses_the_next_page(
            rows in prop::array::uniform4(row()), part in 0.0..1.0, millionths in 0..1_000_000u32,
        ) {
            let tax = TaxRate::new(f64::from(millionths) * 1e-6).expect("a tax");
            let sum = |part: fn(&(u64, u32, u32, u32)) -> u32| rows.iter().map(|row| u64::from(part(row))).sum::<u64>();
            let (min, max) = (sum(|row| row.1), sum(|row| row.2));
            prop_assume!(min < max);
            let available = min + 1 + ((max - min - 1) as f64 * part) as u64;
            let targets = |available| with_claims(&rows, available, |claims| min_funding(claims, tax));
            let now: Vec<u32> = targets(available).into_iter().map(|pages| pages as u32).collect();
            let reasons = told(&rows, available, tax, &now).expect("four targets");
            let losses: Vec<i64> =
                targets(available - 1).into_iter().zip(&now).map(|(next, now)| i64::from(*now) - next).collect();
            let expected: Vec<i64> = (0..4).map(|vm| i64::from(reasons.cheapest == Some(vm))).collect();
            prop_assert_eq!(losses, expected);
            prop_assert_eq!(reasons.taxed_pages.iter().sum::<i64>(), 0, "the tax moves memory and takes none");
        }
    }
}
