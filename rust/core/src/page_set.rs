//! A set of page numbers that finds its lowest member in a few loads.
//!
//! One bit a page, and above it a tree of words: bit `i` of a level says that word `i` of the level below is not zero.
//! At 2^32 pages there are six levels.

/// A subset of `0..len`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageSet {
    /// `levels[0]` holds the members, the last level is one word.
    levels: Vec<Vec<u64>>,
    len: u32,
    count: u32,
}

impl PageSet {
    /// The set of all numbers below `len`.
    #[must_use]
    pub fn full(len: u32) -> Self {
        let mut levels = vec![];
        let mut bits = len as usize;
        loop {
            levels.push(ones(bits));
            if bits <= 64 {
                break;
            }
            bits = bits.div_ceil(64);
        }
        Self { levels, len, count: len }
    }

    /// The empty set, to which numbers below `len` can be added.
    #[must_use]
    pub fn none(len: u32) -> Self {
        let mut set = Self::full(len);
        set.levels.iter_mut().for_each(|level| level.fill(0));
        set.count = 0;
        set
    }

    /// Members.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Numbers that could be members.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.len
    }

    /// Whether `page` is a member.
    #[must_use]
    pub fn contains(&self, page: u32) -> bool {
        page < self.len && self.levels[0][page as usize / 64] >> (page % 64) & 1 == 1
    }

    /// The lowest member.
    #[must_use]
    pub fn lowest(&self) -> Option<u32> {
        if self.count == 0 {
            return None;
        }
        let place = self
            .levels
            .iter()
            .rev()
            .fold(0, |place, level| place * 64 + level[place].trailing_zeros() as usize);
        u32::try_from(place).ok()
    }

    /// The lowest member that is not below `from`.
    #[must_use]
    pub fn lowest_from(&self, from: u32) -> Option<u32> {
        let mut place = from as usize;
        for (height, level) in self.levels.iter().enumerate() {
            let word = level.get(place / 64)? & u64::MAX << (place % 64);
            if word != 0 {
                let here = place / 64 * 64 + word.trailing_zeros() as usize;
                let below = self.levels[..height].iter().rev();
                let found =
                    below.fold(here, |place, level| place * 64 + level[place].trailing_zeros() as usize);
                return u32::try_from(found).ok();
            }
            place = place / 64 + 1;
        }
        None
    }

    /// Members below `end`. Cost: one visit of each word below it.
    #[must_use]
    pub fn count_below(&self, end: u32) -> u32 {
        let (whole, rest) = (end as usize / 64, end % 64);
        let words = self.levels[0].iter().take(whole).map(|word| word.count_ones());
        let last = self.levels[0].get(whole).map_or(0, |word| (word & ((1 << rest) - 1)).count_ones());
        words.sum::<u32>() + last
    }

    /// The highest member.
    #[must_use]
    pub fn highest(&self) -> Option<u32> {
        if self.count == 0 {
            return None;
        }
        let top = |word: u64| 63 - word.leading_zeros() as usize;
        let place = self.levels.iter().rev().fold(0, |place, level| place * 64 + top(level[place]));
        u32::try_from(place).ok()
    }

    /// Removes a member; returns whether it was one.
    pub fn remove(&mut self, page: u32) -> bool {
        if !self.contains(page) {
            return false;
        }
        let mut place = page as usize;
        for level in &mut self.levels {
            level[place / 64] &= !(1 << (place % 64));
            if level[place / 64] != 0 {
                break;
            }
            place /= 64;
        }
        self.count -= 1;
        true
    }

    /// Adds a number below the length; returns whether it was new.
    pub fn insert(&mut self, page: u32) -> bool {
        self.insert_all(std::iter::once(page)) == 1
    }

    /// Adds numbers, those below the length; returns how many were new. What falls into the same word one after the other
    /// costs little more than one.
    pub fn insert_all(&mut self, pages: impl Iterator<Item = u32>) -> u32 {
        let (before, len) = (self.count, self.len);
        let (mut place, mut bits) = (0, 0);
        for page in pages.filter(|page| *page < len) {
            if page as usize / 64 != place {
                self.insert_bits(place, bits);
                (place, bits) = (page as usize / 64, 0);
            }
            bits |= 1 << (page % 64);
        }
        self.insert_bits(place, bits);
        self.count - before
    }

    fn insert_bits(&mut self, mut place: usize, mut bits: u64) {
        self.count += (bits & !self.levels[0][place]).count_ones();
        for level in &mut self.levels {
            let was_empty = level[place] == 0;
            level[place] |= bits;
            if !was_empty {
                break;
            }
            bits = u64::from(bits != 0) << (place % 64);
            place /= 64;
        }
    }

    /// The members, 64 numbers a word, lowest bit first.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.levels[0]
    }

    /// Whether the levels and the count say the same.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        let members: u32 = self.levels[0].iter().map(|word| word.count_ones()).sum();
        let agrees = |below: &[u64], above: &[u64]| {
            below
                .iter()
                .enumerate()
                .all(|(place, word)| (above[place / 64] >> (place % 64) & 1 == 1) == (*word != 0))
        };
        members == self.count && self.levels.windows(2).all(|pair| agrees(&pair[0], &pair[1]))
    }

    /// Bytes of memory in use.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.levels.iter().map(|level| level.len() * 8).sum()
    }
}

/// Words with the first `bits` bits set.
fn ones(bits: usize) -> Vec<u64> {
    let mut words = vec![u64::MAX; bits.div_ceil(64).max(1)];
    let rest = bits % 64;
    if rest > 0 || bits == 0 {
        words[bits / 64] = (1 << rest) - 1;
    }
    words
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_tree_set(len in 0u32..9000, steps in prop::collection::vec((any::<bool>(), 0u32..9100), 0..400)) {
            let full = steps.len() % 2 == 0;
            let mut set = if full { PageSet::full(len) } else { PageSet::none(len) };
            let mut model: BTreeSet<u32> = (0..if full { len } else { 0 }).collect();
            for (insert, page) in steps {
                if insert {
                    prop_assert_eq!(set.insert(page), page < len && model.insert(page));
                } else {
                    // Half of the removals take the lowest, as an allocator does.
                    let page = if page % 2 == 0 { set.lowest().unwrap_or(page) } else { page };
                    prop_assert_eq!(set.remove(page), model.remove(&page));
                }
                if page % 5 == 0 {
                    // Neighbours, and some far away.
                    let several = (page..page + 70).chain([page / 2, page, 0]);
                    let new: Vec<u32> = several.clone().filter(|page| *page < len && model.insert(*page)).collect();
                    prop_assert_eq!(set.insert_all(several) as usize, new.len());
                }
                prop_assert_eq!(set.lowest(), model.first().copied());
                for from in [0, page / 2, page, page.saturating_sub(70), len, u32::MAX] {
                    prop_assert_eq!(set.lowest_from(from), model.range(from..).next().copied());
                    prop_assert_eq!(set.count_below(from) as usize, model.range(..from).count());
                }
                prop_assert_eq!(set.count() as usize, model.len());
                prop_assert!(set.is_consistent());
            }
            prop_assert!((0..len).all(|page| set.contains(page) == model.contains(&page)));
        }
    }

    #[test]
    fn empties_from_the_bottom() {
        let mut set = PageSet::full(70_000);
        for page in 0..70_000 {
            assert_eq!(set.lowest(), Some(page));
            assert!(set.remove(page));
        }
        assert_eq!(set.lowest(), None);
    }
}
