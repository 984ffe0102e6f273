//! The server's swap file: which of its slots are free (§3.3). What the slots hold is the transitions' business.
//!
//! Slots are handed out in runs of neighbours, so that pages which leave together are written in one piece. A *cluster* is
//! 64 slots, aligned. The next slot is the first free one after the last given, in the same cluster; if there is none,
//! the first free one of the emptiest cluster, lowest first. Emptiness comes in classes: entirely free, and the others by
//! how many eighths of a cluster are free, rounded up. A run is as many next slots as are neighbours. So the order of
//! slots does not depend on how a batch is cut, runs are as long as there is room for, and low slots are used first,
//! which keeps the real memory behind them small.

use crate::error::Error;
use crate::page_set::PageSet;
use crate::types::Slot;

/// Slots in a cluster: as many as in a word of a `PageSet`.
pub const CLUSTER_SLOTS: u32 = u64::BITS;
/// Slots in an eighth of a cluster.
const EIGHTH: u32 = CLUSTER_SLOTS / 8;
/// The class of clusters that are entirely free.
const EMPTY: usize = 8;

/// All slots of a swap file, each free or owned by one page (I6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapFile {
    free: PageSet,
    /// Clusters that have free slots, by class.
    clusters: Vec<PageSet>,
    /// The slot after the last one given.
    cursor: u32,
}

/// Neighbouring slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The lowest.
    pub first: Slot,
    /// How many.
    pub len: u32,
}

impl Run {
    /// The slot after the highest.
    #[must_use]
    pub fn end(&self) -> Slot {
        Slot(self.first.0 + self.len)
    }

    /// The slots, lowest first.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (self.first.0..self.end().0).map(Slot)
    }
}

impl SwapFile {
    /// A swap file with all its slots free.
    #[must_use]
    pub fn new(slots: u32) -> Self {
        let clusters = slots.div_ceil(CLUSTER_SLOTS);
        let mut classes = vec![PageSet::none(clusters); EMPTY];
        classes.push(PageSet::full(clusters));
        Self { free: PageSet::full(slots), clusters: classes, cursor: 0 }
    }

    /// Slots.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.free.capacity()
    }

    /// Slots in use.
    #[must_use]
    pub fn used_slots(&self) -> u32 {
        self.free.capacity() - self.free.count()
    }

    /// Whether a slot is free.
    #[must_use]
    pub fn is_free(&self, slot: Slot) -> bool {
        self.free.contains(slot.0)
    }

    /// The slot after the last one given. With the free slots it tells which come next.
    #[must_use]
    pub fn cursor(&self) -> Slot {
        Slot(self.cursor)
    }

    /// Takes the next run of up to `most` slots; at least one, unless `most` is 0. Cost: O(1) a slot.
    ///
    /// # Errors
    ///
    /// [`Error::SwapFull`] if none is free.
    pub fn allocate_run(&mut self, most: u32) -> Result<Run, Error> {
        let first = self.next().ok_or(Error::SwapFull { slots: self.slots() })?;
        let mut run = Run { first: Slot(first), len: 0 };
        while run.len < most && self.next() == Some(run.end().0) {
            run.len += self.take_in_cluster(run.end().0, most - run.len);
        }
        Ok(run)
    }

    /// Gives a slot back.
    pub fn free(&mut self, slot: Slot) {
        let cluster = slot.0 / CLUSTER_SLOTS;
        let before = self.class(cluster);
        let was_used = self.free.insert(slot.0);
        debug_assert!(was_used, "I6: slot {} was free already", slot.0);
        self.reclassify(cluster, before);
    }

    /// Whether the free slots and the classes of their clusters say the same.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        let is_in_place = |class: usize, cluster: u32| {
            self.clusters[class].contains(cluster) == (self.class(cluster) == Some(class))
        };
        let is_true =
            |class: usize| (0..self.clusters[class].capacity()).all(|cluster| is_in_place(class, cluster));
        let sets = self.clusters.iter().chain([&self.free]).all(PageSet::is_consistent);
        sets && (0..self.clusters.len()).all(is_true)
    }

    /// Bytes of memory in use.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.free.bytes() + self.clusters.iter().map(PageSet::bytes).sum::<usize>()
    }

    /// The slot that is given next.
    fn next(&self) -> Option<u32> {
        let is_open = !self.cursor.is_multiple_of(CLUSTER_SLOTS);
        let open = is_open.then(|| self.first_free_from(self.cursor)).flatten();
        open.or_else(|| {
            let emptiest = self.clusters.iter().rev().find_map(PageSet::lowest)?;
            self.first_free_from(emptiest * CLUSTER_SLOTS)
        })
    }

    /// The first free slot from `slot` on, within its cluster.
    fn first_free_from(&self, slot: u32) -> Option<u32> {
        let free = self.word(slot / CLUSTER_SLOTS) >> (slot % CLUSTER_SLOTS);
        (free != 0).then(|| slot + free.trailing_zeros())
    }

    /// Takes up to `most` free neighbours from `slot` on, within its cluster; returns how many.
    fn take_in_cluster(&mut self, slot: u32, most: u32) -> u32 {
        let cluster = slot / CLUSTER_SLOTS;
        let before = self.class(cluster);
        let found = (self.word(cluster) >> (slot % CLUSTER_SLOTS)).trailing_ones().min(most);
        for slot in slot..slot + found {
            self.free.remove(slot);
        }
        self.reclassify(cluster, before);
        self.cursor = slot + found;
        found
    }

    /// The free slots of a cluster, a bit each.
    fn word(&self, cluster: u32) -> u64 {
        self.free.words()[cluster as usize]
    }

    /// The class of a cluster; none if it is full.
    fn class(&self, cluster: u32) -> Option<usize> {
        let slots = (self.slots() - cluster * CLUSTER_SLOTS).min(CLUSTER_SLOTS);
        match self.word(cluster).count_ones() {
            0 => None,
            free if free == slots => Some(EMPTY),
            free => Some((free.div_ceil(EIGHTH) - 1) as usize),
        }
    }

    /// Puts a cluster that was of class `before` where it belongs now.
    fn reclassify(&mut self, cluster: u32, before: Option<usize>) {
        let now = self.class(cluster);
        if now != before {
            before.map(|class| self.clusters[class].remove(cluster));
            now.map(|class| self.clusters[class].insert(cluster));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The rule of the module's head, read slot by slot from a set.
    struct Model {
        slots: u32,
        free: BTreeSet<u32>,
        last: Option<u32>,
    }

    impl Model {
        fn new(slots: u32) -> Self {
            Self { slots, free: (0..slots).collect(), last: None }
        }

        fn next(&self) -> Option<u32> {
            let within =
                |from: u32| (from..self.slots.min(from / 64 * 64 + 64)).filter(|s| self.free.contains(s));
            let after = self.last.map(|last| last + 1).filter(|after| after % 64 != 0);
            let open = after.and_then(|after| within(after).next());
            let rank = |start: &u32| match within(*start).count() as u32 {
                free if free == 64.min(self.slots - start) => 9,
                free => free.div_ceil(8),
            };
            // The first of the emptiest.
            let starts = (0..self.slots).step_by(64).filter(|start| within(*start).next().is_some());
            let emptiest = starts.rev().max_by_key(rank);
            open.or_else(|| within(emptiest?).next())
        }

        fn allocate_run(&mut self, most: u32) -> Vec<u32> {
            let mut run: Vec<u32> = vec![];
            while let Some(next) = self.next().filter(|next| run.last().is_none_or(|last| last + 1 == *next))
            {
                if run.len() as u32 == most {
                    break;
                }
                self.free.remove(&next);
                self.last = Some(next);
                run.push(next);
            }
            run
        }
    }

    fn taken(file: &mut SwapFile, most: u32) -> Vec<u32> {
        let run = file.allocate_run(most);
        run.map(|run| run.slots().map(|slot| slot.0).collect()).unwrap_or_default()
    }

    proptest! {
        #[test]
        fn agrees_with_the_rule_read_slot_by_slot(
            slots in 0u32..700,
            steps in prop::collection::vec((0u32..200, 0usize..9, any::<u32>()), 0..80),
        ) {
            let (mut file, mut model) = (SwapFile::new(slots), Model::new(slots));
            let mut used: Vec<u32> = vec![];
            for (most, kind, pick) in steps {
                if kind < 4 {
                    let full = model.free.is_empty();
                    let run = file.clone().allocate_run(most);
                    prop_assert_eq!(run.is_err(), full);
                    let run = taken(&mut file, most);
                    prop_assert_eq!(&run, &model.allocate_run(most));
                    prop_assert!(run.windows(2).all(|pair| pair[0] + 1 == pair[1]));
                    prop_assert!(full || most == 0 || !run.is_empty());
                    used.extend(run);
                } else if kind < 8 {
                    // Many at once, or clusters would never be empty again.
                    for _ in 0..most.min(used.len() as u32) {
                        let slot = used.swap_remove(pick as usize % used.len());
                        file.free(Slot(slot));
                        model.free.insert(slot);
                    }
                } else {
                    used.drain(..).for_each(|slot| {
                        file.free(Slot(slot));
                        model.free.insert(slot);
                    });
                }
                prop_assert!(file.is_consistent());
                prop_assert_eq!(file.used_slots() as usize, used.len());
                prop_assert!(used.iter().all(|slot| !file.is_free(Slot(*slot))));
            }
            // Every slot can be used, and none twice.
            while file.used_slots() < slots {
                used.extend(taken(&mut file, 64));
            }
            used.sort_unstable();
            prop_assert!(used.into_iter().eq(0..slots));
        }

        #[test]
        fn where_a_batch_is_cut_the_slots_are_the_same(
            holes in prop::collection::vec(0u32..400, 0..200),
            cuts in prop::collection::vec(1u32..50, 1..20),
        ) {
            let mut file = SwapFile::new(400);
            while file.allocate_run(u32::MAX).is_ok() {}
            holes.iter().for_each(|slot| if !file.is_free(Slot(*slot)) { file.free(Slot(*slot)) });
            let slots = |file: &mut SwapFile, most: u32| {
                let mut all = vec![];
                while (all.len() as u32) < most && file.used_slots() < 400 {
                    all.extend(taken(file, most - all.len() as u32));
                }
                all
            };
            let (mut whole, mut cut) = (file.clone(), file);
            let pieces: Vec<u32> = cuts.iter().flat_map(|most| slots(&mut cut, *most)).collect();
            prop_assert_eq!(slots(&mut whole, cuts.iter().sum()), pieces);
            prop_assert_eq!(whole, cut);
        }
    }

    #[test]
    fn an_empty_file_is_written_from_its_start_without_a_gap() {
        let mut file = SwapFile::new(1000);
        assert_eq!(file.allocate_run(300).ok(), Some(Run { first: Slot(0), len: 300 }));
        assert_eq!(file.allocate_run(10_000).ok(), Some(Run { first: Slot(300), len: 700 }));
        assert_eq!(file.allocate_run(1), Err(Error::SwapFull { slots: 1000 }));
    }

    #[test]
    fn a_file_half_full_at_random_still_has_runs() {
        let (mut file, mut used) = (SwapFile::new(64 * 256), vec![]);
        let mut random = crate::rng::Seed([1; 32]).stream("test", 0);
        let mut runs = 0;
        for round in 0..2000 {
            while used.len() > 64 * 127 {
                file.free(Slot(used.swap_remove(random.below(used.len() as u32) as usize)));
            }
            let goal = used.len() + 64;
            while used.len() < goal {
                used.extend(taken(&mut file, (goal - used.len()) as u32));
                runs += u32::from(round >= 1000);
            }
        }
        // Where every other slot is free at random, stretches of free ones have two on average.
        let mean = 64_000.0 / f64::from(runs);
        assert!((3.5..6.0).contains(&mean), "{mean}");
    }

    #[test]
    fn whole_clusters_go_before_holes() {
        let mut file = SwapFile::new(64 * 4);
        assert_eq!(taken(&mut file, 64 * 3).len(), 64 * 3);
        file.free(Slot(5));
        (64..128).for_each(|slot| file.free(Slot(slot)));
        assert_eq!(file.allocate_run(10).ok(), Some(Run { first: Slot(64), len: 10 }));
        assert_eq!(file.allocate_run(60).ok(), Some(Run { first: Slot(74), len: 54 }));
        assert_eq!(file.allocate_run(100).ok(), Some(Run { first: Slot(192), len: 64 }));
        assert_eq!(file.allocate_run(2).ok(), Some(Run { first: Slot(5), len: 1 }));
        assert_eq!(file.used_slots(), 256);
    }
}
