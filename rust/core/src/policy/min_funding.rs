//! Min-funding revocation with the idle memory tax (§5.1, §5.2), in whole pages and exactly.
//!
//! It is *defined* by a slow loop: start from everyone's max; while the sum exceeds what is available, take one page
//! from the virtual machine with the smallest adjusted shares-per-page among those above their min, the lower index in
//! a tie. This room gives the same answer without the loop.
//!
//! **Why it is the same.** Think of the pages of a virtual machine above its min as numbered, and of page p as priced at
//! S / D(p), which is what its owner pays while it holds p pages (`price`). The loop takes a virtual machine's pages from
//! its highest number down, and as D grows with p, each costs more than the one before. So the loop merges sorted
//! sequences: it takes pages in the order of (price, index), and ends as soon as what is left fits. Of all pages above
//! min the most precious remain, as many as there is room for. Pages of one virtual machine have different prices if it
//! has shares; without shares all are priced at 0, and its turn in a tie lasts until it is at its min.
//!
//! **How it is found.** All pages that cost at most their owner's budget at some `level` are the most precious ones, as
//! many as they happen to be. So look for two levels close to each other, of which the lower hands out at most what is
//! available and the higher at least as much. Everything held at the lower level stays, everything not held at the
//! higher one goes, and of the few pages in between the most precious stay, compared exactly. Which levels are tried is
//! a matter of floating-point numbers and decides how long it takes; what a level hands out is counted in integers and
//! decides the answer.
//!
//! Two levels next to each other (2^-52 apart) have at most one page of each virtual machine in between: costs are whole
//! numbers below 2^52, so a budget grows by less than one from one level to the next. Bisection gets there in 64 steps,
//! so the search ends.

use super::AllocationPolicy;
use super::claims::{Claim, Claims};
use super::level::{Estimate, Glance, LANES, Level, Rates, Worth, estimate, whole};
use super::price::{Price, TaxRate};
use super::view::HostView;
use crate::error::Error;

/// Pages between two levels that are sorted out at any number of virtual machines.
const SPARE: usize = 64;
/// Every so many windows one is found by bisection.
const BISECTION: u32 = 4;

/// Shares with the idle memory tax, the paper's policy; without a tax, proportional shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MinFunding {
    /// The tax.
    pub tax: TaxRate,
}

impl AllocationPolicy for MinFunding {
    fn targets(&self, view: &HostView) -> Result<Vec<i64>, Error> {
        Ok(min_funding(&view.claims()?, self.tax))
    }
}

/// Targets in pages, a row a virtual machine: each from min to max, and together exactly what is available, or everyone's
/// max if that is less.
///
/// Cost: some five passes over the claims, another for whole pages.
#[must_use]
pub fn min_funding(claims: &Claims<'_>, tax: TaxRate) -> Vec<i64> {
    if claims.totals().max_pages <= claims.available_pages() {
        claims.rows().map(|claim| i64::from(claim.max_pages)).collect()
    } else if claims.totals().funded_pages <= claims.available_pages() {
        without_shares(claims)
    } else {
        whole_pages(claims, tax)
    }
}

/// The prices of an equilibrium without whole pages, as the pages' cost that one share pays for; the first half of
/// [`min_funding`], for benchmarks.
#[must_use]
pub fn level(claims: &Claims<'_>, tax: TaxRate) -> f64 {
    estimate(claims, tax).level.value()
}

/// Targets when only those without shares lose anything: one after the other down to its min.
fn without_shares(claims: &Claims<'_>) -> Vec<i64> {
    let mut missing = claims.totals().max_pages - claims.available_pages();
    let target = |claim: Claim| {
        let spare = if claim.shares > 0 { 0 } else { claim.max_pages - claim.min_pages };
        let taken = missing.min(u64::from(spare));
        missing -= taken;
        i64::from(claim.max_pages) - taken as i64
    };
    claims.rows().map(target).collect()
}

/// Targets when those with shares must lose something, by the search that the chapter above tells.
fn whole_pages(claims: &Claims<'_>, tax: TaxRate) -> Vec<i64> {
    let mut search = Search::new(claims, tax);
    let mut window = search.first_window();
    while !search.settles(&window) {
        window = search.next_window(&window);
    }
    let kept = (claims.available_pages() - search.low_pages) as usize;
    let Search { mut targets, mut between, .. } = search;
    if kept < between.len() {
        between.select_nth_unstable_by(kept, |one, other| other.rank().cmp(&one.rank()));
    }
    for page in &between[..kept] {
        targets[page.vm] += 1;
    }
    targets
}

/// A page of a virtual machine, by what its owner pays for it.
#[derive(Clone, Copy, Debug)]
struct Page {
    price: Price,
    vm: usize,
}

impl Page {
    /// The order in which pages are taken; of no two pages the same, as prices within a virtual machine differ.
    fn rank(&self) -> (Price, usize) {
        (self.price, self.vm)
    }
}

/// Two levels, the lower first.
#[derive(Clone, Copy, Debug)]
struct Window {
    low: Level,
    high: Level,
}

/// A search for two levels with what is available between them, and few pages.
struct Search<'a> {
    claims: &'a Claims<'a>,
    tax: TaxRate,
    rates: Rates,
    /// Levels known to hand out at most what is available, and at least.
    bracket: Window,
    estimate: Estimate,
    windows: u32,
    /// What the last window's lower level hands out, to each and in all.
    targets: Vec<i64>,
    low_pages: u64,
    /// What its higher level hands out.
    high_pages: u64,
    /// Those that have to be looked at closely.
    unsure: Vec<usize>,
    /// The pages in between, unless they are too many.
    between: Vec<Page>,
}

impl<'a> Search<'a> {
    fn new(claims: &'a Claims<'a>, tax: TaxRate) -> Self {
        Self {
            claims,
            tax,
            rates: Rates::new(tax),
            bracket: Window { low: Level::LOWEST, high: Level::HIGHEST },
            estimate: estimate(claims, tax),
            windows: 0,
            targets: vec![0; claims.len()],
            low_pages: 0,
            high_pages: 0,
            unsure: Vec::with_capacity(64),
            between: Vec::with_capacity(64),
        }
    }

    /// Where the answer should be: rounding to whole pages errs by 0.3 pages times the root of their owners.
    fn first_window(&self) -> Window {
        self.window_at(self.estimate.level.value())
    }

    /// A narrow window around a level, within the bracket; widens with the number of windows that have failed.
    fn window_at(&self, level: f64) -> Window {
        let pages = (1.0 + 0.5 * (self.claims.len() as f64).sqrt()) * f64::from(1 + self.windows);
        let width = pages / self.estimate.slope;
        if !width.is_finite() {
            let low = Level::new(level);
            return Window { low, high: low.next() };
        }
        Window { low: Level::new(level - width), high: Level::new(level + width) }
    }

    /// Whether the window has the answer in it and pages few enough to sort; else narrows the bracket.
    fn settles(&mut self, window: &Window) -> bool {
        self.sift(window);
        let available = self.claims.available_pages();
        if self.low_pages > available {
            self.bracket.high = window.low;
        } else if self.high_pages < available {
            self.bracket.low = window.high;
        } else {
            self.bracket = *window;
            return self.high_pages - self.low_pages == self.between.len() as u64;
        }
        false
    }

    /// The next window to try: corrected by what the last one missed, now and then by bisection.
    fn next_window(&mut self, last: &Window) -> Window {
        self.windows += 1;
        let Window { low, high } = self.bracket;
        let missing = self.claims.available_pages() as f64 - self.low_pages as f64;
        let next = self.window_at(last.low.value() + missing / self.estimate.slope);
        if self.windows.is_multiple_of(BISECTION) || !(low < next.high && next.low < high) {
            let middle = Level::between(low, high);
            return Window { low: middle, high: middle.next() };
        }
        Window {
            low: if next.low < low { low } else { next.low },
            high: if high < next.high { high } else { next.high },
        }
    }

    /// Counts what both levels hand out and gathers the pages in between.
    fn sift(&mut self, window: &Window) {
        self.between.clear();
        self.glance(window);
        self.high_pages = self.low_pages;
        let (low, high) = (Purse::of(window.low), Purse::of(window.high));
        let room = self.claims.len() + SPARE;
        for vm in std::mem::take(&mut self.unsure) {
            let claim = self.claims.row(vm);
            let (held, held_above) = (self.pages_for(low, &claim), self.pages_for(high, &claim));
            self.low_pages += u64::from(held);
            self.high_pages += u64::from(held_above);
            self.targets[vm] = i64::from(held);
            if self.between.len() + ((held_above - held) as usize) <= room {
                let page = |below: u32| {
                    let cost = self.tax.cost(below + 1, claim.active_pages);
                    Page { price: Price { shares: claim.shares, cost }, vm }
                };
                self.between.extend((held..held_above).map(page));
            }
        }
    }

    /// Finds the targets that are the same at both levels and sure to be so, adds them up, and leaves the others.
    fn glance(&mut self, window: &Window) {
        let glance = Glance::new(self.rates, window.low, window.high);
        let columns = self.claims.columns();
        let (shares, active) =
            (columns.shares.as_chunks::<LANES>().0, columns.active_pages.as_chunks::<LANES>().0);
        let (min, max) = (columns.min_pages.as_chunks::<LANES>().0, columns.max_pages.as_chunks::<LANES>().0);
        let targets = self.targets.as_chunks_mut::<LANES>().0;
        let mut sums = [0; LANES];
        let rows = shares.iter().zip(active).zip(min).zip(max).zip(targets);
        for (chunk, ((((shares, active), min), max), targets)) in rows.enumerate() {
            let (mut least, mut most) = ([0.0; LANES], [0.0; LANES]);
            for lane in 0..LANES {
                (least[lane], most[lane]) = glance.bounds(shares[lane], active[lane], min[lane], max[lane]);
            }
            *targets = least.map(whole);
            if (0..LANES).map(|lane| most[lane] - least[lane]).sum::<f64>() > 0.0 {
                for lane in 0..LANES {
                    if most[lane] > least[lane] {
                        self.unsure.push(chunk * LANES + lane);
                        targets[lane] = 0;
                    }
                }
            }
            for lane in 0..LANES {
                sums[lane] += targets[lane];
            }
        }
        self.low_pages = sums.iter().sum::<i64>().cast_unsigned();
        self.unsure.extend(self.claims.len() / LANES * LANES..self.claims.len());
    }

    /// The most pages, within min and max, that a claim's budget pays for: guessed in floating point, which is right or
    /// off by one, and corrected in integers.
    #[inline(always)]
    fn pages_for(&self, purse: Purse, claim: &Claim) -> u32 {
        let budget = purse.worth.budget(claim.shares);
        let costs = |pages| u128::from(self.tax.cost(pages, claim.active_pages));
        let (guess, _) = self.rates.pages(claim.shares as f64 * purse.level, claim.active_pages);
        let mut pages = (guess as u32).clamp(claim.min_pages, claim.max_pages);
        while pages < claim.max_pages && costs(pages + 1) <= budget {
            pages += 1;
        }
        while pages > claim.min_pages && costs(pages) > budget {
            pages -= 1;
        }
        pages
    }
}

/// A level for guesses and for exact budgets.
#[derive(Clone, Copy, Debug)]
struct Purse {
    level: f64,
    worth: Worth,
}

impl Purse {
    fn of(level: Level) -> Self {
        Self { level: level.value(), worth: level.worth() }
    }
}
