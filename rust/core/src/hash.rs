//! A page's hash (§4.3): 64 bits of XXH3, or of the token that stands for the page.
//!
//! Hashes are seeded by host, so that no guest can aim at another's. A mask may clear bits: the seam through which
//! tests and experiments make collisions, chains and false matches happen. *Salts* keep sharing domains apart: a hash is
//! combined with its domain's salt, salts of two domains differ, so equal contents of two domains never have equal
//! hashes, whatever the mask.

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use crate::rng::mix;
use crate::types::{PageView, ZERO_PAGE};

/// What distinguishes the hashes of a sharing domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainSalt(u64);

impl DomainSalt {
    /// The salt of domain number `domain`; different numbers have different salts, 0 has none.
    #[must_use]
    pub fn of(domain: u32) -> Self {
        Self(mix(u64::from(domain)))
    }
}

/// Hashes pages of one host.
#[derive(Clone, Debug)]
pub struct PageHasher {
    seed: u64,
    mask: u64,
    /// Of the zero page with real bytes: zero pages are common, and finding out is faster than hashing.
    zero: u64,
}

impl PageHasher {
    /// A hasher of that seed which keeps the bits in `mask`.
    #[must_use]
    pub fn new(seed: u64, mask: u64) -> Self {
        Self { seed, mask, zero: xxh3_64_with_seed(&ZERO_PAGE, seed) }
    }

    /// The hash of a page in the domain of `salt`.
    #[must_use]
    pub fn hash(&self, page: PageView<'_>, salt: DomainSalt) -> u64 {
        let hash = match page {
            PageView::Bytes(_) if page.is_zero() => self.zero,
            PageView::Bytes(bytes) => xxh3_64_with_seed(bytes, self.seed),
            // One to one: different tokens have different hashes.
            PageView::Token(token) => mix(token ^ self.seed),
        };
        (hash & self.mask) ^ salt.0
    }
}

/// A key that stands for a page's content in `domain`: exact for tokens, 128 hash bits for bytes.
#[must_use]
pub fn content_key(page: PageView<'_>, domain: u32) -> u128 {
    let high = u128::from(domain) << 64;
    match page {
        PageView::Token(token) => high | u128::from(token),
        PageView::Bytes(_) if page.is_zero() => high,
        PageView::Bytes(bytes) => xxh3_128(bytes) ^ (u128::from(mix(u64::from(domain))) << 64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_cut_for_zero_pages_is_the_same_hash() {
        let hasher = PageHasher::new(3, u64::MAX);
        let whole = xxh3_64_with_seed(&ZERO_PAGE, 3);
        assert_eq!(hasher.hash(PageView::Bytes(&ZERO_PAGE), DomainSalt::of(0)), whole);
    }

    #[test]
    fn equal_contents_of_two_domains_never_meet() {
        for mask in [u64::MAX, 0xF, 0] {
            let hasher = PageHasher::new(3, mask);
            let mut hashes: Vec<_> =
                (0..10_000).map(|domain| hasher.hash(PageView::Token(5), DomainSalt::of(domain))).collect();
            hashes.sort_unstable();
            hashes.dedup();
            assert_eq!(hashes.len(), 10_000);
        }
    }
}
