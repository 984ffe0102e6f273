//! Comparing pages with others that lie anywhere in memory.
//!
//! One page after the other, such a comparison runs at a quarter of the speed of reading in order: it waits for memory at
//! each page's beginning. So the far pages are brought near first, [`STEP`] together, line by line, and compared then.
//! Comparing pairs in step is slower than that: lines at one place of a page share a set of eight in a first-level cache.

use std::hint::black_box;

use crate::types::{PAGE_SIZE, Page};

/// Pages brought near together.
pub const STEP: usize = 12;
const LINE: usize = 64;

/// Which pairs are equal, byte by byte; the second of each is the far page.
#[must_use]
pub fn are_equal(pairs: [(&Page, &Page); STEP]) -> [bool; STEP] {
    // The last byte too: a page that does not begin with a line, as in most arrays, ends in one more.
    for line in (0..PAGE_SIZE).step_by(LINE).chain([PAGE_SIZE - 1]) {
        black_box(pairs.iter().fold(0, |seen, (_, far)| seen | far[line]));
    }
    pairs.map(|(page, far)| page == far)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_anywhere_makes_pages_differ() {
        let page = [0x5A; PAGE_SIZE];
        for bit in (0..PAGE_SIZE * 8).step_by(13) {
            let mut other = page;
            other[bit / 8] ^= 1 << (bit % 8);
            let pairs = std::array::from_fn(|pair| match pair % 4 {
                0 => (&page, &page),
                1 => (&page, &other),
                2 => (&other, &other),
                _ => (&other, &page),
            });
            let even: [bool; STEP] = std::array::from_fn(|pair| pair % 2 == 0);
            assert_eq!(are_equal(pairs), even);
        }
    }
}
