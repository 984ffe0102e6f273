//! A process that reads and writes files over the guest's page cache: which file follows Zipf's law, where in it is even,
//! and what follows is read or written in sequence.
//!
//! How large a file is follows from its number alone, evenly in orders of magnitude between two bounds: processes that
//! share files agree on them whatever their seeds. Low numbers are the popular files, for the same reason.

use super::checks::{self, refuse};
use super::draw::{Writes, ZipfLaw};
use super::pace::Pace;
use super::zipf;
use super::{Batch, Ops, Workload};
use crate::error::Error;
use crate::reference::{MAX_FILES, Ref, Wish};
use crate::rng::{Stream, mix};
use crate::types::Access;

/// Most blocks of a file: 1 TiB.
const MAX_BLOCKS: u32 = 1 << 28;
/// Longest mean run: 64 MiB.
const MAX_RUN: u32 = 1 << 14;

/// What a process over files does.
#[derive(Clone, Debug, PartialEq)]
pub struct FilesConfig {
    /// Its first file.
    pub base: u32,
    /// How many it has.
    pub files: u32,
    /// Blocks (4 KiB) of the smallest file.
    pub min_blocks: u32,
    /// Blocks of the largest.
    pub max_blocks: u32,
    /// How uneven their popularity is: 0 (even) to 10.
    pub exponent: f64,
    /// Mean number of blocks read or written in sequence, if the file has as many.
    pub run_blocks: u32,
    /// Fraction of operations that read; the others write.
    pub read_fraction: f64,
    /// After how many of its writing operations it waits for what it wrote last to be on the disk; none: never.
    pub flush_every: Option<u32>,
    /// Processor time of an operation besides its references.
    pub op_ns: u64,
    /// Most references a second; none: as many as it can.
    pub refs_per_s: Option<u32>,
}

impl FilesConfig {
    /// Files of 4 KiB to 4 MiB, four fifths of the operations read, runs of 32 KiB, every tenth write flushed: chosen.
    #[must_use]
    pub fn new(files: u32) -> Self {
        Self {
            base: 0,
            files,
            min_blocks: 1,
            max_blocks: 1024,
            exponent: 0.9,
            run_blocks: 8,
            read_fraction: 0.8,
            flush_every: Some(10),
            op_ns: 10_000,
            refs_per_s: None,
        }
    }

    /// Refuses settings that no process over files can have.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`], naming the first one.
    pub fn check(&self) -> Result<(), Error> {
        checks::within("files", self.files, 1, u32::MAX)?;
        checks::span(self.base, "files", self.files, u64::from(MAX_FILES))?;
        checks::within("min_blocks", self.min_blocks, 1, MAX_BLOCKS)?;
        checks::within("max_blocks", self.max_blocks, self.min_blocks, MAX_BLOCKS)?;
        zipf::exponent(self.exponent)?;
        checks::within("run_blocks", self.run_blocks, 1, MAX_RUN)?;
        checks::fraction("read_fraction", self.read_fraction)?;
        if self.flush_every == Some(0) {
            return Err(refuse("flush_every", 0, "at least 1, or never"));
        }
        checks::rate(self.refs_per_s)
    }

    /// Blocks of file number `file`, counted from the first.
    #[must_use]
    pub fn blocks(&self, file: u32) -> u32 {
        let place = mix(u64::from(self.base + file) + 1) >> 11;
        let magnitude = place as f64 / (1_u64 << 53) as f64;
        let (least, beyond) = (f64::from(self.min_blocks), f64::from(self.max_blocks) + 1.0);
        let blocks = least * libm::pow(beyond / least, magnitude);
        (blocks as u32).clamp(self.min_blocks, self.max_blocks)
    }
}

/// A process that reads and writes files.
#[derive(Clone, Debug)]
pub struct Files {
    config: FilesConfig,
    law: ZipfLaw,
    writes: Writes,
    pace: Pace,
    stream: Stream,
    unflushed: u32,
}

impl Files {
    /// A process that begins with any file.
    ///
    /// # Errors
    ///
    /// As [`FilesConfig::check`].
    pub fn new(config: FilesConfig, stream: Stream) -> Result<Self, Error> {
        config.check()?;
        Ok(Self {
            law: ZipfLaw::new(config.files, config.exponent),
            writes: Writes::fraction(1.0 - config.read_fraction),
            pace: Pace::new(config.refs_per_s, 1),
            stream,
            unflushed: 0,
            config,
        })
    }

    /// One operation: looks a file up, and reads or writes some blocks of it in sequence.
    fn operate(&mut self, refs: &mut Vec<Ref>) {
        let number = self.law.rank(&mut self.stream);
        let (file, blocks) = (self.config.base + number, self.config.blocks(number));
        let access = self.writes.draw(&mut self.stream);
        // Even from 1 to twice the mean less 1.
        let run = (1 + self.stream.below(2 * self.config.run_blocks - 1)).min(blocks);
        let first = self.stream.below(blocks - run + 1);
        refs.push(Ref::new(Wish::Look { file }));
        refs.extend((first..first + run).map(|block| Ref::block(file, block, access)));
        if access == Access::Write && self.flushes() {
            refs.push(Ref::new(Wish::Flush { file }));
        }
    }

    /// Counts an operation that wrote; whether it is one to flush after.
    fn flushes(&mut self) -> bool {
        self.unflushed += 1;
        let due = self.config.flush_every.is_some_and(|every| self.unflushed >= every);
        if due || self.config.flush_every.is_none() {
            self.unflushed = 0;
        }
        due
    }
}

impl Workload for Files {
    fn name(&self) -> &str {
        "files"
    }

    fn next(&mut self, now_ns: u64, batch: &mut Batch) -> Result<(), Error> {
        let mut ends = vec![];
        while (batch.refs.len() as u32) < self.pace.burst() {
            self.operate(&mut batch.refs);
            ends.push(batch.refs.len() as u32);
        }
        batch.ops = Ops::Ends(ends);
        batch.op_ns = self.config.op_ns;
        batch.then = self.pace.made(now_ns, batch.refs.len() as u32);
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

    /// The wishes of each of that many operations, or a few more.
    fn operations(config: FilesConfig, count: usize) -> Vec<Vec<Wish>> {
        let stream = Seed([1; 32]).stream("workload", 0);
        let mut files = Files::new(config, stream).expect("its settings are right");
        let (mut batch, mut all) = (Batch::default(), vec![]);
        while all.len() < count {
            batch.clear();
            files.next(0, &mut batch).expect("it goes on");
            let Ops::Ends(ends) = &batch.ops else { panic!("operations differ in length") };
            assert_eq!(ends.last().map(|end| *end as usize), Some(batch.refs.len()));
            let begins = std::iter::once(0).chain(ends.iter().copied());
            for (begin, end) in begins.zip(ends) {
                let refs = &batch.refs[begin as usize..*end as usize];
                all.push(refs.iter().map(|reference| reference.wish()).collect());
            }
        }
        all
    }

    #[test]
    fn an_operation_is_a_look_and_a_run_inside_the_file() {
        let config = FilesConfig { base: 70, ..FilesConfig::new(40) };
        let (mut blocks, mut writes, mut flushes) = (0, 0, 0);
        let all = operations(config.clone(), 20_000);
        for wishes in &all {
            let [Wish::Look { file }, rest @ ..] = &wishes[..] else { panic!("{wishes:?}") };
            assert!((70..110).contains(file));
            let size = config.blocks(file - 70);
            let mut expected = None;
            for wish in rest {
                match *wish {
                    Wish::Block { file: of, block, access } => {
                        assert!(of == *file && block < size && expected.is_none_or(|next| next == block));
                        expected = Some(block + 1);
                        blocks += 1;
                        writes += u32::from(access == Access::Write);
                    }
                    Wish::Flush { file: of } => {
                        assert_eq!(of, *file);
                        flushes += 1;
                    }
                    _ => panic!("{wish:?}"),
                }
            }
        }
        let fraction = f64::from(writes) / f64::from(blocks);
        assert!((fraction - 0.2).abs() < 0.02, "{fraction}");
        let writing = all.iter().filter(|wishes| {
            wishes.iter().any(|wish| matches!(wish, Wish::Block { access: Access::Write, .. }))
        });
        assert_eq!(flushes, writing.count() / 10);
    }

    #[test]
    fn sizes_are_even_in_orders_of_magnitude() {
        let config = FilesConfig { max_blocks: 1023, ..FilesConfig::new(100_000) };
        let mut of_bits = [0; 11];
        (0..100_000).for_each(|file| of_bits[config.blocks(file).ilog2() as usize] += 1);
        assert!(of_bits[..10].iter().all(|count| (9_600..10_400).contains(count)), "{of_bits:?}");
        let fixed = FilesConfig { min_blocks: 7, max_blocks: 7, ..FilesConfig::new(10) };
        assert!((0..10).all(|file| fixed.blocks(file) == 7));
    }

    #[test]
    fn long_runs_in_small_files_are_whole_files() {
        let config = FilesConfig {
            min_blocks: 3,
            max_blocks: 3,
            run_blocks: MAX_RUN,
            read_fraction: 1.0,
            ..FilesConfig::new(5)
        };
        let whole = operations(config, 1000).iter().filter(|wishes| wishes.len() == 4).count();
        assert!(whole > 990, "{whole}");
    }

    #[test]
    fn impossible_ones_are_refused() {
        let plain = FilesConfig::new(10);
        assert_eq!(plain.check(), Ok(()));
        assert_eq!(refused(FilesConfig { files: 0, ..plain.clone() }.check()), "files");
        assert_eq!(refused(FilesConfig { base: MAX_FILES - 9, ..plain.clone() }.check()), "files");
        assert_eq!(refused(FilesConfig { min_blocks: 0, ..plain.clone() }.check()), "min_blocks");
        assert_eq!(refused(FilesConfig { max_blocks: 0, ..plain.clone() }.check()), "max_blocks");
        assert_eq!(refused(FilesConfig { exponent: -1.0, ..plain.clone() }.check()), "exponent");
        assert_eq!(refused(FilesConfig { run_blocks: 0, ..plain.clone() }.check()), "run_blocks");
        assert_eq!(refused(FilesConfig { read_fraction: 2.0, ..plain.clone() }.check()), "read_fraction");
        assert_eq!(refused(FilesConfig { flush_every: Some(0), ..plain.clone() }.check()), "flush_every");
        assert_eq!(refused(FilesConfig { refs_per_s: Some(0), ..plain }.check()), "refs_per_s");
    }
}
