//! Policies as plain functions: columns in, targets out, the interpreter free while the core works.

use esxcore_core::error::Error;
use esxcore_core::policy::{Claims, Columns, TaxRate, min_funding};
use pyo3::prelude::*;

use crate::arrays::{self, Column};
use crate::errors::to_py;

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
