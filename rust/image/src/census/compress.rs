//! What a compressed store would make of pages: LZ4, into slots of a half or a quarter page.

use esxcore_core::rng::Permutation;
use esxcore_core::types::{PAGE_SIZE, Page};
use lz4_flex::block::{compress_into, get_maximum_output_size};

/// Compresses pages, one after the other.
pub struct Compressor(Vec<u8>);

impl Default for Compressor {
    fn default() -> Self {
        Self(vec![0; get_maximum_output_size(PAGE_SIZE)])
    }
}

impl Compressor {
    /// Bytes that the page compressed to an LZ4 block has; its size without compression at most.
    pub fn bytes(&mut self, page: &Page) -> usize {
        // The output has room for the worst case, so there is no other error.
        compress_into(page, &mut self.0).map_or(PAGE_SIZE, |bytes| bytes.min(PAGE_SIZE))
    }
}

/// `wanted` of the numbers from 1 to `last`, each once, all equally likely, in increasing order; all if there are fewer.
#[must_use]
pub fn sample(last: u32, wanted: u32, seed: u64) -> Vec<u32> {
    let order = Permutation::new(last.max(1), seed);
    let mut chosen: Vec<u32> = (0..wanted.min(last)).map(|place| order.at(place) + 1).collect();
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use esxcore_core::types::ZERO_PAGE;

    #[test]
    fn pages_compress_as_far_as_they_repeat() {
        let mut compressor = Compressor::default();
        let mut random = ZERO_PAGE;
        let mut state = 1_u64;
        for byte in &mut random {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (state >> 56) as u8;
        }
        let mut half = random;
        half[PAGE_SIZE / 2 - 100..].fill(7);
        assert!(compressor.bytes(&ZERO_PAGE) < 40);
        assert_eq!(compressor.bytes(&random), PAGE_SIZE);
        assert!((1900..2048).contains(&compressor.bytes(&half)));
    }

    #[test]
    fn a_sample_has_each_number_once_and_depends_on_the_seed() {
        let chosen = sample(1000, 100, 3);
        assert_eq!(chosen.len(), 100);
        assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(chosen[0] >= 1 && chosen[99] <= 1000);
        assert_ne!(chosen, sample(1000, 100, 4));
        assert_eq!(sample(3, 100, 3), [1, 2, 3]);
        assert!(sample(0, 100, 3).is_empty());
    }
}
