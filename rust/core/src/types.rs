//! The words of the engine: page numbers, page contents, accesses.
//!
//! A *page* is 4 KiB. A PPN is a page number of one virtual machine, an MPN one of the machine (§2). Both are 32 bits
//! wide, so hosts and virtual machines reach 16 TiB.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::error::Error;

/// Bytes in a page (footnote 3).
pub const PAGE_SIZE: usize = 4096;

/// Most pages of a machine or a virtual machine: one 32-bit number is kept to say "none".
pub const MAX_PAGES: u32 = u32::MAX;

/// First of the tokens that the engine makes itself; user tokens are below.
pub const ENGINE_TOKENS: u64 = 1 << 63;

/// The bytes of one page.
pub type Page = [u8; PAGE_SIZE];

/// The page that reads zero everywhere.
pub static ZERO_PAGE: Page = [0; PAGE_SIZE];

/// A guest-"physical" page number of one virtual machine (§2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ppn(pub u32);

/// A machine page number: real memory (§2).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Mpn(pub u32);

/// A page's place in the server's swap file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// The slot of a virtual machine on its host; reused after power-off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmId(pub u16);

impl Ppn {
    /// The number as an index.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl Mpn {
    /// The number as an index.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl Slot {
    /// The number as an index.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl VmId {
    /// The number as an index.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What a guest does to a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load or an instruction fetch.
    Read,
    /// A store.
    Write,
}

/// Which way an I/O transfer goes (§7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A device reads the guest's page.
    Transmit,
    /// A device writes to it.
    Receive,
}

impl Direction {
    /// What the transfer does to the page.
    #[must_use]
    pub fn access(self) -> Access {
        match self {
            Self::Transmit => Access::Read,
            Self::Receive => Access::Write,
        }
    }
}

/// How a host represents what pages hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentKind {
    /// 4096 real bytes a page.
    Bytes,
    /// 64 bits that stand for the content: equal tokens are equal pages, 0 is the zero page.
    Tokens,
}

/// How short of memory a host is (§6.3): in which of four intervals its free memory lies, with hysteresis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum FreeState {
    /// Enough is free.
    #[default]
    High,
    /// Balloons inflate.
    Soft,
    /// The server pages.
    Hard,
    /// Virtual machines above their target are blocked too.
    Low,
}

/// What a host knows of a virtual machine's balloon driver (§3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverHealth {
    /// No driver answers yet.
    Absent,
    /// It moves toward its target.
    Working,
    /// For three polls it has moved less than its target asked for and less than the protocol's least rate.
    Stalled,
}

/// The content of one page, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageView<'a> {
    /// Of a host with real bytes.
    Bytes(&'a Page),
    /// Of a host with tokens.
    Token(u64),
}

impl PageView<'_> {
    /// Whether the page reads zero everywhere.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        match self {
            Self::Bytes(page) => bytes_are_zero(page),
            Self::Token(token) => *token == 0,
        }
    }
}

/// Contents of several pages, borrowed.
#[derive(Clone, Copy, Debug)]
pub enum PageBatch<'a> {
    /// Real bytes.
    Bytes(&'a [Page]),
    /// Tokens.
    Tokens(&'a [u64]),
}

impl<'a> PageBatch<'a> {
    /// Pages in the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(pages) => pages.len(),
            Self::Tokens(tokens) => tokens.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The kind of host these contents are for.
    #[must_use]
    pub fn kind(&self) -> ContentKind {
        match self {
            Self::Bytes(_) => ContentKind::Bytes,
            Self::Tokens(_) => ContentKind::Tokens,
        }
    }

    /// The page at `index`.
    #[must_use]
    pub fn page(&self, index: usize) -> PageView<'a> {
        match self {
            Self::Bytes(pages) => PageView::Bytes(&pages[index]),
            Self::Tokens(tokens) => PageView::Token(tokens[index]),
        }
    }

    /// The pages from `from` up to `to`.
    #[must_use]
    pub fn range(&self, from: usize, to: usize) -> Self {
        match self {
            Self::Bytes(pages) => Self::Bytes(&pages[from..to]),
            Self::Tokens(tokens) => Self::Tokens(&tokens[from..to]),
        }
    }
}

/// Called now and then by long walks over a whole host; an error ends the walk.
pub type Pulse<'a> = &'a mut dyn FnMut() -> Result<(), Error>;

/// Pages a long walk does between two pulses.
pub const PULSE_PAGES: usize = 1 << 15;

/// Whether all bytes are zero; leaves at the first 64 bytes that are not.
fn bytes_are_zero(page: &Page) -> bool {
    let words = page.as_chunks::<8>().0;
    words.chunks_exact(8).all(|line| line.iter().fold(0, |seen, word| seen | u64::from_ne_bytes(*word)) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_anywhere_makes_a_page_non_zero() {
        assert!(PageView::Bytes(&ZERO_PAGE).is_zero());
        for at in [0, 1, 63, 64, 2048, PAGE_SIZE - 1] {
            let mut page = ZERO_PAGE;
            page[at] = 1;
            assert!(!PageView::Bytes(&page).is_zero(), "byte {at}");
        }
    }
}
