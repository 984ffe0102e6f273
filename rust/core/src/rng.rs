//! Randomness: one seed a host, an independent named stream a mechanism, permutations in constant memory.
//!
//! Nothing here depends on the machine, on time or on the order in which mechanisms run.

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

/// What everything random on a host comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed(pub [u8; 32]);

impl Seed {
    /// The generator named `name`, number `index` of that name.
    #[must_use]
    pub fn stream(&self, name: &str, index: u64) -> Stream {
        let mut seed = [0; 32];
        let text = self.text(name, index);
        seed[..16].copy_from_slice(&xxh3_128_with_seed(&text, 0).to_le_bytes());
        seed[16..].copy_from_slice(&xxh3_128_with_seed(&text, 1).to_le_bytes());
        Stream(Pcg64::from_seed(seed))
    }

    /// One number named `name`, number `index` of that name.
    #[must_use]
    pub fn number(&self, name: &str, index: u64) -> u64 {
        xxh3_64_with_seed(&self.text(name, index), 2)
    }

    fn text(&self, name: &str, index: u64) -> Vec<u8> {
        [&self.0[..], &index.to_le_bytes(), name.as_bytes()].concat()
    }
}

/// A stream of random numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream(Pcg64);

impl Stream {
    /// A number below `bound`, which is not 0; the bias is below `bound` / 2^64.
    pub fn below(&mut self, bound: u32) -> u32 {
        // The high word of a 64 x 32-bit product is below the bound.
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u32
    }

    /// 64 random bits.
    pub fn word(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A stream that goes its own way: what is drawn from one does not disturb the other.
    pub fn branch(&mut self) -> Self {
        let mut seed = [0; 32];
        seed.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&self.word().to_le_bytes()));
        Self(Pcg64::from_seed(seed))
    }

    /// A fraction from 0 to below 1, in steps of 2^-53.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Spreads 64 bits over 64 bits, one to one; 0 stays 0.
#[must_use]
pub fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Spreads 64 bits over 64 bits in one multiplication, not one to one.
fn fold(word: u64) -> u64 {
    let product = u128::from(word) * 0x9e37_79b9_7f4a_7c15;
    (product >> 64) as u64 ^ product as u64
}

/// Indices that [`Permutation::put`] takes at a time.
const PUT_BLOCK: usize = 256;

/// A pseudo-random permutation of `0..len` in constant memory: a four-round Feistel network over the smallest power of
/// two that holds `len`, walked again while it leaves the range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permutation {
    len: u32,
    left_bits: u32,
    right_bits: u32,
    key: u64,
}

impl Permutation {
    /// The permutation of `0..len` that `key` names.
    #[must_use]
    pub fn new(len: u32, key: u64) -> Self {
        let bits = (32 - len.saturating_sub(1).leading_zeros()).max(2);
        Self { len, left_bits: bits / 2, right_bits: bits - bits / 2, key }
    }

    /// Where `index`, below the length, goes.
    #[must_use]
    pub fn at(&self, index: u32) -> u32 {
        debug_assert!(index < self.len);
        let mut place = self.shuffle(u64::from(index));
        while place >= u64::from(self.len) {
            place = self.shuffle(place);
        }
        place as u32
    }

    /// Puts in the place of each index where it goes, many at a time: which of them leave the range is no branch that the
    /// processor would have to guess.
    pub fn put(&self, indices: &mut [u32]) {
        for block in indices.chunks_mut(PUT_BLOCK) {
            let (mut left, mut count) = ([0; PUT_BLOCK], 0);
            for (place, index) in block.iter_mut().enumerate() {
                left[count] = place as u8;
                count += usize::from(self.leaves(index));
            }
            while count > 0 {
                count = self.again(block, &mut left, count);
            }
        }
    }

    /// Shuffles those of a block that are left, the first `count`; how many left the range and have to go on.
    fn again(&self, block: &mut [u32], left: &mut [u8; PUT_BLOCK], count: usize) -> usize {
        let mut beyond = 0;
        for turn in 0..count {
            left[beyond] = left[turn];
            beyond += usize::from(self.leaves(&mut block[usize::from(left[turn])]));
        }
        beyond
    }

    /// Shuffles an index once; whether it left the range. The network spreads over at most 32 bits.
    fn leaves(&self, index: &mut u32) -> bool {
        *index = self.shuffle(u64::from(*index)) as u32;
        *index >= self.len
    }

    fn shuffle(&self, word: u64) -> u64 {
        let (left_mask, right_mask) = ((1 << self.left_bits) - 1, (1 << self.right_bits) - 1);
        let (mut left, mut right) = (word >> self.right_bits, word & right_mask);
        for key in [self.key, self.key.rotate_left(32)] {
            left ^= fold(right ^ key) & left_mask;
            right ^= fold(left.wrapping_sub(key)) & right_mask;
        }
        left << self.right_bits | right
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_permutation_reaches_every_number_once(len in 1u32..3000, key: u64) {
            let permutation = Permutation::new(len, key);
            let mut seen: Vec<u32> = (0..len).map(|index| permutation.at(index)).collect();
            seen.sort_unstable();
            prop_assert!(seen.into_iter().eq(0..len));
        }
    }

    proptest! {
        #[test]
        fn many_go_where_each_goes(len in 1_u32..=u32::MAX, key: u64, many in 0_u32..1000) {
            let permutation = Permutation::new(len, key);
            let indices: Vec<u32> = (0..many).map(|index| index.wrapping_mul(0x9e37_79b9) % len).collect();
            let mut put = indices.clone();
            permutation.put(&mut put);
            prop_assert!(indices.into_iter().map(|index| permutation.at(index)).eq(put));
        }
    }

    #[test]
    fn permutations_look_random() {
        // Neighbours land far apart, and every tenth of the range is met early: a scan meets all kinds of pages soon.
        let permutation = Permutation::new(65_536, 11);
        let near = (1..65_536).filter(|&i| permutation.at(i).abs_diff(permutation.at(i - 1)) < 64);
        assert!((50..250).contains(&near.count()), "expected about 128");
        let mut tenths = [0; 10];
        (0..6_554).for_each(|i| tenths[permutation.at(i) as usize * 10 / 65_536] += 1);
        assert!(tenths.iter().all(|hits| (550..770).contains(hits)), "{tenths:?}");
    }

    #[test]
    fn streams_are_named_and_fixed() {
        let seed = Seed([7; 32]);
        let draw = |name, index| seed.stream(name, index).below(u32::MAX);
        assert_eq!(draw("scan", 0), draw("scan", 0));
        assert_ne!(draw("scan", 0), draw("scan", 1));
        assert_ne!(draw("scan", 0), draw("sample", 0));
        assert!((0..1000).all(|i| seed.stream("small", i).below(3) < 3));
    }
}
