//! The one error of the crate. Each variant is a fact with its numbers, and prints as one line.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Most different pages of a trace: what a memory can be made of.
pub const MAX_DISTINCT: u32 = 3 << 30;

/// Called now and then by long walks over a trace; an error, such as [`Error::Interrupted`], ends the walk.
pub type Pulse<'a> = &'a mut dyn FnMut() -> Result<(), Error>;

/// Why a trace was refused or could not be read on. Records and bytes are counted from 0, lines from 1.
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
    /// Something else where a file is needed.
    #[error("it is a {found}; expected a regular file")]
    NotAFile {
        /// What it is.
        found: &'static str,
    },
    /// A file without bytes, or one that unpacks to none.
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
    /// The file became shorter after it was opened.
    #[error("truncated while it was read: it had {opened} bytes when opened, now it ends at byte {end}")]
    Shrunk {
        /// Its length when opened, in bytes.
        opened: u64,
        /// Its length now.
        end: u64,
    },
    /// A file that ends in the middle of a record.
    #[error("truncated: record {record} has {found} bytes; expected {wanted}")]
    Truncated {
        /// Number of the record.
        record: u64,
        /// Bytes of it that there are.
        found: u64,
        /// Bytes that it should have.
        wanted: u64,
    },
    /// A packed file that ends in the middle of its data.
    #[error(
        "truncated: the packed data end at byte {size} in the middle of a zstd frame; {records} records were read"
    )]
    CutFrame {
        /// Length of the file in bytes.
        size: u64,
        /// Records that were unpacked and read before.
        records: u64,
    },
    /// Data that zstd did not write.
    #[error("damaged: near byte {offset} are no zstd data ({reason}); {records} records were read")]
    Damaged {
        /// About where in the file, in bytes.
        offset: u64,
        /// What the decoder said.
        reason: String,
        /// Records that were unpacked and read before.
        records: u64,
    },
    /// A record whose next access lies nowhere.
    #[error(
        "record {record} names {found} as its next access; expected -1 or more: it is no oracleGeneral file"
    )]
    NextAccess {
        /// Number of the record.
        record: u64,
        /// What it names.
        found: i64,
    },
    /// A line without the column that is read.
    #[error("line {line} has {found} columns; expected {wanted} or more")]
    Columns {
        /// Number of the line.
        line: u64,
        /// Its columns.
        found: usize,
        /// Columns needed.
        wanted: usize,
    },
    /// A field that is not what its column holds.
    #[error("line {line}: {column} is {text:?}; expected {expected}")]
    Field {
        /// Number of the line.
        line: u64,
        /// Name of the column.
        column: &'static str,
        /// What stands there, shortened.
        text: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// A header without a column of pages.
    #[error("line 1 names the columns {columns:?}; expected one of them to be \"page\"")]
    NoPageColumn {
        /// The names, shortened.
        columns: String,
    },
    /// A line beyond all sense.
    #[error("line {line} is longer than {most} bytes")]
    LongLine {
        /// Number of the line.
        line: u64,
        /// Bytes a line may have.
        most: usize,
    },
    /// A header and nothing else.
    #[error("it has no records")]
    NoRecords,
    /// A name that is no format.
    #[error("{name:?} is no trace format; expected {expected}")]
    UnknownFormat {
        /// The name.
        name: String,
        /// The names of formats.
        expected: String,
    },
    /// More pages than a trace can have.
    #[error(
        "record {record} refers to one more page than the {MAX_DISTINCT} different ones that a trace may have"
    )]
    TooManyPages {
        /// Number of the record.
        record: u64,
    },
    /// A memory without pages.
    #[error("a memory of {pages} pages; expected 1 or more")]
    NoMemory {
        /// Pages asked for.
        pages: u32,
    },
    /// The system lacks memory for a trace or for what is known of its pages.
    #[error("no room for the trace: {reason}")]
    NoRoom {
        /// What the system said.
        reason: String,
    },
    /// The caller ended a long call.
    #[error("interrupted")]
    Interrupted,
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

    /// The same fact, met after so many records.
    #[must_use]
    pub fn after(self, records: u64) -> Self {
        match self {
            Self::CutFrame { size, .. } => Self::CutFrame { size, records },
            Self::Damaged { offset, reason, .. } => Self::Damaged { offset, reason, records },
            other => other,
        }
    }

    /// The fact that an operating system error stands for, met while opening.
    #[must_use]
    pub fn from_opening(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::PermissionDenied => Self::NoPermission,
            _ => Self::NotOpened { reason: error.to_string() },
        }
    }
}

impl From<esxcore_core::error::Error> for Error {
    /// What the core refuses here is memory that the system does not give.
    fn from(error: esxcore_core::error::Error) -> Self {
        match error {
            esxcore_core::error::Error::Interrupted => Self::Interrupted,
            other => Self::NoRoom { reason: other.to_string() },
        }
    }
}
