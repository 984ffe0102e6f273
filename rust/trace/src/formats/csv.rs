//! Lines of text: a reference each, its page in one column and perhaps in another whether it writes.
//!
//! Columns are separated by commas; space around a field and quotation marks do not count, lines without anything in them are
//! passed over. A first line whose first field is no number is a header: `page` is read, and `write` if there is one.
//! Without a header these are the first and the second column. Pages are decimal, or hexadecimal after `0x`; a write is
//! `1`, `w`, `write` or `true`, a read `0`, `r`, `read` or `false`, in any case.

use super::{BLOCK_RECORDS, Block};
use crate::bytes::Bytes;
use crate::error::Error;

pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Most bytes of a line: what is longer is no line of a trace.
const MAX_LINE_BYTES: usize = 4096;
const BUFFER_BYTES: usize = 1 << 16;
/// Most characters of a field in an error.
const SHOWN: usize = 40;

/// Where in a line the fields stand.
#[derive(Clone, Copy)]
struct Columns {
    page: usize,
    write: Option<usize>,
}

pub(super) struct Decoder {
    buffer: Vec<u8>,
    /// Of the buffer, what is filled and not yet decoded.
    rest: std::ops::Range<usize>,
    lines: u64,
    columns: Option<Columns>,
    records: u64,
}

impl Decoder {
    pub fn new() -> Self {
        Self { buffer: vec![0; BUFFER_BYTES], rest: 0..0, lines: 0, columns: None, records: 0 }
    }

    pub fn next(&mut self, bytes: &mut Bytes, block: &mut Block) -> Result<(), Error> {
        while block.ids.len() < BLOCK_RECORDS {
            match self.line(bytes)? {
                Some(line) => self.decode(line, block)?,
                None if self.records == 0 => return Err(Error::NoRecords),
                None => break,
            }
        }
        Ok(())
    }

    /// Where in the buffer the next line is.
    fn line(&mut self, bytes: &mut Bytes) -> Result<Option<std::ops::Range<usize>>, Error> {
        let mut end = self.line_end();
        if end.is_none() {
            self.refill(bytes)?;
            end = self.line_end();
        }
        let start = self.rest.start;
        let (line, next) = match end {
            Some(end) => (start..end, end + 1),
            None if self.rest.is_empty() => return Ok(None),
            None => (self.rest.clone(), self.rest.end),
        };
        self.lines += 1;
        if line.len() > MAX_LINE_BYTES {
            return Err(Error::LongLine { line: self.lines, most: MAX_LINE_BYTES });
        }
        self.rest.start = next;
        Ok(Some(line))
    }

    fn line_end(&self) -> Option<usize> {
        let end = self.buffer[self.rest.clone()].iter().position(|byte| *byte == b'\n');
        end.map(|end| self.rest.start + end)
    }

    fn refill(&mut self, bytes: &mut Bytes) -> Result<(), Error> {
        self.buffer.copy_within(self.rest.clone(), 0);
        let kept = self.rest.len();
        self.rest =
            0..kept + bytes.fill(&mut self.buffer[kept..]).map_err(|error| error.after(self.records))?;
        Ok(())
    }

    fn decode(&mut self, line: std::ops::Range<usize>, block: &mut Block) -> Result<(), Error> {
        let mut line = &self.buffer[line];
        if self.lines == 1 {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let columns = match self.columns {
            Some(columns) => columns,
            None => {
                let (columns, is_header) = columns(line)?;
                self.columns = Some(columns);
                if is_header {
                    return Ok(());
                }
                columns
            }
        };
        self.records += 1;
        block.ids.push(page(field(line, columns.page, columns, self.lines)?, self.lines)?);
        if let Some(column) = columns.write {
            block.writes.push(write(field(line, column, columns, self.lines)?, self.lines)?);
        }
        Ok(())
    }
}

/// What the first line says of the columns, and whether it is a header.
fn columns(line: &[u8]) -> Result<(Columns, bool), Error> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b',').map(bare).collect();
    if number(fields[0]).is_some() {
        return Ok((Columns { page: 0, write: (fields.len() > 1).then_some(1) }, false));
    }
    let named = |name: &[u8]| fields.iter().position(|field| field.eq_ignore_ascii_case(name));
    match named(b"page") {
        Some(page) => Ok((Columns { page, write: named(b"write") }, true)),
        None => Err(Error::NoPageColumn { columns: shown(line) }),
    }
}

fn field(line: &[u8], column: usize, columns: Columns, number: u64) -> Result<&[u8], Error> {
    let field = line.split(|byte| *byte == b',').nth(column);
    field.map(bare).ok_or_else(|| {
        let found = line.split(|byte| *byte == b',').count();
        Error::Columns { line: number, found, wanted: columns.page.max(columns.write.unwrap_or(0)) + 1 }
    })
}

fn page(field: &[u8], line: u64) -> Result<u64, Error> {
    number(field).ok_or_else(|| wrong(field, line, "page", "a page number from 0 to 2**64 - 1"))
}

fn write(field: &[u8], line: u64) -> Result<bool, Error> {
    let is_one_of = |words: [&str; 4]| words.iter().any(|word| field.eq_ignore_ascii_case(word.as_bytes()));
    match field {
        _ if is_one_of(["1", "w", "write", "true"]) => Ok(true),
        _ if is_one_of(["0", "r", "read", "false"]) => Ok(false),
        _ => Err(wrong(field, line, "write", "0 or 1, r or w, read or write, false or true")),
    }
}

fn wrong(field: &[u8], line: u64, column: &'static str, expected: &'static str) -> Error {
    Error::Field { line, column, text: shown(field), expected }
}

fn bare(field: &[u8]) -> &[u8] {
    let field = field.trim_ascii();
    let inside = field.strip_prefix(b"\"").and_then(|field| field.strip_suffix(b"\""));
    inside.unwrap_or(field).trim_ascii()
}

fn number(field: &[u8]) -> Option<u64> {
    match field {
        [b'0', b'x' | b'X', digits @ ..] => digit_sum(digits, 16),
        digits => digit_sum(digits, 10),
    }
}

fn digit_sum(digits: &[u8], base: u32) -> Option<u64> {
    let add = |sum: u64, digit: &u8| {
        sum.checked_mul(base.into())?.checked_add(char::from(*digit).to_digit(base)?.into())
    };
    if digits.is_empty() { None } else { digits.iter().try_fold(0, add) }
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).trim().chars().take(SHOWN).collect()
}
