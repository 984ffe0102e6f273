//! Opens a process and reads its pages.

use std::sync::atomic::{AtomicU64, Ordering};

use esxcore_core::types::{PAGE_SIZE, Page};

use crate::error::Error;
use crate::map::{PAGE_BYTES, Run, RunKind};
use crate::pages::Pages;
use crate::process::qemu::{self, Asked};
use crate::process::ram_file::RamFile;
use crate::process::smaps::{self, Mapping};
use crate::process::space::{Space, is_present};
use crate::process::spans::Spans;
use crate::process::{Backing, Kind, Region};
use crate::source::Pulse;

/// Pages whose presence is looked up together when a process is opened: 256 MiB.
const LOOK_PAGES: usize = 1 << 16;
/// Pages whose presence is looked up right before they are read: 2 MiB.
const PIECE_PAGES: usize = 512;

/// A running process.
///
/// Several threads may read at once. Cost: 16 bytes for each run of present pages.
#[derive(Debug)]
pub struct Process {
    space: Space,
    kind: Kind,
    regions: Vec<Region>,
    /// The file of each region, if it is read from one.
    files: Vec<Option<RamFile>>,
    spans: Spans,
    lost: AtomicU64,
}

impl Process {
    /// Opens a process and finds its present pages.
    ///
    /// Cost: about 8 ms for each GiB that is mapped, more where pages are present.
    ///
    /// # Errors
    ///
    /// [`Error::InProcess`] with the number and [`Error::NoProcess`], [`Error::NotPermitted`], [`Error::KernelThread`],
    /// [`Error::Ended`], [`Error::NoGuestMemory`], [`Error::TooManyPages`], [`Error::OtherPageSize`], or
    /// [`Error::Header`] or [`Error::Unreadable`] if the kernel shows what is not understood.
    pub fn open(pid: u32) -> Result<Self, Error> {
        Self::open_with(pid, &mut || Ok(()))
    }

    /// As [`Process::open`], with `pulse` called for each 256 MiB that may be present.
    ///
    /// # Errors
    ///
    /// As [`Process::open`], and what `pulse` returns.
    pub fn open_with(pid: u32, pulse: Pulse<'_>) -> Result<Self, Error> {
        Self::look(pid, pulse).map_err(|error| error.in_process(pid))
    }

    fn look(pid: u32, pulse: Pulse<'_>) -> Result<Self, Error> {
        let found = rustix::param::page_size();
        if found != PAGE_SIZE {
            return Err(Error::OtherPageSize { found });
        }
        let space = Space::open(pid)?;
        let kind = space.kind()?;
        let taken = taken(&space, kind)?;
        let mut process = Self {
            space,
            kind,
            regions: vec![],
            files: vec![],
            spans: Spans::default(),
            lost: AtomicU64::new(0),
        };
        for mapping in taken {
            process.add(mapping, pulse)?;
        }
        process.spans.shrink();
        Ok(process)
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.space.pid()
    }

    /// What it is, which decides what was taken.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The mappings taken, in the order of their addresses; some may have no present page.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Pages of all regions that were never touched or given back.
    #[must_use]
    pub fn absent_pages(&self) -> u64 {
        self.regions.iter().map(Region::absent).sum()
    }

    /// Pages of all regions that were in swap.
    #[must_use]
    pub fn swapped_pages(&self) -> u64 {
        self.regions.iter().map(|region| region.swapped).sum()
    }

    /// How often a page was to be read that had gone since the process was opened, and read zero for that.
    #[must_use]
    pub fn lost_pages(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// The address of a page in the process.
    ///
    /// # Errors
    ///
    /// [`Error::InProcess`] with [`Error::OutOfRange`].
    pub fn address(&self, page: u32) -> Result<u64, Error> {
        self.check(page, 1)?;
        Ok(self.frame(page) * PAGE_BYTES)
    }

    /// Refuses pages that are not there.
    fn check(&self, first: u32, count: u64) -> Result<(), Error> {
        Error::check_range(first, count, self.pages()).map_err(|error| error.in_process(self.pid()))
    }

    /// Adds a mapping and its present pages.
    fn add(&mut self, mapping: Mapping, pulse: Pulse<'_>) -> Result<(), Error> {
        let file = if self.kind == Kind::Qemu { RamFile::open(self.pid(), &mapping) } else { None };
        let first = self.pages();
        match &file {
            Some(file) => {
                for extent in file.allocated(mapping.start..mapping.end)? {
                    self.spans.push(extent.start / PAGE_BYTES, (extent.end - extent.start) / PAGE_BYTES)?;
                }
            }
            // Where nothing is resident only the zero page can be present, and address space may be endless.
            None if mapping.resident > 0 => self.add_mapped(&mapping, pulse)?,
            None => {}
        }
        let pages = self.pages() - first;
        let backing = if file.is_some() { Backing::File } else { Backing::Mapped };
        let zero_mapped = match backing {
            Backing::File => 0,
            Backing::Mapped => u64::from(pages).saturating_sub(mapping.resident),
        };
        let Mapping { start, end, name, swapped, .. } = mapping;
        self.regions.push(Region { start, end, name, backing, first, pages, swapped, zero_mapped });
        self.files.push(file);
        Ok(())
    }

    /// Adds the pages of a mapping that the process has mapped.
    fn add_mapped(&mut self, mapping: &Mapping, pulse: Pulse<'_>) -> Result<(), Error> {
        let (mut frame, end) = (mapping.start / PAGE_BYTES, mapping.end / PAGE_BYTES);
        let mut entries = vec![0; (end - frame).min(LOOK_PAGES as u64) as usize];
        while frame < end {
            pulse()?;
            let some = (end - frame).min(entries.len() as u64) as usize;
            let entries = &mut entries[..some];
            self.space.present(frame, entries)?;
            for alike in entries.chunk_by(|one, next| is_present(*one) == is_present(*next)) {
                if is_present(alike[0]) {
                    self.spans.push(frame, alike.len() as u64)?;
                }
                frame += alike.len() as u64;
            }
        }
        Ok(())
    }

    /// The address of a page that exists, in pages.
    fn frame(&self, page: u32) -> u64 {
        let first_run = self.spans.runs(page).next();
        first_run.map_or_else(|| unreachable!("the page was found to exist"), |(frame, _)| frame)
    }

    fn read(&self, mut first: u32, mut buffer: &mut [Page]) -> Result<(), Error> {
        while !buffer.is_empty() {
            let at = self.regions.partition_point(|region| region.first + region.pages <= first);
            let region = &self.regions[at];
            let in_region = (region.first + region.pages - first) as usize;
            let pages = self.piece(first, in_region.min(buffer.len()));
            let (piece, rest) = buffer.split_at_mut(pages);
            self.read_piece(first, piece, self.files[at].as_ref())?;
            first += pages as u32;
            buffer = rest;
        }
        // What was read is of this process, if it is still there now.
        self.space.present(0, &mut [0])
    }

    /// How many pages from `first` on, `most` at most, stand within [`PIECE_PAGES`] pages of address space.
    fn piece(&self, first: u32, most: usize) -> usize {
        let end = self.frame(first) + PIECE_PAGES as u64;
        let near = self.spans.runs(first).take_while(|(frame, _)| *frame < end);
        let mut pages = 0;
        for (frame, run) in near {
            pages += u64::from(run).min(end - frame) as usize;
            if pages >= most {
                return most;
            }
        }
        pages
    }

    /// Reads pages that stand near each other in one region.
    fn read_piece(&self, first: u32, buffer: &mut [Page], file: Option<&RamFile>) -> Result<(), Error> {
        let start = self.frame(first);
        let mut present = [false; PIECE_PAGES];
        let last = self.frame(first + buffer.len() as u32 - 1);
        let present = &mut present[..=(last - start) as usize];
        self.look_again(start, present, file)?;
        let mut rest = buffer;
        for (frame, run) in self.spans.runs(first) {
            if rest.is_empty() {
                break;
            }
            let (pages, later) = rest.split_at_mut(rest.len().min(run as usize));
            let at = (frame - start) as usize;
            self.read_run(frame, pages, &present[at..at + pages.len()], file)?;
            rest = later;
        }
        Ok(())
    }

    /// Says which pages from `start` on are present now.
    fn look_again(&self, start: u64, present: &mut [bool], file: Option<&RamFile>) -> Result<(), Error> {
        let Some(file) = file else {
            let mut entries = [0; PIECE_PAGES];
            let entries = &mut entries[..present.len()];
            self.space.present(start, entries)?;
            present.iter_mut().zip(entries).for_each(|(present, entry)| *present = is_present(*entry));
            return Ok(());
        };
        let end = start + present.len() as u64;
        for extent in file.allocated(start * PAGE_BYTES..end * PAGE_BYTES)? {
            let place = |address: u64| (address / PAGE_BYTES).min(end).saturating_sub(start) as usize;
            present[place(extent.start)..place(extent.end)].fill(true);
        }
        Ok(())
    }

    /// Reads pages next to each other, those that are still `present`.
    fn read_run(
        &self,
        mut frame: u64,
        mut pages: &mut [Page],
        present: &[bool],
        file: Option<&RamFile>,
    ) -> Result<(), Error> {
        for alike in present.chunk_by(|one, next| one == next) {
            let (now, later) = pages.split_at_mut(alike.len());
            match file {
                _ if !alike[0] => self.lose(now),
                Some(file) => file.read(frame * PAGE_BYTES, now.as_flattened_mut())?,
                None => self.read_present(frame * PAGE_BYTES, now)?,
            }
            frame += alike.len() as u64;
            pages = later;
        }
        Ok(())
    }

    /// Reads pages that were present a moment ago.
    fn read_present(&self, address: u64, pages: &mut [Page]) -> Result<(), Error> {
        let mut done = 0;
        while done < pages.len() * PAGE_SIZE {
            let rest = &mut pages.as_flattened_mut()[done..];
            match self.space.read(address + done as u64, rest)? {
                Some(more) => done += more,
                None => {
                    let page = done / PAGE_SIZE;
                    self.lose(&mut pages[page..=page]);
                    done = (page + 1) * PAGE_SIZE;
                }
            }
        }
        Ok(())
    }

    /// Fills pages that have gone.
    fn lose(&self, pages: &mut [Page]) {
        pages.as_flattened_mut().fill(0);
        self.lost.fetch_add(pages.len() as u64, Ordering::Relaxed);
    }
}

impl Pages for Process {
    /// Present pages.
    fn pages(&self) -> u32 {
        self.spans.pages()
    }

    /// All have data; errors are [`Error::InProcess`].
    fn run(&self, first: u32, most: u32) -> Result<Run, Error> {
        self.check(first, 1)?;
        Ok(Run { first, pages: most.min(self.pages() - first), kind: RunKind::Data })
    }

    /// Fastest for 256 pages or more at once. A failure is an [`Error::InProcess`] with [`Error::OutOfRange`],
    /// [`Error::Ended`], [`Error::NotPermitted`], [`Error::Shrunk`] or [`Error::Unreadable`].
    fn read_pages(&self, first: u32, buffer: &mut [Page]) -> Result<(), Error> {
        self.check(first, buffer.len() as u64)?;
        self.read(first, buffer).map_err(|error| error.in_process(self.pid()))
    }

    /// Aligned by address: the large pages of the process.
    fn frame_run(&self, page: u32) -> Result<(u64, u32), Error> {
        self.check(page, 1)?;
        let run = self.spans.runs(page).next();
        Ok(run.unwrap_or_else(|| unreachable!("the page is in a run")))
    }
}

/// The mappings to take.
fn taken(space: &Space, kind: Kind) -> Result<Vec<Mapping>, Error> {
    let mappings = smaps::parse(&space.text("smaps")?)?;
    if mappings.is_empty() {
        return Err(Error::Ended);
    }
    if kind == Kind::Plain {
        return Ok(mappings.into_iter().filter(Mapping::is_memory).collect());
    }
    let count = mappings.len();
    let guest = qemu::guest_memory(mappings, &Asked::read(&space.text("cmdline")?));
    if guest.is_empty() { Err(Error::NoGuestMemory { mappings: count }) } else { Ok(guest) }
}
