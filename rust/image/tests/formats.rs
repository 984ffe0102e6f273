//! Every format gives back what was written into it, and one guest reads the same in all of them.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Guest, contents, elf, forced, lime, migration, qemu_notes, read_whole, samples};
use esxcore_image::census::{self, Settings, Source, take};
use esxcore_image::error::Error;
use esxcore_image::format::Format;
use esxcore_image::image::{Image, Options};
use esxcore_image::map::{Devices, RunKind};
use esxcore_image::pages::Pages;
use proptest::prelude::*;

fn seeds() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![2 => Just(0_u8), 1 => 1_u8..5], 1..20)
}

/// Regions apart; the first one at 0 half of the time.
fn guests() -> impl Strategy<Value = Guest> {
    prop::collection::vec((1_u64..9, seeds()), 1..4).prop_flat_map(|regions| {
        any::<bool>().prop_map(move |at_zero| {
            let gap = |index: usize, gap: u64| if index == 0 && at_zero { 0 } else { gap };
            let regions: Vec<_> =
                regions.iter().enumerate().map(|(i, (pages, seeds))| (gap(i, *pages), &seeds[..])).collect();
            Guest::new(&regions)
        })
    })
}

proptest! {
    #[test]
    fn all_formats_give_the_same_pages(guest in guests(), cut in 1_usize..40_000, piece in 1_usize..30) {
        let expected = guest.pages();
        for sample in samples(&guest, cut) {
            let image = sample.open().unwrap();
            prop_assert!(contents(&image, piece) == expected, "{} of {} pages", sample.name, expected.len());
            let data = read_whole(&image, sample.bytes.len());
            if sample.format == Format::Migration {
                let held = expected.iter().filter(|page| **page != [0; 4096]).count();
                prop_assert_eq!(data, held as u64 * 4096, "zero pages are holes");
            }
            if sample.format != Format::Vmem {
                let found = Image::from_bytes(sample.bytes.clone(), &Options::default()).unwrap();
                prop_assert_eq!(found.format(), sample.format, "by its first bytes");
            }
            let frames: Vec<u64> = guest.0.iter().flat_map(|(first, pages)| *first..*first + pages.len() as u64).collect();
            if !matches!(sample.format, Format::Migration | Format::LibvirtSave) {
                let told: Vec<u64> = (0..image.pages()).map(|page| image.frame(page).unwrap().1).collect();
                prop_assert_eq!(told, frames, "{}", sample.name);
            }
        }
    }
}

proptest! {
    #[test]
    fn a_census_is_the_same_in_all_formats(guest in guests(), cut in 1_usize..40_000, threads in 1_usize..4) {
        let images: Vec<Image> = samples(&guest, cut).iter().map(|sample| sample.open().unwrap()).collect();
        let sources = images.iter().map(|image| census::Image { source: Source::Pages(image), domain: 0 });
        let settings = Settings { threads, ..Settings::default() };
        let contents = take(&sources.collect::<Vec<_>>(), &settings, &mut |_| Ok(())).unwrap();
        let expected = contents.images().next().unwrap().1.to_vec();
        for (_, ids) in contents.images() {
            prop_assert_eq!(ids, &expected[..]);
        }
    }
}

fn of(bytes: Vec<u8>) -> Result<Image, Error> {
    Image::from_bytes(bytes, &Options::default())
}

#[test]
fn runs_tell_holes_from_data() {
    let guest = Guest::new(&[(3, &[0, 0, 1, 2, 3, 0, 4])]);
    let image = of(migration(&guest, false)).unwrap();
    let run = |first, most| {
        let run = image.run(first, most).unwrap();
        (run.pages, run.kind)
    };
    assert_eq!(run(0, 9), (2, RunKind::Hole));
    assert_eq!(run(0, 1), (1, RunKind::Hole));
    assert_eq!(run(2, 9), (3, RunKind::Data));
    assert_eq!(run(3, 1), (1, RunKind::Data));
    assert_eq!(run(5, 9), (1, RunKind::Hole));
    assert_eq!(run(6, 9), (1, RunKind::Data));
    let beyond = Err(Error::OutOfRange { first: 7, count: 1, pages: 7 });
    assert_eq!(image.run(7, 1), beyond.clone());
    assert_eq!(image.page(7).map(|_| ()), Err(Error::OutOfRange { first: 7, count: 1, pages: 7 }));
    assert_eq!(image.page(u32::MAX).is_err(), beyond.is_err());
    let mut two = [[0; 4096]; 2];
    assert_eq!(image.read_pages(6, &mut two), Err(Error::OutOfRange { first: 6, count: 2, pages: 7 }));
}

#[test]
fn firmware_and_display_memory_of_a_pc_are_left_out() {
    let regions: [(u64, &[u8]); 3] = [(0, &[1, 2]), (0xfd000 - 2, &[3]), (0x10_0000 - 0xfd001, &[4, 5])];
    let bytes = elf(&Guest::new(&regions), true, usize::MAX, &qemu_notes());
    let image = of(bytes.clone()).unwrap();
    assert_eq!(image.pages(), 4);
    assert_eq!(image.frame(2).unwrap().1, 0x10_0000, "above 4 GiB is main memory");
    assert_eq!(image.map().left_out()[0].first_frame, 0xfd000);
    let all = Options { devices: Devices::Keep, ..Options::default() };
    assert_eq!(Image::from_bytes(bytes, &all).unwrap().pages(), 5);
    let of_others = elf(&Guest::new(&regions), true, usize::MAX, &[]);
    assert_eq!(of(of_others).unwrap().pages(), 5, "only QEMU's dumps are known to hold them");
}

#[test]
fn a_version_byte_of_zero_is_tolerated() {
    let mut bytes = elf(&Guest::new(&[(0, &[1])]), true, usize::MAX, &[]);
    bytes[6] = 0;
    assert_eq!(of(bytes.clone()).unwrap().page(0).unwrap(), common::page(1));
    bytes[6] = 2;
    assert_eq!(of(bytes).unwrap_err().to_string(), "the ELF version at byte 6 is 2; expected 1");
}

#[test]
fn a_vmem_file_without_a_table_is_memory_from_address_zero_on() {
    let guest = Guest::new(&[(0, &[1, 0, 2])]);
    let image = Image::from_bytes(common::vmem(&guest), &forced(Format::Vmem)).unwrap();
    assert_eq!(contents(&image, 2), guest.pages());
    let error = of(common::vmss(&guest, None)).unwrap_err();
    assert_eq!(error.to_string(), "a vmss or vmsn file without its vmem without guest memory in it");
}

/// A field of a header, what to write there, and what is said then.
#[test]
fn lies_in_headers_are_named() {
    let guest = Guest::new(&[(1, &[1, 2, 3])]);
    let lime = lime(&guest, usize::MAX);
    let elf = elf(&guest, true, 4096, &[]);
    let table = [
        (&lime, 4, 2, "the version of a LiME header at byte 4 is 2; expected 1"),
        (
            &lime,
            16,
            u64::MAX,
            "truncated: the memory of a LiME header at byte 32 needs 18446744073709547520 bytes, but the file has \
             12320",
        ),
        (
            &lime,
            16,
            0,
            "the last address of a LiME header at byte 16 is 0x0; expected an address not before the first, and \
             fewer than 2**64 bytes",
        ),
        (
            &elf,
            120 + 24,
            0x1800,
            "segments overlap: one ends at guest address 0x2800, the next begins at 0x2000",
        ),
        (
            &elf,
            120 + 40,
            u64::MAX,
            "a segment at guest address 0x1000 has 18446744073709551615 bytes; expected it to \
             end below 2**64",
        ),
        (
            &elf,
            176 + 40,
            1 << 60,
            "the image describes 281474976710657 pages of memory; expected at most 4294967295",
        ),
        (
            &elf,
            120 + 32,
            4097,
            "the file size of an ELF segment at byte 120 is 4097; expected at most its memory size",
        ),
        (
            &elf,
            120 + 8,
            u64::MAX,
            "truncated: a segment at byte 18446744073709551615 needs 4096 bytes, but the file has \
             12520",
        ),
        (
            &elf,
            32,
            1 << 63,
            "truncated: the ELF program headers at byte 9223372036854775808 needs 168 bytes, but the \
             file has 12520",
        ),
    ];
    for (bytes, at, value, expected) in table {
        let mut bytes = bytes.clone();
        let width = if at == 4 { 4 } else { 8 };
        bytes[at..at + width].copy_from_slice(&u64::to_le_bytes(value)[..width]);
        assert_eq!(of(bytes).unwrap_err().to_string(), expected);
    }
}

#[test]
fn features_of_a_stream_that_are_not_read_are_named() {
    let guest = Guest::new(&[(0, &[1])]);
    let plain = migration(&guest, false);
    let page = plain.windows(8).position(|word| word == 8_u64.to_be_bytes()).unwrap();
    for (flag, name) in [(0x100_u16, "compressed pages"), (0x40, "XBZRLE pages"), (0x200, "multifd pages")] {
        let mut bytes = plain.clone();
        bytes[page + 6..page + 8].copy_from_slice(&flag.to_be_bytes());
        let text = of(bytes).unwrap_err().to_string();
        let expected = format!(
            "a migration stream with {name} at byte {page} is not read; migrate again with no capability but events"
        );
        assert_eq!(text, expected);
    }
    let packed = of(common::libvirt(&plain, 3)).unwrap_err().to_string();
    assert_eq!(
        packed,
        "a libvirt save file with compression 3 (xz) at byte 28 is not read; set save_image_format = \"raw\" in \
         libvirt's qemu.conf and save again"
    );
}

#[test]
fn known_formats_are_never_read_as_raw() {
    for magic in ["KDUMP   ", "DISKDUMP", "makedumpfile", "AVML", "PAGEDU64", "QFI\u{fffd}", "PK\x03\x04"] {
        let mut bytes = vec![0; 4096];
        bytes[..magic.len()].copy_from_slice(magic.as_bytes());
        if let Some(rest) = magic.strip_suffix('\u{fffd}') {
            bytes[rest.len()] = 0xfb;
        }
        let error = of(bytes.clone()).unwrap_err();
        assert!(matches!(error, Error::NotRead { .. }), "{magic}: {error}");
        assert_eq!(Image::from_bytes(bytes, &forced(Format::Raw)).unwrap().pages(), 1);
    }
    let unpacked = of(b"\x1f\x8b\x08 and so on".to_vec()).unwrap_err();
    assert_eq!(unpacked.to_string(), "it is compressed by gzip, which is not read; unpack it first");
}

#[test]
fn names_of_formats_are_read_back() {
    for format in esxcore_image::format::FORMATS {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    let expected =
        "\"qcow\" is no image format; expected raw, elf, lime, vmem, vmss, migration, libvirt-save";
    assert_eq!("qcow".parse::<Format>().unwrap_err().to_string(), expected);
}
