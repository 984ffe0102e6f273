//! Trace files opened: their format found, their records given in blocks, their name put into errors.

use std::path::{Path, PathBuf};

use crate::bytes::Bytes;
use crate::error::Error;
use crate::formats::{Block, Decoder, Format};

/// First bytes looked at to tell text from records.
const HEAD_BYTES: usize = 512;

/// A trace file that is read from its first record to its last.
pub struct Reader {
    path: PathBuf,
    bytes: Bytes,
    decoder: Decoder,
    format: Format,
    records: u64,
}

impl Reader {
    /// Opens a file of the format given, or of the one that its name or else its first bytes tell.
    ///
    /// # Errors
    ///
    /// If there is no regular file, or it cannot be read or has no bytes; all name the file.
    pub fn open(path: &Path, format: Option<Format>) -> Result<Self, Error> {
        Self::open_bare(path, format).map_err(|error| error.in_file(path))
    }

    fn open_bare(path: &Path, format: Option<Format>) -> Result<Self, Error> {
        let mut bytes = Bytes::open(path)?;
        let head = bytes.peek(HEAD_BYTES)?;
        if head.is_empty() {
            return Err(Error::Empty);
        }
        let format = format.or_else(|| Format::of_name(path)).unwrap_or_else(|| Format::of_content(head));
        let decoder = Decoder::new(format);
        Ok(Self { path: path.to_path_buf(), bytes, decoder, format, records: 0 })
    }

    /// The format of the file.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Records read so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Replaces `block` by the next records; returns whether there are any.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, and at which record; all name the file. What comes after an error is not defined.
    pub fn next(&mut self, block: &mut Block) -> Result<bool, Error> {
        let next = self.decoder.next(&mut self.bytes, block);
        next.map_err(|error| error.in_file(&self.path))?;
        self.records += block.ids.len() as u64;
        Ok(!block.ids.is_empty())
    }

    /// The error, said of this file.
    #[must_use]
    pub fn blame(&self, error: Error) -> Error {
        error.in_file(&self.path)
    }
}
