//! A client of the benchmark: a process that goes through a load file again and again, with files of its own.

use std::sync::Arc;

use super::super::checks::{self, refuse};
use super::super::{Batch, Ops, Then, Workload};
use super::load::{Action, Load, What};
use crate::error::Error;
use crate::reference::{MAX_FILES, Ref, Wish};
use crate::types::Access;

/// References after which a batch ends.
const BATCH: usize = 1024;

/// What a client does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DbenchConfig {
    /// What all clients do.
    pub load: Arc<Load>,
    /// The first file of the first client.
    pub base: u32,
    /// Which client it is, from 0.
    pub client: u32,
    /// Processor time of an operation besides its references.
    pub op_ns: u64,
}

impl DbenchConfig {
    /// Processor time of an operation, unless told otherwise: chosen.
    pub const OP_NS: u64 = 20_000;

    /// A client whose operations take 20 µs of processor time: chosen.
    #[must_use]
    pub fn new(load: Arc<Load>, client: u32) -> Self {
        Self { load, base: 0, client, op_ns: Self::OP_NS }
    }

    /// Refuses settings that no client can have.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`], naming the first one.
    pub fn check(&self) -> Result<(), Error> {
        checks::within("base", self.base, 0, MAX_FILES - 1)?;
        let clients = (MAX_FILES - self.base) / self.load.files();
        match self.client < clients {
            true => Ok(()),
            false => {
                let files = self.load.files();
                Err(refuse("client", self.client, format!("below {clients}, as each has {files} files")))
            }
        }
    }

    /// The client's first file.
    fn first_file(&self) -> u32 {
        self.base + self.client * self.load.files()
    }
}

/// A client of dbench.
#[derive(Clone, Debug)]
pub struct Dbench {
    config: DbenchConfig,
    /// Place in the list of actions.
    place: usize,
    /// Blocks of that action that are done.
    done: u32,
    /// A wait that begins when the batch is over.
    nap_ns: u64,
}

impl Dbench {
    /// A client that begins with the first operation.
    ///
    /// # Errors
    ///
    /// As [`DbenchConfig::check`].
    pub fn new(config: DbenchConfig) -> Result<Self, Error> {
        config.check()?;
        Ok(Self { config, place: 0, done: 0, nap_ns: 0 })
    }

    /// Performs an action, or as much of it as a batch has room for; whether it is done.
    fn act(&mut self, action: Action, refs: &mut Vec<Ref>) -> bool {
        let file = self.config.first_file() + action.file();
        match action.what() {
            What::Look => refs.push(Ref::new(Wish::Look { file })),
            What::Read => return self.transfer(action, Access::Read, refs),
            What::Write => return self.transfer(action, Access::Write, refs),
            What::Flush => refs.push(Ref::new(Wish::Flush { file })),
            What::Delete => refs.push(Ref::new(Wish::Delete { file })),
            What::Sleep => {
                refs.push(Ref::new(Wish::Look { file }));
                self.nap_ns = action.sleep_ns();
            }
        }
        true
    }

    fn transfer(&mut self, action: Action, access: Access, refs: &mut Vec<Ref>) -> bool {
        let file = self.config.first_file() + action.file();
        let (first, blocks) = action.blocks();
        let count = (blocks - self.done).min((BATCH - refs.len()) as u32);
        refs.extend((self.done..self.done + count).map(|place| Ref::block(file, first + place, access)));
        self.done += count;
        let is_done = self.done == blocks;
        if is_done {
            self.done = 0;
        }
        is_done
    }

    fn step(&mut self) {
        self.place = if self.place + 1 < self.config.load.actions().len() { self.place + 1 } else { 0 };
    }
}

impl Workload for Dbench {
    fn name(&self) -> &str {
        "dbench"
    }

    fn next(&mut self, now_ns: u64, batch: &mut Batch) -> Result<(), Error> {
        if self.nap_ns > 0 {
            let ns = now_ns.saturating_add(std::mem::take(&mut self.nap_ns));
            batch.then = Then::SleepUntil { ns };
            return Ok(());
        }
        let mut ends = vec![];
        while batch.refs.len() < BATCH && self.nap_ns == 0 {
            let action = self.config.load.actions()[self.place];
            if self.act(action, &mut batch.refs) {
                self.step();
                if action.ends_operation() {
                    ends.push(batch.refs.len() as u32);
                }
            }
        }
        (batch.ops, batch.op_ns) = (Ops::Ends(ends), self.config.op_ns);
        Ok(())
    }

    fn boxed_clone(&self) -> Box<dyn Workload> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::checks::tests::refused;
    use super::*;

    fn client(text: &str, client: u32) -> Dbench {
        let load = Load::parse("client.txt", text.as_bytes()).expect("it is a load file");
        let config = DbenchConfig { base: 100, ..DbenchConfig::new(Arc::new(load), client) };
        Dbench::new(config).expect("its settings are right")
    }

    fn next(client: &mut Dbench, now_ns: u64) -> Batch {
        let mut batch = Batch::default();
        client.next(now_ns, &mut batch).expect("it goes on");
        batch
    }

    const ROUND: &str = "NTCreateX a 0 2 1 NT_STATUS_OK\n\
                         WriteX 1 4000 8193 8193 NT_STATUS_OK\n\
                         Flush 1 NT_STATUS_OK\n";

    #[test]
    fn a_client_goes_round_and_round_in_files_of_its_own() {
        let wishes = |number| {
            let batch = next(&mut client(ROUND, number), 0);
            let Ops::Ends(ends) = batch.ops else { panic!("operations differ in length") };
            (batch.refs.iter().map(|reference| reference.wish()).collect::<Vec<_>>(), ends)
        };
        let (first, ends) = wishes(0);
        let write = |block| Wish::Block { file: 101, block, access: Access::Write };
        let round = [
            Wish::Look { file: 101 },
            write(0),
            write(1),
            write(2),
            Wish::Flush { file: 101 },
            Wish::Delete { file: 101 },
        ];
        assert_eq!(first[..12], [round, round].concat());
        assert_eq!(first.len(), BATCH);
        assert_eq!(ends[..6], [1, 4, 5, 7, 10, 11]);
        let (third, _) = wishes(3);
        assert!(third.iter().all(|wish| !first.contains(wish)));
        assert_eq!(third[4], Wish::Flush { file: 100 + 3 * 2 + 1 });
    }

    #[test]
    fn a_batch_may_end_in_an_operation_and_loses_nothing() {
        let mut client =
            client("NTCreateX a 0 2 1 NT_STATUS_OK\nReadX 1 0 10485760 10485760 NT_STATUS_OK\n", 0);
        let (mut blocks, mut operations) = (vec![], 0);
        while blocks.len() < 2560 {
            let batch = next(&mut client, 0);
            assert!(batch.refs.len() <= BATCH);
            blocks.extend(batch.refs.iter().filter_map(|reference| match reference.wish() {
                Wish::Block { block, .. } => Some(block),
                _ => None,
            }));
            let Ops::Ends(ends) = batch.ops else { panic!("operations differ in length") };
            operations += ends.len();
        }
        assert!(blocks[..2560].iter().copied().eq(0..2560));
        assert!(operations >= 2);
    }

    #[test]
    fn a_sleep_begins_when_it_is_reached() {
        let mut client = client("Sleep 7 NT_STATUS_OK\n", 0);
        let batch = next(&mut client, 0);
        assert_eq!((batch.refs.len(), batch.ops), (1, Ops::Ends(vec![1])));
        let asleep = Batch { then: Then::SleepUntil { ns: 12_000 }, ..Batch::default() };
        assert_eq!(next(&mut client, 5000), asleep);
        assert_eq!(next(&mut client, 12_000).refs.len(), 1);
    }

    #[test]
    fn there_are_as_many_clients_as_files_can_be_named() {
        let plain = client(ROUND, 0).config;
        let most = (MAX_FILES - 100) / 2;
        assert_eq!(DbenchConfig { client: most - 1, ..plain.clone() }.check(), Ok(()));
        assert_eq!(refused(DbenchConfig { client: most, ..plain.clone() }.check()), "client");
        assert_eq!(refused(DbenchConfig { base: MAX_FILES, ..plain }.check()), "base");
    }
}
