//! What sharing could save: the resident contents of a host, counted.

use hashbrown::HashMap;

use crate::error::Error;
use crate::hash::content_key;
use crate::host::Host;
use crate::rng::mix;
use crate::types::Pulse;

/// Parts of the table of contents.
const PARTS: usize = 256;
/// Entries between two pulses.
const PULSE_ENTRIES: usize = 1 << 10;

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
        // Tables in parts, and few entries between two pulses: growing takes long, and all parts grow at about one time.
        let mut copies: Vec<HashMap<u128, u64>> = vec![HashMap::new(); PARTS];
        let mut census = Census::default();
        for (_, vm) in self.memory.vms() {
            for entries in vm.pmap().entries().chunks(PULSE_ENTRIES) {
                pulse()?;
                for mpn in entries.iter().filter_map(|entry| entry.state().mpn()) {
                    let page = self.memory.content().page(mpn.index());
                    census.zero_pages += u64::from(page.is_zero());
                    let key = content_key(page, vm.domain());
                    let part = mix(key as u64 ^ (key >> 64) as u64) as usize % PARTS;
                    *copies[part].entry(key).or_default() += 1;
                }
            }
        }
        for part in copies {
            pulse()?;
            census.pages += part.values().sum::<u64>();
            census.distinct_pages += part.len() as u64;
            census.shared_pages += part.values().filter(|count| **count > 1).sum::<u64>();
        }
        census.reclaimed_pages = census.pages - census.distinct_pages;
        Ok(census)
    }
}
