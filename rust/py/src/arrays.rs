//! NumPy arrays in and out. Arrays that come in are borrowed, arrays that go out are owned copies.

use esxcore_core::error::Error;
use esxcore_core::types::{ContentKind, PAGE_SIZE, Page, PageBatch, PageView};
use numpy::{Element, IntoPyArray, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Page numbers: uint32 or int64, one-dimensional, contiguous.
#[derive(FromPyObject)]
pub enum Ppns<'py> {
    /// As the core has them.
    Narrow(PyReadonlyArray1<'py, u32>),
    /// As NumPy has them unless told otherwise.
    Wide(PyReadonlyArray1<'py, i64>),
}

impl Ppns<'_> {
    /// The numbers as a copy, which no other thread can change meanwhile, or the first that is not of 32 bits.
    pub fn to_vec(&self) -> PyResult<Result<Vec<u32>, i64>> {
        match self {
            Self::Narrow(ppns) => Ok(Ok(ppns.as_slice()?.to_vec())),
            Self::Wide(ppns) => {
                let ppns = ppns.as_slice()?;
                Ok(whole(ppns, u32::MAX.into(), |ppn| ppn as u32).map_err(|row| ppns[row]))
            }
        }
    }
}

/// A column of whole numbers: int64, one-dimensional, contiguous.
#[derive(FromPyObject)]
pub struct Column<'py>(PyReadonlyArray1<'py, i64>);

impl Column<'_> {
    /// The numbers as the core has them, a copy that no other thread can change meanwhile, or row and value of the
    /// first that is not from 0 to `most`, which is a power of two less one.
    pub fn to_vec<T>(&self, most: i64, cast: impl Fn(i64) -> T) -> PyResult<Result<Vec<T>, (usize, i64)>> {
        let values = self.0.as_slice()?;
        Ok(whole(values, most, cast).map_err(|row| (row, values[row])))
    }
}

/// The numbers cast, or the row of the first that is not from 0 to `most`, which is a power of two less one.
fn whole<T>(values: &[i64], most: i64, cast: impl Fn(i64) -> T) -> Result<Vec<T>, usize> {
    // One pass over everything is faster than a look at each number.
    let bits = values.iter().fold(0, |seen, value| seen | value);
    if bits & !most != 0 {
        return Err(values.iter().position(|value| value & !most != 0).unwrap_or(0));
    }
    Ok(values.iter().map(|value| cast(*value)).collect())
}

/// Page contents: uint8 of shape (pages, 4096), or uint64 tokens of shape (pages,); contiguous.
#[derive(FromPyObject)]
pub enum Contents<'py> {
    /// Real bytes.
    Bytes(PyReadonlyArray2<'py, u8>),
    /// Tokens.
    Tokens(PyReadonlyArray1<'py, u64>),
}

impl Contents<'_> {
    /// The contents as the core takes them.
    pub fn as_batch(&self) -> PyResult<PageBatch<'_>> {
        Ok(match self {
            Self::Bytes(pages) => PageBatch::Bytes(pages.as_slice()?.as_chunks::<PAGE_SIZE>().0),
            Self::Tokens(tokens) => PageBatch::Tokens(tokens.as_slice()?),
        })
    }
}

/// Contents that were read, to be handed out.
pub enum Sink {
    /// Real bytes, page after page.
    Bytes(Vec<u8>),
    /// Tokens.
    Tokens(Vec<u64>),
}

impl Sink {
    /// Room for `pages` pages of a host of that kind.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`] if the system does not give it.
    pub fn new(kind: ContentKind, pages: usize) -> Result<Self, Error> {
        Ok(match kind {
            ContentKind::Bytes => Self::Bytes(room(pages.saturating_mul(size_of::<Page>()))?),
            ContentKind::Tokens => Self::Tokens(room(pages)?),
        })
    }

    /// Takes one page.
    pub fn take(&mut self, page: PageView<'_>) {
        match (self, page) {
            (Self::Bytes(bytes), PageView::Bytes(page)) => bytes.extend_from_slice(page),
            (Self::Tokens(tokens), PageView::Token(token)) => tokens.push(token),
            _ => unreachable!("a host holds one kind of content"),
        }
    }

    /// The array: uint8 of shape (pages, 4096), or uint64 of shape (pages,).
    pub fn into_array(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        Ok(match self {
            Self::Bytes(bytes) => table(py, bytes, PAGE_SIZE)?,
            Self::Tokens(tokens) => column(py, tokens),
        })
    }
}

fn room<T>(len: usize) -> Result<Vec<T>, Error> {
    let mut values = vec![];
    let bytes = len.saturating_mul(size_of::<T>());
    values.try_reserve_exact(len).map_err(|error| Error::NoMemory { bytes, reason: error.to_string() })?;
    Ok(values)
}

/// Pages of real bytes: uint8 of shape (pages, 4096), contiguous.
#[derive(FromPyObject)]
#[pyo3(transparent)]
pub struct PageArray<'py>(PyReadonlyArray2<'py, u8>);

impl PageArray<'_> {
    /// The pages.
    pub fn as_pages(&self) -> PyResult<&[Page]> {
        Ok(self.0.as_slice()?.as_chunks::<PAGE_SIZE>().0)
    }
}

/// A column of numbers of one type: of shape (rows,), contiguous.
#[derive(FromPyObject)]
#[pyo3(transparent)]
pub struct Row<'py, T: Element>(PyReadonlyArray1<'py, T>);

impl<T: Element> Row<'_, T> {
    /// The numbers.
    pub fn as_slice(&self) -> PyResult<&[T]> {
        Ok(self.0.as_slice()?)
    }
}

/// Rows of `columns` values each as an array of two axes.
pub fn table<T: Element>(py: Python<'_>, values: Vec<T>, columns: usize) -> PyResult<Bound<'_, PyAny>> {
    let rows = values.len() / columns.max(1);
    Ok(values.into_pyarray(py).reshape([rows, columns])?.into_any())
}

/// One column as an array.
pub fn column<T: Element>(py: Python<'_>, values: Vec<T>) -> Bound<'_, PyAny> {
    values.into_pyarray(py).into_any()
}

/// One column as an array that cannot be written to.
pub fn fixed<T: Element>(py: Python<'_>, values: Vec<T>) -> Bound<'_, PyAny> {
    let array = values.into_pyarray(py);
    if let Ok(writable) = array.try_readwrite() {
        writable.make_nonwriteable();
    }
    array.into_any()
}

/// The numbers of a column, copied.
pub fn numbers<T: Element + Copy>(array: &Bound<'_, PyAny>) -> PyResult<Vec<T>> {
    let array: PyReadonlyArray1<'_, T> = array.extract().map_err(PyErr::from)?;
    Ok(array.as_slice()?.to_vec())
}

/// Columns by name, each an array.
pub struct Columns<'py>(Bound<'py, PyDict>);

impl<'py> Columns<'py> {
    /// No columns.
    pub fn new(py: Python<'py>) -> Self {
        Self(PyDict::new(py))
    }

    /// Adds a column.
    pub fn add<T: Element>(&self, name: &str, values: Vec<T>) -> PyResult<()> {
        self.0.set_item(name, column(self.0.py(), values))
    }

    /// Adds a column of text, as a list.
    pub fn add_text(&self, name: &str, values: Vec<String>) -> PyResult<()> {
        self.0.set_item(name, values)
    }

    /// The mapping.
    pub fn into_dict(self) -> Bound<'py, PyDict> {
        self.0
    }
}
