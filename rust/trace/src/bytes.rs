//! The bytes of a trace file, one after the other, unpacked on the way if zstd packed them.
//!
//! A file is read by `read` and not mapped, as images are: one that shrinks is an error and not a signal, and what is
//! appended after it was opened is no part of it. Whether it is packed is seen from its first bytes. A packed file is a
//! sequence of frames; skippable ones are skipped, and the checksum of a frame is compared if it has one.
//!
//! Key type: [`Bytes`]. The window of a frame, which is held in memory, may be 128 MiB, as zstd's own tool has it.

use std::fs::{self, File, FileType};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::error::Error;

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const MAX_WINDOW_BYTES: u64 = 1 << 27;
/// Read from a packed file at a time.
const PACKED_BYTES: usize = 1 << 17;

/// The bytes of a file, to be read once.
pub struct Bytes {
    /// What was read to look at it.
    head: Vec<u8>,
    stream: Stream,
    /// Bytes that came out of the stream.
    given: u64,
}

enum Stream {
    Plain(Limited),
    Packed(Box<Frames>),
}

impl Bytes {
    /// Opens a regular file.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::NoPermission`], [`Error::NotAFile`], [`Error::Empty`] or [`Error::NotOpened`], and
    /// what reading the first bytes meets.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let mut file = Limited::open(path)?;
        let mut head = vec![0; ZSTD_MAGIC.len().min(file.len as usize)];
        file.read_exact(&mut head).map_err(|error| file.error(&error))?;
        if head != ZSTD_MAGIC {
            let given = head.len() as u64;
            return Ok(Self { head, stream: Stream::Plain(file), given });
        }
        let frames = Frames::new(Limited::open(path)?);
        Ok(Self { head: vec![], stream: Stream::Packed(Box::new(frames)), given: 0 })
    }

    /// Whether they are unpacked on the way.
    #[must_use]
    pub fn is_packed(&self) -> bool {
        matches!(self.stream, Stream::Packed(_))
    }

    /// Bytes that there were before the end or the error that was met.
    #[must_use]
    pub fn given(&self) -> u64 {
        self.given
    }

    /// The first bytes, up to `len`, which are still there to be read. To be asked before anything is read.
    ///
    /// # Errors
    ///
    /// As [`Bytes::fill`].
    pub fn peek(&mut self, len: usize) -> Result<&[u8], Error> {
        let mut head = vec![0; len];
        let found = self.fill(&mut head)?;
        head.truncate(found);
        self.head = head;
        Ok(&self.head)
    }

    /// Fills `buffer`; returns how many bytes there were, fewer only at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Shrunk`], [`Error::Unreadable`], [`Error::CutFrame`] or [`Error::Damaged`].
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut filled = self.head.len().min(buffer.len());
        let rest = self.head.split_off(filled);
        buffer[..filled].copy_from_slice(&std::mem::replace(&mut self.head, rest));
        while filled < buffer.len() {
            let read = match &mut self.stream {
                Stream::Plain(file) => {
                    file.read(&mut buffer[filled..]).map_err(|error| file.error(&error))?
                }
                Stream::Packed(frames) => frames.read(&mut buffer[filled..])?,
            };
            if read == 0 {
                break;
            }
            filled += read;
            self.given += read as u64;
        }
        Ok(filled)
    }
}

/// A regular file as long as it was when it was opened.
struct Limited {
    file: File,
    len: u64,
    read: u64,
}

impl Limited {
    fn open(path: &Path) -> Result<Self, Error> {
        // Before opening, because opening a pipe waits for somebody to write into it; and after it, because what is
        // opened may be another file by then.
        let metadata = fs::metadata(path).map_err(|error| Error::from_opening(&error))?;
        regular(metadata.file_type())?;
        let file = File::open(path).map_err(|error| Error::from_opening(&error))?;
        let metadata = file.metadata().map_err(|error| Error::from_opening(&error))?;
        regular(metadata.file_type())?;
        match metadata.len() {
            0 => Err(Error::Empty),
            len => Ok(Self { file, len, read: 0 }),
        }
    }

    /// The fact behind an error of reading.
    fn error(&self, error: &io::Error) -> Error {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Error::Shrunk { opened: self.len, end: self.read };
        }
        Error::Unreadable { offset: self.read, reason: error.to_string() }
    }
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.len - self.read).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let read = self.file.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read += read as u64;
        Ok(read)
    }
}

fn regular(kind: FileType) -> Result<(), Error> {
    let found = match kind {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_dir() => "directory",
        kind if kind.is_fifo() => "pipe",
        kind if kind.is_socket() => "socket",
        _ => "device",
    };
    Err(Error::NotAFile { found })
}

/// The frames of a packed file.
struct Frames {
    file: BufReader<Limited>,
    decoder: FrameDecoder,
    inside: bool,
}

impl Frames {
    fn new(file: Limited) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW_BYTES);
        Self { file: BufReader::with_capacity(PACKED_BYTES, file), decoder, inside: false }
    }

    /// Some unpacked bytes, none only at the end.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            if !self.inside && !self.enter()? {
                return Ok(0);
            }
            if self.decoder.can_collect() > 0 {
                let read = self.decoder.read(buffer);
                return read.map_err(|error| self.damaged(error.to_string()));
            }
            if self.decoder.is_finished() {
                self.leave()?;
            } else {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                let decoded = self.decoder.decode_blocks(&mut self.file, one);
                decoded.map_err(|error| self.fact(&error))?;
            }
        }
    }

    /// Begins the next frame that is not skipped; returns whether there is one.
    fn enter(&mut self) -> Result<bool, Error> {
        while !self.is_at_end() {
            match self.decoder.init(&mut self.file) {
                Ok(()) => {
                    self.inside = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => self.skip(length)?,
                Err(error) => return Err(self.fact(&error)),
            }
        }
        Ok(false)
    }

    /// The frame is over.
    fn leave(&mut self) -> Result<(), Error> {
        self.inside = false;
        let written = self.decoder.get_checksum_from_data();
        if written.is_some() && written != self.decoder.get_calculated_checksum() {
            return Err(self.damaged("the checksum of the frame differs".into()));
        }
        Ok(())
    }

    fn skip(&mut self, length: u32) -> Result<(), Error> {
        let skipped = io::copy(&mut Read::by_ref(&mut self.file).take(length.into()), &mut io::sink());
        match skipped {
            Ok(bytes) if bytes == u64::from(length) => Ok(()),
            Ok(_) => Err(self.cut()),
            Err(error) => Err(self.file.get_ref().error(&error)),
        }
    }

    fn is_at_end(&self) -> bool {
        let file = self.file.get_ref();
        self.file.buffer().is_empty() && file.read == file.len
    }

    /// The fact behind an error of the decoder: it tells apart neither a file that ends from one that is damaged, nor
    /// either from one that cannot be read.
    fn fact(&self, error: &FrameDecoderError) -> Error {
        let mut cause: &dyn std::error::Error = error;
        loop {
            if let Some(error) = cause.downcast_ref::<io::Error>() {
                let file = self.file.get_ref();
                let ended = error.kind() == io::ErrorKind::UnexpectedEof && file.read == file.len;
                return if ended { self.cut() } else { file.error(error) };
            }
            match cause.source() {
                Some(source) => cause = source,
                None => return self.damaged(cause.to_string()),
            }
        }
    }

    fn cut(&self) -> Error {
        Error::CutFrame { size: self.file.get_ref().len, records: 0 }
    }

    /// Reasons of the decoder are one line here.
    fn damaged(&self, reason: String) -> Error {
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        let ahead = self.file.buffer().len() as u64;
        Error::Damaged { offset: self.file.get_ref().read - ahead, reason, records: 0 }
    }
}
