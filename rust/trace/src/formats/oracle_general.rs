//! libCacheSim's oracleGeneral: records of 24 bytes, little-endian and packed.
//!
//! | bytes | field |
//! |---|---|
//! | 0 to 3 | time in seconds, not used |
//! | 4 to 11 | id of what is referred to |
//! | 12 to 15 | its size, not used: every page has the same |
//! | 16 to 23 | which request refers to it next, signed; -1 for none |
//!
//! There is neither a header nor a checksum. What tells other files is the last field, which is never below -1.

use super::{BLOCK_RECORDS, Block};
use crate::bytes::Bytes;
use crate::error::Error;

/// Bytes of a record.
pub const RECORD_BYTES: usize = 24;

pub(super) struct Decoder {
    buffer: Vec<u8>,
    records: u64,
}

impl Decoder {
    pub fn new() -> Self {
        Self { buffer: vec![0; BLOCK_RECORDS * RECORD_BYTES], records: 0 }
    }

    pub fn next(&mut self, bytes: &mut Bytes, block: &mut Block) -> Result<(), Error> {
        let filled = bytes.fill(&mut self.buffer);
        let filled = filled.map_err(|error| error.after(bytes.given() / RECORD_BYTES as u64))?;
        let (records, rest) = self.buffer[..filled].as_chunks::<RECORD_BYTES>();
        let mut least = -1;
        block.ids.extend(records.iter().map(|record| {
            least = least.min(next_access(record));
            id(record)
        }));
        if least < -1 {
            return Err(self.lost(records));
        }
        self.records += records.len() as u64;
        if rest.is_empty() {
            return Ok(());
        }
        let (found, wanted) = (rest.len() as u64, RECORD_BYTES as u64);
        Err(Error::Truncated { record: self.records, found, wanted })
    }

    /// The first record whose next access lies nowhere.
    fn lost(&self, records: &[[u8; RECORD_BYTES]]) -> Error {
        let wrong = (self.records..).zip(records).find(|(_, record)| next_access(record) < -1);
        let (record, bytes) = wrong.unwrap_or_else(|| unreachable!("one of them is below -1"));
        Error::NextAccess { record, found: next_access(bytes) }
    }
}

#[inline]
fn id(record: &[u8; RECORD_BYTES]) -> u64 {
    let [_, _, _, _, a, b, c, d, e, f, g, h, ..] = *record;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[inline]
fn next_access(record: &[u8; RECORD_BYTES]) -> i64 {
    let [.., a, b, c, d, e, f, g, h] = *record;
    i64::from_le_bytes([a, b, c, d, e, f, g, h])
}
