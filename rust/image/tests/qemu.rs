//! One paused guest of a real QEMU, written in three ways, reads the same. Passes without a look where there is no QEMU.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs;
use std::io::Write;
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
/// The end of the firmware, shown to the guest below 1 MiB; a stream has the memory behind it.
const SHADOW: std::ops::Range<usize> = 0xf0..0x100;

/// Waits, but not for ever.
fn wait(mut qemu: Child) {
    for _ in 0..600 {
        if qemu.try_wait().unwrap().is_some() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    qemu.kill().unwrap();
    qemu.wait().unwrap();
}

/// Starts a guest with these contents, which never runs, and has its memory written into files.
fn dump(directory: &Path, payload: &[u8]) {
    let name = |file: &str| directory.join(file).display().to_string();
    fs::write(directory.join("payload"), payload).unwrap();
    let loader = format!("loader,file={},addr={:#x},force-raw=on", name("payload"), FIRST_PAGE * 4096);
    let mut command = Command::new(QEMU);
    command.args(["-S", "-machine", "microvm", "-accel", "tcg", "-display", "none", "-nodefaults"]);
    command.args(["-m", &format!("{MIB}M"), "-monitor", "stdio", "-device", &loader]);
    let mut qemu = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let commands = format!(
        "pmemsave 0 {} \"{}\"\ndump-guest-memory {}\nmigrate \"exec:cat > {}\"\nquit\n",
        MIB << 20,
        name("raw"),
        name("elf"),
        name("stream"),
    );
    qemu.stdin.as_mut().unwrap().write_all(commands.as_bytes()).unwrap();
    wait(qemu);
}

#[test]
fn three_dumps_of_one_guest_agree() {
    if Command::new(QEMU).arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: there is no {QEMU}");
        return;
    }
    let seeds = (0..2000_u32).map(|index| if index % 7 < 3 { 0 } else { (index % 200) as u8 });
    let payload: Vec<Page> = seeds.map(page).collect();
    let directory = tempfile::tempdir().unwrap();
    dump(directory.path(), payload.as_flattened());
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
