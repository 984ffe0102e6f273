//! In which order pages are scanned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::config::ScanOrder;
use crate::rng::{Permutation, Seed, Stream, mix};
use crate::types::{Ppn, VmId};

/// The walk over the pages of one virtual machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    key: u64,
    pages: u32,
    picked: u64,
    /// What hand scans have picked, counted as if all walks had begun together.
    by_hand: u64,
    way: Way,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// The permutation of the pass in progress.
    Pass(Permutation),
    Draws(Stream),
}

impl Walk {
    /// A walk from the start over the `serial`-th virtual machine of a host.
    #[must_use]
    pub fn new(order: ScanOrder, seed: &Seed, serial: u64, pages: u32) -> Self {
        let key = seed.number("scan passes", serial);
        let way = match order {
            ScanOrder::Permutation => Way::Pass(Permutation::new(pages, key)),
            ScanOrder::Draws => Way::Draws(seed.stream("scan draws", serial)),
        };
        Self { key, pages, picked: 0, by_hand: 0, way }
    }

    /// The next page.
    pub fn step(&mut self) -> Ppn {
        let place = (self.picked % u64::from(self.pages)) as u32;
        let ppn = match &mut self.way {
            Way::Draws(stream) => stream.below(self.pages),
            Way::Pass(permutation) => {
                if place == 0 {
                    let number = self.picked / u64::from(self.pages);
                    *permutation = Permutation::new(self.pages, self.key.wrapping_add(mix(number)));
                }
                permutation.at(place)
            }
        };
        self.picked += 1;
        Ppn(ppn)
    }

    /// Pages picked so far.
    #[must_use]
    pub fn picked(&self) -> u64 {
        self.picked
    }

    /// Passes completed: as many picks as there are pages make one.
    #[must_use]
    pub fn passes(&self) -> u64 {
        self.picked / u64::from(self.pages)
    }

    /// How far hand scans have got.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress { picked: self.by_hand, pages: self.pages }
    }

    /// Counts a pick by a hand scan.
    pub fn count_by_hand(&mut self) {
        self.by_hand += 1;
    }

    /// Begins as far as another walk is, so that neither waits for the other.
    pub fn join(&mut self, other: Progress) {
        let picked = u128::from(other.picked) * u128::from(self.pages) / u128::from(other.pages);
        self.by_hand = u64::try_from(picked).unwrap_or(u64::MAX);
    }
}

/// Passes done by hand, as an exact fraction.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    picked: u64,
    pages: u32,
}

impl PartialEq for Progress {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Progress {}

impl PartialOrd for Progress {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Progress {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let cross = |one: &Self, other: &Self| u128::from(one.picked) * u128::from(other.pages);
        cross(self, other).cmp(&cross(other, self))
    }
}

/// Walks side by side; ties go to the lower slot.
pub struct Field {
    hindmost: (Progress, VmId),
    rest: BinaryHeap<Reverse<(Progress, VmId)>>,
}

impl Field {
    /// A field of walks, if there is any.
    pub fn new(walks: impl Iterator<Item = (Progress, VmId)>) -> Option<Self> {
        let mut rest: BinaryHeap<_> = walks.map(Reverse).collect();
        rest.pop().map(|Reverse(hindmost)| Self { hindmost, rest })
    }

    /// The walk that is least far.
    pub fn hindmost(&self) -> VmId {
        self.hindmost.1
    }

    /// The hindmost walk is that far now.
    pub fn advance(&mut self, progress: Progress) {
        self.hindmost.0 = progress;
        if let Some(mut next) = self.rest.peek_mut().filter(|next| next.0 < self.hindmost) {
            std::mem::swap(&mut next.0, &mut self.hindmost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pass_meets_every_page_once_in_an_order_of_its_own() {
        let seed = Seed([1; 32]);
        let mut walk = Walk::new(ScanOrder::Permutation, &seed, 0, 1000);
        let passes: Vec<Vec<u32>> = (0..3).map(|_| (0..1000).map(|_| walk.step().0).collect()).collect();
        assert_eq!(walk.passes(), 3);
        assert_ne!(passes[0], passes[1]);
        for mut pass in passes {
            pass.sort_unstable();
            assert!(pass.into_iter().eq(0..1000));
        }
    }

    #[test]
    fn independent_draws_miss_pages_as_theory_says() {
        let seed = Seed([1; 32]);
        let mut walk = Walk::new(ScanOrder::Draws, &seed, 0, 10_000);
        let met: std::collections::HashSet<u32> = (0..10_000).map(|_| walk.step().0).collect();
        // 1 - 1/e of the pages, give or take five standard deviations of 0.0031.
        assert!((met.len() as f64 / 10_000.0 - 0.6321).abs() < 0.0155, "{}", met.len());
    }

    #[test]
    fn walks_of_all_sizes_end_their_pass_together() {
        let seed = Seed([1; 32]);
        let sizes = [10u32, 1000, 1, 400];
        let mut walks: Vec<Walk> =
            sizes.iter().map(|n| Walk::new(ScanOrder::Permutation, &seed, 0, *n)).collect();
        let starts = walks.iter().zip(0..).map(|(walk, vm)| (walk.progress(), VmId(vm)));
        let mut field = Field::new(starts).expect("four walks");
        for _ in 0..sizes.iter().sum::<u32>() {
            let walk = &mut walks[field.hindmost().index()];
            walk.step();
            walk.count_by_hand();
            field.advance(walk.progress());
        }
        assert!(walks.iter().all(|walk| walk.passes() == 1 && walk.picked() == u64::from(walk.pages)));
    }
}
