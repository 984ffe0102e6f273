//! What processes of a guest do: the seam [`Workload`].
//!
//! A process is a closed loop in virtual time: it is asked for a batch of operations, lives through them one after the
//! other, and is asked for the next. An operation costs processor time and what its references meet, so operations a second
//! are a result, never an input.
//!
//! Rooms, one kind of process each; [`BUILTIN`] lists them, and `built_in` makes them by name ([`Program`]). Each is made of plain settings and the random stream of that
//! process (`Seed::stream("workload", serial)`). Anonymous memory and files belong to the guest as a whole, so each
//! has a `base`: its first page or file. What they have in common is in `pace` (how fast), `draw` (what chance decides), `held`
//! (memory that is given back) and `checks` (what settings may be).

mod activity;
mod built_in;
mod checks;
pub mod dbench;
pub(crate) mod draw;
mod files;
mod held;
mod idle;
mod pace;
mod phases;
mod replay;
mod scan;
mod toucher;
mod zipf;

use std::any::Any;
use std::fmt::Debug;

pub use activity::{Activity, ActivityConfig, ActivityRecord};
pub use built_in::{Form, Otherwise, Parameter, Program, Value, parameters};
pub use dbench::{Dbench, DbenchConfig, Load};
pub use files::{Files, FilesConfig};
pub use idle::{Idle, IdleConfig};
pub use phases::{AfterBurst, Phases, PhasesConfig};
pub use replay::{Replay, ReplayConfig};
pub use scan::{Scan, ScanConfig};
pub use toucher::{Toucher, ToucherConfig};
pub use zipf::{Zipf, ZipfConfig};

use crate::error::Error;
use crate::reference::Ref;

/// What happens when a recording is through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtEnd {
    /// It starts again.
    Repeats,
    /// The process ends.
    Ends,
}

/// The workloads that are built in: name, and what such a process does.
pub const BUILTIN: [(&str, &str); 9] = [
    ("toucher", "touches so many pages over and over; how many changes with time"),
    ("zipf", "refers to pages of which some are far more popular than others"),
    ("scan", "goes through its pages from first to last, again and again"),
    ("phases", "has a small working set, and now and then a large one for a while"),
    ("files", "reads and writes files, some of them far more popular than others"),
    ("replay", "makes the references of a trace"),
    ("activity", "touches in each second the pages that a real guest touched"),
    ("dbench", "does to files what the clients of a dbench load file do"),
    ("idle", "sleeps, and touches a few pages now and then"),
];

/// Where the operations of a batch end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ops {
    /// So many references each, at least one; the last may have fewer.
    Each(u32),
    /// Each after the reference before that place in the batch, ascending; several may end at one place. Those after the last
    /// belong to the first operation of the next batch.
    Ends(Vec<u32>),
}

/// What a process does after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Asks for the next.
    Next,
    /// Sleeps until that much of its time has passed; at once if it has.
    SleepUntil {
        /// Since the process began.
        ns: u64,
    },
    /// Ends.
    Ends,
}

/// Operations of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// What it refers to, in order.
    pub refs: Vec<Ref>,
    /// Which references make an operation.
    pub ops: Ops,
    /// Processor time of an operation, besides what its references cost.
    pub op_ns: u64,
    /// What comes after.
    pub then: Then,
}

impl Default for Batch {
    fn default() -> Self {
        Self { refs: vec![], ops: Ops::Each(1), op_ns: 0, then: Then::Next }
    }
}

impl Batch {
    /// Empties it and sets all else to its default; keeps its memory.
    pub fn clear(&mut self) {
        self.refs.clear();
        *self = Self { refs: std::mem::take(&mut self.refs), ..Self::default() };
    }
}

/// What a process does. One object is one process; it holds its own random stream.
///
/// A batch of no references must sleep or end: time would stand still otherwise, and the simulation refuses it. What it
/// yields must not depend on how long its batches are found to be: sizes of about a thousand references serve well.
pub trait Workload: Any + Send + Sync + Debug {
    /// What it is called, in errors and recordings.
    fn name(&self) -> &str;

    /// Fills a cleared batch with the next operations, `now_ns` after the process began.
    ///
    /// # Errors
    ///
    /// What is wrong with the trace it reads or the code that it is written in.
    fn next(&mut self, now_ns: u64, batch: &mut Batch) -> Result<(), Error>;

    /// A copy that goes its own way.
    fn boxed_clone(&self) -> Box<dyn Workload>;
}

impl Clone for Box<dyn Workload> {
    fn clone(&self) -> Self {
        self.boxed_clone()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::page_trace::{PageTrace, Records};
    use crate::rng::{Seed, Stream};

    fn stream() -> Stream {
        Seed([5; 32]).stream("workload", 9)
    }

    /// Those that a rate may slow down, which cuts their batches.
    fn paced(refs_per_s: Option<u32>) -> Result<Vec<Box<dyn Workload>>, Error> {
        let mut trace = PageTrace::new();
        trace.append(Records { pages: &[0, 1, 0, 2], runs: Some(&[7, 1, 900, 3]), writes: None })?;
        let replay = ReplayConfig { at_end: AtEnd::Repeats, ..ReplayConfig::new(Arc::new(trace)) };
        let pages = 5000;
        Ok(vec![
            Box::new(Toucher::new(ToucherConfig { refs_per_s, ..ToucherConfig::new(pages) }, stream())?),
            Box::new(Zipf::new(ZipfConfig { refs_per_s, ..ZipfConfig::new(pages) }, stream())?),
            Box::new(Scan::new(ScanConfig { refs_per_s, ..ScanConfig::new(pages) })?),
            Box::new(Phases::new(PhasesConfig { refs_per_s, ..PhasesConfig::new(pages, pages) }, stream())?),
            Box::new(Files::new(FilesConfig { refs_per_s, ..FilesConfig::new(pages) }, stream())?),
            Box::new(Replay::new(ReplayConfig { refs_per_s, ..replay })?),
        ])
    }

    fn others() -> Result<Vec<Box<dyn Workload>>, Error> {
        let record = Arc::new(ActivityRecord::new(8, &[1], &[1])?);
        let load = Arc::new(Load::parse("client.txt", &b"Mkdir \"\\a\" NT_STATUS_OK"[..])?);
        Ok(vec![
            Box::new(Activity::new(ActivityConfig::new(record))?),
            Box::new(Dbench::new(DbenchConfig::new(load, 0))?),
            Box::new(Idle::new(IdleConfig::default(), stream())?),
        ])
    }

    /// The first references, and after which of them operations end.
    fn first(workload: &mut dyn Workload, count: usize) -> (Vec<Ref>, Vec<usize>) {
        let (mut batch, mut refs, mut ends) = (Batch::default(), vec![], vec![]);
        while refs.len() < count {
            batch.clear();
            workload.next(0, &mut batch).expect("it goes on");
            let before = refs.len();
            refs.extend_from_slice(&batch.refs);
            match &batch.ops {
                Ops::Each(each) => {
                    ends.extend((before + *each as usize..=refs.len()).step_by(*each as usize))
                }
                Ops::Ends(places) => ends.extend(places.iter().map(|place| before + *place as usize)),
            }
        }
        refs.truncate(count);
        ends.retain(|end| *end <= count);
        (refs, ends)
    }

    #[test]
    fn what_they_do_does_not_depend_on_how_batches_are_cut() {
        let workloads = |rate| paced(rate).expect("their settings are right").into_iter();
        for (mut fast, mut slow) in workloads(None).zip(workloads(Some(700))) {
            assert_eq!(first(&mut *fast, 5000), first(&mut *slow, 5000), "{}", fast.name());
            let mut copy = fast.clone();
            assert_eq!(first(&mut *copy, 3000), first(&mut *fast, 3000), "{}", fast.name());
        }
    }

    #[test]
    fn the_table_names_them_all() {
        let all =
            [paced(None), others()].map(|some| some.expect("their settings are right")).into_iter().flatten();
        let names: BTreeSet<String> = all.map(|workload| workload.name().to_string()).collect();
        let table: BTreeSet<String> = BUILTIN.iter().map(|(name, _)| name.to_string()).collect();
        assert_eq!((names, table.len()), (table.clone(), BUILTIN.len()));
    }
}
