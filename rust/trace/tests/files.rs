//! Files of all formats, whole and broken: what is read, and what is said of what cannot be.

use std::fs;
use std::path::{Path, PathBuf};

use esxcore_core::page_trace::PageTrace;
use esxcore_trace::error::Error;
use esxcore_trace::formats::{BLOCK_RECORDS, Block, Format};
use esxcore_trace::load::load;
use esxcore_trace::reader::Reader;
use proptest::prelude::*;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use tempfile::TempDir;

/// A folder of files.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).expect("a file");
        path
    }
}

fn read(path: &Path) -> Result<PageTrace, Error> {
    load(path, None, &mut || Ok(()))
}

/// What is said of a file, without its name.
fn said(name: &str, bytes: &[u8]) -> String {
    let folder = Folder::new();
    let path = folder.file(name, bytes);
    let text = read(&path).expect_err("refused").to_string();
    assert!(!text.contains('\n'), "{text}");
    text.strip_prefix(&format!("{}: ", path.display())).expect("names the file").to_string()
}

fn record(id: u64, next: i64) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..4].copy_from_slice(&7u32.to_le_bytes());
    bytes[4..12].copy_from_slice(&id.to_le_bytes());
    bytes[12..16].copy_from_slice(&4096u32.to_le_bytes());
    bytes[16..].copy_from_slice(&next.to_le_bytes());
    bytes
}

fn records(ids: &[u64]) -> Vec<u8> {
    ids.iter().flat_map(|id| record(*id, -1)).collect()
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec(bytes, CompressionLevel::Fastest)
}

/// Dense numbers in the order of first references, slow and obvious.
fn dense(ids: &[u64]) -> Vec<u32> {
    let mut seen: Vec<u64> = vec![];
    let mut number = |id: &u64| {
        let place = seen.iter().position(|other| other == id);
        place.unwrap_or_else(|| {
            seen.push(*id);
            seen.len() - 1
        }) as u32
    };
    ids.iter().map(&mut number).collect()
}

/// References as lines, half of them in another style.
fn lines(references: &[(u64, bool)]) -> String {
    let line = |(id, write): &(u64, bool)| {
        if *write { format!("{id},w\n") } else { format!(" {id:#x} , R\r\n") }
    };
    references.iter().map(line).collect()
}

const HEADS: [&[u8]; 4] = [b"", &[0x28, 0xb5, 0x2f, 0xfd], b"page,write\n", b"1,1\n"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_format_says_the_same(
        draws in prop::collection::vec((0usize..60, any::<bool>()), 1..400),
        ids in prop::collection::vec(any::<u64>(), 60),
    ) {
        let folder = Folder::new();
        let references: Vec<(u64, bool)> = draws.iter().map(|(draw, write)| (ids[*draw], *write)).collect();
        let pages: Vec<u64> = references.iter().map(|reference| reference.0).collect();
        let (binary, text) = (records(&pages), lines(&references));
        let shifted: String = text.lines().map(|line| format!("9,{line}\n")).collect();
        let headed = format!("\u{feff}time,page,write\r\n\r\n{shifted}");
        let files = [
            (folder.file("a.oracleGeneral", &binary), false),
            (folder.file("a.oracleGeneral.zst", &packed(&binary)), false),
            (folder.file("a", &packed(&binary)), false),
            (folder.file("a.csv", text.as_bytes()), true),
            (folder.file("b.csv", format!("PAGE, \"write\"\n{text}").as_bytes()), true),
            (folder.file("b.csv.zst", &packed(text.as_bytes())), true),
            (folder.file("b", headed.as_bytes()), true),
        ];
        let wanted = dense(&pages);
        for (file, knows_writes) in files {
            let trace = read(&file).expect("whole");
            prop_assert_eq!(trace.pages(), &wanted[..], "{}", file.display());
            prop_assert_eq!(trace.distinct(), wanted.iter().max().expect("some") + 1);
            prop_assert_eq!(trace.knows_writes(), knows_writes);
            let writes = (0..trace.len()).map(|index| trace.record(index).write);
            prop_assert!(writes.eq(references.iter().map(|reference| reference.1 && knows_writes)));
        }
    }

    /// Whatever the bytes: records, or one line; never a panic.
    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        name in prop::sample::select(&["x", "x.csv", "x.bin", "x.zst"]),
        head in prop::sample::select(&HEADS),
    ) {
        let folder = Folder::new();
        if let Err(error) = read(&folder.file(name, &[head, &bytes].concat())) {
            prop_assert!(!error.to_string().contains('\n'), "{}", error);
        }
    }

    /// A packed file with one byte changed is never taken for another trace without a word.
    #[test]
    fn damage_is_noticed(place in 0usize..10_000, change in 1u8..) {
        let folder = Folder::new();
        let ids: Vec<u64> = (0..3000).map(|i| i * i % 1009).collect();
        let mut bytes = packed(&records(&ids));
        let place = place % bytes.len();
        bytes[place] ^= change;
        match read(&folder.file("x.bin.zst", &bytes)) {
            Err(error) => prop_assert!(!error.to_string().contains('\n')),
            // Some bits of a frame mean nothing.
            Ok(trace) => prop_assert_eq!(trace.pages(), &dense(&ids)[..]),
        }
    }
}

#[test]
fn long_files_are_read_across_blocks() {
    let ids: Vec<u64> = (0..3 * BLOCK_RECORDS as u64 + 5).map(|i| i % 1013).collect();
    let folder = Folder::new();
    let lines: String = ids.iter().map(|id| format!("{id}\n")).collect();
    let (binary, half) = (records(&ids), 24 * 5000 + 7);
    let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    let frames = [packed(&binary[..half]), skippable, packed(&binary[half..])].concat();
    for (name, bytes) in [("a.bin", &binary[..]), ("a.csv", lines.as_bytes()), ("b.bin.zst", &frames)] {
        let trace = read(&folder.file(name, bytes)).expect("whole");
        assert_eq!(trace.pages(), dense(&ids), "{name}");
    }
}

#[test]
fn a_cut_file_names_the_record() {
    let whole = records(&[1, 2, 1, 5]);
    assert_eq!(said("a.bin", &whole[..95]), "truncated: record 3 has 23 bytes; expected 24");
    assert_eq!(said("a.bin", &whole[..1]), "truncated: record 0 has 1 bytes; expected 24");
    // Two frames of five blocks each: what is cut is the second.
    let frame = packed(&records(&(0..5 * BLOCK_RECORDS as u64).collect::<Vec<_>>()));
    let both = [&frame[..], &frame].concat();
    for (cut, records) in [(4, 0), (5, 0), (100, 0), (frame.len() + 1, 5), (frame.len() + 200, 5)] {
        let wanted = format!(
            "truncated: the packed data end at byte {cut} in the middle of a zstd frame; {} records were read",
            records * BLOCK_RECORDS
        );
        assert_eq!(said("a.zst", &both[..cut]), wanted);
    }
    let whole_frame = said("a.csv.zst", &frame);
    assert!(whole_frame.starts_with("line 1 "), "{whole_frame}");
}

#[test]
fn damaged_data_are_told_from_cut_ones() {
    let frame = packed(&records(&(0..1000).collect::<Vec<_>>()));
    let junk = [&frame[..], b"junk that is no frame"].concat();
    let text = said("a.zst", &junk);
    let start = format!("damaged: near byte {} are no zstd data (", frame.len() + 4);
    assert!(text.starts_with(&start) && text.ends_with("); 1000 records were read"), "{text}");
}

#[test]
fn another_files_records_are_refused() {
    let mut bytes = records(&(0..9000).collect::<Vec<_>>());
    bytes[5000 * 24 + 16..][..8].copy_from_slice(&(-2i64).to_le_bytes());
    let text = "record 5000 names -2 as its next access; expected -1 or more: it is no oracleGeneral file";
    assert_eq!(said("a.bin", &bytes), text);
}

#[test]
fn lines_that_are_none_are_named() {
    let pages = "a page number from 0 to 2**64 - 1";
    let nothing = "it has no records".to_string();
    let cases = [
        ("1\n2\n-3\n", format!("line 3: page is \"-3\"; expected {pages}")),
        ("1\n18446744073709551616\n", format!("line 2: page is \"18446744073709551616\"; expected {pages}")),
        ("0x\n", "line 1 names the columns \"0x\"; expected one of them to be \"page\"".into()),
        ("1\n0xfg", format!("line 2: page is \"0xfg\"; expected {pages}")),
        ("1,1\n2\n", "line 2 has 1 columns; expected 2 or more".into()),
        (
            "1,1\n\n2,x\n",
            "line 3: write is \"x\"; expected 0 or 1, r or w, read or write, false or true".into(),
        ),
        (
            "addr,size\n1,2\n",
            "line 1 names the columns \"addr,size\"; expected one of them to be \"page\"".into(),
        ),
        ("write,page\n1,2\n0\n", "line 3 has 1 columns; expected 2 or more".into()),
        ("page\n", nothing.clone()),
        ("\n \r\n", nothing.clone()),
        ("1\n1e5\n", format!("line 2: page is \"1e5\"; expected {pages}")),
    ];
    for (text, wanted) in cases {
        assert_eq!(said("a.csv", text.as_bytes()), wanted);
    }
    let long = [b"1\n".to_vec(), vec![b'1'; 100_000]].concat();
    assert_eq!(said("a.csv", &long), "line 2 is longer than 4096 bytes");
    assert_eq!(said("a.csv", &vec![b'\n'; 70_000]), nothing);
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = Folder::new();
    let refused = |path: &Path| read(path).expect_err("refused").to_string();
    let here = folder.0.path();
    assert_eq!(refused(here), format!("{}: it is a directory; expected a regular file", here.display()));
    assert_eq!(refused(Path::new("/dev/zero")), "/dev/zero: it is a device; expected a regular file");
    let missing = here.join("missing");
    assert_eq!(refused(&missing), format!("{}: there is no such file", missing.display()));
    assert_eq!(said("a.bin", b""), "the file is empty");
    assert_eq!(said("a.bin.zst", &packed(b"")), "the file is empty");
    assert_eq!(said("a.csv.zst", &packed(b"page\n")), "it has no records");
}

#[test]
fn names_tell_formats() {
    let of = |name: &str| Format::of_name(Path::new(name));
    assert_eq!(of("w89.oracleGeneral.bin.zst"), Some(Format::OracleGeneral));
    assert_eq!(of("w89.oracleGeneral"), Some(Format::OracleGeneral));
    assert_eq!(of("A.CSV"), Some(Format::Csv));
    assert_eq!((of("trace"), of("a.csv/trace"), of("trace.zst")), (None, None, None));
    assert_eq!("CSV".parse(), Ok(Format::Csv));
    let unknown = "lcs".parse::<Format>().expect_err("unknown").to_string();
    assert_eq!(unknown, "\"lcs\" is no trace format; expected oracleGeneral, csv");
}

#[test]
fn a_pulse_ends_a_walk() {
    let folder = Folder::new();
    let path = folder.file("a.bin", &records(&vec![1; 3 * BLOCK_RECORDS]));
    let mut pulses = 0;
    let ended = load(&path, None, &mut || {
        pulses += 1;
        if pulses == 2 { Err(Error::Interrupted) } else { Ok(()) }
    });
    assert_eq!((ended, pulses), (Err(Error::Interrupted), 2));
}

#[test]
fn a_file_that_changes_while_it_is_read() {
    let folder = Folder::new();
    let ids: Vec<u64> = (0..3 * BLOCK_RECORDS as u64).collect();
    let (path, mut block) = (folder.file("a.bin", &records(&ids)), Block::default());
    let mut reader = Reader::open(&path, None).expect("a file");
    assert_eq!(reader.next(&mut block), Ok(true));
    fs::write(&path, &records(&ids)[..24 * BLOCK_RECORDS + 5]).expect("written");
    let end = 24 * BLOCK_RECORDS as u64 + 5;
    let fact = Box::new(Error::Shrunk { opened: 72 * BLOCK_RECORDS as u64, end });
    assert_eq!(reader.next(&mut block), Err(Error::InFile { path: path.clone(), fact }));

    // What is appended is not read.
    let mut reader = Reader::open(&folder.file("a.bin", &records(&[4, 4])), None).expect("a file");
    fs::write(&path, records(&ids)).expect("written");
    assert_eq!(reader.next(&mut block), Ok(true));
    assert_eq!((block.ids.len(), reader.next(&mut block), reader.records()), (2, Ok(false), 2));
}
