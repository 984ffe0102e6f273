//! The level of an equilibrium: what one share buys when everybody holds all the pages it can pay for.
//!
//! At a level every virtual machine has a budget of its shares times the level, and holds the most pages, within min
//! and max, whose cost the budget covers: each of them at a price of 1 / level or more. Levels rise as prices fall, and
//! with the level nobody's pages ever fall.
//!
//! Budgets are exact: a level is a floating-point number, which is a whole mantissa over a power of two, so shares times
//! level is a 128-bit product and a shift. A cost is a whole number, so the budget may be rounded down.
//!
//! Which level hands out what is available is found first as if pages could be split. A budget x then pays for
//! min(x / (10^6 - t), (x + t · A) / 10^6) pages: two lines, so the sum over everybody is made of straight pieces and
//! Newton's method ends after a few passes, kept inside a bracket in case the pieces are unkind. Whole pages lose half
//! a page on average where neither min nor max decides, and the search aims at that.

use super::claims::Claims;
use super::price::{IDLE_COST, TaxRate};

/// Below it no share buys a page: 2^64 shares times this is less than one.
const LOWEST: f64 = 1.0 / (1u128 << 65) as f64;
/// At it one share buys any number of pages: costs are below 2^52.
const HIGHEST: f64 = (1u64 << 52) as f64;
/// Virtual machines summed side by side, in an order that does not depend on the processor.
pub(super) const LANES: usize = 4;
/// Newton steps before every second one is a bisection.
const QUICK_STEPS: u32 = 12;

/// What one share buys, exactly.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) struct Level(f64);

impl Level {
    pub const LOWEST: Self = Self(LOWEST);
    pub const HIGHEST: Self = Self(HIGHEST);

    /// The nearest level there is; the lowest for what is no number.
    pub fn new(value: f64) -> Self {
        if value.is_nan() { Self::LOWEST } else { Self(value.clamp(LOWEST, HIGHEST)) }
    }

    pub fn value(self) -> f64 {
        self.0
    }

    /// The next one above.
    pub fn next(self) -> Self {
        Self::new(self.0.next_up())
    }

    /// One between two, half-way in digits: 64 such steps end any search.
    pub fn between(low: Self, high: Self) -> Self {
        Self(f64::from_bits(low.0.to_bits().midpoint(high.0.to_bits())))
    }

    /// What so many shares may spend: below 2^117, rounded down.
    pub fn budget(self, shares: u64) -> u128 {
        // Levels are normal and positive: no sign, a leading one, and at most 2^52, so that nothing is shifted up.
        let bits = self.0.to_bits();
        let (exponent, mantissa) = ((bits >> 52) as u32, (bits & ((1 << 52) - 1)) | (1 << 52));
        (u128::from(shares) * u128::from(mantissa)) >> (1023 + 52 - exponent)
    }
}

/// How many pages a budget pays for, in floating point.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    per_active: f64,
    per_idle: f64,
    tax: f64,
}

impl Rates {
    pub fn new(tax: TaxRate) -> Self {
        Self {
            per_active: 1.0 / tax.active_cost() as f64,
            per_idle: 1.0 / IDLE_COST as f64,
            tax: f64::from(tax.millionths()),
        }
    }

    /// Pages that a budget pays for, and how many more the next of it would.
    #[inline(always)]
    pub fn pages(&self, budget: f64, active_pages: u32) -> (f64, f64) {
        let all_active = budget * self.per_active;
        let some_idle = (budget + self.tax * f64::from(active_pages)) * self.per_idle;
        if all_active < some_idle { (all_active, self.per_active) } else { (some_idle, self.per_idle) }
    }
}

/// More than floating point errs by in [`Rates::pages`]: no more than six roundings of at most 2^-53 of a number of
/// pages, so less than 2^-50 of it and far less than this of anything up to 2^32. Numbers beyond are above any max, with
/// the error and without it.
const DOUBT: f64 = 1.0 / 4096.0;
/// Added to a number from 0 to 2^52, it leaves the nearest whole number in the low bits.
const ROUNDING: f64 = (1u64 << 52) as f64;

/// Two levels, to see at a glance what claims are certain to hold at both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Glance {
    rates: Rates,
    low: f64,
    high: f64,
}

impl Glance {
    pub fn new(rates: Rates, low: Level, high: Level) -> Self {
        Self { rates, low: low.value(), high: high.value() }
    }

    /// Pages that a claim holds at least at the lower level and at most at the higher one; mostly the same, and if so
    /// what it holds at both.
    #[inline(always)]
    pub fn bounds(&self, shares: u64, active_pages: u32, min_pages: u32, max_pages: u32) -> (f64, f64) {
        let (shares, min, max) = (shares as f64, f64::from(min_pages), f64::from(max_pages));
        let held = |level: f64, doubt: f64| {
            let (pages, _) = self.rates.pages(shares * level, active_pages);
            // Rounding half a page less to the nearest rounds down, unless the pages are whole: then the doubt decides.
            let pages = pages + (doubt - 0.5);
            let pages = if pages < min { min } else { pages };
            let pages = if pages > max { max } else { pages };
            pages + ROUNDING
        };
        (held(self.low, -DOUBT), held(self.high, DOUBT))
    }

    /// What some claims hold at least, from row `first` on; notes those that may hold more, and how many pages more.
    #[inline(always)]
    pub fn least(&self, first: usize, rows: Lanes<'_>, unsure: &mut Vec<(usize, u32)>) -> [i64; LANES] {
        let (shares, active, min, max) = rows;
        let (mut least, mut most) = ([0.0; LANES], [0.0; LANES]);
        for lane in 0..LANES {
            (least[lane], most[lane]) = self.bounds(shares[lane], active[lane], min[lane], max[lane]);
        }
        if (0..LANES).map(|lane| most[lane] - least[lane]).sum::<f64>() > 0.0 {
            for lane in 0..LANES {
                if most[lane] > least[lane] {
                    unsure.push((first + lane, (most[lane] - least[lane]) as u32));
                }
            }
        }
        least.map(whole)
    }
}

/// Claims that are looked at side by side: shares, active pages, min, max.
pub(super) type Lanes<'a> = (&'a [u64; LANES], &'a [u32; LANES], &'a [u32; LANES], &'a [u32; LANES]);

/// The last values of a column, filled up with zeros.
pub(super) fn filled<T: Copy + Default>(last: &[T]) -> [T; LANES] {
    // Lane by lane: so few are not worth a call that copies memory.
    std::array::from_fn(|lane| last.get(lane).copied().unwrap_or_default())
}

/// The whole number that [`Glance::bounds`] rounded to.
#[inline(always)]
fn whole(rounded: f64) -> i64 {
    rounded.to_bits().cast_signed() - ROUNDING.to_bits().cast_signed()
}

/// Where the search without whole pages has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    pub level: Level,
    /// Pages that a rise of the level by one would hand out; 0 where nobody is between min and max.
    pub slope: f64,
}

/// The level that hands out what is available, as if pages could be split; so many passes over the claims as Newton's
/// method takes steps. There must be less than those with shares could take.
pub(super) fn estimate(claims: &Claims<'_>, tax: TaxRate) -> Estimate {
    let rates = Rates::new(tax);
    let wanted = claims.available_pages() as f64;
    let close_enough = 0.5 + 0.1 * (claims.len() as f64).sqrt();
    let (mut low, mut high) = (Level::LOWEST, Level::HIGHEST);
    let (mut level, mut last) = (first_guess(claims, &rates), None);
    for step in 0.. {
        let now = sum(claims, &rates, level.value());
        let missing = wanted - now.pages;
        if missing > 0.0 {
            low = level
        } else {
            high = level
        }
        let newton = Level::new(level.value() + missing / now.slope);
        let inside = now.slope > 0.0 && low <= newton && newton <= high;
        let error = last.map_or(f64::INFINITY, |last| now.error_of_a_step(last, wanted));
        if missing.abs() <= close_enough || inside && error <= close_enough {
            return Estimate { level: if inside { newton } else { level }, slope: now.slope };
        }
        let bisects = step > QUICK_STEPS && step % 2 == 0;
        let next = if inside && !bisects { newton } else { Level::between(low, high) };
        if next == low || next == high {
            return Estimate { level: next, slope: now.slope };
        }
        (level, last) = (next, Some(now));
    }
    unreachable!("every second step halves the bracket")
}

/// The level at which nobody is at min or max, all allocations active or none: both are at most the real one there.
fn first_guess(claims: &Claims<'_>, rates: &Rates) -> Level {
    let (wanted, totals) = (claims.available_pages() as f64, claims.totals());
    let some_idle = wanted / rates.per_idle - rates.tax * totals.active_pages as f64;
    Level::new(some_idle.max(wanted / rates.per_active) / totals.shares)
}

/// Pages handed out at a level, and by how much they rise with it.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    pages: f64,
    slope: f64,
}

impl Sum {
    /// Pages that the next Newton step will be wrong by, if the slope goes on changing as it did in the last step.
    fn error_of_a_step(&self, last: Self, wanted: f64) -> f64 {
        let bend = (self.slope / last.slope - 1.0) / (self.pages - last.pages);
        let missing = wanted - self.pages;
        (bend * missing * missing).abs()
    }

    #[inline(always)]
    fn add(&mut self, rates: &Rates, level: f64, (shares, active, min, max): (u64, u32, u32, u32)) {
        let shares = shares as f64;
        let (pages, rate) = rates.pages(shares * level, active);
        let (pages, min, max) = (pages - 0.5, f64::from(min), f64::from(max));
        self.slope += if min < pages && pages < max { shares * rate } else { 0.0 };
        let pages = if pages < min { min } else { pages };
        self.pages += if pages > max { max } else { pages };
    }
}

fn sum(claims: &Claims<'_>, rates: &Rates, level: f64) -> Sum {
    let columns = claims.columns();
    let (shares, last_shares) = columns.shares.as_chunks::<LANES>();
    let (active, last_active) = columns.active_pages.as_chunks::<LANES>();
    let (min, last_min) = columns.min_pages.as_chunks::<LANES>();
    let (max, last_max) = columns.max_pages.as_chunks::<LANES>();
    let mut sums = [Sum::default(); LANES];
    for (((shares, active), min), max) in shares.iter().zip(active).zip(min).zip(max) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            sum.add(rates, level, (shares[lane], active[lane], min[lane], max[lane]));
        }
    }
    let last = last_shares.iter().zip(last_active).zip(last_min).zip(last_max);
    for (sum, (((&shares, &active), &min), &max)) in sums.iter_mut().zip(last) {
        sum.add(rates, level, (shares, active, min, max));
    }
    let total = |part: fn(&Sum) -> f64| sums.iter().map(part).sum();
    Sum { pages: total(|sum| sum.pages), slope: total(|sum| sum.slope) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn levels() -> impl Strategy<Value = Level> {
        (any::<u64>(), -66..53i32).prop_map(|(digits, power)| {
            Level::new((1.0 + digits as f64 / u64::MAX as f64) * 2f64.powi(power))
        })
    }

    /// A level so many steps from the one where those shares just pay for that cost.
    fn near(cost: u64, shares: u64, steps: i64) -> Level {
        let level = Level::new(cost as f64 / shares as f64);
        Level::new(f64::from_bits(level.value().to_bits().wrapping_add_signed(steps)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn a_glance_is_never_wrong(
            (from, to) in (-3..4i64, 0..4i64), (shares, fewer) in (1..u64::MAX, 0..64u32),
            (pages, active, min, max) in any::<(u32, u32, u32, u32)>(), fewer_pages in 0..32u32,
            millionths in 0..1_000_000u32,
        ) {
            let tax = TaxRate::new(f64::from(millionths) * 1e-6).expect("a tax");
            let (shares, pages) = ((shares >> fewer).max(1), pages >> fewer_pages);
            let (min, max) = (min.min(max).min(pages), min.max(max).max(pages));
            let cost = tax.cost(pages, active);
            let (low, high) = (near(cost, shares, from), near(cost, shares, from + to));
            let (least, most) = Glance::new(Rates::new(tax), low, high).bounds(shares, active, min, max);
            let held = |level: Level| i64::from(tax.affordable(level.budget(shares), active, min, max));
            prop_assert!(whole(least) <= held(low) && held(high) <= whole(most));
        }

        #[test]
        fn budgets_are_exact(level in levels(), shares in 0..1u64 << 20) {
            // So few shares times so few digits are exact in floating point too.
            let coarse = Level::new(f64::from_bits(level.value().to_bits() >> 20 << 20));
            prop_assert_eq!(coarse.budget(shares), (shares as f64 * coarse.value()) as u128);
        }
    }

    #[test]
    fn the_first_and_the_last_level_hand_out_nothing_and_everything() {
        assert_eq!(Level::LOWEST.budget(u64::MAX), 0);
        assert_eq!(Level::HIGHEST.budget(1), 1 << 52);
        assert_eq!(Level::HIGHEST.next(), Level::HIGHEST);
        assert_eq!(Level::new(0.0), Level::LOWEST);
        assert_eq!(Level::new(f64::INFINITY), Level::HIGHEST);
        assert_eq!(Level::new(f64::NAN), Level::LOWEST);
    }
}
