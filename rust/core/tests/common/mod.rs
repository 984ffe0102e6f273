//! What the integration tests share: small hosts and a palette of page contents.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

use esxcore_core::audit::audit;
use esxcore_core::config::{HostConfig, SharingConfig, VmConfig};
use esxcore_core::host::Host;
use esxcore_core::rng::Seed;
use esxcore_core::types::{ContentKind, PAGE_SIZE, Page, PageBatch, PageView, VmId};

pub const KINDS: [ContentKind; 2] = [ContentKind::Bytes, ContentKind::Tokens];

/// Few contents, so that pages often match: zero, and pages that differ in one far byte.
pub struct Palette {
    pages: Vec<Page>,
    tokens: Vec<u64>,
}

impl Palette {
    pub fn new(contents: usize) -> Self {
        let page = |number: usize| {
            let mut page = [if number < 3 { 0 } else { 0x5A }; PAGE_SIZE];
            page[PAGE_SIZE - 1 - number % 7] = number as u8;
            page
        };
        Self { pages: (0..contents).map(page).collect(), tokens: (0..contents as u64).collect() }
    }

    pub fn page(&self, kind: ContentKind, number: usize) -> PageView<'_> {
        match kind {
            ContentKind::Bytes => PageView::Bytes(&self.pages[number]),
            ContentKind::Tokens => PageView::Token(self.tokens[number]),
        }
    }

    pub fn batch(&self, kind: ContentKind) -> PageBatch<'_> {
        match kind {
            ContentKind::Bytes => PageBatch::Bytes(&self.pages),
            ContentKind::Tokens => PageBatch::Tokens(&self.tokens),
        }
    }
}

/// A page's content that can be kept.
pub fn keep(page: PageView<'_>) -> Vec<u8> {
    match page {
        PageView::Bytes(bytes) => bytes.to_vec(),
        PageView::Token(token) => token.to_le_bytes().to_vec(),
    }
}

pub fn config(kind: ContentKind, machine_pages: u32, seed: u8, hash_mask: u64) -> HostConfig {
    let sharing = SharingConfig { hash_mask, ..SharingConfig::default() };
    HostConfig { sharing, swap_pages: 16, ..HostConfig::bare(machine_pages, kind, Seed([seed; 32])) }
}

pub fn power_on(host: &mut Host, name: &str, max_pages: u32) -> VmId {
    host.power_on(VmConfig::new(name, max_pages), &mut || Ok(())).unwrap()
}

pub fn digest(host: &Host) -> u128 {
    host.digest(&mut || Ok(())).unwrap()
}

pub fn audited(host: &Host) {
    audit(host.memory(), &mut || Ok(())).unwrap();
}
