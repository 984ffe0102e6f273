//! Guests: operating systems behind the seam [`GuestOs`], each with its own way to choose the pages that it gives to the
//! balloon (§3.2).
//!
//! | guest | gives |
//! |---|---|
//! | [`DefaultGuest`] | empty pages first, then random ones; it manages nothing |
//! | [`Kernel`], Linux | free pages, clean cache, then what it has written back or to its own swap device |
//! | [`Kernel`], Windows | the same; all its memory is zeroed at boot, and freed pages when it is idle |
//!
//! # What a kernel does
//!
//! A guest believes that its "physical" memory is all its own. It keeps pages of four kinds: its own code and tables,
//! anonymous memory of its processes, blocks of files (the *guest page cache*, into which spare memory goes), and free
//! ones. One word a page says which, and every page is in one place: that is what the tests audit.
//!
//! *References.* Processes refer to pages of anonymous memory and to blocks of files. [`GuestOs::translate`] is the fast
//! path: what is in a page is a touch of it, and several look-ups are under way at a time. The first reference that is
//! not comes to [`GuestOs::fault`], which says in steps what it takes: room, a fill, a read of the disk. What the steps
//! name stays out of the hands of everybody else, the balloon driver's too, until they are settled.
//!
//! *Contents.* A file page holds the content of (image, file, block), and kernel code likewise: guests of one image have
//! pages in common, guests without one share nothing with others. A new page of anonymous memory is zero. Whatever was
//! written is its guest's own: all blocks of a file that was ever written to, and pages that come back from swap, because
//! what devices hold is not kept.
//!
//! *Making room* (`reclaim`): clean cache, dirty cache, anonymous memory to the guest's own swap device, the last of the
//! cache. It begins when the free list is at its low level, by whoever takes a page (`fault`), and once a second up to
//! the high level (`boot`). If nothing is left the process is killed. The server knows nothing of all this: when it has
//! paged a page out that the guest now writes to its own disk, the page comes in for this alone. That is *double paging*
//! (§3); who does the steps counts it.
//!
//! *The kernel's own pages* (`tables`). Whatever is done with a page refers to the kernel's table of it: who takes or frees
//! it, looks whether it may go, or finds a block of a file in it. In each second the kernel refers to the part of its
//! code and data that is in use, or less of it where processes ran for less than a hundredth, at least what the timer needs. These are touches among
//! the steps: the server may have paged the pages out, and then nobody in the guest runs until they are back. What is in use is
//! a guess; the rest of the kernel is left alone, and a server that pages at random gains it for nothing.
//!
//! *The balloon* (`driver`) is one more that takes pages, in the order of Figure 1: free ones, clean cache, then what has
//! to be written first, for which the driver sleeps. As it deflates, the free list grows and the cache after it.
//!
//! *Devices.* Their drivers are loaded after boot, and allocate buffers as the balloon's driver allocates: from the free
//! list, and more as room is made. Nobody else gets them back (`buffers`).
//!
//! *Windows* zeroes its free pages at boot, so that all its memory is touched at once (§6.3), and its *zero-page thread*
//! clears freed ones in idle seconds: that touches them, which looks like activity (the spike in Figure 6). What it has
//! cleared needs no fill at the first touch. Pages that its balloon gives back are among those freed: an idle guest touches
//! them. Its balloon driver is late, which is a setting of the driver.
//!
//! *Determinism.* Nothing is drawn at random. Translating references changes nothing but what is known of their pages'
//! use, and asking again about those not yet touched adds nothing to that: where a batch is cut does not matter.
//!
//! *Cost.* Memory of the model is made real as pages are used: some 20 bytes for a page of anonymous memory, 40 for a
//! clean block and 60 for one that is written; a copy of a guest has all of it. A fault takes constant time, but for
//! what making room passes over; deleting or flushing a file takes the time of its pages.
//!
//! # Numbers
//!
//! | what | value | from |
//! |---|---|---|
//! | kernel, tables, boot, expiry, rate of the zero-page thread | [`GuestConfig`] | said there |
//! | levels of the free list | a 128th of memory, 20 to 255 pages; twice; three times | Linux 2.4 |
//! | room made at a time | 32 pages | Linux's `SWAP_CLUSTER_MAX` |
//! | read-ahead | 4 pages at the second read in sequence, doubling to 32 | Linux: 128 KiB; the beginning chosen |
//! | dirty blocks before writers wait | 40 % of what is free, cached or anonymous | Linux 2.6 |
//! | the kernel's code and data in use | a quarter; 4 pages if no process runs | chosen: Linux 2.4's text is some 2 MiB |
//! | what the cache keeps while there is anonymous memory to take | a sixteenth of both | chosen |
//! | looks for each clean block | 8 | chosen |
//! | pages written in a second for a driver that sleeps | 2048 | chosen: its own rate asleep |
//! | what the driver never gets of reclaimable memory | the high level | chosen: a guest needs something to run in |
//!
//! # What is not modelled
//!
//! Kernel memory that grows (slab, page tables), huge pages, zones
//! and nodes, the length of files (read-ahead may pass the end), blocks written in part (a write to a block that is not cached reads nothing), read-ahead from swap and clean
//! copies there (a page that came back gives its slot up), processes apart from each other, priorities, whose a page
//! of memory was (whoever simulates processes says which pages one that ends gives back), the time that this takes.
//!
//! # Rooms
//!
//! `kernel` keeps the state and translates; `fault`, `reclaim`, `driver`, `buffers` and `boot` are what it does.
//! `anonymous` and `cache` with its `index` are where things are, `tables` what the kernel refers to of its own, `pool`
//! and [`order`] choose victims; `owners`, `free_list`, `slots`, `ring` and `marks` are plain data.

mod anonymous;
mod boot;
mod buffers;
mod cache;
mod default;
mod driver;
mod fault;
mod free_list;
mod index;
mod kernel;
mod marks;
pub mod order;
mod owners;
mod pool;
mod reclaim;
mod ring;
mod slots;
mod tables;

pub use boot::BOOT_FILE;
pub use default::DefaultGuest;
pub use kernel::Kernel;
pub use order::{Order, Replacement};

use crate::balloon::GuestOs;
use crate::config::{GuestConfig, GuestKind};
use crate::error::Error;
use crate::reference::MAX_TOUCHED_PAGES;
use crate::rng::Seed;

/// Most slots of a guest's own swap device.
pub const MAX_SWAP_PAGES: u32 = (1 << 31) - 1;

/// The guest of a configuration in a virtual machine of so many pages, as after power-on. `serial`, with the seed, tells
/// guests without an image apart.
///
/// # Errors
///
/// [`Error::Setting`] if the guest cannot have so few or so many pages, or so much swap space.
pub fn build(config: &GuestConfig, pages: u32, serial: u64, seed: &Seed) -> Result<Box<dyn GuestOs>, Error> {
    config.check(pages)?;
    if config.kind == GuestKind::Default {
        return Ok(Box::new(DefaultGuest::new("default")));
    }
    at_most("guest pages", pages, MAX_TOUCHED_PAGES)?;
    at_most("guest swap_pages", config.swap_pages.unwrap_or(0), MAX_SWAP_PAGES)?;
    Ok(Box::new(Kernel::new(config, pages, serial, seed)))
}

fn at_most(what: &'static str, value: u32, most: u32) -> Result<(), Error> {
    if value <= most {
        return Ok(());
    }
    Err(Error::Setting { what, value: value.to_string(), expected: format!("at most {most}") })
}

#[cfg(test)]
mod tests;
