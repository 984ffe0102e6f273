//! A process that makes the references of a trace, in their order, as fast as it can or at most so many a second.
//!
//! A record of the trace is a page and how many times in a row it is referred to; each of those is a reference. Page p of
//! the trace is page `base` + p of anonymous memory.

use std::sync::Arc;

use super::checks::{self, MAX_OP_REFS, refuse};
use super::pace::Pace;
use super::{AtEnd, Batch, Ops, Then, Workload};
use crate::error::Error;
use crate::page_trace::PageTrace;
use crate::reference::Ref;
use crate::types::Access;

/// What a replay does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayConfig {
    /// What is replayed; processes may share it.
    pub trace: Arc<PageTrace>,
    /// The page of anonymous memory that page 0 of the trace is.
    pub base: u32,
    /// What happens when the trace is through.
    pub at_end: AtEnd,
    /// References of an operation.
    pub op_refs: u32,
    /// Processor time of an operation besides its references.
    pub op_ns: u64,
    /// Most references a second; none: as many as it can.
    pub refs_per_s: Option<u32>,
}

impl ReplayConfig {
    /// References of an operation, unless told otherwise.
    pub const OP_REFS: u32 = 1;
    /// Processor time of an operation, unless told otherwise: chosen.
    pub const OP_NS: u64 = 10_000;

    /// The trace once, as fast as it can; each reference is an operation.
    #[must_use]
    pub fn new(trace: Arc<PageTrace>) -> Self {
        let (op_refs, op_ns) = (Self::OP_REFS, Self::OP_NS);
        Self { trace, base: 0, at_end: AtEnd::Ends, op_refs, op_ns, refs_per_s: None }
    }

    /// Refuses settings that no replay can have.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`], naming the first one.
    pub fn check(&self) -> Result<(), Error> {
        if self.trace.is_empty() {
            return Err(refuse("trace", "empty", "at least one reference"));
        }
        checks::span(self.base, "pages of the trace", self.trace.distinct(), 1 << 32)?;
        checks::within("op_refs", self.op_refs, 1, MAX_OP_REFS)?;
        checks::rate(self.refs_per_s)
    }
}

/// A process that replays a trace.
#[derive(Clone, Debug)]
pub struct Replay {
    config: ReplayConfig,
    pace: Pace,
    record: usize,
    /// References of that record made already.
    made: u32,
}

impl Replay {
    /// Begins with the first record.
    ///
    /// # Errors
    ///
    /// As [`ReplayConfig::check`].
    pub fn new(config: ReplayConfig) -> Result<Self, Error> {
        config.check()?;
        Ok(Self { pace: Pace::new(config.refs_per_s, config.op_refs), config, record: 0, made: 0 })
    }

    /// Whether nothing is left to do.
    fn is_through(&self) -> bool {
        self.record == self.config.trace.len()
    }

    /// Appends references of one record, at most `room`.
    fn refer(&mut self, room: usize, refs: &mut Vec<Ref>) {
        let record = self.config.trace.record(self.record);
        let access = if record.write { Access::Write } else { Access::Read };
        let count = ((record.run - self.made) as usize).min(room);
        refs.extend(std::iter::repeat_n(Ref::memory(self.config.base + record.page, access), count));
        self.made += count as u32;
        if self.made == record.run {
            (self.record, self.made) = (self.record + 1, 0);
        }
        if self.is_through() && self.config.at_end == AtEnd::Repeats {
            self.record = 0;
        }
    }
}

impl Workload for Replay {
    fn name(&self) -> &str {
        "replay"
    }

    fn next(&mut self, now_ns: u64, batch: &mut Batch) -> Result<(), Error> {
        let count = self.pace.burst() as usize;
        while batch.refs.len() < count && !self.is_through() {
            self.refer(count - batch.refs.len(), &mut batch.refs);
        }
        (batch.ops, batch.op_ns) = (Ops::Each(self.config.op_refs), self.config.op_ns);
        let then = self.pace.made(now_ns, batch.refs.len() as u32);
        batch.then = if self.is_through() { Then::Ends } else { then };
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
    use crate::page_trace::Records;

    /// Pages in the order of their first reference, how often each, and whether it writes.
    fn trace(rows: &[(u32, u32, bool)]) -> Arc<PageTrace> {
        let mut trace = PageTrace::new();
        let pages: Vec<u32> = rows.iter().map(|row| row.0).collect();
        let runs: Vec<u32> = rows.iter().map(|row| row.1).collect();
        let writes: Vec<bool> = rows.iter().map(|row| row.2).collect();
        trace
            .append(Records { pages: &pages, runs: Some(&runs), writes: Some(&writes) })
            .expect("there is memory");
        Arc::new(trace)
    }

    /// The first references of a replay, and whether it ended.
    fn replayed(config: ReplayConfig, at_most: usize) -> (Vec<Ref>, bool) {
        let mut replay = Replay::new(config).expect("its settings are right");
        let (mut batch, mut all) = (Batch::default(), vec![]);
        while all.len() < at_most {
            batch.clear();
            replay.next(0, &mut batch).expect("it goes on");
            all.extend_from_slice(&batch.refs);
            if batch.then == Then::Ends {
                return (all, true);
            }
        }
        all.truncate(at_most);
        (all, false)
    }

    proptest! {
        #[test]
        fn references_come_in_their_order_however_they_are_cut(
            draws in prop::collection::vec((0_u32..50, 1_u32..500, any::<bool>()), 1..50),
            (op_refs, rate) in (1_u32..20, prop::option::of(1_u32..100_000)),
        ) {
            let mut distinct = 0;
            let rows: Vec<(u32, u32, bool)> = draws.into_iter().map(|(draw, run, write)| {
                let page = draw % (distinct + 1);
                distinct += u32::from(page == distinct);
                (page, run, write)
            }).collect();
            let expected: Vec<Ref> = rows.iter().flat_map(|&(page, run, write)| {
                let access = if write { Access::Write } else { Access::Read };
                std::iter::repeat_n(Ref::memory(100 + page, access), run as usize)
            }).collect();
            let once = ReplayConfig { base: 100, op_refs, refs_per_s: rate, ..ReplayConfig::new(trace(&rows)) };
            prop_assert_eq!(replayed(once.clone(), usize::MAX), (expected.clone(), true));
            let again = ReplayConfig { at_end: AtEnd::Repeats, ..once };
            let twice = [expected.clone(), expected].concat();
            prop_assert_eq!(replayed(again, twice.len()), (twice, false));
        }
    }

    #[test]
    fn a_rate_makes_it_sleep() {
        let config = ReplayConfig { refs_per_s: Some(2), ..ReplayConfig::new(trace(&[(0, 3, true)])) };
        let mut replay = Replay::new(config).expect("its settings are right");
        let mut then = |now_ns| {
            let mut batch = Batch::default();
            replay.next(now_ns, &mut batch).expect("it goes on");
            (batch.refs.len(), batch.then)
        };
        assert_eq!(then(0), (1, Then::SleepUntil { ns: 500_000_000 }));
        assert_eq!(then(500_000_000), (1, Then::SleepUntil { ns: 1_000_000_000 }));
        assert_eq!(then(1_000_000_000), (1, Then::Ends));
        assert_eq!(then(1_000_000_000), (0, Then::Ends));
    }

    #[test]
    fn impossible_ones_are_refused() {
        let empty = ReplayConfig::new(Arc::new(PageTrace::new()));
        assert_eq!(refused(empty.check()), "trace");
        let plain = ReplayConfig::new(trace(&[(0, 1, false), (1, 1, false)]));
        assert_eq!(plain.check(), Ok(()));
        assert_eq!(refused(ReplayConfig { base: u32::MAX, ..plain.clone() }.check()), "pages of the trace");
        assert_eq!(refused(ReplayConfig { op_refs: 0, ..plain.clone() }.check()), "op_refs");
        assert_eq!(refused(ReplayConfig { refs_per_s: Some(0), ..plain }.check()), "refs_per_s");
    }
}
