//! From the core's errors to Python's exceptions.

use esxcore_core::error::Error;
use esxcore_image::error::Error as ImageError;
use esxcore_trace::error::Error as TraceError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The Python exception for an error of the core; `done` pages had been served.
pub fn to_py(py: Python<'_>, error: &Error, done: usize) -> PyErr {
    exception(py, error, done).unwrap_or_else(|broken| broken)
}

/// The Python exception for an error of the image crate.
pub fn from_image(py: Python<'_>, error: &ImageError) -> PyErr {
    let class = match error {
        ImageError::NoRoom { .. } => "RealMemoryError",
        ImageError::TooManyInAll { .. } | ImageError::UnknownFormat { .. } => "ConfigError",
        ImageError::Interrupted | ImageError::NoThread { .. } => "EsxError",
        _ => "DataError",
    };
    raise(py, class, &error.to_string(), &PyDict::new(py)).unwrap_or_else(|broken| broken)
}

/// The Python exception for an error of the trace crate.
pub fn from_trace(py: Python<'_>, error: &TraceError) -> PyErr {
    let fact = match error {
        TraceError::InFile { fact, .. } => fact,
        fact => fact,
    };
    let class = match fact {
        TraceError::NoRoom { .. } => "RealMemoryError",
        TraceError::NoMemory { .. } | TraceError::UnknownFormat { .. } => "ConfigError",
        TraceError::Interrupted => "EsxError",
        _ => "DataError",
    };
    raise(py, class, &error.to_string(), &PyDict::new(py)).unwrap_or_else(|broken| broken)
}

/// The exception for a host that is serving another call.
pub fn busy(py: Python<'_>) -> PyErr {
    let text = "the host is serving another call; a host serves one call at a time, and a policy or a workload that it is \
                asking must not call it";
    raise(py, "HostBusyError", text, &PyDict::new(py)).unwrap_or_else(|broken| broken)
}

/// The exception for a host that a failure left half-changed.
pub fn broken(py: Python<'_>) -> PyErr {
    let text = "an earlier call on this host failed half-way: its state is not to be trusted";
    raise(py, "EsxError", text, &PyDict::new(py)).unwrap_or_else(|broken| broken)
}

fn exception(py: Python<'_>, error: &Error, done: usize) -> PyResult<PyErr> {
    let facts = PyDict::new(py);
    match error {
        Error::OutOfMachineMemory { wanted, free } => {
            facts.set_item("wanted_pages", wanted)?;
            facts.set_item("free_pages", free)?;
            facts.set_item("done", done)?;
        }
        Error::MinOvercommitted { min_pages, available_pages } => {
            facts.set_item("min_pages", min_pages)?;
            facts.set_item("available_pages", available_pages)?;
        }
        Error::MemoryReserved { min_pages, overhead_pages, unreserved_pages, .. } => {
            facts.set_item("wanted_pages", u64::from(*min_pages) + u64::from(*overhead_pages))?;
            facts.set_item("unreserved_pages", unreserved_pages)?;
        }
        Error::SwapReserved { pages, min_pages, unreserved_pages, .. } => {
            facts.set_item("wanted_pages", pages.saturating_sub(*min_pages))?;
            facts.set_item("unreserved_pages", unreserved_pages)?;
        }
        Error::Blocked { target_pages, .. } => {
            facts.set_item("target_pages", target_pages)?;
            facts.set_item("done", done)?;
        }
        Error::Invariant { invariant, .. } => facts.set_item("invariant", invariant)?,
        _ => {}
    }
    raise(py, class_name(error), &format!("{error}{}", hint(error)), &facts)
}

/// What can be done about an error, in words of the Python layer.
fn hint(error: &Error) -> &'static str {
    match error {
        Error::SwapReserved { .. } => "; Host(swap=...) sets how much there is",
        Error::TargetsOvercommitted { .. } => {
            "; only a policy with may_overcommit = True may give out more, so that paging follows"
        }
        _ => "",
    }
}

fn raise(py: Python<'_>, class: &str, text: &str, facts: &Bound<'_, PyDict>) -> PyResult<PyErr> {
    let class = py.import("esxcore.errors")?.getattr(class)?;
    Ok(PyErr::from_value(class.call((text,), Some(facts))?))
}

fn class_name(error: &Error) -> &'static str {
    match error {
        Error::OutOfMachineMemory { .. } => "OutOfMachineMemoryError",
        Error::PageOutOfRange { .. } | Error::WorkloadBeyond { .. } => "PageRangeError",
        Error::UnknownVm { .. }
        | Error::HandleOfNone { .. }
        | Error::NotThen { .. }
        | Error::NobodyThen { .. }
        | Error::NotYet { .. } => "UnknownVmError",
        Error::DuplicateVm { .. } => "DuplicateVmError",
        Error::ContentsTooLong { .. }
        | Error::WrongContentKind { .. }
        | Error::TokenOutOfRange { .. }
        | Error::BatchMismatch { .. } => "ContentError",
        Error::Data { .. } => "DataError",
        Error::NoMemory { .. } => "RealMemoryError",
        // What a policy answered, not a column that somebody gave.
        Error::ColumnLength { column: "targets", .. } => "PolicyError",
        Error::Setting { .. }
        | Error::TooManyVms { .. }
        | Error::Column { .. }
        | Error::ColumnLength { .. } => "ConfigError",
        Error::MinOvercommitted { .. } => "MinOvercommittedError",
        Error::MemoryReserved { .. } | Error::SwapReserved { .. } => "NotAdmittedError",
        Error::TargetOutOfRange { .. } | Error::TargetsOvercommitted { .. } | Error::PolicyFailed { .. } => {
            "PolicyError"
        }
        Error::WorkloadStands { .. } | Error::WorkloadFile { .. } | Error::WorkloadFailed { .. } => {
            "WorkloadError"
        }
        Error::Blocked { .. } => "VmBlockedError",
        Error::NothingDivided | Error::LedgerOff | Error::Forgotten { .. } => "ConfigError",
        Error::Invariant { .. } => "InvariantError",
        Error::SwapFull { .. }
        | Error::WrongState { .. }
        | Error::PageNotFree { .. }
        | Error::Interrupted
        | Error::Pinned { .. } => "EsxError",
    }
}
