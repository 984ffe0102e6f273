//! A process whose working set is small, and now and then large for a while.
//!
//! Most overloads of a server are short: 88 % of those that have been measured in data centres were over within two
//! minutes (Williams and others, "Overdriver", 2011). Here the length of a burst is exponential with just that quantile, and
//! so is, with a mean of its own, the calm between two; neither is ever shorter than a second. When they begin and end
//! is a matter of the process's own time and its seed alone. In each, the process refers to the pages of its working set
//! evenly.

use super::checks::{self, MAX_OP_REFS, refuse};
use super::draw::{Writes, exponential};
use super::held::Held;
use super::pace::Pace;
use super::{Batch, Ops, Then, Workload};
use crate::error::Error;
use crate::reference::Ref;
use crate::rng::Stream;

const NS_PER_S: f64 = 1e9;
/// Longest mean: about 30 years.
const MAX_MEAN_S: f64 = 1e9;

/// What becomes of the pages that only the burst needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterBurst {
    /// They are given back, as by a process that ends.
    GivesBack,
    /// They stay, untouched until the next burst.
    Keeps,
}

/// What a process in phases does.
#[derive(Clone, Debug, PartialEq)]
pub struct PhasesConfig {
    /// First page of anonymous memory.
    pub base: u32,
    /// Working set between bursts; with none it sleeps until the next.
    pub calm_pages: u32,
    /// Working set in a burst, which contains the other.
    pub burst_pages: u32,
    /// Mean time from the end of a burst to the next, in seconds.
    pub calm_mean_s: f64,
    /// What counts as a short burst, in seconds.
    pub short_s: f64,
    /// The fraction of bursts that are shorter than that.
    pub short_fraction: f64,
    /// What becomes of the pages of a burst.
    pub after: AfterBurst,
    /// Fraction of references that write.
    pub write_fraction: f64,
    /// References of an operation.
    pub op_refs: u32,
    /// Processor time of an operation besides its references.
    pub op_ns: u64,
    /// Most references a second; none: as many as it can.
    pub refs_per_s: Option<u32>,
}

impl PhasesConfig {
    /// Bursts of which 88 % last under two minutes, ten minutes apart (chosen), after which memory is given back.
    #[must_use]
    pub fn new(calm_pages: u32, burst_pages: u32) -> Self {
        Self {
            base: 0,
            calm_pages,
            burst_pages,
            calm_mean_s: 600.0,
            short_s: 120.0,
            short_fraction: 0.88,
            after: AfterBurst::GivesBack,
            write_fraction: 0.25,
            op_refs: 10,
            op_ns: 100_000,
            refs_per_s: None,
        }
    }

    /// Mean length of a burst in seconds.
    #[must_use]
    pub fn burst_mean_s(&self) -> f64 {
        -self.short_s / libm::log(1.0 - self.short_fraction)
    }

    /// Refuses settings that no process in phases can have.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`], naming the first one.
    pub fn check(&self) -> Result<(), Error> {
        checks::within("burst_pages", self.burst_pages, 1, u32::MAX)?;
        checks::span(self.base, "burst_pages", self.burst_pages, 1 << 32)?;
        checks::within("calm_pages", self.calm_pages, 0, self.burst_pages)?;
        for (what, seconds) in [("calm_mean_s", self.calm_mean_s), ("short_s", self.short_s)] {
            if !(1.0..=MAX_MEAN_S).contains(&seconds) {
                return Err(refuse(what, seconds, format!("1 to {MAX_MEAN_S}")));
            }
        }
        if !(0.01..=0.99).contains(&self.short_fraction) {
            return Err(refuse("short_fraction", self.short_fraction, "0.01 to 0.99"));
        }
        checks::fraction("write_fraction", self.write_fraction)?;
        checks::within("op_refs", self.op_refs, 1, MAX_OP_REFS)?;
        checks::rate(self.refs_per_s)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Calm,
    Burst,
}

/// When a process has which working set.
#[derive(Clone, Debug)]
struct Course {
    calm_mean_s: f64,
    burst_mean_s: f64,
    phase: Phase,
    until_ns: u64,
    stream: Stream,
}

impl Course {
    fn new(config: &PhasesConfig, stream: Stream) -> Self {
        let (calm_mean_s, burst_mean_s) = (config.calm_mean_s, config.burst_mean_s());
        let mut course = Self { calm_mean_s, burst_mean_s, phase: Phase::Burst, until_ns: 0, stream };
        course.turn();
        course
    }

    /// Goes on to the next phase.
    fn turn(&mut self) {
        let (phase, mean_s) = match self.phase {
            Phase::Calm => (Phase::Burst, self.burst_mean_s),
            Phase::Burst => (Phase::Calm, self.calm_mean_s),
        };
        let length_s = exponential(&mut self.stream, mean_s).max(1.0);
        (self.phase, self.until_ns) = (phase, self.until_ns.saturating_add((length_s * NS_PER_S) as u64));
    }

    /// The phase of that time, which never goes back.
    fn at(&mut self, now_ns: u64) -> Phase {
        while self.until_ns <= now_ns && self.until_ns < u64::MAX {
            self.turn();
        }
        self.phase
    }
}

/// A process with bursts of a larger working set.
#[derive(Clone, Debug)]
pub struct Phases {
    config: PhasesConfig,
    course: Course,
    held: Held,
    writes: Writes,
    pace: Pace,
    /// Which pages are referred to; when phases change has a stream of its own, so that one does not disturb the other.
    stream: Stream,
}

impl Phases {
    /// Begins with a calm.
    ///
    /// # Errors
    ///
    /// As [`PhasesConfig::check`].
    pub fn new(config: PhasesConfig, mut stream: Stream) -> Result<Self, Error> {
        config.check()?;
        Ok(Self {
            course: Course::new(&config, stream.branch()),
            held: Held::new(config.base),
            writes: Writes::fraction(config.write_fraction),
            pace: Pace::new(config.refs_per_s, config.op_refs),
            stream,
            config,
        })
    }

    fn refer(&mut self, now_ns: u64, pages: u32, batch: &mut Batch) {
        let count = self.pace.burst();
        for _ in 0..count {
            let page = self.config.base + self.stream.below(pages);
            batch.refs.push(Ref::memory(page, self.writes.draw(&mut self.stream)));
        }
        (batch.ops, batch.op_ns) = (Ops::Each(self.config.op_refs), self.config.op_ns);
        batch.then = self.pace.made(now_ns, count);
    }
}

impl Workload for Phases {
    fn name(&self) -> &str {
        "phases"
    }

    fn next(&mut self, now_ns: u64, batch: &mut Batch) -> Result<(), Error> {
        let phase = self.course.at(now_ns);
        let pages = if phase == Phase::Calm { self.config.calm_pages } else { self.config.burst_pages };
        let gives_back = self.config.after == AfterBurst::GivesBack;
        if gives_back && self.held.give_back(pages, batch) {
            return Ok(());
        }
        if pages == 0 {
            batch.then = Then::SleepUntil { ns: self.course.until_ns };
            return Ok(());
        }
        self.held.reach(pages);
        self.refer(now_ns, pages, batch);
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
    use crate::reference::Wish;
    use crate::rng::Seed;

    fn phases(config: PhasesConfig) -> Phases {
        Phases::new(config, Seed([1; 32]).stream("workload", 0)).expect("its settings are right")
    }

    fn next(phases: &mut Phases, now_ns: u64) -> Batch {
        let mut batch = Batch::default();
        phases.next(now_ns, &mut batch).expect("it goes on");
        batch
    }

    #[test]
    fn most_bursts_are_short() {
        let mut course = phases(PhasesConfig::new(10, 100)).course;
        let (mut lengths, mut calm_s) = (vec![], 0.0);
        for _ in 0..20_000 {
            let begin = course.until_ns;
            calm_s += course.until_ns as f64 / NS_PER_S;
            course.turn();
            lengths.push((course.until_ns - begin) as f64 / NS_PER_S);
            let end = course.until_ns;
            course.turn();
            calm_s -= end as f64 / NS_PER_S;
        }
        let short = lengths.iter().filter(|&&length| length < 120.0).count() as f64 / 20_000.0;
        // Three standard deviations of 20 000 draws.
        assert!((short - 0.88).abs() < 0.007, "{short}");
        let mean = lengths.iter().sum::<f64>() / 20_000.0;
        assert!((mean - 56.6).abs() < 1.5, "{mean}");
        assert!(lengths.iter().any(|&length| length > 300.0), "some are long");
        let last_calm = course.until_ns as f64 / NS_PER_S;
        assert!(((calm_s + last_calm) / 20_000.0 - 600.0).abs() < 15.0, "{}", calm_s + last_calm);
    }

    #[test]
    fn a_burst_takes_more_pages_and_gives_them_back() {
        let config = PhasesConfig { base: 1000, ..PhasesConfig::new(10, 400) };
        let mut phases = phases(config);
        let highest = |batch: &Batch| batch.refs.iter().filter_map(|touch| touch.memory_page()).max();
        assert_eq!(highest(&next(&mut phases, 0)), Some(1009));
        let begin = phases.course.until_ns;
        assert!(highest(&next(&mut phases, begin)) > Some(1350));
        let end = phases.course.until_ns;
        assert!(highest(&next(&mut phases, end - 1)) > Some(1350));
        let mut freed = next(&mut phases, end).refs;
        freed.extend(next(&mut phases, end).refs);
        assert!(freed.into_iter().eq((1010..1400).rev().map(|page| Ref::new(Wish::Free { page }))));
        assert_eq!(highest(&next(&mut phases, end)), Some(1009));
    }

    #[test]
    fn one_that_keeps_its_pages_frees_none_and_one_without_calm_pages_sleeps() {
        let plain = PhasesConfig { after: AfterBurst::Keeps, ..PhasesConfig::new(0, 50) };
        let mut phases = phases(plain);
        let begin = phases.course.until_ns;
        assert_eq!(next(&mut phases, 0), Batch { then: Then::SleepUntil { ns: begin }, ..Batch::default() });
        assert!(!next(&mut phases, begin).refs.is_empty());
        let end = phases.course.until_ns;
        let asleep = next(&mut phases, end);
        assert_eq!(
            asleep,
            Batch { then: Then::SleepUntil { ns: phases.course.until_ns }, ..Batch::default() }
        );
    }

    #[test]
    fn when_phases_change_does_not_depend_on_what_is_done_in_them() {
        let ends = |config: PhasesConfig, calls: u64| {
            let mut phases = phases(config);
            (0..calls).for_each(|call| drop(next(&mut phases, call * 5_000_000_000)));
            next(&mut phases, 10_000_000_000_000);
            (phases.course.phase, phases.course.until_ns)
        };
        let busy = PhasesConfig { write_fraction: 0.0, ..PhasesConfig::new(10, 100) };
        assert_eq!(ends(PhasesConfig::new(10, 100), 3), ends(busy, 1000));
    }

    #[test]
    fn impossible_ones_are_refused() {
        let plain = PhasesConfig::new(10, 20);
        assert_eq!(plain.check(), Ok(()));
        assert_eq!(refused(PhasesConfig { burst_pages: 0, ..plain.clone() }.check()), "burst_pages");
        assert_eq!(refused(PhasesConfig { base: u32::MAX, ..plain.clone() }.check()), "burst_pages");
        assert_eq!(refused(PhasesConfig { calm_pages: 21, ..plain.clone() }.check()), "calm_pages");
        assert_eq!(refused(PhasesConfig { calm_mean_s: f64::NAN, ..plain.clone() }.check()), "calm_mean_s");
        assert_eq!(refused(PhasesConfig { short_s: 0.5, ..plain.clone() }.check()), "short_s");
        assert_eq!(refused(PhasesConfig { short_fraction: 1.0, ..plain.clone() }.check()), "short_fraction");
        assert_eq!(refused(PhasesConfig { write_fraction: -1.0, ..plain.clone() }.check()), "write_fraction");
        assert_eq!(refused(PhasesConfig { op_refs: 0, ..plain.clone() }.check()), "op_refs");
        assert_eq!(refused(PhasesConfig { refs_per_s: Some(0), ..plain }.check()), "refs_per_s");
    }
}
