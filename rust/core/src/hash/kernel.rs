//! Hash kernels: how the bytes of pages become 64 bits.
//!
//! `Aes` chains a page's 256 blocks of 16 bytes through one AES round each, state' = round(state) ^ block, and ends with
//! rounds that spread every bit over the whole state. One page alone waits for each round; several in step fill the
//! pipeline and, more important, keep several pages on their way from memory. `Portable` is XXH3, page by page once they
//! are near.
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

/// Only called where the processor has AES.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
fn aes<const N: usize>(pages: [&Page; N], seed: u64) -> [u64; N] {
    // SAFETY: the only caller has just asked the processor for the feature that the callee needs. The callee itself is
    // safe code. `bench/` measures it against XXH3; the tests of this room run under a memory checker.
    unsafe { x86::hash(pages, seed) }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__m128i, _mm_aesenc_si128, _mm_cvtsi128_si64, _mm_set_epi64x};

    use crate::types::Page;

    const BLOCK: usize = 16;
    /// Digits of pi, so that an empty state is not all zero.
    const START: i64 = 0x2438_6A88_85A3_08D3;
    const END: i64 = 0x1319_8A2E_0370_7344;

    #[target_feature(enable = "aes,sse2")]
    pub fn hash<const N: usize>(pages: [&Page; N], seed: u64) -> [u64; N] {
        let blocks = pages.map(|page| page.as_chunks::<BLOCK>().0);
        let mut states = [_mm_set_epi64x(START, seed as i64); N];
        for block in 0..blocks.first().map_or(0, |page| page.len()) {
            for (state, page) in states.iter_mut().zip(&blocks) {
                *state = _mm_aesenc_si128(*state, load(page[block]));
            }
        }
        let end = _mm_set_epi64x(seed as i64, END);
        states.map(|state| {
            let spread = (0..4).fold(state, |state, _| _mm_aesenc_si128(state, end));
            _mm_cvtsi128_si64(spread) as u64
        })
    }

    #[target_feature(enable = "sse2")]
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
