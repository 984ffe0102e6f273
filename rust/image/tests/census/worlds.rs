//! Images of all kinds, with contents drawn from few and alike, against the oracle.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use esxcore_core::types::{Page, ZERO_PAGE};
use std::num::NonZeroU32;

use esxcore_image::census::contents::Contents;
use esxcore_image::census::{Image, Settings, Source, Verify, take};
use esxcore_image::format::Format;
use esxcore_image::image;
use esxcore_image::pages::Memory;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::common::{Guest, elf, forced, lime, page};
use crate::oracle::{Key, Oracle};

/// Contents that pages are drawn from.
const VALUES: u8 = 24;
const MASKS: [u64; 4] = [u64::MAX, 0xF, 0xF << 60, 0];

#[derive(Clone, Copy, Debug)]
enum Kind {
    Memory,
    Raw,
    Sparse,
    Elf,
    Lime,
    /// Numbers in that space.
    Given(u32),
}

#[derive(Clone, Debug)]
struct Spec {
    kind: Kind,
    domain: u32,
    values: Vec<u8>,
}

/// Different for different values: zero, pages of noise, pages that differ from one of these in one byte, and pages that
/// are zero but for one byte.
fn content(value: u8) -> Page {
    let (mut content, changed) = match value {
        0 => return ZERO_PAGE,
        1..=6 => (page(1), [0, 63, 64, 2047, 4088, 4095][usize::from(value) - 1]),
        7..=12 => (ZERO_PAGE, [0, 15, 64, 2048, 4094, 4095][usize::from(value) - 7]),
        _ => return page(value - 12),
    };
    content[changed] ^= 0x80;
    content
}

enum Built {
    Memory(Vec<Page>),
    Image(image::Image),
    Given(Vec<u32>, u32),
}

impl Spec {
    fn pages(&self) -> Vec<Page> {
        self.values.iter().map(|value| content(*value)).collect()
    }

    /// The pages as two regions of a guest, the first of which begins beyond zero.
    fn guest(&self) -> Guest {
        let (head, tail) = self.values.split_at(self.values.len() / 3);
        let region =
            |first: u64, values: &[u8]| (first, values.iter().map(|value| content(*value)).collect());
        let mut guest = Guest(vec![region(7, head), region(1 << 20, tail)]);
        guest.0.retain(|(_, pages): &(u64, Vec<Page>)| !pages.is_empty());
        guest
    }

    /// The image; `path` is where a file of it may be.
    fn build(&self, path: &Path) -> Built {
        let from_bytes =
            |bytes, format| Built::Image(image::Image::from_bytes(bytes, &forced(format)).unwrap());
        match self.kind {
            Kind::Given(space) => {
                Built::Given(self.values.iter().map(|value| u32::from(*value)).collect(), space)
            }
            // Files without pages are refused.
            _ if self.values.is_empty() => Built::Memory(vec![]),
            Kind::Memory => Built::Memory(self.pages()),
            Kind::Raw => from_bytes(self.pages().into_flattened(), Format::Raw),
            Kind::Elf => from_bytes(elf(&self.guest(), true, 5000, &[]), Format::Elf),
            Kind::Lime => from_bytes(lime(&self.guest(), 6000), Format::Lime),
            Kind::Sparse => self.sparse(path),
        }
    }

    /// A raw file with holes for zero pages.
    fn sparse(&self, path: &Path) -> Built {
        let file = OpenOptions::new().write(true).create_new(true).open(path).unwrap();
        file.set_len(self.values.len() as u64 * 4096).unwrap();
        for (place, page) in (0..).zip(self.pages()).filter(|(_, page)| *page != ZERO_PAGE) {
            file.write_all_at(&page, place * 4096).unwrap();
        }
        Built::Image(image::Image::open(path, &forced(Format::Raw)).unwrap())
    }

    fn keys(&self) -> Vec<Key> {
        let key = |value: &u8| match self.kind {
            Kind::Given(space) => (space, vec![*value]),
            _ => (0, content(*value).to_vec()),
        };
        self.values.iter().map(key).collect()
    }
}

fn spec() -> impl Strategy<Value = Spec> {
    let kind = prop_oneof![
        Just(Kind::Memory),
        Just(Kind::Raw),
        Just(Kind::Sparse),
        Just(Kind::Elf),
        Just(Kind::Lime),
        (1..3_u32).prop_map(Kind::Given),
    ];
    let value = || prop_oneof![1 => Just(0), 4 => 0..VALUES];
    // More pages than are read at a time, or than a thread takes, now and then.
    let values =
        prop_oneof![6 => vec(value(), 0..40), 2 => vec(value(), 60..200), 1 => vec(value(), 500..1100)];
    (kind, 0..3_u32, values).prop_map(|(kind, domain, values)| Spec { kind, domain, values })
}

fn census(images: &[Image<'_>], settings: &Settings) -> Contents {
    take(images, settings, &mut |_| Ok(())).unwrap()
}

fn all_settings(threads: usize) -> impl Iterator<Item = Settings> {
    MASKS.into_iter().flat_map(move |hash_mask| {
        [Verify::Bytes, Verify::Hash128].map(|verify| Settings { verify, threads, hash_mask })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_census_is_what_hash_maps_find(
        specs in vec(spec(), 0..7),
        threads in 1..=4_usize,
        kinds in vec(0..4_u8, 7 * 1100),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = |image: usize| directory.path().join(image.to_string());
        let built: Vec<Built> = specs.iter().enumerate().map(|(image, spec)| spec.build(&path(image))).collect();
        let memories: Vec<Memory<'_>> = built.iter().map(|built| match built {
            Built::Memory(pages) => Memory(pages),
            _ => Memory(&[]),
        }).collect();
        let images: Vec<Image<'_>> = specs.iter().zip(&built).zip(&memories).map(|((spec, built), memory)| {
            let source = match built {
                Built::Memory(_) => Source::Pages(memory),
                Built::Image(image) => Source::Pages(image),
                Built::Given(ids, space) => Source::Ids { ids, space: NonZeroU32::new(*space).expect("not that of pages") },
            };
            Image { source, domain: spec.domain }
        }).collect();
        let oracle = Oracle::new(&specs.iter().map(|spec| (spec.domain, spec.keys())).collect::<Vec<_>>());
        let contents = census(&images, &Settings::default());
        oracle.check(&contents, &kinds[..oracle.pages.len()]);
        for settings in all_settings(threads) {
            prop_assert_eq!(&census(&images, &settings), &contents, "{:?}", settings);
        }
    }
}

#[test]
fn contents_differ_by_value() {
    let mut all: Vec<Page> = (0..VALUES).map(content).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), usize::from(VALUES));
}

/// Page `number` of contents that are equal where the numbers are.
fn numbered(number: u32) -> Page {
    let mut page = page(1);
    page[4090..4094].copy_from_slice(&number.to_le_bytes());
    page
}

/// 20 000 pages of 4 000 contents: pages that threads take at the same time are equal.
fn crowd() -> (Vec<Page>, Oracle) {
    let number = |place: u32| place / 2048 * 400 + place % 512 * 400 / 512;
    let pages: Vec<Page> = (0..20_000).map(|place| numbered(number(place))).collect();
    let keys = |pages: &[Page]| (0, pages.iter().map(|page| (0, page.to_vec())).collect::<Vec<Key>>());
    let oracle = Oracle::new(&[keys(&pages[..9_000]), keys(&pages[9_000..])]);
    (pages, oracle)
}

#[test]
fn threads_that_race_find_the_same() {
    let (pages, oracle) = crowd();
    let (head, tail) = pages.split_at(9_000);
    let near = Memory(head);
    let far = image::Image::from_bytes(tail.as_flattened().to_vec(), &forced(Format::Raw)).unwrap();
    let images = [Source::Pages(&near), Source::Pages(&far)].map(|source| Image { source, domain: 0 });
    for round in 0..20 {
        let verify = if round % 4 == 0 { Verify::Hash128 } else { Verify::Bytes };
        // A few bits of the bucket and of the tag: hashes collide, but chains stay short enough.
        let hash_mask = if round % 2 == 0 { u64::MAX } else { 0xFF << 56 | 0x3 };
        let contents = census(&images, &Settings { verify, threads: 4, hash_mask });
        assert!(contents.ids() == oracle.ids(), "round {round}");
    }
}

#[test]
fn many_contents_of_one_hash_are_told_apart() {
    let pages: Vec<Page> = (0..700).chain(100..800).map(numbered).collect();
    let expected: Vec<u32> = (1..=700).chain(101..=800).collect();
    let image = Image { source: Source::Pages(&Memory(&pages)), domain: 0 };
    for threads in 1..=4 {
        for verify in [Verify::Bytes, Verify::Hash128] {
            assert_eq!(census(&[image], &Settings { verify, threads, hash_mask: 0 }).ids(), expected);
        }
    }
}

#[test]
fn nothing_has_no_contents() {
    let empty = Memory(&[]);
    let given = Source::Ids { ids: &[], space: NonZeroU32::MIN };
    for images in [vec![], vec![Source::Pages(&empty)], vec![given, Source::Pages(&empty), given]] {
        let images: Vec<Image<'_>> = images.into_iter().map(|source| Image { source, domain: 4 }).collect();
        let contents = census(&images, &Settings::default());
        assert_eq!((contents.ids(), contents.numbers()), (&[][..], 1));
        assert_eq!(contents.parts().len(), images.len());
        let keys: Vec<(u32, Vec<Key>)> = images.iter().map(|_| (4, vec![])).collect();
        Oracle::new(&keys).check(&contents, &[]);
    }
}
