//! The one error of the crate. Each variant is a fact with its numbers, and prints as one line.

use std::io;
use std::path::{Path, PathBuf};

use esxcore_core::types::{MAX_PAGES, PAGE_SIZE};
use thiserror::Error;

/// Why an image was refused or could not be read on.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// The file in which another error was found.
    #[error("{}: {fact}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What was found there.
        fact: Box<Error>,
    },
    /// No such file.
    #[error("there is no such file")]
    Missing,
    /// The file may not be read by this user.
    #[error("no permission to read it")]
    NoPermission,
    /// A directory where a file is needed.
    #[error("it is a directory; expected a memory image")]
    Directory,
    /// A pipe, socket or device where a file is needed.
    #[error("it is a {found}; expected a regular file")]
    NotAFile {
        /// What it is.
        found: &'static str,
    },
    /// A file without bytes.
    #[error("the file is empty")]
    Empty,
    /// The operating system could not open the file.
    #[error("it cannot be opened: {reason}")]
    NotOpened {
        /// What the system said.
        reason: String,
    },
    /// The operating system could not read the file.
    #[error("reading at byte {offset} failed: {reason}")]
    Unreadable {
        /// Where, in bytes.
        offset: u64,
        /// What the system said.
        reason: String,
    },
    /// The file ends before what its headers announce.
    #[error("truncated: {what} at byte {offset} needs {wanted} bytes, but the file has {size}")]
    Truncated {
        /// What was to be read.
        what: &'static str,
        /// Where it begins, in bytes.
        offset: u64,
        /// Its length in bytes.
        wanted: u64,
        /// Length of the file in bytes.
        size: u64,
    },
    /// The file became shorter after it was opened.
    #[error("truncated while it was read: it had {opened} bytes when opened, now it ends before byte {end}")]
    Shrunk {
        /// Its length when opened, in bytes.
        opened: u64,
        /// Bytes that should be there.
        end: u64,
    },
    /// A raw image that is no whole number of pages.
    #[error("the size is {size} bytes; expected a multiple of 4096")]
    NotWholePages {
        /// Length of the file in bytes.
        size: u64,
    },
    /// A field of a header outside its range.
    #[error("{what} at byte {offset} is {value}; expected {expected}")]
    Header {
        /// Name of the field.
        what: &'static str,
        /// Where it stands, in bytes.
        offset: u64,
        /// Its value.
        value: String,
        /// The range.
        expected: &'static str,
    },
    /// Two segments describe the same guest memory.
    #[error("segments overlap: one ends at guest address {end:#x}, the next begins at {start:#x}")]
    Overlap {
        /// End of the first, exclusive.
        end: u64,
        /// Beginning of the second.
        start: u64,
    },
    /// A segment that ends beyond the last 64-bit address.
    #[error("a segment at guest address {start:#x} has {size} bytes; expected it to end below 2**64")]
    Endless {
        /// Where it begins.
        start: u64,
        /// Its length in bytes.
        size: u64,
    },
    /// More data than the file can hold.
    #[error("segments name {data} bytes of data, but the file has {size}")]
    Lies {
        /// Bytes that the segments say there are.
        data: u64,
        /// Length of the file in bytes.
        size: u64,
    },
    /// More memory than an image can have.
    #[error("the image describes {pages} pages of memory; expected at most {MAX_PAGES}")]
    TooManyPages {
        /// Pages counted when this was found.
        pages: u64,
    },
    /// A well-formed file without guest memory in it.
    #[error("{format} without guest memory in it")]
    NoMemory {
        /// The format.
        format: &'static str,
    },
    /// A known format that is not read.
    #[error("it is {format}, which is not read; {hint}")]
    NotRead {
        /// The format.
        format: &'static str,
        /// How to make it readable.
        hint: &'static str,
    },
    /// A readable format that uses a feature which is not read.
    #[error("{format} with {feature} at byte {offset} is not read; {hint}")]
    NotReadFeature {
        /// The format.
        format: &'static str,
        /// The feature.
        feature: String,
        /// Where it was met, in bytes.
        offset: u64,
        /// How to make it readable.
        hint: &'static str,
    },
    /// A name that is no format.
    #[error("{name:?} is no image format; expected {expected}")]
    UnknownFormat {
        /// The name.
        name: String,
        /// The names of formats.
        expected: String,
    },
    /// The system lacks memory for the pages of an image or the index of a census.
    #[error("no room for the pages or their index: {reason}")]
    NoRoom {
        /// What the system said.
        reason: String,
    },
    /// The system gives no thread.
    #[error("no thread to read with: {reason}")]
    NoThread {
        /// What the system said.
        reason: String,
    },
    /// Too many pages for one census.
    #[error("{pages} pages in all; expected at most {most} in one census")]
    TooManyInAll {
        /// Pages of all sources.
        pages: u64,
        /// The limit.
        most: u64,
    },
    /// Columns of a census that do not fit.
    #[error("the images have {pages} pages, but rows for {numbers} were given")]
    Uncounted {
        /// Pages of the images.
        pages: u64,
        /// Rows given.
        numbers: u64,
    },
    /// The process in which another error was found.
    #[error("process {pid}: {fact}")]
    InProcess {
        /// Its number.
        pid: u32,
        /// What was found there.
        fact: Box<Error>,
    },
    /// No such process.
    #[error("there is no such process")]
    NoProcess,
    /// The memory of the process may not be read by this user.
    #[error(
        "no permission to read its memory; be the same user, or have CAP_SYS_PTRACE (needed if \
         kernel.yama.ptrace_scope is not 0)"
    )]
    NotPermitted,
    /// A thread of the kernel.
    #[error("it is a kernel thread, which has no memory of its own")]
    KernelThread,
    /// The process is no more, or runs another program.
    #[error("it has ended, or runs another program now")]
    Ended,
    /// A kernel that does not show what is needed of processes.
    #[error("this kernel shows no {name} of processes; expected one built with PROC_PAGE_MONITOR")]
    NotShown {
        /// Name of the file that is not there.
        name: &'static str,
    },
    /// A QEMU without guest memory that could be found.
    #[error("it is a QEMU, but none of its {mappings} mappings is guest memory")]
    NoGuestMemory {
        /// Mappings looked at.
        mappings: usize,
    },
    /// A system whose pages are not the pages of this crate.
    #[error("memory pages of this system have {found} bytes; expected {PAGE_SIZE}")]
    OtherPageSize {
        /// Bytes in a page of the system.
        found: usize,
    },
    /// Memory of processes is read through interfaces of Linux.
    #[error("memory of processes is read on Linux only")]
    LinuxOnly,
    /// The caller ended a long call.
    #[error("interrupted")]
    Interrupted,
    /// Pages beyond the end of an image.
    #[error("pages {first} to {} are out of range: the image has {pages}", first + count - 1)]
    OutOfRange {
        /// First page asked for.
        first: u64,
        /// Number of pages asked for, not zero.
        count: u64,
        /// Pages of the image.
        pages: u32,
    },
}

impl Error {
    /// The same fact, said of a file; an interruption is about none.
    #[must_use]
    pub fn in_file(self, path: &Path) -> Self {
        match self {
            Self::InFile { .. } | Self::Interrupted => self,
            fact => Self::InFile { path: path.to_path_buf(), fact: Box::new(fact) },
        }
    }

    /// The same fact, said of a process; an interruption is about none.
    #[must_use]
    pub fn in_process(self, pid: u32) -> Self {
        match self {
            Self::InProcess { .. } | Self::Interrupted => self,
            fact => Self::InProcess { pid, fact: Box::new(fact) },
        }
    }

    /// Refuses `count` pages from `first` on, unless they are among `pages`.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`].
    pub fn check_range(first: u32, count: u64, pages: u32) -> Result<(), Self> {
        let first = u64::from(first);
        if first + count > u64::from(pages) {
            return Err(Self::OutOfRange { first, count: count.max(1), pages });
        }
        Ok(())
    }

    /// The fact that an operating system error stands for, met while opening.
    #[must_use]
    pub fn from_opening(error: &io::Error) -> Self {
        match Self::from_io(error, 0) {
            Self::Unreadable { reason, .. } => Self::NotOpened { reason },
            fact => fact,
        }
    }

    /// The fact that an operating system error stands for, met at byte `offset`.
    #[must_use]
    pub fn from_io(error: &io::Error, offset: u64) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::PermissionDenied => Self::NoPermission,
            io::ErrorKind::IsADirectory => Self::Directory,
            _ => Self::Unreadable { offset, reason: error.to_string() },
        }
    }
}
