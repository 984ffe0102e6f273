//! In which order pages are scanned.
//!
//! A pass takes *clusters* in random order: neighbouring pages, which mostly stand on neighbouring machine pages and have
//! neighbouring entries and frames. Reading them one after the other is worth half the speed of a scan.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use crate::config::ScanOrder;
use crate::rng::{Permutation, Seed, Stream, mix};
use crate::types::VmId;

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

    /// The next pages, neighbours: at least one, at most `most`, and never past the end of a cluster.
    pub fn step(&mut self, most: u32) -> Range<u32> {
        let run = match &mut self.way {
            Way::Draws(stream) => {
                let drawn = stream.below(self.pages);
                drawn..drawn + 1
            }
            Way::Passes(passes) => passes.step(most),
        };
        self.picked += u64::from(run.end - run.start);
        run
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

    /// How far hand scans have got, in whole clusters of each pass.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let begun = self.in_pass() % self.cluster();
        Progress { picked: self.by_hand - u64::from(begun), pages: self.pages }
    }

    /// Picks by hand until it has got further: what is left of a cluster, or of the pass.
    #[must_use]
    pub fn turn(&self) -> u32 {
        let (done, cluster) = (self.in_pass(), self.cluster());
        (cluster - done % cluster).min(self.pages - done)
    }

    /// Counts picks of a hand scan.
    pub fn count_by_hand(&mut self, picks: u32) {
        self.by_hand += u64::from(picks);
    }

    /// What hand scans have picked in their pass in progress.
    fn in_pass(&self) -> u32 {
        (self.by_hand % u64::from(self.pages)) as u32
    }

    fn cluster(&self) -> u32 {
        match &self.way {
            Way::Passes(passes) => passes.cluster,
            Way::Draws(_) => 1,
        }
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

    fn step(&mut self, most: u32) -> Range<u32> {
        if self.left.is_empty() {
            self.left = self.next_cluster();
        }
        let begin = self.left.start;
        self.left.start = self.left.end.min(begin.saturating_add(most.max(1)));
        begin..self.left.start
    }

    fn next_cluster(&mut self) -> Range<u32> {
        if self.taken == self.pages.div_ceil(self.cluster) {
            self.order = Permutation::new(self.taken, self.key.wrapping_add(mix(self.begun)));
            self.begun += 1;
            self.taken = 0;
        }
        let first = self.order.at(self.taken) * self.cluster;
        self.taken += 1;
        first..first + self.cluster.min(self.pages - first)
    }
}

/// Passes done by hand, as an exact fraction; of a pass in progress whole clusters count.
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
        let passes = std::array::from_fn(|_| (0..pages).flat_map(|_| walk.step(1)).collect());
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
        let met: std::collections::HashSet<u32> = (0..10_000).flat_map(|_| walk.step(16)).collect();
        // 1 - 1/e of the pages, give or take five standard deviations of 0.0031.
        assert!((met.len() as f64 / 10_000.0 - 0.6321).abs() < 0.0155, "{}", met.len());
    }

    /// One pass over virtual machines of these sizes by hand, `most` pages at a time.
    fn side_by_side(sizes: &[u32], most: u32) -> Vec<(VmId, u32)> {
        let walk = |(size, serial)| Walk::new(ScanOrder::Permutation, &Seed([1; 32]), serial, size);
        let mut walks: Vec<Walk> = sizes.iter().copied().zip(0..).map(walk).collect();
        let mut left: u32 = sizes.iter().sum();
        let mut picks = vec![];
        while left > 0 {
            // A field of its own for each call, as scans have.
            let mut field = Field::new((0..).map(VmId).zip(&walks).map(|(vm, walk)| (walk.progress(), vm)));
            let field = field.as_mut().expect("some walks");
            let mut now = most.min(left);
            left -= now;
            while now > 0 {
                let vm = field.hindmost();
                let walk = &mut walks[vm.index()];
                let run = walk.step(now.min(walk.turn()));
                walk.count_by_hand(run.len() as u32);
                field.advance(walk.progress());
                now -= run.len() as u32;
                picks.extend(run.map(|ppn| (vm, ppn)));
            }
        }
        assert!(walks.iter().all(|walk| walk.passes() == 1 && walk.picked() == u64::from(walk.pages)));
        picks
    }

    #[test]
    fn walks_of_all_sizes_end_their_pass_together_however_it_is_cut() {
        let sizes = [10u32, 1000, 1, 400, 5003, 4096, 20_000];
        let whole = side_by_side(&sizes, u32::MAX);
        for most in [1, 2, 15, 16, 17, 1000] {
            assert_eq!(side_by_side(&sizes, most), whole, "in parts of {most}");
        }
        let mut picks = whole;
        picks.sort_unstable_by_key(|(vm, ppn)| (vm.index(), *ppn));
        let all = sizes.iter().zip(0..).flat_map(|(size, vm)| (0..*size).map(move |ppn| (VmId(vm), ppn)));
        assert!(picks.into_iter().eq(all));
    }

    #[test]
    fn clusters_of_walks_side_by_side_stay_together_and_their_passes_too() {
        let picks = side_by_side(&[4096, 8192, 4096], u32::MAX);
        let together = picks.windows(2).filter(|pair| pair[1] == (pair[0].0, pair[0].1 + 1)).count();
        assert!(together >= 16_384 / 16 * 15, "{together}");
        // At any time, a walk is at most a cluster behind where its share of the picks would be.
        let mut seen = [0u32; 3];
        for (number, (vm, _)) in (1..).zip(&picks) {
            seen[vm.index()] += 1;
            for (seen, part) in seen.iter().zip([4, 2, 4]) {
                assert!(seen.abs_diff(number / part) <= 32, "{number}");
            }
        }
    }

    #[test]
    fn a_walk_that_ticks_moved_on_keeps_its_turns() {
        // Fifteen pages by a tick, one by hand: the turn still ends, after sixteen picks by hand.
        let mut walks = [0, 1].map(|serial| Walk::new(ScanOrder::Permutation, &Seed([1; 32]), serial, 4096));
        let mut picks = [0; 2];
        for _ in 0..320 {
            walks.iter_mut().for_each(|walk| assert!(!walk.step(15).is_empty()));
            let hindmost = usize::from(walks[1].progress() < walks[0].progress());
            let walk = &mut walks[hindmost];
            let run = walk.step(1.min(walk.turn()));
            walk.count_by_hand(run.len() as u32);
            picks[hindmost] += run.len();
        }
        assert_eq!(picks, [160; 2]);
    }
}
