//! A process that touches in each second the pages that a real guest touched: the replay of a record of activity.
//!
//! A record has a row of bits a second for reads, and one for writes. All that happens in a second is one operation: its
//! reads in the order of pages, then its writes. Then the process sleeps until the next whole second of its own time. A
//! second that takes longer shifts those after it: the guest stands still meanwhile.

use std::fmt;
use std::sync::Arc;

use super::checks::{self, refuse};
use super::{AtEnd, Batch, Ops, Then, Workload};
use crate::error::Error;
use crate::reference::Ref;
use crate::types::Access;

/// Bytes of a row that are looked at for one batch: at most 4096 references.
const BATCH_BYTES: usize = 512;
const NS_PER_S: u64 = 1_000_000_000;

/// Which pages a guest read and wrote in each second.
#[derive(Clone, PartialEq, Eq)]
pub struct ActivityRecord {
    pages: u32,
    row_bytes: usize,
    /// For each second the bits of its reads, then those of its writes.
    bits: Vec<u8>,
    /// The seconds in which anything is touched.
    busy: Vec<u32>,
}

impl ActivityRecord {
    /// A record of `pages` pages: rows of ceil(`pages` / 8) bytes, one a second, the most significant bit first.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if rows are missing or incomplete, or one names a page past the last.
    pub fn new(pages: u32, read: &[u8], write: &[u8]) -> Result<Self, Error> {
        checks::within("pages", pages, 1, u32::MAX)?;
        let row_bytes = pages.div_ceil(8) as usize;
        if read.is_empty() || !read.len().is_multiple_of(row_bytes) {
            let expected = format!("one row or more of {row_bytes} bytes");
            return Err(refuse("read", format!("{} bytes", read.len()), expected));
        }
        if write.len() != read.len() {
            let expected = format!("{} bytes, as read", read.len());
            return Err(refuse("write", format!("{} bytes", write.len()), expected));
        }
        check_last("read", read, pages, row_bytes)?;
        check_last("write", write, pages, row_bytes)?;
        let rows = read.chunks_exact(row_bytes).zip(write.chunks_exact(row_bytes));
        let bits: Vec<u8> = rows.flat_map(|(read, write)| [read, write]).flatten().copied().collect();
        let seconds = bits.chunks_exact(2 * row_bytes).zip(0..);
        let busy = seconds.filter(|(row, _)| row.iter().any(|byte| *byte != 0)).map(|(_, second)| second);
        Ok(Self { pages, row_bytes, busy: busy.collect(), bits })
    }

    /// Pages of the guest.
    #[must_use]
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// How long it is.
    #[must_use]
    pub fn seconds(&self) -> u32 {
        (self.bits.len() / self.bytes()) as u32
    }

    /// Bytes of a second.
    fn bytes(&self) -> usize {
        2 * self.row_bytes
    }

    fn row(&self, second: u32) -> &[u8] {
        &self.bits[second as usize * self.bytes()..][..self.bytes()]
    }

    /// The first second from that one on in which anything is touched.
    fn busy_from(&self, second: u32) -> Option<u32> {
        self.busy.get(self.busy.partition_point(|busy| *busy < second)).copied()
    }

    /// Appends the references of one byte of a second, with that first page of memory.
    fn refer(&self, byte: u8, place: usize, base: u32, refs: &mut Vec<Ref>) {
        let access = if place < self.row_bytes { Access::Read } else { Access::Write };
        let first = base + (place % self.row_bytes) as u32 * 8;
        let set = (0..8).filter(|bit| byte & (0x80 >> bit) != 0);
        refs.extend(set.map(|bit| Ref::memory(first + bit, access)));
    }
}

/// Refuses a row that names a page past the last.
fn check_last(what: &'static str, bits: &[u8], pages: u32, row_bytes: usize) -> Result<(), Error> {
    let beyond = if pages.is_multiple_of(8) { 0 } else { 0xff >> (pages % 8) };
    let mut last = bits.iter().skip(row_bytes - 1).step_by(row_bytes);
    match last.position(|byte| byte & beyond != 0) {
        Some(second) => {
            let found = format!("a row {second} that goes past page {}", pages - 1);
            Err(refuse(what, found, format!("bits of {pages} pages")))
        }
        None => Ok(()),
    }
}

/// The first place from that one on with a bit set; past the end if there is none.
fn next_busy(row: &[u8], place: usize) -> usize {
    row[place..].iter().position(|byte| *byte != 0).map_or(row.len(), |more| place + more)
}

/// Numbers only: bits are many.
impl fmt::Debug for ActivityRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} seconds of {} pages", self.seconds(), self.pages)
    }
}

/// What a replay of activity does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivityConfig {
    /// What is replayed; processes may share it.
    pub record: Arc<ActivityRecord>,
    /// The page of anonymous memory that page 0 of the record is.
    pub base: u32,
    /// The second of its own time at which the replay begins; before it the process sleeps.
    pub start_s: u32,
    /// The second of the record that is played first.
    pub offset_s: u32,
    /// What happens when the record is through.
    pub at_end: AtEnd,
    /// Processor time of each operation besides its references.
    pub op_ns: u64,
}

impl ActivityConfig {
    /// The record once, from its first second.
    #[must_use]
    pub fn new(record: Arc<ActivityRecord>) -> Self {
        Self { record, base: 0, start_s: 0, offset_s: 0, at_end: AtEnd::Ends, op_ns: 0 }
    }

    /// Refuses settings that no replay can have.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`], naming the first one.
    pub fn check(&self) -> Result<(), Error> {
        checks::memory(self.base, self.record.pages)?;
        checks::within("offset_s", self.offset_s, 0, self.record.seconds() - 1)
    }
}

/// A process that replays a record of activity.
#[derive(Clone, Debug)]
pub struct Activity {
    config: ActivityConfig,
    /// The second of the record that comes next, or is being played; past the last one there is nothing left.
    second: u32,
    /// Bytes of it that are done.
    done: usize,
    /// When it began, or is to begin while none of it is done.
    begins_ns: u64,
}

impl Activity {
    /// Begins where the settings say.
    ///
    /// # Errors
    ///
    /// As [`ActivityConfig::check`].
    pub fn new(config: ActivityConfig) -> Result<Self, Error> {
        config.check()?;
        let (second, begins_ns) = (config.offset_s, u64::from(config.start_s) * NS_PER_S);
        Ok(Self { config, second, done: 0, begins_ns })
    }

    /// Plays some of a second, up to a byte in which something is touched, or its end.
    fn play(&mut self, refs: &mut Vec<Ref>) {
        let record = &self.config.record;
        let row = record.row(self.second);
        let first = next_busy(row, self.done);
        let upto = row.len().min(first + BATCH_BYTES);
        (first..upto).for_each(|place| record.refer(row[place], place, self.config.base, refs));
        self.done = next_busy(row, upto);
    }

    /// Goes on to the next second in which something is touched; how many seconds later that is. None: there is none.
    fn skip(&mut self) -> Option<u64> {
        let (record, seconds) = (&self.config.record, self.config.record.seconds());
        let again = || record.busy_from(0).filter(|_| self.config.at_end == AtEnd::Repeats);
        let Some(next) = record.busy_from(self.second + 1).or_else(again) else {
            self.second = seconds;
            return None;
        };
        let later = if next > self.second { next - self.second } else { seconds - self.second + next };
        (self.second, self.done) = (next, 0);
        Some(u64::from(later))
    }

    /// What comes after a second that is through.
    fn sleep(&mut self) -> Then {
        let began_s = self.begins_ns / NS_PER_S;
        let Some(later) = self.skip() else { return Then::Ends };
        self.begins_ns = began_s.saturating_add(later).saturating_mul(NS_PER_S);
        Then::SleepUntil { ns: self.begins_ns }
    }
}

impl Workload for Activity {
    fn name(&self) -> &str {
        "activity"
    }

    fn next(&mut self, now_ns: u64, batch: &mut Batch) -> Result<(), Error> {
        if self.second == self.config.record.seconds() {
            batch.then = Then::Ends;
            return Ok(());
        }
        if self.done == 0 && now_ns < self.begins_ns {
            batch.then = Then::SleepUntil { ns: self.begins_ns };
            return Ok(());
        }
        if self.done == 0 {
            self.begins_ns = now_ns;
        }
        self.play(&mut batch.refs);
        batch.op_ns = self.config.op_ns;
        batch.ops = Ops::Ends(vec![]);
        if self.done == self.config.record.bytes() {
            let end = (!batch.refs.is_empty()).then_some(batch.refs.len() as u32);
            batch.ops = Ops::Ends(end.into_iter().collect());
            batch.then = self.sleep();
        }
        Ok(())
    }

    fn boxed_clone(&self) -> Box<dyn Workload> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::checks::tests::refused;
    use super::*;

    fn record(pages: u32, read: &[u8], write: &[u8]) -> Arc<ActivityRecord> {
        let record = ActivityRecord::new(pages, read, write);
        Arc::new(record.expect("it is one"))
    }

    /// What is touched in each second in which anything is, one operation each, until it ends or that second.
    fn played(config: ActivityConfig, until_s: u64) -> Vec<(u64, Vec<Ref>)> {
        let mut activity = Activity::new(config).expect("its settings are right");
        let (mut now, mut all, mut refs) = (0, vec![], vec![]);
        while now < until_s * NS_PER_S {
            let mut batch = Batch::default();
            activity.next(now, &mut batch).expect("it goes on");
            refs.extend_from_slice(&batch.refs);
            let Ops::Ends(ends) = &batch.ops else {
                assert!(batch.refs.is_empty());
                let Then::SleepUntil { ns } = batch.then else { break };
                now = ns;
                continue;
            };
            if !ends.is_empty() {
                assert_eq!(*ends, [batch.refs.len() as u32]);
                all.push((now / NS_PER_S, std::mem::take(&mut refs)));
            }
            match batch.then {
                Then::SleepUntil { ns } => now = ns,
                Then::Ends => break,
                Then::Next => {}
            }
        }
        assert!(refs.is_empty());
        all
    }

    fn reads(pages: &[u32]) -> Vec<Ref> {
        pages.iter().map(|page| Ref::memory(*page, Access::Read)).collect()
    }

    #[test]
    fn reads_come_before_writes_second_by_second() {
        let record = record(12, &[0x81, 0x10, 0, 0], &[0x01, 0, 0xc0, 0x10]);
        let write = |page| Ref::memory(page, Access::Write);
        let config = ActivityConfig { base: 100, start_s: 5, ..ActivityConfig::new(record) };
        let first = [reads(&[100, 107, 111]), vec![write(107)]].concat();
        let second = vec![write(100), write(101), write(111)];
        assert_eq!(played(config.clone(), 100), [(5, first.clone()), (6, second.clone())]);
        let again = ActivityConfig { offset_s: 1, at_end: AtEnd::Repeats, ..config };
        assert_eq!(played(again, 8), [(5, second.clone()), (6, first), (7, second)]);
    }

    #[test]
    fn quiet_seconds_are_slept_through() {
        let record = record(8, &[0, 0, 0x80, 0, 0, 0], &[0; 6]);
        let once = ActivityConfig::new(record.clone());
        assert_eq!(played(once.clone(), 100), [(2, reads(&[0]))]);
        let again = ActivityConfig { at_end: AtEnd::Repeats, ..once };
        assert_eq!(played(again, 16), [(2, reads(&[0])), (8, reads(&[0])), (14, reads(&[0]))]);
        let nothing = ActivityRecord::new(8, &[0; 4], &[0; 4]).expect("it is one");
        let nothing = ActivityConfig { at_end: AtEnd::Repeats, ..ActivityConfig::new(Arc::new(nothing)) };
        assert_eq!(played(nothing, u64::MAX / NS_PER_S), []);
    }

    #[test]
    fn a_second_that_takes_longer_shifts_the_others() {
        let config = ActivityConfig::new(record(8, &[0x80, 0x40, 0x20], &[0; 3]));
        let mut activity = Activity::new(config).expect("its settings are right");
        let mut then = |now_ns| {
            let mut batch = Batch::default();
            activity.next(now_ns, &mut batch).expect("it goes on");
            (batch.refs, batch.then)
        };
        assert_eq!(then(0), (reads(&[0]), Then::SleepUntil { ns: NS_PER_S }));
        assert_eq!(then(3_500_000_000), (reads(&[1]), Then::SleepUntil { ns: 4 * NS_PER_S }));
        assert_eq!(then(4_000_000_000), (reads(&[2]), Then::Ends));
        assert_eq!(then(4_000_000_000), (vec![], Then::Ends));
    }

    proptest! {
        #[test]
        fn every_bit_is_one_reference(
            row_bytes in 1_usize..1500,
            (mut read, mut write) in (prop::collection::vec(0_u8..3, 4500), prop::collection::vec(0_u8..3, 4500)),
        ) {
            read.truncate(3 * row_bytes);
            write.truncate(3 * row_bytes);
            let record = record(row_bytes as u32 * 8, &read, &write);
            let refs_of = |bits: &[u8], second: usize, access| {
                let row = bits[second * row_bytes..][..row_bytes].to_vec();
                let set = move |page: &u32| row[*page as usize / 8] & (0x80 >> (page % 8)) != 0;
                (0..row_bytes as u32 * 8).filter(set).map(move |page| Ref::memory(page, access)).collect::<Vec<_>>()
            };
            let all = (0..3).map(|second| {
                [refs_of(&read, second, Access::Read), refs_of(&write, second, Access::Write)].concat()
            });
            let busy: Vec<(u64, Vec<Ref>)> = (0..3).zip(all).filter(|(_, refs)| !refs.is_empty()).collect();
            prop_assert_eq!(played(ActivityConfig::new(record), 100), busy);
        }
    }

    #[test]
    fn impossible_ones_are_refused() {
        let new = |pages, read: &[u8], write: &[u8]| ActivityRecord::new(pages, read, write);
        assert_eq!(refused(new(0, &[1], &[1])), "pages");
        assert_eq!(refused(new(9, &[], &[])), "read");
        assert_eq!(refused(new(9, &[1, 0x80, 1], &[1, 0x80, 1])), "read");
        assert_eq!(refused(new(9, &[1, 0x80], &[1])), "write");
        assert_eq!(refused(new(9, &[1, 0x80, 1, 0x40], &[0; 4])), "read");
        assert_eq!(refused(new(9, &[0; 4], &[1, 0x80, 1, 0x01])), "write");
        let plain = ActivityConfig::new(record(8, &[1, 2], &[0, 0]));
        assert_eq!(plain.check(), Ok(()));
        assert_eq!(refused(ActivityConfig { offset_s: 2, ..plain.clone() }.check()), "offset_s");
        assert_eq!(refused(ActivityConfig { base: u32::MAX, ..plain }.check()), "pages");
    }
}
