//! A bit a number, clear until set.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;
use zerocopy::IntoBytes;

/// Bits numbered from 0.
#[derive(Clone, Default)]
pub(super) struct Marks {
    words: Vec<u64>,
    count: u32,
}

impl Marks {
    /// Bits below `len`, all clear; memory becomes real as bits are set.
    pub fn clear(len: u32) -> Self {
        Self { words: vec![0; (len as usize).div_ceil(64)], count: 0 }
    }

    /// How many are set.
    #[inline]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether a bit is set; those beyond the end are not.
    #[inline]
    pub fn get(&self, bit: u32) -> bool {
        self.words.get(bit as usize / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    /// Sets a bit below the length. Writes only what changes: the line of a hot bit stays clean.
    #[inline]
    pub fn set(&mut self, bit: u32) {
        let word = &mut self.words[bit as usize / 64];
        if *word >> (bit % 64) & 1 == 0 {
            *word |= 1 << (bit % 64);
            self.count += 1;
        }
    }

    /// Sets bits below the length; mostly they are set already, and one look at all of them is enough.
    #[inline]
    pub fn set_all(&mut self, bits: &[u32]) {
        let all = bits.iter().fold(1, |all, bit| all & self.words[*bit as usize / 64] >> (bit % 64));
        if all == 0 {
            bits.iter().for_each(|bit| self.set(*bit));
        }
    }

    /// Sets any bit.
    pub fn set_far(&mut self, bit: u32) {
        if bit as usize / 64 >= self.words.len() {
            self.words.resize(bit as usize / 64 + 1, 0);
        }
        self.set(bit);
    }

    /// Clears a bit below the length; returns whether it was set.
    #[inline]
    pub fn take(&mut self, bit: u32) -> bool {
        let was_set = self.get(bit);
        if was_set {
            self.words[bit as usize / 64] &= !(1 << (bit % 64));
            self.count -= 1;
        }
        was_set
    }

    /// The first clear bit from `from` on and below `end`.
    pub fn first_clear(&self, from: u32, end: u32) -> Option<u32> {
        let mut bit = from;
        while bit < end {
            let rest = !self.words[bit as usize / 64] >> (bit % 64);
            if rest != 0 {
                let found = bit + rest.trailing_zeros();
                return (found < end).then_some(found);
            }
            bit = (bit / 64 + 1).checked_mul(64)?;
        }
        None
    }
}

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", xxh3_64(self.words.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_set_taken_and_found() {
        let mut marks = Marks::clear(130);
        (0..130).filter(|bit| ![70, 129].contains(bit)).for_each(|bit| marks.set(bit));
        assert_eq!((marks.first_clear(0, 130), marks.first_clear(71, 130)), (Some(70), Some(129)));
        assert_eq!((marks.first_clear(71, 129), marks.first_clear(130, 130)), (None, None));
        assert!(marks.take(3) && !marks.take(3) && !marks.take(70) && !marks.take(5000));
        assert_eq!((marks.first_clear(0, 130), marks.count()), (Some(3), 127));
        let before = format!("{marks:?}");
        marks.set_far(100_000);
        assert!(marks.get(100_000) && !marks.get(99_999) && before != format!("{marks:?}"));
    }

    #[test]
    fn bits_set_together_are_those_and_no_others() {
        for before in [vec![], vec![3], vec![3, 64, 129]] {
            let mut marks = Marks::clear(130);
            before.iter().for_each(|bit| marks.set(*bit));
            marks.set_all(&[]);
            assert_eq!((0..130).filter(|bit| marks.get(*bit)).collect::<Vec<u32>>(), before);
            marks.set_all(&[129, 3, 64, 3]);
            assert_eq!((0..130).filter(|bit| marks.get(*bit)).collect::<Vec<u32>>(), [3, 64, 129]);
            marks.set(3);
            assert_eq!(marks.count(), 3);
        }
    }
}
