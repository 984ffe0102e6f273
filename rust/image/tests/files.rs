//! Files: what is said of a bad one, what happens when one changes, and that holes stay holes.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use common::{Guest, contents, page, samples, vmem, vmss};
use esxcore_image::error::Error;
use esxcore_image::format::Format;
use esxcore_image::image::{Image, Options};
use esxcore_image::map::{RunKind, zero_pages};
use esxcore_image::pages::Pages;
use tempfile::TempDir;

fn open(path: &Path) -> Result<Image, String> {
    Image::open(path, &Options::default()).map_err(|error| error.to_string())
}

/// A file of these bytes in a directory of its own.
fn file(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, bytes).unwrap();
    (directory, path)
}

#[test]
fn every_format_reads_the_same_from_a_file() {
    let guest = Guest::new(&[(2, &[1, 0, 3]), (5, &[0, 0, 9, 9])]);
    for sample in samples(&guest, 5000) {
        let (directory, path) =
            file(if sample.format == Format::Vmem { "guest.vmem" } else { "guest" }, &sample.bytes);
        if let Some(beside) = &sample.beside {
            fs::write(directory.path().join("guest.vmsn"), beside).unwrap();
        }
        let image = open(&path).unwrap();
        assert_eq!(image.format(), sample.format);
        assert_eq!(image.path(), Some(&*path));
        assert!(contents(&image, 3) == guest.pages(), "{}", sample.name);
    }
}

#[test]
fn a_bad_file_is_named_in_one_line() {
    let (directory, odd) = file("odd", &[0; 5000]);
    let expect = |path: &Path, text: &str| {
        assert_eq!(open(path).unwrap_err(), format!("{}: {text}", path.display()));
    };
    expect(&odd, "the size is 5000 bytes; expected a multiple of 4096");
    expect(&directory.path().join("none"), "there is no such file");
    expect(directory.path(), "it is a directory; expected a memory image");
    expect(Path::new("/dev/null"), "it is a device; expected a regular file");
    let empty = directory.path().join("empty");
    File::create(&empty).unwrap();
    expect(&empty, "the file is empty");
    let pipe = directory.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    expect(&pipe, "it is a pipe; expected a regular file");
    let huge = directory.path().join("huge");
    File::create(&huge).unwrap().set_len((1 << 44) - 4096).ok();
    if huge.metadata().unwrap().len() > 0 {
        assert_eq!(open(&huge).unwrap().pages(), u32::MAX);
        let grown = OpenOptions::new().write(true).open(&huge).unwrap().set_len(1 << 44);
        if grown.is_ok() {
            expect(&huge, "the image describes 4294967296 pages of memory; expected at most 4294967295");
        }
    }
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    let (_directory, path) = file("secret", &[0; 4096]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).unwrap();
    if File::open(&path).is_err() {
        assert_eq!(open(&path).unwrap_err(), format!("{}: no permission to read it", path.display()));
    }
}

#[test]
fn a_bad_file_beside_a_vmem_file_is_named_itself() {
    let guest = Guest::new(&[(0, &[1])]);
    let (directory, path) = file("guest.vmem", &vmem(&guest));
    let beside = directory.path().join("guest.vmss");
    fs::write(&beside, &vmss(&guest, None)[..40]).unwrap();
    let expected = "truncated: the groups of a vmss file at byte 12 needs 160 bytes, but the file has 40";
    assert_eq!(open(&path).unwrap_err(), format!("{}: {expected}", beside.display()));
}

#[test]
fn a_file_truncated_while_it_is_read_is_an_error() {
    let (_directory, path) = file("guest", vec![1; 64 * 4096].as_slice());
    let image = open(&path).unwrap();
    let mut buffer = zero_pages(16);
    image.read_pages(48, &mut buffer).unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(50 * 4096 + 7).unwrap();
    image.read_pages(34, &mut buffer).unwrap();
    let error = image.read_pages(48, &mut buffer).unwrap_err().to_string();
    let expected =
        "truncated while it was read: it had 262144 bytes when opened, now it ends before byte 262144";
    assert_eq!(error, format!("{}: {expected}", path.display()));
    assert!(image.page(50).is_err());
}

#[test]
fn opening_a_long_stream_can_be_interrupted() {
    let guest = Guest::new(&[(0, &vec![0; 100_000])]);
    let (_directory, path) = file("stream", &common::migration(&guest, false));
    let mut pulses = 0;
    let mut pulse = || {
        pulses += 1;
        if pulses == 3 { Err(Error::Interrupted) } else { Ok(()) }
    };
    let image = Image::open_with(&path, &Options::default(), &mut pulse);
    assert_eq!(image.map(|image| image.pages()), Err(Error::Interrupted));
    assert_eq!(open(&path).unwrap().pages(), 100_000);
}

#[test]
fn holes_of_a_sparse_file_are_zero_pages_and_stay_holes() {
    const MIB: u64 = 1 << 20;
    let (_directory, path) = file("ram", &[]);
    let ram = OpenOptions::new().write(true).open(&path).unwrap();
    ram.set_len(64 * MIB).unwrap();
    ram.write_all_at(&page(7), 16 * MIB).unwrap();
    ram.write_all_at(&page(8), 40 * MIB).unwrap();
    ram.sync_all().unwrap();
    let before = path.metadata().unwrap().blocks();
    for name in [Format::Raw, Format::Vmem] {
        let image = Image::open(&path, &common::forced(name)).unwrap();
        let pages = contents(&image, 1000);
        for (index, found) in pages.iter().enumerate() {
            let expected = match index as u64 * 4096 / MIB {
                16 if index % 256 == 0 => page(7),
                40 if index % 256 == 0 => page(8),
                _ => page(0),
            };
            assert!(*found == expected, "page {index}");
        }
        // File systems without holes store them; there is nothing more to see then.
        if before < 64 * MIB / 512 {
            assert_eq!(image.run(0, u32::MAX).unwrap().kind, RunKind::Hole);
            let data: u64 = image.map().segments().iter().map(|segment| segment.len).sum();
            assert!(data < 4 * MIB, "{data} bytes of data");
        }
    }
    assert_eq!(path.metadata().unwrap().blocks(), before, "reading allocates nothing");
}

#[test]
fn holes_of_any_format_are_found() {
    let seeds: Vec<u8> = (0..2048_u32).map(|index| u8::from(index % 1024 == 5)).collect();
    let guest = Guest::new(&[(0, &seeds)]);
    for sample in samples(&guest, 1_000_003) {
        let (_directory, path) = file("guest", &[]);
        let sparse = OpenOptions::new().write(true).open(&path).unwrap();
        for (index, block) in sample.bytes.chunks(4096).enumerate().filter(|(_, block)| block != &[0; 4096]) {
            sparse.write_all_at(block, index as u64 * 4096).unwrap();
        }
        sparse.set_len(sample.bytes.len() as u64).unwrap();
        let image = Image::open(&path, &common::forced(sample.format)).unwrap();
        assert!(contents(&image, 100) == guest.pages(), "{}", sample.name);
    }
}
