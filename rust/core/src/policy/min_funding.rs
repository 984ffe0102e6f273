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
//! Mostly it need not be counted. Floating point tells pages that are certain to be held at the lower level, pages that
//! are certain not to be at the higher one, and a few others. Of the others the most precious stay, as many as there is
//! room for. If all of those are held at the higher level, they are more precious than what is certain not to be; if the
//! first one that goes is not held at the lower level, what is certain to be is more precious than all that go. Then the
//! pages that stay are the most precious of all, whatever the levels hand out.
//!
//! Two levels next to each other (2^-52 apart) have at most one page of each virtual machine in between: costs are whole
//! numbers below 2^52, so a budget grows by less than one from one level to the next. Bisection gets there in 64 steps,
//! and from the fifth window on every second one is a bisection, so the search ends.

use super::AllocationPolicy;
use super::claims::{Claim, Claims};
use super::level::{Estimate, Glance, LANES, Level, Rates, estimate, filled};
use super::page::{Page, parted};
use super::price::TaxRate;
use super::reasons::{Reasons, reasons};
use super::view::HostView;
use crate::error::Error;

/// Pages between two levels that are sorted out at any number of virtual machines.
const SPARE: usize = 64;
/// Pages between two levels up to which they need no memory of their own.
const FEW: usize = 16;
/// Windows before every second one is a bisection.
const QUICK_WINDOWS: u32 = 3;

/// Shares with the idle memory tax, the paper's policy; without a tax, proportional shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MinFunding {
    /// The tax.
    pub tax: TaxRate,
}

impl AllocationPolicy for MinFunding {
    fn name(&self) -> &str {
        if self.tax == TaxRate::NONE { "proportional" } else { "esx2002" }
    }

    fn targets(&self, view: &HostView) -> Result<Vec<i64>, Error> {
        Ok(min_funding(&view.claims()?, self.tax))
    }

    fn reasons(&self, view: &HostView, targets: &[u32]) -> Option<Reasons> {
        reasons(&view.claims().ok()?, self.tax, targets)
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

/// What one share pays for in equilibrium, in millionths of an idle page, as if pages could be split: where nobody's min
/// or max decides, everybody's price is one over this. It is what [`min_funding`] begins with.
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
        window = search.next_window();
    }
    search.targets
}

/// Two levels, the lower first.
#[derive(Clone, Copy, Debug)]
struct Window {
    low: Level,
    high: Level,
}

impl Window {
    fn around(level: f64, width: f64) -> Self {
        if width.is_finite() {
            Self { low: Level::new(level - width), high: Level::new(level + width) }
        } else {
            Self { low: Level::new(level), high: Level::new(level).next() }
        }
    }
}

/// A level and what it hands out.
#[derive(Clone, Copy, Debug)]
struct Known {
    level: Level,
    pages: u64,
}

/// Two levels that the answer is known to lie between.
#[derive(Clone, Copy, Debug)]
struct Bracket {
    low: Known,
    high: Known,
}

/// A search for two levels with what is available between them, and few pages.
struct Search<'a> {
    claims: &'a Claims<'a>,
    tax: TaxRate,
    rates: Rates,
    bracket: Bracket,
    estimate: Estimate,
    windows: u32,
    /// What the last window's lower level hands out, to each and in all.
    targets: Vec<i64>,
    low_pages: u64,
    /// What its higher level hands out.
    high_pages: u64,
    /// Those that may hold more than their target at one of the levels, and how many pages more.
    unsure: Vec<(usize, u32)>,
    /// The pages in between, if they were looked at closely and are not too many.
    between: Vec<Page>,
}

impl<'a> Search<'a> {
    fn new(claims: &'a Claims<'a>, tax: TaxRate) -> Self {
        Self {
            claims,
            tax,
            rates: Rates::new(tax),
            bracket: Bracket {
                low: Known { level: Level::LOWEST, pages: claims.totals().min_pages },
                high: Known { level: Level::HIGHEST, pages: claims.totals().funded_pages },
            },
            estimate: estimate(claims, tax),
            windows: 0,
            targets: Vec::with_capacity(claims.len()),
            low_pages: 0,
            high_pages: 0,
            unsure: Vec::with_capacity(claims.len().min(SPARE)),
            between: vec![],
        }
    }

    /// Where the answer should be.
    fn first_window(&self) -> Window {
        Window::around(self.estimate.level.value(), self.rounding() / self.estimate.slope)
    }

    /// Pages by which whole pages and what the estimate calls pages differ: 0.3 times the root of their owners, and to be
    /// sure some more.
    fn rounding(&self) -> f64 {
        1.0 + 0.5 * (self.claims.len() as f64).sqrt()
    }

    /// Whether the window has the answer in it and pages few enough to sort; else narrows the bracket.
    fn settles(&mut self, window: &Window) -> bool {
        self.glance(window);
        if self.settles_at_a_glance(window) {
            return true;
        }
        self.look_closely(window);
        let available = self.claims.available_pages();
        let low = Known { level: window.low, pages: self.low_pages };
        let high = Known { level: window.high, pages: self.high_pages };
        if low.pages > available {
            self.bracket.high = low;
        } else if high.pages < available {
            self.bracket.low = high;
        } else {
            self.bracket = Bracket { low, high };
            if high.pages - low.pages == self.between.len() as u64 {
                let mut between = std::mem::take(&mut self.between);
                self.keep(parted(&mut between, (available - low.pages) as usize).0);
                return true;
            }
        }
        false
    }

    /// Whether what a glance shows is enough: as the chapter above tells, if the most precious page that goes is not held
    /// at the lower level and all that stay are at the higher one.
    fn settles_at_a_glance(&mut self, window: &Window) -> bool {
        let available = self.claims.available_pages();
        let spread = self.unsure.iter().map(|(_, pages)| u64::from(*pages)).sum::<u64>();
        if available < self.low_pages || available - self.low_pages > spread || spread > self.room() as u64 {
            return false;
        }
        let (mut few, mut many) = ([Page::NONE; FEW], vec![]);
        let between = if spread <= FEW as u64 {
            &mut few[..spread as usize]
        } else {
            many.resize(spread as usize, Page::NONE);
            &mut many[..]
        };
        let mut free = between.iter_mut();
        for &(vm, pages) in &self.unsure {
            let (claim, least) = (self.claims.row(vm), self.targets[vm] as u32);
            for (held, page) in (least..least + pages).zip(&mut free) {
                *page = Page::above(held, vm, &claim, self.tax);
            }
        }
        let (stay, go) = parted(between, (available - self.low_pages) as usize);
        let settled = go.first().is_none_or(|page| !page.is_held_at(window.low))
            && stay.iter().all(|page| page.is_held_at(window.high));
        if settled {
            self.keep(stay);
        }
        settled
    }

    fn keep(&mut self, pages: &[Page]) {
        for page in pages {
            self.targets[page.vm] += 1;
        }
    }

    /// The next window to try: the whole bracket if its pages can be sorted, else where a straight line meets what is
    /// available, now and then by bisection.
    fn next_window(&mut self) -> Window {
        self.windows += 1;
        let Bracket { low, high } = self.bracket;
        if high.pages - low.pages <= self.room() as u64 {
            return Window { low: low.level, high: high.level };
        }
        let next = self.interpolated();
        if self.windows > QUICK_WINDOWS && self.windows.is_multiple_of(2)
            || !(low.level < next.high && next.low < high.level)
        {
            let middle = Level::between(low.level, high.level);
            return Window { low: middle, high: middle.next() };
        }
        Window {
            low: if next.low < low.level { low.level } else { next.low },
            high: if high.level < next.high { high.level } else { next.high },
        }
    }

    /// Where a straight line meets what is available: through both ends of the bracket, or, as long as one of them is as
    /// far away as levels go, through the other one with the slope of the estimate, and wider each time.
    fn interpolated(&self) -> Window {
        let Bracket { low, high } = self.bracket;
        let available = self.claims.available_pages();
        let wider = self.rounding() * f64::from(self.windows).exp2();
        if low.level == Level::LOWEST {
            let slope = self.estimate.slope;
            Window::around(high.level.value() - (high.pages - available) as f64 / slope, wider / slope)
        } else if high.level == Level::HIGHEST {
            let slope = self.estimate.slope;
            Window::around(low.level.value() + (available - low.pages) as f64 / slope, wider / slope)
        } else {
            let slope = (high.pages - low.pages) as f64 / (high.level.value() - low.level.value());
            let level = low.level.value() + (available - low.pages) as f64 / slope;
            Window::around(level, self.rounding() / slope)
        }
    }

    /// Most pages between two levels that are gathered.
    fn room(&self) -> usize {
        self.claims.len() + SPARE
    }

    /// Counts exactly what both levels hand out and gathers the pages in between.
    fn look_closely(&mut self, window: &Window) {
        self.between.clear();
        self.high_pages = self.low_pages;
        let room = self.room();
        for (vm, _) in std::mem::take(&mut self.unsure) {
            let claim = self.claims.row(vm);
            let (held, held_above) =
                (self.pages_for(window.low, &claim), self.pages_for(window.high, &claim));
            let seen = self.targets[vm].cast_unsigned();
            self.low_pages += u64::from(held) - seen;
            self.high_pages += u64::from(held_above) - seen;
            self.targets[vm] = i64::from(held);
            if self.between.len() + ((held_above - held) as usize) <= room {
                self.between.extend((held..held_above).map(|held| Page::above(held, vm, &claim, self.tax)));
            }
        }
    }

    /// Makes the targets what everybody is certain to hold at both levels, adds them up, and notes who may hold more.
    fn glance(&mut self, window: &Window) {
        let glance = Glance::new(self.rates, window.low, window.high);
        let columns = self.claims.columns();
        let (shares, last_shares) = columns.shares.as_chunks::<LANES>();
        let (active, last_active) = columns.active_pages.as_chunks::<LANES>();
        let (min, last_min) = columns.min_pages.as_chunks::<LANES>();
        let (max, last_max) = columns.max_pages.as_chunks::<LANES>();
        let mut sums = [0; LANES];
        self.unsure.clear();
        self.targets.clear();
        let rows = shares.iter().zip(active).zip(min).zip(max);
        for (chunk, (((shares, active), min), max)) in rows.enumerate() {
            let least = glance.least(chunk * LANES, (shares, active, min, max), &mut self.unsure);
            self.targets.extend_from_slice(&least);
            for lane in 0..LANES {
                sums[lane] += least[lane];
            }
        }
        // Rows of zeros fill the last ones up: they hold nothing and are sure.
        let rows = (&filled(last_shares), &filled(last_active), &filled(last_min), &filled(last_max));
        let least = glance.least(self.claims.len() / LANES * LANES, rows, &mut self.unsure);
        for target in &least[..last_shares.len()] {
            self.targets.push(*target);
        }
        self.low_pages = sums.iter().chain(&least).sum::<i64>().cast_unsigned();
    }

    /// The most pages, within min and max, that a claim's budget pays for: guessed in floating point, which is right or
    /// off by one, and corrected in integers.
    fn pages_for(&self, level: Level, claim: &Claim) -> u32 {
        let budget = level.budget(claim.shares);
        let costs = |pages| u128::from(self.tax.cost(pages, claim.active_pages));
        let (guess, _) = self.rates.pages(claim.shares as f64 * level.value(), claim.active_pages);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Columns;
    use crate::policy::claims::Totals;
    use crate::rng::mix;

    #[test]
    fn what_a_budget_pays_for_is_exact_however_close() {
        let tax = TaxRate::default();
        let columns = Columns { shares: &[1], min_pages: &[0], max_pages: &[9], active_pages: &[0] };
        let claims = Claims::new(columns, 5).expect("no min");
        let search = Search::new(&claims, tax);
        let mut guesses = [0; 3];
        for number in 0..100_000u64 {
            let random = mix(number + 1);
            let (shares, pages) = (1 + (random >> (number % 60)), 1 + (mix(random) as u32 >> 1));
            let claim =
                Claim { shares, min_pages: 0, max_pages: u32::MAX, active_pages: (random as u32) / 3 };
            let level = Level::new(tax.cost(pages, claim.active_pages) as f64 / shares as f64);
            let exact = tax.affordable(level.budget(shares), claim.active_pages, 0, u32::MAX);
            assert_eq!(search.pages_for(level, &claim), exact);
            let guess = search.rates.pages(shares as f64 * level.value(), claim.active_pages).0 as u32;
            guesses[(1 + i64::from(exact) - i64::from(guess)) as usize] += 1;
        }
        assert!(guesses.iter().all(|times| *times > 10), "too high, right, too low: {guesses:?}");
    }

    #[test]
    fn a_glance_that_is_not_enough_is_followed_by_a_close_look() {
        let shares = [8; 40];
        let columns =
            Columns { shares: &shares, min_pages: &[0; 40], max_pages: &[900; 40], active_pages: &[0; 40] };
        let claims = Claims::new(columns, 40 * 450 + 13).expect("no min");
        // Where one share buys this, everybody's budget is what 451 pages cost, exactly.
        let exact = Level::new(f64::from(451 * 1_000_000 / 8));
        let (below, above) = (Level::new(exact.value() - 100.0), Level::new(exact.value() + 100.0));
        let just_below = Level::new(exact.value().next_down());
        // Two levels, whether a glance is enough, and whether the answer lies between them.
        for (low, high, at_a_glance, settles) in [
            (below, above, true, true),
            (below, exact, true, true),
            (just_below, exact, true, true),
            (exact, above, false, false),
            (below, just_below, false, false),
        ] {
            let (mut search, window) = (Search::new(&claims, TaxRate::NONE), Window { low, high });
            search.glance(&window);
            assert_eq!(search.settles_at_a_glance(&window), at_a_glance, "{window:?}");
            assert_eq!(search.settles(&window), settles, "{window:?}");
            if settles {
                assert!(
                    search.targets.iter().enumerate().all(|(vm, held)| *held == 450 + i64::from(vm >= 27))
                );
            } else {
                assert!(
                    [(18_000, 18_000), (18_040, 18_040)].contains(&(search.low_pages, search.high_pages))
                );
                assert!(search.bracket.low.pages < search.bracket.high.pages);
            }
        }
    }

    /// Virtual machines of which nothing is kind to the search: few and huge, many and tiny, equal, near a full tax.
    const FAMILIES: [(usize, u64, u64, f64); 7] = [
        (1000, 3, 1000, 0.75),
        (1000, 1, 1000, 0.75),
        (1000, 1000, 1, 0.75),
        (1000, 100_000, 5, 0.999_999),
        (10, 1_000_000, 1000, 0.75),
        (10, 1 << 32, 1 << 60, 0.999_999),
        (2, 1 << 32, 1 << 60, 0.999_999),
    ];

    #[test]
    fn every_search_ends_and_most_in_one_window() {
        let mut state = 1u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((u128::from(state) * u128::from(below)) >> 64) as u64
        };
        let mut windows = vec![];
        for (vms, most_pages, most_shares, tax) in FAMILIES.into_iter().cycle().take(700) {
            let max_pages: Vec<u32> = (0..vms).map(|_| random(most_pages).max(1) as u32).collect();
            let mut below_max = |part: u64| -> Vec<u32> {
                max_pages.iter().map(|max| (random(u64::from(*max)) / part) as u32).collect()
            };
            let (min_pages, active_pages) = (below_max(4), below_max(1));
            let shares: Vec<u64> = (0..vms).map(|_| 1 + random(most_shares)).collect();
            let columns = Columns {
                shares: &shares,
                min_pages: &min_pages,
                max_pages: &max_pages,
                active_pages: &active_pages,
            };
            let Totals { min_pages: least, max_pages: most, .. } = columns.totals();
            let claims = Claims::new(columns, least + random(most - least)).expect("at least min");
            let mut search = Search::new(&claims, TaxRate::new(tax).expect("a tax"));
            let mut window = search.first_window();
            while !search.settles(&window) {
                window = search.next_window();
                assert!(search.windows <= QUICK_WINDOWS + 2 * 64);
            }
            windows.push(search.windows);
        }
        windows.sort_unstable();
        assert_eq!(windows[350], 0, "half of them need one window");
        assert!(windows[630] <= QUICK_WINDOWS, "nine of ten: {}", windows[630]);
        assert!(windows[699] > QUICK_WINDOWS, "none needs bisection, so this shows nothing");
    }
}
