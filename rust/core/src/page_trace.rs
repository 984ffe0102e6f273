//! Traces of page references: which page a program referred to, one after the other.
//!
//! Plain data, which readers fill and replays walk. Pages are numbered in the order of their first reference, so a
//! trace of `distinct` pages names just the numbers below that. A record is one page and how many times in a row it was
//! referred to; where nothing is known of runs or writes, nothing is stored.

use std::fmt;

use crate::error::Error;

/// A trace of page references.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PageTrace {
    pages: Vec<u32>,
    /// References of each record; none if each has one.
    runs: Vec<u32>,
    /// A bit a record, lowest first: whether it writes; none if nothing is known.
    writes: Vec<u64>,
    distinct: u32,
    references: u64,
}

/// A record: references to one page in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The page.
    pub page: u32,
    /// How many references, at least one.
    pub run: u32,
    /// Whether they write.
    pub write: bool,
}

/// Some records in columns, as they are appended.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a> {
    /// The pages.
    pub pages: &'a [u32],
    /// References of each record, at least one; each has one if there is no such column.
    pub runs: Option<&'a [u32]>,
    /// Whether each record writes.
    pub writes: Option<&'a [bool]>,
}

impl PageTrace {
    /// No references.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends records. Whether there are runs and writes is the same in all calls.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`]; then nothing was appended.
    ///
    /// # Panics
    ///
    /// If columns have different lengths, come and go, or hold a run of 0, or a page before all lower ones.
    pub fn append(&mut self, records: Records<'_>) -> Result<(), Error> {
        let (before, new) = (self.pages.len(), records.pages.len());
        let all = before + new;
        reserve(&mut self.pages, new)?;
        if let Some(runs) = records.runs {
            assert!(runs.len() == new && self.runs.len() == before, "a run for each record");
            assert!(runs.iter().all(|run| *run > 0), "a record is at least one reference");
            reserve(&mut self.runs, new)?;
        } else {
            assert!(self.runs.is_empty(), "a run for each record");
        }
        if let Some(writes) = records.writes {
            assert!(
                writes.len() == new && self.writes.len() == before.div_ceil(64),
                "a write for each record"
            );
            reserve(&mut self.writes, all.div_ceil(64) - before.div_ceil(64))?;
            self.add_writes(before, writes);
        } else {
            assert!(self.writes.is_empty() || new == 0, "a write for each record");
        }
        for page in records.pages {
            assert!(*page <= self.distinct, "page {page} comes before page {}", self.distinct);
            self.distinct += u32::from(*page == self.distinct);
        }
        self.pages.extend_from_slice(records.pages);
        let runs = records.runs.unwrap_or(&[]);
        self.runs.extend_from_slice(runs);
        self.references +=
            if records.runs.is_some() { runs.iter().map(|run| u64::from(*run)).sum() } else { new as u64 };
        Ok(())
    }

    fn add_writes(&mut self, before: usize, writes: &[bool]) {
        self.writes.resize((before + writes.len()).div_ceil(64), 0);
        for (record, write) in (before..).zip(writes) {
            self.writes[record / 64] |= u64::from(*write) << (record % 64);
        }
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Different pages.
    #[must_use]
    pub fn distinct(&self) -> u32 {
        self.distinct
    }

    /// References: the sum of all runs.
    #[must_use]
    pub fn references(&self) -> u64 {
        self.references
    }

    /// The page of each record.
    #[must_use]
    pub fn pages(&self) -> &[u32] {
        &self.pages
    }

    /// The references of each record, if they are known to differ.
    #[must_use]
    pub fn runs(&self) -> Option<&[u32]> {
        (!self.runs.is_empty()).then_some(&self.runs)
    }

    /// Whether it is known which references write.
    #[must_use]
    pub fn knows_writes(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Record number `index`; without knowledge of writes it reads.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[must_use]
    pub fn record(&self, index: usize) -> Record {
        let word = self.writes.get(index / 64).copied().unwrap_or(0);
        Record {
            page: self.pages[index],
            run: self.runs.get(index).copied().unwrap_or(1),
            write: word >> (index % 64) & 1 == 1,
        }
    }
}

fn reserve<T>(values: &mut Vec<T>, more: usize) -> Result<(), Error> {
    let bytes = more.saturating_mul(size_of::<T>());
    values.try_reserve(more).map_err(|error| Error::NoMemory { bytes, reason: error.to_string() })
}

/// Numbers only: records are many.
impl fmt::Debug for PageTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records, {} references to {} pages", self.len(), self.references, self.distinct)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pages in the order of their first reference, runs, writes.
    fn rows() -> impl Strategy<Value = Vec<Record>> {
        prop::collection::vec((0u32..1000, 1u32..70_000, any::<bool>()), 0..300).prop_map(|rows| {
            let mut distinct = 0;
            let record = |(draw, run, write): (u32, u32, bool)| {
                let page = draw % (distinct + 1);
                distinct += u32::from(page == distinct);
                Record { page, run, write }
            };
            rows.into_iter().map(record).collect()
        })
    }

    proptest! {
        #[test]
        fn what_is_appended_is_there_however_it_was_cut(rows in rows(), cut in 1usize..100) {
            let mut trace = PageTrace::new();
            for part in rows.chunks(cut) {
                let pages: Vec<u32> = part.iter().map(|row| row.page).collect();
                let runs: Vec<u32> = part.iter().map(|row| row.run).collect();
                let writes: Vec<bool> = part.iter().map(|row| row.write).collect();
                trace.append(Records { pages: &pages, runs: Some(&runs), writes: Some(&writes) }).expect("memory");
            }
            prop_assert_eq!((0..trace.len()).map(|index| trace.record(index)).collect::<Vec<_>>(), rows.clone());
            prop_assert_eq!(trace.references(), rows.iter().map(|row| u64::from(row.run)).sum::<u64>());
            prop_assert_eq!(trace.distinct(), rows.iter().map(|row| row.page + 1).max().unwrap_or(0));
            prop_assert_eq!(trace.knows_writes(), !rows.is_empty());
        }
    }

    #[test]
    fn nothing_is_stored_of_what_is_not_known() {
        let mut trace = PageTrace::new();
        trace.append(Records { pages: &[0, 1, 0, 2], runs: None, writes: None }).expect("memory");
        assert_eq!((trace.runs(), trace.knows_writes(), trace.references()), (None, false, 4));
        assert_eq!(trace.record(3), Record { page: 2, run: 1, write: false });
        assert_eq!(format!("{trace:?}"), "4 records, 4 references to 3 pages");
    }

    #[test]
    #[should_panic(expected = "page 2 comes before page 1")]
    fn pages_are_numbered_as_they_come() {
        let _ = PageTrace::new().append(Records { pages: &[0, 2], runs: None, writes: None });
    }
}
