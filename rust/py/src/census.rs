//! The census as Python sees it: sources of pages, and the contents found in them. The interpreter is free meanwhile.
//!
//! Arrays given as images are read while Python goes on; who writes to one from another thread gets a census of either
//! content.

use std::num::NonZeroU32;
use std::path::PathBuf;

use esxcore_core::types::{PAGE_SIZE, Page};
use esxcore_image::census::compress::{Compressor, sample};
use esxcore_image::census::contents::Contents as Found;
use esxcore_image::census::kinds::{by_kind, without};
use esxcore_image::census::large::{FrameRun, large};
use esxcore_image::census::matrix::matrix;
use esxcore_image::census::tally::{Count, tally};
use esxcore_image::census::top::top;
use esxcore_image::census::{Image, Settings, Source, Verify, room, take};
use esxcore_image::error::Error;
use esxcore_image::format::{FORMATS, Format};
use esxcore_image::image::{self, Options};
use esxcore_image::map::{Devices, zero_pages};
use esxcore_image::pages::{Memory, Pages};
use esxcore_image::process::{Kind, Process, Region};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrays::{PageArray, Row, column, table};
use crate::errors::from_image;
use crate::signals::Signals;

/// Kind, pages, zero pages, reclaimed pages.
type KindRow = (usize, u64, u64, u64);

/// Pages read between two looks for signals.
const PIECE_PAGES: usize = 1024;

/// Names of the image formats that are read.
#[pyfunction]
pub fn image_formats() -> Vec<&'static str> {
    FORMATS.iter().map(|format| format.name()).collect()
}

/// An open image: a file, or the memory of a process.
#[pyclass(frozen, module = "esxcore._core")]
pub struct PageSource(Opened);

enum Opened {
    File(image::Image),
    Live(Process),
}

impl PageSource {
    fn pages(&self) -> &dyn Pages {
        match &self.0 {
            Opened::File(image) => image,
            Opened::Live(process) => process,
        }
    }
}

#[pymethods]
impl PageSource {
    /// Opens a file, of the format named or of what its first bytes say.
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf, format: Option<&str>) -> PyResult<Self> {
        let format = format.map(str::parse::<Format>).transpose().map_err(|error| from_image(py, &error))?;
        let options = Options { format, devices: Devices::LeaveOut };
        let image = watched(py, |signals| image::Image::open_with(&path, &options, &mut || signals.pulse()))?;
        Ok(Self(Opened::File(image)))
    }

    /// Opens the memory of a process.
    #[staticmethod]
    fn attach(py: Python<'_>, pid: u32) -> PyResult<Self> {
        let process = watched(py, |signals| Process::open_with(pid, &mut || signals.pulse()))?;
        Ok(Self(Opened::Live(process)))
    }

    /// How many pages it has.
    #[getter(pages)]
    fn count(&self) -> u32 {
        self.pages().pages()
    }

    /// All its pages: uint8 of shape (pages, 4096).
    fn read<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let pages = self.pages();
        let bytes = watched(py, |signals| {
            let mut bytes: Vec<u8> = room(pages.pages() as usize * PAGE_SIZE)?;
            let pieces = bytes.as_chunks_mut::<PAGE_SIZE>().0.chunks_mut(PIECE_PAGES);
            for (piece, first) in pieces.zip((0..).step_by(PIECE_PAGES)) {
                pages.read_pages(first, piece)?;
                signals.pulse()?;
            }
            Ok(bytes)
        })?;
        table(py, bytes, PAGE_SIZE)
    }

    /// One of its pages: uint8 of shape (1, 4096).
    fn read_page<'py>(&self, py: Python<'py>, page: u32) -> PyResult<Bound<'py, PyAny>> {
        let mut bytes = zero_pages(1);
        watched(py, |_| self.pages().read_pages(page, &mut bytes))?;
        table(py, bytes.concat(), PAGE_SIZE)
    }

    /// What is known of it besides its pages.
    fn facts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let facts = PyDict::new(py);
        match &self.0 {
            Opened::File(image) => facts.set_item("format", image.format().name())?,
            Opened::Live(process) => {
                let kind = if process.kind() == Kind::Qemu { "qemu" } else { "process" };
                facts.set_item("format", kind)?;
                facts.set_item("absent_pages", process.absent_pages())?;
                facts.set_item("swapped_pages", process.swapped_pages())?;
                facts.set_item("lost_pages", process.lost_pages())?;
                let zero: u64 = process.regions().iter().map(|region: &Region| region.zero_mapped).sum();
                facts.set_item("zero_mapped_pages", zero)?;
            }
        }
        Ok(facts)
    }
}

/// An image as it is given: opened, an array of pages, or numbers of contents and the space that they belong to.
#[derive(FromPyObject)]
pub enum Given<'py> {
    /// Opened.
    Opened(Py<PageSource>),
    /// uint8 of shape (pages, 4096), contiguous.
    Array(PageArray<'py>),
    /// uint32 of shape (pages,), contiguous.
    Ids(Row<'py, u32>, NonZeroU32),
}

/// An image whose memory is borrowed.
enum Held<'a> {
    Opened(&'a PageSource),
    Memory(Memory<'a>),
    Ids(&'a [u32], NonZeroU32),
}

impl Given<'_> {
    fn hold(&self) -> PyResult<Held<'_>> {
        Ok(match self {
            Self::Opened(source) => Held::Opened(source.get()),
            Self::Array(pages) => Held::Memory(Memory(pages.as_pages()?)),
            Self::Ids(ids, space) => Held::Ids(ids.as_slice()?, *space),
        })
    }
}

impl Held<'_> {
    fn source(&self) -> Source<'_> {
        match self {
            Self::Opened(source) => Source::Pages(source.pages()),
            Self::Memory(memory) => Source::Pages(memory),
            Self::Ids(ids, space) => Source::Ids { ids, space: *space },
        }
    }

    /// The runs of pages without a gap.
    fn frames(&self) -> Result<Vec<FrameRun>, Error> {
        let pages = match self.source() {
            Source::Ids { ids, .. } => return Ok(vec![(0, 0, ids.len() as u32)]),
            Source::Pages(pages) => pages,
        };
        let (mut runs, mut first) = (vec![], 0);
        while first < pages.pages() {
            let (frame, count) = pages.frame_run(first)?;
            runs.push((first, frame, count));
            first += count;
        }
        Ok(runs)
    }
}

fn held<'a>(images: &'a [Given<'_>]) -> PyResult<Vec<Held<'a>>> {
    images.iter().map(Given::hold).collect()
}

/// Runs `work` with the interpreter free, and raises what it met or what a signal handler raised.
fn watched<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&mut Signals) -> Result<T, Error> + Send,
) -> PyResult<T> {
    let mut signals = Signals::default();
    let result = py.detach(|| work(&mut signals));
    signals.finish_image(py, result)
}

/// Which content each page of some images has.
#[pyclass(frozen, module = "esxcore._core")]
pub struct Contents(Found);

#[pymethods]
impl Contents {
    /// Finds the contents of all images; `progress` is called with the pages done, every now and then.
    #[staticmethod]
    fn take(
        py: Python<'_>,
        images: Vec<Given<'_>>,
        domains: Vec<u32>,
        hash128: bool,
        threads: Option<usize>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let held = held(&images)?;
        let images: Vec<Image<'_>> =
            held.iter().zip(domains).map(|(held, domain)| Image { source: held.source(), domain }).collect();
        let mut settings = Settings::default();
        settings.verify = if hash128 { Verify::Hash128 } else { Verify::Bytes };
        settings.threads = threads.unwrap_or(settings.threads);
        watched(py, |signals| take(&images, &settings, &mut |done| signals.report(progress.as_ref(), done)))
            .map(Self)
    }

    /// Numbers of contents, from 0 on.
    #[getter]
    fn numbers(&self) -> u32 {
        self.0.numbers()
    }

    /// The number of each page's content: uint32 of shape (pages,), a copy.
    fn ids<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        column(py, self.0.ids().to_vec())
    }

    /// The figures: of all images, and of each.
    fn tally<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let tally = watched(py, |signals| tally(&self.0, &mut || signals.pulse()))?;
        let row = counts(py, &tally.all)?;
        row.set_item("zero_reclaimed_pages", tally.zero_reclaimed_pages)?;
        row.set_item("intra_reclaimed_pages", tally.intra_reclaimed_pages)?;
        row.set_item("inter_reclaimed_pages", tally.inter_reclaimed_pages)?;
        let images = tally.images.iter().map(|image| counts(py, image)).collect::<PyResult<Vec<_>>>()?;
        row.set_item("images", images)?;
        Ok(row)
    }

    /// Contents in common, int64 of shape (images, images), and by image the pages that have one of them.
    fn matrix<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Vec<u64>)> {
        let found = watched(py, |signals| matrix(&self.0, &mut || signals.pulse()))?;
        let images = self.0.parts().len();
        let contents: Vec<i64> = found.contents.iter().map(|common| *common as i64).collect();
        Ok((table(py, contents, images)?, found.common_pages))
    }

    /// Rows (number, pages, reclaimed pages, image, page, images) of the contents that save most.
    fn top(&self, py: Python<'_>, most: usize) -> Vec<(u32, u64, u64, usize, u32, u32)> {
        let rows = py.detach(|| top(&self.0, most));
        let row = |row: &esxcore_image::census::top::Top| {
            let (image, page) = self.0.place(row.first);
            (row.id, row.pages, row.reclaimed_pages, image, page, row.images)
        };
        rows.iter().map(row).collect()
    }

    /// Rows (kind, pages, zero pages, reclaimed pages), and the count of the pages that are not of kind `free`.
    fn by_kind<'py>(
        &self,
        py: Python<'py>,
        kinds: Row<'_, u8>,
        free: u8,
    ) -> PyResult<(Vec<KindRow>, Bound<'py, PyDict>)> {
        let kinds = kinds.as_slice()?;
        let (rows, rest) = watched(py, |signals| {
            let rows = by_kind(&self.0, kinds, &mut || signals.pulse())?;
            Ok((rows, without(&self.0, kinds, free, &mut || signals.pulse())?))
        })?;
        let rows = rows.iter().enumerate().filter(|(_, row)| row.pages > 0);
        let rows = rows.map(|(kind, row)| (kind, row.pages, row.zero_pages, row.reclaimed_pages));
        Ok((rows.collect(), counts(py, &rest)?))
    }

    /// Pages in large pages, and pages reclaimed if these are kept whole.
    fn large(&self, py: Python<'_>, images: Vec<Given<'_>>) -> PyResult<(u64, u64)> {
        let held = held(&images)?;
        let found = watched(py, |signals| {
            let frames = held.iter().map(Held::frames).collect::<Result<Vec<_>, _>>()?;
            large(&self.0, &frames, &mut || signals.pulse())
        })?;
        Ok((found.pages, found.reclaimed_pages))
    }

    /// Bytes after compression of a sample of the contents that images with pages have, zero not among them: uint32.
    ///
    /// Second, how many such contents there are.
    fn compressed<'py>(
        &self,
        py: Python<'py>,
        images: Vec<Given<'_>>,
        wanted: u32,
        seed: u64,
    ) -> PyResult<(Bound<'py, PyAny>, u32)> {
        let held = held(&images)?;
        let (bytes, contents) = watched(py, |signals| {
            let firsts: Vec<u32> = self.readable(&held);
            let chosen = sample(firsts.len() as u32, wanted, seed);
            let mut compressor = Compressor::default();
            let mut bytes = vec![];
            let pages = chosen.iter().map(|number| firsts[*number as usize - 1]);
            self.read(&held, pages, signals, |page| bytes.push(compressor.bytes(page) as u32))?;
            Ok((bytes, firsts.len() as u32))
        })?;
        Ok((column(py, bytes), contents))
    }

    /// The bytes of pages that images with pages have: uint8 of shape (len(pages), 4096).
    fn read_pages<'py>(
        &self,
        py: Python<'py>,
        images: Vec<Given<'_>>,
        pages: Row<'_, u32>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let held = held(&images)?;
        let pages = pages.as_slice()?;
        let mut bytes = Vec::with_capacity(pages.len() * PAGE_SIZE);
        watched(py, |signals| {
            self.read(&held, pages.iter().copied(), signals, |page| bytes.extend_from_slice(page))
        })?;
        table(py, bytes, PAGE_SIZE)
    }

    /// The first page of each content but zero, in the order of their numbers: uint32.
    fn firsts<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        let firsts: Vec<u32> = py.detach(|| self.0.firsts().collect());
        column(py, firsts)
    }
}

impl Contents {
    /// First pages of contents that can be read.
    fn readable(&self, held: &[Held<'_>]) -> Vec<u32> {
        let has_pages: Vec<bool> =
            held.iter().map(|image| matches!(image.source(), Source::Pages(_))).collect();
        self.0.firsts().filter(|page| has_pages[self.0.place(*page).0]).collect()
    }

    fn read(
        &self,
        held: &[Held<'_>],
        pages: impl Iterator<Item = u32>,
        signals: &mut Signals,
        mut take: impl FnMut(&Page),
    ) -> Result<(), Error> {
        let mut buffer = zero_pages(1);
        for (number, page) in pages.enumerate() {
            let (image, page) = self.0.place(page);
            if let Some(Source::Pages(pages)) = held.get(image).map(Held::source) {
                pages.read_pages(page, &mut buffer)?;
                take(&buffer[0]);
            }
            if number % PIECE_PAGES == 0 {
                signals.pulse()?;
            }
        }
        Ok(())
    }
}

fn counts<'py>(py: Python<'py>, count: &Count) -> PyResult<Bound<'py, PyDict>> {
    let row = PyDict::new(py);
    row.set_item("pages", count.pages)?;
    row.set_item("zero_pages", count.zero_pages)?;
    row.set_item("distinct_pages", count.distinct_pages)?;
    row.set_item("shared_pages", count.shared_pages)?;
    row.set_item("reclaimed_pages", count.reclaimed_pages())?;
    Ok(row)
}
