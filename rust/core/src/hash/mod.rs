//! A page's hash (§4.3): 64 bits, seeded by host so that no guest can aim at another's.
//!
//! Real bytes are hashed by the kernel that suits the processor (`kernel`); hash values differ between kernels, and
//! nothing but hash values does. A token is spread one to one, so different tokens have different hashes.
//!
//! A mask may clear bits: the seam through which tests and experiments make collisions, chains and false matches happen.
//! *Salts* keep sharing domains apart: a hash is combined with its domain's salt, salts of two domains differ, so equal
//! contents of two domains never have equal hashes, whatever the mask.

mod kernel;

use xxhash_rust::xxh3::xxh3_128;

use kernel::Kernel;

use crate::config::SharingConfig;
use crate::rng::mix;
use crate::types::{Page, PageView, ZERO_PAGE};

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

/// What hashing finds out about a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageHash {
    /// The hash, without salt.
    bare: u64,
    /// Whether the page reads zero everywhere.
    pub is_zero: bool,
}

impl PageHash {
    /// The hash in the domain of `salt`.
    #[must_use]
    pub fn salted(self, salt: DomainSalt) -> u64 {
        self.bare ^ salt.0
    }
}

/// Hashes pages of one host.
#[derive(Clone, Debug)]
pub struct PageHasher {
    kernel: Kernel,
    seed: u64,
    mask: u64,
    /// Of the zero page with real bytes: zero pages are common, and finding out is faster than hashing.
    zero: u64,
}

impl PageHasher {
    /// A hasher as `config` has it, of that seed.
    #[must_use]
    pub fn new(config: &SharingConfig, seed: u64) -> Self {
        Self::with_kernel(Kernel::of(config.hash_path), seed, config.hash_mask)
    }

    fn with_kernel(kernel: Kernel, seed: u64, mask: u64) -> Self {
        let [zero] = kernel.hash([&ZERO_PAGE], seed);
        Self { kernel, seed, mask, zero }
    }

    /// The hash of one page.
    #[must_use]
    pub fn hash(&self, page: PageView<'_>) -> PageHash {
        let is_zero = page.is_zero();
        let bare = match page {
            PageView::Token(token) => mix(token ^ self.seed),
            PageView::Bytes(_) if is_zero => self.zero,
            PageView::Bytes(bytes) => self.kernel.hash([bytes], self.seed)[0],
        };
        PageHash { bare: bare & self.mask, is_zero }
    }

    /// The hashes of several pages, as [`PageHasher::hash`] finds them: scattered pages of real bytes are read eight in
    /// step, which keeps more of memory's bandwidth busy than one after the other.
    pub fn hash_all(&self, pages: &[PageView<'_>], hashes: &mut Vec<PageHash>) {
        hashes.clear();
        hashes.resize(pages.len(), PageHash::default());
        // Pages that begin with zeros are mostly zero; the others are not, and need no test.
        let (mut others, mut zeros) = (Vec::with_capacity(pages.len()), Vec::with_capacity(pages.len()));
        for (place, page) in pages.iter().enumerate() {
            match page {
                PageView::Token(_) => hashes[place] = self.hash(*page),
                PageView::Bytes(page) if kernel::begins_with_zeros(page) => zeros.push((place, *page)),
                PageView::Bytes(page) => others.push((place, *page)),
            }
        }
        in_step(&zeros, |group, pages| {
            for ((place, page), is_zero) in group.iter().zip(kernel::are_zero(pages)) {
                match is_zero {
                    true => hashes[*place] = PageHash { bare: self.zero & self.mask, is_zero },
                    false => others.push((*place, page)),
                }
            }
        });
        in_step(&others, |group, pages| {
            for ((place, _), bare) in group.iter().zip(self.kernel.hash(pages, self.seed)) {
                hashes[*place] = PageHash { bare: bare & self.mask, is_zero: false };
            }
        });
    }
}

/// Pages read together.
const STEP: usize = 8;

/// Calls `work` with each eight pages; a last few are filled up by repeating one.
fn in_step<'a>(pages: &[(usize, &'a Page)], mut work: impl FnMut(&[(usize, &'a Page)], [&'a Page; STEP])) {
    for group in pages.chunks(STEP) {
        work(group, std::array::from_fn(|at| group[at.min(group.len() - 1)].1));
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
    use crate::types::PAGE_SIZE;

    const KERNELS: [Kernel; 2] = [Kernel::Portable, Kernel::Aes];

    fn supported() -> impl Iterator<Item = Kernel> {
        KERNELS.into_iter().filter(|kernel| kernel.is_supported())
    }

    /// Pages that differ in one bit each, among zero pages.
    fn look_alikes() -> Vec<Page> {
        let mut pages = vec![ZERO_PAGE; 3];
        for bit in (0..PAGE_SIZE * 8).step_by(7) {
            let mut page = ZERO_PAGE;
            page[bit / 8] |= 1 << (bit % 8);
            pages.push(page);
        }
        pages.push(ZERO_PAGE);
        pages
    }

    #[test]
    fn hashing_together_or_alone_is_the_same() {
        let pages = look_alikes();
        let mut views: Vec<PageView<'_>> = pages.iter().map(PageView::Bytes).collect();
        views.insert(5, PageView::Token(9));
        for hasher in supported().map(|kernel| PageHasher::with_kernel(kernel, 3, u64::MAX >> 1)) {
            let mut hashes = vec![];
            for count in [0, 1, 7, 8, 9, views.len()] {
                hasher.hash_all(&views[..count], &mut hashes);
                let alone: Vec<PageHash> = views[..count].iter().map(|page| hasher.hash(*page)).collect();
                assert_eq!(hashes, alone);
            }
        }
    }

    #[test]
    fn one_bit_makes_another_hash_and_both_halves_are_random() {
        for hasher in supported().map(|kernel| PageHasher::with_kernel(kernel, 3, u64::MAX)) {
            let pages = look_alikes();
            let hashes = pages[3..].iter().map(|page| hasher.hash(PageView::Bytes(page)).bare);
            let mut hashes: Vec<u64> = hashes.collect();
            let ones: u32 = hashes.iter().map(|hash| hash.count_ones()).sum();
            assert!((31.0..33.0).contains(&(f64::from(ones) / hashes.len() as f64)));
            hashes.sort_unstable();
            hashes.dedup();
            assert_eq!(hashes.len(), pages.len() - 3, "zero occurs at both ends");
            // 4 684 values of 32 bits: 0.003 pairs are expected.
            for half in [0, 32] {
                let mut halves: Vec<u32> = hashes.iter().map(|hash| (hash >> half) as u32).collect();
                halves.sort_unstable();
                halves.dedup();
                assert!(halves.len() >= hashes.len() - 1);
            }
        }
    }

    #[test]
    fn seeds_make_other_hashes() {
        for kernel in supported() {
            let [one, other] = [1, 2].map(|seed| kernel.hash([&[7; PAGE_SIZE]], seed));
            assert_ne!(one, other);
        }
    }

    #[test]
    fn equal_contents_of_two_domains_never_meet() {
        for mask in [u64::MAX, 0xF, 0] {
            let hasher = PageHasher::with_kernel(Kernel::Portable, 3, mask);
            let hash = hasher.hash(PageView::Token(5));
            let mut hashes: Vec<u64> =
                (0..10_000).map(|domain| hash.salted(DomainSalt::of(domain))).collect();
            hashes.sort_unstable();
            hashes.dedup();
            assert_eq!(hashes.len(), 10_000);
        }
    }
}
