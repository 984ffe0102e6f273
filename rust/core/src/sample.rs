//! Statistical sampling of active memory (§5.3): what fraction of a virtual machine's pages is in use.
//!
//! At the start of a period, n different pages of all it has are chosen, every set of n as likely as any other, and
//! marked: the next guest access to one faults and is counted, once. At the end, the touched fraction t / n enters a
//! slow and a fast moving average. A third estimate is the fast average as if the period in progress ended now with
//! what it has counted so far. The estimate is the maximum of the three: quick to rise, slow to fall.
//!
//! A period is measured in the virtual machine's own time: seconds in which it is powered on and not held up. The traced
//! bit is this room's alone, and it stays with a page wherever the page goes.

use crate::config::{SAMPLE_CONFIDENCE_Z, SamplingConfig};
use crate::memory::Memory;
use crate::rng::{Seed, Stream};
use crate::types::{Ppn, VmId};
use crate::vm_table::VmTable;

/// Whether a virtual machine's own time passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// It runs, if only idly.
    #[default]
    Runs,
    /// It waits for memory that the host does not have.
    Stands,
}

/// A range of fractions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// What sampling knows of one virtual machine; fractions are of all its pages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleReport {
    /// Length of a period.
    pub period_s: u32,
    /// Finished periods.
    pub periods: u64,
    /// Seconds of the running one that have passed, in the virtual machine's own time.
    pub elapsed_s: u32,
    /// Pages sampled in each period.
    pub sampled: u32,
    /// Of these, pages touched in the running one so far.
    pub touched: u32,
    /// The same at the end of the last finished one.
    pub last_touched: u32,
    /// The slow moving average; 0 before the first period ends.
    pub slow: f64,
    /// The fast moving average; 0 before the first period ends.
    pub fast: f64,
    /// The fast moving average as if the running period ended now.
    pub current: f64,
    /// The maximum of the three.
    pub estimate: f64,
}

impl SampleReport {
    /// Where the active fraction of the last finished period lies, with 95 % confidence; anywhere, if there is none.
    #[must_use]
    pub fn interval(&self) -> Interval {
        if self.periods == 0 {
            return Interval { low: 0.0, high: 1.0 };
        }
        wilson(fraction(self.last_touched, self.sampled), self.sampled, SAMPLE_CONFIDENCE_Z)
    }

    /// The estimate in whole pages, the nearest.
    #[must_use]
    pub fn active_pages(&self, max_pages: u32) -> u32 {
        (self.estimate * f64::from(max_pages)).round() as u32
    }
}

/// The sampler of one host.
#[derive(Clone, Debug)]
pub struct Sampler {
    config: SamplingConfig,
    seed: Seed,
    /// Without those of virtual machines that are not sampled.
    vms: VmTable<Samples>,
}

/// The sampling of one virtual machine.
#[derive(Clone, Debug)]
struct Samples {
    stream: Stream,
    ppns: Vec<Ppn>,
    progress: Progress,
}

/// How far it is. With the seed this tells which pages are sampled, too.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    periods: u64,
    elapsed_s: u32,
    touched: u32,
    last_touched: u32,
    slow: f64,
    fast: f64,
    clock: Clock,
}

impl Sampler {
    /// A sampler of no virtual machine.
    #[must_use]
    pub fn new(config: SamplingConfig, seed: Seed) -> Self {
        Self { config, seed, vms: VmTable::new() }
    }

    /// Starts to sample a virtual machine, the `serial`-th of this host. Nothing else enters into its random choices.
    pub fn add_vm(&mut self, memory: &mut Memory, vm: VmId, serial: u64) {
        if self.config.pages == 0 {
            return;
        }
        let stream = self.seed.stream("sample", serial);
        let mut samples = Samples { stream, ppns: vec![], progress: Progress::default() };
        samples.choose(memory, vm, self.config.pages);
        self.vms.add(vm, samples);
    }

    /// Ends the sampling of a virtual machine whose pages are to be released.
    pub fn remove_vm(&mut self, vm: VmId) {
        self.vms.remove(vm);
    }

    /// Lets a virtual machine's own time run, or stand still.
    pub fn set_clock(&mut self, vm: VmId, clock: Clock) {
        if let Some(samples) = self.vms.get_mut(vm) {
            samples.progress.clock = clock;
        }
    }

    /// Counts a second of the host's time; returns the pages to be sampled anew if the virtual machine's period is over.
    pub fn tick(&mut self, vm: VmId) -> Option<u32> {
        let samples = self.vms.get_mut(vm)?;
        let progress = &mut samples.progress;
        progress.elapsed_s += u32::from(progress.clock == Clock::Runs);
        (progress.elapsed_s >= self.config.period_s).then_some(samples.ppns.len() as u32)
    }

    /// Ends a virtual machine's period and starts its next one. Cost: two visits of each sampled page.
    pub fn turn(&mut self, memory: &mut Memory, vm: VmId) {
        let Some(samples) = self.vms.get_mut(vm) else { return };
        let sampled = samples.ppns.len() as u32;
        samples.progress.finish(sampled, &self.config);
        samples.ppns.drain(..).for_each(|ppn| memory.set_traced(vm, ppn, false));
        samples.choose(memory, vm, self.config.pages);
    }

    /// Counts a traced page that the guest touches. It is traced no more.
    pub fn count(&mut self, memory: &mut Memory, vm: VmId, ppn: Ppn) {
        memory.set_traced(vm, ppn, false);
        if let Some(samples) = self.vms.get_mut(vm) {
            samples.progress.touched += 1;
        }
    }

    /// How far the sampling of a virtual machine is; none if sampling is off.
    #[must_use]
    pub fn progress(&self, vm: VmId) -> Option<&Progress> {
        self.vms.get(vm).map(|samples| &samples.progress)
    }

    /// What sampling knows of a virtual machine; none if it is off.
    #[must_use]
    pub fn report(&self, vm: VmId) -> Option<SampleReport> {
        let samples = self.vms.get(vm)?;
        let Progress { periods, elapsed_s, touched, last_touched, slow, fast, .. } = samples.progress;
        let sampled = samples.ppns.len() as u32;
        let current = samples.progress.fast_with(fraction(touched, sampled), &self.config);
        let estimate = slow.max(fast).max(current);
        Some(SampleReport {
            period_s: self.config.period_s,
            periods,
            elapsed_s,
            sampled,
            touched,
            last_touched,
            slow,
            fast,
            current,
            estimate,
        })
    }
}

impl Samples {
    /// Marks `wanted` different pages, or all: Floyd's algorithm, in which the marks themselves are the set.
    fn choose(&mut self, memory: &mut Memory, vm: VmId, wanted: u32) {
        let pages = memory.vm(vm).pmap().pages();
        for last in pages - wanted.min(pages)..pages {
            let drawn = Ppn(self.stream.below(last + 1));
            let ppn = if memory.entry(vm, drawn).is_traced() { Ppn(last) } else { drawn };
            memory.set_traced(vm, ppn, true);
            self.ppns.push(ppn);
        }
    }
}

impl Progress {
    fn finish(&mut self, sampled: u32, config: &SamplingConfig) {
        let found = fraction(self.touched, sampled);
        self.slow = if self.periods == 0 { found } else { moved(self.slow, found, config.slow_keep) };
        self.fast = self.fast_with(found, config);
        self.last_touched = self.touched;
        self.periods += 1;
        (self.elapsed_s, self.touched) = (0, 0);
    }

    /// The fast average after a period that found a fraction; the first period's is taken as it is.
    fn fast_with(&self, found: f64, config: &SamplingConfig) -> f64 {
        if self.periods == 0 { found } else { moved(self.fast, found, config.fast_keep) }
    }
}

fn fraction(touched: u32, sampled: u32) -> f64 {
    f64::from(touched) / f64::from(sampled)
}

/// An exponentially weighted moving average after one more value.
fn moved(average: f64, value: f64, keep: f64) -> f64 {
    average + (1.0 - keep) * (value - average)
}

/// Wilson's score interval of a fraction found in `sampled` independent draws; `z` is the standard normal quantile of
/// the confidence.
///
/// Draws without replacement spread less, so for them the interval is wide enough at least. It is never wider than at
/// the fraction one half: ± z / (2 √(n + z²)).
#[must_use]
pub fn wilson(fraction: f64, sampled: u32, z: f64) -> Interval {
    let (n, square) = (f64::from(sampled), z * z);
    let centre = (fraction + square / (2.0 * n)) / (1.0 + square / n);
    let spread = (fraction * (1.0 - fraction) / n + square / (4.0 * n * n)).sqrt();
    let half = z * spread / (1.0 + square / n);
    // Rounding must not put the fraction itself outside.
    Interval { low: (centre - half).min(fraction).max(0.0), high: (centre + half).max(fraction).min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HostConfig;
    use crate::types::ContentKind;

    const VM: VmId = VmId(0);

    fn sampled(pages: u32, config: SamplingConfig) -> (Memory, Sampler) {
        let seed = Seed([3; 32]);
        let mut memory = Memory::new(&HostConfig::bare(8, ContentKind::Tokens, seed.clone())).expect("small");
        let mut sampler = Sampler::new(config, seed);
        let vm = memory.add_vm(pages, 0, &mut || Ok(())).expect("small");
        sampler.add_vm(&mut memory, vm, 0);
        (memory, sampler)
    }

    fn few(pages: u32) -> SamplingConfig {
        SamplingConfig { pages, ..SamplingConfig::default() }
    }

    fn traced(memory: &Memory) -> Vec<u32> {
        let entries = memory.vm(VM).pmap().entries().iter().zip(0..);
        entries.filter(|(entry, _)| entry.is_traced()).map(|(_, ppn)| ppn).collect()
    }

    /// Counts `touched` of the sampled pages and ends the period.
    fn period(memory: &mut Memory, sampler: &mut Sampler, touched: usize) {
        traced(memory)[..touched].iter().for_each(|ppn| sampler.count(memory, VM, Ppn(*ppn)));
        sampler.turn(memory, VM);
    }

    #[test]
    fn each_period_chooses_different_pages_all_sets_alike() {
        let (mut memory, mut sampler) = sampled(5, few(2));
        let mut chosen = std::collections::HashMap::new();
        for _ in 0..10_000 {
            let pages = traced(&memory);
            assert_eq!(pages.len(), 2);
            *chosen.entry(pages).or_insert(0u32) += 1;
            sampler.turn(&mut memory, VM);
        }
        // Ten pairs, each 1000 times, give or take five standard deviations of 30.
        assert_eq!(chosen.len(), 10);
        assert!(chosen.values().all(|times| times.abs_diff(1000) < 150), "{chosen:?}");
    }

    #[test]
    fn a_small_machine_is_sampled_whole() {
        let (memory, sampler) = sampled(5, few(100));
        assert_eq!((traced(&memory), sampler.report(VM).map(|r| r.sampled)), (vec![0, 1, 2, 3, 4], Some(5)));
    }

    #[test]
    fn pages_are_counted_once_and_marks_end_with_the_period() {
        let (mut memory, mut sampler) = sampled(50, few(10));
        let first = traced(&memory);
        period(&mut memory, &mut sampler, 4);
        let report = sampler.report(VM).expect("sampling is on");
        assert_eq!((report.periods, report.last_touched, report.touched, report.sampled), (1, 4, 0, 10));
        assert_ne!(traced(&memory), first);
        assert_eq!(traced(&memory).len(), 10);
        let fourth = Ppn(traced(&memory)[3]);
        sampler.count(&mut memory, VM, fourth);
        assert_eq!(traced(&memory).len(), 9);
    }

    #[test]
    fn three_averages_and_their_maximum() {
        let config = SamplingConfig { slow_keep: 0.75, fast_keep: 0.5, ..few(8) };
        let (mut memory, mut sampler) = sampled(50, config);
        let seen = |sampler: &Sampler| {
            let report = sampler.report(VM).expect("sampling is on");
            (report.slow, report.fast, report.current, report.estimate)
        };
        assert_eq!(seen(&sampler), (0.0, 0.0, 0.0, 0.0));
        let first = Ppn(traced(&memory)[0]);
        sampler.count(&mut memory, VM, first);
        assert_eq!(seen(&sampler), (0.0, 0.0, 0.125, 0.125));
        period(&mut memory, &mut sampler, 3);
        assert_eq!(seen(&sampler), (0.5, 0.5, 0.25, 0.5));
        period(&mut memory, &mut sampler, 8);
        assert_eq!(seen(&sampler), (0.625, 0.75, 0.375, 0.75));
        for _ in 0..2 {
            period(&mut memory, &mut sampler, 0);
        }
        assert_eq!(seen(&sampler), (0.351_562_5, 0.1875, 0.09375, 0.351_562_5));
        traced(&memory).iter().for_each(|ppn| sampler.count(&mut memory, VM, Ppn(*ppn)));
        assert_eq!(seen(&sampler), (0.351_562_5, 0.1875, 0.59375, 0.59375));
    }

    #[test]
    fn a_clock_that_stands_makes_the_period_longer() {
        let (_, mut sampler) = sampled(50, SamplingConfig { period_s: 2, ..few(10) });
        assert_eq!(sampler.tick(VM), None);
        sampler.set_clock(VM, Clock::Stands);
        assert_eq!((0..9).filter_map(|_| sampler.tick(VM)).count(), 0);
        sampler.set_clock(VM, Clock::Runs);
        assert_eq!(sampler.tick(VM), Some(10));
    }

    #[test]
    fn without_pages_there_is_no_sampling() {
        let (memory, mut sampler) = sampled(50, few(0));
        sampler.set_clock(VM, Clock::Stands);
        assert_eq!((sampler.tick(VM), sampler.report(VM), traced(&memory)), (None, None, vec![]));
    }

    #[test]
    fn intervals_are_wilsons() {
        // The two p where a score test is on its limit, |f − p| = z √(p (1 − p) / n), by bisection.
        let known = [
            (0, 100, 0.0, 0.036_993_5),
            (10, 100, 0.055_229_1, 0.174_365_7),
            (50, 100, 0.403_831_5, 0.596_168_5),
            (100, 100, 0.963_006_5, 1.0),
            (1, 3, 0.061_491_9, 0.792_340_4),
        ];
        for (touched, sampled, low, high) in known {
            let found = wilson(fraction(touched, sampled), sampled, SAMPLE_CONFIDENCE_Z);
            assert!((found.low - low).abs() < 1e-6 && (found.high - high).abs() < 1e-6, "{found:?}");
        }
    }

    #[test]
    fn intervals_hold_their_fraction_and_are_widest_at_one_half() {
        for sampled in [1, 2, 3, 100, 12_345] {
            let widest = SAMPLE_CONFIDENCE_Z / (f64::from(sampled) + SAMPLE_CONFIDENCE_Z.powi(2)).sqrt();
            for touched in 0..=sampled {
                let share = fraction(touched, sampled);
                let found = wilson(share, sampled, SAMPLE_CONFIDENCE_Z);
                assert!(0.0 <= found.low && found.low <= share && share <= found.high && found.high <= 1.0);
                assert!(found.high - found.low <= widest * (1.0 + 1e-12), "{touched} of {sampled}");
            }
        }
    }
}
