//! In which order pages are scanned.
//!
//! A pass takes *clusters* in random order: neighbouring pages, which mostly stand on neighbouring machine pages and have
//! neighbouring entries and frames. Reading them one after the other is worth half the speed of a scan.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use crate::config::ScanOrder;
use crate::rng::{Permutation, Seed, Stream, mix};
use crate::types::{Ppn, VmId};

/// Pages of a cluster, at most: 64 KiB, along which the processor reads ahead.
const CLUSTER_PAGES: u32 = 16;
/// Clusters of a virtual machine, at least, unless it has fewer pages: so many places a pass takes its pages from.
const CLUSTERS: u32 = 256;

/// The walk over the pages of one virtual machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    pages: u32,
    picked: u64,
    /// What hand scans have picked, counted as if all walks had begun together.
    by_hand: u64,
    way: Way,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    Passes(Passes),
    Draws(Stream),
}

impl Walk {
    /// A walk from the start over the `serial`-th virtual machine of a host.
    #[must_use]
    pub fn new(order: ScanOrder, seed: &Seed, serial: u64, pages: u32) -> Self {
        let way = match order {
            ScanOrder::Permutation => Way::Passes(Passes::new(pages, seed.number("scan passes", serial))),
            ScanOrder::Draws => Way::Draws(seed.stream("scan draws", serial)),
        };
        Self { pages, picked: 0, by_hand: 0, way }
    }

    /// The next page.
    pub fn step(&mut self) -> Ppn {
        self.picked += 1;
        Ppn(match &mut self.way {
            Way::Draws(stream) => stream.below(self.pages),
            Way::Passes(passes) => passes.step(),
        })
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

/// Pass after pass: each takes the clusters in an order of its own, and of each cluster the pages from first to last.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Passes {
    key: u64,
    pages: u32,
    /// Pages of a cluster; the last of the virtual machine may have fewer.
    cluster: u32,
    begun: u64,
    /// The clusters of the pass in progress.
    order: Permutation,
    /// Of these, how many were begun.
    taken: u32,
    /// Of the last one taken, the pages that are left.
    left: Range<u32>,
}

impl Passes {
    fn new(pages: u32, key: u64) -> Self {
        let cluster = (pages / CLUSTERS).clamp(1, CLUSTER_PAGES);
        let clusters = pages.div_ceil(cluster);
        let order = Permutation::new(clusters, key);
        Self { key, pages, cluster, begun: 0, order, taken: clusters, left: 0..0 }
    }

    fn step(&mut self) -> u32 {
        if let Some(ppn) = self.left.next() {
            return ppn;
        }
        if self.taken == self.pages.div_ceil(self.cluster) {
            self.order = Permutation::new(self.taken, self.key.wrapping_add(mix(self.begun)));
            self.begun += 1;
            self.taken = 0;
        }
        let first = self.order.at(self.taken) * self.cluster;
        self.taken += 1;
        self.left = first + 1..first + self.cluster.min(self.pages - first);
        first
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

    fn passes(pages: u32) -> [Vec<u32>; 3] {
        let mut walk = Walk::new(ScanOrder::Permutation, &Seed([1; 32]), 0, pages);
        let passes = std::array::from_fn(|_| (0..pages).map(|_| walk.step().0).collect());
        assert_eq!(walk.passes(), 3);
        passes
    }

    #[test]
    fn each_pass_meets_every_page_once_in_an_order_of_its_own() {
        // One page, clusters of one, two or sixteen pages, with and without a shorter one at the end.
        for pages in [1, 255, 256, 512, 1000, 4095, 4096, 4097, 5003, 65_536] {
            let passes = passes(pages);
            assert!(pages == 1 || passes[0] != passes[1] && passes[1] != passes[2]);
            for mut pass in passes {
                pass.sort_unstable();
                assert!(pass.into_iter().eq(0..pages));
            }
        }
    }

    #[test]
    fn neighbours_stay_together_and_their_clusters_do_not() {
        let together = |pages| {
            let [pass, ..] = passes(pages);
            pass.windows(2).filter(|pair| pair[1] == pair[0] + 1).count()
        };
        // 3125 clusters of sixteen: fifteen steps in each; by chance one cluster comes right after the one before it.
        assert!((46_875..46_880).contains(&together(50_000)), "{}", together(50_000));
        assert!((256..264).contains(&together(512)), "256 clusters of two");
        assert!(together(511) < 8, "clusters of one page");
    }

    #[test]
    fn a_part_of_a_pass_meets_all_parts_of_the_memory() {
        for pages in [1000u32, 4096, 50_000] {
            let mut tenths = [0u32; 10];
            for ppn in &passes(pages)[0][..pages as usize / 4] {
                tenths[*ppn as usize * 10 / pages as usize] += 1;
            }
            // A quarter of the pages of each; five standard deviations of what 26 clusters of 256 allow.
            assert!(tenths.iter().all(|met| (pages / 250..pages / 20).contains(met)), "{tenths:?}");
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
