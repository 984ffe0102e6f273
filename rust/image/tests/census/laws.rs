//! Laws of the figures of a census, over numbers of contents as a trace has them.

use std::collections::HashSet;

use esxcore_core::types::Page;
use esxcore_image::census::contents::{Contents, Part};
use esxcore_image::census::kinds::{by_kind, without};
use esxcore_image::census::large::{FrameRun, LARGE_PAGES, Large, large};
use esxcore_image::census::matrix::matrix;
use esxcore_image::census::tally::{Tally, tally};
use esxcore_image::census::top::top;
use esxcore_image::census::{Image, Settings, Source, Table, take};
use esxcore_image::error::Error;
use esxcore_image::format::Format;
use esxcore_image::image;
use esxcore_image::pages::Pages;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::common::{Guest, forced, lime, page};
use crate::oracle::{Oracle, check_sum};

/// An image: its domain and the numbers of its pages.
type Given = (u32, Vec<u32>);

fn contents(images: &[Given]) -> Contents {
    let parts =
        images.iter().map(|(domain, ids)| Part { pages: ids.len() as u32, domain: *domain, space: 1 });
    Contents::new(images.iter().flat_map(|(_, ids)| ids).copied().collect(), parts.collect()).unwrap()
}

fn oracle(images: &[Given]) -> Oracle {
    let keys = |ids: &[u32]| ids.iter().map(|id| (1, id.to_le_bytes().to_vec())).collect();
    Oracle::new(&images.iter().map(|(domain, ids)| (*domain, keys(ids))).collect::<Vec<_>>())
}

fn figures(images: &[Given]) -> Tally {
    let found = tally(&contents(images), &mut || Ok(())).unwrap();
    check_sum(&found);
    found
}

fn images(count: usize, ids: u32) -> impl Strategy<Value = Vec<Given>> {
    vec((0..3_u32, vec(0..ids, 0..120)), 1..count)
}

proptest! {
    #[test]
    fn figures_of_numbers_are_what_hash_maps_find(
        images in images(12, 60),
        kinds in vec(any::<u8>(), 12 * 120),
    ) {
        let oracle = oracle(&images);
        oracle.check(&contents(&images), &kinds[..oracle.pages.len()]);
    }

    #[test]
    fn an_image_counts_as_if_it_were_alone(images in images(6, 40)) {
        let together = figures(&images);
        for (image, count) in images.iter().zip(together.images) {
            prop_assert_eq!(figures(std::slice::from_ref(image)).all, count);
        }
    }

    #[test]
    fn the_order_of_images_changes_no_total(
        (images, shuffled) in images(6, 40).prop_flat_map(|images| (Just(images.clone()), Just(images).prop_shuffle())),
    ) {
        let totals = |images: &[Given]| {
            let found = figures(images);
            (found.all, found.zero_reclaimed_pages, found.intra_reclaimed_pages, found.inter_reclaimed_pages)
        };
        prop_assert_eq!(totals(&images), totals(&shuffled));
    }

    #[test]
    fn an_image_cut_in_two_saves_across_what_it_saved_within(
        images in images(6, 20), image in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(),
    ) {
        let mut apart = images.clone();
        let (domain, ids) = apart.remove(image.index(images.len()));
        let (head, tail) = ids.split_at(cut.index(ids.len() + 1));
        apart.extend([head, tail].map(|ids| (domain, ids.to_vec())));
        let (whole, apart) = (figures(&images), figures(&apart));
        prop_assert_eq!(whole.all, apart.all);
        prop_assert_eq!(whole.zero_reclaimed_pages, apart.zero_reclaimed_pages);
        // A content that both halves have is one that was saved within.
        let halves: [HashSet<&u32>; 2] = [head, tail].map(|ids| ids.iter().filter(|id| **id != 0).collect());
        let both = halves[0].intersection(&halves[1]).count() as u64;
        prop_assert_eq!(whole.intra_reclaimed_pages, apart.intra_reclaimed_pages + both);
        prop_assert_eq!(whole.inter_reclaimed_pages + both, apart.inter_reclaimed_pages);
    }

    #[test]
    fn images_that_are_domains_of_their_own_never_meet(images in images(6, 20)) {
        let salted: Vec<Given> = (0..).zip(&images).map(|(domain, (_, ids))| (domain, ids.clone())).collect();
        let (open, salted) = (figures(&images), figures(&salted));
        prop_assert_eq!(salted.inter_reclaimed_pages, 0);
        prop_assert_eq!(open.intra_reclaimed_pages, salted.intra_reclaimed_pages);
        prop_assert_eq!(open.images, salted.images);
    }

    #[test]
    fn large_pages_share_whole(
        images in vec((0..2_u32, vec((offset(), vec(0..4_u32, 0..5)), 0..4)), 1..4),
        trim in prop_oneof![Just(0_usize), 0..600_usize],
    ) {
        let mut given = vec![];
        let mut frames: Vec<Vec<FrameRun>> = vec![];
        for (domain, runs) in images {
            let (mut ids, mut places, mut frame) = (vec![], vec![], 0);
            for (offset, blocks) in runs {
                let mut run: Vec<u32> = blocks.into_iter().flat_map(block).collect();
                run.truncate(run.len().saturating_sub(trim));
                frame = u64::next_multiple_of(frame, 512) + offset;
                places.push((ids.len() as u32, frame, run.len() as u32));
                // Between two runs is a gap.
                frame += run.len() as u64 + 1;
                ids.extend(run);
            }
            given.push((domain, ids));
            frames.push(places);
        }
        let found = large(&contents(&given), &frames, &mut || Ok(())).unwrap();
        prop_assert_eq!(found, obvious_large(&oracle(&given), &frames));
    }
}

/// Where a run begins in a large page, often with it.
fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..512_u64]
}

/// 512 pages that begin anew where a large page might: only few different contents, so that many are equal.
fn block(kind: u32) -> Vec<u32> {
    match kind {
        0 => vec![0; 512],
        1 => (0..512).map(|page| page % 7).collect(),
        2 => (0..512).collect(),
        _ => (0..512).map(|page| if page == 511 { 600 } else { page }).collect(),
    }
}

/// Each page by itself: in a large page if the 512 around it are in its run.
fn obvious_large(oracle: &Oracle, frames: &[Vec<FrameRun>]) -> Large {
    let mut found = Large::default();
    let (mut large, mut small) = (HashSet::new(), HashSet::new());
    let mut kept = 0;
    for (image, runs) in frames.iter().enumerate() {
        let own: Vec<_> = oracle.pages.iter().filter(|page| page.image == image).collect();
        for (first, frame, pages) in runs {
            for at in 0..u64::from(*pages) {
                let page = own[*first as usize + at as usize];
                let begin = (frame + at) / 512 * 512;
                if begin < *frame || begin + 512 > frame + u64::from(*pages) {
                    kept += u64::from(small.insert((page.domain, page.id)));
                    continue;
                }
                found.pages += 1;
                if begin == frame + at {
                    let block = &own[*first as usize + at as usize..][..512];
                    let ids: Vec<u32> = block.iter().map(|page| page.id).collect();
                    kept += if large.insert((page.domain, ids)) { 512 } else { 0 };
                }
            }
        }
    }
    found.reclaimed_pages = oracle.pages.len() as u64 - kept;
    found
}

#[test]
fn large_pages_are_aligned_in_the_guest() {
    // 1300 pages from frame 700 on, and 1024 from frame 4096 on: a head of 324, one large page and a tail of 464; two.
    let seeds = |pages: usize| vec![1; pages];
    let guest = Guest::new(&[(700, &seeds(1300)), (4096 - 2000, &seeds(1024))]);
    let image = image::Image::from_bytes(lime(&guest, 5000), &forced(Format::Lime)).unwrap();
    let runs = frame_runs(&image);
    assert_eq!(runs, [(0, 700, 1300), (1300, 4096, 1024)]);
    let images = [Image { source: Source::Pages(&image), domain: 0 }];
    let contents = take(&images, &Settings::default(), &mut |_| Ok(())).unwrap();
    let found = large(&contents, &[runs], &mut || Ok(())).unwrap();
    let (large, small) = (3 * u64::from(LARGE_PAGES), 1300 - 512);
    assert_eq!(found, Large { pages: large, reclaimed_pages: large - 512 + small - 1 });
}

fn frame_runs(source: &dyn Pages) -> Vec<FrameRun> {
    let (mut runs, mut page) = (vec![], 0);
    while page < source.pages() {
        let (frame, pages) = source.frame_run(page).unwrap();
        runs.push((page, frame, pages));
        page += pages;
    }
    runs
}

#[test]
fn forty_images_need_several_blocks_and_are_compared_in_all() {
    // 100 000 contents: 65 536 of them are compared at a time, and a content crosses over to the images around.
    let ids = |image: u32| (0..3000).map(|page| (image * 2500 + page * (1 + image % 3)) % 100_001).collect();
    let given: Vec<Given> = (0..40).map(|image| (0, ids(image))).collect();
    let contents = contents(&given);
    assert!(contents.numbers() > 80_000, "{} contents", contents.numbers());
    let found = matrix(&contents, &mut || Ok(())).unwrap();
    assert_eq!(found, oracle(&given).matrix());
    let tally = tally(&contents, &mut || Ok(())).unwrap();
    for (one, (_, ids)) in given.iter().enumerate() {
        assert_eq!(
            found.contents[one * 40 + one],
            tally.images[one].distinct_pages - u64::from(ids.contains(&0))
        );
        for other in 0..40 {
            assert_eq!(found.contents[one * 40 + other], found.contents[other * 40 + one]);
        }
    }
}

#[test]
fn what_saves_as_much_comes_in_the_order_of_numbers() {
    let contents = contents(&[(0, vec![5, 5, 0, 0, 7, 7, 7, 9]), (1, vec![0, 5, 5])]);
    let rows: Vec<(u32, u64, u64, u32, u32)> = top(&contents, 9)
        .iter()
        .map(|row| (row.id, row.pages, row.reclaimed_pages, row.first, row.images))
        .collect();
    // Number 2 saves two pages; zero is kept once a domain, so three pages save one, as two of number 1 and of 4.
    assert_eq!(rows, [(2, 3, 2, 4, 1), (0, 3, 1, 2, 2), (1, 2, 1, 0, 1), (4, 2, 1, 9, 1)]);
    assert_eq!(top(&contents, 2).iter().map(|row| row.id).collect::<Vec<_>>(), [2, 0]);
}

#[test]
fn a_caller_ends_each_figure() {
    let given = vec![(0, (0..2000).collect::<Vec<u32>>()); 3];
    let contents = contents(&given);
    let kinds = vec![0; 6000];
    let stop = &mut || Err(Error::Interrupted);
    assert_eq!(tally(&contents, stop), Err(Error::Interrupted));
    assert_eq!(matrix(&contents, stop), Err(Error::Interrupted));
    assert_eq!(by_kind(&contents, &kinds, stop), Err(Error::Interrupted));
    assert_eq!(
        without(&contents, &kinds, 0, stop).map(|count| count.pages),
        Ok(0),
        "nothing is left to count"
    );
    assert_eq!(without(&contents, &kinds, 1, stop), Err(Error::Interrupted));
    assert_eq!(large(&contents, &vec![vec![(0, 0, 2000)]; 3], stop), Err(Error::Interrupted));
}

#[test]
fn kinds_must_be_as_many_as_pages() {
    let contents = contents(&[(0, vec![1, 2])]);
    let error = Err(Error::Uncounted { pages: 2, numbers: 3 });
    assert_eq!(by_kind(&contents, &[0; 3], &mut || Ok(())).map(|_| ()), error);
    assert_eq!(without(&contents, &[0; 3], 0, &mut || Ok(())).map(|_| ()), error);
}

#[test]
fn the_index_needs_a_quarter_of_a_percent() {
    for data in [1 << 16, 1_000_003, 1 << 22] {
        let index = Table::new(data, data).unwrap().bytes() as u64 + u64::from(data) * 4;
        assert!(index * 400 <= u64::from(data) * size_of::<Page>() as u64, "{index} bytes for {data} pages");
    }
    assert!(Table::new(1 << 30, 0).unwrap().bytes() <= 64, "pages that are holes need none");
}

#[test]
fn holes_are_not_read() {
    let guest = Guest::new(&[(0, &[1, 0, 0, 2, 1])]);
    let inner = image::Image::from_bytes(crate::common::migration(&guest, false), &forced(Format::Migration))
        .unwrap();
    let source = crate::ends::Made {
        pages: 5,
        run: |first, most| inner.run(first, most),
        read: |first, buffer: &mut [Page]| {
            let pages = first..first + buffer.len() as u32;
            assert!(!pages.contains(&1) && !pages.contains(&2), "read {pages:?}");
            inner.read_pages(first, buffer)
        },
    };
    let images = [Image { source: Source::Pages(&source), domain: 0 }];
    let contents = take(&images, &Settings::default(), &mut |_| Ok(())).unwrap();
    assert_eq!(contents.ids(), [1, 0, 0, 2, 1]);
    assert!(inner.page(3).unwrap() == page(2));
}
