//! `esxcore._core`: the engine as Python sees it. This file is the list of what it exports.
//!
//! Private: arguments are checked and worded by the Python layer above, which is the documented interface.

mod arrays;
mod calls;
mod census;
mod errors;
mod host;
mod ledger;
mod policy;
mod sampling;
mod settings;
mod signals;
mod simulation;
mod tables;
mod trace;
mod view;
mod workload;

use esxcore_core::config::PARAMETERS;
use pyo3::prelude::*;

/// The native part of esxcore.
#[pymodule]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::census::{Contents, PageSource, image_formats};

    #[pymodule_export]
    use super::host::Host;

    #[pymodule_export]
    use super::paper_parameters;

    #[pymodule_export]
    use super::policy::{Policy, apportion, builtin_policies, min_funding_targets};

    #[pymodule_export]
    use super::sampling::wilson;

    #[pymodule_export]
    use super::simulation::{Simulation, competitive_threshold, cost_presets};

    #[pymodule_export]
    use super::trace::{PageTrace, replacements, stream_misses, trace_formats};

    #[pymodule_export]
    use super::workload::{ActivityRecord, Load, Workload, builtin_workloads, find_load};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("PAGE_SIZE", esxcore_core::types::PAGE_SIZE)?;
        module.add("MAX_PAGES", esxcore_core::types::MAX_PAGES)?;
        module.add("MAX_SAMPLE_PAGES", esxcore_core::config::MAX_SAMPLE_PAGES)?;
        module.add("MAX_LEDGER_RECORDS", esxcore_core::config::MAX_LEDGER_RECORDS)?;
        module.add("PAGE_STATES", esxcore_core::pmap::State::NAMES.to_vec())
    }
}

/// Rows (name, value, unit, section, confidence) of the paper's parameters.
#[pyfunction]
fn paper_parameters() -> Vec<(&'static str, f64, &'static str, &'static str, String)> {
    let row = |p: &esxcore_core::config::Parameter| {
        (p.name, p.value, p.unit, p.section, format!("{:?}", p.confidence).to_lowercase())
    };
    PARAMETERS.iter().map(row).collect()
}
