//! A process that touches its pages over and over, as many as a schedule says: the toucher of Figure 6 (§5.3).
//!
//! It goes through all of its pages, each once, in an order that its seed chose for that size, and again in the same
//! order. When its size falls, it first gives back the pages above, as a process that ends does.

use super::checks::{self, refuse};
use super::held::Held;
use super::pace::Pace;
use super::{Batch, Then, Workload};
use crate::error::Error;
use crate::reference::Ref;
use crate::rng::{Permutation, Stream};
use crate::types::Access;

/// Longest batch of touches: it sees soon that its size has changed.
const BATCH: u32 = 256;
const NS_PER_S: u64 = 1_000_000_000;

/// What a toucher does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToucherConfig {
    /// First page of anonymous memory.
    pub base: u32,
    /// From which second on it has how many pages, ascending; it has none before the first.
    pub sizes: Vec<(u32, u32)>,
    /// How it touches them.
    pub access: Access,
    /// Most touches a second; none: as many as it can.
    pub refs_per_s: Option<u32>,
    /// Processor time of a touch besides what it costs anyway.
    pub op_ns: u64,
}

impl ToucherConfig {
    /// A toucher of one size for ever, that writes as fast as it can and works on each page for 10 µs: chosen.
    #[must_use]
    pub fn new(pages: u32) -> Self {
        Self { base: 0, sizes: vec![(0, pages)], access: Access::Write, refs_per_s: None, op_ns: 10_000 }
    }

    /// Refuses settings that no toucher can have.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`], naming the first one.
    pub fn check(&self) -> Result<(), Error> {
        if self.sizes.is_empty() {
            return Err(refuse("sizes", "empty", "at least one time and size"));
        }
        if let Some(pair) = self.sizes.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            let late = format!("{} s after {} s", pair[1].0, pair[0].0);
            return Err(refuse("sizes", late, "ascending times"));
        }
        self.sizes.iter().try_for_each(|&(_, pages)| checks::memory(self.base, pages))?;
        checks::rate(self.refs_per_s)
    }
}

/// A process that touches its pages over and over.
#[derive(Clone, Debug)]
pub struct Toucher {
    config: ToucherConfig,
    key: u64,
    pace: Pace,
    /// Sizes of the schedule that have begun.
    begun: usize,
    pages: u32,
    held: Held,
    order: Permutation,
    place: u32,
    /// The pages of a batch in the making.
    touched: Vec<u32>,
}

impl Toucher {
    /// A toucher with an order of its own.
    ///
    /// # Errors
    ///
    /// As [`ToucherConfig::check`].
    pub fn new(config: ToucherConfig, mut stream: Stream) -> Result<Self, Error> {
        config.check()?;
        let (key, pace) = (stream.word(), Pace::new(config.refs_per_s, 1));
        let (order, held) = (Permutation::new(0, key), Held::new(config.base));
        Ok(Self { config, key, pace, begun: 0, pages: 0, held, order, place: 0, touched: vec![] })
    }

    /// Takes the size that the schedule has for now.
    fn resize(&mut self, now_ns: u64) {
        let begun = |&(from_s, _): &(u32, u32)| u64::from(from_s) * NS_PER_S <= now_ns;
        let news = self.config.sizes[self.begun..].iter().take_while(|size| begun(size)).count();
        if news == 0 {
            return;
        }
        self.begun += news;
        let pages = self.config.sizes[self.begun - 1].1;
        if pages != self.pages {
            (self.pages, self.place) = (pages, 0);
            self.order = Permutation::new(pages, self.key);
        }
    }

    fn touch(&mut self, now_ns: u64, batch: &mut Batch) {
        let count = self.pace.burst().min(BATCH);
        self.touched.clear();
        for _ in 0..count {
            self.touched.push(self.place);
            self.place = if self.place + 1 < self.pages { self.place + 1 } else { 0 };
        }
        self.order.put(&mut self.touched);
        let touches =
            self.touched.iter().map(|page| Ref::memory(self.config.base + page, self.config.access));
        batch.refs.extend(touches);
        self.held.reach(self.pages);
        batch.op_ns = self.config.op_ns;
        batch.then = self.pace.made(now_ns, count);
    }
}

impl Workload for Toucher {
    fn name(&self) -> &str {
        "toucher"
    }

    fn next(&mut self, now_ns: u64, batch: &mut Batch) -> Result<(), Error> {
        self.resize(now_ns);
        if self.held.give_back(self.pages, batch) {
            return Ok(());
        }
        if self.pages > 0 {
            self.touch(now_ns, batch);
        } else {
            let next = self.config.sizes.get(self.begun);
            batch.then =
                next.map_or(Then::Ends, |&(from_s, _)| Then::SleepUntil { ns: u64::from(from_s) * NS_PER_S });
        }
        Ok(())
    }

    fn boxed_clone(&self) -> Box<dyn Workload> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Ops;
    use super::super::checks::tests::refused;
    use super::*;
    use crate::reference::Wish;
    use crate::rng::Seed;

    fn toucher(config: ToucherConfig) -> Toucher {
        Toucher::new(config, Seed([1; 32]).stream("workload", 0)).expect("its settings are right")
    }

    fn next(toucher: &mut Toucher, now_s: u64) -> Batch {
        let mut batch = Batch::default();
        toucher.next(now_s * NS_PER_S, &mut batch).expect("it goes on");
        batch
    }

    fn wishes(batch: &Batch) -> Vec<Wish> {
        batch.refs.iter().map(|reference| reference.wish()).collect()
    }

    #[test]
    fn every_page_is_touched_once_a_round_in_the_same_order() {
        let mut toucher = toucher(ToucherConfig { base: 50, ..ToucherConfig::new(100) });
        let mut touched = vec![];
        while touched.len() < 1000 {
            touched.extend(next(&mut toucher, 0).refs);
        }
        let (first, second) = (&touched[..100], &touched[100..200]);
        assert_eq!(first, second);
        assert!(first.iter().all(|touch| touch.access() == Access::Write));
        let mut pages: Vec<u32> = first.iter().filter_map(|touch| touch.memory_page()).collect();
        assert!(!pages.is_sorted(), "the order is scattered");
        pages.sort_unstable();
        assert!(pages.into_iter().eq(50..150));
    }

    #[test]
    fn a_smaller_size_gives_back_the_pages_above() {
        let sizes = vec![(2, 1000), (10, 300), (20, 0), (30, 5), (40, 0)];
        let mut toucher = toucher(ToucherConfig { base: 7, sizes, ..ToucherConfig::new(1) });
        let asleep = |s: u64| Batch { then: Then::SleepUntil { ns: s * NS_PER_S }, ..Batch::default() };
        assert_eq!(next(&mut toucher, 0), asleep(2));
        assert_eq!(next(&mut toucher, 2).refs.len(), 256);
        let mut freed = vec![];
        loop {
            let batch = next(&mut toucher, 10);
            let Ops::Ends(ends) = &batch.ops else { break };
            assert!(ends.is_empty(), "freeing is no operation");
            freed.extend(wishes(&batch));
        }
        assert!(freed.into_iter().eq((307..1007).rev().map(|page| Wish::Free { page })));
        assert!(
            next(&mut toucher, 11).refs.iter().all(|touch| touch.memory_page().expect("it is memory") < 307)
        );
        assert_eq!(next(&mut toucher, 20).refs.len(), 256);
        assert_eq!(next(&mut toucher, 20).refs.len(), 44);
        assert_eq!(next(&mut toucher, 20), asleep(30));
        assert_eq!(next(&mut toucher, 30).ops, Ops::Each(1));
        assert_eq!(wishes(&next(&mut toucher, 41)).len(), 5);
        assert_eq!(next(&mut toucher, 41), Batch { then: Then::Ends, ..Batch::default() });
    }

    #[test]
    fn it_may_be_slow() {
        let mut toucher = toucher(ToucherConfig { refs_per_s: Some(10), ..ToucherConfig::new(3) });
        let batch = next(&mut toucher, 0);
        assert_eq!((batch.refs.len(), batch.then), (1, Then::SleepUntil { ns: 100_000_000 }));
    }

    #[test]
    fn impossible_touchers_are_refused() {
        let plain = ToucherConfig::new(10);
        assert_eq!(plain.check(), Ok(()));
        assert_eq!(refused(ToucherConfig { sizes: vec![], ..plain.clone() }.check()), "sizes");
        assert_eq!(refused(ToucherConfig { sizes: vec![(5, 1), (5, 2)], ..plain.clone() }.check()), "sizes");
        assert_eq!(refused(ToucherConfig { base: u32::MAX, ..plain.clone() }.check()), "pages");
        assert_eq!(refused(ToucherConfig { refs_per_s: Some(0), ..plain }.check()), "refs_per_s");
    }
}
