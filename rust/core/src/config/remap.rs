//! How a host treats I/O of pages that a device may not reach (§7).

use super::{HOT_COPIES, HOT_HALF_LIFE_S, LOW_MEMORY_GIB};
use crate::error::Error;
use crate::types::{Mpn, PAGE_SIZE};

/// What happens to a transfer whose page lies in high memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoMode {
    /// It goes through a bounce buffer, every time.
    AlwaysCopy,
    /// Its page is moved to low memory before its first transfer.
    FirstUse,
    /// It is copied until its page is hot; then the page is moved to low memory (§7).
    #[default]
    Remap,
    /// Nothing: an I/O MMU lets devices reach all memory.
    IoMmu,
}

impl IoMode {
    /// All of them, by name.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("copy", Self::AlwaysCopy),
        ("first-use", Self::FirstUse),
        ("remap", Self::Remap),
        ("iommu", Self::IoMmu),
    ];
}

/// Who makes room for a hot page where no low page is free. The paper leaves that open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenScarce {
    /// Nobody: it stays in high memory and goes on being copied.
    Refuse,
    /// The low page with the fewest recent transfers moves up, if it has fewer than the hot one.
    #[default]
    EvictColdest,
    /// As before while some low page had no recent transfer; then a page of the virtual machine that has the most busy low
    /// pages for its shares.
    FairShare,
}

impl WhenScarce {
    /// All of them, by name.
    pub const NAMES: [(&'static str, Self); 3] =
        [("refuse", Self::Refuse), ("coldest", Self::EvictColdest), ("fair", Self::FairShare)];
}

/// How a host treats I/O of high pages (§7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemapConfig {
    /// Pages that every device reaches, from machine page 0 on; none are the 4 GiB that 32-bit devices reach, or all pages
    /// of a smaller machine. Where all memory is low nothing is ever copied.
    pub low_pages: Option<u32>,
    /// Copies after which a page is hot.
    pub threshold: u32,
    /// Seconds after which copies and transfers count half; none counts them for ever.
    pub half_life_s: Option<u32>,
    /// Who makes room in low memory.
    pub when_scarce: WhenScarce,
    /// What is done at all.
    pub mode: IoMode,
}

impl Default for RemapConfig {
    fn default() -> Self {
        Self {
            low_pages: None,
            threshold: HOT_COPIES,
            half_life_s: Some(HOT_HALF_LIFE_S),
            when_scarce: WhenScarce::default(),
            mode: IoMode::default(),
        }
    }
}

impl RemapConfig {
    /// The first machine page that devices do not reach.
    #[must_use]
    pub fn boundary(&self, machine_pages: u32) -> Mpn {
        let usual = (u64::from(LOW_MEMORY_GIB) << 30) / PAGE_SIZE as u64;
        let usual = u32::try_from(usual).unwrap_or(u32::MAX);
        Mpn(self.low_pages.unwrap_or(usual).min(machine_pages))
    }

    /// Refuses settings that no host of that size can have.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`], naming the first one.
    pub fn check(&self, machine_pages: u32) -> Result<(), Error> {
        let refuse = |what, value, expected: String| Err(Error::Setting { what, value, expected });
        match *self {
            Self { low_pages: Some(pages), .. } if pages == 0 || pages > machine_pages => refuse(
                "low_memory",
                format!("{pages} pages"),
                format!("1 to {machine_pages} pages, which is the machine"),
            ),
            Self { threshold: 0, .. } => {
                refuse("io_threshold", "0 copies".into(), "at least one copy".into())
            }
            Self { half_life_s: Some(0), .. } => {
                refuse("io_decay", "0 s".into(), "at least one second, or none".into())
            }
            _ => Ok(()),
        }
    }
}

/// The threshold at which a page is moved when the copies paid for it come to the price of a move: no page then ever
/// costs more than twice what the best course chosen in hindsight would have cost, if a move costs at least a copy.
#[must_use]
pub fn competitive_threshold(copy_ns: u64, move_ns: u64) -> u32 {
    u32::try_from(move_ns / copy_ns.max(1)).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_bounds() {
        let plain = RemapConfig::default();
        for low_pages in [None, Some(1), Some(8)] {
            assert_eq!(RemapConfig { low_pages, ..plain.clone() }.check(8), Ok(()));
        }
        let wrong = [
            ("low_memory", RemapConfig { low_pages: Some(0), ..plain.clone() }),
            ("low_memory", RemapConfig { low_pages: Some(9), ..plain.clone() }),
            ("io_threshold", RemapConfig { threshold: 0, ..plain.clone() }),
            ("io_decay", RemapConfig { half_life_s: Some(0), ..plain.clone() }),
        ];
        for (name, settings) in wrong {
            assert!(matches!(settings.check(8), Err(Error::Setting { what, .. }) if what == name), "{name}");
        }
    }

    #[test]
    fn the_boundary_is_at_4_gib_or_where_it_is_put() {
        let plain = RemapConfig::default();
        assert_eq!((plain.boundary(100), plain.boundary(1 << 24)), (Mpn(100), Mpn(1 << 20)));
        assert_eq!(RemapConfig { low_pages: Some(7), ..plain }.boundary(100), Mpn(7));
    }

    #[test]
    fn the_competitive_threshold_is_what_a_move_costs_in_copies() {
        let known = [((3, 10), 3), ((3, 9), 3), ((5, 5), 1), ((5, 4), 1), ((0, 7), 7)];
        let found = known.map(|((copy, price), _)| competitive_threshold(copy, price));
        assert_eq!(found, known.map(|(_, threshold)| threshold));
        assert_eq!(competitive_threshold(1, u64::MAX), u32::MAX);
    }
}
