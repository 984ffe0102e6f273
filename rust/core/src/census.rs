//! What sharing could save: the resident contents of a host, counted.

use hashbrown::HashMap;

use crate::error::Error;
use crate::hash::content_key;
use crate::host::Host;
use crate::types::{PULSE_PAGES, Pulse};

/// Pages by content; equal contents of two sharing domains count as different.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Resident pages.
    pub pages: u64,
    /// Of these, pages that read zero.
    pub zero_pages: u64,
    /// Different contents.
    pub distinct_pages: u64,
    /// Pages whose content occurs at least twice.
    pub shared_pages: u64,
    /// Machine pages that sharing all of them would save: pages - distinct.
    pub reclaimed_pages: u64,
}

impl Host {
    /// Counts the resident contents: exact with tokens, by 128-bit hashes with bytes.
    ///
    /// Cost: one read of every resident page, 32 bytes of memory for each different one.
    ///
    /// # Errors
    ///
    /// What `pulse` returns.
    pub fn census(&self, pulse: Pulse<'_>) -> Result<Census, Error> {
        let mut copies: HashMap<u128, u64> = HashMap::new();
        let mut census = Census::default();
        for (_, vm) in self.memory.vms() {
            for entries in vm.pmap().entries().chunks(PULSE_PAGES) {
                pulse()?;
                for mpn in entries.iter().filter_map(|entry| entry.state().mpn()) {
                    let page = self.memory.content().page(mpn.index());
                    census.zero_pages += u64::from(page.is_zero());
                    *copies.entry(content_key(page, vm.domain())).or_default() += 1;
                }
            }
        }
        census.pages = copies.values().sum();
        census.distinct_pages = copies.len() as u64;
        census.shared_pages = copies.values().filter(|count| **count > 1).sum();
        census.reclaimed_pages = census.pages - census.distinct_pages;
        Ok(census)
    }
}
