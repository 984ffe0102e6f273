//! Trace formats: one decoder a file, from bytes to blocks of records. Written from the formats' published layouts.

mod csv;
mod oracle_general;

use std::path::Path;
use std::str::FromStr;

use crate::bytes::Bytes;
use crate::error::Error;

pub use oracle_general::RECORD_BYTES;

/// Records in a block, or a few more: its columns stay in the cache while they are worked on.
pub const BLOCK_RECORDS: usize = 4096;

/// The formats that files are read in.
pub const FORMATS: [Format; 2] = [Format::OracleGeneral, Format::Csv];

/// How a trace is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// libCacheSim's binary format, 24 bytes a record.
    OracleGeneral,
    /// Lines of text: a column of page numbers, perhaps one of writes, perhaps a header.
    Csv,
}

impl Format {
    /// Its name, as its authors spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OracleGeneral => "oracleGeneral",
            Self::Csv => "csv",
        }
    }

    /// The format that a file's name tells, if any; `.zst` at its end says nothing.
    #[must_use]
    pub fn of_name(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        let name = name.strip_suffix(".zst").unwrap_or(&name);
        match name.rsplit_once('.')?.1 {
            "csv" => Some(Self::Csv),
            "oraclegeneral" | "bin" => Some(Self::OracleGeneral),
            _ => None,
        }
    }

    /// The format that the first bytes of a file are likely of: text is lines, anything else are records.
    #[must_use]
    pub fn of_content(head: &[u8]) -> Self {
        let is_text = |byte: &u8| byte.is_ascii_graphic() || b" \t\r\n".contains(byte);
        let head = head.strip_prefix(csv::BYTE_ORDER_MARK).unwrap_or(head);
        if head.iter().all(is_text) { Self::Csv } else { Self::OracleGeneral }
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        FORMATS.into_iter().find(|format| format.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
            let expected = FORMATS.map(Self::name).join(", ");
            Error::UnknownFormat { name: name.chars().take(40).collect(), expected }
        })
    }
}

/// Some records, in columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// What page each refers to, by whatever number the file has.
    pub ids: Vec<u64>,
    /// Whether each writes; none if the file does not say.
    pub writes: Vec<bool>,
}

/// The decoder of a file.
pub struct Decoder(Kind);

enum Kind {
    OracleGeneral(oracle_general::Decoder),
    Csv(csv::Decoder),
}

impl Decoder {
    /// One that has read nothing yet.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self(match format {
            Format::OracleGeneral => Kind::OracleGeneral(oracle_general::Decoder::new()),
            Format::Csv => Kind::Csv(csv::Decoder::new()),
        })
    }

    /// Replaces `block` by the next records; it is left empty at the end.
    ///
    /// # Errors
    ///
    /// What is wrong with the next record, or with the bytes where it should stand; what comes after an error is not
    /// defined.
    pub fn next(&mut self, bytes: &mut Bytes, block: &mut Block) -> Result<(), Error> {
        block.ids.clear();
        block.writes.clear();
        match &mut self.0 {
            Kind::OracleGeneral(decoder) => decoder.next(bytes, block),
            Kind::Csv(decoder) => decoder.next(bytes, block),
        }
    }
}
