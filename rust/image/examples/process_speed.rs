//! How fast the memory of a running process is read, beside a copy of as many bytes within one process.
//!
//! `cargo run --release -p esxcore-image --example process_speed` starts a child with 512 MiB of distinct pages and reads
//! them in pieces of 1 MiB, round by round with the copy; it prints the medians.

use std::error::Error;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, stdin};
use std::process::{Command, Stdio};
use std::time::Instant;

use esxcore_image::map::zero_pages;
use esxcore_image::pages::Pages;
use esxcore_image::process::Process;

const PAGES: usize = 512 << 8;
const PIECE: usize = 256;
const ROUNDS: usize = 9;

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).is_some() {
        return child();
    }
    let mut command = Command::new(std::env::current_exe()?);
    let mut child = command.arg("child").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut ready = String::new();
    BufReader::new(child.stdout.as_mut().ok_or("no output")?).read_line(&mut ready)?;
    let measured = measure(child.id());
    child.kill()?;
    child.wait()?;
    measured
}

/// Plants its pages and waits until its input ends.
fn child() -> Result<(), Box<dyn Error>> {
    let mut pages = zero_pages(PAGES);
    for (number, words) in pages.as_flattened_mut().chunks_exact_mut(8).enumerate() {
        words.copy_from_slice(&(number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    }
    println!("ready");
    stdin().read_to_end(&mut vec![])?;
    black_box(pages);
    Ok(())
}

fn measure(pid: u32) -> Result<(), Box<dyn Error>> {
    let begin = Instant::now();
    let process = Process::open(pid)?;
    println!("open: {} pages in {:.1} ms", process.pages(), begin.elapsed().as_secs_f64() * 1e3);
    let mut buffer = zero_pages(PIECE);
    let source = vec![buffer[0].map(|_| 1); process.pages() as usize];
    let mut figures = vec![];
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        for first in (0..process.pages()).step_by(PIECE) {
            let pages = process.run(first, PIECE as u32)?.pages;
            process.read_pages(first, &mut buffer[..pages as usize])?;
            black_box(&buffer);
        }
        let read = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        for piece in source.chunks(PIECE) {
            buffer[..piece.len()].copy_from_slice(piece);
            black_box(&buffer);
        }
        figures.push((read, begin.elapsed().as_secs_f64()));
    }
    let speed = |seconds: f64| source.len() as f64 * 4096.0 / seconds / 1e9;
    let median = |of: &dyn Fn(&(f64, f64)) -> f64| {
        let mut all: Vec<f64> = figures.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[ROUNDS / 2]
    };
    println!("read_pages: {:.1} GB/s", median(&|(read, _)| speed(*read)));
    println!("memcpy: {:.1} GB/s", median(&|(_, copy)| speed(*copy)));
    println!("ratio: {:.2}", median(&|(read, copy)| copy / read));
    println!("lost: {} pages", process.lost_pages());
    Ok(())
}
