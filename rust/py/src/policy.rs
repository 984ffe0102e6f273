//! Policies both ways: those of the core for Python, and those written in Python for the core.

use std::cell::RefCell;
use std::sync::Arc;

use esxcore_core::error::Error;
use esxcore_core::policy::{
    AllocationPolicy, BUILT_IN, Claims, Columns, HostView, Overcommit, TaxRate, Value,
    apportion as core_apportion, min_funding, named,
};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrays::{self, Column, Row};
use crate::errors::to_py;
use crate::view;

thread_local! {
    /// What a policy written in Python raised, until the call that asked it ends on this thread.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// The exception that a policy raised in the call that ends now, if one did.
pub fn take_raised() -> Option<PyErr> {
    RAISED.take()
}

/// Keeps what a policy or a workload raised, until the call that asked it ends; returns its words.
pub fn keep_raised(raised: PyErr) -> String {
    let reason = raised.to_string();
    RAISED.set(Some(raised));
    reason
}

/// A policy of the core.
#[pyclass(frozen, module = "esxcore._core")]
pub struct Policy(Arc<dyn AllocationPolicy>);

/// A setting as Python gives it.
#[derive(FromPyObject)]
enum SettingValue {
    Number(f64),
    Pages(Vec<i64>),
}

#[pymethods]
impl Policy {
    #[new]
    fn new(py: Python<'_>, name: &str, settings: Vec<(String, SettingValue)>) -> PyResult<Self> {
        let settings: Vec<(&str, Value)> = settings
            .iter()
            .map(|(name, value)| match value {
                SettingValue::Number(number) => (name.as_str(), Value::Number(*number)),
                SettingValue::Pages(rows) => (name.as_str(), Value::Pages(rows.clone())),
            })
            .collect();
        let policy = named(name, &settings).map_err(|error| to_py(py, &error, 0))?;
        Ok(Self(policy.into()))
    }

    /// Targets for a view given by its fields; checked by whoever uses them.
    fn targets<'py>(&self, py: Python<'py>, fields: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyAny>> {
        let view = view::from_dict(fields)?;
        let targets = py.detach(|| self.0.targets(&view)).map_err(|error| to_py(py, &error, 0))?;
        Ok(arrays::column(py, targets))
    }
}

/// A policy that a host is to ask: one of the core, or (name, function from fields to targets, may overcommit).
#[derive(FromPyObject)]
pub enum AnyPolicy<'py> {
    /// Of the core.
    Core(PyRef<'py, Policy>),
    /// Written in Python.
    Foreign(String, Py<PyAny>, bool),
}

impl AnyPolicy<'_> {
    /// The policy as the core asks it.
    pub fn into_core(self) -> Arc<dyn AllocationPolicy> {
        match self {
            Self::Core(policy) => Arc::clone(&policy.0),
            Self::Foreign(name, ask, may_overcommit) => {
                let overcommit = if may_overcommit { Overcommit::Allowed } else { Overcommit::Refused };
                Arc::new(Foreign { name, ask, overcommit })
            }
        }
    }
}

/// A policy written in Python.
#[derive(Debug)]
struct Foreign {
    name: String,
    /// Takes a view's fields and returns int64 targets, its form checked.
    ask: Py<PyAny>,
    overcommit: Overcommit,
}

impl AllocationPolicy for Foreign {
    fn name(&self) -> &str {
        &self.name
    }

    fn targets(&self, view: &HostView) -> Result<Vec<i64>, Error> {
        let answer = Python::attach(|py| {
            let answer = self.ask.call1(py, (view::to_dict(py, view)?,))?;
            let column: Row<'_, i64> = answer.extract(py)?;
            Ok::<_, PyErr>(column.as_slice()?.to_vec())
        });
        answer
            .map_err(|raised| Error::PolicyFailed { policy: self.name.clone(), reason: keep_raised(raised) })
    }

    fn overcommit(&self) -> Overcommit {
        self.overcommit
    }
}

/// Rows (name, meaning, settings) of the core's policies; a setting is (name, default or none, meaning).
#[pyfunction]
#[expect(clippy::type_complexity, reason = "rows of a table")]
pub fn builtin_policies() -> Vec<(&'static str, &'static str, Vec<(&'static str, Option<f64>, &'static str)>)>
{
    let settings = |policy: &esxcore_core::policy::BuiltIn| {
        policy.settings.iter().map(|setting| (setting.name, setting.default, setting.meaning)).collect()
    };
    BUILT_IN.iter().map(|policy| (policy.name, policy.meaning, settings(policy))).collect()
}

/// Whole pages in proportion to weights; see `esxcore.HostView.apportion`.
#[pyfunction]
#[pyo3(signature = (weights, min_pages, max_pages, available_pages))]
pub fn apportion<'py>(
    py: Python<'py>,
    weights: Row<'_, f64>,
    min_pages: Row<'_, i64>,
    max_pages: Row<'_, i64>,
    available_pages: u64,
) -> PyResult<Bound<'py, PyAny>> {
    let narrow = |row: &Row<'_, i64>| {
        Ok::<_, PyErr>(row.as_slice()?.iter().map(|page| pages(*page)).collect::<Vec<_>>())
    };
    let (min_pages, max_pages, weights) = (narrow(&min_pages)?, narrow(&max_pages)?, weights.as_slice()?);
    core_apportion(weights, &min_pages, &max_pages, available_pages)
        .map(|targets| arrays::column(py, targets))
        .map_err(|error| to_py(py, &error, 0))
}

/// Targets by min-funding revocation; see `esxcore.min_funding_targets`.
#[pyfunction]
#[pyo3(signature = (*, shares, min_pages, max_pages, active_pages, available_pages, tax_rate))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments, a column each")]
pub fn min_funding_targets<'py>(
    py: Python<'py>,
    shares: Column<'_>,
    min_pages: Column<'_>,
    max_pages: Column<'_>,
    active_pages: Column<'_>,
    available_pages: u64,
    tax_rate: f64,
) -> PyResult<Bound<'py, PyAny>> {
    let shares = shares.to_vec(i64::MAX, i64::cast_unsigned)?;
    let [min_pages, max_pages] = [min_pages.to_vec(PAGES, pages)?, max_pages.to_vec(PAGES, pages)?];
    // More than can be allocated is as good as all of it.
    let active_pages = active_pages.to_vec(i64::MAX, |active| pages(active.min(PAGES)))?;
    let targets = py.detach(|| {
        let shares = checked("shares", "0 or more", shares)?;
        let bounds = &format!("0 to {PAGES}");
        let (min_pages, max_pages) =
            (checked("min_pages", bounds, min_pages)?, checked("max_pages", bounds, max_pages)?);
        let active_pages = checked("active_pages", "0 or more", active_pages)?;
        let columns = Columns {
            shares: &shares,
            min_pages: &min_pages,
            max_pages: &max_pages,
            active_pages: &active_pages,
        };
        Ok(min_funding(&Claims::new(columns, available_pages)?, TaxRate::new(tax_rate)?))
    });
    targets.map(|targets| arrays::column(py, targets)).map_err(|error| to_py(py, &error, 0))
}

/// Most pages of a virtual machine.
const PAGES: i64 = u32::MAX as i64;

fn pages(number: i64) -> u32 {
    number as u32
}

fn checked<T>(
    column: &'static str,
    expected: &str,
    values: Result<Vec<T>, (usize, i64)>,
) -> Result<Vec<T>, Error> {
    values.map_err(|(vm, value)| Error::Column {
        column,
        vm,
        value: value.to_string(),
        expected: expected.into(),
    })
}
