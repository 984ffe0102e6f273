//! The view that policies get, as columns for Python and back.

use esxcore_core::policy::HostView;
use esxcore_core::types::FreeState;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::arrays::{fixed, numbers as column};

/// Names of the free states, by number.
pub const FREE_STATES: [&str; 4] = ["high", "soft", "hard", "low"];

/// The name of a free state.
pub fn state_name(state: FreeState) -> &'static str {
    FREE_STATES[state as usize]
}

/// The fields of a view by name; columns are arrays that cannot be written to.
pub fn to_dict<'py>(py: Python<'py>, view: &HostView) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    let pages = |column: &[u32]| column.iter().map(|pages| i64::from(*pages)).collect::<Vec<_>>();
    let events = |column: &[u64]| column.iter().map(|count| count.cast_signed()).collect::<Vec<_>>();
    let known =
        |column: &[Option<u32>]| column.iter().map(|pages| pages.map_or(-1, i64::from)).collect::<Vec<_>>();
    fields.set_item("names", PyTuple::new(py, &view.names)?)?;
    fields.set_item("shares", fixed(py, events(&view.shares)))?;
    fields.set_item("min_pages", fixed(py, pages(&view.min_pages)))?;
    fields.set_item("max_pages", fixed(py, pages(&view.max_pages)))?;
    fields.set_item("allocated_pages", fixed(py, pages(&view.allocated_pages)))?;
    fields.set_item("active_pages", fixed(py, pages(&view.active_pages)))?;
    fields.set_item("balloon_pages", fixed(py, pages(&view.balloon_pages)))?;
    fields.set_item("swapped_pages", fixed(py, pages(&view.swapped_pages)))?;
    fields.set_item("shared_pages", fixed(py, pages(&view.shared_pages)))?;
    fields.set_item("guest_free_pages", fixed(py, known(&view.guest_free_pages)))?;
    fields.set_item("guest_available_pages", fixed(py, known(&view.guest_available_pages)))?;
    fields.set_item("swap_in_pages", fixed(py, events(&view.swap_in_pages)))?;
    fields.set_item("stall_fraction", fixed(py, view.stall_fraction.clone()))?;
    fields.set_item("driver_ok", fixed(py, view.driver_ok.clone()))?;
    fields.set_item("machine_pages", view.machine_pages)?;
    fields.set_item("available_pages", view.available_pages)?;
    fields.set_item("free_pages", view.free_pages)?;
    fields.set_item("free_state", state_name(view.free_state))?;
    fields.set_item("now_s", view.now_s)?;
    Ok(fields)
}

/// The view of which these are the fields.
pub fn from_dict(fields: &Bound<'_, PyDict>) -> PyResult<HostView> {
    let field = |name: &str| fields.as_any().get_item(name);
    let numbers = |name: &str| column::<i64>(&field(name)?);
    let pages =
        |name: &str| Ok::<_, PyErr>(numbers(name)?.into_iter().map(|pages| pages as u32).collect::<Vec<_>>());
    let known = |name: &str| {
        let known = |pages: i64| u32::try_from(pages).ok();
        Ok::<_, PyErr>(numbers(name)?.into_iter().map(known).collect::<Vec<_>>())
    };
    let events =
        |name: &str| Ok::<_, PyErr>(numbers(name)?.into_iter().map(i64::cast_unsigned).collect::<Vec<_>>());
    let state: String = field("free_state")?.extract()?;
    let state = FREE_STATES.iter().position(|name| *name == state);
    Ok(HostView {
        names: field("names")?.extract()?,
        shares: events("shares")?,
        min_pages: pages("min_pages")?,
        max_pages: pages("max_pages")?,
        allocated_pages: pages("allocated_pages")?,
        active_pages: pages("active_pages")?,
        balloon_pages: pages("balloon_pages")?,
        swapped_pages: pages("swapped_pages")?,
        shared_pages: pages("shared_pages")?,
        guest_free_pages: known("guest_free_pages")?,
        guest_available_pages: known("guest_available_pages")?,
        swap_in_pages: events("swap_in_pages")?,
        stall_fraction: column(&field("stall_fraction")?)?,
        driver_ok: column(&field("driver_ok")?)?,
        machine_pages: field("machine_pages")?.extract()?,
        available_pages: field("available_pages")?.extract()?,
        free_pages: field("free_pages")?.extract()?,
        free_state: [FreeState::High, FreeState::Soft, FreeState::Hard, FreeState::Low][state.unwrap_or(0)],
        now_s: field("now_s")?.extract()?,
    })
}
