//! A load file, read once and shared by all clients: a list of actions.
//!
//! What an operation does to files is found out while the file is read: which number the file has that a name or a handle
//! stands for, which blocks are read, which files a pattern deletes. An operation that was refused when it was recorded
//! looks something up and does no more; so do those that take no page: open, close, ask, lock, make a directory. Opening a
//! file with a disposition that empties it deletes what it held. Files that are left at the end are deleted before the
//! next round begins, as dbench clears the directories of its clients.

use std::fmt;
use std::io::{BufRead, Read};

use super::files::{Files, NO_FILE};
use super::words::{Line, MAX_LINE, Operation, Outcome};
use crate::error::Error;

/// Bytes of a block.
const BLOCK: u64 = 4096;
/// Most operations of a load file.
const MAX_OPERATIONS: u64 = 1 << 25;
/// Most files of a client at a time.
const MAX_FILES: u32 = 1 << 24;
/// Where the largest file ends: its blocks have 32-bit numbers.
const MAX_BYTES: u64 = BLOCK << 32;
/// `FILE_DIRECTORY_FILE` of the options of `NTCreateX`.
const DIRECTORY: u64 = 1;
/// Dispositions of `NTCreateX` that empty a file: supersede, overwrite, overwrite or make.
const EMPTYING: [u64; 3] = [0, 4, 5];

/// What an action does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Looks a file up.
    Look,
    /// Reads bytes, at least one.
    Read,
    /// Writes bytes, at least one.
    Write,
    /// Waits until what was written is on the disk.
    Flush,
    /// Deletes a file.
    Delete,
    /// Waits; the offset says how many nanoseconds.
    Sleep,
}

/// One action of a client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Action {
    offset: u64,
    bytes: u32,
    /// The file, and above it what is done and whether the operation is over.
    packed: u32,
}

const WHATS: [What; 6] = [What::Look, What::Read, What::Write, What::Flush, What::Delete, What::Sleep];
const WHAT_SHIFT: u32 = 28;
const OVER: u32 = 1 << 31;

impl Action {
    fn new(what: What, file: u32) -> Self {
        Self { offset: 0, bytes: 0, packed: (what as u32) << WHAT_SHIFT | file }
    }

    /// What is done.
    pub fn what(self) -> What {
        WHATS[(self.packed >> WHAT_SHIFT & 7) as usize]
    }

    /// To which file of the client.
    pub fn file(self) -> u32 {
        self.packed & ((1 << WHAT_SHIFT) - 1)
    }

    /// The blocks that are read or written: the first, and how many.
    pub fn blocks(self) -> (u32, u32) {
        let first = self.offset / BLOCK;
        let last = (self.offset + u64::from(self.bytes).saturating_sub(1)) / BLOCK;
        (first as u32, (last - first + 1) as u32)
    }

    /// How long it waits.
    pub fn sleep_ns(self) -> u64 {
        self.offset
    }

    /// Whether the operation is over with it.
    pub fn ends_operation(self) -> bool {
        self.packed & OVER != 0
    }
}

/// Bytes that clients have moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Read from files.
    pub read_bytes: u64,
    /// Written to files.
    pub written_bytes: u64,
}

impl Moved {
    fn add(&mut self, action: Action) {
        match action.what() {
            What::Read => self.read_bytes += u64::from(action.bytes),
            What::Write => self.written_bytes += u64::from(action.bytes),
            _ => {}
        }
    }
}

/// The operations of a load file.
#[derive(Clone, PartialEq, Eq)]
pub struct Load {
    source: String,
    actions: Vec<Action>,
    operations: u64,
    files: u32,
    moved: Moved,
}

impl Load {
    /// Reads a load file to its end; `source` is its name in errors.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] with the line that cannot be, or that could not be read.
    pub fn parse(source: &str, reader: impl BufRead) -> Result<Self, Error> {
        let mut parser = Parser { files: Files::new(), actions: vec![], operations: 0 };
        let line = parser.read(reader).map_err(|(line, problem)| (line.max(1), problem));
        let data = |(record, problem)| Error::Data { file: source.into(), record, problem };
        let last = line.map_err(data)?;
        if parser.operations == 0 {
            return Err(data((last.max(1), "the file ends without an operation".into())));
        }
        for file in parser.files.remove_all() {
            parser.actions.push(Action::new(What::Delete, file));
        }
        let mut moved = Moved::default();
        parser.actions.iter().for_each(|action| moved.add(*action));
        let (files, operations) = (parser.files.numbers(), parser.operations);
        Ok(Self { source: source.into(), actions: parser.actions, operations, files, moved })
    }

    /// The name it was read by.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Operations of one round.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// File numbers that a client needs.
    #[must_use]
    pub fn files(&self) -> u32 {
        self.files
    }

    /// Bytes that a client has moved with its first operations, over as many rounds as they are: what dbench divides by
    /// time. One walk over the list.
    #[must_use]
    pub fn moved(&self, operations: u64) -> Moved {
        let rounds = operations / self.operations;
        let mut left = operations % self.operations;
        let mut moved = Moved {
            read_bytes: self.moved.read_bytes * rounds,
            written_bytes: self.moved.written_bytes * rounds,
        };
        for action in &self.actions {
            if left == 0 {
                break;
            }
            moved.add(*action);
            left -= u64::from(action.ends_operation());
        }
        moved
    }

    /// What a client does in a round, in order.
    pub(super) fn actions(&self) -> &[Action] {
        &self.actions
    }
}

/// Numbers only: operations are many.
impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} operations on {} files", self.source, self.operations, self.files)
    }
}

struct Parser {
    files: Files,
    actions: Vec<Action>,
    operations: u64,
}

impl Parser {
    /// Reads all lines; how many there were, or the line of a problem.
    fn read(&mut self, mut reader: impl BufRead) -> Result<u64, (u64, String)> {
        let mut text = vec![];
        for line in 1.. {
            text.clear();
            let limited = reader.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut text);
            let length = limited.map_err(|error| (line, format!("reading failed: {error}")))?;
            if length == 0 {
                return Ok(line - 1);
            }
            self.line(&text).map_err(|problem| (line, problem))?;
        }
        unreachable!("files end before 2^64 lines");
    }

    fn line(&mut self, text: &[u8]) -> Result<(), String> {
        if text.len() > MAX_LINE {
            return Err(format!("the line is longer than {MAX_LINE} bytes"));
        }
        let Some(line) = Line::parse(text)? else { return Ok(()) };
        self.operate(&line)?;
        self.operations += 1;
        if let Some(last) = self.actions.last_mut() {
            last.packed |= OVER;
        }
        if self.operations > MAX_OPERATIONS {
            return Err(format!("more than {MAX_OPERATIONS} operations"));
        }
        if self.files.numbers() > MAX_FILES {
            return Err(format!("more than {MAX_FILES} files at a time"));
        }
        Ok(())
    }

    /// Appends the actions of an operation, at least one.
    fn operate(&mut self, line: &Line<'_>) -> Result<(), String> {
        if line.outcome == Outcome::Failed {
            self.act(What::Look, NO_FILE);
            return Ok(());
        }
        match line.operation {
            Operation::NtCreateX => self.create(line)?,
            Operation::Close => {
                let file = self.handle(line)?;
                self.files.close(line.number(0)?);
                self.act(What::Look, file);
            }
            Operation::Rename => {
                let replaced = self.files.rename(line.name(0)?, line.name(1)?);
                self.act(What::Look, self.files.named(line.name(1)?));
                self.delete(replaced);
            }
            Operation::Unlink => {
                let gone = self.files.remove_matching(line.name(0)?);
                self.look_and_delete(gone);
            }
            Operation::Deltree => {
                let gone = self.files.remove_tree(line.name(0)?);
                self.look_and_delete(gone);
            }
            Operation::QueryPath => self.act(What::Look, self.files.named(line.name(0)?)),
            Operation::QueryFile | Operation::SetFile | Operation::LockX | Operation::UnlockX => {
                let file = self.handle(line)?;
                self.act(What::Look, file);
            }
            Operation::Rmdir | Operation::Mkdir | Operation::QueryFs | Operation::FindFirst => {
                self.act(What::Look, NO_FILE);
            }
            Operation::ReadX => self.transfer(What::Read, line)?,
            Operation::WriteX => self.transfer(What::Write, line)?,
            Operation::Flush => {
                let file = self.handle(line)?;
                self.act(if file == NO_FILE { What::Look } else { What::Flush }, file);
            }
            Operation::Sleep => {
                let offset = line.number(0)?.saturating_mul(1000);
                self.actions.push(Action { offset, ..Action::new(What::Sleep, NO_FILE) });
            }
        }
        Ok(())
    }

    fn create(&mut self, line: &Line<'_>) -> Result<(), String> {
        let (name, options) = (line.name(0)?, line.number(1)?);
        let (disposition, handle) = (line.number(2)?, line.number(3)?);
        if options & DIRECTORY != 0 {
            self.files.open_directory(handle);
            self.act(What::Look, NO_FILE);
            return Ok(());
        }
        let before = self.files.named(name);
        let file = self.files.open(name, handle);
        if before != NO_FILE && EMPTYING.contains(&disposition) {
            self.act(What::Delete, file);
        }
        self.act(What::Look, file);
        Ok(())
    }

    /// Reads or writes what was moved when it was recorded.
    fn transfer(&mut self, what: What, line: &Line<'_>) -> Result<(), String> {
        let file = self.handle(line)?;
        let (offset, asked, moved) = (line.number(1)?, line.number(2)?, line.number(3)?);
        let bytes = asked.min(moved);
        if file == NO_FILE || bytes == 0 {
            self.act(What::Look, file);
            return Ok(());
        }
        let small =
            u32::try_from(bytes).map_err(|_| format!("{bytes} bytes; expected at most {}", u32::MAX))?;
        if offset.checked_add(bytes).is_none_or(|end| end > MAX_BYTES) {
            return Err(format!("offset {offset}; expected what is below {MAX_BYTES} bytes"));
        }
        self.actions.push(Action { offset, bytes: small, ..Action::new(what, file) });
        Ok(())
    }

    /// The file of a line's handle, its first argument.
    fn handle(&self, line: &Line<'_>) -> Result<u32, String> {
        let handle = line.number(0)?;
        self.files.handle(handle).ok_or_else(|| format!("handle {handle} is not open"))
    }

    fn look_and_delete(&mut self, gone: Vec<u32>) {
        self.act(What::Look, NO_FILE);
        self.delete(gone);
    }

    fn delete(&mut self, gone: impl IntoIterator<Item = u32>) {
        gone.into_iter().for_each(|file| self.act(What::Delete, file));
    }

    fn act(&mut self, what: What, file: u32) {
        self.actions.push(Action::new(what, file));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn load(text: &str) -> Result<Load, Error> {
        Load::parse("client.txt", text.as_bytes())
    }

    fn wrong(text: &str) -> String {
        load(text).expect_err("it is wrong").to_string()
    }

    /// What is done to which file, block and number of blocks.
    fn actions(text: &str) -> Vec<(What, u32, (u32, u32))> {
        let load = load(text).expect("it is a load file");
        load.actions.iter().map(|action| (action.what(), action.file(), action.blocks())).collect()
    }

    const NONE: (u32, u32) = (0, 1);

    #[test]
    fn operations_become_actions() {
        let text = r#"
# A file, written, read and renamed over another.
NTCreateX "\clients\client1" 0x1 0x2 5 NT_STATUS_OK
Flush 5 NT_STATUS_OK
NTCreateX "\clients\client1\a.txt" 0x40 0x2 6 NT_STATUS_OK
WriteX 6 65534 3 3 NT_STATUS_OK
0.5 ReadX 6 4096 65536 4096 NT_STATUS_OK
ReadX 6 4096 65536 0 NT_STATUS_OK
Flush 6 NT_STATUS_OK
LockX 6 2147483538 1 NT_STATUS_OK
NTCreateX "\clients\client1\missing" 0x40 0x1 7 NT_STATUS_OBJECT_NAME_NOT_FOUND
NTCreateX "\clients\client1\b.txt" 0x40 0x2 7 NT_STATUS_OK
Rename "\clients\client1\A.TXT" "\clients\client1\B.TXT" NT_STATUS_OK
Close 7 NT_STATUS_OK
NTCreateX "\clients\client1\b.txt" 0x40 0x5 8 NT_STATUS_OK
Unlink "\clients\client1\*.txt" 0x6 NT_STATUS_OK
Sleep 20 NT_STATUS_OK
"#;
        let expected = [
            (What::Look, 0, NONE),
            (What::Look, 0, NONE),
            (What::Look, 1, NONE),
            (What::Write, 1, (15, 2)),
            (What::Read, 1, (1, 1)),
            (What::Look, 1, NONE),
            (What::Flush, 1, NONE),
            (What::Look, 1, NONE),
            (What::Look, 0, NONE),
            (What::Look, 2, NONE),
            (What::Look, 1, NONE),
            (What::Delete, 2, NONE),
            (What::Look, 2, NONE),
            (What::Delete, 1, NONE),
            (What::Look, 1, NONE),
            (What::Look, 0, NONE),
            (What::Delete, 1, NONE),
            (What::Sleep, 0, (20_000 / 4096, 1)),
        ];
        assert_eq!(actions(text), expected);
        let load = load(&text.replace('\n', "\r\n")).expect("lines may end as on Windows");
        assert_eq!((load.operations(), load.files()), (15, 3));
        assert_eq!(load.moved(15), Moved { read_bytes: 4096, written_bytes: 3 });
        assert_eq!(load.moved(4), Moved { read_bytes: 0, written_bytes: 3 });
        assert_eq!(load.moved(35), Moved { read_bytes: 2 * 4096 + 4096, written_bytes: 9 });
        assert_eq!(format!("{load:?}"), "client.txt: 15 operations on 3 files");
    }

    #[test]
    fn a_round_ends_without_files() {
        let text = "NTCreateX a 0 2 1 NT_STATUS_OK\nNTCreateX b 0 2 2 NT_STATUS_OK\n";
        let load = load(text).expect("it is a load file");
        let left: Vec<Action> = load.actions[2..].to_vec();
        assert!(left.iter().all(|action| action.what() == What::Delete && !action.ends_operation()));
        assert_eq!(left.iter().map(|action| action.file()).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn errors_name_file_and_line() {
        let known = Operation::NAMES.map(|(name, _)| name).join(", ");
        assert_eq!(
            wrong("Deltree \"\\c\" NT_STATUS_OK\n\nFoo 1 NT_STATUS_OK\n"),
            format!("client.txt:3: unknown operation 'Foo'; expected one of {known}")
        );
        assert_eq!(wrong("ReadX 9 0 1 1 NT_STATUS_OK"), "client.txt:1: handle 9 is not open");
        let opened = |rest| wrong(&format!("NTCreateX a 0 2 1 NT_STATUS_OK\n{rest} NT_STATUS_OK"));
        assert_eq!(opened("ReadX 1 0 1"), "client.txt:2: argument 4 is missing; expected a number");
        assert_eq!(opened("WriteX 1 -1 1 1"), "client.txt:2: argument 2 is '-1'; expected a number");
        assert_eq!(
            opened("WriteX 1 17592186044416 1 1"),
            "client.txt:2: offset 17592186044416; expected what is below 17592186044416 bytes"
        );
        assert_eq!(
            opened("WriteX 1 0 4294967296 4294967296"),
            "client.txt:2: 4294967296 bytes; expected at most 4294967295"
        );
        assert_eq!(wrong(""), "client.txt:1: the file ends without an operation");
        assert_eq!(wrong("\n# nothing\n"), "client.txt:2: the file ends without an operation");
        let endless = Load::parse("zero", std::io::BufReader::new(std::io::repeat(0)));
        assert_eq!(
            endless.expect_err("it is wrong").to_string(),
            "zero:1: the line is longer than 2048 bytes"
        );
    }

    #[test]
    fn the_largest_file_is_read_to_its_end() {
        let text = "NTCreateX a 0 2 1 NT_STATUS_OK\nReadX 1 17592186044415 1 1 NT_STATUS_OK";
        assert_eq!(actions(text)[1], (What::Read, 1, (u32::MAX, 1)));
    }

    /// Lines that are nearly right.
    fn lines() -> impl Strategy<Value = Vec<u8>> {
        let name = prop::sample::select(Operation::NAMES.map(|(name, _)| name).to_vec());
        let word = prop_oneof!["\"[ab*?\\\\]{0,4}\"", "[0-3]", "0x[0-9a-f]{1,17}", "[0-9]{1,20}"];
        let status = prop::sample::select(vec!["NT_STATUS_OK", "NT_STATUS_NO", "0x0", ""]);
        let line = (name, prop::collection::vec(word, 0..5), status)
            .prop_map(|(name, words, status)| format!("{name} {} {status}\n", words.join(" ")));
        let opened = (0..4).map(|handle| format!("NTCreateX a{handle} 0 2 {handle} NT_STATUS_OK\n"));
        let opened = opened.collect::<String>();
        prop::collection::vec(line, 0..20)
            .prop_map(move |lines| format!("{opened}{}", lines.concat()).into_bytes())
    }

    fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..300)
    }

    proptest! {
        #[test]
        fn any_file_is_a_load_or_an_error(bytes in prop_oneof![lines(), any_bytes()]) {
            if let Ok(load) = Load::parse("any", &bytes[..]) {
                let over = load.actions.iter().filter(|action| action.ends_operation()).count() as u64;
                prop_assert_eq!(over, load.operations());
                prop_assert!(load.actions.iter().all(|action| action.file() < load.files()));
            }
        }
    }

    #[test]
    fn the_real_file_is_understood() {
        let Some(path) = super::super::find() else {
            println!("skipped: no load file of dbench is installed");
            return;
        };
        let file = std::fs::File::open(path).expect("it can be read");
        let load = Load::parse("client.txt", std::io::BufReader::new(file)).expect("it is a load file");
        println!("{load:?}, {:?}", load.moved);
        assert_eq!(load.operations(), 458_344);
    }
}
