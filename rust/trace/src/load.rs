//! Whole traces with dense page numbers: every page gets the next number when it is first referred to.

use std::path::Path;

use esxcore_core::page_trace::{PageTrace, Records};

use crate::error::{Error, MAX_DISTINCT, Pulse};
use crate::formats::{BLOCK_RECORDS, Block, Format};
use crate::index::{Index, Tag};
use crate::reader::Reader;

/// How many records ahead the slots of ids are asked for, and half of it ahead the ids in them.
const AHEAD: usize = 32;

/// Reads a file as a whole: four bytes a record are kept, and a bit if it knows of writes.
///
/// # Errors
///
/// What is wrong with the file, and at which record; [`Error::NoRoom`]; or what `pulse` returns.
pub fn load(path: &Path, format: Option<Format>, pulse: Pulse<'_>) -> Result<PageTrace, Error> {
    let mut reader = Reader::open(path, format)?;
    let (mut numbers, mut block, mut trace) = (Numbers::new()?, Block::default(), PageTrace::new());
    let mut pages = vec![];
    while reader.next(&mut block)? {
        pulse()?;
        numbers.number(&block.ids, &mut pages).map_err(|error| reader.blame(error))?;
        let writes = (!block.writes.is_empty()).then_some(&block.writes[..]);
        trace.append(Records { pages: &pages, runs: None, writes })?;
    }
    Ok(trace)
}

/// The trace of columns that are in memory already: ids of pages, references of each record, whether it writes.
///
/// # Errors
///
/// [`Error::NoRoom`], [`Error::TooManyPages`], or what `pulse` returns.
///
/// # Panics
///
/// If columns have different lengths or hold a run of 0.
pub fn from_columns(
    ids: &[u64],
    runs: Option<&[u32]>,
    writes: Option<&[bool]>,
    pulse: Pulse<'_>,
) -> Result<PageTrace, Error> {
    let (mut numbers, mut trace, mut pages) = (Numbers::new()?, PageTrace::new(), vec![]);
    for (part, ids) in ids.chunks(BLOCK_RECORDS).enumerate() {
        pulse()?;
        numbers.number(ids, &mut pages)?;
        let here = part * BLOCK_RECORDS..part * BLOCK_RECORDS + ids.len();
        let (runs, writes) =
            (runs.map(|runs| &runs[here.clone()]), writes.map(|writes| &writes[here.clone()]));
        trace.append(Records { pages: &pages, runs, writes })?;
    }
    Ok(trace)
}

/// The numbers that pages have so far.
struct Numbers {
    index: Index,
    records: u64,
}

impl Numbers {
    fn new() -> Result<Self, Error> {
        Ok(Self { index: Index::new()?, records: 0 })
    }

    /// Replaces `pages` by the numbers of `ids`.
    fn number(&mut self, ids: &[u64], pages: &mut Vec<u32>) -> Result<(), Error> {
        pages.clear();
        for (place, id) in ids.iter().enumerate() {
            if let Some(far) = ids.get(place + AHEAD) {
                self.index.prefetch(Tag::of(*far));
            }
            if let Some(near) = ids.get(place + AHEAD / 2) {
                self.index.glance(Tag::of(*near));
            }
            let tag = Tag::of(*id);
            pages.push(match self.index.find(*id, tag) {
                Some(number) => number,
                None => self.next(*id, tag, place)?,
            });
        }
        self.records += ids.len() as u64;
        Ok(())
    }

    fn next(&mut self, id: u64, tag: Tag, place: usize) -> Result<u32, Error> {
        let number = self.index.len();
        if number == MAX_DISTINCT {
            return Err(Error::TooManyPages { record: self.records + place as u64 });
        }
        self.index.insert(id, tag, number)?;
        Ok(number)
    }
}
