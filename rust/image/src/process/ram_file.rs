//! Guest memory that is a file in memory, read without QEMU.

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use crate::error::Error;
use crate::map::PAGE_BYTES;
use crate::process::smaps::Mapping;
use crate::source::Source;

/// What `statfs` calls files in memory: /dev/shm, memfd, shared anonymous memory.
const TMPFS: u64 = 0x0102_1994;

/// The file of a mapping.
#[derive(Debug)]
pub struct RamFile {
    source: Source,
    /// What to subtract from an address to get the place in the file; wraps around.
    shift: u64,
}

impl RamFile {
    /// Opens the file of a shared mapping of process `pid`, if it is one in memory, none of it is in swap, and this
    /// user may.
    ///
    /// The file may have lost its name, or have another one where we look, so it is opened through the mapping or, for
    /// which privilege is not needed, through a descriptor that the process still has.
    pub fn open(pid: u32, mapping: &Mapping) -> Option<Self> {
        if !mapping.is_shared() || mapping.inode == 0 || mapping.swapped > 0 {
            return None;
        }
        let by_mapping = format!("/proc/{pid}/map_files/{:x}-{:x}", mapping.start, mapping.end);
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
        let by_descriptor = descriptors.filter_map(|entry| Some(entry.ok()?.path()));
        let mut paths = std::iter::once(PathBuf::from(by_mapping)).chain(by_descriptor);
        let file = paths.find_map(|path| open_same(&path, mapping))?;
        let len = file.metadata().ok()?.len() / PAGE_BYTES * PAGE_BYTES;
        let shift = mapping.start.wrapping_sub(mapping.offset);
        Some(Self { source: Source::File { file, len }, shift })
    }

    /// The parts of these addresses, whole pages, that are allocated in the file.
    ///
    /// # Errors
    ///
    /// [`Error::Unreadable`].
    pub fn allocated(&self, addresses: Range<u64>) -> Result<Vec<Range<u64>>, Error> {
        let place = |address: u64| address.wrapping_sub(self.shift).min(self.source.len());
        let extents = self.source.extents_in(place(addresses.start)..place(addresses.end))?;
        let page = |at: u64| at.wrapping_add(self.shift).next_multiple_of(PAGE_BYTES);
        Ok(extents.iter().map(|extent| page(extent.start)..page(extent.end)).collect())
    }

    /// Fills `buffer` with the bytes at `address`, which are allocated.
    ///
    /// # Errors
    ///
    /// [`Error::Shrunk`] or [`Error::Unreadable`].
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.source.read_into("guest memory", address.wrapping_sub(self.shift), buffer)
    }
}

/// Opens what stands at `path` if it is the file of the mapping. Looks before opening, because opening the device of
/// some descriptor could have effects.
fn open_same(path: &Path, mapping: &Mapping) -> Option<File> {
    let is_same = |stat: &rustix::fs::Stat| {
        let device = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
        device == mapping.device && stat.st_ino == mapping.inode
    };
    rustix::fs::stat(path).ok().filter(is_same)?;
    let file = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    rustix::fs::fstat(&file).ok().filter(is_same)?;
    let is_in_memory = rustix::fs::fstatfs(&file).ok()?.f_type as u64 == TMPFS;
    is_in_memory.then(|| File::from(file))
}
