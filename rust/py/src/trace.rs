//! Traces of page references as Python sees them: read, numbered, replayed. The interpreter is free meanwhile.

use std::path::PathBuf;
use std::sync::Arc;

use esxcore_core::guest::Replacement;
use esxcore_core::page_trace::PageTrace as Trace;
use esxcore_trace::error::{Error, Pulse};
use esxcore_trace::formats::{FORMATS, Format};
use esxcore_trace::load::{from_columns, load};
use esxcore_trace::replay::{misses, stream};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arrays::{Row, column, fixed};
use crate::errors::from_trace;
use crate::signals::Signals;

/// Of how many pulses one looks for signals: a look may have to wait for another Python thread, a pulse comes every few
/// thousand records.
const PULSES: u32 = 16;

/// Names of the formats that trace files are read in.
#[pyfunction]
pub fn trace_formats() -> Vec<&'static str> {
    FORMATS.iter().map(|format| format.name()).collect()
}

/// Names of the orders of replacement.
#[pyfunction]
pub fn replacements() -> Vec<&'static str> {
    Replacement::ALL.iter().map(|kind| kind.name()).collect()
}

/// References of a file, and misses with each size of memory; the file is decoded on the way and not kept.
#[pyfunction]
pub fn stream_misses<'py>(
    py: Python<'py>,
    path: PathBuf,
    format: Option<&str>,
    policy: &str,
    sizes: Vec<u32>,
) -> PyResult<(u64, Bound<'py, PyAny>)> {
    let (format, kind) = (named(py, format)?, replacement(policy)?);
    let found = watched(py, |pulse| stream(&path, format, kind, &sizes, pulse))?;
    Ok((found.references, column(py, found.misses)))
}

/// A trace in memory.
#[pyclass(frozen, module = "esxcore._core")]
pub struct PageTrace(Arc<Trace>);

#[pymethods]
impl PageTrace {
    /// Reads a file, of the format named or of what its name or first bytes say.
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf, format: Option<&str>) -> PyResult<Self> {
        let format = named(py, format)?;
        Ok(Self(Arc::new(watched(py, |pulse| load(&path, format, pulse))?)))
    }

    /// The trace of columns of one length: any page numbers, references of each record (at least one), whether it writes.
    #[staticmethod]
    fn from_columns(
        py: Python<'_>,
        ids: Row<'_, u64>,
        runs: Option<Row<'_, u32>>,
        writes: Option<Row<'_, bool>>,
    ) -> PyResult<Self> {
        let ids = ids.as_slice()?;
        let runs = runs.as_ref().map(Row::as_slice).transpose()?;
        let writes = writes.as_ref().map(Row::as_slice).transpose()?;
        Ok(Self(Arc::new(watched(py, |pulse| from_columns(ids, runs, writes, pulse))?)))
    }

    /// Records.
    #[getter]
    fn records(&self) -> usize {
        self.0.len()
    }

    /// References.
    #[getter]
    fn references(&self) -> u64 {
        self.0.references()
    }

    /// Different pages.
    #[getter]
    fn distinct(&self) -> u32 {
        self.0.distinct()
    }

    /// The page of each record, an array that cannot be written to.
    fn pages<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        fixed(py, self.0.pages().to_vec())
    }

    /// The references of each record, or None if each has one.
    fn runs<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.0.runs().map(|runs| fixed(py, runs.to_vec()))
    }

    /// Whether each record writes, or None if that is not known.
    fn writes<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let writes = || (0..self.0.len()).map(|index| self.0.record(index).write).collect();
        self.0.knows_writes().then(|| fixed::<bool>(py, writes()))
    }

    /// Misses with each size of memory, in pages.
    fn misses<'py>(&self, py: Python<'py>, policy: &str, sizes: Vec<u32>) -> PyResult<Bound<'py, PyAny>> {
        let kind = replacement(policy)?;
        let found = watched(py, |pulse| misses(&self.0, kind, &sizes, pulse))?;
        Ok(column(py, found))
    }
}

impl PageTrace {
    /// The trace as the core has it.
    pub fn core(&self) -> Arc<Trace> {
        Arc::clone(&self.0)
    }
}

fn named(py: Python<'_>, format: Option<&str>) -> PyResult<Option<Format>> {
    format.map(str::parse::<Format>).transpose().map_err(|error| from_trace(py, &error))
}

fn replacement(name: &str) -> PyResult<Replacement> {
    Replacement::named(name)
        .ok_or_else(|| PyValueError::new_err(format!("{name:?} is no order of replacement")))
}

fn watched<T: Send>(py: Python<'_>, work: impl FnOnce(Pulse<'_>) -> Result<T, Error> + Send) -> PyResult<T> {
    let mut signals = Signals::default();
    let result = py.detach(|| {
        let mut pulses = 0;
        work(&mut || {
            pulses += 1;
            if pulses % PULSES == 0 { signals.beat() } else { Ok(()) }
        })
    });
    signals.finish_trace(py, result)
}
