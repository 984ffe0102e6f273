//! One paused guest of a real QEMU, written in three ways or read while it is there, reads the same. Passes without a look
//! where there is no QEMU.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{contents, page};
use esxcore_core::types::Page;
use esxcore_image::format::Format;
use esxcore_image::image::{Image, Options};
use esxcore_image::pages::Pages;

const QEMU: &str = "qemu-system-x86_64";
const MIB: u64 = 64;
/// Where the contents are put into the guest.
const FIRST_PAGE: usize = 512;
/// The end of the firmware, shown to the guest below 1 MiB; a stream, and who looks from outside, has the memory behind.
const SHADOW: std::ops::Range<usize> = 0xf0..0x100;

/// A running QEMU, which ends with the test.
struct Qemu(Child);

impl Qemu {
    /// Sends a line.
    fn say(&mut self, line: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Sends commands and the one that ends it, and waits, but not for ever.
    fn finish(mut self, commands: &str) {
        // Nobody reads what it says.
        drop(self.0.stdout.take());
        self.say(&format!("{commands}quit"));
        for _ in 0..600 {
            if self.0.try_wait().unwrap().is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Starts a guest with these contents, which never runs and takes commands on its standard input.
fn start(directory: &Path, payload: &[u8], memory: &[&str]) -> Qemu {
    let file = directory.join("payload");
    fs::write(&file, payload).unwrap();
    let loader = format!("loader,file={},addr={:#x},force-raw=on", file.display(), FIRST_PAGE * 4096);
    let mut command = Command::new(QEMU);
    command.args(["-S", "-accel", "tcg", "-display", "none", "-nodefaults", "-monitor", "stdio"]);
    command.args(["-m", &format!("{MIB}M"), "-device", &loader]).args(memory);
    Qemu(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
}

/// Whether the tests can be made.
fn has_qemu() -> bool {
    let found = Command::new(QEMU).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("skipped: there is no {QEMU}");
    }
    found
}

/// Contents with zero pages and copies.
fn payload() -> Vec<Page> {
    let seeds = (0..2000_u32).map(|index| if index % 7 < 3 { 0 } else { (index % 200) as u8 });
    seeds.map(page).collect()
}

/// The command that writes the memory of the guest into a file.
fn save(directory: &Path) -> String {
    format!("pmemsave 0 {} \"{}\"\n", MIB << 20, directory.join("raw").display())
}

#[test]
fn three_dumps_of_one_guest_agree() {
    if !has_qemu() {
        return;
    }
    let payload = payload();
    let directory = tempfile::tempdir().unwrap();
    let name = |file: &str| directory.path().join(file).display().to_string();
    let qemu = start(directory.path(), payload.as_flattened(), &["-machine", "microvm"]);
    let more = format!("dump-guest-memory {}\nmigrate \"exec:cat > {}\"\n", name("elf"), name("stream"));
    qemu.finish(&(save(directory.path()) + &more));
    let read = |file: &str, format: Format| {
        let image = Image::open(&directory.path().join(file), &Options::default()).unwrap();
        assert_eq!(image.format(), format);
        assert_eq!(u64::from(image.pages()), MIB << 8, "{format}");
        contents(&image, 256)
    };
    let raw = read("raw", Format::Raw);
    assert!(raw[FIRST_PAGE..FIRST_PAGE + payload.len()] == payload[..], "the guest has its contents");
    assert!(read("elf", Format::Elf) == raw);
    let mut stream = read("stream", Format::Migration);
    stream[SHADOW].copy_from_slice(&raw[SHADOW]);
    assert!(stream == raw);
}

#[cfg(target_os = "linux")]
mod live {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use esxcore_image::map::zero_pages;
    use esxcore_image::process::{Backing, Kind, Process};

    use super::*;

    /// What reading must not change: of each page of guest memory whether it is present, swapped or of a file.
    fn states(process: &Process) -> Vec<u64> {
        let [region] = process.regions() else { panic!("one region: {:?}", process.regions()) };
        let pagemap = fs::File::open(format!("/proc/{}/pagemap", process.pid())).unwrap();
        let mut bytes = vec![0; (region.end - region.start) as usize / 512];
        pagemap.read_exact_at(&mut bytes, region.start / 512).unwrap();
        bytes.chunks_exact(8).map(|entry| u64::from_ne_bytes(entry.try_into().unwrap()) >> 61).collect()
    }

    /// Waits until the guest is made and its contents are in place.
    fn paused(qemu: &mut Qemu) {
        qemu.say("info status");
        let lines = BufReader::new(qemu.0.stdout.as_mut().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.starts_with("VM status: paused")));
    }

    /// Reads a guest with memory of this kind from outside and compares it with what the guest says; returns which of
    /// its pages were present.
    fn agrees(directory: &Path, memory: &[&str], backing: Backing, before: impl Fn()) -> Vec<usize> {
        let payload = payload();
        let mut qemu = start(directory, payload.as_flattened(), memory);
        paused(&mut qemu);
        before();
        let process = Process::open(qemu.0.id()).unwrap();
        let was = states(&process);
        let mut pages = zero_pages(process.pages() as usize);
        for (piece, first) in pages.chunks_mut(300).zip((0..).step_by(300)) {
            process.read_pages(first, piece).unwrap();
        }
        assert!(states(&process) == was);
        assert_eq!((process.kind(), process.lost_pages()), (Kind::Qemu, 0));
        let region = &process.regions()[0];
        assert_eq!((region.end - region.start, region.backing), (MIB << 20, backing));
        assert_eq!(u64::from(region.pages) + process.absent_pages(), MIB << 8);

        qemu.finish(&save(directory));
        let read = process.read_pages(0, &mut zero_pages(1));
        assert!(read.unwrap_err().to_string().contains("it has ended"));
        let mut rest = fs::read(directory.join("raw")).unwrap();
        let mut present = vec![];
        for (number, page) in (0..).zip(&pages) {
            let frame = ((process.address(number).unwrap() - region.start) / 4096) as usize;
            assert!(SHADOW.contains(&frame) || rest[frame * 4096..][..4096] == *page, "page {frame}");
            rest[frame * 4096..][..4096].fill(0);
            present.push(frame);
        }
        rest[SHADOW.start * 4096..SHADOW.end * 4096].fill(0);
        assert!(rest.iter().all(|byte| *byte == 0), "what is absent reads zero");
        assert!((FIRST_PAGE..FIRST_PAGE + payload.len()).all(|frame| present.contains(&frame)));
        assert!(present.len() < payload.len() + 1000, "and most is absent: {}", present.len());
        present
    }

    #[test]
    fn anonymous_memory_of_a_guest_is_read() {
        if has_qemu() {
            let directory = tempfile::tempdir().unwrap();
            agrees(directory.path(), &["-machine", "microvm"], Backing::Mapped, || ());
        }
    }

    #[test]
    fn a_private_file_of_a_guest_is_read_as_far_as_it_is_mapped() {
        if has_qemu() {
            let directory = tempfile::tempdir_in("/dev/shm").unwrap();
            let path = directory.path().join("ram");
            let object =
                format!("memory-backend-file,id=m,size={MIB}M,mem-path={},share=off", path.display());
            let memory = ["-machine", "microvm,memory-backend=m", "-object", &object];
            agrees(directory.path(), &memory, Backing::Mapped, || ());
        }
    }

    #[test]
    fn a_nameless_file_in_memory_of_a_guest_is_read() {
        if has_qemu() {
            let directory = tempfile::tempdir().unwrap();
            let object = format!("memory-backend-memfd,id=m,size={MIB}M");
            let memory = ["-machine", "microvm,memory-backend=m", "-object", &object];
            agrees(directory.path(), &memory, Backing::File, || ());
        }
    }

    #[test]
    fn a_shared_file_of_a_guest_is_read_as_far_as_it_is_allocated() {
        if !has_qemu() {
            return;
        }
        // A file system in memory, where a page allocated by others is not in the tables of QEMU.
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = directory.path().join("ram");
        let object = format!("memory-backend-file,id=m,size={MIB}M,mem-path={},share=on", path.display());
        let memory = ["-machine", "microvm,memory-backend=m", "-object", &object];
        let elsewhere = 10_000;
        let blocks = std::cell::Cell::new(0);
        let present = agrees(directory.path(), &memory, Backing::File, || {
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.write_all_at(&page(77), elsewhere as u64 * 4096).unwrap();
            blocks.set(file.metadata().unwrap().blocks());
        });
        assert!(present.contains(&elsewhere));
        assert_eq!(
            blocks.get(),
            present.len() as u64 * 8,
            "all that is allocated, before pmemsave fills the rest"
        );
    }
}
