//! A process that refers to pages of which some are far more popular than others: rank k of n with a probability
//! proportional to k^-s. Ranks are scattered over its memory by a seeded permutation, so popular pages have no
//! neighbours in particular.

use super::checks::{self, MAX_OP_REFS, refuse};
use super::draw::{Writes, ZipfLaw};
use super::pace::Pace;
use super::{Batch, Ops, Workload};
use crate::error::Error;
use crate::reference::Ref;
use crate::rng::{Permutation, Stream};

/// Largest exponent: with it practically everything goes to the first page.
pub(super) const MAX_EXPONENT: f64 = 10.0;

/// Up to so many pages it is written down where each rank is: a table of a megabyte, which stays in the cache.
const TABLE_PAGES: u32 = 1 << 18;

/// What a Zipf process does.
#[derive(Clone, Debug, PartialEq)]
pub struct ZipfConfig {
    /// First page of anonymous memory.
    pub base: u32,
    /// Pages it refers to.
    pub pages: u32,
    /// How uneven popularity is: 0 (even) to 10.
    pub exponent: f64,
    /// Fraction of references that write.
    pub write_fraction: f64,
    /// References of an operation.
    pub op_refs: u32,
    /// Processor time of an operation besides its references.
    pub op_ns: u64,
    /// Most references a second; none: as many as it can.
    pub refs_per_s: Option<u32>,
}

impl ZipfConfig {
    /// Operations of ten references and a millisecond (chosen: a request), a tenth of them writes, with an exponent of
    /// 0.99 as key-value benchmarks have it.
    #[must_use]
    pub fn new(pages: u32) -> Self {
        Self {
            base: 0,
            pages,
            exponent: 0.99,
            write_fraction: 0.1,
            op_refs: 10,
            op_ns: 1_000_000,
            refs_per_s: None,
        }
    }

    /// Refuses settings that no Zipf process can have.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`], naming the first one.
    pub fn check(&self) -> Result<(), Error> {
        checks::within("pages", self.pages, 1, u32::MAX)?;
        checks::memory(self.base, self.pages)?;
        exponent(self.exponent)?;
        checks::fraction("write_fraction", self.write_fraction)?;
        checks::within("op_refs", self.op_refs, 1, MAX_OP_REFS)?;
        checks::rate(self.refs_per_s)
    }
}

/// Refuses an exponent that no law here can have.
pub(super) fn exponent(value: f64) -> Result<(), Error> {
    match (0.0..=MAX_EXPONENT).contains(&value) {
        true => Ok(()),
        false => Err(refuse("exponent", value, format!("0 to {MAX_EXPONENT}"))),
    }
}

/// A process whose references follow Zipf's law.
#[derive(Clone, Debug)]
pub struct Zipf {
    config: ZipfConfig,
    law: ZipfLaw,
    places: Permutation,
    /// The same written down, if there is not too much of it.
    table: Vec<u32>,
    writes: Writes,
    pace: Pace,
    stream: Stream,
    /// The pages of a batch in the making.
    pages: Vec<u32>,
}

impl Zipf {
    /// A Zipf process whose popular pages are where its stream says.
    ///
    /// # Errors
    ///
    /// As [`ZipfConfig::check`].
    pub fn new(config: ZipfConfig, mut stream: Stream) -> Result<Self, Error> {
        config.check()?;
        let places = Permutation::new(config.pages, stream.word());
        let written = if config.pages <= TABLE_PAGES { config.pages } else { 0 };
        Ok(Self {
            law: ZipfLaw::new(config.pages, config.exponent),
            table: (0..written).map(|rank| places.at(rank)).collect(),
            places,
            writes: Writes::fraction(config.write_fraction),
            pace: Pace::new(config.refs_per_s, config.op_refs),
            stream,
            pages: vec![],
            config,
        })
    }
}

impl Zipf {
    /// Draws so many references: first all ranks, then where each of them is, so that the looks at the table overlap.
    fn draw(&mut self, count: u32, refs: &mut Vec<Ref>) {
        let Self { law, places, table, writes, stream, pages, config, .. } = self;
        // A stream that nobody else sees can stay in registers.
        let mut own = stream.clone();
        refs.extend((0..count).map(|_| {
            let rank = law.rank(&mut own);
            Ref::memory(rank, writes.draw(&mut own))
        }));
        *stream = own;
        pages.clear();
        pages.extend(refs.iter().map(|rank| rank.memory_page().expect("it is memory")));
        if table.is_empty() {
            places.put(pages);
        } else {
            pages.iter_mut().for_each(|rank| *rank = table[*rank as usize]);
        }
        for (reference, page) in refs.iter_mut().zip(pages) {
            *reference = Ref::memory(config.base + *page, reference.access());
        }
    }
}

impl Workload for Zipf {
    fn name(&self) -> &str {
        "zipf"
    }

    fn next(&mut self, now_ns: u64, batch: &mut Batch) -> Result<(), Error> {
        let count = self.pace.burst();
        self.draw(count, &mut batch.refs);
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
    use crate::rng::Seed;
    use crate::types::Access;

    fn drawn(config: ZipfConfig, serial: u64, batches: usize) -> Vec<Ref> {
        let mut zipf =
            Zipf::new(config, Seed([1; 32]).stream("workload", serial)).expect("its settings are right");
        let mut batch = Batch::default();
        let mut drawn = vec![];
        for _ in 0..batches {
            batch.clear();
            zipf.next(0, &mut batch).expect("it goes on");
            drawn.extend_from_slice(&batch.refs);
        }
        drawn
    }

    #[test]
    fn what_is_written_down_is_what_is_worked_out() {
        let stream = || Seed([3; 32]).stream("workload", 5);
        let mut written = Zipf::new(ZipfConfig::new(5000), stream()).expect("its settings are right");
        let mut worked_out = written.clone();
        worked_out.table.clear();
        let (mut one, mut other) = (Batch::default(), Batch::default());
        written.next(0, &mut one).expect("it goes on");
        worked_out.next(0, &mut other).expect("it goes on");
        assert_eq!(one.refs, other.refs);
        let large = Zipf::new(ZipfConfig::new(TABLE_PAGES + 1), stream()).expect("its settings are right");
        assert!(large.table.is_empty());
    }

    #[test]
    fn popular_pages_are_scattered_and_written_as_said() {
        let config = ZipfConfig { base: 1000, exponent: 1.0, ..ZipfConfig::new(500) };
        let drawn = drawn(config, 0, 200);
        let mut hits = vec![0_u32; 500];
        drawn.iter().for_each(|touch| hits[touch.memory_page().expect("it is memory") as usize - 1000] += 1);
        let writes = drawn.iter().filter(|touch| touch.access() == Access::Write).count();
        assert!((writes as f64 / drawn.len() as f64 - 0.1).abs() < 0.005, "{writes}");
        let mut ranked: Vec<usize> = (0..500).collect();
        ranked.sort_by_key(|&page| std::cmp::Reverse(hits[page]));
        // 1 / H(500) = 0.1472 of all, and the second has half of that.
        assert!((f64::from(hits[ranked[0]]) / drawn.len() as f64 - 0.1472).abs() < 0.005);
        assert!((f64::from(hits[ranked[1]]) / drawn.len() as f64 - 0.0736).abs() < 0.005);
        assert!(ranked[..5].iter().any(|&page| page >= 50), "{:?}", &ranked[..5]);
    }

    #[test]
    fn one_seed_one_sequence() {
        let config = ZipfConfig::new(1 << 20);
        assert_eq!(drawn(config.clone(), 3, 5), drawn(config.clone(), 3, 5));
        assert_ne!(drawn(config.clone(), 3, 5), drawn(config, 4, 5));
    }

    #[test]
    fn impossible_ones_are_refused() {
        let plain = ZipfConfig::new(10);
        assert_eq!(plain.check(), Ok(()));
        assert_eq!(refused(ZipfConfig { pages: 0, ..plain.clone() }.check()), "pages");
        assert_eq!(refused(ZipfConfig { base: u32::MAX - 8, ..plain.clone() }.check()), "pages");
        for exponent in [-0.1, 10.1, f64::NAN, f64::INFINITY] {
            assert_eq!(refused(ZipfConfig { exponent, ..plain.clone() }.check()), "exponent");
        }
        assert_eq!(refused(ZipfConfig { write_fraction: 1.5, ..plain.clone() }.check()), "write_fraction");
        assert_eq!(refused(ZipfConfig { op_refs: 0, ..plain.clone() }.check()), "op_refs");
        assert_eq!(refused(ZipfConfig { refs_per_s: Some(0), ..plain }.check()), "refs_per_s");
    }
}
