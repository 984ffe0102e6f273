//! Running processes: their present pages are found and read, and the process is as before.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use esxcore_core::types::{PAGE_SIZE, Page, ZERO_PAGE};
use esxcore_image::error::Error;
use esxcore_image::map::{Run, RunKind, zero_pages};
use esxcore_image::pages::Pages;
use esxcore_image::process::{Backing, Kind, Process};

/// Pages of the area that the child plants: with contents, zero but written, and never touched.
const PLANTED: u64 = 600;
const WRITTEN: u64 = 800;
const AREA: u64 = 1000;
/// Distinct contents among them.
const DISTINCT: u64 = 300;
/// Planted pages that the child gives back at once.
const GIVEN_BACK: std::ops::Range<u64> = 100..150;
const SIGNATURE: &str = "planted ";

/// Plants pages, says where, and does what it is told line by line.
const CHILD: &str = r#"
import ctypes, mmap, os, sys
PAGE = 4096
planted, written, area, distinct, back, back_end, flags = map(int, sys.argv[1:])
memory = mmap.mmap(-1, area * PAGE, flags=flags)
memory.madvise(mmap.MADV_NOHUGEPAGE)
for page in range(written):
    text = b"planted %08d " % (page % distinct)
    memory[page * PAGE : (page + 1) * PAGE] = (text * 300)[:PAGE] if page < planted else bytes(PAGE)
if flags & mmap.MAP_PRIVATE:
    memory.madvise(mmap.MADV_DONTNEED, back * PAGE, (back_end - back) * PAGE)
handle = ctypes.c_char.from_buffer(memory)
print(ctypes.addressof(handle), flush=True)
for line in sys.stdin:
    if line == "drop\n":
        memory.madvise(mmap.MADV_DONTNEED, 0, 10 * PAGE)
    elif line == "look\n":
        sum(memory[page * PAGE] for page in range(written, area))
    elif line == "unmap\n":
        del handle
        memory.close()
    elif line == "become\n":
        os.execvp("cat", ["cat"])
    print("done", flush=True)
"#;

/// Flags of mappings, as Linux numbers them everywhere.
const PRIVATE: u32 = 0x22;
const SHARED: u32 = 0x21;

struct Planted {
    child: Child,
    lines: BufReader<ChildStdout>,
    address: u64,
}

impl Planted {
    fn new(flags: u32) -> Self {
        let numbers = [PLANTED, WRITTEN, AREA, DISTINCT, GIVEN_BACK.start, GIVEN_BACK.end, u64::from(flags)];
        let mut command = Command::new("python3");
        command.args(["-c", CHILD]).args(numbers.map(|number| number.to_string()));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut planted = Self { child, lines, address: 0 };
        planted.address = planted.line().parse().unwrap();
        planted.settle();
        planted
    }

    /// Lets the child go once round its loop and fall asleep: it takes memory for its input when it first reads.
    fn settle(&mut self) {
        for _ in 0..3 {
            self.tell("nothing");
        }
        let state = || fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        while !state().contains("State:\tS") {
            std::thread::yield_now();
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_string()
    }

    fn say(&mut self, word: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{word}").unwrap();
    }

    fn tell(&mut self, word: &str) {
        self.say(word);
        assert_eq!(self.line(), "done");
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn open(&self) -> Process {
        Process::open(self.pid()).unwrap()
    }

    /// Numbers of the pages of the area that are in the source, by their place in the area.
    fn found(&self, process: &Process) -> BTreeMap<u64, u32> {
        let pages = (0..process.pages()).map(|page| (process.address(page).unwrap(), page));
        let area = self.address..self.address + AREA * 4096;
        pages.filter(|(at, _)| area.contains(at)).map(|(at, page)| ((at - area.start) / 4096, page)).collect()
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn planted(index: u64) -> Page {
    let text = format!("{SIGNATURE}{:08} ", index % DISTINCT);
    let mut page = ZERO_PAGE;
    page.iter_mut().zip(text.bytes().cycle()).for_each(|(to, from)| *to = from);
    page
}

fn read_all(process: &Process, most: usize) -> Vec<Page> {
    let mut all = zero_pages(process.pages() as usize);
    for (piece, first) in all.chunks_mut(most).zip((0..).step_by(most)) {
        process.read_pages(first, piece).unwrap();
    }
    all
}

/// What must stay as it is: sizes, and of each page whether it is present, swapped or of a file.
fn footprint(pid: u32) -> (String, Vec<u64>) {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    let wanted = ["VmRSS:", "RssAnon:", "RssFile:", "RssShmem:", "VmSwap:", "VmPTE:", "Rss:", "Anonymous:"];
    let both = read("status") + &read("smaps_rollup");
    let sizes = both.lines().filter(|line| wanted.iter().any(|name| line.starts_with(name)));
    let sizes = sizes.collect::<Vec<_>>().join("\n");
    let pagemap = File::open(format!("/proc/{pid}/pagemap")).unwrap();
    let mut states = vec![];
    for line in read("maps").lines().filter(|line| !line.contains("[vsyscall]")) {
        let (start, rest) = line.split_once('-').unwrap();
        let number = |text: &str| u64::from_str_radix(text, 16).unwrap() / 4096;
        let pages = number(start)..number(rest.split(' ').next().unwrap());
        let mut bytes = vec![0; (pages.end - pages.start) as usize * 8];
        pagemap.read_exact_at(&mut bytes, pages.start * 8).unwrap();
        let entries = bytes.chunks_exact(8).map(|entry| u64::from_ne_bytes(entry.try_into().unwrap()) >> 61);
        states.extend(entries);
    }
    (sizes, states)
}

#[test]
fn planted_pages_are_found_and_the_process_stays_as_it_is() {
    for flags in [PRIVATE, SHARED] {
        let child = Planted::new(flags);
        let before = footprint(child.pid());
        let process = child.open();
        let pages = read_all(&process, 700);
        assert!(pages == read_all(&process, 3), "pieces do not matter");
        assert_eq!(footprint(child.pid()), before);
        assert_eq!((process.kind(), process.pid(), process.lost_pages()), (Kind::Plain, child.pid(), 0));

        let given_back = |index: &u64| flags == PRIVATE && GIVEN_BACK.contains(index);
        let expected: Vec<u64> = (0..WRITTEN).filter(|index| !given_back(index)).collect();
        let found = child.found(&process);
        assert!(found.keys().eq(&expected));
        for (index, page) in &found {
            let content = if *index < PLANTED { planted(*index) } else { ZERO_PAGE };
            assert!(pages[*page as usize] == content, "page {index}");
        }
        let signed = pages.iter().filter(|page| page.starts_with(SIGNATURE.as_bytes())).count();
        assert_eq!(signed, expected.iter().filter(|index| **index < PLANTED).count());
        let region = process.regions().iter().find(|region| region.start <= child.address).unwrap();
        assert!(region.end > region.start && region.backing == Backing::Mapped);
    }
}

#[test]
fn regions_add_up() {
    let child = Planted::new(PRIVATE);
    let process = child.open();
    let regions = process.regions();
    assert_eq!(regions.iter().map(|region| region.pages).sum::<u32>(), process.pages());
    assert!(regions.windows(2).all(|pair| pair[0].end <= pair[1].start));
    assert!(regions.windows(2).all(|pair| pair[0].first + pair[0].pages == pair[1].first));
    for region in regions.iter().filter(|region| region.pages > 0) {
        let last = region.first + region.pages - 1;
        assert!(process.address(region.first).unwrap() >= region.start);
        assert!(process.address(last).unwrap() < region.end);
    }
    let area = regions.iter().find(|region| (region.start..region.end).contains(&child.address)).unwrap();
    let given_back = GIVEN_BACK.end - GIVEN_BACK.start;
    assert!(area.absent() >= AREA - WRITTEN + given_back);
    assert!(process.absent_pages() >= area.absent());
    assert!(!regions.iter().any(|region| region.name.starts_with("[v")));
    assert!(regions.iter().any(|region| region.name == "[stack]"));
    assert_eq!(process.run(2, 5), Ok(Run { first: 2, pages: 5, kind: RunKind::Data }));
    assert_eq!(process.run(2, u32::MAX).unwrap().pages, process.pages() - 2);
}

#[test]
fn pages_of_the_zero_page_are_counted() {
    let mut child = Planted::new(PRIVATE);
    let zero_mapped = |process: &Process| {
        let area =
            |region: &&esxcore_image::process::Region| (region.start..region.end).contains(&child.address);
        process.regions().iter().find(area).unwrap().zero_mapped
    };
    let before = zero_mapped(&child.open());
    child.tell("look");
    let process = child.open();
    let area = process.regions().iter().find(|region| (region.start..region.end).contains(&child.address));
    assert_eq!(area.unwrap().zero_mapped, before + AREA - WRITTEN);
}

#[test]
fn several_threads_read_at_once() {
    let child = Planted::new(PRIVATE);
    let process = child.open();
    let pages = read_all(&process, 512);
    std::thread::scope(|scope| {
        for most in [1, 100, 256, 4096] {
            let (process, pages) = (&process, &pages);
            scope.spawn(move || assert!(read_all(process, most) == *pages));
        }
    });
}

#[test]
fn a_page_that_has_gone_reads_zero_and_stays_away() {
    let mut child = Planted::new(PRIVATE);
    let process = child.open();
    let found = child.found(&process);
    child.tell("drop");
    let before = footprint(child.pid());
    let pages = read_all(&process, 64);
    assert_eq!(footprint(child.pid()), before);
    assert_eq!(process.lost_pages(), 10);
    assert!((0..10).all(|index| pages[found[&index] as usize] == ZERO_PAGE));
    assert!(pages[found[&10] as usize] == planted(10));

    child.tell("unmap");
    let mut area = zero_pages(found.len());
    process.read_pages(found[&0], &mut area).unwrap();
    assert!(area.iter().all(|page| *page == ZERO_PAGE));
    assert_eq!(process.lost_pages(), 10 + found.len() as u64);
}

#[test]
fn a_process_that_ends_while_it_is_read_is_named() {
    let mut child = Planted::new(PRIVATE);
    let process = child.open();
    let ended = Error::InProcess { pid: child.pid(), fact: Box::new(Error::Ended) };
    child.child.kill().unwrap();
    // Not waited for yet: what is left of it has no memory.
    while !fs::read_to_string(format!("/proc/{}/stat", child.pid())).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    assert_eq!(process.read_pages(0, &mut zero_pages(4)), Err(ended.clone()));
    assert_eq!(Process::open(child.pid()).unwrap_err(), ended);
    child.child.wait().unwrap();
    assert_eq!(process.read_pages(0, &mut zero_pages(4)), Err(ended));
    let text = Process::open(child.pid()).unwrap_err().to_string();
    assert_eq!(text, format!("process {}: there is no such process", child.pid()));
}

#[test]
fn another_program_is_not_read_in_its_place() {
    let mut child = Planted::new(PRIVATE);
    let process = child.open();
    child.say("become");
    while fs::read_to_string(format!("/proc/{}/comm", child.pid())).unwrap() != "cat\n" {
        std::thread::yield_now();
    }
    let error = process.read_pages(0, &mut zero_pages(4)).unwrap_err();
    let text = format!("process {}: it has ended, or runs another program now", child.pid());
    assert_eq!(error.to_string(), text);
}

#[test]
fn what_is_no_process_is_named() {
    for pid in [0, u32::MAX, i32::MAX as u32] {
        let text = Process::open(pid).unwrap_err().to_string();
        assert_eq!(text, format!("process {pid}: there is no such process"));
    }
    let first_thread = fs::read_to_string("/proc/2/comm").unwrap_or_default();
    if first_thread == "kthreadd\n" {
        let text = Process::open(2).unwrap_err().to_string();
        assert_eq!(text, "process 2: it is a kernel thread, which has no memory of its own");
    } else {
        eprintln!("skipped: no kernel thread can be seen here");
    }
}

#[test]
fn pages_out_of_range_are_refused() {
    let process = Planted::new(PRIVATE).open();
    let (pid, pages) = (process.pid(), process.pages());
    let outside = |first: u32, count: u64| {
        let fact = Box::new(Error::OutOfRange { first: u64::from(first), count, pages });
        Error::InProcess { pid, fact }
    };
    assert_eq!(process.run(pages, 1), Err(outside(pages, 1)));
    assert_eq!(process.address(u32::MAX), Err(outside(u32::MAX, 1)));
    assert_eq!(process.read_pages(pages - 1, &mut zero_pages(2)), Err(outside(pages - 1, 2)));
}

#[test]
fn a_caller_can_end_the_opening() {
    let child = Planted::new(PRIVATE);
    let mut left = 3;
    let ended = Process::open_with(child.pid(), &mut || {
        left -= 1;
        if left == 0 { Err(Error::Interrupted) } else { Ok(()) }
    });
    assert_eq!(ended.unwrap_err(), Error::Interrupted);
}

#[test]
fn a_process_can_look_at_itself() {
    let own: Vec<Page> = (0..64).map(planted).collect();
    let process = Process::open(std::process::id()).unwrap();
    let start = (own.as_ptr() as u64).next_multiple_of(4096);
    let first = (0..process.pages()).find(|page| process.address(*page) == Ok(start)).unwrap();
    let mut pages = zero_pages(63);
    process.read_pages(first, &mut pages).unwrap();
    let skipped = (start - own.as_ptr() as u64) as usize;
    assert!(pages.as_flattened() == &own.as_flattened()[skipped..skipped + 63 * PAGE_SIZE]);
}

/// Set for a copy of this test program that runs as another user; says which process to open.
const TO_OPEN: &str = "ESXCORE_TEST_PROCESS_TO_OPEN";

#[test]
fn open_as_another_user() {
    if let Ok(pid) = std::env::var(TO_OPEN) {
        println!("said: {}", Process::open(pid.parse().unwrap()).unwrap_err());
    }
}

#[test]
fn a_process_of_another_user_is_refused() {
    let child = Planted::new(PRIVATE);
    let expected = |pid: u32| {
        format!(
            "process {pid}: no permission to read its memory; be the same user, or have CAP_SYS_PTRACE (needed if \
             kernel.yama.ptrace_scope is not 0)"
        )
    };
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        // Not root: the first process of the system is another user's, if it can be seen.
        if fs::metadata("/proc/1").is_ok_and(|first| first.uid() == 0) {
            assert_eq!(Process::open(1).unwrap_err().to_string(), expected(1));
        }
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut other = Command::new(&program);
    other.args(["--exact", "open_as_another_user", "--nocapture"]);
    other.env(TO_OPEN, child.pid().to_string()).current_dir("/").uid(65534).gid(65534);
    let output = other.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains(&format!("said: {}\n", expected(child.pid()))), "{text} {output:?}");
}
