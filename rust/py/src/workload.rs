//! Workloads of the core as Python sees them: a kind and its parameters, and the data that some of them replay.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::Arc;

use esxcore_core::error::Error;
use esxcore_core::workload::{
    ActivityRecord as CoreRecord, BUILTIN, Form, Load as CoreLoad, Otherwise, Parameter, Program, Value,
    dbench, parameters,
};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;

use crate::arrays::Row;
use crate::errors::to_py;
use crate::trace::PageTrace;

/// A kind of workload and its parameters, checked.
#[pyclass(frozen, module = "esxcore._core")]
pub struct Workload(Program);

#[pymethods]
impl Workload {
    #[new]
    fn new(py: Python<'_>, kind: &str, given: Vec<(String, Given<'_>)>) -> PyResult<Self> {
        let given: Vec<(&str, Value)> =
            given.iter().map(|(name, value)| (name.as_str(), value.to_core())).collect();
        Program::new(kind, &given).map(Self).map_err(|error| to_py(py, &error, 0))
    }
}

impl Workload {
    /// What its processes are made of.
    pub fn program(&self) -> &Program {
        &self.0
    }
}

/// A parameter as Python gives it.
#[derive(FromPyObject)]
enum Given<'py> {
    Flag(bool),
    Whole(u64),
    Number(f64),
    Word(String),
    Sizes(Vec<(u64, u64)>),
    Trace(PyRef<'py, PageTrace>),
    Record(PyRef<'py, ActivityRecord>),
    Load(PyRef<'py, Load>),
}

impl Given<'_> {
    fn to_core(&self) -> Value {
        match self {
            Self::Flag(flag) => Value::Flag(*flag),
            Self::Whole(whole) => Value::Whole(*whole),
            Self::Number(number) => Value::Number(*number),
            Self::Word(word) => Value::Word(word.clone()),
            Self::Sizes(sizes) => Value::Sizes(sizes.clone()),
            Self::Trace(trace) => Value::Trace(trace.core()),
            Self::Record(record) => Value::Record(Arc::clone(&record.0)),
            Self::Load(load) => Value::Load(Arc::clone(&load.0)),
        }
    }
}

/// (name, form, words that it may be, default or none, whether it has to be given, meaning)
type ParameterRow<'py> =
    (&'static str, &'static str, Vec<&'static str>, Option<Bound<'py, PyAny>>, bool, &'static str);

/// Rows (name, meaning, parameters) of the workloads that are built in.
#[pyfunction]
pub fn builtin_workloads(
    py: Python<'_>,
) -> PyResult<Vec<(&'static str, &'static str, Vec<ParameterRow<'_>>)>> {
    let kind = |(name, meaning): &(&'static str, &'static str)| {
        let rows = parameters(name).unwrap_or_default();
        let rows = rows.iter().map(|row| parameter(py, row)).collect::<PyResult<_>>()?;
        Ok((*name, *meaning, rows))
    };
    BUILTIN.iter().map(kind).collect()
}

fn parameter<'py>(py: Python<'py>, row: &Parameter) -> PyResult<ParameterRow<'py>> {
    let words = if let Form::Word(words) = row.form { words.to_vec() } else { vec![] };
    let default = match &row.default {
        Otherwise::Is(Value::Whole(whole)) => Some(whole.into_bound_py_any(py)?),
        Otherwise::Is(Value::Number(number)) => Some(number.into_bound_py_any(py)?),
        Otherwise::Is(Value::Flag(flag)) => Some(flag.into_bound_py_any(py)?),
        Otherwise::Is(Value::Word(word)) => Some(word.into_bound_py_any(py)?),
        // No data and no schedule is anybody's default.
        Otherwise::Is(_) | Otherwise::Unlimited | Otherwise::Required => None,
    };
    let required = row.default == Otherwise::Required;
    Ok((row.name, row.form.name(), words, default, required, row.meaning))
}

/// What a real guest did in each second.
#[pyclass(frozen, module = "esxcore._core")]
pub struct ActivityRecord(Arc<CoreRecord>);

#[pymethods]
impl ActivityRecord {
    /// Rows of bits, a second each, one after the other.
    #[new]
    fn new(py: Python<'_>, pages: u32, read: Row<'_, u8>, write: Row<'_, u8>) -> PyResult<Self> {
        let (read, write) = (read.as_slice()?.to_vec(), write.as_slice()?.to_vec());
        let record = CoreRecord::new(pages, &read, &write).map_err(|error| to_py(py, &error, 0))?;
        Ok(Self(Arc::new(record)))
    }
}

/// The operations of a dbench load file.
#[pyclass(frozen, module = "esxcore._core")]
pub struct Load(Arc<CoreLoad>);

#[pymethods]
impl Load {
    /// Reads a regular file.
    #[staticmethod]
    fn read(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let name = path.display().to_string();
        let loaded = py.detach(|| {
            let unreadable = |error: std::io::Error| Error::Data {
                file: name.clone(),
                record: 1,
                problem: error.to_string(),
            };
            CoreLoad::parse(&name, BufReader::new(File::open(&path).map_err(unreadable)?))
        });
        loaded.map(|load| Self(Arc::new(load))).map_err(|error| to_py(py, &error, 0))
    }

    /// Operations of one round.
    #[getter]
    fn operations(&self) -> u64 {
        self.0.operations()
    }
}

/// The load file of this system's dbench, if it has one.
#[pyfunction]
pub fn find_load() -> Option<PathBuf> {
    dbench::find()
}
