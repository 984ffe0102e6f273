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

use kernel::{Kernel, Zeros};

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
    /// Of the zero page with real bytes.
    zero: u64,
}

impl PageHasher {
    /// A hasher as `config` has it, of that seed.
    #[must_use]
    pub fn new(config: &SharingConfig, seed: u64) -> Self {
        Self::with_kernel(Kernel::of(config.hash_path), seed, config.hash_mask)
    }

    fn with_kernel(kernel: Kernel, seed: u64, mask: u64) -> Self {
        let hash = kernel.hash([&ZERO_PAGE], seed, Zeros::Hash);
        let [zero] = hash.expect("pages are hashed, zero or not");
        Self { kernel, seed, mask, zero }
    }

    /// The hash of one page.
    #[must_use]
    pub fn hash(&self, page: PageView<'_>) -> PageHash {
        match page {
            PageView::Token(token) => self.found(mix(token ^ self.seed), token == 0),
            PageView::Bytes(page) => self.hash_in_step([page])[0],
        }
    }

    /// The hashes of several pages, as [`PageHasher::hash`] finds them.
    ///
    /// Pages of real bytes are read in the order in which they lie in memory, in several places at once: four where that
    /// makes runs, along which the processor reads ahead, and eight where it does not.
    pub fn hash_all(&self, pages: &[PageView<'_>], hashes: &mut Vec<PageHash>) {
        hashes.clear();
        hashes.resize(pages.len(), PageHash::default());
        let mut bytes = Vec::with_capacity(pages.len());
        for (place, page) in pages.iter().enumerate() {
            match page {
                PageView::Token(_) => hashes[place] = self.hash(*page),
                PageView::Bytes(page) => bytes.push((place, *page)),
            }
        }
        bytes.sort_unstable_by_key(|(_, page)| page.as_ptr());
        let follows = |pair: &&[(usize, &Page)]| std::ptr::eq(pair[1].1, after(pair[0].1));
        if bytes.windows(2).filter(follows).count() >= bytes.len() / 2 {
            self.hash_along::<4>(&bytes, hashes);
        } else {
            self.hash_along::<8>(&bytes, hashes);
        }
    }

    /// Hashes the first page of each of `N` equal parts, the second page of each, and so on.
    fn hash_along<const N: usize>(&self, pages: &[(usize, &Page)], hashes: &mut [PageHash]) {
        let part = pages.len().div_ceil(N);
        for step in 0..part {
            // Where the last parts are shorter, the last page is read again.
            let group: [(usize, &Page); N] =
                std::array::from_fn(|stream| pages[(stream * part + step).min(pages.len() - 1)]);
            for ((place, _), hash) in group.iter().zip(self.hash_in_step(group.map(|(_, page)| page))) {
                hashes[*place] = hash;
            }
        }
    }

    fn hash_in_step<const N: usize>(&self, pages: [&Page; N]) -> [PageHash; N] {
        let Some(hashes) = self.kernel.hash(pages, self.seed, Zeros::Find) else {
            return [self.found(self.zero, true); N];
        };
        std::array::from_fn(|at| {
            let is_zero = hashes[at] == self.zero && PageView::Bytes(pages[at]).is_zero();
            self.found(hashes[at], is_zero)
        })
    }

    fn found(&self, hash: u64, is_zero: bool) -> PageHash {
        PageHash { bare: hash & self.mask, is_zero }
    }
}

fn after(page: &Page) -> *const Page {
    std::ptr::from_ref(page).wrapping_add(1)
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
            let [one, other] = [1, 2].map(|seed| kernel.hash([&[7; PAGE_SIZE]], seed, Zeros::Find));
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
