//! A process that goes through its pages from first to last, again and again: the worst that can happen to a memory that
//! is a little smaller, if it keeps what was used last.

use super::checks::{self, MAX_OP_REFS};
use super::pace::Pace;
use super::{Batch, Ops, Workload};
use crate::error::Error;
use crate::reference::Ref;
use crate::types::Access;

/// What a scanning process does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanConfig {
    /// First page of anonymous memory.
    pub base: u32,
    /// Pages it goes through.
    pub pages: u32,
    /// Whether it reads or writes them.
    pub access: Access,
    /// References of an operation.
    pub op_refs: u32,
    /// Processor time of an operation besides its references.
    pub op_ns: u64,
    /// Most references a second; none: as many as it can.
    pub refs_per_s: Option<u32>,
}

impl ScanConfig {
    /// Reads as fast as it can; each page is an operation of 10 µs: chosen.
    #[must_use]
    pub fn new(pages: u32) -> Self {
        Self { base: 0, pages, access: Access::Read, op_refs: 1, op_ns: 10_000, refs_per_s: None }
    }

    /// Refuses settings that no scanning process can have.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`], naming the first one.
    pub fn check(&self) -> Result<(), Error> {
        checks::within("pages", self.pages, 1, u32::MAX)?;
        checks::memory(self.base, self.pages)?;
        checks::within("op_refs", self.op_refs, 1, MAX_OP_REFS)?;
        checks::rate(self.refs_per_s)
    }
}

/// A process that scans its pages in sequence.
#[derive(Clone, Debug)]
pub struct Scan {
    config: ScanConfig,
    pace: Pace,
    place: u32,
}

impl Scan {
    /// Begins at the first page.
    ///
    /// # Errors
    ///
    /// As [`ScanConfig::check`].
    pub fn new(config: ScanConfig) -> Result<Self, Error> {
        config.check()?;
        Ok(Self { pace: Pace::new(config.refs_per_s, config.op_refs), place: 0, config })
    }
}

impl Workload for Scan {
    fn name(&self) -> &str {
        "scan"
    }

    fn next(&mut self, now_ns: u64, batch: &mut Batch) -> Result<(), Error> {
        let count = self.pace.burst();
        for _ in 0..count {
            batch.refs.push(Ref::memory(self.config.base + self.place, self.config.access));
            self.place = if self.place + 1 < self.config.pages { self.place + 1 } else { 0 };
        }
        batch.ops = Ops::Each(self.config.op_refs);
        batch.op_ns = self.config.op_ns;
        batch.then = self.pace.made(now_ns, count);
        Ok(())
    }

    fn boxed_clone(&self) -> Box<dyn Workload> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::checks::tests::refused;
    use super::*;

    #[test]
    fn pages_come_in_order_for_ever() {
        let config = ScanConfig { base: 5, access: Access::Write, op_refs: 3, ..ScanConfig::new(1000) };
        let mut scan = Scan::new(config).expect("its settings are right");
        let (mut batch, mut seen) = (Batch::default(), vec![]);
        for _ in 0..3 {
            batch.clear();
            scan.next(0, &mut batch).expect("it goes on");
            assert_eq!((batch.ops.clone(), batch.refs.len() % 3), (Ops::Each(3), 0));
            seen.extend_from_slice(&batch.refs);
        }
        let expected = (0..seen.len() as u32).map(|place| Ref::memory(5 + place % 1000, Access::Write));
        assert!(seen.len() > 3000 && expected.eq(seen));
    }

    #[test]
    fn impossible_ones_are_refused() {
        let plain = ScanConfig::new(10);
        assert_eq!(refused(ScanConfig { pages: 0, ..plain.clone() }.check()), "pages");
        assert_eq!(refused(ScanConfig { op_refs: MAX_OP_REFS + 1, ..plain.clone() }.check()), "op_refs");
        assert_eq!(refused(ScanConfig { refs_per_s: Some(0), ..plain }.check()), "refs_per_s");
    }
}
