//! Hash kernels: how the bytes of pages become 64 bits.
//!
//! `Aes` has four chains a page, each of every fourth block of 16 bytes. A chain takes each block through one AES round,
//! state' = round(state) ^ block; the end joins the four and spreads every bit over the whole state. A chain waits for each
//! round; four of them are fast enough to hash a page as fast as memory gives it, if it comes in order. Pages that do not
//! are hashed several in step, so that they are on their way together. `Portable` is XXH3, page by page once they are near.
//!
//! One AES round a block does not resist an adversary who knows the seed. Hosts seed their own, and no two pages are ever
//! taken for equal without being compared.

use std::hint::black_box;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::config::HashPath;
use crate::types::{PAGE_SIZE, Page};

const LINE: usize = 64;

/// How pages are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// XXH3, on any processor.
    Portable,
    /// AES rounds, on x86-64 processors that have them and can load what is not aligned (AVX).
    Aes,
}

impl Kernel {
    /// The one that `path` means on this processor.
    pub fn of(path: HashPath) -> Self {
        match path {
            HashPath::Fastest if Self::Aes.is_supported() => Self::Aes,
            HashPath::Fastest | HashPath::Portable => Self::Portable,
        }
    }

    /// Whether this processor can run it.
    #[must_use]
    pub fn is_supported(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Aes => {
                std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("avx")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Aes => false,
        }
    }

    /// The hashes of `N` pages, read in step; nothing if all of them read zero and `zeros` says to look.
    #[must_use]
    pub fn hash<const N: usize>(self, pages: [&Page; N], seed: u64, zeros: Zeros) -> Option<[u64; N]> {
        let may_be_zero = zeros == Zeros::Find && pages.iter().all(|page| begins_with_zeros(page));
        #[cfg(target_arch = "x86_64")]
        if self == Self::Aes && self.is_supported() {
            return aes(pages, seed, may_be_zero);
        }
        if may_be_zero && are_zero(pages) {
            return None;
        }
        if N > 1 {
            black_box(are_zero(pages)); // only to have the pages read in step
        }
        Some(pages.map(|page| xxh3_64_with_seed(page, seed)))
    }
}

/// What becomes of pages that read zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zeros {
    /// They are looked for first: they are common, and a test finds them faster than hashing. Most pages that begin with a
    /// line of zeros are zero.
    Find,
    /// They are hashed like others.
    Hash,
}

/// Only called where the processor has AES rounds and AVX.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
fn aes<const N: usize>(pages: [&Page; N], seed: u64, may_be_zero: bool) -> Option<[u64; N]> {
    // SAFETY: the only caller has just asked the processor for the features that the callee needs. The callee itself is
    // safe code. `bench/` measures it against XXH3; the tests of this room run under a memory checker.
    unsafe { x86::hash(pages, seed, may_be_zero) }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128i, __m256, _mm_aesenc_si128, _mm_cvtsi128_si64, _mm_set_epi64x, _mm256_castps_si256,
        _mm256_or_ps, _mm256_setzero_ps, _mm256_testz_si256,
    };

    use super::LINE;
    use crate::types::{PAGE_SIZE, Page};

    const BLOCK: usize = 16;
    const CHAINS: usize = 4;
    const ROUNDS: usize = PAGE_SIZE / BLOCK / CHAINS;
    /// Digits of pi, so that no state is all zero and the chains differ.
    const STARTS: [i64; CHAINS] =
        [0x243F_6A88_85A3_08D3, 0x1319_8A2E_0370_7344, 0x2409_3822_299F_31D0, 0x082E_FA98_EC4E_6C89];
    const END: i64 = 0x4528_21E6_38D0_1377;

    #[target_feature(enable = "aes,avx")]
    pub fn hash<const N: usize>(pages: [&Page; N], seed: u64, may_be_zero: bool) -> Option<[u64; N]> {
        if may_be_zero && are_zero(pages) { None } else { Some(hash_all(pages, seed)) }
    }

    #[allow(clippy::needless_range_loop)] // by index, not by iterator: so all states stay in registers
    #[target_feature(enable = "aes,avx")]
    fn hash_all<const N: usize>(pages: [&Page; N], seed: u64) -> [u64; N] {
        let pages: [&[[[u8; BLOCK]; CHAINS]; ROUNDS]; N] = pages.map(|page| zerocopy::transmute_ref!(page));
        let mut states = [STARTS.map(|start| _mm_set_epi64x(start, seed as i64)); N];
        for round in 0..ROUNDS {
            for page in 0..N {
                for chain in 0..CHAINS {
                    let block = load(pages[page][round][chain]);
                    states[page][chain] = _mm_aesenc_si128(states[page][chain], block);
                }
            }
        }
        states.map(|chains| finish(chains, seed))
    }

    /// As the function of that name outside, half a line at a time: a page is so few instructions that more of its lines
    /// are on their way together.
    #[allow(clippy::needless_range_loop)] // as above
    #[target_feature(enable = "avx")]
    fn are_zero<const N: usize>(pages: [&Page; N]) -> bool {
        let pages: [&[[[u8; LINE / 2]; 2]; PAGE_SIZE / LINE]; N] =
            pages.map(|page| zerocopy::transmute_ref!(page));
        let mut seen = [_mm256_setzero_ps(); 2];
        for line in 0..PAGE_SIZE / LINE {
            for page in 0..N {
                for half in 0..2 {
                    seen[half] = _mm256_or_ps(seen[half], load_half(pages[page][line][half]));
                }
            }
        }
        let seen = _mm256_castps_si256(_mm256_or_ps(seen[0], seen[1]));
        _mm256_testz_si256(seen, seen) == 1
    }

    /// Joins the chains of a page, unlike each other, and spreads the state over all its bits.
    #[target_feature(enable = "aes,avx")]
    fn finish(chains: [__m128i; CHAINS], seed: u64) -> u64 {
        let end = _mm_set_epi64x(seed as i64, END);
        let joined = chains.into_iter().fold(end, |joined, chain| _mm_aesenc_si128(joined, chain));
        let spread = (0..4).fold(joined, |state, _| _mm_aesenc_si128(state, end));
        _mm_cvtsi128_si64(spread) as u64
    }

    #[target_feature(enable = "avx")]
    fn load(block: [u8; BLOCK]) -> __m128i {
        zerocopy::transmute!(block)
    }

    #[target_feature(enable = "avx")]
    fn load_half(line: [u8; LINE / 2]) -> __m256 {
        zerocopy::transmute!(line)
    }
}

/// Whether the first line of a page is zero.
fn begins_with_zeros(page: &Page) -> bool {
    let words = page[..LINE].as_chunks::<8>().0.iter();
    words.fold(0, |seen, word| seen | u64::from_ne_bytes(*word)) == 0
}

/// Whether all of these pages read zero everywhere; read in step, in full.
fn are_zero<const N: usize>(pages: [&Page; N]) -> bool {
    let mut seen = [0; 2];
    for at in 0..PAGE_SIZE / LINE {
        for page in pages {
            for pair in page[at * LINE..][..LINE].as_chunks::<8>().0.as_chunks::<2>().0 {
                seen[0] |= u64::from_ne_bytes(pair[0]);
                seen[1] |= u64::from_ne_bytes(pair[1]);
            }
        }
    }
    seen == [0; 2]
}
