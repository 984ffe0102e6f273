//! Whatever the bytes, a parser returns an image that can be read whole or an error of one line.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Guest, Sample, read_whole, samples};
use esxcore_core::rng::{Seed, Stream};
use esxcore_image::image::{Image, Options};

/// Mutations of each sample.
const ROUNDS: usize = 20_000;
/// What a mutation likes to write.
const VALUES: [u64; 12] =
    [0, 1, 0xff, 0x7fff, 0xffff, 4095, 4096, 0x7fff_ffff, 0xffff_ffff, 1 << 44, i64::MAX as u64, u64::MAX];

fn small() -> Vec<Sample> {
    let one = Guest::new(&[(0, &[1, 0])]);
    let two = Guest::new(&[(1, &[1]), (2, &[0, 2])]);
    let mut all = samples(&two, 6000);
    all.extend(samples(&one, 100));
    all
}

/// Opens and reads the sample in its own format and in the one its bytes suggest; returns whether it was an image.
fn survives(sample: &Sample) -> bool {
    let image = sample.open();
    match &image {
        Ok(image) => {
            read_whole(image, sample.bytes.len());
        }
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
    }
    if let Ok(image) = Image::from_bytes(sample.bytes.clone(), &Options::default()) {
        read_whole(&image, sample.bytes.len());
    }
    image.is_ok()
}

#[test]
fn truncation_at_every_length() {
    for mut sample in small() {
        let whole = sample.bytes.clone();
        assert!(survives(&sample), "{}", sample.name);
        for len in 0..whole.len() {
            sample.bytes.truncate(0);
            sample.bytes.extend(&whole[..len]);
            survives(&sample);
        }
        sample.bytes = whole;
        if let Some(beside) = sample.beside.clone() {
            for len in 0..beside.len() {
                sample.beside = Some(beside[..len].to_vec());
                survives(&sample);
            }
        }
    }
}

#[test]
fn every_bit_flipped() {
    for mut sample in small() {
        // Flips within pages are all alike, so a few of them will do.
        for at in (0..sample.bytes.len()).filter(|at| at % 4096 < 700) {
            for bit in 0..8 {
                sample.bytes[at] ^= 1 << bit;
                survives(&sample);
                sample.bytes[at] ^= 1 << bit;
            }
        }
        for at in 0..sample.beside.as_ref().map_or(0, Vec::len) {
            for bit in 0..8 {
                sample.beside.as_mut().unwrap()[at] ^= 1 << bit;
                survives(&sample);
                sample.beside.as_mut().unwrap()[at] ^= 1 << bit;
            }
        }
    }
}

/// Changes bytes in place, moves them, or leaves some out.
fn mutate(bytes: &mut Vec<u8>, random: &mut Stream) {
    let below = |random: &mut Stream, limit: usize| random.below(limit.max(1) as u32) as usize;
    // Headers are at the beginning, so most changes are made there.
    let len = bytes.len();
    let limit = if random.below(4) == 0 { len } else { len.min(700) };
    let at = below(random, limit);
    match random.below(8) {
        0 => bytes.truncate(at),
        1 => {
            let end = (at + below(random, 64)).min(len);
            bytes.drain(at..end);
        }
        2 => {
            let end = (at + below(random, 200)).min(len);
            let copy = bytes[at..end].to_vec();
            let to = below(random, limit);
            bytes.splice(to..to, copy);
        }
        3 if len > 0 => bytes[at] = below(random, 256) as u8,
        _ => {
            let value = VALUES[below(random, VALUES.len())];
            let mut value = if random.below(2) == 0 { value.to_le_bytes() } else { value.to_be_bytes() };
            let width = (1 << random.below(4)).min(len - at.min(len));
            if random.below(2) == 0 {
                value.rotate_left(8 - width);
            }
            bytes[at..at + width].copy_from_slice(&value[..width]);
        }
    }
}

#[test]
fn random_mutations() {
    let mut random = Seed([3; 32]).stream("mutations", 0);
    let mut still_images = 0;
    for sample in small() {
        let mut mutant = Sample { bytes: vec![], beside: None, ..sample };
        for _ in 0..ROUNDS / 10 {
            mutant.bytes.clone_from(&sample.bytes);
            mutant.beside.clone_from(&sample.beside);
            for _ in 0..=random.below(4) {
                match &mut mutant.beside {
                    Some(beside) if random.below(4) > 0 => mutate(beside, &mut random),
                    _ => mutate(&mut mutant.bytes, &mut random),
                }
            }
            still_images += usize::from(survives(&mutant));
        }
    }
    assert!(still_images > ROUNDS / 20, "mutations that leave an image are as telling: {still_images}");
}
