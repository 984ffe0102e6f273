//! Hash kernels: how the bytes of pages become 64 bits.
//!
//! `Aes` chains a page's 256 blocks of 16 bytes through one AES round each, state' = round(state) ^ block, and ends with
//! rounds that spread every bit over the whole state. One page alone waits for each round; several in step fill the
//! pipeline and, more important, keep several pages on their way from memory. `Portable` is XXH3, page by page once they
//! are near.
//!
//! One AES round a block does not resist an adversary who knows the seed. Hosts seed their own, and no two pages are ever
//! taken for equal without being compared.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::config::HashPath;
use crate::types::{PAGE_SIZE, Page};

const LINE: usize = 64;

/// How pages are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// XXH3, on any processor.
    Portable,
    /// AES rounds, on x86-64 processors that have them.
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
            Self::Aes => std::arch::is_x86_feature_detected!("aes"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Aes => false,
        }
    }

    /// The hashes of `N` pages, read in step; none of a page that reads zero.
    #[must_use]
    pub fn hash<const N: usize>(self, pages: [&Page; N], seed: u64) -> [Option<u64>; N] {
        #[cfg(target_arch = "x86_64")]
        if self == Self::Aes && self.is_supported() {
            return aes(pages, seed);
        }
        let are_zero = are_zero(pages);
        std::array::from_fn(|at| (!are_zero[at]).then(|| xxh3_64_with_seed(pages[at], seed)))
    }
}

/// Only called where the processor has AES.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
fn aes<const N: usize>(pages: [&Page; N], seed: u64) -> [Option<u64>; N] {
    // SAFETY: the only caller has just asked the processor for the feature that the callee needs. The callee itself is
    // safe code. `bench/` measures it against XXH3; the tests of this room run under a memory checker.
    unsafe { x86::hash(pages, seed) }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128i, _mm_aesenc_si128, _mm_cmpeq_epi8, _mm_cvtsi128_si64, _mm_movemask_epi8, _mm_or_si128,
        _mm_set_epi64x, _mm_setzero_si128,
    };

    use crate::types::{PAGE_SIZE, Page};

    const BLOCK: usize = 16;
    const BLOCKS: usize = PAGE_SIZE / BLOCK;
    /// Digits of pi, so that an empty state is not all zero.
    const START: i64 = 0x2438_6A88_85A3_08D3;
    const END: i64 = 0x1319_8A2E_0370_7344;

    #[target_feature(enable = "aes,sse2")]
    pub fn hash<const N: usize>(pages: [&Page; N], seed: u64) -> [Option<u64>; N] {
        let pages: [&[[u8; BLOCK]; BLOCKS]; N] = pages.map(|page| zerocopy::transmute_ref!(page));
        let mut states = [_mm_set_epi64x(START, seed as i64); N];
        let mut seen = [_mm_setzero_si128(); N];
        for block in 0..BLOCKS {
            // By index, not by iterator: so they stay in registers.
            for at in 0..N {
                let block = load(pages[at][block]);
                states[at] = _mm_aesenc_si128(states[at], block);
                seen[at] = _mm_or_si128(seen[at], block);
            }
        }
        std::array::from_fn(|at| (!is_zero(seen[at])).then(|| finish(states[at], seed)))
    }

    #[target_feature(enable = "aes,sse2")]
    fn finish(state: __m128i, seed: u64) -> u64 {
        let end = _mm_set_epi64x(seed as i64, END);
        let spread = (0..4).fold(state, |state, _| _mm_aesenc_si128(state, end));
        _mm_cvtsi128_si64(spread) as u64
    }

    #[target_feature(enable = "sse2")]
    fn is_zero(word: __m128i) -> bool {
        _mm_movemask_epi8(_mm_cmpeq_epi8(word, _mm_setzero_si128())) == 0xFFFF
    }

    #[target_feature(enable = "sse2")]
    fn load(block: [u8; BLOCK]) -> __m128i {
        zerocopy::transmute!(block)
    }
}

/// Which of these pages read zero everywhere; read in step, in full.
fn are_zero<const N: usize>(pages: [&Page; N]) -> [bool; N] {
    let mut seen = [0; N];
    for at in 0..PAGE_SIZE / LINE {
        for (seen, page) in seen.iter_mut().zip(pages) {
            *seen |= line(page, at);
        }
    }
    seen.map(|seen| seen == 0)
}

/// The words of a line, or-ed.
fn line(page: &Page, at: usize) -> u64 {
    let words = page.as_chunks::<8>().0[at * 8..][..8].iter();
    words.fold(0, |seen, word| seen | u64::from_ne_bytes(*word))
}
