//! What kind of guest a virtual machine runs, and the numbers of its model. The paper gives none of them: each says where
//! it is from, or that it is chosen.

use crate::error::Error;

/// How a guest chooses which of its pages to replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// The least recently used one, exactly.
    Lru,
    /// One reference bit a page, and a hand that clears it.
    Clock,
    /// An active and an inactive list, as Linux has them.
    TwoList,
}

impl Replacement {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Lru, Self::Clock, Self::TwoList];

    /// Its name, as settings have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lru => "lru",
            Self::Clock => "clock",
            Self::TwoList => "two-list",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The manner of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestKind {
    /// Nothing is assumed: it has no memory management of its own, and gives its balloon empty pages, then random ones.
    Default,
    /// Spare memory fills with cache.
    Linux,
    /// It zeroes all its memory at boot, has its balloon driver late in boot, and clears freed pages when idle (§5.4,
    /// §6.3).
    Windows,
}

impl GuestKind {
    /// All, by name.
    pub const NAMES: [(&'static str, Self); 3] =
        [("default", Self::Default), ("linux", Self::Linux), ("windows", Self::Windows)];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("default", |(name, _)| name)
    }
}

/// A guest's operating system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestConfig {
    /// Its manner.
    pub kind: GuestKind,
    /// Whose files it has: guests of one image have files of the same contents. None: an image of its own.
    pub image: Option<String>,
    /// How it replaces pages.
    pub replacement: Replacement,
    /// Pages of its own swap device; none: as many as its memory.
    pub swap_pages: Option<u32>,
    /// Pages of kernel code and data whatever its size; the same contents in guests of one image. Chosen: 8 MiB.
    pub kernel_pages: u32,
    /// Bytes of tables that the kernel has for each page of "physical" memory seen at boot. Chosen: 96, of which Linux 2.4
    /// on IA-32 had 44 to 64 in its `struct page`, the rest stands for hash tables sized from memory.
    pub metadata_bytes: u32,
    /// Pages of the image's files that are read at boot. Chosen: 24 MiB.
    pub boot_pages: u32,
    /// Seconds that boot takes: Windows zeroes its memory in them. Chosen: 10.
    pub boot_s: u32,
    /// Seconds a block stays dirty before it is written back; 30 as in Linux.
    pub dirty_expire_s: u32,
    /// Freed pages that the zero-page thread clears in an idle second. Chosen: 32 768 (128 MiB).
    pub zero_rate: u32,
}

impl Default for GuestConfig {
    fn default() -> Self {
        Self {
            kind: GuestKind::Default,
            image: None,
            replacement: Replacement::TwoList,
            swap_pages: None,
            kernel_pages: 2048,
            metadata_bytes: 96,
            boot_pages: 6144,
            boot_s: 10,
            dirty_expire_s: 30,
            zero_rate: 32_768,
        }
    }
}

impl GuestConfig {
    /// The defaults of a kind.
    #[must_use]
    pub fn of(kind: GuestKind) -> Self {
        Self { kind, ..Self::default() }
    }

    /// Pages that the kernel has at boot in a guest of that size: its code and data, and the tables sized from memory.
    #[must_use]
    pub fn boot_kernel_pages(&self, pages: u32) -> u32 {
        let tables = (u64::from(pages) * u64::from(self.metadata_bytes)).div_ceil(4096);
        u32::try_from(tables + u64::from(self.kernel_pages)).unwrap_or(u32::MAX)
    }

    /// Most pages that a guest of that size has for buffers of its devices: those that its kernel leaves of half of its
    /// memory; all of it if it manages none.
    #[must_use]
    pub fn buffers_at_most(&self, pages: u32) -> u32 {
        match self.kind {
            GuestKind::Default => pages,
            GuestKind::Linux | GuestKind::Windows => {
                (pages / 2).saturating_sub(self.boot_kernel_pages(pages))
            }
        }
    }

    /// Refuses what a guest of `pages` pages cannot have.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`], naming the first one.
    pub fn check(&self, pages: u32) -> Result<(), Error> {
        if self.kind == GuestKind::Default {
            return Ok(());
        }
        let kernel = self.boot_kernel_pages(pages);
        if kernel >= pages / 2 {
            return Err(Error::Setting {
                what: "guest",
                value: format!("{} with {pages} pages", self.kind.name()),
                expected: format!("more than {} pages, twice what its kernel takes", u64::from(kernel) * 2),
            });
        }
        Ok(())
    }
}
