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

    /// The hashes of `N` pages, read in step.
    #[must_use]
    pub fn hash<const N: usize>(self, pages: [&Page; N], seed: u64) -> [u64; N] {
        #[cfg(target_arch = "x86_64")]
        if self == Self::Aes && self.is_supported() {
            return aes(pages, seed);
        }
        if N > 1 {
            black_box(are_zero(pages)); // only to have the pages read in step
        }
        pages.map(|page| xxh3_64_with_seed(page, seed))
    }
}

/// Only called where the processor has AES rounds and AVX.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
fn aes<const N: usize>(pages: [&Page; N], seed: u64) -> [u64; N] {
    // SAFETY: the only caller has just asked the processor for the features that the callee needs. The callee itself is
    // safe code. `bench/` measures it against XXH3; the tests of this room run under a memory checker.
    unsafe { x86::hash(pages, seed) }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__m128i, _mm_aesenc_si128, _mm_cvtsi128_si64, _mm_set_epi64x};

    use crate::types::{PAGE_SIZE, Page};

    const BLOCK: usize = 16;
    const CHAINS: usize = 4;
    const ROUNDS: usize = PAGE_SIZE / BLOCK / CHAINS;
    /// Digits of pi, so that no state is all zero and the chains differ.
    const STARTS: [i64; CHAINS] =
        [0x243F_6A88_85A3_08D3, 0x1319_8A2E_0370_7344, 0x2409_3822_299F_31D0, 0x082E_FA98_EC4E_6C89];
    const END: i64 = 0x4528_21E6_38D0_1377;

    #[allow(clippy::needless_range_loop)] // by index, not by iterator: so all states stay in registers
    #[target_feature(enable = "aes,avx")]
    pub fn hash<const N: usize>(pages: [&Page; N], seed: u64) -> [u64; N] {
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
}

/// Whether the first line of a page is zero.
pub fn begins_with_zeros(page: &Page) -> bool {
    line(page, 0) == 0
}

/// Which of these pages read zero everywhere; read in step, in full.
pub fn are_zero<const N: usize>(pages: [&Page; N]) -> [bool; N] {
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
