//! Guests made up for tests, and a writer for each format, from its published layout.
#![allow(clippy::unwrap_used, dead_code, missing_docs)]

use esxcore_core::types::{PAGE_SIZE, Page, ZERO_PAGE};
use esxcore_image::error::Error;
use esxcore_image::format::{FORMATS, Format};
use esxcore_image::image::{Image, Options};
use esxcore_image::map::{RunKind, zero_pages};
use esxcore_image::pages::Pages;

/// Regions of guest memory: number of the first page, and pages.
#[derive(Clone, Debug)]
pub struct Guest(pub Vec<(u64, Vec<Page>)>);

/// A page that depends on all of `seed`; zero for 0.
pub fn page(seed: u8) -> Page {
    let mut page = ZERO_PAGE;
    if seed != 0 {
        page.iter_mut().enumerate().for_each(|(i, byte)| *byte = (i % 251) as u8 ^ seed);
    }
    page
}

impl Guest {
    /// Regions `gap` pages apart, with a page for each seed.
    pub fn new(regions: &[(u64, &[u8])]) -> Self {
        let mut next = 0;
        let regions = regions.iter().map(|(gap, seeds)| {
            let first = next + gap;
            next = first + seeds.len() as u64;
            (first, seeds.iter().map(|seed| page(*seed)).collect())
        });
        Self(regions.collect())
    }

    /// All pages in order.
    pub fn pages(&self) -> Vec<Page> {
        self.0.iter().flat_map(|(_, pages)| pages).copied().collect()
    }

    /// The regions in pieces cut at bytes, as headers may have them: address and bytes.
    fn pieces(&self, cut: usize) -> Vec<(u64, &[u8])> {
        let mut pieces = vec![];
        for (first, pages) in &self.0 {
            let bytes = pages.as_flattened();
            let (head, tail) = bytes.split_at(cut.min(bytes.len()));
            pieces.push((first * 4096, head));
            pieces.push((first * 4096 + head.len() as u64, tail));
        }
        pieces.retain(|(_, bytes)| !bytes.is_empty());
        pieces
    }
}

pub fn raw(guest: &Guest) -> Vec<u8> {
    guest.0[0].1.as_flattened().to_vec()
}

/// Bytes up to the last that is not zero.
fn trimmed(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)]
}

/// An ELF core; `cut` splits regions at that byte, `notes` go in front of the memory.
pub fn elf(guest: &Guest, wide: bool, cut: usize, notes: &[u8]) -> Vec<u8> {
    let pieces = guest.pieces(cut);
    let (header, entry) = if wide { (64, 56) } else { (52, 32) };
    let mut offset = header + entry * (pieces.len() + 1);
    let mut out = b"\x7fELF".to_vec();
    let word = |out: &mut Vec<u8>, value: u64| {
        out.extend_from_slice(&value.to_le_bytes()[..if wide { 8 } else { 4 }]);
    };
    out.extend([if wide { 2 } else { 1 }, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.extend(4_u16.to_le_bytes());
    out.extend(62_u16.to_le_bytes());
    out.extend(1_u32.to_le_bytes());
    [0, header as u64, 0].into_iter().for_each(|value| word(&mut out, value));
    out.extend(0_u32.to_le_bytes());
    for half in [header as u16, entry as u16, pieces.len() as u16 + 1, 0, 0, 0] {
        out.extend(half.to_le_bytes());
    }
    assert_eq!(out.len(), header);
    let mut program = |kind: u32, address: u64, data: usize, size: usize| {
        out.extend(kind.to_le_bytes());
        if wide {
            out.extend(0_u32.to_le_bytes());
        }
        for value in [offset as u64, 0, address, data as u64, size as u64] {
            word(&mut out, value);
        }
        if !wide {
            out.extend(0_u32.to_le_bytes());
        }
        word(&mut out, 0);
        offset += data;
    };
    program(4, 0, notes.len(), 0);
    pieces.iter().for_each(|(address, bytes)| program(1, *address, trimmed(bytes).len(), bytes.len()));
    out.extend(notes);
    pieces.iter().for_each(|(_, bytes)| out.extend(trimmed(bytes)));
    out
}

/// A note of a CPU as QEMU writes it, behind one of another name.
pub fn qemu_notes() -> Vec<u8> {
    let mut out = vec![];
    for (name, description) in [(b"CORE\0\0\0\0", &[7; 8][..]), (b"QEMU\0\0\0\0", &[1; 12])] {
        for word in [5, description.len() as u32, 0] {
            out.extend(word.to_le_bytes());
        }
        out.extend(name);
        out.extend(description);
    }
    out
}

pub fn lime(guest: &Guest, cut: usize) -> Vec<u8> {
    let mut out = vec![];
    for (address, bytes) in guest.pieces(cut) {
        out.extend(b"EMiL");
        out.extend(1_u32.to_le_bytes());
        out.extend(address.to_le_bytes());
        out.extend((address + bytes.len() as u64 - 1).to_le_bytes());
        out.extend([0; 8]);
        out.extend(bytes);
    }
    out
}

pub fn vmem(guest: &Guest) -> Vec<u8> {
    guest.pages().as_flattened().to_vec()
}

/// The file beside a vmem file; with `memory` that is inside.
pub fn vmss(guest: &Guest, memory: Option<&[u8]>) -> Vec<u8> {
    let tag = |name: &str, index: Option<u32>, value: u64| {
        let mut tag = vec![if index.is_some() { 0x40 | 4 } else { 4 }, name.len() as u8];
        tag.extend(name.as_bytes());
        tag.extend(index.map_or(vec![], |index| index.to_le_bytes().to_vec()));
        tag.extend((value as u32).to_le_bytes());
        tag
    };
    let mut tags = tag("align_mask", None, 0xffff);
    tags.extend(tag("regionsCount", None, guest.0.len() as u64));
    let mut before = 0;
    for (index, (first, pages)) in guest.0.iter().enumerate() {
        let index = Some(index as u32);
        tags.extend(tag("regionPageNum", index, before));
        tags.extend(tag("regionPPN", index, *first));
        tags.extend(tag("regionSize", index, pages.len() as u64));
        before += pages.len() as u64;
    }
    if let Some(memory) = memory {
        tags.extend([0x80 | 63, 6]);
        tags.extend(b"Memory");
        tags.extend([0; 8]);
        tags.extend((memory.len() as u64).to_le_bytes());
        tags.extend((memory.len() as u64).to_le_bytes());
        tags.extend(5_u16.to_le_bytes());
        tags.extend([0xee; 5]);
        tags.extend(memory);
    }
    tags.extend([0, 0]);
    let mut out = 0xbed2_bed2_u32.to_le_bytes().to_vec();
    out.extend(8_u32.to_le_bytes());
    out.extend(2_u32.to_le_bytes());
    let start = 12 + 2 * 80;
    for (name, offset, size) in [("cpu", start, 0), ("memory", start, tags.len())] {
        let mut field = [0; 64];
        field[..name.len()].copy_from_slice(name.as_bytes());
        out.extend(field);
        out.extend((offset as u64).to_le_bytes());
        out.extend((size as u64).to_le_bytes());
    }
    out.extend(tags);
    out
}

/// A migration stream: each region a block; with `again` every third page is first sent with other contents.
pub fn migration(guest: &Guest, again: bool) -> Vec<u8> {
    let mut out = b"QEVM".to_vec();
    let name = |out: &mut Vec<u8>, name: &str| {
        out.push(name.len() as u8);
        out.extend(name.as_bytes());
    };
    let footer = |out: &mut Vec<u8>| {
        out.extend(0x10_u64.to_be_bytes());
        out.extend([0x7e, 0, 0, 0, 2]);
    };
    out.extend(3_u32.to_be_bytes());
    out.extend([7, 0, 0, 0, 2, b'p', b'c']);
    out.push(5);
    name(&mut out, "configuration/target-page-bits");
    out.extend(1_u32.to_be_bytes());
    out.extend(12_u32.to_be_bytes());
    out.extend([8, 0, 1, 0, 3, 9, 9, 9]);
    out.extend([1, 0, 0, 0, 2]);
    name(&mut out, "ram");
    out.extend(0_u32.to_be_bytes());
    out.extend(4_u32.to_be_bytes());
    let total: usize = guest.0.iter().map(|(_, pages)| pages.len() * PAGE_SIZE).sum();
    out.extend((total as u64 | 4).to_be_bytes());
    let block = |index: usize| format!("/objects/mem{index}");
    for (index, (_, pages)) in guest.0.iter().enumerate() {
        name(&mut out, &block(index));
        out.extend(((pages.len() * PAGE_SIZE) as u64).to_be_bytes());
    }
    footer(&mut out);
    let mut current = None;
    let mut send = |out: &mut Vec<u8>, index: usize, number: usize, page: &Page| {
        let zero = *page == ZERO_PAGE;
        let same = current.replace(index) == Some(index);
        let flags = if zero { 2 } else { 8 } | if same { 0x20 } else { 0 };
        out.extend(((number * PAGE_SIZE) as u64 | flags).to_be_bytes());
        if !same {
            name(out, &block(index));
        }
        out.extend(if zero { &[0][..] } else { &page[..] });
    };
    for (index, (_, pages)) in guest.0.iter().enumerate() {
        out.extend([2, 0, 0, 0, 2]);
        for number in (0..pages.len()).step_by(3).filter(|_| again) {
            send(&mut out, index, number, &page(if number % 2 == 0 { 0 } else { 99 }));
        }
        footer(&mut out);
    }
    out.extend([3, 0, 0, 0, 2]);
    for (index, (_, pages)) in guest.0.iter().enumerate() {
        pages.iter().enumerate().for_each(|(number, page)| send(&mut out, index, number, page));
    }
    footer(&mut out);
    out.extend([4, 0, 0, 0, 3]);
    name(&mut out, "timer");
    out.extend([0; 8]);
    out
}

pub fn libvirt(stream: &[u8], compression: u32) -> Vec<u8> {
    let xml = b"<domain/>\0";
    let mut out = b"LibvirtQemudSave".to_vec();
    for word in [2, xml.len() as u32, 1, compression, 0] {
        out.extend(word.to_le_bytes());
    }
    out.extend([0; 14 * 4]);
    out.extend(xml);
    out.extend(stream);
    out
}

/// One guest in one format: the file, and the file beside it.
pub struct Sample {
    pub name: &'static str,
    pub format: Format,
    pub bytes: Vec<u8>,
    pub beside: Option<Vec<u8>>,
}

/// A guest in all formats that can hold all its regions.
pub fn samples(guest: &Guest, cut: usize) -> Vec<Sample> {
    let memory = vmem(guest);
    let sample = |name, format, bytes| Sample { name, format, bytes, beside: None };
    let mut samples = vec![
        sample("elf64", Format::Elf, elf(guest, true, cut, &[])),
        sample("elf32", Format::Elf, elf(guest, false, cut, &qemu_notes())),
        sample("lime", Format::Lime, lime(guest, cut)),
        Sample { beside: Some(vmss(guest, None)), ..sample("vmem", Format::Vmem, memory.clone()) },
        sample("vmss", Format::Vmss, vmss(guest, Some(&memory))),
        sample("migration", Format::Migration, migration(guest, false)),
        sample("migration again", Format::Migration, migration(guest, true)),
        sample("libvirt", Format::LibvirtSave, libvirt(&migration(guest, true), 0)),
    ];
    if guest.0.len() == 1 && guest.0[0].0 == 0 {
        samples.push(sample("raw", Format::Raw, raw(guest)));
    }
    samples
}

pub fn forced(format: Format) -> Options {
    Options { format: Some(format), ..Options::default() }
}

impl Sample {
    pub fn open(&self) -> Result<Image, Error> {
        Image::from_bytes_and_table(self.bytes.clone(), self.beside.clone(), &forced(self.format))
    }
}

/// All pages of an image, in pieces.
pub fn contents(image: &Image, piece: usize) -> Vec<Page> {
    let mut pages = zero_pages(image.pages() as usize);
    for (index, pages) in pages.chunks_mut(piece).enumerate() {
        pages.as_flattened_mut().fill(0xaa);
        image.read_pages((index * piece) as u32, pages).unwrap();
    }
    pages
}

/// Reads all of an image that has data and looks at the borders of holes; returns the bytes of data segments.
pub fn read_whole(image: &Image, size: usize) -> u64 {
    let mut at = 0;
    let mut runs = 0;
    let mut buffer = zero_pages(16);
    while at < image.pages() {
        let run = image.run(at, u32::MAX).unwrap();
        assert!(run.pages > 0 && run.first == at && run.pages <= image.pages() - at);
        match run.kind {
            RunKind::Hole => {
                for page in [at, at + run.pages - 1] {
                    assert_eq!(image.page(page).unwrap(), ZERO_PAGE);
                }
            }
            RunKind::Data => {
                for first in (at..at + run.pages).step_by(16) {
                    let pages = 16.min(at + run.pages - first) as usize;
                    image.read_pages(first, &mut buffer[..pages]).unwrap();
                }
            }
        }
        at += run.pages;
        runs += 1;
    }
    let data = image.map().segments().iter().map(|segment| segment.len).sum();
    assert!(data <= size as u64, "no more data than the file has");
    assert!(runs <= 2 * image.map().segments().len() + 1);
    let regions: u64 = image.map().regions().iter().map(|region| region.pages).sum();
    assert_eq!(regions, u64::from(image.pages()));
    data
}

/// A case of the fuzzer: a byte that names the format (any other: found out), two that say how many bytes of the rest
/// are the file beside a vmem file, and the bytes.
pub fn case(sample: &Sample) -> Vec<u8> {
    let format = FORMATS.iter().position(|format| *format == sample.format).unwrap() as u8;
    let beside = sample.beside.as_deref().unwrap_or_default();
    let mut case = vec![format];
    case.extend((beside.len() as u16).to_le_bytes());
    case.extend(beside);
    case.extend(&sample.bytes);
    case
}

/// Reads the image of a case whole, if it is one.
pub fn check_case(case: &[u8]) {
    let Some((head, rest)) = case.split_first_chunk::<3>() else { return };
    let beside = usize::from(u16::from_le_bytes([head[1], head[2]])).min(rest.len());
    let (beside, bytes) = rest.split_at(beside);
    let options = Options { format: FORMATS.get(usize::from(head[0])).copied(), ..Options::default() };
    let beside = (!beside.is_empty()).then(|| beside.to_vec());
    if let Ok(image) = Image::from_bytes_and_table(bytes.to_vec(), beside, &options) {
        read_whole(&image, bytes.len());
    }
}
