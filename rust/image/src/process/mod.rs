//! The memory of a running process: its present pages, read without changing them.
//!
//! Pages of a [`Process`] are what it had in memory when it was opened, in the order of their addresses. Pages that are
//! absent or swapped are not among them, because reading one would bring it in: the process would grow by being looked
//! at. For the same reason presence is looked up again right before each read; pages that have gone in the meantime
//! read zero and are counted by [`Process::lost_pages`]. A process goes on while it is read, so what is read is no
//! snapshot; who needs one stops it first. Reading marks pages as accessed, which estimates of active memory can see.
//!
//! Left out are mappings that the process itself may not read, memory of devices, what the kernel provides (vdso, vvar,
//! vsyscall), and memory that the kernel keeps secret.
//!
//! **Guests.** Of a QEMU only guest memory is taken ([`Kind::Qemu`]). A page of it that was never touched reads zero in
//! the guest and costs the host nothing; it is absent and no page of the source. Where guest memory is a file in memory
//! that others can map too (`share=on` in /dev/shm, memfd), *present* means allocated in the file, not mapped by QEMU:
//! pages that a device process or an earlier QEMU filled cost as much, and shared mappings lose their page tables
//! without losing pages. Such memory is read from the file ([`Backing::File`]), because reading an absent page through
//! QEMU would allocate a hole of the file, and a read of the file does not. If the file cannot be opened, is not in
//! memory (a disk, huge pages) or has pages in swap, the pages that QEMU has mapped are taken ([`Backing::Mapped`]).
//!
//! **The zero page.** An absent private page that was read but never written maps the one zero page of the kernel. It
//! is present, but costs nothing. Without privilege it cannot be told which pages these are, only how many:
//! [`Region::zero_mapped`]. All of them read zero, so a census can subtract them from its zero pages.

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod qemu;
#[cfg(target_os = "linux")]
mod ram_file;
#[cfg(target_os = "linux")]
mod smaps;
#[cfg(target_os = "linux")]
mod space;
#[cfg(target_os = "linux")]
mod spans;

#[cfg(not(target_os = "linux"))]
pub use elsewhere::Process;
#[cfg(target_os = "linux")]
pub use linux::Process;

use crate::map::PAGE_BYTES;

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A program like others: all its memory is taken.
    Plain,
    /// A virtual machine: its guest memory is taken.
    Qemu,
}

/// Where the pages of a region are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Pages that the process has mapped are present.
    Mapped,
    /// Pages allocated in the mapped file are present, and are read from it.
    File,
}

/// A mapping of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Address of its first byte.
    pub start: u64,
    /// Address after its last byte.
    pub end: u64,
    /// What the kernel calls it: a path, a word in brackets, or empty for anonymous memory. Line ends are escaped.
    pub name: String,
    /// Where its pages are found.
    pub backing: Backing,
    /// Number of its first page among all pages of the source.
    pub first: u32,
    /// Present pages, which are pages of the source.
    pub pages: u32,
    /// Pages in swap, left out.
    pub swapped: u64,
    /// Present pages that are only the kernel's zero page. Of a running process a little off, because it is counted
    /// at another moment.
    pub zero_mapped: u64,
}

impl Region {
    /// Pages never touched or given back, left out.
    #[must_use]
    pub fn absent(&self) -> u64 {
        let all = (self.end - self.start) / PAGE_BYTES;
        all.saturating_sub(u64::from(self.pages)).saturating_sub(self.swapped)
    }
}
