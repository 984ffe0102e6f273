//! A process that does next to nothing: it sleeps, and once in a while touches a few pages, as the daemons of an idle
//! guest do. The first time is somewhere in the first period, so that many idle guests do not all wake at once.

use super::checks;
use super::{Batch, Ops, Then, Workload};
use crate::error::Error;
use crate::reference::Ref;
use crate::rng::Stream;
use crate::types::Access;

const NS_PER_S: u64 = 1_000_000_000;

/// What an idle process does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdleConfig {
    /// First page of anonymous memory.
    pub base: u32,
    /// Pages touched at a time, in one operation; with none it ends at once.
    pub pages: u32,
    /// How they are touched.
    pub access: Access,
    /// Seconds from one time to the next.
    pub period_s: u32,
    /// Processor time of each operation besides its references.
    pub op_ns: u64,
}

impl Default for IdleConfig {
    /// 256 KiB written every ten seconds: chosen.
    fn default() -> Self {
        Self { base: 0, pages: 64, access: Access::Write, period_s: 10, op_ns: 100_000 }
    }
}

impl IdleConfig {
    /// Refuses settings that no idle process can have.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`], naming the first one.
    pub fn check(&self) -> Result<(), Error> {
        checks::memory(self.base, self.pages)?;
        checks::within("period_s", self.period_s, 1, u32::MAX)
    }
}

/// A process that sleeps most of the time.
#[derive(Clone, Debug)]
pub struct Idle {
    config: IdleConfig,
    first_ns: u64,
}

impl Idle {
    /// An idle process whose stream says when it wakes first.
    ///
    /// # Errors
    ///
    /// As [`IdleConfig::check`].
    pub fn new(config: IdleConfig, mut stream: Stream) -> Result<Self, Error> {
        config.check()?;
        let first_ns = (f64::from(config.period_s) * stream.unit() * NS_PER_S as f64) as u64;
        Ok(Self { config, first_ns })
    }

    /// The first time at or after now that it wakes, or the one after that.
    fn wakes_after(&self, now_ns: u64) -> u64 {
        let period = u64::from(self.config.period_s) * NS_PER_S;
        let Some(since) = now_ns.checked_sub(self.first_ns) else { return self.first_ns };
        self.first_ns.saturating_add((since / period + 1).saturating_mul(period))
    }
}

impl Workload for Idle {
    fn name(&self) -> &str {
        "idle"
    }

    fn next(&mut self, now_ns: u64, batch: &mut Batch) -> Result<(), Error> {
        let IdleConfig { base, pages, access, op_ns, .. } = self.config;
        if pages == 0 {
            batch.then = Then::Ends;
            return Ok(());
        }
        if now_ns >= self.first_ns {
            batch.refs.extend((0..pages).map(|page| Ref::memory(base + page, access)));
            (batch.ops, batch.op_ns) = (Ops::Each(pages), op_ns);
        }
        batch.then = Then::SleepUntil { ns: self.wakes_after(now_ns) };
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
    use crate::rng::Seed;

    fn idle(config: IdleConfig, serial: u64) -> Idle {
        Idle::new(config, Seed([1; 32]).stream("workload", serial)).expect("its settings are right")
    }

    #[test]
    fn a_day_has_one_operation_a_period() {
        let day = 86_400 * NS_PER_S;
        let (mut now, mut operations, mut calls) = (0, 0, 0);
        let mut idle = idle(IdleConfig { base: 9, pages: 3, ..IdleConfig::default() }, 0);
        while now < day {
            let mut batch = Batch::default();
            idle.next(now, &mut batch).expect("it goes on");
            calls += 1;
            if !batch.refs.is_empty() {
                assert_eq!(batch.ops, Ops::Each(3));
                assert!(batch.refs.iter().filter_map(|touch| touch.memory_page()).eq(9..12));
                operations += 1;
            }
            let Then::SleepUntil { ns } = batch.then else { panic!("it goes on") };
            assert!(ns > now);
            now = ns;
        }
        assert_eq!((operations, calls), (8640, 8641));
    }

    #[test]
    fn what_it_missed_is_not_made_up_for() {
        let mut idle = idle(IdleConfig::default(), 0);
        let mut batch = Batch::default();
        idle.next(55 * NS_PER_S, &mut batch).expect("it goes on");
        assert_eq!(batch.refs.len(), 64);
        let Then::SleepUntil { ns } = batch.then else { panic!("it goes on") };
        assert!(ns > 55 * NS_PER_S && ns <= 65 * NS_PER_S && ns % (10 * NS_PER_S) == idle.first_ns);
    }

    #[test]
    fn many_do_not_wake_at_once() {
        let mut firsts: Vec<u64> =
            (0..100).map(|serial| idle(IdleConfig::default(), serial).first_ns / NS_PER_S).collect();
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_to_do_is_the_end_and_no_period_is_refused() {
        let mut batch = Batch::default();
        idle(IdleConfig { pages: 0, ..IdleConfig::default() }, 0).next(0, &mut batch).expect("it goes on");
        assert_eq!(batch, Batch { then: Then::Ends, ..Batch::default() });
        assert_eq!(refused(IdleConfig { period_s: 0, ..IdleConfig::default() }.check()), "period_s");
    }
}
